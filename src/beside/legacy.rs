//! The rules of legacy iptables, read from the kernel's own form of them.

mod entry;
mod rule;

use std::collections::HashMap;
use std::sync::Arc;

use self::entry::Entries;
pub(super) use self::rule::Rule;
use super::probe::{Probe, Truth};
use super::walk::{Action, Firewall};
use super::window::Window;
use super::xt;
use crate::conflict::{Conflict, ForeignChain};
use crate::error::Error;
use crate::nft::{Hook, priority};
use crate::sys::{self, LegacyTable};

/// The tables of legacy iptables and ip6tables that are in use.
#[derive(Debug)]
pub(crate) struct Legacy {
    pub(super) tables: Vec<Table>,
    pub(super) unreadable: Vec<Conflict>,
}

impl Legacy {
    /// Reads those of the calling thread's network namespace.
    pub(crate) fn read() -> Self {
        let mut all = Self {
            tables: Vec::new(),
            unreadable: Vec::new(),
        };
        for ipv6 in [false, true] {
            let names = sys::legacy_tables(ipv6);
            let names = names.unwrap_or_else(|error| {
                all.unreadable.push(unreadable("filter", ipv6, &error));
                Vec::new()
            });
            for name in names {
                match sys::legacy_table(ipv6, &name) {
                    Ok(table) => all.tables.push(Table::decode(ipv6, &name, &table)),
                    Err(error) => all.unreadable.push(unreadable(&name, ipv6, &error)),
                }
            }
        }
        all
    }
}

fn unreadable(table: &str, ipv6: bool, error: &Error) -> Conflict {
    Conflict::LegacyUnreadable {
        table: table.into(),
        ipv6,
        errno: error.raw_os_error().unwrap_or_default(),
    }
}

/// One table.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) ipv6: bool,
    name: Box<str>,
    chains: HashMap<Box<str>, Arc<[Rule]>>,
    /// Whether the policy of a built-in chain is to drop, by its name.
    drops: HashMap<&'static str, bool>,
}

impl Table {
    /// Its chain at `hook`, and whether its policy is to drop.
    pub(super) fn base_chain(&self, hook: Hook) -> Option<(ForeignChain, bool)> {
        let (_, name) = HOOKS.iter().find(|(known, _)| *known == hook)?;
        let drops = *self.drops.get(name)?;
        let priority = match &*self.name {
            "raw" => priority::RAW,
            "mangle" => priority::MANGLE,
            "nat" => priority::DSTNAT,
            "security" => priority::SECURITY,
            _ => priority::FILTER,
        };
        let chain = ForeignChain {
            legacy: true,
            family: if self.ipv6 { "ip6" } else { "ip" }.into(),
            table: self.name.clone(),
            name: (*name).into(),
            priority,
            owned: false,
        };
        Some((chain, drops))
    }

    pub(super) fn is_nat(&self) -> bool {
        &*self.name == "nat"
    }

    /// Reads all chains. What cannot be read ends the list; the kernel checks
    /// what it keeps.
    fn decode(ipv6: bool, name: &str, table: &LegacyTable) -> Self {
        let built_in: Vec<(&'static str, usize, usize)> = HOOKS
            .iter()
            .filter_map(|(hook, name)| {
                let (start, policy) = table.chain(hook.as_raw())?;
                Some((*name, start, policy))
            })
            .collect();
        let entries: Vec<_> = Entries::new(ipv6, table.entries()).collect();
        // A user's chain begins behind an entry that bears its name.
        let mut names: HashMap<usize, Box<str>> = HashMap::new();
        for (at, entry) in &entries {
            if let Some(name) = entry.chain_name() {
                names.insert(at.saturating_add(entry.length()), name);
            }
        }
        for (name, start, _) in &built_in {
            names.insert(*start, (*name).into());
        }
        let mut chains: HashMap<Box<str>, Vec<Rule>> = HashMap::new();
        let mut drops = HashMap::new();
        let mut current = None;
        for (at, entry) in &entries {
            current = names.get(at).or(current);
            if entry.chain_name().is_some() {
                current = None;
            }
            let action = entry.action(at.saturating_add(entry.length()), &names);
            if let Some((name, ..)) = built_in.iter().find(|(_, _, policy)| policy == at) {
                drops.insert(*name, action == Action::Drop);
                current = None;
            } else if let Some(chain) = current {
                let rule = Rule::new(ipv6, entry, action);
                chains.entry(chain.clone()).or_default().push(rule);
            }
        }
        Self {
            ipv6,
            name: name.into(),
            chains: chains
                .into_iter()
                .map(|(name, rules)| (name, rules.into()))
                .collect(),
            drops,
        }
    }
}

impl Firewall for &Table {
    type Rule = Rule;

    fn rules(&mut self, chain: &str) -> Result<Arc<[Rule]>, Error> {
        Ok(self.chains.get(chain).cloned().unwrap_or_default())
    }

    fn redirects(rule: &Rule) -> bool {
        xt::redirects(rule.target())
    }

    fn window(rule: &Rule) -> Window {
        rule.window
    }

    fn weigh(&mut self, rule: &Rule, probe: &Probe) -> Result<(Truth, Action), Error> {
        Ok((rule.holds(probe), rule.action.clone()))
    }
}

/// The built-in chains by their hooks.
const HOOKS: [(Hook, &str); 5] = [
    (Hook::PREROUTING, "PREROUTING"),
    (Hook::INPUT, "INPUT"),
    (Hook::FORWARD, "FORWARD"),
    (Hook::OUTPUT, "OUTPUT"),
    (Hook::POSTROUTING, "POSTROUTING"),
];
