//! What several interfaces cannot have at once.

use std::collections::HashSet;
use std::hash::Hash;
use std::net::IpAddr;

use super::owners::owner;
use super::{Interface, Interfaces, Way};
use crate::bridged::PodInterface;
use crate::error::{Error, Invalid};
use crate::guest::GuestRoute;
use crate::host::Ownership;
use crate::masqueraded::Masquerade;
use crate::passthrough::MacvtapOptions;
use crate::pod::guest_config;
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
        self.check_defaults()?;
        if let Some(pod) = twice(self.pods().map(|(_, pod)| pod)) {
            let why = "is to be taken over twice";
            return Err(Invalid::new("interface of the pod", pod, why).into());
        }
        let owners = self.all.iter().filter_map(owner);
        if let Some(owner) = twice(owners) {
            let why = "is that of two interfaces";
            return Err(Invalid::new("owner", owner, why).into());
        }
        for interface in &self.all {
            if let Way::Routed(wanted) = &interface.way
                && wanted.0.current_ownership() == Ownership::Owned
            {
                let why = "is to own tables that go with their handle, and none stays";
                return Err(Invalid::new("owner", wanted.0.current_owner(), why).into());
            }
        }
        self.check_parents()?;
        self.check_names()?;
        self.check_ports()?;
        self.check_guest_networks()?;
        self.check_macs()?;
        self.check_default_of_pod()?;
        self.check_pod_is_left()
    }

    /// One has the default routes, and it has some if that can be known.
    fn check_defaults(&self) -> Result<(), Invalid> {
        let mut marked = self.all.iter().filter(|it| it.is_default);
        if let (Some(_), Some(second)) = (marked.next(), marked.next()) {
            let why = "is a second default route";
            return Err(Invalid::new("interface", second.name, why));
        }
        let default = self.default_one().map(|it| it.name);
        let mut others = self.all.iter().filter(|it| Some(it.name) != default);
        if let Some(other) = others.find(|it| has_default(&it.routes)) {
            let why = "has a default route and is not the default";
            return Err(Invalid::new("interface", other.name, why));
        }
        Ok(())
    }

    /// What takes a pod's place has the routes of that pod.
    fn check_default_of_pod(&self) -> Result<(), Error> {
        for (interface, pod) in self.pods().filter(|(it, _)| it.is_default) {
            let (config, _) = guest_config(&PodInterface::read(pod)?);
            if !has_default(config.routes()) && !has_default(&interface.routes) {
                let why = "is to be the default and has no default route";
                return Err(Invalid::new("interface", interface.name, why).into());
            }
        }
        Ok(())
    }

    /// What one rests on, another may use as well, but for what a macvtap has
    /// for itself and what is taken over.
    fn check_parents(&self) -> Result<(), Invalid> {
        let invalid = |parent, why| Err(Invalid::new("interface", parent, why));
        let taken: HashSet<IfName> = self.pods().map(|(_, pod)| pod).collect();
        let mut parents: Vec<&MacvtapOptions> = Vec::new();
        let mut functions = HashSet::new();
        for interface in &self.all {
            match &interface.way {
                Way::Macvtap(macvtap) => {
                    let parent = macvtap.parent_name();
                    if taken.contains(&parent) {
                        return invalid(parent, "is to be taken over and a macvtap's parent");
                    }
                    let alone = |it: &&MacvtapOptions| {
                        it.parent_name() == parent
                            && (it.has_parent_for_itself() || macvtap.has_parent_for_itself())
                    };
                    if parents.iter().any(alone) {
                        return invalid(parent, "is one macvtap's for itself and another's parent");
                    }
                    parents.push(macvtap);
                }
                Way::Function(function) if !functions.insert(function.place()) => {
                    let why = "is that of two interfaces";
                    return Err(Invalid::new("virtual function", function, why));
                }
                Way::Segment(port) if taken.contains(&port.segment()) => {
                    return invalid(port.segment(), "is to be taken over and a segment's bridge");
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Those that take an interface of the pod over, and that.
    pub(super) fn pods(&self) -> impl Iterator<Item = (&Interface, IfName)> {
        self.all.iter().filter_map(|it| match &it.way {
            Way::Bridged(pod) | Way::Redirected(pod) => Some((it, *pod)),
            _ => None,
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

    /// The pod has one way to an address of a guest.
    fn check_guest_networks(&self) -> Result<(), Invalid> {
        let mut before: Vec<&Masquerade> = Vec::new();
        for interface in &self.all {
            let Way::Masqueraded(masquerade) = &interface.way else {
                continue;
            };
            if before.iter().any(|it| it.meets(masquerade)) {
                let why = "has the guest's network of another interface";
                return Err(Invalid::new("interface", interface.name, why));
            }
            before.push(masquerade);
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
                Way::Macvtap(macvtap) => macvtap.known_mac()?,
                Way::Function(function) => Some(function.mac()?),
                Way::Segment(port) => Some(port.mac()),
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
        let masqueraded = |it: &&Interface| matches!(it.way, Way::Masqueraded(_));
        match self.all.iter().find(masqueraded) {
            Some(interface) if self.addresses_left()?.is_empty() => {
                let why = "is behind the pod, of which no interface with an address is left";
                Err(Invalid::new("interface", interface.name, why).into())
            }
            _ => Ok(()),
        }
    }

    /// The addresses of the pod's interfaces that are not taken over, and no
    /// macvtap has for itself. Those of the others are another guest's, also
    /// where a bridge has rules applied to its frames.
    pub(super) fn addresses_left(&self) -> Result<Vec<IpAddr>, Error> {
        let alone = self.all.iter().filter_map(|it| match &it.way {
            Way::Macvtap(macvtap) if macvtap.has_parent_for_itself() => Some(macvtap.parent_name()),
            _ => None,
        });
        let taken: HashSet<IfName> = self.pods().map(|(_, pod)| pod).chain(alone).collect();
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

fn has_default(routes: &[GuestRoute]) -> bool {
    routes.iter().any(|it| it.destination().prefix_len() == 0)
}

/// The first that is there twice.
pub(super) fn twice<T: Hash + Eq + Clone>(all: impl Iterator<Item = T>) -> Option<T> {
    let mut seen = HashSet::new();
    let mut all = all;
    all.find(|one| !seen.insert(one.clone()))
}
