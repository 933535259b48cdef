//! Several interfaces of one guest, each with its own method.
//!
//! ```no_run
//! use tapwire::interfaces::{Interface, Interfaces};
//! use tapwire::masqueraded::Masquerade;
//! use tapwire::passthrough::MacvtapOptions;
//! use tapwire::route::MacvtapMode;
//! use tapwire::{Guest, Owner};
//! let pod = Masquerade::new(Owner::new("vm")?, Guest::new("web-0")?);
//! let interfaces = Interfaces::new()
//!     .with(Interface::masqueraded("eth0".parse()?, pod).default_route())
//!     .with(Interface::bridged("eth1".parse()?, "net1".parse()?))
//!     .with(Interface::macvtap(
//!         "eth2".parse()?,
//!         MacvtapOptions::new("guest2".parse()?, "net2".parse()?, MacvtapMode::BRIDGE),
//!     ))
//!     .tap_owner(107);
//! print!("{}", interfaces.plan()?);
//! for attached in interfaces.apply()? {
//!     println!("{}: {} by {}", attached.name(), attached.device(), attached.method());
//! }
//! # Ok::<(), tapwire::Error>(())
//! ```
//!
//! All of it is looked at before anything is changed: names, default routes,
//! MAC addresses, and what two interfaces cannot have at once. Then it is
//! done in order; if a step fails, what this call has made goes again. To
//! repeat a call completes what a killed one began. What works, but not as one
//! may think, because of others or of each other, is told by
//! [`conflicts`](Interfaces::conflicts).
//!
//! Everything here works in the calling thread's network namespace; see
//! [`NetNs::run`](crate::sys::NetNs::run).

mod apply;
mod attached;
mod check;
mod conflicts;
mod interface;
mod names;
mod owners;

use std::fmt;

pub use attached::{AttachedInterface, Device};
pub use interface::{Interface, Method};

use interface::Way;

use crate::bridged::{BridgePlan, Bridged, PodInterface};
use crate::error::Error;
use crate::masqueraded::Masquerade;
use crate::redirected::{RedirectPlan, Redirected};
use crate::route::Rtnl;
use crate::types::IfName;

/// The interfaces of one guest, in the order in which it finds them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Interfaces {
    all: Vec<Interface>,
    owner: Option<u32>,
    group: Option<u32>,
}

impl Interfaces {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// And this one.
    #[must_use]
    pub fn with(mut self, interface: Interface) -> Self {
        self.all.push(interface);
        self
    }

    /// This user may open the TAPs of pods' places without `CAP_NET_ADMIN`.
    /// (Of the others their [`Guest`](crate::Guest) or
    /// [`TapPort`](crate::segment::TapPort) says so.)
    #[must_use]
    pub fn tap_owner(mut self, uid: u32) -> Self {
        self.owner = Some(uid);
        self
    }

    /// Members of this group may, likewise.
    #[must_use]
    pub fn tap_group(mut self, gid: u32) -> Self {
        self.group = Some(gid);
        self
    }

    /// The interfaces.
    pub fn all(&self) -> &[Interface] {
        &self.all
    }

    /// Looks at all of them and says what would be done; changes nothing.
    ///
    /// # Errors
    /// [`Error::Invalid`], each with its own words, if there is none, or if two
    /// - have one name, or make a link of one name;
    /// - have default routes, or one has them that is not the default;
    /// - have one pod's interface, one owner, one MAC address, one virtual
    ///   function or one network of a guest behind the pod, or carry one port of
    ///   the pod;
    /// - rest on one parent that a macvtap has for itself
    ///   ([`MacvtapMode::PASSTHRU`](crate::route::MacvtapMode::PASSTHRU)), or
    ///   on one that is taken over;
    ///
    /// or if a masqueraded one finds no interface of the pod that is left.
    /// What the plan of each returns.
    pub fn plan(&self) -> Result<InterfacesPlan, Error> {
        self.check()?;
        let steps: Result<Vec<_>, Error> = self.all.iter().map(|it| self.step(it)).collect();
        Ok(InterfacesPlan { steps: steps? })
    }

    fn step(&self, interface: &Interface) -> Result<Step, Error> {
        let (is_done, words) = match &interface.way {
            Way::Bridged(pod) => {
                let plan = self.bridge_plan(*pod)?;
                plan.look(&mut Rtnl::open()?)?;
                (Bridged::find(*pod)?.is_some(), plan.to_string())
            }
            Way::Redirected(pod) => {
                let plan = self.redirect_plan(*pod)?;
                plan.look(&mut Rtnl::open()?)?;
                (Redirected::find(*pod)?.is_some(), plan.to_string())
            }
            Way::Masqueraded(masquerade) => {
                let plan = self.placed(masquerade)?.plan()?;
                (plan.is_empty(), plan.to_string())
            }
            Way::Routed(wanted) => {
                let (settings, guest) = &**wanted;
                let changes = owners::plan_guest(settings, guest)?;
                let lines: Vec<String> = changes.iter().map(ToString::to_string).collect();
                (changes.is_empty(), lines.join("\n"))
            }
            Way::Macvtap(macvtap) => {
                macvtap.look()?;
                let (name, parent) = (macvtap.name(), macvtap.parent_name());
                let words = format!("add macvtap {name} on {parent}: up, no IP\n");
                (macvtap.find_whole()?.is_some(), words)
            }
            Way::Function(function) => {
                let address = function.look()?;
                let words = format!("set virtual function {function} ({address})\n");
                (function.find()?.is_some(), words)
            }
            Way::Segment(port) => {
                port.check(&mut Rtnl::open()?)?;
                let (name, segment) = (port.name(), port.segment());
                let words = format!("add TAP {name} to segment {segment}: no IP\n");
                (port.find()?.is_some(), words)
            }
        };
        Ok(Step {
            name: interface.name,
            method: interface.method(),
            is_done,
            words,
        })
    }

    /// Where others take interfaces of the pod over, on the rest.
    fn placed(&self, masquerade: &Masquerade) -> Result<Masquerade, Error> {
        Ok(masquerade.or_on(self.addresses_left()?))
    }

    fn bridge_plan(&self, pod: IfName) -> Result<BridgePlan, Error> {
        let mut plan = BridgePlan::new(PodInterface::read(pod)?);
        if let Some(uid) = self.owner {
            plan = plan.tap_owner(uid);
        }
        if let Some(gid) = self.group {
            plan = plan.tap_group(gid);
        }
        Ok(plan)
    }

    fn redirect_plan(&self, pod: IfName) -> Result<RedirectPlan, Error> {
        let mut plan = RedirectPlan::new(PodInterface::read(pod)?);
        if let Some(uid) = self.owner {
            plan = plan.tap_owner(uid);
        }
        if let Some(gid) = self.group {
            plan = plan.tap_group(gid);
        }
        Ok(plan)
    }
}

/// What is to be done for a guest's interfaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InterfacesPlan {
    steps: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Step {
    name: IfName,
    method: Method,
    is_done: bool,
    words: String,
}

impl InterfacesPlan {
    /// Whether nothing is to be changed.
    pub fn is_empty(&self) -> bool {
        self.steps.iter().all(|step| step.is_done)
    }
}

impl fmt::Display for InterfacesPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.steps {
            let Step { name, method, .. } = step;
            if step.is_done {
                writeln!(f, "{name}, {method}: is there")?;
                continue;
            }
            writeln!(f, "{name}, {method}:")?;
            let mut lines = step.words.lines();
            lines.try_for_each(|line| writeln!(f, "  {line}"))?;
        }
        Ok(())
    }
}
