//! Guests as elements of the owner's sets.

use std::net::IpAddr;
use std::ptr;

use super::policy::take_tap;
use super::{Layout, take_ipv4, take_ipv6};
use crate::error::Invalid;
use crate::guest::{Attachment, GuestName};
use crate::nft::{Comment, Element, Set};
use crate::types::{IfName, Mac};

impl Layout {
    /// Whether the elements of a set are claims: refused to a new guest if they
    /// are there.
    pub(crate) fn is_claimed(&self, set: &Set) -> bool {
        [&self.self4, &self.self6]
            .into_iter()
            .any(|claims| ptr::eq(claims, set))
    }

    /// All elements of a guest while `peers` are those that it
    /// [reaches directly](Attachment::is_peer_of): they let it speak with its
    /// own addresses, and no other, and say what it may do.
    ///
    /// A pair of peers is among the elements of both. All of one set are put
    /// at once.
    pub(crate) fn guest_elements<'l>(
        &'l self,
        guest: &Attachment,
        peers: &[&Attachment],
        put: &mut impl FnMut(&'l Set, &[Element]),
    ) -> Result<(), Invalid> {
        let name = Comment::new(guest.name())?;
        let [self4, self6] = self_elements(guest, name);
        put(&self.self4, self4.as_slice());
        put(&self.self6, self6.as_slice());
        if guest.elsewhere().is_some() {
            self.elsewhere.elements(guest, name, put);
            return Ok(());
        }
        let (guard4, guard6) = guard_elements(guest, name);
        let own = Element::new((guest.tap, guest.mac)).comment(name);
        put(&self.guard_mac, &[own]);
        let guard4 = [guard4];
        put(&self.guard_arp, &guard4);
        put(&self.guard4, &guard4);
        put(&self.guard6, guard6.as_slice());
        self.clones.elements(guest, name, put)?;
        self.policy_elements(guest, name, peers, put)
    }
}

/// Reads TAP, MAC, address and name of a guest from an element of a guard.
pub(crate) fn read_guard(element: &Element) -> Option<(IfName, Mac, IpAddr, GuestName)> {
    let (tap, rest) = take_tap(element.key().as_bytes())?;
    let (mac, rest) = rest.split_first_chunk::<8>()?;
    let (address, _) = if rest.len() == 4 {
        take_ipv4(rest)?
    } else {
        take_ipv6(rest)?
    };
    let name = GuestName::new(element.current_comment()?.as_str()).ok()?;
    Some((tap, Mac::new(*mac.first_chunk()?).ok()?, address?, name))
}

/// Reads address and name of a guest from the element that claims it.
pub(crate) fn read_self(element: &Element) -> Option<(&str, IpAddr)> {
    let key = element.key().as_bytes();
    let (address, _) = if key.len() == 8 {
        take_ipv4(key)?
    } else {
        take_ipv6(key)?
    };
    Some((element.current_comment()?.as_str(), address?))
}

fn guard_elements(guest: &Attachment, name: Comment) -> (Element, Option<Element>) {
    let (ipv4, ipv6) = guest.own_addresses();
    let ipv4 = Element::new((guest.tap, guest.mac, ipv4)).comment(name);
    let ipv6 = ipv6.map(|ipv6| Element::new((guest.tap, guest.mac, ipv6)).comment(name));
    (ipv4, ipv6)
}

/// What claims the addresses of a guest, of each family.
fn self_elements(guest: &Attachment, name: Comment) -> [Option<Element>; 2] {
    let of = |ipv4: bool| match guest.address(ipv4)? {
        IpAddr::V4(own) => Some(Element::new((own, own)).comment(name)),
        IpAddr::V6(own) => Some(Element::new((own, own)).comment(name)),
    };
    [of(true), of(false)]
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
        let comment = Comment::constant("hello-world");
        let (guard4, guard6) = guard_elements(&guest, comment);
        let (tap, mac, address, name) = read_guard(&guard4).unwrap();
        assert_eq!(
            (tap, mac, address, name.as_str()),
            (guest.tap, guest.mac, guest.ipv4.into(), "hello-world")
        );
        let guard6 = guard6.unwrap();
        assert_eq!(read_guard(&guard6).unwrap().2, IpAddr::from(guest.ipv6));
        let [self4, self6] = self_elements(&guest, comment);
        assert_eq!(
            read_self(&self4.unwrap()),
            Some(("hello-world", guest.ipv4.into()))
        );
        assert_eq!(
            read_self(&self6.unwrap()),
            Some(("hello-world", guest.ipv6.into()))
        );
    }
}
