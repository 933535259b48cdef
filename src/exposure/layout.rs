//! The static ruleset of an owner, and what changes in it: elements.
//!
//! One `inet` table and one `arp` table bear the owner's name. Their rules
//! never change; a guest or an exposure is an element, or a few. So neither a
//! change nor a packet costs more when there are many.

mod rules;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::error::Invalid;
use crate::guest::{Attachment, GuestName};
use crate::nft::{
    Batch, Comment, Data, DataType, Element, Family, L4Proto, Name, Port, Set, Table, Value,
};
use crate::owner::Owner;
use crate::types::{IfName, Mac};

use super::{Exposure, Protocol};

/// The version of the layout, kept in the table's comment.
const SCHEMA: u32 = 1;

/// The sets and maps of an owner, and the tables that hold them.
#[derive(Debug)]
pub(crate) struct Layout {
    tap_prefix: String,
    pub(crate) table: Table,
    pub(crate) arp: Table,
    /// Host address . protocol . port : guest address . port.
    pub(crate) dnat4: Set,
    pub(crate) dnat6: Set,
    /// Protocol . port : guest address . port, for all host addresses.
    pub(crate) dnat4_any: Set,
    pub(crate) dnat6_any: Set,
    /// TAP . guest MAC . guest address: who may send what.
    pub(crate) guard4: Set,
    pub(crate) guard6: Set,
    /// TAP . guest MAC: who may send neighbour discovery from addresses that
    /// the guest makes up by itself (link-local ones).
    pub(crate) guard_mac: Set,
    pub(crate) guard_arp: Set,
    /// Guest address . the same: a guest that reaches itself through the
    /// host needs masquerade. Also what claims a guest's addresses, because
    /// its key follows from the TAP's number alone.
    pub(crate) self4: Set,
    pub(crate) self6: Set,
    /// The interfaces on which forwarding was switched on for the guests.
    pub(crate) uplinks4: Set,
    pub(crate) uplinks6: Set,
}

impl Layout {
    /// The layout for `owner`, with room for `exposures` in each map and for
    /// `guests`.
    pub(crate) fn new(owner: &Owner, exposures: u32, guests: u32) -> Result<Self, Invalid> {
        let name = Name::new(owner.as_str())?;
        let comment = Comment::new(&format!("owner={owner} schema={SCHEMA}"))?;
        let table = Table::new(Family::INET, name.clone()).comment(comment);
        let arp = Table::new(Family::ARP, name).comment(comment);
        let (ipv4, ipv6) = (DataType::IPV4_ADDR, DataType::IPV6_ADDR);
        let (protocol, port) = (DataType::INET_PROTO, DataType::INET_SERVICE);
        let (tap, mac) = (DataType::IFNAME, DataType::ETHER_ADDR);
        let map = |name, key: &[DataType], data: &[DataType]| {
            Set::map(&table, Name::constant(name), key, data)
                .size(exposures)
                .counter()
        };
        let set = |table: &Table, name, key: &[DataType]| {
            Set::new(table, Name::constant(name), key).size(guests)
        };
        Ok(Self {
            tap_prefix: owner.tap_prefix(),
            dnat4: map("dnat4", &[ipv4, protocol, port], &[ipv4, port]),
            dnat6: map("dnat6", &[ipv6, protocol, port], &[ipv6, port]),
            dnat4_any: map("dnat4_any", &[protocol, port], &[ipv4, port]),
            dnat6_any: map("dnat6_any", &[protocol, port], &[ipv6, port]),
            guard4: set(&table, "guard4", &[tap, mac, ipv4]).counter(),
            guard6: set(&table, "guard6", &[tap, mac, ipv6]).counter(),
            guard_mac: set(&table, "guard_mac", &[tap, mac]),
            guard_arp: set(&arp, "guard", &[tap, mac, ipv4]),
            self4: set(&table, "self4", &[ipv4, ipv4]),
            self6: set(&table, "self6", &[ipv6, ipv6]),
            uplinks4: uplinks(&table, UPLINKS4),
            uplinks6: uplinks(&table, UPLINKS6),
            table,
            arp,
        })
    }

    /// Creates the `inet` table; refused if there is one of that name.
    pub(crate) fn create(&self, batch: &mut Batch) {
        batch.create(&self.table);
        for set in self.exposure_maps().into_iter().chain(self.other_sets()) {
            batch.create(set);
        }
        self.create_rules(batch);
    }

    /// Creates the `arp` table; refused if there is one of that name.
    pub(crate) fn create_arp(&self, batch: &mut Batch) {
        batch.create(&self.arp);
        batch.create(&self.guard_arp);
        self.create_arp_rules(batch);
    }

    /// Removes all of it.
    pub(crate) fn destroy(&self, batch: &mut Batch) {
        batch.destroy(&self.table);
        batch.destroy(&self.arp);
    }

