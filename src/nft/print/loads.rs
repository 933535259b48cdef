//! Expressions that load something, as what they leave in a register.

use super::fields;
use super::headers::{self, Header};
use super::kind::{Kind, id};
use super::node::{Bits, Node, Source};
use super::options;
use crate::nft::expr::{
    Expr, Exthdr, ExthdrOp, Inner, InnerType, Osf, Rt, RtKey, Socket, SocketKey, Tunnel, TunnelKey,
    TunnelMode, Xfrm, XfrmKey,
};
use crate::nft::{Family, Register};

/// The register, its width in bytes and what it holds then; `None` if the
/// expression loads nothing that has a text.
pub(super) fn load(expression: &Expr, family: Family) -> Option<(Register, u32, Node)> {
    let named = |to: Register, (text, kind): (String, Kind)| {
        Some((to, kind.bytes(), Node::Named(text, kind)))
    };
    match expression {
        Expr::Payload(payload) => {
            let bits = Bits {
                source: Source::Header(*payload.base()),
                offset: payload.offset().checked_mul(8)?,
                width: payload.length().checked_mul(8)?,
            };
            Some((*payload.to(), *payload.length(), Node::Packet(bits)))
        }
        Expr::Meta(meta) => {
            let (text, kind) = fields::meta(*meta.key())?;
            let node = Node::Meta(*meta.key(), text, kind);
            Some((*meta.to(), kind.bytes(), node))
        }
        Expr::Ct(ct) => named(*ct.to(), fields::ct(ct, family)?),
        Expr::Fib(fib) => named(*fib.to(), fields::fib(fib)?),
        Expr::Numgen(numgen) => {
            let text = fields::numgen(numgen);
            named(*numgen.to(), (text, Kind::host(id::INTEGER, 32)))
        }
        Expr::Rt(rt) => named(*rt.to(), route(rt)?),
        Expr::Socket(from) => named(*from.to(), socket(from)?),
        Expr::Osf(osf) => named(*osf.to(), system(osf)?),
        Expr::Xfrm(xfrm) => named(*xfrm.to(), transformation(xfrm)?),
        Expr::Exthdr(header) => option(header),
        Expr::Inner(inner) => {
            let (to, bytes, node) = load(inner.expression(), family)?;
            Some((to, bytes, Node::Inside(tunnel_of(inner)?, Box::new(node))))
        }
        Expr::Tunnel(tunnel) => named(*tunnel.to(), of_tunnel(tunnel)?),
        _ => None,
    }
}

fn option(header: &Exthdr) -> Option<(Register, u32, Node)> {
    let known = options::find(*header.op(), *header.option()).next();
    let source = Source::Option(*header.op(), *header.option());
    match *header.flags() {
        0 => {
            let bits = Bits {
                source,
                offset: header.offset().checked_mul(8)?,
                width: header.length().checked_mul(8)?,
            };
            Some((*header.to(), *header.length(), Node::Packet(bits)))
        }
        PRESENT => {
            let text = match (*header.op(), known) {
                (ExthdrOp::IPV6, Some(known)) => format!("exthdr {}", known.name),
                (_, Some(known)) => known.name.to_owned(),
                (ExthdrOp::TCP_OPTION, None) => format!("tcp option {}", header.option()),
                _ => return None,
            };
            let kind = Kind::host(id::BOOLEAN, 8);
            Some((*header.to(), 1, Node::Named(text, kind)))
        }
        _ => None,
    }
}

fn route(rt: &Rt) -> Option<(String, Kind)> {
    let kind = match *rt.key() {
        RtKey::CLASSID => Kind::host(id::REALM, 32),
        RtKey::NEXTHOP4 => Kind::network(id::IPV4_ADDR, 32),
        RtKey::NEXTHOP6 => Kind::network(id::IPV6_ADDR, 128),
        RtKey::TCP_MSS => Kind::host(id::INTEGER, 16),
        RtKey::XFRM => Kind::host(id::BOOLEAN, 8),
        _ => return None,
    };
    Some((format!("rt {}", rt.key()), kind))
}

fn socket(socket: &Socket) -> Option<(String, Kind)> {
    let kind = match *socket.key() {
        SocketKey::TRANSPARENT | SocketKey::WILDCARD => Kind::host(id::INTEGER, 8),
        SocketKey::MARK => Kind::host(id::MARK, 32),
        // Its value is the number of a folder, whose name only the machine
        // knows.
        SocketKey::CGROUPV2 => {
            let level = socket.level()?;
            let kind = Kind::host(id::CGROUP_V2, 64);
            return Some((format!("socket cgroupv2 level {level}"), kind));
        }
        _ => return None,
    };
    Some((format!("socket {}", socket.key()), kind))
}

/// The header of the tunnel that is looked into.
fn tunnel_of(inner: &Inner) -> Option<&'static Header> {
    Some(match (*inner.kind(), *inner.flags()) {
        (InnerType::VXLAN, _) => &headers::VXLAN,
        (InnerType::GENEVE, _) => &headers::GENEVE,
        // These have no number of the kernel's, only headers.
        (_, GRE_HEADERS) => &headers::INNER_GRE,
        (_, GRETAP_HEADERS) => &headers::GRETAP,
        _ => return None,
    })
}

fn of_tunnel(tunnel: &Tunnel) -> Option<(String, Kind)> {
    if *tunnel.mode() != TunnelMode::NONE {
        return None;
    }
    let kind = match *tunnel.key() {
        TunnelKey::PATH => Kind::host(id::BOOLEAN, 8),
        TunnelKey::ID => Kind::host(id::INTEGER, 32),
        _ => return None,
    };
    Some((format!("tunnel {}", tunnel.key()), kind))
}

fn system(osf: &Osf) -> Option<(String, Kind)> {
    let ttl = match *osf.ttl() {
        0 => "",
        1 => "ttl loose ",
        2 => "ttl skip ",
        _ => return None,
    };
    let what = match *osf.flags() {
        0 => "name",
        1 => "version",
        _ => return None,
    };
    Some((format!("osf {ttl}{what}"), Kind::host(id::STRING, 128)))
}

fn transformation(xfrm: &Xfrm) -> Option<(String, Kind)> {
    let kind = match *xfrm.key() {
        XfrmKey::DADDR_IP4 | XfrmKey::SADDR_IP4 => Kind::network(id::IPV4_ADDR, 32),
        XfrmKey::DADDR_IP6 | XfrmKey::SADDR_IP6 => Kind::network(id::IPV6_ADDR, 128),
        XfrmKey::REQID => Kind::host(id::INTEGER, 32),
        XfrmKey::SPI => Kind::network(id::INTEGER, 32),
        _ => return None,
    };
    let direction = match *xfrm.direction() {
        0 => "in",
        1 => "out",
        _ => return None,
    };
    let number = match *xfrm.number() {
        0 => String::new(),
        number => format!("spnum {number} "),
    };
    Some((format!("ipsec {direction} {number}{}", xfrm.key()), kind))
}

/// `NFT_INNER_NH | NFT_INNER_TH`, and `NFT_INNER_LL` besides.
const GRE_HEADERS: u32 = 0xc;
const GRETAP_HEADERS: u32 = 0xe;

/// `NFT_EXTHDR_F_PRESENT` of `linux/netfilter/nf_tables.h`.
const PRESENT: u32 = 1;
