//! A table with all that is in it.

use std::collections::HashSet;

use crate::error::{Error, Operation};

use super::expr::{Dynset, Expr};
use super::{
    Batch, Chain, Element, Family, Flowtable, Name, NamedObject, Nft, Rule, Set, SetFlags, Table,
};

/// All of a table as it was at one generation. It can be written again, under
/// another name too.
///
/// ```no_run
/// use tapwire::nft::{Batch, Family, Name, Nft};
/// let mut nft = Nft::open()?;
/// let table = nft.snapshot(Family::INET, &Name::constant("riklet"))?;
/// if let Some(copy) = table.map(|table| table.renamed(Name::constant("copy"))) {
///     let mut batch = Batch::new();
///     copy.add_to(&mut batch);
///     nft.commit(&mut batch)?;
/// }
/// # Ok::<(), tapwire::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    generation: u32,
    table: Table,
    chains: Vec<Chain>,
    rules: Vec<Rule>,
    sets: Vec<(Set, Vec<Element>)>,
    objects: Vec<NamedObject>,
    flowtables: Vec<Flowtable>,
}

impl Nft {
    /// All of the table of this name, at one generation; `None` if there is no
    /// such table.
    ///
    /// # Errors
    /// [`Error::Interrupted`] if the ruleset kept changing; what the lists
    /// return.
    pub fn snapshot(&mut self, family: Family, name: &Name) -> Result<Option<Snapshot>, Error> {
        for _ in 0..ATTEMPTS {
            let generation = self.generation()?;
            let Some(table) = self.table(family, name)? else {
                return Ok(None);
            };
            let snapshot = self.read(generation, table);
            if self.generation()? == generation {
                return snapshot.map(Some);
            }
        }
        Err(Error::Interrupted {
            operation: Operation::new(format_args!("list table {family} {name}")),
            attempts: ATTEMPTS,
        })
    }

    fn read(&mut self, generation: u32, table: Table) -> Result<Snapshot, Error> {
        let mut sets = Vec::new();
        for set in self.sets(&table)? {
            let elements = self.elements(&set)?;
            sets.push((set, elements));
        }
        Ok(Snapshot {
            generation,
            chains: self.chains(&table)?,
            rules: self.all_rules(&table)?,
            objects: self.objects(&table, None)?,
            flowtables: self.flowtables(&table)?,
            sets,
            table,
        })
    }
}

impl Snapshot {
    /// The generation at which it was read.
    pub const fn generation(&self) -> u32 {
        self.generation
    }

    /// The table itself.
    pub const fn table(&self) -> &Table {
        &self.table
    }

    /// Its chains.
    pub fn chains(&self) -> &[Chain] {
        &self.chains
    }

    /// The rules of all its chains.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The rules of one chain, in their order.
    pub fn rules_of(&self, chain: &Name) -> impl Iterator<Item = &Rule> {
        self.rules.iter().filter(move |rule| rule.chain() == chain)
    }

    /// Its sets and maps, anonymous ones included, with their elements.
    pub fn sets(&self) -> impl Iterator<Item = (&Set, &[Element])> {
        self.sets
            .iter()
            .map(|(set, elements)| (set, elements.as_slice()))
    }

    /// Its named objects.
    pub fn objects(&self) -> &[NamedObject] {
        &self.objects
    }

    /// Its flowtables.
    pub fn flowtables(&self) -> &[Flowtable] {
        &self.flowtables
    }

    /// The same under another name.
    #[must_use]
    pub fn renamed(&self, name: Name) -> Self {
        let moved = |(set, elements): &(Set, Vec<Element>)| (set.moved(&name), elements.clone());
        Self {
            generation: self.generation,
            chains: self.chains.iter().map(|one| one.moved(&name)).collect(),
            rules: self.rules.iter().map(|one| one.moved(&name)).collect(),
            sets: self.sets.iter().map(moved).collect(),
            objects: self.objects.iter().map(|one| one.moved(&name)).collect(),
            flowtables: self.flowtables.iter().map(|one| one.moved(&name)).collect(),
            table: self.table.moved(name),
        }
    }

    /// Adds the table and all that is in it, each behind what it refers to.
    pub fn add_to(&self, batch: &mut Batch) {
        batch.add(&self.table);
        for object in &self.objects {
            batch.add(object);
        }
        for flowtable in &self.flowtables {
            batch.add(flowtable);
        }
        for chain in &self.chains {
            batch.add(chain);
        }
        let targets = self.targets();
        for (set, elements) in &self.sets {
            let set = if targets.contains(set.name()) {
                &set.as_declared()
            } else {
                set
            };
            batch.add(set);
            let mut elements: Vec<&Element> = elements.iter().collect();
            if set.current_flags().contains(SetFlags::INTERVAL) {
                elements.sort_by(|one, other| one.place().cmp(&other.place()));
            }
            batch.add_elements(set, elements);
        }
        for rule in self.rules_in_order() {
            batch.add(rule);
        }
    }

    /// The sets that rules add to.
    fn targets(&self) -> HashSet<&Name> {
        let expressions = self.rules.iter().flat_map(Rule::expressions);
        expressions
            .filter_map(|expression| match expression {
                Expr::Dynset(dynset) => Some(Dynset::set(dynset)),
                _ => None,
            })
            .collect()
    }

    /// The rules, those of a bound chain before the one that jumps to it: the
    /// kernel adds no more behind it.
    fn rules_in_order(&self) -> Vec<&Rule> {
        let bound: Vec<&Name> = self
            .chains
            .iter()
            .filter(|chain| chain.is_bound())
            .map(Chain::name)
            .collect();
        let mut ordered = Vec::with_capacity(self.rules.len());
        let free = self.chains.iter().filter(|chain| !chain.is_bound());
        for chain in free.map(Chain::name) {
            self.push_chain(chain, &bound, &mut ordered);
        }
        ordered
    }

    fn push_chain<'a>(&'a self, chain: &Name, bound: &[&Name], ordered: &mut Vec<&'a Rule>) {
        for rule in self.rules_of(chain) {
            let jumps = rule.expressions().iter().filter_map(|expression| {
                let Expr::Immediate(immediate) = expression else {
                    return None;
                };
                immediate.chain()
            });
            for target in jumps.filter(|target| bound.contains(target) && *target != chain) {
                // Each is jumped to once, so that it is left out below.
                let rest: Vec<&Name> = bound
                    .iter()
                    .copied()
                    .filter(|other| *other != target)
                    .collect();
                self.push_chain(target, &rest, ordered);
            }
            ordered.push(rule);
        }
    }
}

/// So often a table is read while the ruleset keeps changing.
const ATTEMPTS: u32 = 16;