    /// The interfaces on which another owner, to whom `table` belongs, has
    /// switched forwarding on; `None` if it belongs to none.
    pub(crate) fn uplinks_of_other(&self, table: &Table) -> Option<[Set; 2]> {
        let comment = table.current_comment()?.as_str();
        let other = table.family() == Family::INET
            && table.name() != self.table.name()
            && comment == format!("owner={} schema={SCHEMA}", table.name());
        other.then(|| [uplinks(table, UPLINKS4), uplinks(table, UPLINKS6)])
    }

    /// Whether `table` holds this layout.
    pub(crate) fn is_in(&self, table: &Table) -> bool {
        table.current_comment() == self.table.current_comment()
    }

    /// The maps that hold exposures.
    pub(crate) fn exposure_maps(&self) -> [&Set; 4] {
        [&self.dnat4, &self.dnat6, &self.dnat4_any, &self.dnat6_any]
    }

    /// The map that holds this exposure.
    pub(crate) fn map_of(&self, exposure: &Exposure) -> &Set {
        match (exposure.guest_address, exposure.host_address) {
            (IpAddr::V4(_), Some(_)) => &self.dnat4,
            (IpAddr::V4(_), None) => &self.dnat4_any,
            (IpAddr::V6(_), Some(_)) => &self.dnat6,
            (IpAddr::V6(_), None) => &self.dnat6_any,
        }
    }

    /// Claims the addresses of a guest; refused if they are claimed.
    pub(crate) fn claim(&self, guest: &Attachment, batch: &mut Batch) -> Result<(), Invalid> {
        let [self4, self6] = self_elements(guest)?;
        batch.create_elements(&self.self4, [self4]);
        batch.create_elements(&self.self6, [self6]);
        self.guard(guest, batch)
    }

    /// Lets the guest speak with its own addresses, and no other.
    pub(crate) fn guard(&self, guest: &Attachment, batch: &mut Batch) -> Result<(), Invalid> {
        let [self4, self6] = self_elements(guest)?;
        let [guard4, guard6, arp] = guard_elements(guest)?;
        batch.add_elements(&self.guard_mac, [mac_element(guest)?]);
        batch.add_elements(&self.self4, [self4]);
        batch.add_elements(&self.self6, [self6]);
        batch.add_elements(&self.guard4, [guard4]);
        batch.add_elements(&self.guard6, [guard6]);
        batch.add_elements(&self.guard_arp, [arp]);
        Ok(())
    }

    /// Gives up the addresses of a guest.
    pub(crate) fn release(&self, guest: &Attachment, batch: &mut Batch) -> Result<(), Invalid> {
        let [self4, self6] = self_elements(guest)?;
        let [guard4, guard6, arp] = guard_elements(guest)?;
        batch.destroy_elements(&self.guard4, [guard4]);
        batch.destroy_elements(&self.guard6, [guard6]);
        batch.destroy_elements(&self.guard_arp, [arp]);
        batch.destroy_elements(&self.guard_mac, [mac_element(guest)?]);
        batch.destroy_elements(&self.self4, [self4]);
        batch.destroy_elements(&self.self6, [self6]);
        Ok(())
    }

    fn other_sets(&self) -> [&Set; 7] {
        [
            &self.guard4,
            &self.guard6,
            &self.guard_mac,
            &self.self4,
            &self.self6,
            &self.uplinks4,
            &self.uplinks6,
        ]
    }
}

/// So many interfaces can be uplinks.
const UPLINKS: u32 = 4096;

const UPLINKS4: Name = Name::constant("uplinks4");
const UPLINKS6: Name = Name::constant("uplinks6");

fn uplinks(table: &Table, name: Name) -> Set {
    Set::new(table, name, &[DataType::IFNAME]).size(UPLINKS)
}

/// The element of an exposure, labelled with the guest's name.
pub(crate) fn exposure_element(exposure: &Exposure, label: Option<Comment>) -> Element {
    let key = exposure_key(exposure);
    let port = Port(exposure.guest_port.get());
    let element = match exposure.guest_address {
        IpAddr::V4(guest) => Element::new(key).data(Data::from((guest, port))),
        IpAddr::V6(guest) => Element::new(key).data(Data::from((guest, port))),
    };
    match label {
        Some(label) => element.comment(label),
        None => element,
    }
}

/// The key of an exposure's element.
pub(crate) fn exposure_key(exposure: &Exposure) -> Data {
    let protocol = L4Proto::from_raw(exposure.protocol.number());
    let port = Port(exposure.host_port.get());
    match exposure.host_address {
        Some(address) => Data::from((address, protocol, port)),
        None => Data::from((protocol, port)),
    }
}

