//! What single elements of the owner's sets say.

use std::net::IpAddr;

use ipnet::IpNet;

use super::Note;
use super::elements::claim_key;
use super::sides::{SLOTS, Side};
use crate::exposure::{Key, Mapping, Ports, Protocol};
use crate::layout::{take_ipv4, take_ipv6, take_port};
use crate::nft::{Comment, Data, Element, Value};

/// A port or several of the host, as keys have them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    pub(crate) host_address: Option<IpAddr>,
    pub(crate) protocol: Protocol,
    pub(crate) ports: Ports,
}

impl Place {
    /// The key of the claim of its first port.
    pub(crate) fn key(&self) -> Data {
        claim_key(self.protocol, self.host_address, self.ports.first())
    }

    /// Whether the two have a port in common.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        (self.protocol, self.host_address) == (other.protocol, other.host_address)
            && self.ports.first() <= other.ports.last()
            && other.ports.first() <= self.ports.last()
    }
}

/// A range of ports that lead to a guest's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Span {
    pub(crate) place: Place,
    pub(crate) guest_address: IpAddr,
}

/// Reads a claim, `None` if someone else put something else there, as with
/// all of these.
pub(crate) fn read_claim(side: &Side, element: &Element) -> Option<Mapping> {
    let (host_address, protocol, host_port, rest) = take_key(side, element.key().as_bytes())?;
    let (guest_address, guest_port) = guest_of(side, element)?;
    Some(Mapping {
        protocol,
        host_address,
        host_port: host_port.try_into().ok().filter(|_| rest.is_empty())?,
        guest_address,
        guest_port: guest_port.try_into().ok()?,
    })
}

/// Whether a claim is one of several that an exposure has in a family: of host
/// addresses, or of ports.
pub(crate) fn is_part(claim: &Element) -> bool {
    // Of most, nothing but the guest's name is noted.
    let says_more = |comment: &&Comment| {
        let text = comment.as_bytes();
        text.starts_with(b"+") || text.contains(&b' ')
    };
    let comment = claim.current_comment().filter(says_more);
    let note = comment.and_then(Note::read);
    note.is_some_and(|note| note.group.is_some() || note.ports.is_some())
}

/// Reads for which port more is to be looked up than where it leads.
pub(crate) fn read_special(side: &Side, element: &Element) -> Option<Key> {
    let (host_address, protocol, port, rest) = take_key(side, element.key().as_bytes())?;
    let port = port.try_into().ok().filter(|_| rest.is_empty())?;
    Some(Key::new(protocol, side.ipv4, host_address, port))
}

/// Reads one of several guests: the key of the claim, the slot, the guest.
pub(crate) fn read_slot(side: &Side, element: &Element) -> Option<(Data, u32, (IpAddr, u16))> {
    let bytes = element.key().as_bytes();
    let (key, slot) = bytes.split_last_chunk::<4>()?;
    let (_, _, _, rest) = take_key(side, key)?;
    let slot = u32::from_ne_bytes(*slot);
    if !rest.is_empty() || slot >= SLOTS {
        return None;
    }
    Some((Data::from_bytes(key)?, slot, guest_of(side, element)?))
}

/// Reads a large range.
pub(crate) fn read_span(side: &Side, element: &Element) -> Option<Span> {
    let (place, [first, last]) = take_range(side, element)?;
    let data = data_of(element)?;
    let (guest_address, rest) = take_address(side, data)?;
    let bare = rest.is_empty() && first.is_empty() && last.is_empty();
    bare.then_some(Span {
        place,
        guest_address,
    })
}

/// Reads who may connect where.
pub(crate) fn read_allowed(side: &Side, element: &Element) -> Option<(Place, IpNet)> {
    let (place, [low, high]) = take_range(side, element)?;
    let (low, rest) = take_address(side, low)?;
    let (high, behind) = take_address(side, high)?;
    let bare = rest.is_empty() && behind.is_empty();
    let net = net_between(low, high).filter(|_| bare)?;
    Some((place, net))
}

/// The network that lies between two addresses.
fn net_between(low: IpAddr, high: IpAddr) -> Option<IpNet> {
    let differing = match (low, high) {
        (IpAddr::V4(low), IpAddr::V4(high)) => (low.to_bits() ^ high.to_bits()).leading_zeros(),
        (IpAddr::V6(low), IpAddr::V6(high)) => (low.to_bits() ^ high.to_bits()).leading_zeros(),
        _ => return None,
    };
    let net = IpNet::new(low, u8::try_from(differing).ok()?).ok()?;
    (net.network() == low && net.broadcast() == high).then_some(net)
}

/// Where the ports of an interval lie, and what follows in both of its keys.
fn take_range<'e>(side: &Side, element: &'e Element) -> Option<(Place, [&'e [u8]; 2])> {
    let first = element.key().as_bytes();
    let last = element.key_end().map_or(first, Data::as_bytes);
    let (host_address, protocol, from, behind_first) = take_key(side, first)?;
    let (same_address, same_protocol, to, behind_last) = take_key(side, last)?;
    if (host_address, protocol) != (same_address, same_protocol) {
        return None;
    }
    let place = Place {
        host_address,
        protocol,
        ports: Ports::new(from, to).ok()?,
    };
    Some((place, [behind_first, behind_last]))
}

type Taken<'e> = (Option<IpAddr>, Protocol, u16, &'e [u8]);

fn take_key<'e>(side: &Side, bytes: &'e [u8]) -> Option<Taken<'e>> {
    let (host_address, rest) = if side.exact {
        let (address, rest) = take_address(side, bytes)?;
        (Some(address), rest)
    } else {
        (None, bytes)
    };
    let (&[protocol, _, _, _], rest) = rest.split_first_chunk()?;
    let (port, rest) = take_port(rest)?;
    let (_padding, rest) = rest.split_first_chunk::<2>()?;
    Some((host_address, Protocol::from_number(protocol)?, port, rest))
}

fn take_address<'e>(side: &Side, bytes: &'e [u8]) -> Option<(IpAddr, &'e [u8])> {
    let (address, rest) = if side.ipv4 {
        take_ipv4(bytes)?
    } else {
        take_ipv6(bytes)?
    };
    Some((address?, rest))
}

fn guest_of(side: &Side, element: &Element) -> Option<(IpAddr, u16)> {
    let (address, rest) = take_address(side, data_of(element)?)?;
    let (port, _) = take_port(rest)?;
    Some((address, port))
}

fn data_of(element: &Element) -> Option<&[u8]> {
    match element.value() {
        Some(Value::Data(data)) => Some(data.as_bytes()),
        _ => None,
    }
}
