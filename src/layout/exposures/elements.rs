//! An exposure as elements of the owner's sets.

use std::net::IpAddr;

use super::note::Note;
use super::sides::{SLOTS, Side, guest_at, slot_key};
use crate::error::{Error, Invalid};
use crate::exposure::{Balance, Destination, Exposure, Label, Mapping, Ports, Protocol, Target};
use crate::guest::Attachment;
use crate::layout::Layout;
use crate::nft::{Comment, Data, Element, L4Proto, Port, Set};

/// A guest's address in one family, and its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Seat<'n> {
    pub(crate) address: IpAddr,
    pub(crate) guest: &'n str,
}

impl<'n> Seat<'n> {
    /// The address of an attached guest in a family, and its name. Where an
    /// address was `meant`, that one.
    ///
    /// # Errors
    /// [`Error::Absent`] if it has none in this family.
    pub(crate) fn of(
        meant: &Destination,
        attached: &'n Attachment,
        ipv4: bool,
    ) -> Result<Self, Error> {
        let address = match meant {
            Destination::Address(address) => Some(*address),
            Destination::Name(_) => attached.address(ipv4),
        };
        let kind = if ipv4 {
            "IPv4 address of a guest"
        } else {
            "IPv6 address of a guest"
        };
        let absent = || Error::Absent {
            kind,
            name: meant.to_string().into(),
        };
        Ok(Self {
            address: address.ok_or_else(absent)?,
            guest: attached.name(),
        })
    }
}

