//! `linux/netfilter/xt_tcpudp.h`: the ports of a packet.

use super::uapi;

uapi! {
    "linux/netfilter/xt_tcpudp.h";
    const XT_TCP_INV_DSTPT: u8 = 0x02;
    const XT_UDP_INV_DSTPT: u8 = 0x02;
}
