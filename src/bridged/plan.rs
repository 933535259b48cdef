//! What is to be done, before anything is.

use std::fmt;

use super::parts::Parts;
use crate::beside::meshes;
use crate::error::{Conflict, Error, Invalid, Passing};
use crate::guest::GuestConfig;
use crate::pod::{self, Frames, LeftOut, PodInterface, PodTap, Queues, Role};
use crate::route::Rtnl;
use crate::types::IfName;

/// How a pod's interface would be taken over; [`take_over`](Self::take_over)
/// does it.
///
/// `Display` lists the steps in the words of `ip`, then what the guest would
/// be told, then what it would not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BridgePlan {
    pub(super) pod: PodInterface,
    pub(super) bridge: Option<IfName>,
    pub(super) tap: PodTap,
}

impl BridgePlan {
    /// Takes this interface over, with a bridge `twbrN` and a TAP `twtapN`,
    /// where N is the interface's index.
    pub fn new(pod: PodInterface) -> Self {
        Self {
            pod,
            bridge: None,
            tap: PodTap::new(),
        }
    }

    /// Calls the bridge so.
    #[must_use]
    pub fn bridge(mut self, name: IfName) -> Self {
        self.bridge = Some(name);
        self
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
    /// offloads are used is the VMM's to say, by `TUNSETOFFLOAD`; the bridge
    /// passes all of them on, and the kernel does what the other side cannot.)
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
    /// preventing the take-over: bridge netfilter, by which the rules of the
    /// pod's namespace are applied to them; a mesh's rules there, which
    /// they go past on their way through the bridge; and processes that listen
    /// on the pod's addresses, which are the guest's then.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the interface's name makes no name for a bridge;
    /// what listing chains, rules and sockets returns.
    pub fn conflicts(&self) -> Result<Vec<Conflict>, Error> {
        let mut conflicts = pod::bridge_netfilter(self.bridge_name()?);
        let interface = [(self.pod.name(), self.pod.index())];
        conflicts.extend(meshes([&interface, &interface], Passing::Bridge)?);
        conflicts.extend(pod::listeners(&self.pod)?);
        Ok(conflicts)
    }

    pub(crate) fn bridge_name(&self) -> Result<IfName, Invalid> {
        let made = || format!("twbr{}", self.pod.index()).parse();
        self.bridge.map_or_else(made, Ok)
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
        let (bridge, tap) = (self.bridge_name()?, self.tap_name()?);
        let name = self.pod.name();
        if bridge == tap || bridge == name || tap == name {
            let why = "is to be that of two links";
            return Err(Invalid::new("interface name", tap, why).into());
        }
        let links = rtnl.links()?;
        let parts = Parts::find(&links, &self.pod);
        pod::unchanged(&links, &self.pod, parts.bridge.as_ref())?;
        for (kind, name, part) in [("bridge", bridge, &parts.bridge), ("TAP", tap, &parts.tap)] {
            pod::free(&links, &self.pod, (kind, name), part.as_ref())?;
        }
        Ok(parts)
    }
}

impl fmt::Display for BridgePlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Ok(bridge), Ok(tap)) = (self.bridge_name(), self.tap_name()) else {
            return f.write_str("no names\n");
        };
        let (name, mac, mtu) = (self.pod.name(), self.pod.mac(), self.pod.mtu());
        let (own, port) = (
            pod::derived(mac, Role::Bridge),
            pod::derived(mac, Role::BridgedTap),
        );
        writeln!(
            f,
            "add bridge {bridge} address {own} mtu {mtu}: no STP, no snooping, no IP"
        )?;
        writeln!(f, "add TAP {tap} address {port} mtu {mtu} master {bridge}")?;
        writeln!(
            f,
            "set {name} master {bridge}: its addresses and routes stay, unused"
        )?;
        writeln!(f, "lead {mac} to {tap}: the guest's from now on")?;
        f.write_str("the guest is told:\n")?;
        for line in self.config().to_string().lines() {
            writeln!(f, "  {line}")?;
        }
        self.left_out()
            .iter()
            .try_for_each(|left_out| writeln!(f, "the guest is not told: {left_out}"))
    }
}
