//! `linux/rtnetlink.h`.

use super::uapi;

uapi! {
    "linux/rtnetlink.h";
    const RTM_NEWLINK: u16 = 16;
    const RTM_DELLINK: u16 = 17;
    const RTM_GETLINK: u16 = 18;
    const RTM_SETLINK: u16 = 19;
    const RTM_NEWADDR: u16 = 20;
    const RTM_DELADDR: u16 = 21;
    const RTM_GETADDR: u16 = 22;
    const RTM_NEWROUTE: u16 = 24;
    const RTM_DELROUTE: u16 = 25;
    const RTM_GETROUTE: u16 = 26;
    const RTM_NEWNEIGH: u16 = 28;
    const RTM_DELNEIGH: u16 = 29;
    const RTM_GETNEIGH: u16 = 30;
    const RTM_NEWRULE: u16 = 32;
    const RTM_DELRULE: u16 = 33;
    const RTM_GETRULE: u16 = 34;
    const RTM_NEWQDISC: u16 = 36;
    const RTM_DELQDISC: u16 = 37;
    const RTM_GETQDISC: u16 = 38;
    const RTM_NEWTFILTER: u16 = 44;
    const RTM_DELTFILTER: u16 = 45;
    const RTM_GETTFILTER: u16 = 46;
    const RTM_GETSTATS: u16 = 94;
    TCA_KIND: Text = 1;
    TCA_OPTIONS: Nest = 2;
    TCA_CHAIN: U32 = 11;
    RTA_MULTIPATH: Bytes = 9;
    const RTNLGRP_LINK: u32 = 1;
    const RTNLGRP_IPV4_IFADDR: u32 = 5;
    const RTNLGRP_IPV4_ROUTE: u32 = 7;
    const RTNLGRP_IPV6_IFADDR: u32 = 9;
    const RTNLGRP_IPV6_ROUTE: u32 = 11;
    const RTEXT_FILTER_VF: u32 = 1;
    const RTEXT_FILTER_SKIP_STATS: u32 = 8;
    const RT_TABLE_MAIN: u32 = 254;
    const RTPROT_KERNEL: u8 = 2;
    const RTPROT_STATIC: u8 = 4;
    const RT_SCOPE_UNIVERSE: u8 = 0;
    const RT_SCOPE_SITE: u8 = 200;
    const RT_SCOPE_LINK: u8 = 253;
    const RT_SCOPE_HOST: u8 = 254;
    const RT_SCOPE_NOWHERE: u8 = 255;
    const RTN_UNICAST: u8 = 1;
    const RTN_LOCAL: u8 = 2;
    const RTN_BLACKHOLE: u8 = 6;
    const RTN_UNREACHABLE: u8 = 7;
    const RTN_PROHIBIT: u8 = 8;
    const RTN_THROW: u8 = 9;
}
