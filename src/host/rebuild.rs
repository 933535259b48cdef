//! The owner's tables are made, looked after, and made anew with what is in
//! them: by an older version, after someone changed them, or too small.

use std::collections::{HashMap, HashSet};

use super::Host;
use super::enlarge::{additions, enlarged};
use super::ownership::Standing;
use crate::error::{Conflict, Error};
use crate::layout::{Layout, is_on_demand, schema, schema_of};
use crate::nft::expr::{Expr, Lookup};
use crate::nft::{
    Batch, Chain, Content, Element, Elements, Family, Name, Rule, Set, SetFlags, Table,
};
use crate::plan::Repair;

/// The chains and rules of a layout, to be compared with what is there.
#[derive(Debug)]
pub(super) struct Own {
    chains: Vec<Chain>,
    rules: Vec<(Rule, Vec<Keys>)>,
}

/// The keys of an anonymous set, in order.
pub(super) type Keys = Vec<Vec<u8>>;

impl Host {
    /// Makes sure that the owner's tables are as they should be; whether
    /// anything had to be done. Costs one question if nothing has changed
    /// since.
    ///
    /// # Errors
    /// [`Error::Conflict`] if there is a table of the owner's name that is not
    /// one of ours, of a newer version, or owned by another handle.
    pub(super) fn ensure_tables(&mut self) -> Result<bool, Error> {
        for _ in 0..ATTEMPTS {
            let generation = self.nft.generation()?;
            if self.settled == Some(generation) {
                return Ok(false);
            }
            let Some(repair) = self.inspect(generation)? else {
                return Ok(false);
            };
            match self.rebuild(generation, None) {
                Err(Error::Stale { .. }) => {}
                Err(error) if error.is_exists() || error.is_not_found() => {}
                result => {
                    result?;
                    log::debug!("tables of {}: {repair:?}", self.owner);
                    return Ok(true);
                }
            }
        }
        Err(Error::Stale {
            generation: self.nft.generation()?,
        })
    }

    /// What has to be done about the owner's tables, if anything.
    pub(super) fn inspect(&mut self, generation: u32) -> Result<Option<Repair>, Error> {
        if self.settled == Some(generation) {
            return Ok(None);
        }
        let found = self.present()?;
        let mut repair = None;
        let mut is_orphan = false;
        for table in found.iter().flatten() {
            match schema_of(table) {
                Some(version) if version == schema() => {}
                Some(version) if version < schema() => repair = Some(Repair::Older),
                version => return Err(self.not_ours(table, version).into()),
            }
            match self.standing(table)? {
                Standing::AsWanted => {}
                Standing::Orphan => is_orphan = true,
                Standing::Unlike => repair = repair.or(Some(Repair::Owned)),
            }
        }
        let [Some(table), Some(arp)] = found else {
            return Ok(repair.or(Some(Repair::Missing)));
        };
        if repair.is_none() && is_orphan && !self.adopt(generation)? {
            return Err(Error::Stale { generation });
        }
        let generation = if is_orphan {
            next(generation)
        } else {
            generation
        };
        if repair.is_none() && !self.is_intact(&[table, arp])? {
            repair = Some(Repair::Altered);
        }
        if repair.is_none() && self.nft.generation()? == generation {
            self.settled = Some(generation);
        }
        Ok(repair)
    }

    /// The owner's tables as they are there.
    fn present(&mut self) -> Result<[Option<Table>; 2], Error> {
        let tables = self.nft.tables()?;
        Ok(self.layout.tables().map(|own| {
            let is_it = |one: &&Table| one.family() == own.family() && one.name() == own.name();
            tables.iter().find(is_it).cloned()
        }))
    }

    fn not_ours(&self, table: &Table, version: Option<u32>) -> Conflict {
        let (family, name) = (table.family(), table.name());
        let holder = match version {
            Some(version) => format!(
                "table {family} {name} of a newer version (layout {version}, this one knows {})",
                schema()
            ),
            None => format!("table {family} {name} of another layout"),
        };
        Conflict::new(format_args!("the tables of owner {}", self.owner), holder)
    }

    /// Whether chains, rules and sets are the layout's own.
    fn is_intact(&mut self, tables: &[Table; 2]) -> Result<bool, Error> {
        let (mut chains, mut rules, mut sets) = (Vec::new(), Vec::new(), Vec::new());
        for table in tables {
            chains.extend(self.nft.chains(table)?);
            rules.extend(self.nft.all_rules(table)?);
            sets.extend(self.nft.sets(table)?);
        }
        let own = self.own()?;
        let mut contents = HashMap::new();
        for set in sets.iter().filter(|set| is_anonymous(set.name())) {
            let place = (set.family(), set.name().clone());
            contents.insert(place, keys(&self.nft.elements(set)?));
        }
        Ok(own.are_chains(&chains)
            && own.are_rules(&rules, &contents)
            && are_sets(&self.layout, &sets))
    }

