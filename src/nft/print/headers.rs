//! The headers of packets and their fields, as `nft` names them.

use super::kind::{Kind, id};

/// A header: its name and its fields.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) name: &'static str,
    /// The protocol number of a transport header.
    pub(super) protocol: Option<u8>,
    pub(super) fields: &'static [Field],
}

/// A field: its name, its first bit and its kind.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) offset: u32,
    pub(super) kind: Kind,
}

impl Header {
    const fn transport(name: &'static str, protocol: u8, fields: &'static [Field]) -> Self {
        Self {
            name,
            protocol: Some(protocol),
            fields,
        }
    }

    const fn network(name: &'static str, fields: &'static [Field]) -> Self {
        Self {
            name,
            protocol: None,
            fields,
        }
    }

    pub(super) const fn option(name: &'static str, fields: &'static [Field]) -> Self {
        Self {
            name,
            protocol: None,
            fields,
        }
    }

    const fn link(name: &'static str, fields: &'static [Field]) -> Self {
        Self {
            name,
            protocol: None,
            fields,
        }
    }

    /// The field of this number in what `nft` keeps with a set, from 1 on.
    pub(super) fn described_field(&self, number: usize) -> Option<&'static Field> {
        // `vlan cfi` is an older name of `vlan dei`.
        let number = match (self.name, number) {
            ("vlan", 3..) => number.checked_sub(1)?,
            (_, number) => number,
        };
        self.fields.get(number.checked_sub(1)?)
    }

    /// The fields that begin here.
    pub(super) fn field_from(&self, offset: u32) -> impl Iterator<Item = &'static Field> {
        self.fields
            .iter()
            .filter(move |field| field.offset == offset)
    }
}

pub(super) const fn field(name: &'static str, offset: u32, kind: Kind) -> Field {
    Field { name, offset, kind }
}

pub(super) const fn number(name: &'static str, offset: u32, bits: u32) -> Field {
    field(name, offset, Kind::network(id::INTEGER, bits))
}

pub(super) const fn port(name: &'static str, offset: u32) -> Field {
    field(name, offset, Kind::network(id::INET_SERVICE, 16))
}

pub(super) const fn ipv4(name: &'static str, offset: u32) -> Field {
    field(name, offset, Kind::network(id::IPV4_ADDR, 32))
}

pub(super) const fn ipv6(name: &'static str, offset: u32) -> Field {
    field(name, offset, Kind::network(id::IPV6_ADDR, 128))
}

pub(super) const fn mac(name: &'static str, offset: u32) -> Field {
    field(name, offset, Kind::network(id::ETHER_ADDR, 48))
}

pub(super) const fn protocol(name: &'static str, offset: u32) -> Field {
    field(name, offset, Kind::network(id::INET_PROTO, 8))
}

/// The transport header of this protocol. Of `icmp`, the fields behind the
/// checksum depend on the type.
pub(super) fn transport(number: u8) -> Option<&'static Header> {
    TRANSPORT
        .iter()
        .copied()
        .find(|header| header.protocol == Some(number))
}

static GRE: Header = Header::transport(
    "gre",
    IPPROTO_GRE,
    &[
        number("flags", 0, 5),
        number("version", 13, 3),
        field("protocol", 16, Kind::network(id::ETHER_TYPE, 16)),
    ],
);

/// Headers of tunnels that can be looked into, with the protocol that carries
/// them.
pub(super) static VXLAN: Header = Header::transport(
    "vxlan",
    IPPROTO_UDP,
    &[number("vni", 32, 24), number("flags", 0, 8)],
);

pub(super) static GENEVE: Header = Header::transport(
    "geneve",
    IPPROTO_UDP,
    &[
        number("vni", 32, 24),
        field("type", 16, Kind::network(id::ETHER_TYPE, 16)),
    ],
);

pub(super) static INNER_GRE: Header = Header::transport("gre", IPPROTO_GRE, &[]);

pub(super) static GRETAP: Header = Header::transport("gretap", IPPROTO_GRE, &[]);

/// `IPPROTO_UDP` and `IPPROTO_GRE` of `linux/in.h`.
const IPPROTO_UDP: u8 = 17;
const IPPROTO_GRE: u8 = 47;

pub(super) static ETHER: Header = Header::link(
    "ether",
    &[
        mac("daddr", 0),
        mac("saddr", 48),
        field("type", 96, Kind::network(id::ETHER_TYPE, 16)),
    ],
);

pub(super) static VLAN: Header = Header::link(
    "vlan",
    &[
        number("pcp", 112, 3),
        number("dei", 115, 1),
        number("id", 116, 12),
        field("type", 128, Kind::network(id::ETHER_TYPE, 16)),
    ],
);

pub(super) static ARP: Header = Header::network(
    "arp",
    &[
        number("htype", 0, 16),
        field("ptype", 16, Kind::network(id::ETHER_TYPE, 16)),
        number("hlen", 32, 8),
        number("plen", 40, 8),
        field("operation", 48, Kind::network(id::ARP_OP, 16)),
        mac("saddr ether", 64),
        mac("daddr ether", 144),
        ipv4("saddr ip", 112),
        ipv4("daddr ip", 192),
    ],
);

pub(super) static IP: Header = Header::network(
    "ip",
    &[
        number("version", 0, 4),
        number("hdrlength", 4, 4),
        field("dscp", 8, Kind::network(id::DSCP, 6)),
        field("ecn", 14, Kind::network(id::ECN, 2)),
        number("length", 16, 16),
        number("id", 32, 16),
        number("frag-off", 48, 16),
        number("ttl", 64, 8),
        protocol("protocol", 72),
        number("checksum", 80, 16),
        ipv4("saddr", 96),
        ipv4("daddr", 128),
    ],
);

