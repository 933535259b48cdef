//! What a rule has said about the packet so far, and which of its conditions
//! `nft` leaves out because a later one implies them.

use super::headers::{self, Field, Header};
use super::node::Source;
use super::options;
use crate::nft::Family;
use crate::nft::expr::{MetaKey, PayloadBase};

/// What is known about the packet.
#[derive(Debug, Default)]
pub(super) struct Protocols {
    family: Option<Family>,
    network: Option<Network>,
    transport: Option<u8>,
    icmp: Option<u8>,
    vlan: bool,
    /// Whether the link layer is Ethernet.
    ethernet: bool,
    /// Whether an address of the link layer was read.
    linked: bool,
    /// The tunnel that the packet came out of.
    tunnel: Option<&'static Header>,
}

/// The header of the network layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Network {
    Ip,
    Ip6,
    Arp,
}

/// A condition that makes another header readable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dependency {
    /// `meta iiftype ether`.
    Ethernet,
    /// `meta nfproto`.
    NfProto(Network),
    /// `meta protocol`.
    Protocol(Network),
    /// `ether type`.
    EtherType(u16),
    /// `vlan type`.
    VlanType(Network),
    /// `meta l4proto`.
    L4Proto(u8),
    /// `icmp type`, `icmpv6 type`.
    Icmp,
}

/// A field that was found: its header, and whether it alone says of which
/// type an ICMP message is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found {
    pub(super) header: &'static Header,
    pub(super) field: &'static Field,
    implies_type: bool,
}

impl Protocols {
    pub(super) fn of(family: Family) -> Self {
        let network = match family {
            Family::IP => Some(Network::Ip),
            Family::IP6 => Some(Network::Ip6),
            Family::ARP => Some(Network::Arp),
            _ => None,
        };
        Self {
            family: Some(family),
            network,
            ethernet: matches!(family, Family::BRIDGE | Family::NETDEV),
            ..Self::default()
        }
    }

    /// Of the packet inside of a tunnel's.
    pub(super) fn inside(tunnel: &'static Header) -> Self {
        Self {
            tunnel: Some(tunnel),
            ..Self::of(Family::NETDEV)
        }
    }

