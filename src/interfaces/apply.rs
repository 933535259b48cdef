//! Interfaces are put in force, read back, and taken away.

use ipnet::IpNet;

use super::owners::{drop_owner, each};
use super::{AttachedInterface, Device, Interface, Interfaces, Way};
use crate::bridged::{self, Bridged};
use crate::error::Error;
use crate::guest::{Attachment, GuestConfig, GuestRoute};
use crate::host::Host;
use crate::passthrough::function;
use crate::redirected::{self, Redirected};
use crate::route::Link;
use crate::types::IfName;

impl Interfaces {
    /// Puts all of them in force, in their order. If one cannot be, those
    /// that this call has made are removed again.
    ///
    /// # Errors
    /// As [`plan`](Self::plan), before anything is changed; what making each
    /// returns; [`Error::HalfDone`] if undoing failed too.
    pub fn apply(&self) -> Result<Vec<AttachedInterface>, Error> {
        self.plan()?;
        let new_owners = self.new_owners()?;
        let mut made: Vec<&Interface> = Vec::new();
        self.apply_all(&mut made).map_err(|error| {
            made.reverse();
            let removed = each(&made, remove_one);
            let dropped = each(&new_owners, drop_owner);
            error.undone(removed.and(dropped))
        })
    }

    fn apply_all<'a>(
        &'a self,
        made: &mut Vec<&'a Interface>,
    ) -> Result<Vec<AttachedInterface>, Error> {
        let mut attached = Vec::with_capacity(self.all.len());
        for interface in &self.all {
            let is_new = self.find_one(interface)?.is_none();
            attached.push(self.apply_one(interface)?);
            if is_new {
                made.push(interface);
            }
        }
        Ok(attached)
    }

    /// Those that are in force, as the kernel has them, in their order.
    ///
    /// # Errors
    /// What reading returns; [`Error::Absent`] if an interface of the pod is
    /// gone.
    pub fn find(&self) -> Result<Vec<AttachedInterface>, Error> {
        let mut found = Vec::with_capacity(self.all.len());
        for interface in &self.all {
            found.extend(self.find_one(interface)?);
        }
        Ok(found)
    }

    /// Takes all of them away, the last first. Can be repeated. The owner of a
    /// routed one goes too, if it has no guest and no exposure left.
    ///
    /// # Errors
    /// The first thing that could not be removed; what can be is removed
    /// nevertheless.
    pub fn remove(&self) -> Result<(), Error> {
        let last_first: Vec<&Interface> = self.all.iter().rev().collect();
        each(&last_first, |interface| {
            remove_one(interface).and_then(|()| drop_owner(interface))
        })
    }

    fn apply_one(&self, interface: &Interface) -> Result<AttachedInterface, Error> {
        let (device, config) = match &interface.way {
            Way::Bridged(pod) => {
                let bridged = self.bridge_plan(*pod)?.take_over()?;
                (Device::Tap(bridged.tap()), bridged.config().clone())
            }
            Way::Redirected(pod) => {
                let redirected = self.redirect_plan(*pod)?.take_over()?;
                (Device::Tap(redirected.tap()), redirected.config().clone())
            }
            Way::Masqueraded(masquerade) => {
                let masqueraded = self.placed(masquerade)?.apply()?;
                let tap = masqueraded.attachment().tap();
                (Device::Tap(tap), masqueraded.config().clone())
            }
            Way::Routed(wanted) => {
                let (settings, guest) = &**wanted;
                let guest = Host::with(settings.clone())?.attach(guest)?;
                (Device::Tap(guest.vmm_tap()), routed_config(&guest))
            }
            Way::Macvtap(macvtap) => of_macvtap(macvtap.name(), &macvtap.make()?)?,
            Way::Function(function) => of_function(function.apply()?),
            Way::Segment(port) => {
                let config = GuestConfig::new(port.mac(), port.join()?.mtu());
                (Device::Tap(port.name()), config)
            }
        };
        Ok(self.attached(interface, device, config))
    }

    fn find_one(&self, interface: &Interface) -> Result<Option<AttachedInterface>, Error> {
        let found = match &interface.way {
            Way::Bridged(pod) => {
                Bridged::find(*pod)?.map(|found| (Device::Tap(found.tap()), found.config().clone()))
            }
            Way::Redirected(pod) => Redirected::find(*pod)?
                .map(|found| (Device::Tap(found.tap()), found.config().clone())),
            Way::Masqueraded(masquerade) => masquerade.find()?.map(|found| {
                let tap = found.attachment().tap();
                (Device::Tap(tap), found.config().clone())
            }),
            Way::Routed(wanted) => {
                let (settings, guest) = &**wanted;
                let guests = match Host::find(settings.clone())? {
                    Some(mut host) => host.guests()?,
                    None => Vec::new(),
                };
                let mut guests = guests.iter();
                let found = guests.find(|it| it.name() == guest.name().as_str());
                found.map(|found| (Device::Tap(found.vmm_tap()), routed_config(found)))
            }
            Way::Macvtap(macvtap) => {
                let found = macvtap.find_whole()?;
                let found = found.map(|link| of_macvtap(macvtap.name(), &link));
                found.transpose()?
            }
            Way::Function(function) => function.find()?.map(of_function),
            Way::Segment(port) => port.find()?.map(|link| {
                let config = GuestConfig::new(port.mac(), link.mtu());
                (Device::Tap(port.name()), config)
            }),
        };
        Ok(found.map(|(device, config)| self.attached(interface, device, config)))
    }

    fn attached(
        &self,
        interface: &Interface,
        device: Device,
        config: GuestConfig,
    ) -> AttachedInterface {
        let addresses = interface.addresses.iter().copied();
        let routes = interface.routes.iter().copied();
        let config = addresses.fold(config, GuestConfig::address);
        let config = routes.fold(config, GuestConfig::route);
        let config = if self.default_one().map(|it| it.name) == Some(interface.name) {
            config
        } else {
            config.without_default_routes()
        };
        AttachedInterface {
            name: interface.name,
            method: interface.method(),
            device,
            config,
        }
    }

    /// The one that the guest's default routes are by.
    pub(super) fn default_one(&self) -> Option<&Interface> {
        let marked = self.all.iter().find(|it| it.is_default);
        marked.or_else(|| self.all.first())
    }
}

