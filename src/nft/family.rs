//! The families of `nf_tables`.

use crate::wire::uapi::netfilter::{
    NFPROTO_ARP, NFPROTO_BRIDGE, NFPROTO_INET, NFPROTO_IPV4, NFPROTO_IPV6, NFPROTO_NETDEV,
    NFPROTO_UNSPEC,
};

use super::carried::open;

open! {
    /// The family of a table: which packets its chains see (`NFPROTO_*` of
    /// `linux/netfilter.h`).
    Family: u8 as Be32 {
        /// None in particular: in a list request, all.
        UNSPEC = NFPROTO_UNSPEC, "unspec";
        /// IPv4 and IPv6.
        INET = NFPROTO_INET, "inet";
        /// IPv4.
        IP = NFPROTO_IPV4, "ip";
        /// ARP.
        ARP = NFPROTO_ARP, "arp";
        /// All packets of a device.
        NETDEV = NFPROTO_NETDEV, "netdev";
        /// Ethernet frames that a bridge forwards.
        BRIDGE = NFPROTO_BRIDGE, "bridge";
        /// IPv6.
        IP6 = NFPROTO_IPV6, "ip6";
    }
}
