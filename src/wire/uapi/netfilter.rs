//! `linux/netfilter.h`: families, hooks, verdicts.

use super::uapi;

uapi! {
    "linux/netfilter.h";
    const NF_DROP: i32 = 0;
    const NF_ACCEPT: i32 = 1;
    const NF_QUEUE: i32 = 3;
    const NF_INET_PRE_ROUTING: u32 = 0;
    const NF_INET_LOCAL_IN: u32 = 1;
    const NF_INET_FORWARD: u32 = 2;
    const NF_INET_LOCAL_OUT: u32 = 3;
    const NF_INET_POST_ROUTING: u32 = 4;
    const NF_INET_INGRESS: u32 = 5;
    const NF_NETDEV_INGRESS: u32 = 0;
    const NF_NETDEV_EGRESS: u32 = 1;
    const NFPROTO_UNSPEC: u8 = 0;
    const NFPROTO_INET: u8 = 1;
    const NFPROTO_IPV4: u8 = 2;
    const NFPROTO_ARP: u8 = 3;
    const NFPROTO_NETDEV: u8 = 5;
    const NFPROTO_BRIDGE: u8 = 7;
    const NFPROTO_IPV6: u8 = 10;
}