    /// The layout's own chains and rules. They are not kept: they are many
    /// small things, and looked at only after others' changes.
    pub(super) fn own(&self) -> Result<Own, Error> {
        Own::of(|batch| self.layout.create(|_| None, batch))
    }

    /// Makes the tables anew, with all elements of the sets that stay and
    /// their counters, and with what `more` adds, in one transaction. A
    /// packet meets the old tables or the new; only one that is between the two
    /// base chains of a hook at that very moment meets neither of them there.
    ///
    /// # Errors
    /// [`Error::Stale`] if someone changed the ruleset since `generation`.
    pub(super) fn rebuild(&mut self, generation: u32, more: Option<&Batch>) -> Result<(), Error> {
        let found = self.present()?;
        let mut sets = Vec::new();
        for table in found.iter().flatten() {
            sets.extend(self.nft.sets(table)?);
        }
        let more_of = additions(more)?;
        let mut carried = Vec::new();
        let mut sizes = HashMap::new();
        for (place, set) in self.layout.sets().into_iter().enumerate() {
            let is_it = |one: &&Set| one.family() == set.family() && one.name() == set.name();
            let listed = sets.iter().find(is_it);
            let is_alike = |one: &&Set| one.key() == set.key() && one.data() == set.data();
            let mut elements = match listed.filter(is_alike) {
                _ if set.current_flags().contains(SetFlags::EVAL) => Vec::new(),
                Some(listed) => self.nft.elements(listed)?,
                None => self.kept.of(set).to_vec(),
            };
            if set.expressions().is_empty() {
                // Older layouts counted here.
                elements = elements.into_iter().map(uncounted).collect();
            }
            if set.current_flags().contains(SetFlags::INTERVAL) {
                elements.sort_by(|one, other| one.place().cmp(&other.place()));
            }
            let key = (set.family(), set.name().clone());
            let more = more_of.get(&key).copied().unwrap_or_default();
            let before = listed.and_then(Set::capacity).or_else(|| set.capacity());
            sizes.extend(before.map(|before| (key, enlarged(before, elements.len(), more))));
            carried.push((place, elements));
        }
        // What a rule counts against limits is as much as has limits.
        for side in &self.layout.sides {
            let place = |set: &Set| (set.family(), set.name().clone());
            let size = sizes.get(&place(&side.limits)).copied();
            sizes.extend(size.map(|size| (place(&side.live), size)));
        }
        let batch = &mut self.batch;
        batch.clear();
        batch.based_on(generation);
        self.layout.destroy(batch);
        let size_of = |set: &Set| sizes.get(&(set.family(), set.name().clone())).copied();
        self.layout.create(size_of, batch);
        let layout_sets = self.layout.sets();
        let mut chains = HashSet::new();
        for (place, elements) in &carried {
            let set = layout_sets.get(*place);
            let Some(side) = set.and_then(|set| self.layout.side_of_limits(set)) else {
                continue;
            };
            for (chain, rule) in elements.iter().filter_map(|one| side.limit_chain(one)) {
                if chains.insert(chain.name().clone()) {
                    batch.create(&chain).add(&rule);
                }
            }
        }
        for (place, elements) in &carried {
            if let Some(set) = layout_sets.get(*place) {
                batch.add_elements(set, elements);
            }
        }
        if let Some(more) = more {
            batch.append(more);
        }
        match self.nft.commit(&mut self.batch) {
            Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) && is_at_table(&error) => {
                return Err(Error::Unsupported {
                    feature: self.ownership.feature(),
                });
            }
            result => self.explained(result)?,
        }
        self.settled = Some(next(generation));
        Ok(())
    }
}

impl Own {
    /// The chains and rules that `create` makes.
    pub(super) fn of(create: impl FnOnce(&mut Batch)) -> Result<Self, Error> {
        let mut batch = Batch::new();
        create(&mut batch);
        let mut own = Self {
            chains: Vec::new(),
            rules: Vec::new(),
        };
        // An anonymous set and its elements come before their rule.
        let mut lists = Vec::new();
        for message in batch.messages()? {
            match message.content()? {
                Content::Chain(chain) => own.chains.push(chain),
                Content::Elements(Elements { elements, .. }) => lists.push(keys(&elements)),
                Content::Rule(rule) => own.rules.push((rule, std::mem::take(&mut lists))),
                _ => {}
            }
        }
        Ok(own)
    }

