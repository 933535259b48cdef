//! Packets of guests that are forwarded, through the chains of others.

use super::Around;
use crate::beside::foreign::{Base, Foreign};
use crate::beside::probe::{Interface, Probe};
use crate::beside::walk::{End, Firewall, Spot, walk};
use crate::conflict::{Conflict, ForeignChain, ForeignRule};
use crate::error::Error;
use crate::nft::{Hook, ct};

impl Around {
    /// The base chains of others in `nf_tables` that drop packets of guests.
    pub(super) fn forward_drops(
        &self,
        foreign: &mut Foreign<'_>,
    ) -> Result<Vec<(Base, Conflict)>, Error> {
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
    pub(super) fn stopped<F: Firewall>(
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
                    ports: None,
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
}

/// What a chain at hook `forward` stops: neither, or one, or both.
#[derive(Debug, Default)]
pub(super) struct Stop {
    /// The first rule that does; `None` if it is the policy.
    by: Option<Spot>,
    exposures: bool,
    egress: bool,
}

impl Stop {
    pub(super) fn into_conflict(
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

/// What a forwarded packet is part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    Exposure,
    Egress,
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
