//! `linux/netfilter/nfnetlink.h`.

use super::uapi;

uapi! {
    "linux/netfilter/nfnetlink.h";
    const NFNETLINK_V0: u8 = 0;
    const NFNL_SUBSYS_NONE: u8 = 0;
    const NFNL_SUBSYS_CTNETLINK: u8 = 1;
    const NFNL_SUBSYS_NFTABLES: u8 = 10;
    const NFNL_SUBSYS_HOOK: u8 = 12;
    const NFNL_MSG_BATCH_BEGIN: u16 = 16;
    const NFNL_MSG_BATCH_END: u16 = 17;
    const NFNLGRP_CONNTRACK_NEW: u32 = 1;
    const NFNLGRP_CONNTRACK_DESTROY: u32 = 3;
    const NFNLGRP_NFTABLES: u32 = 7;
    const NFNLGRP_NFTRACE: u32 = 9;
    NFNL_BATCH_GENID: Be32 = 1;
}
