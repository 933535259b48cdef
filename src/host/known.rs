//! What a handle remembers of the kernel's state.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::Host;
use crate::error::Error;
use crate::exposure::{Destination, Key, Mapping};
use crate::guest::{Attachment, Connection, Elsewhere, Guest, GuestName, read_alias};
use crate::layout::{
    Listing, Seat, is_part, read_claim, read_guard, read_self, read_slot, read_span, read_special,
};
use crate::nft::Table;
use crate::route::{Link, Neighbour};

/// Guests and exposures as they were last read or changed. The kernel
/// decides: what is remembered only saves asking.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// The ruleset's generation before it was read.
    generation: u32,
    guests: BTreeMap<u32, Attachment>,
    by_name: HashMap<Box<str>, u32>,
    by_address: foldhash::HashMap<IpAddr, u32>,
    /// Who names a guest of this name as a peer.
    naming: HashMap<Box<str>, BTreeSet<u32>>,
    /// No slot below is free.
    lowest_free: u32,
    /// The claimed ports, and where they lead; of several guests the first.
    exposures: foldhash::HashMap<Key, SocketAddr>,
    /// Those of which the kernel knows more than where they lead, or which are
    /// parts of exposures that have several.
    special: foldhash::HashSet<Key>,
    /// Whether there may be more than claims tell: exposures of several
    /// guests, or large ranges.
    has_more: bool,
    /// The addresses of guests that serve a loopback address of the host, or
    /// did since this was read.
    on_loopback: HashSet<IpAddr>,
}

impl Known {
    /// The generation that the claim of a guest should be based on.
    pub(super) fn generation(&self) -> u32 {
        self.generation
    }

    /// Notes that a batch based on the generation was committed: nobody else
    /// has changed anything in between, and the kernel counts on, past 0.
    pub(super) fn committed(&mut self) {
        self.generation = self.generation.checked_add(1).unwrap_or(1);
    }

    /// Notes that the generation may have changed or not: the next look at it
    /// reads again.
    pub(super) fn outdated(&mut self) {
        self.generation = 0;
    }

    pub(super) fn guests(&self) -> impl Iterator<Item = &Attachment> {
        self.guests.values()
    }

    /// Whether both know the same guests.
    pub(super) fn has_guests_of(&self, other: &Self) -> bool {
        self.guests == other.guests
    }

    pub(super) fn guest_of_name(&self, name: &str) -> Option<&Attachment> {
        self.guests.get(self.by_name.get(name)?)
    }

    pub(super) fn guest_of_address(&self, address: IpAddr) -> Option<&Attachment> {
        self.guests.get(self.by_address.get(&address)?)
    }

    /// The guest to which something is to lead.
    pub(super) fn attached_of(&self, guest: &Destination) -> Result<&Attachment, Error> {
        let attached = match guest {
            Destination::Address(address) => self.guest_of_address(*address),
            Destination::Name(name) => self.guest_of_name(name.as_str()),
        };
        attached.ok_or_else(|| Error::Absent {
            kind: "guest",
            name: guest.to_string().into(),
        })
    }

    /// The address of the guest to which something is to lead, in a family.
    pub(super) fn address_of(&self, guest: &Destination, ipv4: bool) -> Option<IpAddr> {
        match guest {
            Destination::Address(address) => {
                self.by_address.contains_key(address).then_some(*address)
            }
            Destination::Name(name) => self.guest_of_name(name.as_str())?.address(ipv4),
        }
    }

