//! `linux/if_link.h`.

use super::uapi;

uapi! {
    "linux/if_link.h";
    IFLA_ADDRESS: Bytes = 1;
    IFLA_IFNAME: Bytes = 3;
    IFLA_MTU: U32 = 4;
    IFLA_LINK: U32 = 5;
    IFLA_MASTER: U32 = 10;
    IFLA_LINKINFO: Nest = 18;
    IFLA_IFALIAS: Bytes = 20;
    IFLA_AF_SPEC: Nest = 26;
    IFLA_GROUP: U32 = 27;
    IFLA_EXT_MASK: U32 = 29;
    IFLA_LINK_NETNSID: I32 = 37;
    IFLA_INFO_KIND: Bytes = 1;
    IFLA_INET_CONF: Bytes = 1;
    IFLA_STATS_LINK_64: Bytes = 1;
    const MACVLAN_MODE_PRIVATE: u32 = 1;
    const MACVLAN_MODE_VEPA: u32 = 2;
    const MACVLAN_MODE_BRIDGE: u32 = 4;
    const MACVLAN_MODE_PASSTHRU: u32 = 8;
}
