//! Statements that send a packet elsewhere.

use super::kind::{Kind, id};
use super::node::Node;
use super::rule::Reader;
use crate::nft::expr::{Dup, Fwd, Masquerade, Nat, NatType, Redirect, Tproxy};
use crate::nft::{Data, Family, Register};

pub(super) fn nat(reader: &mut Reader<'_>, nat: &Nat) -> Option<String> {
    let verb = match *nat.kind() {
        NatType::SNAT => "snat",
        NatType::DNAT => "dnat",
        _ => return None,
    };
    let prefix = nat.flags() & NETMAP != 0;
    let kind = address_kind(*nat.family());
    let mut target = Target::default();
    if let Some(from) = nat.address() {
        let (node, within) = match nat.port() {
            Some(port) => reader.read_with(*from, *port)?,
            None => (reader.read(*from, kind?.bytes())?, false),
        };
        if let Node::Mapped { data, .. } = &node {
            target.mapped = true;
            target.several =
                data.is_concatenated() || nat.address_max().is_some_and(|max| max != from);
            target.address = Some(reader.stored(&node, kind?)?);
            // Port or last address come out of the map as well.
            if nat.port().is_some() && !within {
                return None;
            }
        } else {
            let max = match nat.address_max() {
                Some(max) => Some(reader.read(*max, kind?.bytes())?),
                None => None,
            };
            target.address = Some(span(reader, &node, max.as_ref(), kind?, prefix)?);
        }
    }
    if let (Some(port), false) = (nat.port(), target.mapped) {
        target.port = Some(ports(reader, *port, nat.port_max())?);
    }
    let mut text = verb.to_owned();
    let family = match *nat.family() {
        Family::IP => Some(" ip"),
        Family::IP6 => Some(" ip6"),
        _ => None,
    };
    let spelled = reader.scope.family == Family::INET && target.address.is_some();
    if spelled || target.several || prefix {
        text.push_str(family?);
    }
    if prefix {
        text.push_str(" prefix");
    }
    let target = target.text(*nat.family());
    if !target.is_empty() {
        push!(text, " to {target}");
    }
    text.push_str(&flags(nat.flags() & !NETMAP)?);
    Some(text)
}

pub(super) fn masquerade(reader: &mut Reader<'_>, masquerade: &Masquerade) -> Option<String> {
    let max = masquerade
        .port_max()
        .filter(|max| Some(*max) != masquerade.port());
    to_port(
        reader,
        "masquerade",
        masquerade.port(),
        max,
        *masquerade.flags() & !SPECIFIED,
    )
}

pub(super) fn redirect(reader: &mut Reader<'_>, redirect: &Redirect) -> Option<String> {
    to_port(
        reader,
        "redirect",
        redirect.port(),
        redirect.port_max(),
        *redirect.flags() & !SPECIFIED,
    )
}

fn to_port(
    reader: &mut Reader<'_>,
    verb: &str,
    port: Option<&Register>,
    max: Option<&Register>,
    bits: u32,
) -> Option<String> {
    let mut text = verb.to_owned();
    if let Some(port) = port {
        push!(text, " to :{}", ports(reader, *port, max)?);
    }
    text.push_str(&flags(bits)?);
    Some(text)
}

pub(super) fn tproxy(reader: &mut Reader<'_>, tproxy: &Tproxy) -> Option<String> {
    let family = *tproxy.family();
    let mut target = Target::default();
    if let Some(from) = tproxy.address() {
        let kind = address_kind(family)?;
        let node = reader.read(*from, kind.bytes())?;
        target.address = Some(reader.stored(&node, kind)?);
    }
    if let Some(port) = tproxy.port() {
        target.port = Some(ports(reader, *port, None)?);
    }
    let word = match family {
        Family::IP if reader.scope.family == Family::INET => " ip",
        Family::IP6 if reader.scope.family == Family::INET => " ip6",
        _ => "",
    };
    Some(format!("tproxy{word} to {}", target.text_bracketed(family)))
}

pub(super) fn dup(reader: &mut Reader<'_>, dup: &Dup) -> Option<String> {
    let device = match dup.device() {
        Some(device) => Some(device_text(reader, *device)?),
        None => None,
    };
    Some(match (dup.address(), device) {
        (Some(address), device) => {
            let kind = address_kind(reader.scope.family)?;
            let node = reader.read(*address, kind.bytes())?;
            let address = reader.stored(&node, kind)?;
            let device = device
                .map(|device| format!(" device {device}"))
                .unwrap_or_default();
            format!("dup to {address}{device}")
        }
        (None, Some(device)) => format!("dup to {device}"),
        (None, None) => return None,
    })
}

