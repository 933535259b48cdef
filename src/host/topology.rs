//! What there is, read for a picture.

use std::collections::{BTreeMap, BTreeSet};

use super::Host;
use crate::error::Error;
use crate::guest::Attachment;
use crate::route::{Ipv4Setting, Ipv6Setting, Link, Rtnl, Scope, ipv6_setting};
use crate::sys::NetNs;
use crate::topology::{TapState, Topology, Uplink};
use crate::types::{IfIndex, IfName};

impl Host {
    /// Reads what the owner has on this host, to be drawn: uplinks, guests
    /// with the state and the counters of their TAPs, exposures with theirs.
    /// Other agents may change things between the parts of it.
    ///
    /// Conflicts are not looked for; see [`Topology::conflicts`].
    ///
    /// # Errors
    /// What listing links, addresses or set elements returns.
    pub fn topology(&mut self) -> Result<Topology, Error> {
        let guests = self.guests()?;
        let links = self.rtnl.links()?;
        let stats: BTreeMap<_, _> = self.rtnl.stats()?.into_iter().collect();
        let mut topology = Topology::new(self.owner.clone());
        for uplink in self.read_uplinks(&links)? {
            topology.uplink(uplink);
        }
        let held_inside = held_inside(&guests)?;
        for guest in guests {
            let held_inside = held_inside.get(&guest.slot);
            let is_tap = |link: &&Link| self.slot_of(link) == Some(guest.slot);
            let tap = links.iter().find(is_tap).map(|link| TapState {
                up: link.is_up(),
                carrier: held_inside.copied().unwrap_or_else(|| link.is_lower_up()),
                stats: stats.get(&link.index()).copied().unwrap_or_default(),
            });
            topology.guest(guest, tap);
        }
        for exposed in self.exposures()? {
            topology.exposure(exposed);
        }
        Ok(topology)
    }

    /// The interfaces of others that have an address for more than
    /// themselves and their link.
    fn read_uplinks(&mut self, links: &[Link]) -> Result<Vec<Uplink>, Error> {
        let addresses = self.rtnl.addresses(None)?;
        let forwarding6 = self.forwarding_ipv6(links)?;
        let mut uplinks = Vec::new();
        for link in links.iter().filter(|link| self.slot_of(link).is_none()) {
            let addresses: Vec<_> = addresses
                .iter()
                .filter(|address| address.index() == link.index())
                .filter(|address| address.address_scope() == Scope::UNIVERSE)
                .map(crate::route::Address::net)
                .collect();
            if addresses.is_empty() {
                continue;
            }
            uplinks.push(Uplink {
                name: link.name().into(),
                up: link.is_running(),
                addresses,
                forwards_ipv4: link.ipv4_setting(Ipv4Setting::Forwarding) == Some(1),
                forwards_ipv6: forwarding6.contains(&link.index()),
            });
        }
        Ok(uplinks)
    }

    /// Where IPv6 packets are forwarded that come in.
    fn forwarding_ipv6(&self, links: &[Link]) -> Result<BTreeSet<IfIndex>, Error> {
        self.inside(|| {
            let is_on = |name, setting| ipv6_setting(name, setting).is_ok_and(|value| value > 0);
            let everywhere = is_on(ALL, Ipv6Setting::Forwarding);
            let forwards = |link: &&Link| {
                let name: Option<IfName> = link.name().parse().ok();
                everywhere || name.is_some_and(|name| is_on(name, Ipv6Setting::ForceForwarding))
            };
            Ok(links.iter().filter(forwards).map(Link::index).collect())
        })
    }
}

/// Whether VMMs hold the TAPs of those guests that have a namespace, by their
/// numbers: the links that lead there always have a carrier.
fn held_inside(guests: &[Attachment]) -> Result<BTreeMap<u32, bool>, Error> {
    let mut held = BTreeMap::new();
    if guests.iter().all(|guest| guest.namespace().is_none()) {
        return Ok(held);
    }
    NetNs::journey(|journey| {
        for guest in guests {
            let Some(name) = guest.namespace() else {
                continue;
            };
            let is_held = match NetNs::open_named(name) {
                Ok(netns) => {
                    journey.enter(&netns)?;
                    let tap = Rtnl::open()?.link(guest.vmm_tap())?;
                    tap.is_some_and(|tap| tap.is_lower_up())
                }
                // Someone took it away.
                Err(error) if error.is_not_found() => false,
                Err(Error::Invalid(_)) => false,
                Err(error) => return Err(error),
            };
            held.insert(guest.slot, is_held);
        }
        Ok(held)
    })?
}

/// What stands for all interfaces under `/proc/sys/net/ipv6/conf`.
const ALL: IfName = IfName::constant("all");

#[cfg(test)]
impl super::Exposed {
    /// One that is in force nowhere.
    pub(crate) fn made_up(
        exposure: crate::Exposure,
        guest: Option<crate::GuestName>,
        connections: u64,
    ) -> Self {
        Self {
            exposure,
            guests: guest.into_iter().collect(),
            connections,
        }
    }
}
