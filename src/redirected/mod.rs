//! A guest in the place of a pod, without a bridge: what the pod's interface
//! takes in is redirected to a TAP, and back.
//!
//! As [`bridged`](crate::bridged), for those who do not want a bridge between
//! (as Kata Containers and the CNI plugin tc-redirect-tap do it):
//! [`RedirectPlan`] says what would be done and does it, [`Redirected`] is the
//! result, with the [`GuestConfig`] that the guest must be told.
//!
//! ```no_run
//! use tapwire::redirected::{PodInterface, RedirectPlan};
//! let pod = PodInterface::read("eth0".parse()?)?;
//! let plan = RedirectPlan::new(pod).tap_owner(107).vnet_header();
//! print!("{plan}");
//! let redirected = plan.take_over()?;
//! println!("TAP {}: {}", redirected.tap(), redirected.config());
//! redirected.undo()?;
//! # Ok::<(), tapwire::Error>(())
//! ```
//!
//! # How
//!
//! The interface and a new TAP of the same MTU get an ingress qdisc each, with
//! one filter that sends every frame out by the other
//! ([`route::tc`](crate::route::tc)). The interface is not moved, renamed or
//! stripped: it keeps its name, MAC, addresses and routes, and the kernel
//! takes no packet in by them any more, for the filter is asked first. All
//! frames pass as they are, to whichever MAC address, with their VLAN tags;
//! the TAP has no IP, and the guest the interface's MAC address.
//!
//! Offloads agree by themselves: what the VMM switches on with
//! `TUNSETOFFLOAD` arrives there unfinished, everything else the kernel
//! finishes before, in either direction.
//!
//! The TAP is known by a MAC address that is made from the interface's, the
//! filters by a cookie, so they are found again whatever the TAP's name
//! ([`Redirected::find`], [`restore`]).
//!
//! # Conflicts
//!
//! | what is found | when it is told | why |
//! |---|---|---|
//! | an ingress or clsact qdisc of someone else on the interface, with its filters | [`take_over`](RedirectPlan::take_over) refuses | of two that decide about one packet, only one would |
//! | the interface is a port of a bridge, or is taken over by [`bridged`](crate::bridged) | the same | its frames go elsewhere already |
//! | a mesh's rules in the pod's namespace | [`conflicts`](RedirectPlan::conflicts): [`PastMesh`](crate::Conflict::PastMesh) | frames are redirected before any rule sees them: the guest is outside of the mesh |
//! | a process listens on the pod's address, or on all | `conflicts`: [`Listening`](crate::Conflict::Listening) | what comes to the address is the guest's |
//!
//! Rules for routed packets, drops of theirs and bridge netfilter do nothing
//! to the guest, for its packets are not routed here. Programs that are
//! attached by `bpf(2)` alone, such as XDP, are not seen.
//!
//! Everything here works in the calling thread's network namespace; see
//! [`NetNs::run`](crate::sys::NetNs::run).

mod parts;
mod plan;
mod take;

pub use crate::pod::{LeftOut, PodInterface, Restored};
pub use plan::RedirectPlan;

use parts::Parts;

use crate::error::Error;
use crate::guest::GuestConfig;
use crate::pod;
use crate::route::Rtnl;
use crate::types::IfName;

/// A pod's interface that is redirected to a TAP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redirected {
    pod: PodInterface,
    tap: IfName,
    config: GuestConfig,
}

impl Redirected {
    /// Finds what an earlier [`RedirectPlan::take_over`] of this interface has
    /// completed, in this process or another; `None` if there is none.
    ///
    /// # Errors
    /// As [`PodInterface::read`].
    pub fn find(interface: IfName) -> Result<Option<Self>, Error> {
        let pod = PodInterface::read(interface)?;
        let mut rtnl = Rtnl::open()?;
        let links = rtnl.links()?;
        let parts = Parts::find(&mut rtnl, &links, &pod)?;
        Ok(parts.complete().map(|tap| Self::new(pod, tap)))
    }

    fn new(pod: PodInterface, tap: IfName) -> Self {
        let (config, _) = pod::guest_config(&pod);
        Self { pod, tap, config }
    }

    /// The pod's interface, as it was read.
    pub fn pod(&self) -> &PodInterface {
        &self.pod
    }

    /// The TAP that the VMM opens, persistent.
    pub fn tap(&self) -> IfName {
        self.tap
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
/// Filters that someone else has added since stay, and the qdisc with them.
///
/// # Errors
/// [`Error::Absent`] if there is no such interface; [`Error::Refused`],
/// [`Error::System`] if the kernel does not do it.
pub fn restore(interface: IfName) -> Result<Restored, Error> {
    let pod = PodInterface::read(interface)?;
    let mut rtnl = Rtnl::open()?;
    let links = rtnl.links()?;
    let parts = Parts::find(&mut rtnl, &links, &pod)?;
    // The interface first: with it the pod has its packets again.
    let cleared = match &parts.near {
        Some(ingress) => ingress.clear(&mut rtnl)?,
        None => Restored::Nothing,
    };
    let Some(tap) = parts.tap else {
        return Ok(cleared);
    };
    log::debug!("restore {interface}: remove {tap}");
    match rtnl.apply(|changes| changes.delete_link(tap.index())) {
        Ok(()) => Ok(Restored::Removed),
        Err(error) if error.is_not_found() => Ok(cleared),
        Err(error) => Err(error),
    }
}
