//! Neighbours: which MAC an IP address has on a link, `RTM_NEWNEIGH` and its
//! kin, `rtnetlink(7)`.

use std::fmt;
use std::net::IpAddr;

use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourHeader, NeighbourMessage,
    NeighbourState as State,
};

use crate::wire::uapi::neighbour::{
    NUD_DELAY, NUD_FAILED, NUD_INCOMPLETE, NUD_NOARP, NUD_PERMANENT, NUD_PROBE, NUD_REACHABLE,
    NUD_STALE,
};
use crate::wire::{DecodeError, Message, Writer};
use crate::{IfIndex, Mac};

use super::codec::{emit, family_of, parse};

/// The MAC address behind an IP address on one link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Neighbour {
    index: IfIndex,
    ip: IpAddr,
    mac: Option<Mac>,
    state: NeighbourState,
}

impl Neighbour {
    /// An entry that the kernel neither looks up nor forgets.
    pub fn new(index: IfIndex, ip: IpAddr, mac: Mac) -> Self {
        Self {
            index,
            ip,
            mac: Some(mac),
            state: NeighbourState::PERMANENT,
        }
    }

    /// The interface of the link.
    pub fn index(&self) -> IfIndex {
        self.index
    }

    /// The IP address.
    pub fn ip(&self) -> IpAddr {
        self.ip
    }

    /// The MAC address; `None` while it is not known, and where the link has
    /// none.
    pub fn mac(&self) -> Option<Mac> {
        self.mac
    }

    /// What the kernel knows about it.
    pub fn state(&self) -> NeighbourState {
        self.state
    }

    pub(crate) fn encode(&self, out: &mut Writer<'_>) {
        let mut message = NeighbourMessage::default();
        message.header.family = family_of(self.ip);
        message.header.ifindex = self.index.get();
        message.header.state = State::from(self.state.number());
        let attributes = &mut message.attributes;
        attributes.push(NeighbourAttribute::Destination(self.ip.into()));
        attributes.extend(
            self.mac
                .map(|mac| NeighbourAttribute::LinkLayerAddress(mac.octets().to_vec())),
        );
        emit(out, &message);
    }

    /// Reads an entry; `None` for one that is not of IPv4 or IPv6.
    pub(crate) fn decode(message: &Message<'_>) -> Result<Option<Self>, DecodeError> {
        let message: NeighbourMessage = parse(message, "neighbour")?;
        let index = IfIndex::new(message.header.ifindex).map_err(|_| DecodeError::Range {
            what: "ndm_ifindex",
        })?;
        let (mut ip, mut mac) = (None, None);
        for attribute in message.attributes {
            match attribute {
                NeighbourAttribute::Destination(NeighbourAddress::Inet(address)) => {
                    ip = Some(IpAddr::V4(address));
                }
                NeighbourAttribute::Destination(NeighbourAddress::Inet6(address)) => {
                    ip = Some(IpAddr::V6(address));
                }
                NeighbourAttribute::LinkLayerAddress(bytes) => mac = mac_of(&bytes),
                _ => {}
            }
        }
        Ok(ip.map(|ip| Self {
            index,
            ip,
            mac,
            state: NeighbourState::from_number(message.header.state.into()),
        }))
    }
}

impl fmt::Display for Neighbour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.ip)?;
        if let Some(mac) = self.mac {
            write!(f, " lladdr {mac}")?;
        }
        write!(f, " dev {}", self.index)
    }
}

/// What the kernel knows about a neighbour: `NUD_*` of `linux/neighbour.h`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct NeighbourState(u16);

impl NeighbourState {
    /// Being asked for, for the first time.
    pub const INCOMPLETE: Self = Self(NUD_INCOMPLETE);
    /// Seen a short while ago.
    pub const REACHABLE: Self = Self(NUD_REACHABLE);
    /// Seen long ago; asked for again when it is used.
    pub const STALE: Self = Self(NUD_STALE);
    /// In use, about to be asked for again.
    pub const DELAY: Self = Self(NUD_DELAY);
    /// Being asked for again.
    pub const PROBE: Self = Self(NUD_PROBE);
    /// Did not answer.
    pub const FAILED: Self = Self(NUD_FAILED);
    /// On a link where nobody is asked.
    pub const NOARP: Self = Self(NUD_NOARP);
    /// Set by hand, for good.
    pub const PERMANENT: Self = Self(NUD_PERMANENT);

    /// The state of this number.
    pub const fn from_number(number: u16) -> Self {
        Self(number)
    }

    /// The kernel's number.
    pub const fn number(self) -> u16 {
        self.0
    }
}

impl fmt::Display for NeighbourState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match *self {
            Self::INCOMPLETE => "incomplete",
            Self::REACHABLE => "reachable",
            Self::STALE => "stale",
            Self::DELAY => "delay",
            Self::PROBE => "probe",
            Self::FAILED => "failed",
            Self::NOARP => "noarp",
            Self::PERMANENT => "permanent",
            Self(number) => return write!(f, "{number:#x}"),
        };
        f.write_str(name)
    }
}

impl fmt::Debug for NeighbourState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Lists neighbours, those of one interface if it is given.
pub(super) fn encode_filter(index: Option<IfIndex>, out: &mut Writer<'_>) {
    let mut message = NeighbourMessage::default();
    message.header = NeighbourHeader::default();
    message
        .attributes
        .extend(index.map(|index| NeighbourAttribute::IfIndex(index.get())));
    emit(out, &message);
}

fn mac_of(bytes: &[u8]) -> Option<Mac> {
    Mac::new(bytes.try_into().ok()?).ok()
}