    /// The address that a guest has in a family, and its name.
    pub(super) fn seat_of(&self, guest: &Destination, ipv4: bool) -> Result<Seat<'_>, Error> {
        Seat::of(guest, self.attached_of(guest)?, ipv4)
    }

    /// The guests that this one reaches directly: those that it names, and
    /// those that name it.
    pub(super) fn peers_of(&self, guest: &Attachment) -> Vec<&Attachment> {
        let named = guest.policy().peers().iter();
        let named = named.filter_map(|name| self.by_name.get(name.as_str()));
        let naming = self.naming.get(guest.name()).into_iter().flatten();
        let slots: BTreeSet<u32> = named.chain(naming).copied().collect();
        let peers = slots.iter().filter_map(|slot| self.guests.get(slot));
        peers.filter(|peer| guest.is_peer_of(peer)).collect()
    }

    /// The lowest of `slots` that no guest has and that is not in `occupied`.
    pub(super) fn free_slot(&mut self, slots: u32, occupied: &BTreeSet<u32>) -> Option<u32> {
        while self.guests.contains_key(&self.lowest_free) {
            self.lowest_free = self.lowest_free.saturating_add(1);
        }
        (self.lowest_free..slots)
            .find(|slot| !self.guests.contains_key(slot) && !occupied.contains(slot))
    }

    /// Those of `slots` that no guest has, from the lowest on.
    pub(super) fn free_slots(&self, slots: u32) -> impl Iterator<Item = u32> + use<> {
        let taken: BTreeSet<u32> = self.guests.keys().copied().collect();
        (0..slots).filter(move |slot| !taken.contains(slot))
    }

    /// Whether an exposure on a loopback address leads to the guest.
    pub(super) fn serves_loopback(&self, guest: &Attachment) -> bool {
        self.on_loopback.iter().any(|&address| guest.has(address))
    }

    pub(super) fn attached(&mut self, guest: Attachment) {
        if let Some(before) = self.guests.get(&guest.slot).cloned() {
            self.forget(&before);
        }
        for peer in guest.policy().peers() {
            let naming = self.naming.entry(peer.as_str().into()).or_default();
            naming.insert(guest.slot);
        }
        self.by_name.insert(guest.name().into(), guest.slot);
        for address in guest.addresses() {
            self.by_address.insert(address, guest.slot);
        }
        self.guests.insert(guest.slot, guest);
    }

    pub(super) fn detached(&mut self, guest: &Attachment) {
        self.forget(guest);
        self.exposures.retain(|_, target| !guest.has(target.ip()));
        self.on_loopback.retain(|&address| !guest.has(address));
    }

    fn forget(&mut self, guest: &Attachment) {
        let Some(guest) = self.guests.remove(&guest.slot) else {
            return;
        };
        self.lowest_free = self.lowest_free.min(guest.slot);
        for peer in guest.policy().peers() {
            if let Some(naming) = self.naming.get_mut(peer.as_str()) {
                naming.remove(&guest.slot);
            }
        }
        self.by_name.remove(guest.name());
        for address in guest.addresses() {
            self.by_address.remove(&address);
        }
    }

    /// Whether it is claimed.
    pub(super) fn has(&self, key: &Key) -> bool {
        self.exposures.contains_key(key)
    }

    /// Remembers `exposure` unless its port is claimed, and says whether it
    /// did.
    pub(super) fn claim(&mut self, exposure: &Mapping) -> bool {
        match self.exposures.entry(exposure.key()) {
            Entry::Occupied(_) => false,
            Entry::Vacant(place) => {
                place.insert(exposure.guest());
                true
            }
        }
    }

    /// Where a port leads, if it is claimed and there is no more to it.
    pub(super) fn plain(&self, key: &Key) -> Option<SocketAddr> {
        let target = self.exposures.get(key).copied();
        target.filter(|_| !self.special.contains(key))
    }

    /// Remembers that there is more to a port, or no more.
    pub(super) fn set_special(&mut self, key: Key, special: bool) {
        if special {
            self.special.insert(key);
        } else if !self.special.is_empty() {
            self.special.remove(&key);
        }
    }

    pub(super) fn exposed(&mut self, exposure: &Mapping) {
        self.exposures.insert(exposure.key(), exposure.guest());
    }

    pub(super) fn withdrawn(&mut self, exposure: &Mapping) {
        self.exposures.remove(&exposure.key());
    }

    /// Notes that there is more than claims tell.
    pub(super) fn has_more_than_claims(&mut self) {
        self.has_more = true;
    }

    /// All that leads to these addresses; `None` if claims do not tell that.
    pub(super) fn leading_to(&self, addresses: &HashSet<IpAddr>) -> Option<Vec<Mapping>> {
        if self.has_more {
            return None;
        }
        let theirs = self.exposures.iter();
        let theirs = theirs.filter(|(_, target)| addresses.contains(&target.ip()));
        let claims = theirs.map(|(key, target)| {
            let is_plain = !self.special.contains(key);
            is_plain.then(|| key.to(*target)).flatten()
        });
        claims.collect()
    }

    pub(super) fn serves_on_loopback(&mut self, address: IpAddr) {
        self.on_loopback.insert(address);
    }
}

