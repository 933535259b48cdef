//! A packet of which some things are known.

use std::net::IpAddr;

use super::ports::{Byte, Ports};
use crate::nft::ct;
use crate::types::{IF_NAME_MAX, IfIndex, IfName};

/// Whether a condition holds, as far as can be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Truth {
    No,
    /// For some of the probe's ports, and not for others.
    Partly,
    Maybe,
    Yes,
}

impl Truth {
    pub(super) fn and(self, other: Self) -> Self {
        self.min(other)
    }

    pub(super) fn inverted_if(self, inverted: bool) -> Self {
        match (self, inverted) {
            (Self::No, true) => Self::Yes,
            (Self::Yes, true) => Self::No,
            (same, _) => same,
        }
    }
}

impl From<bool> for Truth {
    fn from(holds: bool) -> Self {
        if holds { Self::Yes } else { Self::No }
    }
}

impl From<Option<bool>> for Truth {
    fn from(holds: Option<bool>) -> Self {
        holds.map_or(Self::Maybe, Self::from)
    }
}

/// An interface that a packet comes in or leaves by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Interface {
    /// At this hook there is none.
    Absent,
    /// Some.
    Unknown,
    /// This one; its index if it is there.
    Named(IfName, Option<IfIndex>),
}

impl Interface {
    /// The 16 bytes of its name, zeros if there is none.
    pub(super) fn name(self) -> Option<[u8; IF_NAME_MAX + 1]> {
        match self {
            Self::Absent => Some([0; IF_NAME_MAX + 1]),
            Self::Unknown => None,
            Self::Named(name, _) => Some(*name.as_bytes()),
        }
    }

    pub(super) fn index(self) -> Option<u32> {
        match self {
            Self::Absent => Some(0),
            Self::Unknown => None,
            Self::Named(_, index) => index.map(IfIndex::get),
        }
    }
}

/// A packet that is followed through the rules of others. What is `None` is
/// not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Probe {
    pub(super) ipv4: bool,
    pub(super) incoming: Interface,
    pub(super) outgoing: Interface,
    pub(super) source: Option<IpAddr>,
    pub(super) destination: Option<IpAddr>,
    /// Whether the destination is an address of the host.
    pub(super) local: bool,
    pub(super) protocol: Option<u8>,
    /// The destination port: one of these.
    pub(super) ports: Option<Ports>,
    /// Of its connection: new for the first packet, else of an answer.
    pub(super) state: ct::State,
    /// Whether its connection's destination is translated.
    pub(super) translated: bool,
}

impl Probe {
    /// The byte at `offset` of the IP header.
    pub(super) fn network(&self, offset: usize) -> Option<u8> {
        let (protocol, source, destination, width): (_, _, _, usize) = if self.ipv4 {
            (9, 12, 16, 4)
        } else {
            (6, 8, 24, 16)
        };
        if offset == protocol {
            return self.protocol;
        }
        let part = |address: Option<IpAddr>, start: usize| {
            let place = offset.checked_sub(start).filter(|&place| place < width)?;
            match address? {
                IpAddr::V4(address) => address.octets().get(place).copied(),
                IpAddr::V6(address) => address.octets().get(place).copied(),
            }
        };
        part(self.source, source).or_else(|| part(self.destination, destination))
    }

    /// The byte at `offset` of the TCP or UDP header.
    pub(super) fn transport(&self, offset: usize) -> Option<Byte> {
        let [high, low] = self.ports?.bytes();
        match offset {
            2 => Some(high),
            3 => Some(low),
            _ => None,
        }
    }

    /// Whether the destination port lies between these.
    pub(super) fn port_within(&self, low: u16, high: u16) -> Truth {
        match self.ports {
            _ if (low, high) == (0, u16::MAX) => Truth::Yes,
            None => Truth::Maybe,
            Some(ports) => ports.within(low, high),
        }
    }

    /// Whether an address is `wanted` in the bits of `mask`.
    pub(super) fn address_is(address: Option<IpAddr>, wanted: &[u8], mask: &[u8]) -> Truth {
        if mask.iter().all(|&bits| bits == 0) {
            return Truth::Yes;
        }
        let same = |bytes: &[u8]| {
            let pairs = bytes.iter().zip(wanted).zip(mask);
            pairs.into_iter().all(|((a, b), mask)| (a ^ b) & mask == 0)
        };
        address
            .map(|address| match address {
                IpAddr::V4(address) => same(&address.octets()),
                IpAddr::V6(address) => same(&address.octets()),
            })
            .into()
    }
}
