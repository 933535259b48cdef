//! `linux/netfilter/nf_nat.h`: the flags of address translations.

use super::uapi;

uapi! {
    "linux/netfilter/nf_nat.h";
    const NF_NAT_RANGE_MAP_IPS: u32 = 1;
    const NF_NAT_RANGE_PROTO_SPECIFIED: u32 = 2;
    const NF_NAT_RANGE_PROTO_RANDOM: u32 = 4;
    const NF_NAT_RANGE_PERSISTENT: u32 = 8;
    const NF_NAT_RANGE_PROTO_RANDOM_FULLY: u32 = 16;
    const NF_NAT_RANGE_NETMAP: u32 = 64;
}
