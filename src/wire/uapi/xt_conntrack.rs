//! `linux/netfilter/xt_conntrack.h`: the connection of a packet.

use super::uapi;

uapi! {
    "linux/netfilter/xt_conntrack.h";
    const XT_CONNTRACK_STATE: u16 = 0x1;
    const XT_CONNTRACK_STATE_ALIAS: u16 = 0x2000;
}
