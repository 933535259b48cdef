//! Exposures are brought into force, and out of it, by what the kernel has:
//! it is read, compared and changed at one generation.

mod compare;
mod current;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ptr;

use self::compare::{Change, Clash, Forms, compare};
use super::Host;
use super::expose::absent;
use crate::error::{Conflict, Error};
use crate::exposure::{Destination, Exposure};
use crate::guest::GuestName;
use crate::layout::{Layout, Place, SETS, Seat, is_part, read_claim, read_special, role};
use crate::nft::{Data, Element, Set};

/// Elements of the sets that hold exposures, in the order of the sets.
#[derive(Debug)]
pub(super) struct Listing(Vec<Keyed>);

/// Elements by their keys, and the last keys of ranges.
type Keyed = HashMap<(Data, Option<Data>), Element>;

impl Listing {
    fn new(layout: &Layout) -> Self {
        Self(layout.exposure_sets().map(|_| Keyed::new()).collect())
    }

    /// The sets of each side.
    fn sides(&self) -> impl Iterator<Item = &[Keyed]> {
        self.0.chunks(SETS)
    }

    fn put(&mut self, place: usize, element: Element) {
        if let Some(set) = self.0.get_mut(place) {
            set.insert((*element.key(), element.key_end().copied()), element);
        }
    }

    fn put_all(&mut self, place: usize, elements: impl IntoIterator<Item = Element>) {
        for element in elements {
            self.put(place, element);
        }
    }
}

impl Host {
    /// Has `wanted` be in force and `given_up` not, but for what both have, in
    /// one change; whether any of `given_up` was. What leads as one of them
    /// and is in force for others or in another way is replaced.
    ///
    /// # Errors
    /// [`Error::Absent`] if there is something wanted for something given up
    /// that is not in force, unless all that is wanted is; see
    /// [`expose`](Self::expose) for the others.
    pub(super) fn settle(
        &mut self,
        wanted: &[Exposure],
        given_up: &[Exposure],
    ) -> Result<bool, Error> {
        check_apart(wanted)?;
        for _ in 0..ATTEMPTS {
            let generation = self.nft.generation()?;
            let forms = self.forms(wanted, given_up)?;
            let current = self.current(&forms)?;
            let change = match compare(&self.layout, &forms, &current.listing) {
                Ok(change) => change,
                Err(clash) => return Err(self.conflict(wanted, &clash)?),
            };
            if change.is_empty() {
                return Ok(change.gives_up || !wanted.is_empty());
            }
            if let Some(old) = given_up.first()
                && !wanted.is_empty()
                && !change.gives_up
            {
                return Err(absent(old));
            }
            self.open_loopback(wanted)?;
            self.batch.clear();
            self.batch.based_on(generation);
            self.write(&change, &current.limits)?;
            match self.commit_elements(generation) {
                Err(Error::Stale { .. }) => {}
                result => {
                    result?;
                    if generation == self.known.generation() {
                        self.known.committed();
                    }
                    self.remember(&change);
                    return Ok(change.gives_up);
                }
            }
        }
        Err(Error::Full {
            what: "attempts to change exposures",
            capacity: ATTEMPTS,
        })
    }

    /// The elements of exposures.
    fn forms(&self, wanted: &[Exposure], given_up: &[Exposure]) -> Result<Forms, Error> {
        let mut forms = Forms {
            wanted: Listing::new(&self.layout),
            alike: Listing::new(&self.layout),
            given_up: Listing::new(&self.layout),
        };
        for exposure in wanted {
            let seat_of = |guest: &Destination, ipv4| self.known.seat_of(guest, ipv4);
            let span = exposure.is_span();
            self.fill(&mut forms.wanted, exposure, span, seat_of)?;
            self.fill_forms(&mut forms.alike, exposure, seat_of)?;
        }
        for exposure in given_up {
            let unknown = |guest: &Destination| Error::Absent {
                kind: "guest",
                name: guest.to_string().into(),
            };
            let seat_of = |guest: &Destination, ipv4| {
                self.seat_or_address(guest, ipv4)
                    .ok_or_else(|| unknown(guest))
            };
            match self.fill_forms(&mut forms.given_up, exposure, seat_of) {
                // What leads to a guest by name goes with the guest.
                Err(Error::Absent { .. }) => {}
                result => result?,
            }
        }
        Ok(forms)
    }

