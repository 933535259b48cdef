//! `linux/netfilter/xt_multiport.h`: several ports.

use super::uapi;

uapi! {
    "linux/netfilter/xt_multiport.h";
    const XT_MULTIPORT_DESTINATION: u8 = 1;
    const XT_MULTI_PORTS: usize = 15;
}
