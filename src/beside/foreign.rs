//! The chains of others in `nf_tables`, read as far as packets lead.

use std::collections::HashMap;
use std::sync::Arc;

use super::expressions::{Found, weigh};
use super::ports::Ports;
use super::probe::{Probe, Truth};
use super::registers::Registers;
use super::spans::Spans;
use super::walk::{Action, Firewall, Spot};
use super::window::Window;
use super::xt;
use crate::conflict::{ForeignChain, ForeignRule};
use crate::error::Error;
use crate::nft::expr::{Expr, Lookup};
use crate::nft::{
    Chain, ChainType, Data, Family, Hook, Name, Nft, Policy, Rule, Set, SetFlags, Table,
    TableFlags, Value,
};

/// The base chains of others; their rules are read when a packet comes there,
/// and kept.
#[derive(Debug)]
pub(crate) struct Foreign<'n> {
    nft: &'n mut Nft,
    base: Vec<Base>,
    /// The chains named `DOCKER-USER`.
    docker_user: Vec<Chain>,
    own_priority: i32,
    rules: HashMap<Place, Arc<[Kept]>>,
    sets: HashMap<Place, Option<Set>>,
    found: HashMap<(Place, Vec<u8>), Found>,
    spans: HashMap<Place, Spans>,
}

/// Family, table, and chain or set.
type Place = (Family, Box<str>, Box<str>);

/// A rule with the ports that it can be about.
#[derive(Debug)]
pub(super) struct Kept {
    rule: Rule,
    window: Window,
}

/// A base chain of someone else.
#[derive(Debug, Clone)]
pub(super) struct Base {
    pub(super) chain: Chain,
    pub(super) owned: bool,
}

impl Base {
    pub(super) fn is(&self, hook: Hook) -> bool {
        self.chain.hook().is_some_and(|(at, _)| at == hook)
    }

    pub(super) fn is_nat(&self) -> bool {
        self.chain.kind() == Some(&ChainType::NAT)
    }

    pub(super) fn drops(&self) -> bool {
        self.chain.current_policy() == Some(Policy::DROP)
    }

    /// Whether packets of this family enter it.
    pub(super) fn sees(&self, ipv4: bool) -> bool {
        match self.chain.family() {
            Family::INET => true,
            Family::IP => ipv4,
            Family::IP6 => !ipv4,
            _ => false,
        }
    }

    pub(super) fn described(&self) -> ForeignChain {
        ForeignChain {
            legacy: false,
            family: self.chain.family().to_string().into(),
            table: self.chain.table().as_str().into(),
            name: self.chain.name().as_str().into(),
            priority: self.chain.hook().map_or(0, |(_, priority)| priority),
            owned: self.owned,
        }
    }
}

impl<'n> Foreign<'n> {
    /// Lists the base chains of all tables but the one of the name `own`.
    pub(crate) fn read(nft: &'n mut Nft, own: &Table) -> Result<Self, Error> {
        let tables = nft.tables()?;
        let mut foreign = Self {
            base: Vec::new(),
            docker_user: Vec::new(),
            own_priority: USUAL_PRIORITY,
            rules: HashMap::new(),
            sets: HashMap::new(),
            found: HashMap::new(),
            spans: HashMap::new(),
            nft,
        };
        for chain in foreign.nft.all_chains(Family::UNSPEC)? {
            let home = tables
                .iter()
                .find(|it| it.family() == chain.family() && it.name() == chain.table());
            let flags = home.map_or(TableFlags::empty(), Table::current_flags);
            if !matches!(chain.family(), Family::INET | Family::IP | Family::IP6)
                || flags.contains(TableFlags::DORMANT)
            {
                continue;
            }
            if chain.table() == own.name() && chain.family() == own.family() {
                if let (Some(&ChainType::NAT), Some((Hook::PREROUTING, priority))) =
                    (chain.kind(), chain.hook())
                {
                    // The first of those that ask one after the other.
                    foreign.own_priority = foreign.own_priority.min(priority);
                }
            } else if chain.hook().is_some() {
                let owned = home.is_some_and(|table| table.owner().is_some());
                foreign.base.push(Base { chain, owned });
            } else if chain.name().as_str() == DOCKER_USER {
                foreign.docker_user.push(chain);
            }
        }
        let priority = |base: &Base| base.chain.hook().map(|(_, priority)| priority);
        foreign.base.sort_by_key(priority);
        Ok(foreign)
    }

    /// The base chains at `hook`, in their order.
    pub(super) fn base_chains(&self, hook: Hook) -> Vec<Base> {
        let at = self.base.iter().filter(|base| base.is(hook));
        at.cloned().collect()
    }

    /// The priority at which exposures are translated.
    pub(super) fn own_priority(&self) -> i32 {
        self.own_priority
    }

    /// The table of a base chain, to walk in.
    pub(super) fn table_of(&mut self, base: &Base) -> InTable<'_, 'n> {
        InTable {
            family: base.chain.family(),
            table: base.chain.table().clone(),
            foreign: self,
        }
    }

    /// The rule at a place that a walk has found.
    pub(super) fn rule_at(&mut self, base: &Base, spot: &Spot) -> Result<ForeignRule, Error> {
        let rules = self.table_of(base).rules(&spot.chain)?;
        let rule = rules.get(spot.index).map(|kept| &kept.rule);
        Ok(ForeignRule {
            chain: spot.chain.clone(),
            handle: rule.and_then(Rule::handle),
            number: spot.index.saturating_add(1),
            text: rule.map(Rule::to_string).unwrap_or_default().into(),
        })
    }

