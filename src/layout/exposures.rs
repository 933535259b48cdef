//! Exposures as elements of the owner's maps.

use std::net::IpAddr;

use super::{Layout, take_ipv4, take_ipv6, take_port};
use crate::exposure::{Mapping, Protocol};
use crate::nft::{Comment, Data, Element, L4Proto, Port, Set, Value};

impl Layout {
    /// The maps that hold exposures.
    pub(crate) fn exposure_maps(&self) -> [&Set; 4] {
        [&self.dnat4, &self.dnat6, &self.dnat4_any, &self.dnat6_any]
    }

    /// The map that holds this exposure.
    pub(crate) fn map_of(&self, exposure: &Mapping) -> &Set {
        match (exposure.guest_address, exposure.host_address) {
            (IpAddr::V4(_), Some(_)) => &self.dnat4,
            (IpAddr::V4(_), None) => &self.dnat4_any,
            (IpAddr::V6(_), Some(_)) => &self.dnat6,
            (IpAddr::V6(_), None) => &self.dnat6_any,
        }
    }
}

/// The element of an exposure, labelled with the guest's name.
pub(crate) fn exposure_element(exposure: &Mapping, label: Option<Comment>) -> Element {
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
pub(crate) fn exposure_key(exposure: &Mapping) -> Data {
    let protocol = L4Proto::from_raw(exposure.protocol.number());
    let port = Port(exposure.host_port.get());
    match exposure.host_address {
        Some(address) => Data::from((address, protocol, port)),
        None => Data::from((protocol, port)),
    }
}

/// Reads an exposure from an element of a map of this layout; `None` if
/// someone else put something else there.
pub(crate) fn read_exposure(element: &Element) -> Option<Mapping> {
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
    Some(Mapping {
        protocol: Protocol::from_number(protocol)?,
        host_address,
        host_port: host_port.try_into().ok()?,
        guest_address: guest_address?,
        guest_port: guest_port.try_into().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exposure::{Destination, Exposure};

    #[test]
    fn exposures_read_what_their_elements_say() {
        for text in [
            "tcp/8080->198.18.0.2:80",
            "udp/203.0.113.1:53->198.18.0.2:5353",
            "tcp/65535->[fd00::2]:1",
            "udp/[2001:db8::1]:53->[fd00::2]:53",
        ] {
            let exposure: Exposure = text.parse().unwrap();
            let mut mappings = Vec::new();
            let address = |guest: &Destination, _| match guest {
                Destination::Address(address) => Ok::<_, ()>(*address),
                Destination::Name(_) => Err(()),
            };
            exposure
                .map_to(&exposure.targets()[0], address, &mut mappings)
                .unwrap();
            let read = read_exposure(&exposure_element(&mappings[0], None));
            assert_eq!(read, Some(mappings[0]));
            assert_eq!(Exposure::try_from(mappings[0]), Ok(exposure));
        }
    }
}
