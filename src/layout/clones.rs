//! Clones as elements of the owner's sets and maps.

use std::collections::HashMap;
use std::net::Ipv6Addr;

use super::policy::take_tap;
use super::{Layout, Listing};
use crate::error::Invalid;
use crate::guest::{Attachment, Connection, Snapshot};
use crate::nft::{Comment, Data, DataType, Element, Name, Set, Table};
use crate::types::IfName;

/// What is known of clones. The maps of rewritten ones are keyed by the clone's
/// TAP and the address that is rewritten, so that a packet with another stays
/// as it is. They hold the clone and its gateway, which is the host.
#[derive(Debug)]
pub(crate) struct CloneMaps {
    /// TAP . address in which the clone believes : the one that the host knows.
    pub(super) clone4: Set,
    pub(super) clone6: Set,
    /// TAP . address that the host knows : the one in which the clone believes.
    /// The comments of clones hold the snapshot.
    pub(super) inner4: Set,
    pub(super) inner6: Set,
    /// The same as the first ones of IPv4, for ARP.
    pub(super) clone_arp: Set,
    pub(super) inner_arp: Set,
    /// The links that lead to clones in namespaces, where the rest is done.
    /// The comments hold the snapshot. No rule reads them.
    pub(super) inside4: Set,
    pub(super) inside6: Set,
}

impl CloneMaps {
    pub(super) fn new(table: &Table, arp: &Table, guests: u32) -> Self {
        let map = |table, name, address| {
            let key = [DataType::IFNAME, address];
            let set = Set::map(table, Name::constant(name), &key, &[address]);
            set.size(guests.saturating_mul(OF_EACH))
        };
        let inside = |name| Set::new(table, Name::constant(name), &[DataType::IFNAME]).size(guests);
        let (ipv4, ipv6) = (DataType::IPV4_ADDR, DataType::IPV6_ADDR);
        Self {
            clone4: map(table, "clone4", ipv4),
            clone6: map(table, "clone6", ipv6),
            inner4: map(table, "inner4", ipv4),
            inner6: map(table, "inner6", ipv6),
            clone_arp: map(arp, "clone", ipv4),
            inner_arp: map(arp, "inner", ipv4),
            inside4: inside("inside4"),
            inside6: inside("inside6"),
        }
    }

    pub(crate) fn all(&self) -> [&Set; 8] {
        [
            &self.clone4,
            &self.clone6,
            &self.inner4,
            &self.inner6,
            &self.clone_arp,
            &self.inner_arp,
            &self.inside4,
            &self.inside6,
        ]
    }

    /// The elements of a clone; a guest that is none has none.
    pub(super) fn elements<'l>(
        &'l self,
        guest: &Attachment,
        name: Comment,
        put: &mut impl FnMut(&'l Set, &[Element]),
    ) -> Result<(), Invalid> {
        match guest.connection() {
            Connection::Routed | Connection::Elsewhere(_) => Ok(()),
            Connection::Rewritten(snapshot) => self.rewritten(guest, name, snapshot, put),
            Connection::Namespaced(snapshot) => {
                let (notes4, notes6) = notes(snapshot);
                let link = || Element::new(guest.tap);
                put(&self.inside4, &[link().comment(Comment::new(&notes4)?)]);
                if !notes6.is_empty() {
                    put(&self.inside6, &[link().comment(Comment::new(&notes6)?)]);
                }
                Ok(())
            }
        }
    }

    fn rewritten<'l>(
        &'l self,
        guest: &Attachment,
        name: Comment,
        snapshot: &Snapshot,
        put: &mut impl FnMut(&'l Set, &[Element]),
    ) -> Result<(), Invalid> {
        let tap = guest.tap;
        let (notes4, notes6) = notes(snapshot);
        let (own, inner) = (guest.ipv4, snapshot.ipv4_net().addr());
        let (gateway, believed) = (guest.gateway_ipv4, snapshot.gateway_ipv4());
        let noted = Comment::new(&notes4)?;
        let to = [
            translation((tap, inner), own, Some(name)),
            translation((tap, believed), gateway, None),
        ];
        put(&self.clone_arp, &to);
        put(&self.clone4, &to);
        let from = |comment| {
            [
                translation((tap, own), inner, Some(comment)),
                translation((tap, gateway), believed, None),
            ]
        };
        put(&self.inner_arp, &from(name));
        put(&self.inner4, &from(noted));
        let Some(net) = snapshot.ipv6_net() else {
            return Ok(());
        };
        let (own, inner) = (guest.ipv6, net.addr());
        let to = translation((tap, inner), own, Some(name));
        let from = translation((tap, own), inner, Some(Comment::new(&notes6)?));
        let Some(believed) = snapshot.translated_gateway_ipv6() else {
            put(&self.clone6, &[to]);
            put(&self.inner6, &[from]);
            return Ok(());
        };
        let gateway = guest.gateway_ipv6;
        let asked = |address| translation((tap, address), gateway, None);
        let solicited = solicited_node(believed);
        put(&self.clone6, &[to, asked(believed), asked(solicited)]);
        let answered = translation((tap, gateway), believed, None);
        put(&self.inner6, &[from, answered]);
        Ok(())
    }
}