/// Reads an exposure from an element of a map of this layout; `None` if
/// someone else put something else there.
pub(crate) fn read_exposure(element: &Element) -> Option<Exposure> {
    let (host_address, rest) = match element.key().as_bytes() {
        key if key.len() == 8 => (None, key),
        key if key.len() == 12 => take_ipv4(key)?,
        key => take_ipv6(key)?,
    };
    let (&[protocol, _, _, _], rest) = rest.split_first_chunk()?;
    let (host_port, _) = take_port(rest)?;
    let Some(Value::Data(data)) = element.value() else {
        return None;
    };
    let (guest_address, rest) = match data.as_bytes() {
        data if data.len() == 8 => take_ipv4(data)?,
        data => take_ipv6(data)?,
    };
    let (guest_port, _) = take_port(rest)?;
    let guest = SocketAddr::new(guest_address?, guest_port);
    let exposure = Exposure::new(Protocol::from_number(protocol)?, host_port, guest).ok()?;
    match host_address {
        Some(address) => exposure.on(address).ok(),
        None => Some(exposure),
    }
}

/// Reads TAP, MAC, address and name of a guest from an element of a guard.
pub(crate) fn read_guard(element: &Element) -> Option<(IfName, Mac, IpAddr, GuestName)> {
    let (tap, rest) = element.key().as_bytes().split_first_chunk::<16>()?;
    let tap = str::from_utf8(tap).ok()?.trim_end_matches('\0');
    let (mac, rest) = rest.split_first_chunk::<8>()?;
    let (address, _) = if rest.len() == 4 {
        take_ipv4(rest)?
    } else {
        take_ipv6(rest)?
    };
    let name = GuestName::new(element.current_comment()?.as_str()).ok()?;
    Some((
        IfName::new(tap).ok()?,
        Mac::new(*mac.first_chunk()?).ok()?,
        address?,
        name,
    ))
}

/// Reads the name of an interface from an element of the uplinks.
pub(crate) fn read_uplink(element: &Element) -> Option<IfName> {
    let name = str::from_utf8(element.key().as_bytes()).ok()?;
    IfName::new(name.trim_end_matches('\0')).ok()
}

fn guard_elements(guest: &Attachment) -> Result<[Element; 3], Invalid> {
    let name = Comment::new(guest.name())?;
    let ipv4 = Element::new((guest.tap, guest.mac, guest.ipv4)).comment(name);
    let ipv6 = Element::new((guest.tap, guest.mac, guest.ipv6)).comment(name);
    Ok([ipv4.clone(), ipv6, ipv4])
}

fn mac_element(guest: &Attachment) -> Result<Element, Invalid> {
    Ok(Element::new((guest.tap, guest.mac)).comment(Comment::new(guest.name())?))
}

fn self_elements(guest: &Attachment) -> Result<[Element; 2], Invalid> {
    let name = Comment::new(guest.name())?;
    let ipv4 = Element::new((guest.ipv4, guest.ipv4)).comment(name);
    let ipv6 = Element::new((guest.ipv6, guest.ipv6)).comment(name);
    Ok([ipv4, ipv6])
}

fn take_ipv4(bytes: &[u8]) -> Option<(Option<IpAddr>, &[u8])> {
    let (address, rest) = bytes.split_first_chunk::<4>()?;
    Some((Some(Ipv4Addr::from(*address).into()), rest))
}

fn take_ipv6(bytes: &[u8]) -> Option<(Option<IpAddr>, &[u8])> {
    let (address, rest) = bytes.split_first_chunk::<16>()?;
    Some((Some(Ipv6Addr::from(*address).into()), rest))
}

fn take_port(bytes: &[u8]) -> Option<(u16, &[u8])> {
    let (port, rest) = bytes.split_first_chunk::<2>()?;
    Some((u16::from_be_bytes(*port), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exposures_read_what_their_elements_say() {
        for text in [
            "tcp/8080->198.18.0.2:80",
            "udp/203.0.113.1:53->198.18.0.2:5353",
            "tcp/65535->[fd00::2]:1",
            "udp/[2001:db8::1]:53->[fd00::2]:53",
        ] {
            let exposure: Exposure = text.parse().unwrap();
            assert_eq!(
                read_exposure(&exposure_element(&exposure, None)),
                Some(exposure)
            );
        }
    }

    #[test]
    fn guards_read_what_their_elements_say() {
        let owner = Owner::new("riklet").unwrap();
        let guest = crate::Guest::new("hello-world").unwrap();
        let guest = crate::Networks::default()
            .attachment(&owner, &guest, 7)
            .unwrap();
        let [guard4, guard6, _] = guard_elements(&guest).unwrap();
        let (tap, mac, address, name) = read_guard(&guard4).unwrap();
        assert_eq!(
            (tap, mac, address, name.as_str()),
            (guest.tap, guest.mac, guest.ipv4.into(), "hello-world")
        );
        assert_eq!(read_guard(&guard6).unwrap().2, IpAddr::from(guest.ipv6));
    }

    #[test]
    fn foreign_elements_are_no_exposures() {
        for key in [&[0_u8; 4][..], &[6, 0, 0, 0, 0, 80], &[1; 40]] {
            let element = Element::new(Data::from_bytes(key).unwrap());
            assert_eq!(read_exposure(&element), None);
            assert_eq!(read_guard(&element), None);
        }
    }
}
