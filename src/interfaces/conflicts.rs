//! What stands in the way, of others and of each other.

use ipnet::IpNet;

use super::{Interface, Interfaces, Way};
use crate::bridged::PodInterface;
use crate::conflict::Conflict;
use crate::error::Error;
use crate::host::Host;
use crate::pod::guest_config;
use crate::types::IfName;

impl Interfaces {
    /// What others have or do that prevents one of these interfaces, or breaks
    /// what is on it, and what they do to each other; each once. Nothing is
    /// changed.
    ///
    /// - What has a name, an address, a port of a bridge or an owner that one
    ///   of them needs ([`Conflict::Held`]): with such a one [`apply`]
    ///   refuses all of them.
    /// - What [`BridgePlan::conflicts`], [`RedirectPlan::conflicts`],
    ///   [`Masquerade::conflicts`], [`Host::conflicts`] tell of those that are
    ///   bridged, redirected, masqueraded and routed: a mesh that is passed
    ///   by, rules of others that drop or translate, listeners, reverse path
    ///   filters, bridge netfilter, which is told of segments too.
    /// - Networks of two interfaces that overlap, so that the guest sends by
    ///   one what is for a neighbour on the other.
    ///
    /// [`apply`]: Self::apply
    /// [`BridgePlan::conflicts`]: crate::bridged::BridgePlan::conflicts
    /// [`RedirectPlan::conflicts`]: crate::redirected::RedirectPlan::conflicts
    /// [`Masquerade::conflicts`]: crate::masqueraded::Masquerade::conflicts
    ///
    /// # Errors
    /// As [`plan`](Self::plan), but for [`Error::Conflict`], which is in the
    /// list; what listing these things returns.
    pub fn conflicts(&self) -> Result<Vec<Conflict>, Error> {
        self.check()?;
        let mut conflicts = Vec::new();
        for interface in &self.all {
            for conflict in self.conflicts_of(interface)? {
                if !conflicts.contains(&conflict) {
                    conflicts.push(conflict);
                }
            }
        }
        conflicts.extend(self.overlaps()?);
        Ok(conflicts)
    }

    fn conflicts_of(&self, interface: &Interface) -> Result<Vec<Conflict>, Error> {
        let mut conflicts = match self.step(interface) {
            Err(Error::Conflict(conflict)) => vec![conflict],
            step => step.map(|_| Vec::new())?,
        };
        let more = match &interface.way {
            Way::Bridged(pod) => self.bridge_plan(*pod)?.conflicts(),
            Way::Redirected(pod) => self.redirect_plan(*pod)?.conflicts(),
            Way::Masqueraded(masquerade) => self.placed(masquerade)?.conflicts(),
            Way::Routed(wanted) => {
                Host::unopened(wanted.0.clone()).and_then(|mut host| host.conflicts(&[]))
            }
            Way::Segment(port) => Ok(port.conflicts()),
            Way::Macvtap(_) | Way::Function(_) => Ok(Vec::new()),
        };
        match more {
            // What prevents it prevents the look as well.
            Err(Error::Conflict(conflict)) if conflicts.contains(&conflict) => {}
            Err(Error::Conflict(conflict)) => conflicts.push(conflict),
            more => conflicts.extend(more?),
        }
        Ok(conflicts)
    }

    /// Networks that the guest would believe to be on two links.
    fn overlaps(&self) -> Result<Vec<Conflict>, Error> {
        let mut seen: Vec<(IfName, IpNet)> = Vec::new();
        let mut overlaps = Vec::new();
        for interface in &self.all {
            let networks = networks(interface)?;
            for net in &networks {
                let meets = |other: &IpNet| other.contains(net) || net.contains(other);
                if let Some((name, other)) = seen.iter().find(|(_, other)| meets(other)) {
                    let wanted = format!("network {net} on the guest's {}", interface.name);
                    let holder = format!("network {other} on its {name}");
                    overlaps.push(Conflict::new(wanted, holder));
                }
            }
            seen.extend(networks.into_iter().map(|net| (interface.name, net)));
        }
        Ok(overlaps)
    }
}

/// The networks that the guest is told to have on its link, as far as they are
/// known before.
fn networks(interface: &Interface) -> Result<Vec<IpNet>, Error> {
    let mut all = interface.addresses.clone();
    match &interface.way {
        Way::Bridged(pod) | Way::Redirected(pod) => {
            let (config, _) = guest_config(&PodInterface::read(*pod)?);
            all.extend(config.addresses());
        }
        Way::Routed(wanted) => {
            let networks = wanted.0.current_networks();
            all.extend([IpNet::V4(networks.ipv4()), IpNet::V6(networks.ipv6())]);
        }
        _ => {}
    }
    let mut networks: Vec<IpNet> = all.iter().map(IpNet::trunc).collect();
    networks.dedup();
    Ok(networks)
}
