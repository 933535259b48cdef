//! What several interfaces cannot have at once.

use std::collections::HashSet;
use std::hash::Hash;
use std::net::IpAddr;

use super::{Interfaces, Way};
use crate::bridged::PodInterface;
use crate::error::{Error, Invalid};
use crate::route::{Rtnl, Scope};
use crate::types::{IfName, Mac};

impl Interfaces {
    /// Looks at all of them together; changes nothing.
    pub(super) fn check(&self) -> Result<(), Error> {
        if self.all.is_empty() {
            return Err(Invalid::new("guest", "without a name", "has no interface").into());
        }
        let names = self.all.iter().map(|it| it.name);
        if let Some(name) = twice(names) {
            return Err(Invalid::new("interface name", name, "is that of two interfaces").into());
        }
        let defaults: Vec<IfName> = self
            .all
            .iter()
            .filter(|it| it.is_default)
            .map(|it| it.name)
            .collect();
        if let [_, second, ..] = defaults.as_slice() {
            let why = "is a second default route";
            return Err(Invalid::new("interface", second, why).into());
        }
        if let Some(pod) = twice(self.pods()) {
            let why = "is to be taken over twice";
            return Err(Invalid::new("interface of the pod", pod, why).into());
        }
        let owners = self.all.iter().filter_map(|it| match &it.way {
            Way::Masqueraded(masquerade) => Some(masquerade.current_owner().clone()),
            Way::Routed(wanted) => Some(wanted.0.current_owner().clone()),
            Way::Bridged(_) | Way::Redirected(_) => None,
        });
        if let Some(owner) = twice(owners) {
            let why = "is that of two interfaces";
            return Err(Invalid::new("owner", owner, why).into());
        }
        self.check_ports()?;
        self.check_macs()?;
        self.check_pod_is_left()
    }

    /// The interfaces of the pod that are taken over.
    fn pods(&self) -> impl Iterator<Item = IfName> {
        self.all.iter().filter_map(|it| match &it.way {
            Way::Bridged(pod) | Way::Redirected(pod) => Some(*pod),
            Way::Masqueraded(_) | Way::Routed(_) => None,
        })
    }

    /// A port of the pod leads to one guest's interface.
    fn check_ports(&self) -> Result<(), Error> {
        let mut carried = Vec::new();
        for interface in &self.all {
            let Way::Masqueraded(masquerade) = &interface.way else {
                continue;
            };
            for (protocol, ports) in masquerade.ports() {
                let clashes = |(other, taken): &&(_, crate::Ports)| {
                    *other == protocol
                        && taken.first() <= ports.last()
                        && ports.first() <= taken.last()
                };
                if carried.iter().any(|it| clashes(&it)) {
                    let why = "carries a port that another interface carries";
                    return Err(Invalid::new("interface", interface.name, why).into());
                }
                carried.push((protocol, ports));
            }
        }
        Ok(())
    }

    fn check_macs(&self) -> Result<(), Error> {
        let mut macs: HashSet<Mac> = HashSet::new();
        for interface in &self.all {
            let mac = match &interface.way {
                Way::Bridged(pod) | Way::Redirected(pod) => Some(PodInterface::read(*pod)?.mac()),
                Way::Masqueraded(masquerade) => masquerade.mac()?,
                Way::Routed(wanted) => wanted.1.fixed_mac()?,
            };
            if let Some(mac) = mac
                && !macs.insert(mac)
            {
                let why = "is that of two interfaces";
                return Err(Invalid::new("MAC address", mac, why).into());
            }
        }
        Ok(())
    }

    /// A masqueraded guest is behind an interface of the pod that nobody
    /// takes over.
    fn check_pod_is_left(&self) -> Result<(), Error> {
        let masqueraded = |it: &&super::Interface| matches!(it.way, Way::Masqueraded(_));
        match self.all.iter().find(masqueraded) {
            Some(interface) if self.addresses_left()?.is_empty() => {
                let why = "is behind the pod, of which no interface with an address is left";
                Err(Invalid::new("interface", interface.name, why).into())
            }
            _ => Ok(()),
        }
    }

    /// The addresses of the pod's interfaces that are not taken over. Those of
    /// the others are another guest's, also where a bridge has rules applied
    /// to its frames.
    pub(super) fn addresses_left(&self) -> Result<Vec<IpAddr>, Error> {
        let taken: HashSet<IfName> = self.pods().collect();
        let mut rtnl = Rtnl::open()?;
        let links = rtnl.links()?;
        let left = rtnl.addresses(None)?.into_iter().filter(|address| {
            let link = links.iter().find(|link| link.index() == address.index());
            let name = link.and_then(|link| link.name().parse().ok());
            let is_tap = link.is_some_and(|link| link.kind() == Some("tun"));
            address.address_scope() == Scope::UNIVERSE
                && !is_tap
                && name.is_some_and(|name| !taken.contains(&name))
        });
        Ok(left.map(|address| address.net().addr()).collect())
    }
}

/// The first that is there twice.
fn twice<T: Hash + Eq + Clone>(all: impl Iterator<Item = T>) -> Option<T> {
    let mut seen = HashSet::new();
    let mut all = all;
    all.find(|one| !seen.insert(one.clone()))
}
