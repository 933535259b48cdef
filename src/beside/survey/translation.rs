//! What is for exposed ports, through the translations of others.

use std::cmp::Ordering;
use std::collections::HashSet;

use super::Around;
use crate::beside::ports::Ports;
use crate::beside::probe::{Interface, Probe};
use crate::beside::walk::{End, Firewall, Outcome, Spot, walk};
use crate::beside::wanted::Wanted;
use crate::conflict::{Conflict, ForeignChain, ForeignRule, HostPort, Winner};
use crate::error::Error;
use crate::nft::{Hook, ct};
use crate::types::{IfIndex, IfName};

impl Around {
    /// The ports that a translating chain takes.
    pub(super) fn takes<F: Firewall>(
        &self,
        firewall: &mut F,
        chain: &ForeignChain,
        own: i32,
        hook: Hook,
        wanted: &[Wanted],
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
            for wanted in wanted.iter().filter(|wanted| wanted.ipv4 == ipv4) {
                if wanted.is_on_loopback() && hook != Hook::OUTPUT {
                    continue;
                }
                // Each rule once, by the first port that it takes.
                let mut told: HashSet<Spot> = HashSet::new();
                let mut left = vec![wanted.ports()];
                let mut chain_at = Chain {
                    firewall: &mut *firewall,
                    name: &chain.name,
                    hook,
                    portless: Vec::new(),
                };
                while let Some(ports) = left.pop() {
                    let found = match self.taking(&mut chain_at, wanted, ports)? {
                        Taking::Nothing => continue,
                        Taking::Divided => {
                            let halves = ports.halves().into_iter().flatten();
                            left.extend(halves.rev());
                            continue;
                        }
                        Taking::By(found) => found,
                    };
                    // A rule behind ours that may not match, or does not look
                    // at the port, is not about this port.
                    let about_port = found.certain && found.by_port;
                    let counts = winner(chain.priority, own) != Winner::Exposure || about_port;
                    if counts && told.insert(found.spot.clone()) {
                        taken.push(found);
                    }
                }
            }
        }
        Ok(taken)
    }

    /// The first rule that translates what is for the ports.
    fn taking<F: Firewall>(
        &self,
        chain: &mut Chain<'_, F>,
        wanted: &Wanted,
        ports: Ports,
    ) -> Result<Taking, Error> {
        let port = wanted.port(ports.first());
        let incoming = if chain.hook == Hook::PREROUTING {
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
                ports: Some(ports),
                ..entering(port.ipv4, chain.hook)
            };
            let mut probes = vec![to(port.address)];
            while let Some(probe) = probes.pop() {
                let outcome = walk(chain.firewall, chain.name, &probe)?;
                if outcome.end == End::Divided {
                    return Ok(Taking::Divided);
                }
                if let End::Taken(spot) = outcome.end {
                    let portless = Probe {
                        protocol: None,
                        ports: None,
                        ..probe
                    };
                    return Ok(Taking::By(Taken {
                        port,
                        by_port: !chain.takes_anyway(portless, &spot)?,
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
        Ok(perhaps.map_or(Taking::Nothing, |spot| {
            Taking::By(Taken {
                port,
                spot,
                certain: false,
                by_port: true,
            })
        }))
    }
}

/// A base chain that translates.
struct Chain<'c, F> {
    firewall: &'c mut F,
    name: &'c str,
    hook: Hook,
    /// What becomes of packets to whatever port.
    portless: Vec<(Probe, End)>,
}

impl<F: Firewall> Chain<'_, F> {
    /// Whether the rule takes a packet of which the port is not known.
    fn takes_anyway(&mut self, portless: Probe, rule: &Spot) -> Result<bool, Error> {
        let takes = |end: &End| matches!(end, End::Taken(spot) if spot == rule);
        if let Some((_, end)) = self.portless.iter().find(|(probe, _)| *probe == portless) {
            return Ok(takes(end));
        }
        let end = walk(self.firewall, self.name, &portless)?.end;
        let anyway = takes(&end);
        self.portless.push((portless, end));
        Ok(anyway)
    }
}

/// What becomes of ports in a chain that translates.
#[derive(Debug)]
enum Taking {
    Nothing,
    By(Taken),
    /// The rules tell them apart.
    Divided,
}

/// A rule that translates what is for a port.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) port: HostPort,
    pub(super) spot: Spot,
    certain: bool,
    /// Whether it would not without this port.
    by_port: bool,
}

impl Taken {
    pub(super) fn into_conflict(
        self,
        chain: &ForeignChain,
        rule: ForeignRule,
        own: i32,
    ) -> Conflict {
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
        Ordering::Less => Winner::Foreign,
        Ordering::Equal => Winner::Older,
        Ordering::Greater => Winner::Exposure,
    }
}

/// The first packet of a connection to the host itself.
pub(in crate::beside) fn entering(ipv4: bool, hook: Hook) -> Probe {
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
        ports: None,
        state: ct::State::NEW,
        translated: false,
    }
}

fn is_nothing(outcome: &Outcome) -> bool {
    outcome.maybe.is_none() && !matches!(outcome.end, End::Taken(_))
}

/// So many of the host's addresses are tried one by one.
const ADDRESSES: usize = 64;

const LOOPBACK: IfName = IfName::constant("lo");
