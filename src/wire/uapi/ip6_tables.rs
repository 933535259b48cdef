//! `linux/netfilter_ipv6/ip6_tables.h`.

use super::uapi;

uapi! {
    "linux/netfilter_ipv6/ip6_tables.h";
    const IP6T_SO_GET_INFO: i32 = 64;
    const IP6T_SO_GET_ENTRIES: i32 = 65;
    const IP6T_F_PROTO: u8 = 0x01;
    const IP6T_F_GOTO: u8 = 0x04;
    const IP6T_INV_VIA_IN: u8 = 0x01;
    const IP6T_INV_VIA_OUT: u8 = 0x02;
    const IP6T_INV_SRCIP: u8 = 0x08;
    const IP6T_INV_DSTIP: u8 = 0x10;
}