pub(super) static IP6: Header = Header::network(
    "ip6",
    &[
        number("version", 0, 4),
        field("dscp", 4, Kind::network(id::DSCP, 6)),
        field("ecn", 10, Kind::network(id::ECN, 2)),
        number("flowlabel", 12, 20),
        number("length", 32, 16),
        protocol("nexthdr", 48),
        number("hoplimit", 56, 8),
        ipv6("saddr", 64),
        ipv6("daddr", 192),
    ],
);

/// Any transport header that begins with ports.
pub(super) static TH: Header = Header {
    name: "th",
    protocol: None,
    fields: &[port("sport", 0), port("dport", 16)],
};

static TCP: Header = Header::transport(
    "tcp",
    6,
    &[
        port("sport", 0),
        port("dport", 16),
        number("sequence", 32, 32),
        number("ackseq", 64, 32),
        number("doff", 96, 4),
        number("reserved", 100, 4),
        field("flags", 104, Kind::network(id::TCP_FLAG, 8)),
        number("window", 112, 16),
        number("checksum", 128, 16),
        number("urgptr", 144, 16),
    ],
);

static UDP: Header = Header::transport(
    "udp",
    17,
    &[
        port("sport", 0),
        port("dport", 16),
        number("length", 32, 16),
        number("checksum", 48, 16),
    ],
);

static UDPLITE: Header = Header::transport(
    "udplite",
    136,
    &[
        port("sport", 0),
        port("dport", 16),
        number("csumcov", 32, 16),
        number("checksum", 48, 16),
    ],
);

static SCTP: Header = Header::transport(
    "sctp",
    132,
    &[
        port("sport", 0),
        port("dport", 16),
        number("vtag", 32, 32),
        number("checksum", 64, 32),
    ],
);

static DCCP: Header = Header::transport(
    "dccp",
    33,
    &[
        port("sport", 0),
        port("dport", 16),
        field("type", 67, Kind::network(id::DCCP_TYPE, 4)),
    ],
);

static AH: Header = Header::transport(
    "ah",
    51,
    &[
        protocol("nexthdr", 0),
        number("hdrlength", 8, 8),
        number("reserved", 16, 16),
        number("spi", 32, 32),
        number("sequence", 64, 32),
    ],
);

static ESP: Header = Header::transport(
    "esp",
    50,
    &[number("spi", 0, 32), number("sequence", 32, 32)],
);

static COMP: Header = Header::transport(
    "comp",
    108,
    &[
        protocol("nexthdr", 0),
        number("flags", 8, 8),
        number("cpi", 16, 16),
    ],
);

static IGMP: Header = Header::transport(
    "igmp",
    2,
    &[
        field("type", 0, Kind::network(id::IGMP_TYPE, 8)),
        number("checksum", 16, 16),
        number("mrt", 8, 8),
        ipv4("group", 32),
    ],
);

static ICMP: Header = Header::transport(
    "icmp",
    1,
    &[
        field("type", 0, Kind::network(id::ICMP_TYPE, 8)),
        field("code", 8, Kind::network(id::ICMP_CODE, 8)),
        number("checksum", 16, 16),
    ],
);

static ICMPV6: Header = Header::transport(
    "icmpv6",
    58,
    &[
        field("type", 0, Kind::network(id::ICMPV6_TYPE, 8)),
        field("code", 8, Kind::network(id::ICMPV6_CODE, 8)),
        number("checksum", 16, 16),
    ],
);

static TRANSPORT: &[&Header] = &[
    &TCP, &UDP, &ICMP, &ICMPV6, &SCTP, &UDPLITE, &DCCP, &AH, &ESP, &COMP, &IGMP, &GRE,
];

/// The header of this number in what `nft` keeps with a set (`enum
/// proto_desc_id` of `nftables/proto.h`).
pub(super) fn described(number: u32) -> Option<&'static Header> {
    let number = usize::try_from(number).ok()?.checked_sub(1)?;
    DESCRIBED.get(number).copied()
}

static DESCRIBED: &[&Header] = &[
    &AH, &ESP, &COMP, &ICMP, &IGMP, &UDP, &UDPLITE, &TCP, &DCCP, &SCTP, &TH, &IP, &IP6, &ICMPV6,
    &ARP, &VLAN, &ETHER,
];

/// The field of an ICMP message of this type, and whether the field alone
/// says the type.
pub(super) fn icmp_field(
    protocol: u8,
    kind: u8,
    offset: u32,
    bits: u32,
) -> Option<(&'static Field, bool)> {
    ICMP_FIELDS
        .iter()
        .find(|(header, types, field, _)| {
            *header == protocol
                && types.contains(&kind)
                && field.offset == offset
                && field.kind.bits == bits
        })
        .map(|(_, _, field, implied)| (field, *implied))
}

type IcmpField = (u8, &'static [u8], Field, bool);

static ICMP_FIELDS: &[IcmpField] = &[
    (1, &[0, 8], number("id", 32, 16), false),
    (1, &[0, 8], number("sequence", 48, 16), false),
    (1, &[3], number("mtu", 48, 16), true),
    (1, &[5], number("gateway", 32, 32), true),
    (58, &[128, 129], number("id", 32, 16), false),
    (58, &[128, 129], number("sequence", 48, 16), false),
    (58, &[2], number("mtu", 32, 32), true),
    (58, &[4], number("parameter-problem", 32, 32), true),
];