impl Layout {
    /// Puts every element of `exposure` with the set that it belongs in.
    /// `seat_of` knows the guests: the address of one in a family.
    ///
    /// Where there is an element of a `limits` set, there is to be the chain
    /// that [`Side::limit_chain`] makes of it as well.
    ///
    /// # Errors
    /// What `seat_of` returns; [`Invalid`] for an allowed network of a family
    /// that the exposure does not serve.
    pub(crate) fn exposure_elements<'l, 'n, E: From<Invalid>>(
        &'l self,
        exposure: &'n Exposure,
        seat_of: impl FnMut(&'n Destination, bool) -> Result<Seat<'n>, E>,
        put: &mut impl FnMut(&'l Set, &Element),
    ) -> Result<(), E> {
        self.elements_as(exposure, exposure.is_span(), seat_of, put)
    }

    /// [`exposure_elements`](Self::exposure_elements), its ports as one
    /// element or as one each.
    pub(crate) fn elements_as<'l, 'n, E: From<Invalid>>(
        &'l self,
        exposure: &'n Exposure,
        as_span: bool,
        mut seat_of: impl FnMut(&'n Destination, bool) -> Result<Seat<'n>, E>,
        put: &mut impl FnMut(&'l Set, &Element),
    ) -> Result<(), E> {
        exposure.check_clients()?;
        for ipv4 in [true, false] {
            if !exposure.serves(ipv4) {
                continue;
            }
            let mut seat = |target: &'n Target| -> Result<_, E> {
                Ok((seat_of(target.guest(), ipv4)?, target.port()))
            };
            // Mostly there is one, for which no memory need be taken.
            let (one, several);
            let seats: &[_] = if let [target] = exposure.targets() {
                one = [seat(target)?];
                &one
            } else {
                let targets = exposure.targets().iter();
                several = targets.map(seat).collect::<Result<Vec<_>, _>>()?;
                &several
            };
            for host_address in exposure.addresses_of(ipv4) {
                let part = Part {
                    side: self.side(ipv4, host_address.is_some()),
                    exposure,
                    host_address,
                    seats,
                };
                if as_span {
                    part.put_span(put);
                } else {
                    part.put_each(put)?;
                }
            }
        }
        Ok(())
    }
}

/// What one side has of an exposure, for one of its host addresses.
struct Part<'l, 'p> {
    side: &'l Side,
    exposure: &'p Exposure,
    host_address: Option<IpAddr>,
    seats: &'p [(Seat<'p>, u16)],
}

impl<'l> Part<'l, '_> {
    fn put_span(&self, put: &mut impl FnMut(&'l Set, &Element)) {
        let Some((seat, _)) = self.seats.first() else {
            return;
        };
        let ports = self.exposure.host_ports();
        let to = seat.address.into();
        let element = Element::leading(self.key(ports.first()), to, self.note(seat));
        put(&self.side.ranges, &element.to(self.key(ports.last())));
    }

    fn put_each(&self, put: &mut impl FnMut(&'l Set, &Element)) -> Result<(), Invalid> {
        let (side, exposure) = (self.side, self.exposure);
        let Some((first, guest_port)) = self.seats.first() else {
            return Ok(());
        };
        let limit = exposure.connection_limit();
        let limited = limit.map(|limit| side.limited(limit)).transpose()?;
        let comment = self.note(first);
        let ports = exposure.host_ports();
        for (port, guest_port) in ports.range().zip(*guest_port..=u16::MAX) {
            let key = self.key(port);
            let to = Data::from((first.address, Port(guest_port)));
            put(&side.dnat, &Element::leading(key, to, comment));
            if exposure.is_plain() {
                continue;
            }
            put(&side.special, &Element::new(key));
            if !exposure.allowed().is_empty() {
                put(&side.restricted, &Element::new(key));
            }
            if let Some(verdict) = &limited {
                put(&side.limits, &Element::new(key).data(verdict.clone()));
            }
            self.put_slots(&key, put);
        }
        for net in exposure.allowed() {
            let (low, high) = (net.network(), net.broadcast());
            if low.is_ipv4() == side.ipv4 {
                let first = behind(&self.key(ports.first()), low);
                let last = behind(&self.key(ports.last()), high);
                put(&side.allow, &Element::new(first).to(last));
            }
        }
        Ok(())
    }

    fn put_slots(&self, key: &Data, put: &mut impl FnMut(&'l Set, &Element)) {
        let guests = u32::try_from(self.seats.len()).unwrap_or_default();
        let set = match self.exposure.balanced() {
            Balance::Source => &self.side.sources,
            Balance::RoundRobin if guests < 2 => return,
            Balance::RoundRobin => &self.side.turns,
        };
        // Of a single guest, the first slot remembers that it was asked for.
        let slots = if guests < 2 { 1 } else { SLOTS };
        for slot in 0..slots {
            let guest = usize::try_from(guest_at(slot, guests)).unwrap_or_default();
            if let Some((seat, port)) = self.seats.get(guest) {
                let to = Data::from((seat.address, Port(*port)));
                let note = Note {
                    group: None,
                    ports: None,
                    label: None,
                    ..note(self.exposure, seat.guest)
                };
                let element = Element::leading(slot_key(key, slot), to, note.comment());
                put(set, &element);
            }
        }
    }

    fn key(&self, port: u16) -> Data {
        claim_key(self.exposure.protocol(), self.host_address, port)
    }

    fn note(&self, seat: &Seat<'_>) -> Option<Comment> {
        note(self.exposure, seat.guest).comment()
    }
}

/// What the comments of its elements say.
pub(crate) fn note<'n>(exposure: &'n Exposure, guest: &'n str) -> Note<'n> {
    let several = |ports: &Ports| ports.count() > 1;
    Note {
        group: group(exposure.host_addresses()),
        by_name: exposure.is_by_name(),
        guest,
        ports: Some(exposure.host_ports()).filter(several),
        label: exposure.label().map(Label::as_str),
    }
}

/// The element that claims a port of the host, and leads it to a guest.
pub(crate) fn claim_element(mapping: &Mapping, comment: Option<Comment>) -> Element {
    let to = (mapping.guest_address, Port(mapping.guest_port.get()));
    Element::leading(key_of(mapping), to.into(), comment)
}

/// The key of the element that claims a port.
pub(crate) fn key_of(mapping: &Mapping) -> Data {
    claim_key(
        mapping.protocol,
        mapping.host_address,
        mapping.host_port.get(),
    )
}

/// The key of a claim.
pub(crate) fn claim_key(protocol: Protocol, host_address: Option<IpAddr>, port: u16) -> Data {
    let protocol = L4Proto::from_raw(protocol.number());
    match host_address {
        Some(address) => Data::from((address, protocol, Port(port))),
        None => Data::from((protocol, Port(port))),
    }
}

/// `key . address`. Parts of a key are padded to 4 bytes each, which an
/// address is anyway.
fn behind(key: &Data, address: IpAddr) -> Data {
    let mut bytes = key.as_bytes().to_vec();
    match address {
        IpAddr::V4(address) => bytes.extend(address.octets()),
        IpAddr::V6(address) => bytes.extend(address.octets()),
    }
    Data::from_bytes(&bytes).unwrap_or(*key)
}

/// What tells the elements of exposures on several host addresses apart that
/// differ in nothing but these addresses. FNV-1a, folded to 16 bits.
fn group(addresses: &[IpAddr]) -> Option<u16> {
    if addresses.len() < 2 {
        return None;
    }
    let mut hash = 0x811c_9dc5_u32;
    let mut take = |octets: &[u8]| {
        for &octet in octets {
            hash = (hash ^ u32::from(octet)).wrapping_mul(0x0100_0193);
        }
    };
    for address in addresses {
        match address {
            IpAddr::V4(address) => take(&address.octets()),
            IpAddr::V6(address) => take(&address.octets()),
        }
    }
    u16::try_from((hash >> 16) ^ (hash & 0xffff)).ok()
}
