//! The short ways: exposures that are nothing but ways to a guest come and go
//! in one batch each, without a look at what the kernel has.
//!
//! What is remembered may be out of date. So the kernel settles it: what comes
//! may not be there (`EEXIST`), and what goes or moves is based on the
//! generation up to which the handle knows of every change. Whatever is not as
//! remembered goes the long way, [`settle`](super::settle).

use std::collections::HashSet;
use std::mem;
use std::net::IpAddr;

use super::Host;
use crate::error::{Conflict, Error};
use crate::exposure::{Destination, Exposure, Mapping};
use crate::guest::GuestName;
use crate::layout::{Note, SIDES, claim_element, key_of, note};
use crate::nft::Comment;

/// Ports that exposures claim, each with the place of its exposure in a list.
type Claims = Vec<(usize, Mapping)>;

impl Host {
    /// Opens ports of which none is known to be claimed; the kernel refuses
    /// them if another handle was faster. `false` if that was so or cannot be
    /// told.
    ///
    /// The ports are remembered at once, so that those that the exposures
    /// have in common are found as well.
    ///
    /// # Errors
    /// [`Error::Conflict`] if the first port that is known to be claimed leads
    /// to another guest, also according to the kernel.
    pub(super) fn add_plain(&mut self, exposures: &[Exposure]) -> Result<bool, Error> {
        let mut claims = self.take_claims();
        let added = self.claim_and_create(exposures, &mut claims);
        self.claims = claims;
        added
    }

    /// Closes the ports of `old` in one batch, or puts `new` in its place.
    /// `false` if nothing was done, because it cannot be told whether that is
    /// all there is to it.
    pub(super) fn change_plain(
        &mut self,
        old: &Exposure,
        new: Option<&Exposure>,
    ) -> Result<bool, Error> {
        let mut claims = self.take_claims();
        let changed = self.replace(old, new, &mut claims);
        self.claims = claims;
        changed
    }

    /// Closes all ports that lead to these addresses, in one batch. `false` if
    /// nothing was done, because it cannot be told which these are.
    pub(super) fn withdraw_plain(&mut self, addresses: &HashSet<IpAddr>) -> Result<bool, Error> {
        if self.nft.generation()? != self.known.generation() {
            return Ok(false);
        }
        let Some(leading) = self.known.leading_to(addresses) else {
            return Ok(false);
        };
        if leading.is_empty() {
            return Ok(true);
        }
        let claims: Claims = leading.into_iter().map(|claim| (0, claim)).collect();
        self.queue_closing(&claims);
        self.commit_replaced(&claims, &Claims::new())
    }

    fn claim_and_create(
        &mut self,
        exposures: &[Exposure],
        claims: &mut Claims,
    ) -> Result<bool, Error> {
        let mut claimed = self.claim_all_of(exposures, claims);
        if let Ok(true) = claimed {
            let added = self
                .open_loopback(exposures)
                .and_then(|()| self.create_claims(exposures, claims));
            claimed = match added {
                Err(error) if error.is_exists() => Ok(false),
                result => result.map(|()| true),
            };
        }
        if !matches!(claimed, Ok(true)) {
            for (_, claim) in &*claims {
                self.known.withdrawn(claim);
            }
        }
        claimed
    }

    fn claim_all_of(&mut self, exposures: &[Exposure], claims: &mut Claims) -> Result<bool, Error> {
        for (place, exposure) in exposures.iter().enumerate() {
            if !exposure.is_plain() || exposure.is_span() {
                return Ok(false);
            }
            let begin = claims.len();
            if !self.add_claims(place, exposure, claims) {
                return Ok(false);
            }
            let added = claims.get(begin..).unwrap_or_default();
            let taken = added.iter().position(|(_, claim)| !self.known.claim(claim));
            if let Some(taken) = taken {
                let taken = begin.saturating_add(taken);
                let claim = claims.get(taken).map(|(_, claim)| *claim);
                claims.truncate(taken);
                return match claim {
                    // Its other ports might be refused first.
                    Some(claim) if exposures.len() == 1 && taken == 0 => {
                        self.refuse_plain(exposure, &claim).map(|()| false)
                    }
                    _ => Ok(false),
                };
            }
        }
        Ok(true)
    }

    /// The ports of an exposure of one guest; `false` if it has several, or
    /// one that is not known.
    fn add_claims(&self, place: usize, exposure: &Exposure, claims: &mut Claims) -> bool {
        let [target] = exposure.targets() else {
            return false;
        };
        let begin = claims.len();
        let known = &self.known;
        let address_of = |guest: &Destination, ipv4| known.address_of(guest, ipv4).ok_or(());
        let mapped = exposure.map_to(target, address_of, &mut |mapping| {
            claims.push((place, mapping));
        });
        if mapped.is_err() {
            claims.truncate(begin);
        }
        mapped.is_ok()
    }

    /// Refuses a port if it leads to another guest, as it is remembered and as
    /// the kernel has it, by one question to the kernel.
    fn refuse_plain(&mut self, wanted: &Exposure, claim: &Mapping) -> Result<(), Error> {
        let target = self.known.plain(&claim.key());
        if target.is_none_or(|target| target == claim.guest()) {
            return Ok(());
        }
        let (ipv4, exact) = claim.side();
        let side = self.layout.side(ipv4, exact);
        let Some(element) = self.nft.get_element(&side.dnat, key_of(claim))? else {
            return Ok(());
        };
        // Of an exposure on several host addresses this is a part.
        let whole = |comment| Note::read(comment).is_some_and(|note| note.group.is_none());
        if !element.current_comment().is_some_and(whole) {
            return Ok(());
        }
        let Some(holder) = side.regroup_claim(element) else {
            return Ok(());
        };
        if holder.exposure.targets() == wanted.targets() {
            return Ok(());
        }
        let guest = holder.guests.first().map_or("unknown", GuestName::as_str);
        let holder = format!("{} of guest {guest}", holder.exposure);
        Err(Conflict::new(wanted, holder).into())
    }