    pub(super) fn chains(&self) -> &[Chain] {
        &self.chains
    }

    pub(super) fn are_chains(&self, listed: &[Chain]) -> bool {
        let is_there = |own: &Chain| listed.iter().any(|one| one.is_same(own));
        let is_own = |one: &&Chain| !is_on_demand(one.name());
        self.chains.iter().all(is_there)
            && listed.iter().filter(is_own).count() == self.chains.len()
    }

    pub(super) fn are_rules(
        &self,
        listed: &[Rule],
        contents: &HashMap<(Family, Name), Keys>,
    ) -> bool {
        self.chains.iter().all(|chain| {
            let of_chain =
                |rule: &Rule| rule.family() == chain.family() && rule.chain() == chain.name();
            let mut own = self.rules.iter().filter(|(rule, _)| of_chain(rule));
            let mut there = listed.iter().filter(|rule| of_chain(rule));
            loop {
                match (own.next(), there.next()) {
                    (None, None) => return true,
                    (Some((own, lists)), Some(one)) => {
                        let is_same = is_same_rule(own, one)
                            && lists.iter().eq(lists_of(one, contents).flatten());
                        if !is_same {
                            log::debug!("rule {one:?} is not {own:?}");
                            return false;
                        }
                    }
                    _ => return false,
                }
            }
        })
    }
}

fn are_sets(layout: &Layout, listed: &[Set]) -> bool {
    layout.sets().into_iter().all(|own| {
        let mut found = listed.iter();
        let is_it = |one: &&Set| one.family() == own.family() && one.name() == own.name();
        // It may have been enlarged, or made for more guests.
        let same = |one: &Set| {
            let of_one_size = match own.capacity() {
                Some(size) => one.clone().size(size),
                None => one.clone(),
            };
            of_one_size.is_same(own)
        };
        found.find(is_it).is_some_and(same)
    })
}

/// Whether two rules do the same, whatever their anonymous sets are called.
fn is_same_rule(own: &Rule, listed: &Rule) -> bool {
    let (one, other) = (own.expressions(), listed.expressions());
    own.current_comment() == listed.current_comment()
        && one.len() == other.len()
        && one
            .iter()
            .zip(other)
            .all(|(one, other)| nameless(one).plain() == nameless(other).plain())
}

fn nameless(expression: &Expr) -> Expr {
    match expression {
        Expr::Lookup(lookup) if is_anonymous(lookup.set()) => {
            let mut nameless = Lookup::new(ANONYMOUS, *lookup.key()).with_flags(*lookup.flags());
            if let Some(to) = lookup.to() {
                nameless = nameless.with_to(*to);
            }
            nameless.into()
        }
        other => other.clone(),
    }
}

/// What the anonymous sets of a listed rule hold.
fn lists_of<'a>(
    rule: &'a Rule,
    contents: &'a HashMap<(Family, Name), Keys>,
) -> impl Iterator<Item = Option<&'a Keys>> {
    rule.expressions().iter().filter_map(move |one| match one {
        Expr::Lookup(lookup) if is_anonymous(lookup.set()) => {
            Some(contents.get(&(rule.family(), lookup.set().clone())))
        }
        _ => None,
    })
}

fn is_anonymous(set: &Name) -> bool {
    set.as_str().starts_with("__")
}

fn keys(elements: &[Element]) -> Keys {
    let mut keys: Vec<_> = elements
        .iter()
        .map(|element| element.key().as_bytes().to_vec())
        .collect();
    keys.sort_unstable();
    keys
}

/// The element without a counter, if it has one.
fn uncounted(element: Element) -> Element {
    if element.counts().is_none() {
        return element;
    }
    let mut plain = Element::new(*element.key());
    if let Some(last) = element.key_end() {
        plain = plain.to(*last);
    }
    if let Some(data) = element.value() {
        plain = plain.data(data.clone());
    }
    match element.current_comment() {
        Some(comment) => plain.comment(*comment),
        None => plain,
    }
}

/// Whether the kernel refused a table.
fn is_at_table(error: &Error) -> bool {
    matches!(error, Error::Refused { operation, .. } if operation.what().contains(" table "))
}

/// The generation after a commit: the kernel counts on, past 0.
pub(super) fn next(generation: u32) -> u32 {
    generation.checked_add(1).unwrap_or(1)
}

const ANONYMOUS: Name = Name::constant("__set");

/// So often others may change the ruleset before the tables are made.
pub(super) const ATTEMPTS: u32 = 32;
