//! What a handle remembers of the kernel's state.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::Host;
use crate::error::Error;
use crate::exposure::{Destination, Key, Mapping};
use crate::guest::{Attachment, Guest, GuestName};
use crate::layout::{Listing, Seat, read_claim, read_guard, read_slot, read_span};
use crate::route::{Link, Neighbour};

/// Guests and exposures as they were last read or changed. The kernel
/// decides: what is remembered only saves asking.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// The ruleset's generation before it was read.
    generation: u32,
    guests: BTreeMap<u32, Attachment>,
    by_name: HashMap<Box<str>, u32>,
    by_address: HashMap<IpAddr, u32>,
    /// The claimed ports, and where they lead; of several guests the first.
    exposures: HashMap<Key, SocketAddr>,
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

    pub(super) fn guest_of_name(&self, name: &str) -> Option<&Attachment> {
        self.guests.get(self.by_name.get(name)?)
    }

    pub(super) fn guest_of_address(&self, address: IpAddr) -> Option<&Attachment> {
        self.guests.get(self.by_address.get(&address)?)
    }

    /// The address that a guest has in a family, and its name.
    pub(super) fn seat_of(&self, guest: &Destination, ipv4: bool) -> Result<Seat<'_>, Error> {
        let (address, attached) = match guest {
            Destination::Address(address) => (Some(*address), self.guest_of_address(*address)),
            Destination::Name(name) => (None, self.guest_of_name(name.as_str())),
        };
        let Some(attached) = attached else {
            return Err(Error::Absent {
                kind: "guest",
                name: guest.to_string().into(),
            });
        };
        let own = if ipv4 {
            IpAddr::from(attached.ipv4)
        } else {
            attached.ipv6.into()
        };
        Ok(Seat {
            address: address.unwrap_or(own),
            guest: attached.name(),
        })
    }

    /// The guests that this one reaches directly.
    pub(super) fn peers_of(&self, guest: &Attachment) -> Vec<&Attachment> {
        let all = self.guests.values();
        all.filter(|other| guest.is_peer_of(other)).collect()
    }

    /// The lowest of `slots` that no guest has and that is not in `occupied`.
    pub(super) fn free_slot(&self, slots: u32, occupied: &BTreeSet<u32>) -> Option<u32> {
        (0..slots).find(|slot| !self.guests.contains_key(slot) && !occupied.contains(slot))
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
        self.by_name.insert(guest.name().into(), guest.slot);
        self.by_address.insert(guest.ipv4.into(), guest.slot);
        self.by_address.insert(guest.ipv6.into(), guest.slot);
        self.guests.insert(guest.slot, guest);
    }

    pub(super) fn detached(&mut self, guest: &Attachment) {
        self.guests.remove(&guest.slot);
        self.by_name.remove(guest.name());
        self.by_address.remove(&guest.ipv4.into());
        self.by_address.remove(&guest.ipv6.into());
        self.exposures.retain(|_, target| !guest.has(target.ip()));
        self.on_loopback.retain(|&address| !guest.has(address));
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

    pub(super) fn exposed(&mut self, exposure: &Mapping) {
        self.exposures.insert(exposure.key(), exposure.guest());
    }

    pub(super) fn withdrawn(&mut self, exposure: &Mapping) {
        self.exposures.remove(&exposure.key());
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
        let generation = self.nft.generation()?;
        let listing = self.list()?;
        let links = self.rtnl.links()?;
        self.known = self.recall(generation, &listing, &links);
        self.keep(&listing);
        Ok(())
    }

    /// The elements of all of the owner's sets.
    pub(super) fn list(&mut self) -> Result<Listing, Error> {
        let mut listing = Listing::default();
        for set in self.layout.sets() {
            match self.nft.elements(set) {
                // Someone took it away; the tables are going to be made anew.
                Err(error) if error.is_not_found() => {}
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
    pub(super) fn recall(&mut self, generation: u32, listing: &Listing, links: &[Link]) -> Known {
        let mut known = Known {
            generation,
            ..Known::default()
        };
        let never = |set: &_| Ok::<_, std::convert::Infallible>(listing.of(set).to_vec());
        let Ok(mut policies) = self.layout.read_policies(never);
        let addresses6: HashMap<_, _> = listing
            .of(&self.layout.guard6)
            .iter()
            .filter_map(read_guard)
            .filter_map(|(tap, _, address, _)| match address {
                IpAddr::V6(address) => Some((tap, address)),
                IpAddr::V4(_) => None,
            })
            .collect();
        for element in listing.of(&self.layout.guard4) {
            let Some((tap, mac, IpAddr::V4(ipv4), name)) = read_guard(element) else {
                continue;
            };
            if let (Some(slot), Some(&ipv6)) = (self.owner.slot(&tap), addresses6.get(&tap)) {
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
                    policy: policies.remove(&tap).unwrap_or_default(),
                });
            }
        }
        for link in links {
            let name = link.alias().and_then(|alias| GuestName::new(alias).ok());
            if let (Some(slot), Some(name)) = (self.slot_of(link), name)
                && !known.guests.contains_key(&slot)
                && known.guest_of_name(name.as_str()).is_none()
                && let Ok(mut guest) = self.unguarded(link, slot, &name)
            {
                guest.policy = policies.remove(&guest.tap).unwrap_or_default();
                known.attached(guest);
            }
        }
        for side in &self.layout.sides {
            for element in listing.of(&side.dnat) {
                if let Some(claim) = read_claim(side, element) {
                    known.exposed(&claim);
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

    /// A guest without guards as its TAP tells: the name is in the alias, the
    /// addresses follow from the number, the MAC is the permanent neighbour's.
    fn unguarded(&mut self, link: &Link, slot: u32, name: &GuestName) -> Result<Attachment, Error> {
        let derived = self
            .networks
            .attachment(&self.owner, &Guest::new(name.as_str())?, slot)?;
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
