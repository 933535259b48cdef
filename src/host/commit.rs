//! A plan is put into force.

use std::collections::HashSet;
use std::ptr;

use super::{Flows, Host};
use crate::error::Error;
use crate::exposure::Exposure;
use crate::layout::is_part;
use crate::nft::{Chain, Element, Name, Rule, Set};
use crate::plan::{Change, Home, Plan, Repair, SetChange};

impl Host {
    /// Puts a plan into force, in this order: new guests are attached and
    /// others completed; all elements change in one transaction, so that an
    /// exposure that leads elsewhere is never absent; flows of what went are
    /// cut or drained as the plan's [`Wanted`](crate::Wanted) says; then the guests that are
    /// not wanted are detached; last comes the shim, if it is wanted and
    /// missing: what of others it cannot help with, [`conflicts`](Self::conflicts)
    /// tells. An agent that is killed on the way plans and
    /// commits again.
    ///
    /// # Errors
    /// [`Error::Stale`] if the ruleset has changed since the plan was
    /// computed: guests that were attached stay then, and the next plan goes
    /// on from there. After any other error the new guests are detached again.
    /// What [`attach`](Self::attach) returns of a TAP; [`Error::Refused`] from
    /// the kernel.
    pub fn commit(&mut self, plan: &Plan) -> Result<(), Error> {
        let committed = self.commit_steps(plan);
        let committed = self.explained(committed);
        match &committed {
            Ok(()) | Err(Error::Stale { .. } | Error::UnknownOutcome { .. }) => {}
            Err(_) => {
                let new = plan.homes.iter().filter(|home| home.is_new);
                let there = |home: &&Home| self.known.guest_of_name(home.place.name()).is_some();
                let new: Vec<_> = new.filter(there).map(|home| home.place.clone()).collect();
                if !new.is_empty() {
                    // The first error is the one to tell.
                    let _detached = self.take_back(&new);
                }
            }
        }
        committed
    }

    fn commit_steps(&mut self, plan: &Plan) -> Result<(), Error> {
        let flows = plan.wanted.wanted_flows();
        if plan.is_empty() {
            return self.sweep_once(plan.wanted.exposures(), flows);
        }
        let generation = plan.generation;
        if self.known.generation() != generation {
            return Err(Error::Stale { generation });
        }
        if plan.repair.is_some() {
            self.rebuild(generation, None)?;
            self.known.committed();
        }
        self.attach_new(plan)?;
        let (mut gone, mut come) = (Vec::new(), Vec::new());
        for change in &plan.changes {
            match change {
                Change::Expose(to) | Change::Repair(to) => come.push(to.clone()),
                Change::Withdraw(from) => gone.push(from.clone()),
                Change::Move { from, to } => {
                    gone.push(from.clone());
                    come.push(to.clone());
                }
                _ => {}
            }
        }
        self.open_loopback(&come)?;
        if self.known.generation() == 0 {
            return Err(Error::Stale { generation });
        }
        let old = self.reaches(&gone);
        self.change_elements(&plan.sets)?;
        if flows == Flows::Cut {
            let new = self.reaches(&come);
            self.cut(&old, &new)?;
        }
        // Of what leads elsewhere now, flows that are drained go on.
        let drained = if flows == Flows::Drain { &*old } else { &[] };
        self.end_older_flows(&come, drained)?;
        self.sweep_once(plan.wanted.exposures(), flows)?;
        for home in plan.homes.iter().filter(|home| !home.is_new) {
            let known = self.known.guest_of_name(home.place.name());
            if let Some(before) = known.filter(|known| **known != home.place).cloned() {
                self.end_forbidden_flows(&before, &home.place)?;
                self.known.attached(home.place.clone());
            }
        }
        self.detach_leaving(plan)?;
        if plan.repair == Some(Repair::Missing) {
            self.forward_on_uplinks()?;
        }
        // Last: the owner's own rules are what makes it no hole.
        if plan
            .changes
            .iter()
            .any(|it| matches!(it, Change::Shim { .. }))
        {
            let _left = self.add_shim()?;
        }
        Ok(())
    }

    /// Claims the addresses of all new guests at once, makes their TAPs and
    /// completes others'.
    fn attach_new(&mut self, plan: &Plan) -> Result<(), Error> {
        if !plan.claims.is_empty() {
            self.batch.clear();
            self.batch.based_on(self.known.generation());
            let sets = self.layout.sets();
            for change in &plan.claims {
                if let Some(set) = sets.get(change.set) {
                    self.batch.create_elements(set, &change.add);
                }
            }
            self.commit_elements(self.known.generation())?;
            self.known.committed();
            let new = plan.homes.iter().filter(|home| home.is_new);
            new.for_each(|home| self.known.attached(home.place.clone()));
        }
        let homes = plan.wanted.guests().iter().zip(&plan.homes);
        let unfinished = homes.filter(|(_, home)| home.is_new || !home.lacks.is_empty());
        let unfinished: Vec<_> = unfinished
            .map(|(guest, home)| (guest, &home.place, home.is_new))
            .collect();
        self.wire_all(&unfinished)
    }

