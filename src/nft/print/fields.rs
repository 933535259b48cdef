//! What loads put into registers, in the words of `nft`.

use super::kind::{Kind, id};
use crate::nft::Family;
use crate::nft::expr::{Ct, Fib, FibResult, MetaKey, Numgen};
use crate::wire::uapi::nf_tables_expr::{NFTA_FIB_F_DADDR, NFTA_FIB_F_SADDR};

/// The name of a key of `meta`, and the kind of its value.
pub(super) fn meta(key: MetaKey) -> Option<(&'static str, Kind)> {
    let number = usize::try_from(key.as_raw()).ok()?;
    META.get(number).copied()
}

/// The text of a `ct` load, and the kind of its value.
pub(super) fn ct(load: &Ct, family: Family) -> Option<(String, Kind)> {
    ct_key(load.key().as_raw(), load.direction().copied(), family)
}

/// The text of a key of `ct`, and the kind of its value.
pub(super) fn ct_key(key: u32, direction: Option<u8>, family: Family) -> Option<(String, Kind)> {
    let (name, mut kind) = CT.get(usize::try_from(key).ok()?).copied()?;
    if kind.id == id::IPV4_ADDR && matches!(key, CT_SRC | CT_DST) && family == Family::IP6 {
        kind = Kind::network(id::IPV6_ADDR, 128);
    }
    let text = match direction {
        None => format!("ct {name}"),
        Some(0) => format!("ct original {name}"),
        Some(1) => format!("ct reply {name}"),
        Some(_) => return None,
    };
    Some((text, kind))
}

/// The text of a `fib` load, and the kind of its value.
pub(super) fn fib(load: &Fib) -> Option<(String, Kind)> {
    let parts = [
        (NFTA_FIB_F_SADDR, "saddr"),
        (NFTA_FIB_F_DADDR, "daddr"),
        (FIB_F_MARK, "mark"),
        (FIB_F_IIF, "iif"),
        (FIB_F_OIF, "oif"),
    ];
    let known = parts.iter().fold(FIB_F_PRESENT, |all, (bit, _)| all | bit);
    if load.flags() & !known != 0 {
        return None;
    }
    let names: Vec<&str> = parts
        .iter()
        .filter(|(bit, _)| load.flags() & bit != 0)
        .map(|(_, name)| *name)
        .collect();
    let (result, kind) = match *load.result() {
        FibResult::OIF => ("oif", Kind::host(id::IFACE_INDEX, 32)),
        FibResult::OIFNAME => ("oifname", Kind::host(id::IFNAME, 128)),
        FibResult::ADDRTYPE => ("type", Kind::host(id::FIB_ADDRTYPE, 32)),
        _ => return None,
    };
    let kind = if load.flags() & FIB_F_PRESENT == 0 {
        kind
    } else {
        Kind::host(id::BOOLEAN, 8)
    };
    Some((format!("fib {} {result}", names.join(" . ")), kind))
}

/// The text of a number generator.
pub(super) fn numgen(load: &Numgen) -> String {
    let offset = offset(*load.offset());
    format!("numgen {} mod {}{offset}", load.kind(), load.modulus())
}

/// What is added to a generated number.
pub(super) fn offset(offset: u32) -> String {
    match offset {
        0 => String::new(),
        some => format!(" offset {some}"),
    }
}

const NUMBER: Kind = Kind::host(id::INTEGER, 32);
const INDEX: Kind = Kind::host(id::IFACE_INDEX, 32);
const TEXT: Kind = Kind::host(id::IFNAME, 128);
const GROUP: Kind = Kind::host(id::DEVGROUP, 32);
const HARDWARE: Kind = Kind::host(id::ARPHRD, 16);

