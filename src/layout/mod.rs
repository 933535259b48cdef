//! The static ruleset of an owner, and what changes in it: elements.
//!
//! One `inet` table and one `arp` table bear the owner's name. Their rules
//! never change; a guest or an exposure is an element, or a few. So neither a
//! change nor a packet costs more when there are many.

mod clones;
mod elements;
mod elsewhere;
mod exposures;
mod guests;
mod inside;
mod place;
mod policy;
mod rules;
mod told;
mod uplinks;

use clones::CloneMaps;
pub(crate) use elements::Listing;
use elsewhere::ElsewhereSets;
pub(crate) use exposures::{
    Note, Place, Regrouped, SETS, SIDES, Seat, Side, claim_element, is_part, key_of, note,
    read_allowed, read_claim, read_slot, read_span, read_special, role,
};
pub(crate) use guests::{read_guard, read_self};
pub(crate) use inside::{Inside, TAP_INDEX, UPLINK_INDEX};
use policy::PolicySets;
pub(crate) use uplinks::read_uplink;
use uplinks::{UPLINKS4, UPLINKS6, uplink_set};

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::error::Invalid;
use crate::nft::{Batch, Comment, DataType, Family, Name, Set, Table, TableFlags};
use crate::owner::Owner;

/// The version of the layout, kept in the comments of the tables. Tables of an
/// older one are made anew; see [`schema_of`].
const SCHEMA: u32 = 5;

/// The sets and maps of an owner, and the tables that hold them.
#[derive(Debug)]
pub(crate) struct Layout {
    tap_prefix: String,
    pub(crate) table: Table,
    pub(crate) arp: Table,
    /// Exposures on exact host addresses, IPv4 and IPv6, and on all.
    pub(crate) sides: [Box<Side>; 4],
    /// TAP . guest MAC . guest address: who may send what. Of a clone the
    /// address in which it believes, since it is looked at first.
    pub(crate) guard4: Set,
    pub(crate) guard6: Set,
    /// TAP . guest MAC: who may send neighbour discovery from addresses that
    /// the guest makes up by itself (link-local ones).
    pub(crate) guard_mac: Set,
    pub(crate) guard_arp: Set,
    /// Guest address . the same: a guest that reaches itself through the
    /// host needs masquerade. Also what claims a guest's addresses, because
    /// its key follows from the TAP's number alone.
    pub(crate) self4: Set,
    pub(crate) self6: Set,
    /// Which addresses clones have, and in which they believe.
    pub(crate) clones: Box<CloneMaps>,
    /// Which guests have links of somebody else's.
    pub(crate) elsewhere: Box<ElsewhereSets>,
    /// What guests may do besides answering.
    pub(crate) policy: Box<PolicySets>,
    /// The interfaces on which forwarding was switched on for the guests.
    pub(crate) uplinks4: Set,
    pub(crate) uplinks6: Set,
}

impl Layout {
    /// The layout for `owner`, with room for `exposures` in each map and for
    /// `guests`.
    pub(crate) fn new(owner: &Owner, exposures: u32, guests: u32) -> Result<Self, Invalid> {
        let name = Name::new(owner.as_str())?;
        let comment = Comment::new(&format!("owner={owner} schema={SCHEMA}"))?;
        let table = Table::new(Family::INET, name.clone()).comment(comment);
        let arp = Table::new(Family::ARP, name).comment(comment);
        let (ipv4, ipv6) = (DataType::IPV4_ADDR, DataType::IPV6_ADDR);
        let (tap, mac) = (DataType::IFNAME, DataType::ETHER_ADDR);
        let set = |table: &Table, name, key: &[DataType]| {
            Set::new(table, Name::constant(name), key).size(guests)
        };
        Ok(Self {
            tap_prefix: owner.tap_prefix(),
            sides: exposures::all(&table, exposures)?,
            guard4: set(&table, "guard4", &[tap, mac, ipv4]),
            guard6: set(&table, "guard6", &[tap, mac, ipv6]),
            guard_mac: set(&table, "guard_mac", &[tap, mac]),
            guard_arp: set(&arp, "guard", &[tap, mac, ipv4]),
            self4: set(&table, "self4", &[ipv4, ipv4]),
            self6: set(&table, "self6", &[ipv6, ipv6]),
            clones: Box::new(CloneMaps::new(&table, &arp, guests)),
            elsewhere: Box::new(ElsewhereSets::new(&table, guests)),
            policy: Box::new(PolicySets::new(&table, guests)),
            uplinks4: uplink_set(&table, UPLINKS4),
            uplinks6: uplink_set(&table, UPLINKS6),
            table,
            arp,
        })
    }

    /// With these flags on the tables.
    pub(crate) fn flags(mut self, flags: TableFlags) -> Self {
        self.table = self.table.flags(flags);
        self.arp = self.arp.flags(flags);
        self
    }

    /// The tables.
    pub(crate) fn tables(&self) -> [&Table; 2] {
        [&self.table, &self.arp]
    }

    /// Creates the tables, which must not be there, with their sets and rules.
    /// `size_of` tells the size of a set that is to be larger than usual.
    pub(crate) fn create(&self, size_of: impl Fn(&Set) -> Option<u32>, batch: &mut Batch) {
        for table in self.tables() {
            batch.create(table);
        }
        let live = self.sides.iter().map(|side| &side.live);
        for set in self.sets().into_iter().chain(live) {
            match size_of(set).filter(|size| Some(*size) > set.capacity()) {
                Some(size) => batch.create(&set.clone().size(size)),
                None => batch.create(set),
            };
        }
        self.add_rules(batch);
        self.add_arp_rules(batch);
    }

    /// Removes all of it.
    pub(crate) fn destroy(&self, batch: &mut Batch) {
        for table in self.tables() {
            batch.destroy(table);
        }
    }
}

/// The version of the layout that `table` holds; `None` if its comment does
/// not tell.
pub(crate) fn schema_of(table: &Table) -> Option<u32> {
    let comment = table.current_comment()?.as_str();
    let (owner, schema) = comment.strip_prefix("owner=")?.split_once(" schema=")?;
    let schema = schema.parse().ok()?;
    (owner == table.name().as_str()).then_some(schema)
}

/// Whether rules of this chain come and go with what is wanted, so that they
/// are no part of the layout's own.
pub(crate) fn is_on_demand(chain: &Name) -> bool {
    chain.as_str().starts_with("limit")
}

/// The version of the layout that is made here.
pub(crate) const fn schema() -> u32 {
    SCHEMA
}

fn take_ipv4(bytes: &[u8]) -> Option<(Option<IpAddr>, &[u8])> {
    let (address, rest) = bytes.split_first_chunk::<4>()?;
    Some((Some(Ipv4Addr::from(*address).into()), rest))
}

fn take_ipv6(bytes: &[u8]) -> Option<(Option<IpAddr>, &[u8])> {
    let (address, rest) = bytes.split_first_chunk::<16>()?;
    Some((Some(Ipv6Addr::from(*address).into()), rest))
}

fn take_port(bytes: &[u8]) -> Option<(u16, &[u8])> {
    let (port, rest) = bytes.split_first_chunk::<2>()?;
    Some((u16::from_be_bytes(*port), rest))
}
