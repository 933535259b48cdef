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
    IFLA_VFINFO_LIST: Nest = 22;
    IFLA_AF_SPEC: Nest = 26;
    IFLA_GROUP: U32 = 27;
    IFLA_EXT_MASK: U32 = 29;
    IFLA_LINK_NETNSID: I32 = 37;
    IFLA_INFO_KIND: Bytes = 1;
    IFLA_INFO_DATA: Nest = 2;
    IFLA_INFO_SLAVE_KIND: Bytes = 4;
    IFLA_INFO_SLAVE_DATA: Nest = 5;
    IFLA_BRPORT_MODE: U8 = 4;
    IFLA_BRPORT_GUARD: U8 = 5;
    IFLA_BRPORT_PROTECT: U8 = 6;
    IFLA_BRPORT_LEARNING: U8 = 8;
    IFLA_BRPORT_UNICAST_FLOOD: U8 = 9;
    IFLA_BRPORT_MCAST_FLOOD: U8 = 27;
    IFLA_BRPORT_BCAST_FLOOD: U8 = 30;
    IFLA_BRPORT_NEIGH_SUPPRESS: U8 = 32;
    IFLA_BRPORT_ISOLATED: U8 = 33;
    IFLA_BR_VLAN_FILTERING: U8 = 7;
    IFLA_MACVLAN_MODE: U32 = 1;
    IFLA_INET_CONF: Bytes = 1;
    IFLA_INET6_ADDR_GEN_MODE: U8 = 8;
    const IN6_ADDR_GEN_MODE_NONE: u8 = 1;
    IFLA_VF_INFO: Nest = 1;
    IFLA_VF_MAC: Bytes = 1;
    IFLA_VF_VLAN: Bytes = 2;
    IFLA_VF_SPOOFCHK: Bytes = 4;
    IFLA_VF_LINK_STATE: Bytes = 5;
    IFLA_VF_RATE: Bytes = 6;
    IFLA_VF_TRUST: Bytes = 9;
    IFLA_VF_VLAN_LIST: Nest = 12;
    IFLA_VF_VLAN_INFO: Bytes = 1;
    const IFLA_VF_LINK_STATE_AUTO: u32 = 0;
    const IFLA_VF_LINK_STATE_ENABLE: u32 = 1;
    const IFLA_VF_LINK_STATE_DISABLE: u32 = 2;
    IFLA_STATS_LINK_64: Bytes = 1;
    const MACVLAN_MODE_PRIVATE: u32 = 1;
    const MACVLAN_MODE_VEPA: u32 = 2;
    const MACVLAN_MODE_BRIDGE: u32 = 4;
    const MACVLAN_MODE_PASSTHRU: u32 = 8;
}
