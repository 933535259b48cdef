//! Many guests come and go at once.

use std::collections::HashSet;

use super::Host;
use super::attach::{CLAIM_ATTEMPTS, check_same, is_passing};
use crate::error::{Error, Invalid};
use crate::guest::{Attachment, Guest};

impl Host {
    /// Attaches guests as [`attach`](Self::attach) does, all at once: their
    /// addresses are claimed, and what they may do comes into force, in one
    /// transaction. Returns them in their order. New TAPs are in a link group
    /// of their own (`ip link show group`), by which they go if all of them go
    /// at once.
    ///
    /// # Errors
    /// [`Error::Invalid`] if one is there twice; those of
    /// [`attach`](Self::attach). Of the guests, those that were not attached
    /// before are not attached then.
    pub fn attach_all(&mut self, guests: &[Guest]) -> Result<Vec<Attachment>, Error> {
        let mut names = HashSet::with_capacity(guests.len());
        if let Some(guest) = guests.iter().find(|guest| !names.insert(guest.name())) {
            return Err(Invalid::new("guest", guest.name(), "is there twice").into());
        }
        for guest in guests {
            self.check_sources(guest.policy().egress())?;
        }
        self.refresh()?;
        let enlisted = self.enlist_all(guests)?;
        let wires: Vec<_> = guests
            .iter()
            .zip(&enlisted)
            .map(|(guest, (attached, before))| (guest, attached, before.is_none()))
            .collect();
        if let Err(error) = self.wire_all(&wires) {
            let new = enlisted.into_iter().filter(|(_, before)| before.is_none());
            let new: Vec<Attachment> = new.map(|(attached, _)| attached).collect();
            // The first error tells what happened; what a failing rollback
            // leaves is found by the next attach.
            let _rolled_back = self.take_back(&new);
            return Err(error);
        }
        for (attached, before) in &enlisted {
            if let Some(before) = before.as_ref().filter(|before| *before != attached) {
                self.end_forbidden_flows(before, attached)?;
            }
        }
        Ok(enlisted.into_iter().map(|(attached, _)| attached).collect())
    }

    /// Detaches guests as [`detach`](Self::detach) does, all at once: their
    /// TAPs go as one group, which takes the kernel a fraction of the time,
    /// and their flows in one pass.
    ///
    /// # Errors
    /// [`Error::Absent`] if one of them is not there, and nothing is changed;
    /// [`Error::Refused`] from the kernel.
    pub fn detach_all(&mut self, names: &[&str]) -> Result<(), Error> {
        self.refresh()?;
        let mut seen = HashSet::with_capacity(names.len());
        let mut guests = Vec::with_capacity(names.len());
        for name in names.iter().filter(|name| seen.insert(**name)) {
            let Some(guest) = self.known.guest_of_name(name) else {
                return Err(Error::Absent {
                    kind: "guest",
                    name: (*name).into(),
                });
            };
            guests.push(guest.clone());
        }
        if guests.is_empty() {
            return Ok(());
        }
        self.take_away(&guests)
    }

    /// Has the kernel know guests as they are wanted, in one transaction.
    /// Returns each, and as it was before.
    fn enlist_all(
        &mut self,
        guests: &[Guest],
    ) -> Result<Vec<(Attachment, Option<Attachment>)>, Error> {
        for _ in 0..CLAIM_ATTEMPTS {
            let mut all = Vec::with_capacity(guests.len());
            for guest in guests {
                let before = self.known.guest_of_name(guest.name().as_str()).cloned();
                all.push((guest, before));
            }
            let placed = self.place_all(all)?;
            match self.claim_all(&placed) {
                Ok(()) => return Ok(placed),
                Err(error) if is_passing(&error) => self.read()?,
                // By guests of other networks, which overlap with these: one
                // by one it is found by which.
                Err(error) if error.is_exists() => {
                    self.read()?;
                    return guests.iter().map(|guest| self.enlist(guest)).collect();
                }
                Err(error) => return Err(error),
            }
        }
        Err(Error::Full {
            what: "attempts to claim a network",
            capacity: CLAIM_ATTEMPTS,
        })
    }

    fn place_all(
        &mut self,
        guests: Vec<(&Guest, Option<Attachment>)>,
    ) -> Result<Vec<(Attachment, Option<Attachment>)>, Error> {
        let capacity = self.networks.guests();
        let mut slots = self.known.free_slots(capacity);
        let mut placed = Vec::with_capacity(guests.len());
        for (guest, before) in guests {
            let wanted = if let Some(attached) = &before {
                check_same(guest, attached)?;
                attached.clone().with(guest.policy())
            } else {
                let slot = slots.next().ok_or(Error::Full {
                    what: "guests' networks",
                    capacity,
                })?;
                let place = self.networks.attachment(&self.owner, guest, slot)?;
                self.check_place(&place)?;
                place
            };
            placed.push((wanted, before));
        }
        Ok(placed)
    }

    fn claim_all(&mut self, placed: &[(Attachment, Option<Attachment>)]) -> Result<(), Error> {
        self.batch.clear();
        self.queue_guests(placed)?;
        if self.batch.is_empty() {
            return Ok(());
        }
        self.commit_elements(self.known.generation())?;
        // Where the kernel had all of it, it does not count on.
        if placed
            .iter()
            .any(|(wanted, before)| before.as_ref() != Some(wanted))
        {
            self.known.committed();
        } else if self.nft.generation()? != self.known.generation() {
            self.known.outdated();
        }
        for (wanted, _) in placed {
            self.known.attached(wanted.clone());
        }
        Ok(())
    }
}
