//! The two links that make up a take-over, and how they are found again.

use crate::pod::{self, PodInterface, Role};
use crate::route::Link;
use crate::types::{IfName, Mac};

/// What there is of a take-over: any part of it may be missing.
#[derive(Debug, Clone, Default)]
pub(super) struct Parts {
    pub(super) bridge: Option<Link>,
    pub(super) tap: Option<Link>,
}

impl Parts {
    pub(super) fn find(links: &[Link], pod: &PodInterface) -> Self {
        Self::of(links, pod.mac())
    }

    /// Finds those that were made for the interface with this MAC address.
    pub(super) fn of(links: &[Link], mac: Mac) -> Self {
        Self {
            bridge: pod::made(links, "bridge", mac, Role::Bridge),
            tap: pod::made(links, "tun", mac, Role::BridgedTap),
        }
    }

    /// Whether the interface is a port of the bridge.
    pub(super) fn is_joined(&self, pod: &PodInterface) -> Joined {
        match (&self.bridge, pod.link().master()) {
            (Some(bridge), Some(master)) if bridge.index() == master => Joined::Yes,
            _ => Joined::No,
        }
    }

    /// The names of bridge and TAP, if they are joined to the interface.
    pub(super) fn complete(&self, pod: &PodInterface) -> Option<(IfName, IfName)> {
        let (bridge, tap) = (self.bridge.as_ref()?, self.tap.as_ref()?);
        let joined = |link: &Link| link.master() == Some(bridge.index());
        let whole = joined(pod.link()) && joined(tap) && bridge.is_up() && tap.is_up();
        let names = (bridge.name().parse().ok()?, tap.name().parse().ok()?);
        whole.then_some(names)
    }
}

/// Whether an interface is a port of its bridge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Joined {
    Yes,
    No,
}
