//! Guests whose links are somebody else's, as elements of the owner's sets.

use std::net::IpAddr;

use super::{Layout, Listing, policy::take_tap};
use crate::guest::{Attachment, GuestName};
use crate::nft::{Comment, Data, DataType, Element, Name, Set, Table};
use crate::types::IfName;

/// The sets of guests elsewhere.
#[derive(Debug)]
pub(crate) struct ElsewhereSets {
    /// The name that its TAP would have . the interface by which it is
    /// reached. No rule reads it.
    pub(super) links: Set,
    /// Guest address . that interface: what comes from there would be
    /// answered without coming by here, so it needs masquerade.
    pub(super) behind4: Set,
    pub(super) behind6: Set,
    /// The interfaces on which `route_localnet` was switched on for them. No
    /// rule reads it.
    pub(crate) localnet: Set,
}

impl ElsewhereSets {
    pub(super) fn new(table: &Table, guests: u32) -> Self {
        let link = DataType::IFNAME;
        let set = |name, key: &[DataType]| Set::new(table, Name::constant(name), key).size(guests);
        Self {
            links: set("elsewhere", &[link, link]),
            behind4: set("behind4", &[DataType::IPV4_ADDR, link]),
            behind6: set("behind6", &[DataType::IPV6_ADDR, link]),
            localnet: set("localnet", &[link]),
        }
    }

    /// Those whose elements follow from the guests.
    pub(super) fn all(&self) -> [&Set; 3] {
        [&self.links, &self.behind4, &self.behind6]
    }

    /// The elements of a guest elsewhere; another has none.
    pub(super) fn elements<'l>(
        &'l self,
        guest: &Attachment,
        name: Comment,
        put: &mut impl FnMut(&'l Set, &[Element]),
    ) {
        let Some(place) = guest.elsewhere() else {
            return;
        };
        let link = place.link();
        put(
            &self.links,
            &[Element::new((guest.tap, link)).comment(name)],
        );
        let (mut behind4, mut behind6) = (Vec::new(), Vec::new());
        for address in place.addresses() {
            let (behind, key) = match address {
                IpAddr::V4(address) => (&mut behind4, Data::from((address, link))),
                IpAddr::V6(address) => (&mut behind6, Data::from((address, link))),
            };
            behind.push(Element::new(key).comment(name));
        }
        put(&self.behind4, &behind4);
        put(&self.behind6, &behind6);
    }
}

impl Layout {
    /// The guests elsewhere: the name of the TAP of each, its link, its name.
    pub(crate) fn elsewhere_in(
        &self,
        listing: &Listing,
    ) -> impl Iterator<Item = (IfName, IfName, GuestName)> {
        listing.of(&self.elsewhere.links).iter().filter_map(read)
    }
}

fn read(element: &Element) -> Option<(IfName, IfName, GuestName)> {
    let (tap, rest) = take_tap(element.key().as_bytes())?;
    let (link, _) = take_tap(rest)?;
    let name = GuestName::new(element.current_comment()?.as_str()).ok()?;
    Some((tap, link, name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Connection, Elsewhere, Guest, Networks, Owner};

    #[test]
    fn guests_elsewhere_read_what_their_elements_say() {
        let owner = Owner::new("riklet").unwrap();
        let layout = Layout::new(&owner, 8, 8).unwrap();
        let link = IfName::constant("cni0");
        let place = Elsewhere::new(link, ["10.244.0.5".parse().unwrap()]).unwrap();
        let guest = Guest::new("web-0").unwrap();
        let guest = guest.connection(Connection::Elsewhere(place));
        let guest = Networks::default().attachment(&owner, &guest, 7).unwrap();
        let mut listing = Listing::default();
        let name = Comment::constant("web-0");
        layout
            .elsewhere
            .elements(&guest, name, &mut |set, elements| {
                listing.take(set, elements.to_vec());
            });
        let found: Vec<_> = layout.elsewhere_in(&listing).collect();
        assert_eq!(found, [(guest.tap, link, guest.name)]);
        assert_eq!(listing.of(&layout.elsewhere.behind4).len(), 1);
        assert!(listing.of(&layout.elsewhere.behind6).is_empty());
    }
}
