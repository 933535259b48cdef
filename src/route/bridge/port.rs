//! What holds for a port of a bridge: `IFLA_BRPORT_*` of `linux/if_link.h`.

use crate::IfIndex;
use crate::wire::uapi::if_link::{
    IFLA_BRPORT_BCAST_FLOOD, IFLA_BRPORT_GUARD, IFLA_BRPORT_ISOLATED, IFLA_BRPORT_LEARNING,
    IFLA_BRPORT_MCAST_FLOOD, IFLA_BRPORT_MODE, IFLA_BRPORT_NEIGH_SUPPRESS, IFLA_BRPORT_PROTECT,
    IFLA_BRPORT_UNICAST_FLOOD, IFLA_INFO_SLAVE_DATA, IFLA_INFO_SLAVE_KIND, IFLA_LINKINFO,
};
use crate::wire::{Attr, DecodeError, Message, U8, Writer};

bitflags::bitflags! {
    /// What a port of a bridge does or does not.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub struct PortOptions: u32 {
        /// `IFLA_BRPORT_MODE`: sends back by a port what came from it.
        const HAIRPIN = 1;
        /// `IFLA_BRPORT_GUARD`: takes no part in the spanning tree from here.
        const GUARD = 1 << 1;
        /// `IFLA_BRPORT_PROTECT`: never leads to the root of the tree.
        const ROOT_BLOCK = 1 << 2;
        /// `IFLA_BRPORT_LEARNING`: remembers which addresses send from here.
        const LEARNING = 1 << 3;
        /// `IFLA_BRPORT_UNICAST_FLOOD`: sends what is for an address that it
        /// does not know.
        const FLOOD = 1 << 4;
        /// `IFLA_BRPORT_MCAST_FLOOD`: sends what is for a group that it does
        /// not know.
        const MULTICAST_FLOOD = 1 << 5;
        /// `IFLA_BRPORT_BCAST_FLOOD`: sends what is for all.
        const BROADCAST_FLOOD = 1 << 6;
        /// `IFLA_BRPORT_NEIGH_SUPPRESS`: answers ARP and ND for known
        /// neighbours itself.
        const NEIGH_SUPPRESS = 1 << 7;
        /// `IFLA_BRPORT_ISOLATED`: does not reach other isolated ports.
        const ISOLATED = 1 << 8;
    }
}

/// Options of a port: those that are to be on and off, or those that are. What
/// is not said stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct BridgePort {
    said: PortOptions,
    on: PortOptions,
}

impl BridgePort {
    /// Says nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Switches these on.
    #[must_use]
    pub fn on(mut self, options: PortOptions) -> Self {
        self.said |= options;
        self.on |= options;
        self
    }

    /// Switches these off.
    #[must_use]
    pub fn off(mut self, options: PortOptions) -> Self {
        self.said |= options;
        self.on.remove(options);
        self
    }

    /// Which are on.
    pub fn options(&self) -> PortOptions {
        self.on
    }

    /// The body of an `RTM_NEWLINK` for a port that is there.
    pub(in crate::route) fn encode(self, port: IfIndex, out: &mut Writer<'_>) {
        let [i0, i1, i2, i3] = port.get().to_ne_bytes();
        out.fixed(&[0, 0, 0, 0, i0, i1, i2, i3, 0, 0, 0, 0, 0, 0, 0, 0]);
        out.nest(IFLA_LINKINFO, |out| {
            out.put(IFLA_INFO_SLAVE_KIND, b"bridge_slave");
            out.nest(IFLA_INFO_SLAVE_DATA, |out| {
                for (attr, option) in ATTRIBUTES {
                    if self.said.contains(option) {
                        out.put(attr, self.on.contains(option).into());
                    }
                }
            });
        });
    }

    /// Reads those of a link; `None` if it is no port of a bridge.
    pub(in crate::route) fn decode(message: &Message<'_>) -> Result<Option<Self>, DecodeError> {
        let (_, attrs) = message.split::<16>()?;
        let Some(info) = attrs.find(IFLA_LINKINFO)? else {
            return Ok(None);
        };
        let kind = info.clone().find(IFLA_INFO_SLAVE_KIND)?.unwrap_or_default();
        let Some(data) = info.find(IFLA_INFO_SLAVE_DATA)? else {
            return Ok(None);
        };
        if !kind.starts_with(b"bridge") {
            return Ok(None);
        }
        let mut port = Self::new();
        for attribute in data {
            let attribute = attribute?;
            let known = ATTRIBUTES
                .iter()
                .find(|(it, _)| it.kind() == attribute.kind());
            if let Some(&(attr, option)) = known {
                port = match attribute.get(attr)? {
                    0 => port.off(option),
                    _ => port.on(option),
                };
            }
        }
        Ok(Some(port))
    }
}

const ATTRIBUTES: [(Attr<U8>, PortOptions); 9] = [
    (IFLA_BRPORT_MODE, PortOptions::HAIRPIN),
    (IFLA_BRPORT_GUARD, PortOptions::GUARD),
    (IFLA_BRPORT_PROTECT, PortOptions::ROOT_BLOCK),
    (IFLA_BRPORT_LEARNING, PortOptions::LEARNING),
    (IFLA_BRPORT_UNICAST_FLOOD, PortOptions::FLOOD),
    (IFLA_BRPORT_MCAST_FLOOD, PortOptions::MULTICAST_FLOOD),
    (IFLA_BRPORT_BCAST_FLOOD, PortOptions::BROADCAST_FLOOD),
    (IFLA_BRPORT_NEIGH_SUPPRESS, PortOptions::NEIGH_SUPPRESS),
    (IFLA_BRPORT_ISOLATED, PortOptions::ISOLATED),
];
