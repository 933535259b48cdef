//! What becomes of guests' packets in the chains of others.

use std::collections::HashSet;
use std::net::IpAddr;

use super::foreign::{Base, Foreign};
use super::legacy::{Legacy, Table};
use super::probe::{Interface, Probe};
use super::walk::{End, Firewall, Outcome, Spot, walk};
use crate::conflict::{Conflict, ForeignChain, ForeignRule, HostPort, Winner};
use crate::error::Error;
use crate::nft::{Chain, Hook, ct};
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

/// What chains of others do to guests, and to what is for `ports`.
pub(crate) fn survey(
    foreign: &mut Foreign<'_>,
    legacy: &Legacy,
    around: &Around,
    ports: &[HostPort],
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
    let mut told = HashSet::new();
    for hook in [Hook::PREROUTING, Hook::OUTPUT] {
        for base in foreign.base_chains(hook) {
            if !base.is_nat() {
                continue;
            }
            let own = foreign.own_priority();
            let chain = base.described();
            for taken in around.takes(&mut foreign.table_of(&base), &chain, own, hook, ports)? {
                let rule = foreign.rule_at(&base, &taken.spot)?;
                let is_new = told.insert((taken.port, rule.handle, chain.table.clone()));
                conflicts.extend(is_new.then(|| taken.into_conflict(&chain, rule, own)));
            }
        }
        for table in legacy.tables.iter().filter(|table| table.is_nat()) {
            let Some((chain, _)) = table.base_chain(hook) else {
                continue;
            };
            let own = foreign.own_priority();
            let mut walker = table;
            for taken in around.takes(&mut walker, &chain, own, hook, ports)? {
                let rule = legacy_rule(table, &taken.spot)?;
                let is_new = conflicts.iter().all(|known| {
                    !matches!(known, Conflict::Translated { port, rule: other, chain: at, .. }
                        if *port == taken.port && **other == rule && at.legacy)
                });
                conflicts.extend(is_new.then(|| taken.into_conflict(&chain, rule, own)));
            }
        }
    }
    Ok(conflicts)
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

fn legacy_rule(mut table: &Table, spot: &Spot) -> Result<ForeignRule, Error> {
    let rules = table.rules(&spot.chain)?;
    let text = rules.get(spot.index).map(super::legacy::Rule::text);
    Ok(ForeignRule {
        chain: spot.chain.clone(),
        handle: None,
        number: spot.index.saturating_add(1),
        text: text.unwrap_or_default().into(),
    })
}

/// What a chain at hook `forward` stops: neither, or one, or both.
#[derive(Debug, Default)]
struct Stop {
    /// The first rule that does; `None` if it is the policy.
    by: Option<Spot>,
    exposures: bool,
    egress: bool,
}

impl Stop {
    fn into_conflict(
        self,
        chain: ForeignChain,
        rule_at: impl FnOnce(&Spot) -> Result<ForeignRule, Error>,
    ) -> Result<Option<Conflict>, Error> {
        if !self.exposures && !self.egress {
            return Ok(None);
        }
        Ok(Some(Conflict::ForwardDrop {
            rule: self.by.as_ref().map(rule_at).transpose()?.map(Box::new),
            chain: Box::new(chain),
            exposures: self.exposures,
            egress: self.egress,
        }))
    }
}

/// A rule that translates what is for a port.
#[derive(Debug)]
struct Taken {
    port: HostPort,
    spot: Spot,
    certain: bool,
    /// Whether it would not without this port.
    by_port: bool,
}

impl Taken {
    fn into_conflict(self, chain: &ForeignChain, rule: ForeignRule, own: i32) -> Conflict {
        Conflict::Translated {
            port: self.port,
            chain: Box::new(chain.clone()),
            rule: Box::new(rule),
            wins: winner(chain.priority, own),
            certain: self.certain,
        }
    }
}

fn winner(priority: i32, own: i32) -> Winner {
    match priority.cmp(&own) {
        std::cmp::Ordering::Less => Winner::Foreign,
        std::cmp::Ordering::Equal => Winner::Older,
        std::cmp::Ordering::Greater => Winner::Exposure,
    }
}

impl Around {
    /// The base chains of others in `nf_tables` that drop packets of guests.
    fn forward_drops(&self, foreign: &mut Foreign<'_>) -> Result<Vec<(Base, Conflict)>, Error> {
        let mut found = Vec::new();
        for base in foreign.base_chains(Hook::FORWARD) {
            let chain = base.described();
            let families = [base.sees(true), base.sees(false)];
            let mut table = foreign.table_of(&base);
            let stop = self.stopped(&mut table, &chain.name, base.drops(), families)?;
            let rule_at = |spot: &Spot| foreign.rule_at(&base, spot);
            let conflict = stop.into_conflict(chain, rule_at)?;
            found.extend(conflict.map(|conflict| (base, conflict)));
        }
        Ok(found)
    }

    /// Follows packets of guests through a chain at hook `forward`.
    fn stopped<F: Firewall>(
        &self,
        firewall: &mut F,
        chain: &str,
        policy_drops: bool,
        families: [bool; 2],
    ) -> Result<Stop, Error> {
        let mut stop = Stop::default();
        for (flow, probe) in self.flows(families) {
            let by = match walk(firewall, chain, &probe)?.end {
                End::Dropped(spot) => Some(spot),
                End::Falls if policy_drops => None,
                _ => continue,
            };
            if !stop.exposures && !stop.egress {
                stop.by = by;
            }
            match flow {
                Flow::Exposure => stop.exposures = true,
                Flow::Egress => stop.egress = true,
            }
        }
        Ok(stop)
    }

    /// Packets of guests that are forwarded: to exposed ports and back, and
    /// those that open connections to the outside.
    fn flows(&self, families: [bool; 2]) -> Vec<(Flow, Probe)> {
        let tap = Interface::Named(self.tap.0, self.tap.1);
        let mut flows = Vec::new();
        for (place, ipv4) in [(0, true), (1, false)] {
            if families.get(place) != Some(&true) {
                continue;
            }
            let guest = self.guest.get(place).copied();
            for (uplink, protocol) in product(&self.interfaces(ipv4), &PROTOCOLS) {
                let to_guest = Probe {
                    ipv4,
                    incoming: uplink,
                    outgoing: tap,
                    source: None,
                    destination: guest,
                    local: false,
                    protocol: Some(protocol),
                    port: None,
                    state: ct::State::NEW,
                    translated: true,
                };
                let answer = Probe {
                    incoming: tap,
                    outgoing: uplink,
                    source: guest,
                    destination: None,
                    state: ct::State::ESTABLISHED,
                    ..to_guest.clone()
                };
                let egress = Probe {
                    state: ct::State::NEW,
                    translated: false,
                    ..answer.clone()
                };
                flows.push((Flow::Exposure, to_guest));
                flows.push((Flow::Exposure, answer));
                flows.push((Flow::Egress, egress));
            }
        }
        flows
    }

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

    /// The ports that a translating chain takes.
    fn takes<F: Firewall>(
        &self,
        firewall: &mut F,
        chain: &ForeignChain,
        own: i32,
        hook: Hook,
        ports: &[HostPort],
    ) -> Result<Vec<Taken>, Error> {
        let mut taken = Vec::new();
        for ipv4 in [true, false] {
            let sees = matches!(
                (&*chain.family, ipv4),
                ("inet", _) | ("ip", true) | ("ip6", false)
            );
            // Most hosts translate nothing, and need no look at each port.
            let any = Probe {
                protocol: None,
                incoming: Interface::Unknown,
                ..entering(ipv4, hook)
            };
            if !sees || is_nothing(&walk(firewall, &chain.name, &any)?) {
                continue;
            }
            for port in ports.iter().filter(|port| port.ipv4 == ipv4) {
                let only_local = port.address.is_some_and(|address| address.is_loopback());
                if only_local && hook != Hook::OUTPUT {
                    continue;
                }
                let Some(found) = self.taking(firewall, &chain.name, hook, port)? else {
                    continue;
                };
                // A rule behind ours that may not match, or does not look at
                // the port, is not about this port.
                let about_port = found.certain && found.by_port;
                if winner(chain.priority, own) != Winner::Exposure || about_port {
                    taken.push(found);
                }
            }
        }
        Ok(taken)
    }

    /// The first rule that translates what is for the port.
    fn taking<F: Firewall>(
        &self,
        firewall: &mut F,
        chain: &str,
        hook: Hook,
        port: &HostPort,
    ) -> Result<Option<Taken>, Error> {
        let incoming = if hook == Hook::PREROUTING {
            self.interfaces(port.ipv4)
        } else {
            vec![Interface::Absent]
        };
        let mut perhaps = None;
        for incoming in incoming {
            let to = |destination| Probe {
                incoming,
                destination,
                protocol: Some(port.protocol),
                port: Some(port.port),
                ..entering(port.ipv4, hook)
            };
            let mut probes = vec![to(port.address)];
            while let Some(probe) = probes.pop() {
                let outcome = walk(firewall, chain, &probe)?;
                if let End::Taken(spot) = outcome.end {
                    let portless = Probe {
                        protocol: None,
                        port: None,
                        ..probe
                    };
                    let anyway = walk(firewall, chain, &portless)?.end;
                    return Ok(Some(Taken {
                        port: *port,
                        by_port: anyway != End::Taken(spot.clone()),
                        spot,
                        certain: true,
                    }));
                }
                let Some(spot) = outcome.maybe else {
                    continue;
                };
                if probe.destination.is_some() {
                    perhaps.get_or_insert(spot);
                    continue;
                }
                // It may be the host's address that was not known.
                let of_family = self
                    .local
                    .iter()
                    .filter(|address| address.is_ipv4() == port.ipv4 && !address.is_loopback());
                probes.extend(of_family.take(ADDRESSES).map(|&address| to(Some(address))));
            }
        }
        Ok(perhaps.map(|spot| Taken {
            port: *port,
            spot,
            certain: false,
            by_port: true,
        }))
    }
}

/// What a forwarded packet is part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    Exposure,
    Egress,
}

