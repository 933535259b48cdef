//! What is to be done, before anything is.

use std::fmt;

use super::parts::Parts;
use crate::beside::meshes;
use crate::error::{Conflict, Error, Invalid, Passing};
use crate::guest::GuestConfig;
use crate::pod::{self, Frames, LeftOut, PodInterface, PodTap, Queues, Role};
use crate::route::Rtnl;
use crate::types::IfName;

/// How a pod's interface would be taken over;
/// [`take_over`](Self::take_over) does it.
///
/// `Display` lists the steps in the words of `ip` and `tc`, then what the
/// guest would be told, then what it would not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedirectPlan {
    pub(super) pod: PodInterface,
    pub(super) tap: PodTap,
}

impl RedirectPlan {
    /// Takes this interface over, with a TAP `twtapN`, where N is the
    /// interface's index.
    pub fn new(pod: PodInterface) -> Self {
        Self {
            pod,
            tap: PodTap::new(),
        }
    }

    /// Calls the TAP so.
    #[must_use]
    pub fn tap(mut self, name: IfName) -> Self {
        self.tap.name = Some(name);
        self
    }

    /// This user may open the TAP without `CAP_NET_ADMIN`.
    #[must_use]
    pub fn tap_owner(mut self, uid: u32) -> Self {
        self.tap.owner = Some(uid);
        self
    }

    /// Members of this group may open the TAP without `CAP_NET_ADMIN`.
    #[must_use]
    pub fn tap_group(mut self, gid: u32) -> Self {
        self.tap.group = Some(gid);
        self
    }

    /// Each frame on the TAP carries a `virtio_net_hdr` before it. (Which
    /// offloads are used is the VMM's to say, by `TUNSETOFFLOAD`; the kernel
    /// does what the other side cannot.)
    #[must_use]
    pub fn vnet_header(mut self) -> Self {
        self.tap.frames = Frames::WithHeader;
        self
    }

    /// The TAP takes several queues.
    #[must_use]
    pub fn multi_queue(mut self) -> Self {
        self.tap.queues = Queues::Many;
        self
    }

    /// The interface that is taken over.
    pub fn pod(&self) -> &PodInterface {
        &self.pod
    }

    /// What the guest would be told.
    pub fn config(&self) -> GuestConfig {
        pod::guest_config(&self.pod).0
    }

    /// What the guest would not be told.
    pub fn left_out(&self) -> Vec<LeftOut> {
        pod::guest_config(&self.pod).1
    }

    /// What others have or do that touches the guest's packets without
    /// preventing the take-over: a mesh's rules in the pod's namespace, past
    /// which the filters lead them; and processes that listen on the pod's
    /// addresses, which are the guest's then. (Qdiscs and filters of others on the
    /// interface prevent it:
    /// [`take_over`](Self::take_over) returns an [`Error::Conflict`]. Bridge
    /// netfilter does nothing to them.)
    ///
    /// # Errors
    /// What listing chains, rules and sockets returns.
    pub fn conflicts(&self) -> Result<Vec<Conflict>, Error> {
        let interface = [(self.pod.name(), self.pod.index())];
        let mut conflicts = meshes([&interface, &interface], Passing::Filters)?;
        conflicts.extend(pod::listeners(&self.pod)?);
        Ok(conflicts)
    }

    pub(crate) fn tap_name(&self) -> Result<IfName, Invalid> {
        self.tap.name_for(&self.pod)
    }

    /// Looks for what makes it impossible.
    pub(crate) fn look(&self, rtnl: &mut Rtnl) -> Result<(), Error> {
        self.check(rtnl).map(drop)
    }

    /// Looks for what makes it impossible; gives the parts that are there
    /// already, from an attempt that was cut short or completed.
    pub(super) fn check(&self, rtnl: &mut Rtnl) -> Result<Parts, Error> {
        let (name, tap) = (self.pod.name(), self.tap_name()?);
        if tap == name {
            let why = "is to be that of two links";
            return Err(Invalid::new("interface name", tap, why).into());
        }
        let links = rtnl.links()?;
        pod::unchanged(&links, &self.pod, None)?;
        let parts = Parts::find(rtnl, &links, &self.pod)?;
        pod::free(&links, &self.pod, ("TAP", tap), parts.tap.as_ref())?;
        match parts.foreign() {
            Some(foreign) => Err(foreign.conflict(name).into()),
            None => Ok(parts),
        }
    }
}

impl fmt::Display for RedirectPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ok(tap) = self.tap_name() else {
            return f.write_str("no names\n");
        };
        let (name, mac, mtu) = (self.pod.name(), self.pod.mac(), self.pod.mtu());
        let own = pod::derived(mac, Role::RedirectedTap);
        writeln!(f, "add TAP {tap} address {own} mtu {mtu}: no IP")?;
        for (from, to) in [(tap, name), (name, tap)] {
            writeln!(f, "add qdisc ingress dev {from}")?;
            writeln!(
                f,
                "add filter u32 dev {from} ingress pref 1 redirect to {to}"
            )?;
        }
        f.write_str("the guest is told:\n")?;
        for line in self.config().to_string().lines() {
            writeln!(f, "  {line}")?;
        }
        self.left_out()
            .iter()
            .try_for_each(|left_out| writeln!(f, "the guest is not told: {left_out}"))
    }
}
