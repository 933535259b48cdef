//! An exposure takes the place of another.

use std::collections::HashSet;

use super::{Flows, Host};
use crate::error::{Conflict, Error};
use crate::exposure::{Destination, Exposure};
use crate::nft::{Comment, Element};

impl Host {
    /// Puts `to` into the place of `from` in one transaction, so that a port
    /// of both is never closed: it leads elsewhere from one packet to the
    /// next.
    ///
    /// # Errors
    /// [`Error::Absent`] if `from` is not in force as a whole, or if no
    /// attached guest is where `to` leads; [`Error::Conflict`] if a port of
    /// `to` is exposed by another than `from` (names the holder);
    /// [`Error::Stale`] only if others went on changing the ruleset all the
    /// time; [`Error::Refused`] from the kernel.
    pub fn repoint(&mut self, from: &Exposure, to: &Exposure, flows: Flows) -> Result<(), Error> {
        let mut attempts = 0..ATTEMPTS;
        loop {
            match self.try_repoint(from, to, flows) {
                Err(Error::Stale { .. }) if attempts.next().is_some() => {}
                result => return self.explained(result),
            }
        }
    }

    fn try_repoint(&mut self, from: &Exposure, to: &Exposure, flows: Flows) -> Result<(), Error> {
        let generation = self.nft.generation()?;
        let old = self.elements_of(from)?;
        let new = self.elements_of(to)?;
        let absent = || Error::Absent {
            kind: "exposure",
            name: from.to_string().into(),
        };
        let sets: Vec<_> = self.layout.sets().into_iter().cloned().collect();
        let mut taken = HashSet::new();
        for (set, element) in &old {
            let there = match sets.get(*set) {
                Some(of) => self.nft.get_element(of, *element.key())?,
                None => None,
            };
            if there.is_none_or(|there| there.value() != element.value()) {
                return Err(absent());
            }
            taken.insert((*set, *element.key()));
        }
        for (set, element) in &new {
            if taken.contains(&(*set, *element.key())) {
                continue;
            }
            let Some(of) = sets.get(*set) else {
                continue;
            };
            let Some(there) = self.nft.get_element(of, *element.key())? else {
                continue;
            };
            let own = self.layout.sets();
            let holder = own
                .get(*set)
                .and_then(|of| self.layout.mapping_in(of, &there));
            return Err(match holder {
                Some(holder) => Conflict::new(to, holder).into(),
                None => Conflict::new(to, "an element of the owner's table").into(),
            });
        }
        let own = self.layout.sets();
        self.batch.clear();
        for (set, element) in &old {
            if let Some(of) = own.get(*set) {
                self.batch.delete_elements(of, [element]);
            }
        }
        for (set, element) in &new {
            if let Some(of) = own.get(*set) {
                self.batch.add_elements(of, [element]);
            }
        }
        let mapping = |(set, element): &(usize, Element)| {
            own.get(*set)
                .and_then(|of| self.layout.mapping_in(of, element))
        };
        let added: Vec<_> = new.iter().filter_map(mapping).collect();
        let mut removed: Vec<_> = old.iter().filter_map(mapping).collect();
        self.open_loopback(&added)?;
        self.commit_elements(generation)?;
        if self.known.generation() == generation {
            self.known.committed();
        }
        removed.retain(|mapping| !added.contains(mapping));
        for mapping in &removed {
            self.known.withdrawn(mapping);
        }
        for mapping in &added {
            self.known.exposed(mapping);
        }
        self.end_flows(&added, &removed, flows)
    }

    /// The elements of an exposure with their sets' places in the layout.
    fn elements_of(&mut self, exposure: &Exposure) -> Result<Vec<(usize, Element)>, Error> {
        let is_known = |host: &Self| {
            exposure
                .targets()
                .iter()
                .all(|target| match target.guest() {
                    Destination::Address(address) => {
                        host.known.guest_of_address(*address).is_some()
                    }
                    Destination::Name(name) => host.known.guest_of_name(name.as_str()).is_some(),
                })
        };
        if !is_known(self) {
            self.read()?;
        }
        let known = &self.known;
        let address_of = |guest: &Destination, ipv4| {
            let address = known.address_of(guest, ipv4)?;
            let is_guest = known.guest_of_address(address).is_some();
            is_guest.then_some(address).ok_or_else(|| Error::Absent {
                kind: "guest",
                name: address.to_string().into(),
            })
        };
        let name_of = |address| {
            let guest = known.guest_of_address(address)?;
            Comment::new(guest.name()).ok()
        };
        let own = self.layout.sets();
        let mut elements = Vec::new();
        self.layout.exposure_elements(
            exposure,
            address_of,
            name_of,
            &mut Vec::new(),
            &mut |set, element| {
                let place = own.iter().position(|one| std::ptr::eq(*one, set));
                elements.extend(place.map(|place| (place, element)));
            },
        )?;
        Ok(elements)
    }
}

/// So often others may change the ruleset before it is done.
const ATTEMPTS: u32 = 100;
