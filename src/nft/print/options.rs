//! The options of packets and the extension headers of IPv6, as `nft` names
//! them.

use super::headers::{Header, field, ipv6, number, protocol};
use super::kind::{Kind, id};
use crate::nft::expr::ExthdrOp;

/// An option, or an extension header of IPv6.
pub(super) fn find(op: ExthdrOp, number: u8) -> impl Iterator<Item = &'static Header> {
    OPTIONS
        .iter()
        .filter(move |(known, option, _)| *known == op.as_raw() && *option == number)
        .map(|(_, _, header)| header)
}

const OP_IPV6: u32 = ExthdrOp::IPV6.as_raw();
const OP_TCP: u32 = ExthdrOp::TCP_OPTION.as_raw();
const OP_IPV4: u32 = ExthdrOp::IPV4.as_raw();
const OP_SCTP: u32 = ExthdrOp::SCTP.as_raw();

static OPTIONS: &[(u32, u8, Header)] = &[
    (
        OP_IPV6,
        0,
        Header::option("hbh", &[protocol("nexthdr", 0), number("hdrlength", 8, 8)]),
    ),
    (
        OP_IPV6,
        60,
        Header::option("dst", &[protocol("nexthdr", 0), number("hdrlength", 8, 8)]),
    ),
    (
        OP_IPV6,
        43,
        Header::option(
            "rt",
            &[
                protocol("nexthdr", 0),
                number("hdrlength", 8, 8),
                number("type", 16, 8),
                number("seg-left", 24, 8),
            ],
        ),
    ),
    (
        OP_IPV6,
        43,
        Header::option(
            "srh",
            &[
                number("last-entry", 32, 8),
                number("flags", 40, 8),
                number("tag", 48, 16),
                ipv6("sid[1]", 64),
                ipv6("sid[2]", 192),
            ],
        ),
    ),
    (
        OP_IPV6,
        44,
        Header::option(
            "frag",
            &[
                protocol("nexthdr", 0),
                number("reserved", 8, 8),
                number("frag-off", 16, 13),
                number("reserved2", 29, 2),
                number("more-fragments", 31, 1),
                number("id", 32, 32),
            ],
        ),
    ),
    (
        OP_IPV6,
        135,
        Header::option(
            "mh",
            &[
                protocol("nexthdr", 0),
                number("hdrlength", 8, 8),
                field("type", 16, Kind::network(id::MH_TYPE, 8)),
                number("reserved", 24, 8),
                number("checksum", 32, 16),
            ],
        ),
    ),
    (OP_TCP, 0, Header::option("tcp option eol", &[])),
    (OP_TCP, 1, Header::option("tcp option nop", &[])),
    (
        OP_TCP,
        2,
        Header::option("tcp option maxseg", &[number("size", 16, 16)]),
    ),
    (
        OP_TCP,
        3,
        Header::option("tcp option window", &[number("count", 16, 8)]),
    ),
    (OP_TCP, 4, Header::option("tcp option sack-perm", &[])),
    (
        OP_TCP,
        5,
        Header::option(
            "tcp option sack",
            &[number("left", 16, 32), number("right", 48, 32)],
        ),
    ),
    (
        OP_TCP,
        8,
        Header::option(
            "tcp option timestamp",
            &[number("tsval", 16, 32), number("tsecr", 48, 32)],
        ),
    ),
    (
        OP_TCP,
        30,
        Header::option("tcp option mptcp", &[number("subtype", 16, 4)]),
    ),
    (OP_TCP, 34, Header::option("tcp option fastopen", &[])),
    (
        OP_IPV4,
        131,
        Header::option("ip option lsrr", &[number("ptr", 16, 8)]),
    ),
    (
        OP_IPV4,
        137,
        Header::option("ip option ssrr", &[number("ptr", 16, 8)]),
    ),
    (
        OP_IPV4,
        7,
        Header::option("ip option rr", &[number("ptr", 16, 8)]),
    ),
    (
        OP_IPV4,
        148,
        Header::option("ip option ra", &[number("value", 16, 16)]),
    ),
    (
        OP_SCTP,
        0,
        Header::option(
            "sctp chunk data",
            &[
                number("type", 0, 8),
                number("flags", 8, 8),
                number("length", 16, 16),
                number("tsn", 32, 32),
                number("stream", 64, 16),
                number("ssn", 80, 16),
                number("ppid", 96, 32),
            ],
        ),
    ),
    (
        OP_SCTP,
        1,
        Header::option(
            "sctp chunk init",
            &[
                number("type", 0, 8),
                number("flags", 8, 8),
                number("length", 16, 16),
                number("init-tag", 32, 32),
                number("a-rwnd", 64, 32),
            ],
        ),
    ),
    (
        OP_SCTP,
        3,
        Header::option(
            "sctp chunk sack",
            &[
                number("type", 0, 8),
                number("flags", 8, 8),
                number("length", 16, 16),
                number("cum-tsn-ack", 32, 32),
                number("a-rwnd", 64, 32),
            ],
        ),
    ),
];