impl Host {
    /// Reads guests and exposures from the kernel unless nothing has changed
    /// there.
    pub(super) fn refresh(&mut self) -> Result<(), Error> {
        if self.nft.generation()? == self.known.generation {
            return Ok(());
        }
        self.read()
    }

    /// Reads guests and exposures from the kernel, and makes the tables again
    /// that someone took away.
    ///
    /// A guest is what the guards name. A TAP that bears a guest's name in
    /// its alias without one has lost it to someone who emptied our table;
    /// it is remembered as well, so that attaching that guest again finds its
    /// TAP and addresses.
    pub(super) fn read(&mut self) -> Result<(), Error> {
        if self.ensure_tables()? {
            self.forward_on_uplinks()?;
        }
        let listing = self.reread()?;
        self.keep(&listing);
        Ok(())
    }

    /// Reads guests and exposures as they are, and makes nothing.
    pub(super) fn reread(&mut self) -> Result<Listing, Error> {
        let generation = self.nft.generation()?;
        let listing = self.list()?;
        let links = self.rtnl.links()?;
        self.known = self.recall(generation, &listing, &links);
        Ok(listing)
    }

    /// The elements of all of the owner's sets.
    pub(super) fn list(&mut self) -> Result<Listing, Error> {
        let mut listing = Listing::default();
        let mut gone = Vec::new();
        for set in self.layout.sets() {
            if gone.contains(&set.family()) {
                continue;
            }
            match self.nft.elements(set) {
                // Someone took it away, or its table with all of them; the
                // tables are going to be made anew.
                Err(error) if error.is_not_found() => {
                    let tables = self.nft.tables()?;
                    let is_its = |table: &Table| {
                        table.family() == set.family() && table.name() == set.table()
                    };
                    if !tables.iter().any(is_its) {
                        gone.push(set.family());
                    }
                }
                elements => listing.take(set, elements?),
            }
        }
        Ok(listing)
    }

    /// Keeps what was done to the host.
    pub(super) fn keep(&mut self, listing: &Listing) {
        self.kept = listing.only(&self.layout.kept_sets());
    }

    /// What `listing` and `links` tell, to be remembered.
    fn recall(&mut self, generation: u32, listing: &Listing, links: &[Link]) -> Known {
        let known = self.recall_guests(generation, listing, links);
        self.recall_exposures(known, listing)
    }

    /// What they tell of guests.
    pub(super) fn recall_guests(
        &mut self,
        generation: u32,
        listing: &Listing,
        links: &[Link],
    ) -> Known {
        let mut known = Known {
            generation,
            ..Known::default()
        };
        let never = |set: &_| Ok::<_, std::convert::Infallible>(listing.of(set).to_vec());
        let Ok(mut policies) = self.layout.read_policies(never);
        let mut addresses: HashMap<&str, [Option<IpAddr>; 2]> = HashMap::new();
        for (set, family) in [(&self.layout.self4, 0), (&self.layout.self6, 1)] {
            for (name, address) in listing.of(set).iter().filter_map(read_self) {
                if let Some(of_guest) = addresses.entry(name).or_default().get_mut(family) {
                    *of_guest = Some(address);
                }
            }
        }
        let mut clones = self.layout.clones_in(listing);
        for element in listing.of(&self.layout.guard4) {
            let Some((tap, mac, guarded, name)) = read_guard(element) else {
                continue;
            };
            let (Some(slot), Some([Some(IpAddr::V4(ipv4)), Some(IpAddr::V6(ipv6))])) =
                (self.owner.slot(&tap), addresses.get(name.as_str()).copied())
            else {
                continue;
            };
            let connection = match clones.remove(&tap) {
                Some(connection) => connection,
                None if guarded == ipv4 => Connection::Routed,
                None => continue,
            };
            let (gateway_ipv4, gateway_ipv6) = (before_ipv4(ipv4), before_ipv6(ipv6));
            known.attached(Attachment {
                name,
                slot,
                tap,
                mac,
                ipv4,
                gateway_ipv4,
                ipv6,
                gateway_ipv6,
                connection,
                policy: policies.remove(&tap).unwrap_or_default(),
            });
        }
        for (tap, link, name) in self.layout.elsewhere_in(listing) {
            let found = addresses.get(name.as_str()).into_iter().flatten();
            let place = Elsewhere::new(link, found.filter_map(|address| *address));
            if let (Some(slot), Ok(place)) = (self.owner.slot(&tap), place)
                && let Ok(guest) = Guest::new(name.as_str())
                && let guest = guest.connection(Connection::Elsewhere(place))
                && let Ok(guest) = self.networks.attachment(&self.owner, &guest, slot)
            {
                known.attached(guest);
            }
        }
        for link in links {
            let label = link.alias().and_then(read_alias);
            if let (Some(slot), Some((name, connection))) = (self.slot_of(link), label)
                && !known.guests.contains_key(&slot)
                && known.guest_of_name(name.as_str()).is_none()
                && let Ok(mut guest) = self.unguarded(link, slot, &name, connection)
            {
                guest.policy = policies.remove(&guest.tap).unwrap_or_default();
                known.attached(guest);
            }
        }
        known
    }