    /// The tunnel that the packet came out of.
    pub(super) const fn tunnel(&self) -> Option<&'static Header> {
        self.tunnel
    }

    pub(super) const fn network(&self) -> Option<Network> {
        self.network
    }

    /// Learns from `meta KEY == number`.
    pub(super) fn meta_is(&mut self, key: MetaKey, number: u128) -> Option<Dependency> {
        match key {
            MetaKey::NFPROTO => {
                self.network = match number {
                    2 => Some(Network::Ip),
                    10 => Some(Network::Ip6),
                    _ => return None,
                };
                self.network.map(Dependency::NfProto)
            }
            MetaKey::PROTOCOL => {
                self.network = ether(u16::try_from(number).ok()?);
                self.network.map(Dependency::Protocol)
            }
            MetaKey::L4PROTO => {
                let protocol = u8::try_from(number).ok()?;
                self.transport = Some(protocol);
                Some(Dependency::L4Proto(protocol))
            }
            MetaKey::IIFTYPE => {
                self.ethernet |= number == ARPHRD_ETHER;
                (number == ARPHRD_ETHER).then_some(Dependency::Ethernet)
            }
            _ => None,
        }
    }

    /// Learns from `FIELD == number`.
    pub(super) fn field_is(&mut self, found: Found, number: u128) -> Option<Dependency> {
        match (found.header.name, found.field.name) {
            ("ether", "type") => {
                let number = u16::try_from(number).ok()?;
                self.vlan = number == ETH_P_8021Q;
                self.network = ether(number);
                Some(Dependency::EtherType(number))
            }
            ("vlan", "type") => {
                self.network = ether(u16::try_from(number).ok()?);
                self.network.map(Dependency::VlanType)
            }
            ("ip", "protocol") | ("ip6", "nexthdr") => {
                self.transport = u8::try_from(number).ok();
                None
            }
            ("icmp" | "icmpv6", "type") => {
                self.icmp = u8::try_from(number).ok();
                Some(Dependency::Icmp)
            }
            _ => None,
        }
    }

    /// A field is read.
    pub(super) fn reads(&mut self, found: Found) {
        self.linked |= found.header.name == "ether" && found.field.name != "type";
    }

    /// Learns that the type of an ICMP message is one of several.
    pub(super) fn icmp_is_one_of(&mut self, found: Found, numbers: &[u128]) {
        let echo: &[u128] = match found.header.name {
            "icmp" => &[0, 8],
            "icmpv6" => &[128, 129],
            _ => return,
        };
        if found.field.name == "type" && numbers.iter().all(|number| echo.contains(number)) {
            self.icmp = numbers
                .first()
                .and_then(|number| u8::try_from(*number).ok());
        }
    }

    /// The fields that cover exactly these bits.
    pub(super) fn fields(&self, source: Source, offset: u32, bits: u32) -> Option<Vec<Found>> {
        let mut found: Vec<Found> = Vec::new();
        let mut place = offset;
        let end = offset.saturating_add(bits);
        while place < end {
            let left = end.saturating_sub(place);
            let one = self.longest(source, place, left)?;
            place = place.saturating_add(one.field.kind.bits);
            found.push(one);
        }
        Some(found).filter(|found| !found.is_empty())
    }

    /// The field that begins here and is longer than `bits`.
    pub(super) fn beginning(&self, source: Source, offset: u32, bits: u32) -> Option<Found> {
        self.headers(source).into_iter().find_map(|header| {
            let field = header
                .field_from(offset)
                .find(|field| field.kind.bits > bits)?;
            Some(Found::plain(header, field))
        })
    }

    fn longest(&self, source: Source, offset: u32, bits: u32) -> Option<Found> {
        self.headers(source).into_iter().find_map(|header| {
            let known = header
                .field_from(offset)
                .filter(|field| field.kind.bits <= bits)
                .max_by_key(|field| field.kind.bits)
                .map(|field| Found::plain(header, field));
            known.or_else(|| self.icmp_field(header, offset, bits))
        })
    }

    fn icmp_field(&self, header: &'static Header, offset: u32, bits: u32) -> Option<Found> {
        let (field, implies_type) = [32, 16]
            .iter()
            .filter(|width| **width <= bits)
            .find_map(|width| headers::icmp_field(header.protocol?, self.icmp?, offset, *width))?;
        Some(Found {
            header,
            field,
            implies_type,
        })
    }

    fn headers(&self, source: Source) -> Vec<&'static Header> {
        let base = match source {
            Source::Header(base) => base,
            Source::Option(op, number) => return options::find(op, number).collect(),
        };
        match base {
            PayloadBase::LINK if self.vlan => vec![&headers::VLAN, &headers::ETHER],
            PayloadBase::LINK if self.ethernet => vec![&headers::ETHER],
            PayloadBase::NETWORK => match self.network {
                Some(Network::Ip) => vec![&headers::IP],
                Some(Network::Ip6) => vec![&headers::IP6],
                Some(Network::Arp) => vec![&headers::ARP],
                None => Vec::new(),
            },
            PayloadBase::TRANSPORT => match self.transport.and_then(headers::transport) {
                Some(header) => vec![header],
                None => vec![&headers::TH],
            },
            PayloadBase::TUNNEL => self.tunnel.into_iter().collect(),
            _ => Vec::new(),
        }
    }

    /// Whether `nft` adds `dependency` by itself when it reads the field.
    pub(super) fn implies(&self, found: Found, dependency: Dependency) -> bool {
        let family = self.family.unwrap_or(Family::UNSPEC);
        let either = family == Family::BRIDGE || family == Family::NETDEV;
        match (dependency, found.header.name) {
            (Dependency::Ethernet, "ether" | "vlan")
            | (Dependency::EtherType(ETH_P_8021Q), "vlan")
            | (Dependency::VlanType(Network::Ip), "ip")
            | (Dependency::VlanType(Network::Ip6), "ip6")
            | (Dependency::VlanType(Network::Arp), "arp") => true,
            (Dependency::EtherType(ETH_P_IP), "ip" | "icmp" | "igmp")
            | (Dependency::EtherType(ETH_P_IPV6), "ip6" | "icmpv6")
                if self.tunnel.is_some() =>
            {
                true
            }
            (Dependency::EtherType(ETH_P_ARP) | Dependency::Protocol(Network::Arp), "arp")
            | (Dependency::Protocol(Network::Ip), "ip")
            | (Dependency::Protocol(Network::Ip6), "ip6") => either,
            (Dependency::EtherType(ETH_P_IP), "ip")
            | (Dependency::EtherType(ETH_P_IPV6), "ip6") => family == Family::INET && self.linked,
            (Dependency::EtherType(ETH_P_IP), "icmp" | "igmp")
            | (Dependency::EtherType(ETH_P_IPV6), "icmpv6") => family == Family::BRIDGE,
            (Dependency::NfProto(Network::Ip), "ip" | "icmp" | "igmp")
            | (Dependency::NfProto(Network::Ip6), "ip6" | "icmpv6") => family == Family::INET,
            (Dependency::Protocol(Network::Ip), "icmp" | "igmp")
            | (Dependency::Protocol(Network::Ip6), "icmpv6") => family == Family::NETDEV,
            (Dependency::L4Proto(number), _) => {
                self.tunnel != Some(found.header) && found.header.protocol == Some(number)
            }
            (Dependency::Icmp, _) => found.implies_type,
            _ => false,
        }
    }

    /// Whether `nft` adds `dependency` by itself when it reads a refusal with
    /// an ICMP message.
    pub(super) fn reject_implies(&self, dependency: Dependency) -> bool {
        match self.family {
            Some(Family::INET) => matches!(dependency, Dependency::NfProto(_)),
            Some(Family::NETDEV | Family::BRIDGE) => {
                matches!(dependency, Dependency::Protocol(_))
            }
            _ => false,
        }
    }

    /// The same of a refusal with a reset.
    pub(super) fn reset_implies(&self, dependency: Dependency) -> bool {
        let single = matches!(self.family, Some(Family::IP | Family::IP6));
        single && dependency == Dependency::L4Proto(IPPROTO_TCP)
    }
}

impl Found {
    fn plain(header: &'static Header, field: &'static Field) -> Self {
        Self {
            header,
            field,
            implies_type: false,
        }
    }

    pub(super) fn text(self) -> String {
        format!("{} {}", self.header.name, self.field.name)
    }
}

fn ether(number: u16) -> Option<Network> {
    match number {
        ETH_P_IP => Some(Network::Ip),
        ETH_P_IPV6 => Some(Network::Ip6),
        ETH_P_ARP => Some(Network::Arp),
        _ => None,
    }
}

/// Types of frames, of `linux/if_ether.h`.
const ETH_P_IP: u16 = 0x0800;
const ETH_P_ARP: u16 = 0x0806;
const ETH_P_8021Q: u16 = 0x8100;
const ETH_P_IPV6: u16 = 0x86dd;

/// `ARPHRD_ETHER` of `linux/if_arp.h`.
const ARPHRD_ETHER: u128 = 1;

/// `IPPROTO_TCP` of `linux/in.h`.
const IPPROTO_TCP: u8 = 6;