fn remove_one(interface: &Interface) -> Result<(), Error> {
    let removed = match &interface.way {
        Way::Bridged(pod) => bridged::restore(*pod).map(drop),
        Way::Redirected(pod) => redirected::restore(*pod).map(drop),
        Way::Masqueraded(_) => drop_owner(interface),
        Way::Routed(wanted) => {
            let (settings, guest) = &**wanted;
            match Host::find(settings.clone())? {
                Some(mut host) => host.detach(guest.name().as_str()),
                None => Ok(()),
            }
        }
        Way::Macvtap(macvtap) => macvtap.remove(),
        Way::Function(function) => function.remove(),
        Way::Segment(port) => port.leave(),
    };
    match removed {
        Err(error) if error.is_not_found() => Ok(()),
        outcome => outcome,
    }
}

fn of_macvtap(name: IfName, link: &Link) -> Result<(Device, GuestConfig), Error> {
    let mac = link.mac().ok_or_else(|| Error::Absent {
        kind: "MAC address of macvtap",
        name: name.as_str().into(),
    })?;
    let path = format!("/dev/tap{}", link.index()).into();
    let config = GuestConfig::new(mac, link.mtu());
    Ok((Device::Macvtap { name, path }, config))
}

fn of_function(found: function::Found) -> (Device, GuestConfig) {
    let config = GuestConfig::new(found.mac, found.mtu);
    (Device::Pci(found.address), config)
}

/// What a routed guest must be told.
fn routed_config(guest: &Attachment) -> GuestConfig {
    let address = |address, prefix| IpNet::new_assert(address, prefix);
    let route = |net, gateway| GuestRoute::new(net).via(gateway);
    GuestConfig::new(guest.mac(), MTU)
        .address(address(guest.ipv4().into(), guest.prefix_ipv4()))
        .address(address(guest.ipv6().into(), guest.prefix_ipv6()))
        .route(route(
            IpNet::V4(ipnet::Ipv4Net::default()),
            guest.gateway_ipv4().into(),
        ))
        .route(route(
            IpNet::V6(ipnet::Ipv6Net::default()),
            guest.gateway_ipv6().into(),
        ))
}

/// What a TAP has.
const MTU: u32 = 1500;