    /// Where a shim for `base` belongs: in `DOCKER-USER` if the chain leads
    /// there, else in the chain itself.
    pub(super) fn shim_chain(&mut self, base: &Base) -> Result<Chain, Error> {
        let user = self.docker_user.iter().find(|chain| {
            chain.family() == base.chain.family() && chain.table() == base.chain.table()
        });
        let Some(user) = user.cloned() else {
            return Ok(base.chain.clone());
        };
        let rules = self.table_of(base).rules(base.chain.name().as_str())?;
        let leads_there = rules.iter().any(|kept| {
            let last = kept.rule.expressions().last();
            let verdict = match last {
                Some(Expr::Immediate(it)) => it.value(),
                _ => return false,
            };
            matches!(verdict, Value::Verdict(verdict) if verdict.chain() == Some(user.name()))
        });
        Ok(if leads_there {
            user
        } else {
            base.chain.clone()
        })
    }

    /// The chains in which a shim can be.
    pub(crate) fn shim_chains(&self) -> Vec<Chain> {
        let forward = self.base.iter().filter(|base| base.is(Hook::FORWARD));
        let forward = forward.map(|base| &base.chain);
        forward.chain(&self.docker_user).cloned().collect()
    }

    /// The rules of a chain as they are now.
    pub(crate) fn rules_now(&mut self, chain: &Chain) -> Result<Vec<Rule>, Error> {
        match self.nft.rules(chain) {
            Err(error) if error.is_not_found() => Ok(Vec::new()),
            rules => rules,
        }
    }
}

/// One table of others, whose chains lead to each other.
#[derive(Debug)]
pub(super) struct InTable<'f, 'n> {
    foreign: &'f mut Foreign<'n>,
    family: Family,
    table: Name,
}

impl InTable<'_, '_> {
    fn place(&self, name: &str) -> Place {
        (self.family, self.table.as_str().into(), name.into())
    }

    fn parent(&self) -> Table {
        Table::new(self.family, self.table.clone())
    }

    /// Asks a set for the key that a lookup has in its registers.
    fn look_up(
        &mut self,
        lookup: &Lookup,
        registers: &Registers,
        ports: Option<Ports>,
    ) -> Result<Found, Error> {
        let place = self.place(lookup.set().as_str());
        let parent = self.parent();
        let Foreign {
            nft,
            sets,
            found,
            spans,
            ..
        } = &mut *self.foreign;
        if !sets.contains_key(&place) {
            let set = nft.set(&parent, lookup.set())?;
            sets.insert(place.clone(), set);
        }
        let Some(Some(set)) = sets.get(&place) else {
            return Ok(Found::UNKNOWN);
        };
        let length = usize::try_from(set.key().length()).unwrap_or_default();
        let key = match registers.known(*lookup.key(), length) {
            Ok(key) => key,
            Err(Truth::Partly)
                if ports.is_some_and(Ports::are_many) || spans.contains_key(&place) =>
            {
                if !spans.contains_key(&place) {
                    spans.insert(place.clone(), spans_of(nft, set)?);
                }
                let excluded = spans
                    .get(&place)
                    .is_some_and(|spans| spans.exclude(registers, *lookup.key(), length));
                let truth = if excluded { Truth::No } else { Truth::Partly };
                return Ok(Found::vague(truth));
            }
            Err(truth) => return Ok(Found::vague(truth)),
        };
        let Some(data) = Data::from_bytes(&key) else {
            return Ok(Found::UNKNOWN);
        };
        if let Some(known) = found.get(&(place.clone(), key.clone())) {
            return Ok(known.clone());
        }
        let answer = match nft.get_element(set, data) {
            Ok(element) => {
                let element = element.filter(|element| !element.is_interval_end());
                Found {
                    truth: Truth::from(element.is_some()),
                    value: element.and_then(|element| element.value().cloned()),
                }
            }
            // Some kinds of sets cannot be asked.
            Err(_) => Found::UNKNOWN,
        };
        found.insert((place, key), answer.clone());
        Ok(answer)
    }
}

impl Firewall for InTable<'_, '_> {
    type Rule = Kept;

    fn rules(&mut self, chain: &str) -> Result<Arc<[Kept]>, Error> {
        let place = self.place(chain);
        if let Some(rules) = self.foreign.rules.get(&place) {
            return Ok(Arc::clone(rules));
        }
        let chain = Chain::new(&self.parent(), Name::unchecked(chain));
        let rules = self.foreign.rules_now(&chain)?.into_iter();
        let keep = |rule: Rule| Kept {
            window: Window::of(&rule),
            rule,
        };
        let rules: Arc<[Kept]> = rules.map(keep).collect();
        self.foreign.rules.insert(place, Arc::clone(&rules));
        Ok(rules)
    }

    fn redirects(kept: &Kept) -> bool {
        kept.rule.expressions().iter().any(|it| match it {
            Expr::Redirect(_) | Expr::Tproxy(_) => true,
            Expr::XtTarget(target) => xt::redirects(target.extension()),
            _ => false,
        })
    }

    fn window(kept: &Kept) -> Window {
        kept.window
    }

    fn weigh(&mut self, kept: &Kept, probe: &Probe) -> Result<(Truth, Action), Error> {
        weigh(&kept.rule, probe, |lookup, registers| {
            self.look_up(lookup, registers, probe.ports)
        })
    }
}

fn spans_of(nft: &mut Nft, set: &Set) -> Result<Spans, Error> {
    let flags = set.current_flags();
    let intervals = flags.contains(SetFlags::INTERVAL) && !flags.contains(SetFlags::CONCAT);
    match nft.elements(set) {
        Err(error) if error.is_not_found() => Ok(Spans::of(&[], intervals)),
        elements => Ok(Spans::of(&elements?, intervals)),
    }
}

/// The chain that Docker leaves to the administrator.
const DOCKER_USER: &str = "DOCKER-USER";

/// That of exposures where the owner's table is missing.
const USUAL_PRIORITY: i32 = -105;