    /// The same, with what `listing` tells of exposures.
    pub(super) fn recall_exposures(&self, mut known: Known, listing: &Listing) -> Known {
        let claims = self.layout.sides.iter();
        let claims = claims.map(|side| listing.of(&side.dnat).len()).sum();
        known.exposures.reserve(claims);
        for side in &self.layout.sides {
            let more = side.beyond_claims().map(|set| listing.of(set));
            known.has_more |= more.iter().any(|elements| !elements.is_empty());
            let special = listing.of(&side.special).iter();
            for key in special.filter_map(|element| read_special(side, element)) {
                known.set_special(key, true);
            }
            for element in listing.of(&side.dnat) {
                if let Some(claim) = read_claim(side, element) {
                    known.exposed(&claim);
                    if is_part(element) {
                        known.set_special(claim.key(), true);
                    }
                    if claim.key().is_on_loopback() {
                        known.serves_on_loopback(claim.guest_address);
                    }
                }
            }
        }
        self.read_loopback(listing, &mut known);
        known
    }

    /// Which guests serve loopback addresses besides those that claims name.
    fn read_loopback(&self, listing: &Listing, known: &mut Known) {
        // The kernel translates loopback addresses of IPv4 only.
        let side = self.layout.side(true, true);
        for set in [&side.turns, &side.sources] {
            for element in listing.of(set) {
                let loopback = element.key().as_bytes().first() == Some(&LOOPBACK_IPV4);
                if let Some((_, _, (guest, _))) = read_slot(side, element)
                    && loopback
                {
                    known.serves_on_loopback(guest);
                }
            }
        }
        for element in listing.of(&side.ranges) {
            if let Some(span) = read_span(side, element)
                && span
                    .place
                    .host_address
                    .is_some_and(|host| host.is_loopback())
            {
                known.serves_on_loopback(span.guest_address);
            }
        }
    }

    /// A guest without guards as its TAP tells: name and connection are in the
    /// alias, the addresses follow from the number, and the MAC of one that is
    /// no clone is the permanent neighbour's.
    fn unguarded(
        &mut self,
        link: &Link,
        slot: u32,
        name: &GuestName,
        connection: Connection,
    ) -> Result<Attachment, Error> {
        let guest = Guest::new(name.as_str())?.connection(connection);
        let derived = self.networks.attachment(&self.owner, &guest, slot)?;
        if derived.connection != Connection::Routed {
            return Ok(derived);
        }
        let neighbours = self.rtnl.neighbours(Some(link.index()))?;
        let neighbour = neighbours
            .iter()
            .find(|neighbour| neighbour.ip() == derived.ipv4);
        let mac = neighbour.and_then(Neighbour::mac).unwrap_or(derived.mac);
        Ok(Attachment { mac, ..derived })
    }
}

/// How the loopback addresses of IPv4 begin.
const LOOPBACK_IPV4: u8 = 127;

/// The gateway of a guest has the address before the guest's.
fn before_ipv4(address: Ipv4Addr) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(address).wrapping_sub(1))
}

fn before_ipv6(address: Ipv6Addr) -> Ipv6Addr {
    Ipv6Addr::from(u128::from(address).wrapping_sub(1))
}
