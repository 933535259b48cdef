//! Several interfaces of one guest, each with its own method.
//!
//! ```no_run
//! use tapwire::interfaces::{Interface, Interfaces};
//! use tapwire::masqueraded::Masquerade;
//! use tapwire::{Guest, Owner};
//! let pod = Masquerade::new(Owner::new("vm")?, Guest::new("web-0")?);
//! let interfaces = Interfaces::new()
//!     .with(Interface::masqueraded("eth0".parse()?, pod).default_route())
//!     .with(Interface::bridged("eth1".parse()?, "net1".parse()?))
//!     .tap_owner(107);
//! print!("{}", interfaces.plan()?);
//! for attached in interfaces.apply()? {
//!     println!("{}: {} by {}", attached.name(), attached.tap(), attached.method());
//! }
//! # Ok::<(), tapwire::Error>(())
//! ```
//!
//! All of it is looked at before anything is changed: names, default routes,
//! MAC addresses, and what two interfaces cannot have at once. Then it is
//! done in order; if a step fails, what this call has made goes again. To
//! repeat a call completes what a killed one began.
//!
//! Everything here works in the calling thread's network namespace; see
//! [`NetNs::run`](crate::sys::NetNs::run).

mod apply;
mod check;

use std::fmt;

use crate::bridged::{BridgePlan, Bridged, PodInterface};
use crate::error::Error;
use crate::guest::{Guest, GuestConfig};
use crate::host::{Host, Settings};
use crate::masqueraded::Masquerade;
use crate::redirected::{RedirectPlan, Redirected};
use crate::types::IfName;

/// The interfaces of one guest, in the order in which it finds them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Interfaces {
    all: Vec<Interface>,
    owner: Option<u32>,
    group: Option<u32>,
}

/// One of a guest's interfaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    name: IfName,
    way: Way,
    is_default: bool,
}

/// What an interface is attached to, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Way {
    Bridged(IfName),
    Redirected(IfName),
    Masqueraded(Box<Masquerade>),
    Routed(Box<(Settings, Guest)>),
}

/// How an interface is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Method {
    /// In a pod's place, by a bridge.
    Bridged,
    /// In a pod's place, by two filters.
    Redirected,
    /// Behind a pod, under a private address.
    Masqueraded,
    /// By a TAP of an owner's, with an address of the owner's networks.
    Routed,
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
    /// (Of the others their [`Guest`] says so.)
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
    /// [`Error::Invalid`], each with its own words, if there is none, or two
    /// have one name, are both the default, have one pod's interface, one
    /// owner or one MAC address, carry one port of the pod, or if a
    /// masqueraded one finds no interface of the pod that is left; what the
    /// plan of each returns.
    pub fn plan(&self) -> Result<InterfacesPlan, Error> {
        self.check()?;
        let steps: Result<Vec<_>, Error> = self.all.iter().map(|it| self.step(it)).collect();
        Ok(InterfacesPlan { steps: steps? })
    }

    fn step(&self, interface: &Interface) -> Result<Step, Error> {
        let (is_done, words) = match &interface.way {
            Way::Bridged(pod) => {
                let plan = self.bridge_plan(*pod)?;
                (Bridged::find(*pod)?.is_some(), plan.to_string())
            }
            Way::Redirected(pod) => {
                let plan = self.redirect_plan(*pod)?;
                (Redirected::find(*pod)?.is_some(), plan.to_string())
            }
            Way::Masqueraded(masquerade) => {
                let plan = self.placed(masquerade)?.plan()?;
                (plan.is_empty(), plan.to_string())
            }
            Way::Routed(wanted) => {
                let (settings, guest) = &**wanted;
                let mut host = Host::with(settings.clone())?;
                let guests = host.guests()?;
                let there = guests.iter().any(|it| it.name() == guest.name().as_str());
                (there, format!("attach guest {}\n", guest.name()))
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

impl Interface {
    /// In the place of a pod's interface, by a bridge
    /// ([`bridged`](crate::bridged)).
    pub fn bridged(name: IfName, pod: IfName) -> Self {
        Self::new(name, Way::Bridged(pod))
    }

    /// In the place of a pod's interface, by two filters
    /// ([`redirected`](crate::redirected)).
    pub fn redirected(name: IfName, pod: IfName) -> Self {
        Self::new(name, Way::Redirected(pod))
    }

    /// Behind a pod, under a private address
    /// ([`masqueraded`](crate::masqueraded)).
    pub fn masqueraded(name: IfName, masquerade: Masquerade) -> Self {
        Self::new(name, Way::Masqueraded(Box::new(masquerade)))
    }

    /// By a TAP of an owner's, as [`Host::attach`] does it.
    pub fn routed(name: IfName, settings: Settings, guest: Guest) -> Self {
        Self::new(name, Way::Routed(Box::new((settings, guest))))
    }

    fn new(name: IfName, way: Way) -> Self {
        Self {
            name,
            way,
            is_default: false,
        }
    }

    /// The guest's default routes are by this one. Where none says so, they
    /// are by the first.
    #[must_use]
    pub fn default_route(mut self) -> Self {
        self.is_default = true;
        self
    }

    /// How the guest calls it.
    pub fn name(&self) -> IfName {
        self.name
    }

    /// How it is connected.
    pub fn method(&self) -> Method {
        match self.way {
            Way::Bridged(_) => Method::Bridged,
            Way::Redirected(_) => Method::Redirected,
            Way::Masqueraded(_) => Method::Masqueraded,
            Way::Routed(_) => Method::Routed,
        }
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

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bridged => "bridged",
            Self::Redirected => "redirected",
            Self::Masqueraded => "masqueraded",
            Self::Routed => "routed",
        })
    }
}

/// An interface that is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttachedInterface {
    name: IfName,
    method: Method,
    tap: IfName,
    config: GuestConfig,
}

impl AttachedInterface {
    /// How the guest calls it.
    pub fn name(&self) -> IfName {
        self.name
    }

    /// How it is connected.
    pub fn method(&self) -> Method {
        self.method
    }

    /// The TAP that the VMM opens, persistent.
    pub fn tap(&self) -> IfName {
        self.tap
    }

    /// What the guest must be told of it. Default routes have only those of
    /// the one that is the default.
    pub fn config(&self) -> &GuestConfig {
        &self.config
    }
}
