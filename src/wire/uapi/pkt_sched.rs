//! `linux/pkt_sched.h`.

use super::uapi;

uapi! {
    "linux/pkt_sched.h";
    const TC_H_INGRESS: u32 = 0xffff_fff1;
    const TC_H_MIN_INGRESS: u32 = 0xfff2;
    const TC_H_MIN_EGRESS: u32 = 0xfff3;
}
