//! One interface: what it is attached to, and how.

use std::fmt;

use ipnet::IpNet;

use crate::guest::{Guest, GuestRoute};
use crate::host::Settings;
use crate::masqueraded::Masquerade;
use crate::passthrough::MacvtapOptions;
use crate::passthrough::function::Function;
use crate::route::VirtualFunction;
use crate::segment::TapPort;
use crate::types::IfName;

/// One of a guest's interfaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    pub(super) name: IfName,
    pub(super) way: Way,
    pub(super) addresses: Vec<IpNet>,
    pub(super) routes: Vec<GuestRoute>,
    pub(super) is_default: bool,
}

/// What an interface is attached to, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Way {
    Bridged(IfName),
    Redirected(IfName),
    Masqueraded(Box<Masquerade>),
    Routed(Box<(Settings, Guest)>),
    Macvtap(Box<MacvtapOptions>),
    Function(Function),
    Segment(Box<TapPort>),
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
    /// By a part of a network card: a macvtap, or a virtual function.
    Passthrough,
    /// By a port of a layer-2 segment.
    Segment,
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

    /// By a TAP of an owner's, as [`Host::attach`](crate::Host::attach) does it.
    pub fn routed(name: IfName, settings: Settings, guest: Guest) -> Self {
        Self::new(name, Way::Routed(Box::new((settings, guest))))
    }

    /// By a macvtap on a parent ([`passthrough`](crate::passthrough)).
    pub fn macvtap(name: IfName, macvtap: MacvtapOptions) -> Self {
        Self::new(name, Way::Macvtap(Box::new(macvtap)))
    }

    /// By a virtual function of the card with this physical one, with what the
    /// card is to do with its frames. It must be given a MAC address; what is
    /// set of it is taken back when the interface is removed.
    pub fn virtual_function(name: IfName, physical: IfName, function: VirtualFunction) -> Self {
        Self::new(name, Way::Function(Function::new(physical, function)))
    }

    /// By a port of a segment that is there ([`segment`](crate::segment)).
    pub fn segment(name: IfName, port: TapPort) -> Self {
        Self::new(name, Way::Segment(Box::new(port)))
    }

    fn new(name: IfName, way: Way) -> Self {
        Self {
            name,
            way,
            addresses: Vec::new(),
            routes: Vec::new(),
            is_default: false,
        }
    }

    /// Tells the guest this address, besides those that come with the method:
    /// with a macvtap, a virtual function and a segment none do.
    #[must_use]
    pub fn address(mut self, address: IpNet) -> Self {
        self.addresses.push(address);
        self
    }

    /// Tells the guest this route, besides those that come with the method.
    /// Only the interface that is the default can have a default route.
    #[must_use]
    pub fn route(mut self, route: GuestRoute) -> Self {
        self.routes.push(route);
        self
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
            Way::Macvtap(_) | Way::Function(_) => Method::Passthrough,
            Way::Segment(_) => Method::Segment,
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bridged => "bridged",
            Self::Redirected => "redirected",
            Self::Masqueraded => "masqueraded",
            Self::Routed => "routed",
            Self::Passthrough => "passthrough",
            Self::Segment => "segment",
        })
    }
}
