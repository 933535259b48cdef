//! The VLANs that a port carries: `IFLA_BRIDGE_VLAN_INFO`.

use std::fmt;

use crate::IfIndex;
use crate::error::Invalid;
use crate::wire::uapi::if_bridge::{
    BRIDGE_FLAGS_SELF, BRIDGE_VLAN_INFO_PVID, BRIDGE_VLAN_INFO_RANGE_BEGIN,
    BRIDGE_VLAN_INFO_RANGE_END, BRIDGE_VLAN_INFO_UNTAGGED, IFLA_BRIDGE_FLAGS,
    IFLA_BRIDGE_VLAN_INFO,
};
use crate::wire::uapi::if_link::{IFLA_AF_SPEC, IFLA_EXT_MASK};
use crate::wire::uapi::rtnetlink::RTEXT_FILTER_BRVLAN_COMPRESSED;
use crate::wire::{DecodeError, Message, Writer};

/// A VLAN, or several in a row, that a port of a bridge carries; on a bridge
/// with [`vlan_filtering`](super::BridgeOptions::vlan_filtering).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortVlan {
    first: u16,
    last: u16,
    flags: u16,
}

impl PortVlan {
    /// The VLANs `first` to `last`, tagged in both directions.
    pub const fn tagged(first: u16, last: u16) -> Self {
        Self {
            first,
            last,
            flags: 0,
        }
    }

    /// The VLAN `id`, untagged in both directions: what comes in without a tag
    /// belongs to it.
    pub const fn untagged(id: u16) -> Self {
        Self {
            first: id,
            last: id,
            flags: BRIDGE_VLAN_INFO_PVID | BRIDGE_VLAN_INFO_UNTAGGED,
        }
    }

    /// The first VLAN.
    pub fn first(&self) -> u16 {
        self.first
    }

    /// The last VLAN.
    pub fn last(&self) -> u16 {
        self.last
    }

    /// Whether what comes in without a tag belongs to it.
    pub fn takes_untagged(&self) -> bool {
        self.flags & BRIDGE_VLAN_INFO_PVID != 0
    }

    /// Whether it leaves without a tag.
    pub fn leaves_untagged(&self) -> bool {
        self.flags & BRIDGE_VLAN_INFO_UNTAGGED != 0
    }

    pub(crate) fn check(self) -> Result<(), Invalid> {
        let (first, last) = (self.first, self.last);
        if first == 0 || last > 4094 || first > last {
            return Err(Invalid::new("VLANs", self, "are not within 1 to 4094"));
        }
        Ok(())
    }
}

impl fmt::Display for PortVlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.first)?;
        if self.last != self.first {
            write!(f, "-{}", self.last)?;
        }
        if self.takes_untagged() {
            f.write_str(" pvid")?;
        }
        if self.leaves_untagged() {
            f.write_str(" untagged")?;
        }
        Ok(())
    }
}

/// The body of an `RTM_SETLINK` or `RTM_DELLINK` of a port, or, if `of_bridge`
/// says so, of the bridge's own port.
pub(in crate::route) fn encode(
    port: IfIndex,
    of_bridge: bool,
    vlans: &[PortVlan],
    out: &mut Writer<'_>,
) {
    header(Some(port), out);
    out.nest(IFLA_AF_SPEC, |out| {
        if of_bridge {
            out.put(IFLA_BRIDGE_FLAGS, BRIDGE_FLAGS_SELF);
        }
        for vlan in vlans {
            let mut put = |flags: u16, id: u16| {
                let ([f0, f1], [i0, i1]) = ((vlan.flags | flags).to_ne_bytes(), id.to_ne_bytes());
                out.put(IFLA_BRIDGE_VLAN_INFO, &[f0, f1, i0, i1]);
            };
            if vlan.first == vlan.last {
                put(0, vlan.first);
            } else {
                put(BRIDGE_VLAN_INFO_RANGE_BEGIN, vlan.first);
                put(BRIDGE_VLAN_INFO_RANGE_END, vlan.last);
            }
        }
    });
}

/// The body of an `RTM_GETLINK` that lists the VLANs of all ports.
pub(in crate::route) fn encode_list(out: &mut Writer<'_>) {
    header(None, out);
    out.put(IFLA_EXT_MASK, RTEXT_FILTER_BRVLAN_COMPRESSED);
}

/// Reads those of one port.
pub(in crate::route) fn decode(
    message: &Message<'_>,
) -> Result<Option<(IfIndex, Vec<PortVlan>)>, DecodeError> {
    let (&[_, _, _, _, i0, i1, i2, i3, ..], attrs) = message.split::<16>()?;
    let Ok(index) = IfIndex::new(u32::from_ne_bytes([i0, i1, i2, i3])) else {
        return Ok(None);
    };
    let Some(spec) = attrs.find(IFLA_AF_SPEC)? else {
        return Ok(None);
    };
    let (mut list, mut begun) = (Vec::new(), None);
    for attribute in spec {
        let attribute = attribute?;
        if attribute.kind() != IFLA_BRIDGE_VLAN_INFO.kind() {
            continue;
        }
        let &[f0, f1, i0, i1] = attribute.payload() else {
            let what = "bridge_vlan_info";
            return Err(DecodeError::Malformed { what });
        };
        let (flags, id) = (u16::from_ne_bytes([f0, f1]), u16::from_ne_bytes([i0, i1]));
        if flags & BRIDGE_VLAN_INFO_RANGE_BEGIN != 0 {
            begun = Some(id);
            continue;
        }
        list.push(PortVlan {
            first: begun.take().unwrap_or(id),
            last: id,
            flags: flags & (BRIDGE_VLAN_INFO_PVID | BRIDGE_VLAN_INFO_UNTAGGED),
        });
    }
    Ok(Some((index, list)))
}

/// `struct ifinfomsg` of the bridges' family.
fn header(index: Option<IfIndex>, out: &mut Writer<'_>) {
    let [i0, i1, i2, i3] = index.map_or(0, IfIndex::get).to_ne_bytes();
    out.fixed(&[AF_BRIDGE, 0, 0, 0, i0, i1, i2, i3, 0, 0, 0, 0, 0, 0, 0, 0]);
}

/// `AF_BRIDGE` of `linux/socket.h`.
pub(super) const AF_BRIDGE: u8 = 7;