pub(super) fn fwd(reader: &mut Reader<'_>, fwd: &Fwd) -> Option<String> {
    let device = device_text(reader, *fwd.device())?;
    let Some(address) = fwd.address() else {
        return Some(format!("fwd to {device}"));
    };
    let family = *fwd.family()?;
    let kind = address_kind(family)?;
    let node = reader.read(*address, kind.bytes())?;
    let address = reader.stored(&node, kind)?;
    Some(format!("fwd {family} to {address} device {device}"))
}

/// An address, a port, or both.
#[derive(Debug, Default)]
struct Target {
    address: Option<String>,
    port: Option<String>,
    mapped: bool,
    several: bool,
}

impl Target {
    fn text(&self, family: Family) -> String {
        match (&self.address, &self.port) {
            (Some(address), None) => address.clone(),
            _ => self.text_bracketed(family),
        }
    }

    fn text_bracketed(&self, family: Family) -> String {
        let address = match &self.address {
            Some(address) if family == Family::IP6 => {
                let ends: Vec<String> = address.split('-').map(|end| format!("[{end}]")).collect();
                ends.join("-")
            }
            Some(address) => address.clone(),
            None => String::new(),
        };
        match &self.port {
            Some(port) => format!("{address}:{port}"),
            None => address,
        }
    }
}

fn span(
    reader: &mut Reader<'_>,
    low: &Node,
    high: Option<&Node>,
    kind: Kind,
    prefix: bool,
) -> Option<String> {
    match (low, high) {
        (Node::Constant(first), Some(Node::Constant(last))) if prefix => net(first, last, kind),
        (low, None) => reader.stored(low, kind),
        (low, Some(high)) => {
            if let (Node::Constant(first), Node::Constant(last)) = (low, high)
                && let Some(net) = net(first, last, kind)
            {
                return Some(net);
            }
            let low = reader.stored(low, kind)?;
            Some(format!("{low}-{}", reader.stored(high, kind)?))
        }
    }
}

/// Two addresses as a net.
fn net(first: &Data, last: &Data, kind: Kind) -> Option<String> {
    let (low, high) = (
        kind.number(first.as_bytes())?,
        kind.number(last.as_bytes())?,
    );
    let free = (low ^ high).checked_add(1)?;
    let whole = free.is_power_of_two() && low & (low ^ high) == 0;
    let length = kind.bits.checked_sub(free.trailing_zeros())?;
    whole.then(|| format!("{}/{length}", kind.of_number(low)))
}

fn ports(reader: &mut Reader<'_>, first: Register, last: Option<&Register>) -> Option<String> {
    let kind = Kind::network(id::INET_SERVICE, 16);
    let node = reader.read(first, 2)?;
    let low = reader.stored(&node, kind)?;
    match last {
        None => Some(low),
        Some(last) => {
            let node = reader.read(*last, 2)?;
            Some(format!("{low}-{}", reader.stored(&node, kind)?))
        }
    }
}

fn device_text(reader: &mut Reader<'_>, from: Register) -> Option<String> {
    let node = reader.read(from, 4)?;
    reader.stored(&node, Kind::host(id::IFACE_INDEX, 32))
}

fn address_kind(family: Family) -> Option<Kind> {
    match family {
        Family::IP => Some(Kind::network(id::IPV4_ADDR, 32)),
        Family::IP6 => Some(Kind::network(id::IPV6_ADDR, 128)),
        _ => None,
    }
}

fn flags(bits: u32) -> Option<String> {
    let words = [
        (RANDOM, "random"),
        (FULLY_RANDOM, "fully-random"),
        (PERSISTENT, "persistent"),
    ];
    let known = words.iter().fold(0, |all, (bit, _)| all | bit);
    let names: Vec<&str> = words
        .iter()
        .filter(|(bit, _)| bits & bit != 0)
        .map(|(_, word)| *word)
        .collect();
    (bits & !known == 0).then(|| match names.as_slice() {
        [] => String::new(),
        names => format!(" {}", names.join(",")),
    })
}

/// `NF_NAT_RANGE_*` of `linux/netfilter/nf_nat.h`.
const SPECIFIED: u32 = 2;
const RANDOM: u32 = 4;
const PERSISTENT: u32 = 8;
const FULLY_RANDOM: u32 = 16;
const NETMAP: u32 = 64;