impl Layout {
    /// How clones meet the host, by their TAPs.
    pub(crate) fn clones_in(&self, listing: &Listing) -> HashMap<IfName, Connection> {
        let Self { clones, .. } = self;
        let rewritten = snapshots(listing, &clones.inner4, &clones.inner6).into_iter();
        let inside = snapshots(listing, &clones.inside4, &clones.inside6).into_iter();
        rewritten
            .map(|(tap, snapshot)| (tap, Connection::Rewritten(snapshot)))
            .chain(inside.map(|(tap, snapshot)| (tap, Connection::Namespaced(snapshot))))
            .collect()
    }
}

/// The snapshots in the comments of two sets, by the TAPs in the keys.
fn snapshots(listing: &Listing, ipv4: &Set, ipv6: &Set) -> HashMap<IfName, Snapshot> {
    let noted = |set: &Set| -> HashMap<IfName, String> {
        let elements = listing.of(set).iter();
        let noted = elements.filter_map(|element| {
            let (tap, _) = take_tap(element.key().as_bytes())?;
            Some((tap, element.current_comment()?.as_str().to_owned()))
        });
        noted.collect()
    };
    let notes6 = noted(ipv6);
    let snapshots = noted(ipv4).into_iter().filter_map(|(tap, notes4)| {
        let notes = match notes4.strip_suffix(AND_MORE) {
            Some(notes4) => format!("{notes4} {}", notes6.get(&tap)?),
            None => notes4,
        };
        Some((tap, notes.parse().ok()?))
    });
    snapshots.collect()
}

/// A snapshot in the comments of two elements, of which one would not hold
/// it: what it says of IPv4, and of IPv6.
fn notes(snapshot: &Snapshot) -> (String, String) {
    match (snapshot.ipv6_net(), snapshot.gateway_ipv6()) {
        (Some(net), Some(gateway)) => (
            format!("{}{AND_MORE}", snapshot.without_ipv6()),
            format!("{net} via {gateway}"),
        ),
        _ => (snapshot.to_string(), String::new()),
    }
}

/// Writes another address in the place of the one in the key.
fn translation(key: impl Into<Data>, to: impl Into<Data>, comment: Option<Comment>) -> Element {
    Element::leading(key.into(), to.into(), comment)
}

/// To whom is sent who has this address (RFC 4291).
fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    const PREFIX: u128 = 0xff02_0000_0000_0000_0000_0001_ff00_0000;
    Ipv6Addr::from(PREFIX | (u128::from(address) & 0x00ff_ffff))
}

/// At most so many elements of a map are one clone's: its own address, its
/// gateway's, and where that one is asked for.
const OF_EACH: u32 = 3;

/// At the end of what is said of IPv4, if something is said of IPv6.
const AND_MORE: &str = " +";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Guest, Networks, Owner};

    #[test]
    fn snapshots_are_read_from_the_elements_of_their_clones() {
        let owner = Owner::new("riklet").unwrap();
        let layout = Layout::new(&owner, 16, 16).unwrap();
        let ipv4 = "a-name-of-15-by 06:00:ac:10:00:02 172.116.100.112/24 via 172.116.100.111 \
             02:74:77:ff:ff:fe";
        let ipv6 = "fd00:1111:2222:3333:4444:5555:6666:7777/126 via \
             fd00:1111:2222:3333:4444:5555:6666:7776";
        for snapshot in [ipv4.to_owned(), format!("{ipv4} {ipv6}")] {
            let snapshot: Snapshot = snapshot.parse().unwrap();
            for connection in [Connection::Rewritten, Connection::Namespaced] {
                let connection = connection(snapshot.clone());
                let guest = Guest::new("clone").unwrap().connection(connection.clone());
                let guest = Networks::default().attachment(&owner, &guest, 3).unwrap();
                let mut elements: Vec<(&Set, Vec<Element>)> = Vec::new();
                layout
                    .clones
                    .elements(&guest, Comment::constant("clone"), &mut |set, of_set| {
                        elements.push((set, of_set.to_vec()));
                    })
                    .unwrap();
                let mut listing = Listing::default();
                for (set, elements) in elements {
                    listing.take(set, elements);
                }
                let read = layout.clones_in(&listing);
                assert_eq!(read, HashMap::from([(guest.tap(), connection)]));
            }
        }
    }
}
