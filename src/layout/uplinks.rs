//! The interfaces on which forwarding was switched on for the guests, as
//! elements of the owner's sets.

use super::{Layout, SCHEMA};
use crate::nft::{DataType, Element, Family, Name, Set, Table};
use crate::types::IfName;

impl Layout {
    /// The interfaces on which another owner, to whom `table` belongs, has
    /// switched forwarding on; `None` if it belongs to none.
    pub(crate) fn uplinks_of_other(&self, table: &Table) -> Option<[Set; 2]> {
        let comment = table.current_comment()?.as_str();
        let other = table.family() == Family::INET
            && table.name() != self.table.name()
            && comment == format!("owner={} schema={SCHEMA}", table.name());
        other.then(|| [uplink_set(table, UPLINKS4), uplink_set(table, UPLINKS6)])
    }
}

/// Reads the name of an interface from an element of the uplinks.
pub(crate) fn read_uplink(element: &Element) -> Option<IfName> {
    let name = str::from_utf8(element.key().as_bytes()).ok()?;
    IfName::new(name.trim_end_matches('\0')).ok()
}

/// So many interfaces can be uplinks.
const UPLINKS: u32 = 4096;

pub(super) const UPLINKS4: Name = Name::constant("uplinks4");
pub(super) const UPLINKS6: Name = Name::constant("uplinks6");

pub(super) fn uplink_set(table: &Table, name: Name) -> Set {
    Set::new(table, name, &[DataType::IFNAME]).size(UPLINKS)
}
