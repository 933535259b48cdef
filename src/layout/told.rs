//! What an ICMP error tells of the packet that it is about: the beginning of
//! that packet, behind its own header.

use std::net::IpAddr;

use super::place::Place;
use crate::nft::expr::{Cmp, CmpOp, Immediate};
use crate::nft::{Chain, Data, Family, Register, Rule};

/// An address of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Party {
    Source,
    Destination,
}

impl Party {
    pub(super) fn other(self) -> Self {
        match self {
            Self::Source => Self::Destination,
            Self::Destination => Self::Source,
        }
    }
}

/// The addresses in packets of a family, and in what errors tell of them.
///
/// Checksums stay right. IPv4 has one of its own in the header within:
/// the sum of that header stays what it was, and so does that of the error.
/// `ICMPv6` sums up all of the error.
#[derive(Debug, Clone, Copy)]
pub(super) struct Told {
    width: u32,
    /// Where the addresses are in a header.
    source: u32,
    destination: u32,
    /// Where the checksum is, behind the beginning of the error's header.
    checksum: u32,
}

impl Told {
    /// By errors of IPv4 or else of IPv6.
    pub(super) fn of(family: Family) -> Self {
        if family == Family::IP {
            Self {
                width: 4,
                source: 12,
                destination: 16,
                checksum: HEADER + 10,
            }
        } else {
            Self {
                width: 16,
                source: 8,
                destination: 24,
                checksum: 2,
            }
        }
    }

    /// Copies an address of the error to the other side of the packet that it
    /// is about.
    pub(super) fn copy(self, chain: &Chain, from: Party) -> Rule {
        let to = self.within(from.other());
        self.outer(from).copied(Rule::new(chain), to)
    }

    /// An address of the packet itself.
    pub(super) fn outer(self, side: Party) -> Place {
        Place::network(self.place(side), self.width)
    }

    /// Writes `new` for `old` in the packet that the error is about.
    pub(super) fn rename(self, chain: &Chain, side: Party, old: IpAddr, new: IpAddr) -> Rule {
        let place = self.within(side);
        Rule::new(chain)
            .expression(place.load(Register::FIRST))
            .expression(Cmp::new(Register::FIRST, CmpOp::EQ, Data::from(old)))
            .expression(Immediate::new(Register::FIRST, Data::from(new).into()))
            .expression(place.write())
    }

    fn place(self, side: Party) -> u32 {
        match side {
            Party::Source => self.source,
            Party::Destination => self.destination,
        }
    }

    /// An address in the packet that the error is about.
    fn within(self, side: Party) -> Place {
        let offset = self.place(side).saturating_add(HEADER);
        Place::transport(offset, self.width, self.checksum)
    }
}

/// Length of the header of ICMP and of `ICMPv6` errors (RFC 792, RFC 4443).
const HEADER: u32 = 8;