    /// Changes all elements in one transaction, with the chains of limits that
    /// come with their first elements and go with their last.
    fn change_elements(&mut self, changes: &[SetChange]) -> Result<(), Error> {
        self.batch.clear();
        self.batch.based_on(self.known.generation());
        let (needed, unused) = self.limit_chains(changes)?;
        let sets = self.layout.sets();
        for change in changes {
            let Some(set) = sets.get(change.set) else {
                continue;
            };
            self.batch.delete_elements(set, &change.remove);
            if let Some(side) = self.layout.side_of_limits(set) {
                let keys = change.remove.iter().map(|one| Element::new(*one.key()));
                self.batch.destroy_elements(&side.live, keys);
            }
        }
        for (chain, rule) in &needed {
            self.batch.create(chain).add(rule);
        }
        for change in changes {
            if let Some(set) = sets.get(change.set) {
                self.batch.add_elements(set, &change.add);
            }
        }
        for chain in &unused {
            self.batch.delete(chain);
        }
        if self.batch.is_empty() {
            return Ok(());
        }
        self.commit_elements(self.known.generation())?;
        self.known.committed();
        let sets = self.layout.sets();
        for change in changes {
            let Some(set) = sets.get(change.set) else {
                continue;
            };
            let mut sides = self.layout.sides.iter();
            let is_this = |more: &Set| ptr::eq(more, *set);
            if sides.any(|side| side.beyond_claims().into_iter().any(is_this)) {
                self.known.has_more_than_claims();
            }
            let claim = |element| self.layout.claim_in(set, element);
            for claim in change.remove.iter().filter_map(claim) {
                self.known.withdrawn(&claim);
            }
            for claim in change.add.iter().filter_map(claim) {
                self.known.exposed(&claim);
            }
            let parts = change.add.iter().filter(|element| is_part(element));
            for claim in parts.filter_map(claim) {
                self.known.set_special(claim.key(), true);
            }
            let special = |element| self.layout.special_in(set, element);
            for key in change.remove.iter().filter_map(special) {
                self.known.set_special(key, false);
            }
            for key in change.add.iter().filter_map(special) {
                self.known.set_special(key, true);
            }
        }
        Ok(())
    }

    /// The chains of limits that have to be made for these changes, and those
    /// that nothing leads to after them.
    fn limit_chains(&mut self, changes: &[SetChange]) -> Result<LimitChains, Error> {
        let sets = self.layout.sets();
        let of_limits = changes.iter().filter_map(|change| {
            let side = self.layout.side_of_limits(sets.get(change.set)?)?;
            Some((change, side))
        });
        let of_limits: Vec<_> = of_limits.collect();
        let (mut needed, mut unused) = (Vec::new(), Vec::new());
        if of_limits.is_empty() {
            return Ok((needed, unused));
        }
        let chains = self.nft.chains(&self.layout.table)?;
        let mut there: HashSet<Name> = chains.iter().map(|chain| chain.name().clone()).collect();
        for (change, side) in of_limits {
            let made = change.add.iter().filter_map(|one| side.limit_chain(one));
            for (chain, rule) in made {
                if there.insert(chain.name().clone()) {
                    needed.push((chain, rule));
                }
            }
            let mut after = self.nft.elements(&side.limits)?;
            after.retain(|one| !change.remove.iter().any(|gone| gone.key() == one.key()));
            after.extend(change.add.iter().cloned());
            let in_use: HashSet<Option<u32>> = after.iter().map(|one| side.limit_of(one)).collect();
            for gone in &change.remove {
                if !in_use.contains(&side.limit_of(gone))
                    && let Some((chain, _)) = side.limit_chain(gone)
                    && there.remove(chain.name())
                {
                    unused.push(chain);
                }
            }
        }
        Ok((needed, unused))
    }

    /// Takes away the guests that are not wanted: TAP and flows first, so
    /// that whoever gets their addresses next meets none of their packets.
    fn detach_leaving(&mut self, plan: &Plan) -> Result<(), Error> {
        if !plan.leaving.is_empty() {
            self.delete_taps(&plan.leaving)?;
            self.cut_guests(&plan.leaving)?;
        }
        self.change_elements(&plan.left)?;
        for guest in &plan.leaving {
            self.known.detached(guest);
        }
        if plan.leaving.iter().any(|it| it.elsewhere().is_some()) {
            self.close_loopback_elsewhere()?;
        }
        Ok(())
    }

    /// Ends the flows that an agent that was killed had no time to end: those
    /// that reach a guest by no exposure that is in force. Once for a handle:
    /// afterwards it knows what it withdraws.
    fn sweep_once(&mut self, in_force: &[Exposure], flows: Flows) -> Result<(), Error> {
        if self.swept || flows == Flows::Drain {
            return Ok(());
        }
        self.cut_all_but(in_force)?;
        self.close_loopback_elsewhere()?;
        self.swept = true;
        Ok(())
    }
}

/// Chains of limits that have to be made, with their rules, and those that
/// have to go.
type LimitChains = (Vec<(Chain, Rule)>, Vec<Chain>);
