//! The owners of interfaces that are routed or masqueraded.

use super::{Interface, Interfaces, Way};
use crate::error::Error;
use crate::guest::Guest;
use crate::host::{Host, Settings};
use crate::masqueraded;
use crate::owner::Owner;
use crate::plan::{Change, Plan, Wanted};

impl Interfaces {
    /// Those whose owners have nothing in this namespace.
    pub(super) fn new_owners(&self) -> Result<Vec<&Interface>, Error> {
        let mut new = Vec::new();
        for interface in &self.all {
            if let Some(settings) = settings(interface)
                && Host::find(settings)?.is_none()
            {
                new.push(interface);
            }
        }
        Ok(new)
    }
}

/// The owner of an interface, if it has one.
pub(super) fn owner(interface: &Interface) -> Option<&Owner> {
    match &interface.way {
        Way::Masqueraded(masquerade) => Some(masquerade.current_owner()),
        Way::Routed(wanted) => Some(wanted.0.current_owner()),
        _ => None,
    }
}

/// Does it with each of these; the first error.
pub(super) fn each(
    interfaces: &[&Interface],
    work: impl Fn(&Interface) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut outcome = Ok(());
    for interface in interfaces {
        let done = work(interface);
        outcome = outcome.and(done);
    }
    outcome
}

/// Takes away the owner of an interface, if it has nothing left.
pub(super) fn drop_owner(interface: &Interface) -> Result<(), Error> {
    match &interface.way {
        Way::Masqueraded(masquerade) => masqueraded::remove(masquerade.current_owner().clone()),
        Way::Routed(wanted) => {
            let Some(mut host) = Host::find(wanted.0.clone())? else {
                return Ok(());
            };
            if host.guests()?.is_empty() && host.exposures()?.is_empty() {
                return host.remove();
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

/// What would be done for a routed guest; changes nothing.
pub(super) fn plan_guest(settings: &Settings, guest: &Guest) -> Result<Vec<Change>, Error> {
    let mut host = Host::unopened(settings.clone())?;
    let plan: Plan = host.plan(&Wanted::new().guest(guest.clone()))?;
    // Other guests and exposures of the owner are not said here, and stay.
    // What the guest has for peers is looked at by who knows those.
    let has_peers = !guest.policy().peers().is_empty();
    let concerns = |change: &&Change| match change {
        Change::Tables(_) => true,
        Change::Attach { guest: name, .. } => name == guest.name(),
        Change::Complete { guest: name, .. } => name == guest.name() && !has_peers,
        _ => false,
    };
    Ok(plan.changes().iter().filter(concerns).cloned().collect())
}

fn settings(interface: &Interface) -> Option<Settings> {
    match &interface.way {
        Way::Masqueraded(masquerade) => Some(Settings::new(masquerade.current_owner().clone())),
        Way::Routed(wanted) => Some(wanted.0.clone()),
        _ => None,
    }
}
