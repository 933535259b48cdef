//! A guest in the place of a pod: behind its interface, under its addresses.
//!
//! Someone else (a CNI plugin) has made an interface in a network namespace
//! and given it addresses and routes. The guest is to take over all of it, so
//! that whoever knows the pod finds the guest. [`PodInterface::read`] reads
//! what there is, [`BridgePlan`] says what would be done and does it,
//! [`Bridged`] is the result, with the [`GuestConfig`] that the guest must be
//! told.
//!
//! ```no_run
//! use tapwire::bridged::{BridgePlan, PodInterface};
//! let pod = PodInterface::read("eth0".parse()?)?;
//! let plan = BridgePlan::new(pod).tap_owner(107).vnet_header();
//! print!("{plan}");
//! let bridged = plan.take_over()?;
//! println!("TAP {}: {}", bridged.tap(), bridged.config());
//! bridged.undo()?;
//! # Ok::<(), tapwire::Error>(())
//! ```
//!
//! # How
//!
//! A bridge is made with two ports: the pod's interface and a new TAP. The
//! interface is not moved, renamed or stripped. It keeps its name, MAC,
//! addresses and routes, and the kernel takes no packet in by them any more,
//! since the bridge takes all frames first. The bridge learns nothing: what
//! the guest sends goes out, what is for the interface's MAC address, which
//! is the guest's now, goes to the TAP by a static entry, and so does what is
//! for many. The bridge has no address, answers no ARP and has no IPv6.
//!
//! So three things hold without more ado:
//! - The MAC address that others know stays true, also where the interface
//!   lets only its own through (macvlan, a virtual function with spoof check).
//! - CNI's `CHECK` finds what `ADD` made: the interface of that kind, with its
//!   MAC, addresses and routes.
//! - At every moment the kernel has all that is needed to undo it, for nothing
//!   was taken away: to delete the bridge restores the pod.
//!
//! What a process of the pod sends by the interface still goes out, but the
//! answers go to the guest, and so does what is for a port that it listens on:
//! [`BridgePlan::conflicts`] tells of those that do.
//!
//! Frames that a bridge passes on meet no rules for routed packets: those of a
//! mesh (Istio) in the pod's namespace do not see the guest's connections.
//! They are told as well; a guest that is to be part of the
//! mesh is [`masqueraded`](crate::masqueraded).
//!
//! The bridge and the TAP are known by MAC addresses that are made from the
//! interface's, so they are found again whatever their names
//! ([`Bridged::find`], [`restore`]).
//!
//! Everything here works in the calling thread's network namespace; see
//! [`NetNs::run`](crate::sys::NetNs::run).

mod parts;
mod plan;
mod take;

pub use crate::pod::{LeftOut, PodInterface, Restored};
pub use plan::BridgePlan;

use parts::Parts;

use crate::error::Error;
use crate::guest::GuestConfig;
use crate::pod;
use crate::route::Rtnl;
use crate::types::IfName;

/// A pod's interface that is bridged to a TAP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bridged {
    pod: PodInterface,
    bridge: IfName,
    tap: IfName,
    config: GuestConfig,
}

impl Bridged {
    /// Finds what an earlier [`BridgePlan::take_over`] of this interface has
    /// completed, in this process or another; `None` if there is none.
    ///
    /// # Errors
    /// As [`PodInterface::read`].
    pub fn find(interface: IfName) -> Result<Option<Self>, Error> {
        let pod = PodInterface::read(interface)?;
        let mut rtnl = Rtnl::open()?;
        let parts = Parts::find(&rtnl.links()?, &pod);
        let Some((bridge, tap)) = parts.complete(&pod) else {
            return Ok(None);
        };
        Ok(Some(Self::new(pod, bridge, tap)))
    }

    fn new(pod: PodInterface, bridge: IfName, tap: IfName) -> Self {
        let (config, _) = pod::guest_config(&pod);
        Self {
            pod,
            bridge,
            tap,
            config,
        }
    }

    /// The pod's interface, as it was read.
    pub fn pod(&self) -> &PodInterface {
        &self.pod
    }

    /// The TAP that the VMM opens, persistent.
    pub fn tap(&self) -> IfName {
        self.tap
    }

    /// The bridge between the interface and the TAP.
    pub fn bridge(&self) -> IfName {
        self.bridge
    }

    /// What the guest must be told. Name servers and names are the caller's
    /// to add.
    pub fn config(&self) -> &GuestConfig {
        &self.config
    }

    /// Gives everything back to the pod and removes the TAP.
    ///
    /// # Errors
    /// As [`restore`].
    pub fn undo(&self) -> Result<(), Error> {
        restore(self.pod.name()).map(drop)
    }
}

/// Gives an interface back to its pod, whether it was taken over wholly or
/// half; says whether anything was there to be removed. Can be repeated.
///
/// # Errors
/// [`Error::Absent`] if there is no such interface; [`Error::Refused`],
/// [`Error::System`] if the kernel does not do it.
pub fn restore(interface: IfName) -> Result<Restored, Error> {
    let mut rtnl = Rtnl::open()?;
    let mac = pod::ethernet(&mut rtnl, interface)?.1;
    let parts = Parts::of(&rtnl.links()?, mac);
    let mut outcome = Restored::Nothing;
    // The bridge first: with it the pod has its packets again.
    for link in [parts.bridge, parts.tap].into_iter().flatten() {
        log::debug!("restore {interface}: remove {link}");
        match rtnl.apply(|changes| changes.delete_link(link.index())) {
            Ok(()) => outcome = Restored::Removed,
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(outcome)
}
