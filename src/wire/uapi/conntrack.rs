//! `linux/netfilter/nfnetlink_conntrack.h`.

use super::uapi;

uapi! {
    "linux/netfilter/nfnetlink_conntrack.h";
    const IPCTNL_MSG_CT_NEW: u16 = 0;
    const IPCTNL_MSG_CT_GET: u16 = 1;
    const IPCTNL_MSG_CT_DELETE: u16 = 2;
    const IPCTNL_MSG_CT_GET_STATS: u16 = 5;
    CTA_TUPLE_ORIG: Nest = 1;
    CTA_TUPLE_REPLY: Nest = 2;
    CTA_FILTER: Nest = 25;
    CTA_TUPLE_IP: Nest = 1;
    CTA_TUPLE_PROTO: Nest = 2;
    CTA_IP_V4_SRC: Bytes = 1;
    CTA_IP_V4_DST: Bytes = 2;
    CTA_IP_V6_SRC: Bytes = 3;
    CTA_IP_V6_DST: Bytes = 4;
    CTA_PROTO_NUM: U8 = 1;
    CTA_PROTO_SRC_PORT: Be16 = 2;
    CTA_PROTO_DST_PORT: Be16 = 3;
    CTA_STATS_GLOBAL_ENTRIES: Be32 = 1;
    CTA_STATS_GLOBAL_MAX_ENTRIES: Be32 = 2;
    CTA_FILTER_ORIG_FLAGS: U32 = 1;
    CTA_FILTER_REPLY_FLAGS: U32 = 2;
}
