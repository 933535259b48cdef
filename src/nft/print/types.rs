//! The types of `nft`: their numbers, names and widths.

/// The numbers of types (`enum datatypes` of `nftables/datatype.h`), and some
/// of this crate above them.
#[rustfmt::skip]
pub(super) mod id {
    pub(crate) const NF_PROTO: u32 = 2;
    pub(crate) const INTEGER: u32 = 4;
    pub(crate) const STRING: u32 = 5;
    pub(crate) const LL_ADDR: u32 = 6;
    pub(crate) const IPV4_ADDR: u32 = 7;
    pub(crate) const IPV6_ADDR: u32 = 8;
    pub(crate) const ETHER_ADDR: u32 = 9;
    pub(crate) const ETHER_TYPE: u32 = 10;
    pub(crate) const ARP_OP: u32 = 11;
    pub(crate) const INET_PROTO: u32 = 12;
    pub(crate) const INET_SERVICE: u32 = 13;
    pub(crate) const ICMP_TYPE: u32 = 14;
    pub(crate) const TCP_FLAG: u32 = 15;
    pub(crate) const DCCP_TYPE: u32 = 16;
    pub(crate) const MH_TYPE: u32 = 17;
    pub(crate) const TIME: u32 = 18;
    pub(crate) const MARK: u32 = 19;
    pub(crate) const IFACE_INDEX: u32 = 20;
    pub(crate) const ARPHRD: u32 = 21;
    pub(crate) const REALM: u32 = 22;
    pub(crate) const CLASSID: u32 = 23;
    pub(crate) const UID: u32 = 24;
    pub(crate) const GID: u32 = 25;
    pub(crate) const CT_STATE: u32 = 26;
    pub(crate) const CT_DIR: u32 = 27;
    pub(crate) const CT_STATUS: u32 = 28;
    pub(crate) const ICMPV6_TYPE: u32 = 29;
    pub(crate) const CT_LABEL: u32 = 30;
    pub(crate) const PKT_TYPE: u32 = 31;
    pub(crate) const ICMP_CODE: u32 = 32;
    pub(crate) const ICMPV6_CODE: u32 = 33;
    pub(crate) const ICMPX_CODE: u32 = 34;
    pub(crate) const DEVGROUP: u32 = 35;
    pub(crate) const DSCP: u32 = 36;
    pub(crate) const ECN: u32 = 37;
    pub(crate) const FIB_ADDRTYPE: u32 = 38;
    pub(crate) const BOOLEAN: u32 = 39;
    pub(crate) const CT_EVENT: u32 = 40;
    pub(crate) const IFNAME: u32 = 41;
    pub(crate) const IGMP_TYPE: u32 = 42;
    pub(crate) const DATE: u32 = 43;
    pub(crate) const HOUR: u32 = 44;
    pub(crate) const DAY: u32 = 45;
    pub(crate) const CGROUP_V2: u32 = 46;
    /// A number that is read without a name: `@th,0,16`.
    pub(crate) const RAW: u32 = 0x1_0000;
}

/// Names of types that [`DataType`](crate::nft::DataType) does not name.
#[rustfmt::skip]
pub(super) const TYPES: &[(u32, &str)] = &[
    (id::STRING, "string"), (id::DCCP_TYPE, "dccp_pkttype"), (id::MH_TYPE, "mh_type"),
    (id::TIME, "time"), (id::REALM, "realm"), (id::CLASSID, "classid"), (id::UID, "uid"),
    (id::GID, "gid"), (id::CT_LABEL, "ct_label"), (id::ICMP_CODE, "icmp_code"),
    (id::ICMPV6_CODE, "icmpv6_code"), (id::ICMPX_CODE, "icmpx_code"), (id::DSCP, "dscp"),
    (id::ECN, "ecn"), (id::CT_EVENT, "ct_event"), (id::IGMP_TYPE, "igmp_type"),
    (id::DATE, "time"), (id::HOUR, "hour"), (id::DAY, "day"), (id::CGROUP_V2, "cgroupsv2"),
];

/// Widths in bits of types that may stand in a concatenation.
#[rustfmt::skip]
pub(super) const WIDTHS: &[(u32, u32)] = &[
    (id::NF_PROTO, 8), (id::INTEGER, 32), (id::LL_ADDR, 48), (id::IPV4_ADDR, 32),
    (id::IPV6_ADDR, 128), (id::ETHER_ADDR, 48), (id::ETHER_TYPE, 16), (id::ARP_OP, 16),
    (id::INET_PROTO, 8), (id::INET_SERVICE, 16), (id::ICMP_TYPE, 8), (id::TCP_FLAG, 8),
    (id::DCCP_TYPE, 4), (id::MH_TYPE, 8), (id::TIME, 64), (id::MARK, 32),
    (id::IFACE_INDEX, 32), (id::ARPHRD, 16), (id::REALM, 32), (id::CLASSID, 32), (id::UID, 32),
    (id::GID, 32), (id::CT_STATE, 32), (id::CT_DIR, 8), (id::CT_STATUS, 32),
    (id::ICMPV6_TYPE, 8), (id::CT_LABEL, 128), (id::PKT_TYPE, 8), (id::ICMP_CODE, 8),
    (id::ICMPV6_CODE, 8), (id::ICMPX_CODE, 8), (id::DEVGROUP, 32), (id::DSCP, 6), (id::ECN, 2),
    (id::FIB_ADDRTYPE, 32), (id::BOOLEAN, 8), (id::CT_EVENT, 32), (id::IFNAME, 128),
    (id::IGMP_TYPE, 8), (id::DATE, 64), (id::HOUR, 32), (id::DAY, 8), (id::CGROUP_V2, 64),
];
