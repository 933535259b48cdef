//! `linux/netfilter/x_tables.h` and `linux/netfilter_ipv4/ip_tables.h`:
//! rules of legacy iptables.

use super::uapi;

uapi! {
    "linux/netfilter_ipv4/ip_tables.h";
    const IPT_SO_GET_INFO: i32 = 64;
    const IPT_SO_GET_ENTRIES: i32 = 65;
    const XT_TABLE_MAXNAMELEN: usize = 32;
    const XT_EXTENSION_MAXNAMELEN: usize = 29;
    const XT_INV_PROTO: u8 = 0x40;
    const IPT_F_FRAG: u8 = 0x01;
    const IPT_F_GOTO: u8 = 0x02;
    const IPT_INV_VIA_IN: u8 = 0x01;
    const IPT_INV_VIA_OUT: u8 = 0x02;
    const IPT_INV_SRCIP: u8 = 0x08;
    const IPT_INV_DSTIP: u8 = 0x10;
    const IPT_INV_FRAG: u8 = 0x20;
    const XT_RETURN: i32 = -5;
}