    /// An exposure as it may be in force: for some clients or for all, a
    /// large range is known to the kernel in two ways.
    fn fill_forms<'n>(
        &'n self,
        listing: &mut Listing,
        exposure: &'n Exposure,
        seat_of: impl Fn(&'n Destination, bool) -> Result<Seat<'n>, Error>,
    ) -> Result<(), Error> {
        if exposure.may_be_span() {
            self.fill(listing, exposure, true, &seat_of)?;
        }
        self.fill(listing, exposure, false, seat_of)
    }

    fn fill<'n>(
        &'n self,
        listing: &mut Listing,
        exposure: &'n Exposure,
        as_span: bool,
        seat_of: impl Fn(&'n Destination, bool) -> Result<Seat<'n>, Error>,
    ) -> Result<(), Error> {
        let sets: Vec<&Set> = self.layout.exposure_sets().collect();
        let mut put = |set: &Set, element: &Element| {
            if let Some(place) = sets.iter().position(|one| ptr::eq(*one, set)) {
                listing.put(place, element.clone());
            }
        };
        self.layout
            .elements_as(exposure, as_span, seat_of, &mut put)
    }

    /// The address and name of a guest; of one that is told by an address
    /// also if it is not attached.
    pub(super) fn seat_or_address(&self, guest: &Destination, ipv4: bool) -> Option<Seat<'_>> {
        let seat = self.known.seat_of(guest, ipv4).ok();
        match (seat, guest) {
            (None, Destination::Address(address)) => Some(Seat {
                address: *address,
                guest: "unknown",
            }),
            (seat, _) => seat,
        }
    }

    /// Writes a change into the batch: what goes before what comes, and the
    /// chains of limits with their first elements and their last.
    fn write(
        &mut self,
        change: &Change,
        in_use: &BTreeMap<(usize, u32), usize>,
    ) -> Result<(), Error> {
        let mut after = in_use.clone();
        let mut chains = HashSet::new();
        let limits_change = change.limits().any(|set| !set.is_empty());
        if limits_change {
            let table = self.nft.chains(&self.layout.table)?;
            chains.extend(table.into_iter().map(|chain| chain.name().clone()));
        }
        let mut unused = Vec::new();
        for (place, (set, part)) in self.layout.exposure_sets().zip(&change.sets).enumerate() {
            let index = place.checked_div(SETS).unwrap_or_default();
            let side = self.layout.sides.get(index);
            let side = side.filter(|_| place.checked_rem(SETS) == Some(role::LIMITS));
            self.batch.delete_elements(set, &part.removed);
            if let Some(side) = side {
                for element in &part.removed {
                    if let Some(limit) = side.limit_of(element)
                        && let Some(count) = after.get_mut(&(index, limit))
                    {
                        *count = count.saturating_sub(1);
                        unused.push((index, limit, side.limit_chain(element)));
                    }
                }
                for element in &part.added {
                    if let Some(limit) = side.limit_of(element)
                        && let Some((chain, rule)) = side.limit_chain(element)
                    {
                        let count = after.entry((index, limit)).or_default();
                        *count = count.saturating_add(1);
                        if chains.insert(chain.name().clone()) {
                            self.batch.create(&chain).add(&rule);
                        }
                    }
                }
                let keys = part.removed.iter().chain(&part.added);
                let keys: HashSet<Data> = keys.map(|element| *element.key()).collect();
                self.batch
                    .destroy_elements(&side.live, keys.into_iter().map(Element::new));
            }
            self.batch.add_elements(set, &part.added);
        }
        for (index, limit, chain) in unused {
            if after.get(&(index, limit)) == Some(&0)
                && let Some((chain, _)) = chain
                && chains.remove(chain.name())
            {
                self.batch.delete(&chain);
            }
        }
        Ok(())
    }

    /// Remembers the claims of a change that was committed.
    fn remember(&mut self, change: &Change) {
        let sides = self.layout.sides.iter().zip(change.sets.chunks(SETS));
        for (side, sets) in sides {
            let more = sets.get(role::TURNS..).unwrap_or_default().iter();
            if more
                .flat_map(|set| set.kept.iter().chain(&set.added))
                .next()
                .is_some()
            {
                self.known.has_more_than_claims();
            }
            let Some(dnat) = sets.get(role::DNAT) else {
                continue;
            };
            let claim = |element| read_claim(side, element);
            let gone = dnat.removed.iter().filter_map(claim);
            gone.for_each(|claim| self.known.withdrawn(&claim));
            let kept = dnat.kept.iter().filter_map(claim);
            kept.for_each(|claim| self.known.exposed(&claim));
            let come = dnat.added.iter().filter_map(claim);
            come.for_each(|claim| self.known.exposed(&claim));
            let parts = dnat.kept.iter().chain(&dnat.added);
            let parts = parts.filter(|element| is_part(element)).filter_map(claim);
            parts.for_each(|claim| self.known.set_special(claim.key(), true));
            let Some(special) = sets.get(role::SPECIAL) else {
                continue;
            };
            let key = |element| read_special(side, element);
            let gone = special.removed.iter().filter_map(key);
            gone.for_each(|key| self.known.set_special(key, false));
            let there = special.added.iter().chain(&special.kept);
            let there = there.filter_map(key);
            there.for_each(|key| self.known.set_special(key, true));
        }
    }

    /// Who holds a port that is wanted, by name.
    fn conflict(&mut self, wanted: &[Exposure], clash: &Clash) -> Result<Error, Error> {
        let Clash {
            ipv4,
            place,
            is_span,
        } = clash;
        let meets = |exposure: &&Exposure| {
            let ports = exposure.host_ports();
            exposure.is_span() == *is_span
                && exposure.serves(*ipv4)
                && exposure.addresses_of(*ipv4).any(|host_address| {
                    place.overlaps(&Place {
                        host_address,
                        protocol: exposure.protocol(),
                        ports,
                    })
                })
        };
        let listed = self.list_exposures()?;
        let mut holders = listed.iter();
        let holder = match holders.find(|exposed| meets(&exposed.exposure())) {
            Some(holder) => {
                let names: Vec<&str> = holder.guests().iter().map(GuestName::as_str).collect();
                let names = if names.is_empty() {
                    "unknown".to_owned()
                } else {
                    names.join(", ")
                };
                format!("{} of guest {names}", holder.exposure())
            }
            None => format!("{}/{} of someone else", place.protocol, place.ports),
        };
        let wanted = wanted.iter().find(meets).or_else(|| wanted.first());
        let wanted = wanted.map(ToString::to_string).unwrap_or_default();
        Ok(Conflict::new(wanted, holder).into())
    }
}

