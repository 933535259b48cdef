//! Guests as elements of the owner's sets.

use std::net::IpAddr;

use super::{Layout, take_ipv4, take_ipv6};
use crate::error::Invalid;
use crate::guest::{Attachment, GuestName};
use crate::nft::{Batch, Comment, Element};
use crate::types::{IfName, Mac};

impl Layout {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::owner::Owner;

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
}
