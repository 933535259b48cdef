//! `linux/tc_act/tc_mirred.h`.

use super::uapi;

uapi! {
    "linux/tc_act/tc_mirred.h";
    TCA_MIRRED_PARMS: Bytes = 2;
    const TCA_EGRESS_REDIR: i32 = 1;
    const TCA_EGRESS_MIRROR: i32 = 2;
}