    /// Creates the elements of claims, none of which may be there.
    fn create_claims(&mut self, exposures: &[Exposure], claims: &Claims) -> Result<(), Error> {
        self.batch.clear();
        self.queue_claims(exposures, claims);
        self.commit_growing()?;
        // It was based on nothing, and on whatever others did before. Then
        // the kernel is further by now, and remains so.
        self.known.committed();
        for (place, claim) in claims {
            let is_part = exposures.get(*place).is_some_and(Exposure::has_parts);
            self.known.set_special(claim.key(), is_part);
        }
        Ok(())
    }

    fn queue_claims(&mut self, exposures: &[Exposure], claims: &Claims) {
        let known = &self.known;
        for (ipv4, exact) in SIDES {
            let side = self.layout.side(ipv4, exact);
            let theirs = claims.iter();
            let theirs = theirs.filter(|(_, claim)| claim.side() == (ipv4, exact));
            let mut last = Comments::default();
            let elements = theirs.map(|(place, claim)| {
                let exposure = exposures.get(*place);
                let comment = exposure.and_then(|exposure| {
                    last.of((*place, exposure), claim, || {
                        let guest = known.guest_of_address(claim.guest_address)?;
                        note(exposure, guest.name()).comment()
                    })
                });
                claim_element(claim, comment)
            });
            self.batch.create_elements(&side.dnat, elements);
        }
    }

    fn replace(
        &mut self,
        old: &Exposure,
        new: Option<&Exposure>,
        claims: &mut Claims,
    ) -> Result<bool, Error> {
        if self.known.generation() == 0 || old.may_be_span() {
            return Ok(false);
        }
        // A guest that is not known may have left something.
        if !self.add_claims(0, old, claims) || !claims.iter().all(|(_, claim)| self.is_plain(claim))
        {
            return Ok(false);
        }
        // Those of the other family might be the same exposure's.
        let is_half =
            |(_, claim): &(usize, Mapping)| self.known.has(&claim.key().of_other_family());
        if claims.len() == 1 && claims.iter().any(is_half) {
            return Ok(false);
        }
        self.queue_closing(claims);
        let gone = claims.len();
        if let Some(new) = new {
            if !new.is_plain() || new.has_parts() || !self.add_claims(0, new, claims) {
                return Ok(false);
            }
            let (old, new_claims) = claims.split_at(gone);
            // What leads where it led keeps its count.
            let is_short = |(_, claim): &(usize, Mapping)| match self.known.plain(&claim.key()) {
                Some(target) => {
                    let is_old = old.iter().any(|(_, old)| old.key() == claim.key());
                    is_old && target != claim.guest()
                }
                None => !self.known.has(&claim.key()),
            };
            if !new_claims.iter().all(is_short) {
                return Ok(false);
            }
            let come = claims.split_off(gone);
            self.queue_claims(std::slice::from_ref(new), &come);
            self.open_loopback(std::slice::from_ref(new))?;
            return self.commit_replaced(claims, &come);
        }
        self.commit_replaced(claims, &Claims::new())
    }

    /// Begins a batch, based on what is known, that takes claims away.
    fn queue_closing(&mut self, claims: &Claims) {
        self.batch.clear();
        self.batch.based_on(self.known.generation());
        for (ipv4, exact) in SIDES {
            let side = self.layout.side(ipv4, exact);
            let theirs = claims.iter();
            let theirs = theirs.filter(|(_, claim)| claim.side() == (ipv4, exact));
            let keys = theirs.map(|(_, claim)| key_of(claim));
            self.batch.delete_keys(&side.dnat, keys);
        }
    }

    /// Commits what was queued; `false` if the kernel has it otherwise.
    fn commit_replaced(&mut self, gone: &Claims, come: &Claims) -> Result<bool, Error> {
        match self.nft.commit(&mut self.batch) {
            Ok(()) => {}
            Err(Error::Stale { .. } | Error::Refused { .. }) => return Ok(false),
            Err(error) => return Err(error),
        }
        self.known.committed();
        for (_, claim) in gone {
            self.known.withdrawn(claim);
        }
        for (_, claim) in come {
            self.known.exposed(claim);
        }
        Ok(true)
    }

    /// Whether the port leads where it is claimed to, and there is no more to
    /// it.
    fn is_plain(&self, claim: &Mapping) -> bool {
        self.known.plain(&claim.key()) == Some(claim.guest())
    }

    fn take_claims(&mut self) -> Claims {
        let mut claims = mem::take(&mut self.claims);
        claims.clear();
        claims
    }
}

/// The comment of the last claim: the next one's is mostly the same.
#[derive(Default)]
struct Comments<'e> {
    last: Option<(usize, &'e Exposure, Mapping, Option<Comment>)>,
}

impl<'e> Comments<'e> {
    fn of(
        &mut self,
        (place, exposure): (usize, &'e Exposure),
        claim: &Mapping,
        make: impl FnOnce() -> Option<Comment>,
    ) -> Option<Comment> {
        if let Some((other_place, other, last, comment)) = &self.last
            && last.guest_address == claim.guest_address
            && (*other_place == place || exposure.is_noted_as(other))
        {
            return *comment;
        }
        let comment = make();
        self.last = Some((place, exposure, *claim, comment));
        comment
    }
}
