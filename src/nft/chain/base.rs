//! What makes a base chain: its type, hook, priority and policy.

use crate::nft::Family;
use crate::nft::carried::open;
use crate::wire::uapi::netfilter::{
    NF_ACCEPT, NF_DROP, NF_INET_FORWARD, NF_INET_INGRESS, NF_INET_LOCAL_IN, NF_INET_LOCAL_OUT,
    NF_INET_POST_ROUTING, NF_INET_PRE_ROUTING,
};

/// The type of a base chain: which hooks it may have and what its rules may
/// do.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ChainType(Kind);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Kind {
    Known(&'static str),
    Other(Box<str>),
}

impl ChainType {
    /// Filters; every hook.
    pub const FILTER: Self = Self(Kind::Known("filter"));
    /// Translates addresses; sees the first packet of a connection.
    pub const NAT: Self = Self(Kind::Known("nat"));
    /// Routes again what it changes; output hook.
    pub const ROUTE: Self = Self(Kind::Known("route"));

    /// Its name.
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Kind::Known(name) => name,
            Kind::Other(name) => name,
        }
    }

    /// The type of this name.
    pub(super) fn listed(name: &str) -> Self {
        Self(Kind::Other(name.into())).known()
    }

    fn known(self) -> Self {
        [Self::FILTER, Self::NAT, Self::ROUTE]
            .into_iter()
            .find(|known| known.as_str() == self.as_str())
            .unwrap_or(self)
    }
}

open! {
    /// Where a base chain is entered, for every family but `arp` and
    /// `netdev`, whose hooks have numbers of their own (`enum
    /// nf_inet_hooks` of `linux/netfilter.h`).
    Hook: u32 as Be32 {
        /// Before routing.
        PREROUTING = NF_INET_PRE_ROUTING, "prerouting";
        /// To the host; of `arp`, see [`ARP_INPUT`](Self::ARP_INPUT).
        INPUT = NF_INET_LOCAL_IN, "input";
        /// Through the host.
        FORWARD = NF_INET_FORWARD, "forward";
        /// From the host.
        OUTPUT = NF_INET_LOCAL_OUT, "output";
        /// Behind routing.
        POSTROUTING = NF_INET_POST_ROUTING, "postrouting";
        /// From a device, family `inet`.
        INGRESS = NF_INET_INGRESS, "ingress";
    }
}

impl Hook {
    /// ARP packets to the host (`NF_ARP_IN` of `linux/netfilter_arp.h`).
    pub const ARP_INPUT: Self = Self::from_raw(0);
    /// ARP packets from the host (`NF_ARP_OUT`).
    pub const ARP_OUTPUT: Self = Self::from_raw(1);
    /// All packets from a device, family `netdev` (`NF_NETDEV_INGRESS`).
    pub const NETDEV_INGRESS: Self = Self::from_raw(0);
    /// All packets to a device, family `netdev` (`NF_NETDEV_EGRESS`).
    pub const NETDEV_EGRESS: Self = Self::from_raw(1);
}

/// The priorities that have names in `nft` (families `inet`, `ip`, `ip6`).
pub mod priority {
    /// Before connection tracking.
    pub const RAW: i32 = -300;
    /// Changes packets.
    pub const MANGLE: i32 = -150;
    /// Translates destinations.
    pub const DSTNAT: i32 = -100;
    /// Filters.
    pub const FILTER: i32 = 0;
    /// Security labels.
    pub const SECURITY: i32 = 50;
    /// Translates sources.
    pub const SRCNAT: i32 = 100;

    /// The priorities of family `bridge` (`enum nf_br_hook_priorities` of
    /// `linux/netfilter_bridge.h`).
    pub mod bridge {
        /// Translates destinations.
        pub const DSTNAT: i32 = -300;
        /// Filters.
        pub const FILTER: i32 = -200;
        /// Behind the host's own frames.
        pub const OUT: i32 = 100;
        /// Translates sources.
        pub const SRCNAT: i32 = 300;
    }

    /// The priority that `nft` calls `name` in tables of `family`.
    ///
    /// ```
    /// use tapwire::nft::{Family, priority};
    /// assert_eq!(priority::named(Family::BRIDGE, "dstnat"), Some(-300));
    /// assert_eq!(priority::named(Family::NETDEV, "dstnat"), None);
    /// ```
    pub fn named(family: super::Family, name: &str) -> Option<i32> {
        use super::Family;
        Some(match (family, name) {
            (Family::BRIDGE, "dstnat") => bridge::DSTNAT,
            (Family::BRIDGE, "filter") => bridge::FILTER,
            (Family::BRIDGE, "out") => bridge::OUT,
            (Family::BRIDGE, "srcnat") => bridge::SRCNAT,
            (Family::BRIDGE, _) => return None,
            (_, "filter") => FILTER,
            (Family::IP | Family::IP6 | Family::INET, "raw") => RAW,
            (Family::IP | Family::IP6 | Family::INET, "mangle") => MANGLE,
            (Family::IP | Family::IP6 | Family::INET, "dstnat") => DSTNAT,
            (Family::IP | Family::IP6 | Family::INET, "security") => SECURITY,
            (Family::IP | Family::IP6 | Family::INET, "srcnat") => SRCNAT,
            _ => return None,
        })
    }
}

open! {
    /// What happens at the end of a base chain.
    Policy: u32 as Be32 {
        /// The packet goes on.
        ACCEPT = NF_ACCEPT.unsigned_abs(), "accept";
        /// The packet is gone.
        DROP = NF_DROP.unsigned_abs(), "drop";
    }
}
