//! What becomes of guests' packets in the chains of others.

mod forward;
mod translation;

pub(super) use translation::entering;

use std::collections::HashSet;
use std::net::IpAddr;

use super::foreign::Foreign;
use super::legacy::{Legacy, Rule, Table};
use super::probe::Interface;
use super::walk::{Firewall, Spot};
use super::wanted::Wanted;
use crate::conflict::{Conflict, ForeignRule};
use crate::error::Error;
use crate::nft::{Chain, Hook};
use crate::types::{IfIndex, IfName};

/// What packets of guests are like.
#[derive(Debug)]
pub(crate) struct Around {
    /// A guest's TAP, or one that there could be.
    pub(crate) tap: (IfName, Option<IfIndex>),
    /// A guest's addresses.
    pub(crate) guest: [IpAddr; 2],
    /// The interfaces that lead outside, for IPv4 and for IPv6.
    pub(crate) uplinks: [Vec<(IfName, IfIndex)>; 2],
    /// The addresses of the host.
    pub(crate) local: Vec<IpAddr>,
}

/// What chains of others do to guests, and to what is for ports that are
/// wanted.
pub(crate) fn survey(
    foreign: &mut Foreign<'_>,
    legacy: &Legacy,
    around: &Around,
    wanted: &[Wanted],
) -> Result<Vec<Conflict>, Error> {
    let mut conflicts = legacy.unreadable.clone();
    for (_, conflict) in around.forward_drops(foreign)? {
        conflicts.push(conflict);
    }
    for table in &legacy.tables {
        let Some((chain, policy)) = table.base_chain(Hook::FORWARD) else {
            continue;
        };
        let mut walker = table;
        let families = [!table.ipv6, table.ipv6];
        let stop = around.stopped(&mut walker, &chain.name, policy, families)?;
        let rule_at = |spot: &Spot| legacy_rule(table, spot);
        conflicts.extend(stop.into_conflict(chain, rule_at)?);
    }
    let (mut told, mut told_legacy) = (HashSet::new(), HashSet::new());
    for hook in [Hook::PREROUTING, Hook::OUTPUT] {
        for base in foreign.base_chains(hook) {
            if !translates(base.is_nat(), hook) {
                continue;
            }
            let own = foreign.own_priority();
            let chain = base.described();
            for taken in around.takes(&mut foreign.table_of(&base), &chain, own, hook, wanted)? {
                let rule = foreign.rule_at(&base, &taken.spot)?;
                let is_new = told.insert((taken.port, rule.handle, chain.table.clone()));
                conflicts.extend(is_new.then(|| taken.into_conflict(&chain, rule, own)));
            }
        }
        let tables = legacy.tables.iter();
        for table in tables.filter(|table| translates(table.is_nat(), hook)) {
            let Some((chain, _)) = table.base_chain(hook) else {
                continue;
            };
            let own = foreign.own_priority();
            let mut walker = table;
            for taken in around.takes(&mut walker, &chain, own, hook, wanted)? {
                let rule = legacy_rule(table, &taken.spot)?;
                let is_new = told_legacy.insert((taken.port, rule.clone()));
                conflicts.extend(is_new.then(|| taken.into_conflict(&chain, rule, own)));
            }
        }
    }
    Ok(conflicts)
}

/// Whether a base chain can give packets another destination: one that is not
/// for translation can hand them to a process (`TPROXY`).
fn translates(is_nat: bool, hook: Hook) -> bool {
    is_nat || hook == Hook::PREROUTING
}

/// The chains in which a shim is needed: those that drop packets of guests,
/// or `DOCKER-USER` where they lead there, unless it is to be `at_head`.
pub(crate) fn shim_places(
    foreign: &mut Foreign<'_>,
    around: &Around,
    at_head: bool,
) -> Result<Vec<Chain>, Error> {
    let mut places = Vec::new();
    for (base, _) in around.forward_drops(foreign)? {
        if base.owned {
            continue;
        }
        places.push(if at_head {
            base.chain
        } else {
            foreign.shim_chain(&base)?
        });
    }
    Ok(places)
}

pub(super) fn legacy_rule(mut table: &Table, spot: &Spot) -> Result<ForeignRule, Error> {
    let rules = table.rules(&spot.chain)?;
    let text = rules.get(spot.index).map(Rule::text);
    Ok(ForeignRule {
        chain: spot.chain.clone(),
        handle: None,
        number: spot.index.saturating_add(1),
        text: text.unwrap_or_default().into(),
    })
}

impl Around {
    /// The interfaces that lead outside.
    fn interfaces(&self, ipv4: bool) -> Vec<Interface> {
        let [uplinks4, uplinks6] = &self.uplinks;
        let uplinks = if ipv4 { uplinks4 } else { uplinks6 };
        let named = uplinks
            .iter()
            .map(|&(name, index)| Interface::Named(name, Some(index)));
        let named: Vec<Interface> = named.collect();
        if named.is_empty() {
            vec![Interface::Unknown]
        } else {
            named
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::entering;
    use crate::beside::probe::Probe;
    use crate::nft::Hook;

    /// A packet of which nothing is known.
    pub(in crate::beside) fn probe() -> Probe {
        entering(true, Hook::PREROUTING)
    }
}
