//! Full sets are replaced by larger ones.

use std::collections::HashMap;

use super::Host;
use super::rebuild::{ATTEMPTS, next};
use crate::error::Error;
use crate::layout::{Layout, is_on_demand};
use crate::nft::{Batch, Chain, Content, Element, Family, Name, Nft, Rule, Set};

impl Host {
    /// Commits the batch of elements, whatever others do meanwhile. Where a set
    /// is full, it is made larger in the same transaction. The batch stays if
    /// the kernel refuses it.
    pub(super) fn commit_growing(&mut self) -> Result<(), Error> {
        let mut attempts = 0..ATTEMPTS;
        match self.nft.commit(&mut self.batch) {
            Err(error) if error.raw_os_error() == Some(libc::ENFILE) => {}
            result => return self.explained(result),
        }
        let full = std::mem::take(&mut self.batch);
        loop {
            let generation = self.nft.generation()?;
            match self.enlarge(generation, &full) {
                Err(Error::Stale { .. }) if attempts.next().is_some() => {}
                result => {
                    if result.is_err() {
                        self.batch = full;
                    }
                    return result;
                }
            }
        }
    }

    /// Commits the batch of changed elements. Where a set is full, it is made
    /// larger in the same transaction.
    pub(super) fn commit_elements(&mut self, generation: u32) -> Result<(), Error> {
        self.batch.based_on(generation);
        match self.nft.commit(&mut self.batch) {
            Err(error) if error.raw_os_error() == Some(libc::ENFILE) => {
                let full = std::mem::take(&mut self.batch);
                self.enlarge(generation, &full)
            }
            result => self.explained(result),
        }
    }

    /// Replaces the sets in which there is no room for what `more` adds by
    /// larger ones, with all of their elements and counters, and adds it, in
    /// one transaction. All other sets stay, and so do the base chains: each
    /// packet meets the old rules of a base chain or the new ones. One whose
    /// old rules come to a map that has just been replaced finds nothing
    /// there; of exposures, it asks once more.
    ///
    /// # Errors
    /// [`Error::Stale`] if someone changed the ruleset since `generation`.
    fn enlarge(&mut self, generation: u32, more: &Batch) -> Result<(), Error> {
        if self.inspect(generation)?.is_some() {
            return self.rebuild(generation, Some(more));
        }
        let full = full_sets(&self.layout, &mut self.nft, more)?;
        let is_replaced = |set: &Set| full.iter().any(|(one, ..)| one.name() == set.name());
        let chains = self.nft.chains(&self.layout.table)?;
        let of_limits = chains.iter().filter(|chain| is_on_demand(chain.name()));
        let limits: Vec<(&Chain, Rule)> = of_limits
            .filter_map(|chain| {
                let mut sides = self.layout.sides.iter();
                let (side, rule) = sides.find_map(|side| Some((side, side.limit_rule(chain)?)))?;
                is_replaced(&side.limits).then_some((chain, rule))
            })
            .collect();
        let own = self.own()?;
        let batch = &mut self.batch;
        batch.clear();
        batch.based_on(generation);
        for chain in own.chains() {
            batch.flush(chain);
        }
        for (chain, _) in &limits {
            batch.flush(*chain);
        }
        for (set, size, _) in &full {
            batch.delete(*set).create(&(*set).clone().size(*size));
        }
        self.layout.add_rules(batch);
        self.layout.add_arp_rules(batch);
        for (_, rule) in &limits {
            batch.add(rule);
        }
        for (set, _, elements) in &full {
            batch.add_elements(set, elements);
        }
        batch.append(more);
        let committed = self.nft.commit(&mut self.batch);
        self.explained(committed)?;
        self.settled = Some(next(generation));
        Ok(())
    }
}

/// A set, the size that has room for all, and what is in it.
type Full<'l> = (&'l Set, u32, Vec<Element>);

/// The sets that have no room for what `more` adds, with the size that has,
/// and what is in them.
fn full_sets<'l>(layout: &'l Layout, nft: &mut Nft, more: &Batch) -> Result<Vec<Full<'l>>, Error> {
    let more_of = additions(Some(more))?;
    let mut listed = Vec::new();
    for table in layout.tables() {
        listed.extend(nft.sets(table)?);
    }
    let mut full = Vec::new();
    for set in layout.sets() {
        let key = (set.family(), set.name().clone());
        let is_it = |one: &&Set| one.family() == set.family() && one.name() == set.name();
        let size = listed.iter().find(is_it).and_then(Set::capacity);
        let (Some(more), Some(size)) = (more_of.get(&key), size) else {
            continue;
        };
        let elements = nft.elements(set)?;
        let larger = enlarged(size, elements.len(), *more);
        if larger > size {
            full.push((set, larger, elements));
            // What a rule counts against limits is as much as has limits.
            if let Some(side) = layout.side_of_limits(set) {
                full.push((&side.live, larger, Vec::new()));
            }
        }
    }
    Ok(full)
}

/// How many elements a batch adds to each set.
pub(super) fn additions(batch: Option<&Batch>) -> Result<HashMap<(Family, Name), usize>, Error> {
    let mut counts = HashMap::new();
    let Some(batch) = batch else {
        return Ok(counts);
    };
    for message in batch.clone().messages()? {
        // What is destroyed makes room, but is carried over first.
        if let Content::Elements(list) = message.content()? {
            let count: &mut usize = counts.entry((list.family, list.set)).or_default();
            *count = count.saturating_add(list.elements.len());
        }
    }
    Ok(counts)
}

/// The size for a set that has so many elements and gets so many more:
/// doubled until they fit.
pub(super) fn enlarged(size: u32, elements: usize, more: usize) -> u32 {
    let needed = u32::try_from(elements.saturating_add(more)).unwrap_or(u32::MAX);
    let mut size = size.max(1);
    while size < needed {
        size = size.saturating_mul(2);
    }
    size
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn set_is_doubled_until_all_fit() {
        assert_eq!(enlarged(2, 2, 0), 2);
        assert_eq!(enlarged(2, 2, 1), 4);
        assert_eq!(enlarged(2, 2, 9), 16);
        assert_eq!(enlarged(u32::MAX - 1, usize::MAX, 1), u32::MAX);
    }
}
