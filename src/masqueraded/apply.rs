//! A guest is put behind a pod, found there, and taken away.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::{Masquerade, mesh};
use crate::error::Error;
use crate::guest::{Attachment, GuestConfig, GuestRoute};
use crate::host::{Host, Settings};
use crate::owner::Owner;
use crate::plan::Wanted;

impl Masquerade {
    /// Puts it in force, repeats what a killed agent left, changes what is
    /// otherwise. If a step fails for a guest that was not there, all of the
    /// owner's is removed again.
    ///
    /// # Errors
    /// As [`plan`](Self::plan), and as [`Host::apply`].
    pub fn apply(&self) -> Result<Masqueraded, Error> {
        let wanted = self.wanted()?;
        let is_new = match Host::find(self.settings()?)? {
            Some(mut host) => host.guests()?.is_empty(),
            None => true,
        };
        let outcome = self.put_in_force(&wanted);
        if outcome.is_err() && is_new {
            // The first error is the one to tell.
            let _removed = remove(self.owner.clone());
        }
        outcome
    }

    /// What is in force of it; `None` if the guest is not attached.
    ///
    /// # Errors
    /// As [`Host::guests`].
    pub fn find(&self) -> Result<Option<Masqueraded>, Error> {
        let guests = match Host::find(self.settings()?)? {
            Some(mut host) => host.guests()?,
            None => Vec::new(),
        };
        let is_it = |it: &Attachment| it.name() == self.guest.name().as_str();
        let found = guests.into_iter().find(is_it);
        Ok(found.map(|attachment| Masqueraded {
            config: self.config(&attachment),
            attachment,
        }))
    }

    fn put_in_force(&self, wanted: &Wanted) -> Result<Masqueraded, Error> {
        let mut host = Host::with(self.settings()?)?;
        self.check_alone(&host.guests()?)?;
        host.apply(wanted)?;
        self.settle(&mut host)
    }

    fn settle(&self, host: &mut Host) -> Result<Masqueraded, Error> {
        let absent = || Error::Absent {
            kind: "guest",
            name: self.guest.name().as_str().into(),
        };
        let attached = host.guests()?.into_iter().next().ok_or_else(absent)?;
        match &self.mesh {
            Some(mesh) => mesh.install(&self.place(&attached, &self.meshed()))?,
            None => mesh::remove(&self.owner)?,
        }
        Ok(Masqueraded {
            config: self.config(&attached),
            attachment: attached,
        })
    }

    fn config(&self, attached: &Attachment) -> GuestConfig {
        let all = [
            (
                IpNet::V4(Ipv4Net::default()),
                attached.gateway_ipv4().into(),
            ),
            (
                IpNet::V6(Ipv6Net::default()),
                attached.gateway_ipv6().into(),
            ),
        ];
        let config = GuestConfig::new(attached.mac(), MTU)
            .address(self.ipv4.into())
            .address(self.ipv6.into());
        all.into_iter().fold(config, |config, (net, gateway)| {
            config.route(GuestRoute::new(net).via(gateway))
        })
    }
}

/// A guest behind a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Masqueraded {
    attachment: Attachment,
    config: GuestConfig,
}

impl Masqueraded {
    /// Its TAP, its MAC and its addresses in the pod.
    pub fn attachment(&self) -> &Attachment {
        &self.attachment
    }

    /// What the guest must be told. Name servers and names are the caller's
    /// to add.
    pub fn config(&self) -> &GuestConfig {
        &self.config
    }
}

/// Removes everything of a masqueraded guest: TAP, ports, flows, tables. Can
/// be repeated.
///
/// # Errors
/// As [`Host::remove`].
pub fn remove(owner: Owner) -> Result<(), Error> {
    mesh::remove(&owner)?;
    match Host::find(Settings::new(owner))? {
        Some(host) => host.remove(),
        None => Ok(()),
    }
}

/// What a TAP has.
const MTU: u32 = 1500;
