//! `linux/netfilter/xt_addrtype.h`: the kind of an address.

use super::uapi;

uapi! {
    "linux/netfilter/xt_addrtype.h";
    const XT_ADDRTYPE_INVERT_DEST: u32 = 0x2;
    const XT_ADDRTYPE_UNICAST: u16 = 0x2;
    const XT_ADDRTYPE_LOCAL: u16 = 0x4;
}