/// Makes sure that no two exposures that differ want the same port.
pub(super) fn check_apart<'e>(wanted: impl IntoIterator<Item = &'e Exposure>) -> Result<(), Error> {
    let mut claimed: HashMap<_, &'e Exposure> = HashMap::new();
    let mut spans: Vec<&Exposure> = Vec::new();
    let clash = |one: &Exposure, other: &Exposure| Err(Conflict::new(one, other).into());
    for exposure in wanted {
        for ipv4 in [true, false] {
            if !exposure.serves(ipv4) {
                continue;
            }
            if exposure.is_span() {
                let shares = |other: &&&Exposure| other.shares_ports_with(exposure);
                match spans.iter().find(shares) {
                    Some(other) if *other != exposure => return clash(exposure, other),
                    _ => continue,
                }
            }
            for host_address in exposure.addresses_of(ipv4) {
                for port in exposure.host_ports().range() {
                    let key = (exposure.protocol(), ipv4, host_address, port);
                    match claimed.insert(key, exposure) {
                        Some(other) if other != exposure => return clash(exposure, other),
                        _ => {}
                    }
                }
            }
        }
        if exposure.is_span() {
            spans.push(exposure);
        }
    }
    Ok(())
}

/// Others may change the ruleset before a change is committed, so many times.
const ATTEMPTS: u32 = 64;