/// By `enum nft_meta_keys`.
const META: &[(&str, Kind)] = &[
    ("meta length", NUMBER),
    ("meta protocol", Kind::network(id::ETHER_TYPE, 16)),
    ("meta priority", Kind::host(id::CLASSID, 32)),
    ("meta mark", Kind::host(id::MARK, 32)),
    ("iif", INDEX),
    ("oif", INDEX),
    ("iifname", TEXT),
    ("oifname", TEXT),
    ("meta iiftype", HARDWARE),
    ("meta oiftype", HARDWARE),
    ("meta skuid", Kind::host(id::UID, 32)),
    ("meta skgid", Kind::host(id::GID, 32)),
    ("meta nftrace", Kind::host(id::INTEGER, 8)),
    ("meta rtclassid", Kind::host(id::REALM, 32)),
    ("meta secmark", NUMBER),
    ("meta nfproto", Kind::host(id::NF_PROTO, 8)),
    ("meta l4proto", Kind::host(id::INET_PROTO, 8)),
    ("meta ibrname", TEXT),
    ("meta obrname", TEXT),
    ("meta pkttype", Kind::host(id::PKT_TYPE, 8)),
    ("meta cpu", NUMBER),
    ("iifgroup", GROUP),
    ("oifgroup", GROUP),
    ("meta cgroup", NUMBER),
    ("meta random", Kind::network(id::INTEGER, 32)),
    ("meta ipsec", Kind::host(id::BOOLEAN, 8)),
    ("meta iifkind", TEXT),
    ("meta oifkind", TEXT),
    ("meta ibrpvid", Kind::host(id::INTEGER, 16)),
    ("meta ibrvproto", Kind::network(id::ETHER_TYPE, 16)),
    ("meta time", Kind::host(id::DATE, 64)),
    ("meta day", Kind::host(id::DAY, 8)),
    ("meta hour", Kind::host(id::HOUR, 32)),
    ("meta sdif", INDEX),
    ("meta sdifname", TEXT),
    ("meta broute", Kind::host(id::INTEGER, 8)),
];

const COUNT: Kind = Kind::host(id::INTEGER, 64);

/// By `enum nft_ct_keys`.
const CT: &[(&str, Kind)] = &[
    ("state", Kind::host(id::CT_STATE, 32)),
    ("direction", Kind::host(id::CT_DIR, 8)),
    ("status", Kind::host(id::CT_STATUS, 32)),
    ("mark", Kind::host(id::MARK, 32)),
    ("secmark", NUMBER),
    ("expiration", Kind::host(id::TIME, 32)),
    ("helper", Kind::host(id::STRING, 128)),
    ("l3proto", Kind::host(id::NF_PROTO, 8)),
    ("saddr", Kind::network(id::IPV4_ADDR, 32)),
    ("daddr", Kind::network(id::IPV4_ADDR, 32)),
    ("protocol", Kind::host(id::INET_PROTO, 8)),
    ("proto-src", Kind::network(id::INET_SERVICE, 16)),
    ("proto-dst", Kind::network(id::INET_SERVICE, 16)),
    ("label", Kind::host(id::CT_LABEL, 128)),
    ("packets", COUNT),
    ("bytes", COUNT),
    ("avgpkt", COUNT),
    ("zone", Kind::host(id::INTEGER, 16)),
    ("event", Kind::host(id::CT_EVENT, 32)),
    ("ip saddr", Kind::network(id::IPV4_ADDR, 32)),
    ("ip daddr", Kind::network(id::IPV4_ADDR, 32)),
    ("ip6 saddr", Kind::network(id::IPV6_ADDR, 128)),
    ("ip6 daddr", Kind::network(id::IPV6_ADDR, 128)),
    ("id", Kind::network(id::INTEGER, 32)),
];

const CT_SRC: u32 = 8;
const CT_DST: u32 = 9;

/// `NFTA_FIB_F_*` of `linux/netfilter/nf_tables.h`.
const FIB_F_MARK: u32 = 4;
const FIB_F_IIF: u32 = 8;
const FIB_F_OIF: u32 = 16;
const FIB_F_PRESENT: u32 = 32;