/// The first packet of a connection to the host itself.
fn entering(ipv4: bool, hook: Hook) -> Probe {
    let outgoing = if hook == Hook::OUTPUT {
        Interface::Named(LOOPBACK, IfIndex::new(1).ok())
    } else {
        Interface::Absent
    };
    Probe {
        ipv4,
        incoming: Interface::Absent,
        outgoing,
        source: None,
        destination: None,
        local: true,
        protocol: None,
        port: None,
        state: ct::State::NEW,
        translated: false,
    }
}

fn is_nothing(outcome: &Outcome) -> bool {
    outcome.maybe.is_none() && !matches!(outcome.end, End::Taken(_))
}

fn product<'p, A: Copy, B: Copy>(
    one: &'p [A],
    other: &'p [B],
) -> impl Iterator<Item = (A, B)> + 'p {
    one.iter()
        .flat_map(move |&a| other.iter().map(move |&b| (a, b)))
}

/// TCP and UDP.
const PROTOCOLS: [u8; 2] = [6, 17];

/// So many of the host's addresses are tried one by one.
const ADDRESSES: usize = 64;

const LOOPBACK: IfName = IfName::constant("lo");

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A packet of which nothing is known.
    pub(in crate::beside) fn probe() -> Probe {
        entering(true, Hook::PREROUTING)
    }
}
