//! Interfaces are put in force, read back, and taken away.

use ipnet::IpNet;

use super::{AttachedInterface, Interface, Interfaces, Way};
use crate::bridged::{self, Bridged};
use crate::error::Error;
use crate::guest::{Attachment, GuestConfig, GuestRoute};
use crate::host::Host;
use crate::masqueraded;
use crate::redirected::{self, Redirected};
use crate::types::IfName;

impl Interfaces {
    /// Puts all of them in force, in their order. If one cannot be, those
    /// that this call has made are removed again.
    ///
    /// # Errors
    /// As [`plan`](Self::plan), before anything is changed; what making each
    /// returns.
    pub fn apply(&self) -> Result<Vec<AttachedInterface>, Error> {
        self.plan()?;
        let mut made: Vec<&Interface> = Vec::new();
        let mut attached = Vec::with_capacity(self.all.len());
        for interface in &self.all {
            let is_new = self.find_one(interface).map(|found| found.is_none());
            let outcome = is_new.and_then(|is_new| {
                let one = self.apply_one(interface)?;
                Ok((one, is_new))
            });
            match outcome {
                Ok((one, is_new)) => {
                    attached.push(one);
                    if is_new {
                        made.push(interface);
                    }
                }
                Err(error) => {
                    for interface in made.into_iter().rev() {
                        if let Err(left) = remove_one(interface) {
                            log::error!("{} is left half-done: {left}", interface.name);
                        }
                    }
                    return Err(error);
                }
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

    /// Takes all of them away, the last first. Can be repeated.
    ///
    /// # Errors
    /// The first thing that could not be removed; what can be is removed
    /// nevertheless.
    pub fn remove(&self) -> Result<(), Error> {
        let mut outcome = Ok(());
        for interface in self.all.iter().rev() {
            let removed = remove_one(interface);
            outcome = outcome.and(removed);
        }
        outcome
    }

    fn apply_one(&self, interface: &Interface) -> Result<AttachedInterface, Error> {
        match &interface.way {
            Way::Bridged(pod) => {
                let bridged = self.bridge_plan(*pod)?.take_over()?;
                Ok(self.attached(interface, bridged.tap(), bridged.config().clone()))
            }
            Way::Redirected(pod) => {
                let redirected = self.redirect_plan(*pod)?.take_over()?;
                Ok(self.attached(interface, redirected.tap(), redirected.config().clone()))
            }
            Way::Masqueraded(masquerade) => {
                let masqueraded = self.placed(masquerade)?.apply()?;
                let tap = masqueraded.attachment().tap();
                Ok(self.attached(interface, tap, masqueraded.config().clone()))
            }
            Way::Routed(wanted) => {
                let (settings, guest) = &**wanted;
                let guest = Host::with(settings.clone())?.attach(guest)?;
                Ok(self.attached(interface, guest.vmm_tap(), routed_config(&guest)))
            }
        }
    }

    fn find_one(&self, interface: &Interface) -> Result<Option<AttachedInterface>, Error> {
        let found = match &interface.way {
            Way::Bridged(pod) => {
                Bridged::find(*pod)?.map(|found| (found.tap(), found.config().clone()))
            }
            Way::Redirected(pod) => {
                Redirected::find(*pod)?.map(|found| (found.tap(), found.config().clone()))
            }
            Way::Masqueraded(masquerade) => {
                let found = masquerade.find()?;
                found.map(|found| (found.attachment().tap(), found.config().clone()))
            }
            Way::Routed(wanted) => {
                let (settings, guest) = &**wanted;
                let guests = match Host::find(settings.clone())? {
                    Some(mut host) => host.guests()?,
                    None => Vec::new(),
                };
                let mut guests = guests.iter();
                let found = guests.find(|it| it.name() == guest.name().as_str());
                found.map(|found| (found.vmm_tap(), routed_config(found)))
            }
        };
        Ok(found.map(|(tap, config)| self.attached(interface, tap, config)))
    }

    fn attached(
        &self,
        interface: &Interface,
        tap: IfName,
        config: GuestConfig,
    ) -> AttachedInterface {
        let marked = self.all.iter().find(|it| it.is_default);
        let default = marked.or_else(|| self.all.first()).map(|it| it.name);
        let config = if default == Some(interface.name) {
            config
        } else {
            config.without_default_routes()
        };
        AttachedInterface {
            name: interface.name,
            method: interface.method(),
            tap,
            config,
        }
    }
}

fn remove_one(interface: &Interface) -> Result<(), Error> {
    let removed = match &interface.way {
        Way::Bridged(pod) => bridged::restore(*pod).map(drop),
        Way::Redirected(pod) => redirected::restore(*pod).map(drop),
        Way::Masqueraded(masquerade) => masqueraded::remove(masquerade.current_owner().clone()),
        Way::Routed(wanted) => {
            let (settings, guest) = &**wanted;
            match Host::find(settings.clone())? {
                Some(mut host) => host.detach(guest.name().as_str()),
                None => Ok(()),
            }
        }
    };
    match removed {
        Err(error) if error.is_not_found() => Ok(()),
        outcome => outcome,
    }
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
