//! Layer-2 segments: a bridge, its ports, and the way to the same segment on
//! other hosts.
//!
//! A [`Segment`] says all that it is to be: [`apply`](Segment::apply) makes it
//! or changes what there is into it, [`remove`](Segment::remove) removes it.
//! Both can be repeated, also after a process that was killed half-way.
//!
//! ```no_run
//! use tapwire::segment::{Overlay, Port, Segment};
//! let overlay = Overlay::new("blue-vx".parse()?, 42, "192.0.2.1".parse().unwrap())
//!     .peer("192.0.2.2".parse().unwrap());
//! Segment::new("blue".parse()?)
//!     .vlans()
//!     .overlay(overlay)
//!     .port(Port::new("guest0".parse()?).isolated().access(10))
//!     .port(Port::new("router".parse()?).native(1).trunk(10, 19))
//!     .apply()?;
//! # Ok::<(), tapwire::Error>(())
//! ```
//!
//! A guest joins one that is there by a [`TapPort`], and leaves it again.
//!
//! Ports are links that are there already: TAPs of guests, one end of a pair,
//! a network card. The bridge has no address and no IPv6, so that this host is
//! no member of the segment, and its ports forward from the first frame on. With [`vlans`](Segment::vlans) a port carries the VLANs that
//! it is given and no other; without, all frames as they are.
//!
//! Over the tunnel frames get 50 bytes longer (IPv4; 70 with IPv6), so the MTU
//! of guests should be so much below that of the hosts' network (RFC 7348).
//!
//! Everything here works in the calling thread's network namespace; see
//! [`NetNs::run`](crate::sys::NetNs::run).

mod apply;
mod overlay;
mod port;
mod tap;

pub use overlay::Overlay;
pub use port::Port;
pub use tap::TapPort;

use crate::error::{Error, Invalid};
use crate::route::{Link, Rtnl};
use crate::types::IfName;

/// A segment as it is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    bridge: IfName,
    vlans: bool,
    overlay: Option<Overlay>,
    ports: Vec<Port>,
}

impl Segment {
    /// A segment with a bridge of this name and no ports.
    pub fn new(bridge: IfName) -> Self {
        Self {
            bridge,
            vlans: false,
            overlay: None,
            ports: Vec::new(),
        }
    }

    /// Has its ports carry VLANs, each the ones that it is given.
    #[must_use]
    pub fn vlans(mut self) -> Self {
        self.vlans = true;
        self
    }

    /// Joins it to the same segment on other hosts. The tunnel carries all
    /// VLANs, tagged.
    #[must_use]
    pub fn overlay(mut self, overlay: Overlay) -> Self {
        self.overlay = Some(overlay);
        self
    }

    /// Adds a port.
    #[must_use]
    pub fn port(mut self, port: Port) -> Self {
        self.ports.push(port);
        self
    }

    /// Removes the bridge and the tunnel, whatever their ports; those are then
    /// links by themselves.
    ///
    /// # Errors
    /// [`Error::Conflict`] if what has the bridge's or the tunnel's name was
    /// not made for a segment; [`Error::Refused`] if the kernel does not
    /// remove it.
    pub fn remove(&self) -> Result<(), Error> {
        let mut rtnl = Rtnl::open()?;
        let links = rtnl.links()?;
        let bridge = apply::own_bridge(&links, self.bridge)?;
        let tunnel = match &self.overlay {
            Some(overlay) => overlay.find(&links, bridge.map(Link::index))?,
            None => None,
        };
        for link in [tunnel, bridge].into_iter().flatten() {
            remove_link(&mut rtnl, link)?;
        }
        Ok(())
    }

    fn check(&self) -> Result<(), Invalid> {
        let tunnel = self.overlay.iter().map(Overlay::name);
        let mut names = vec![self.bridge];
        for name in tunnel.chain(self.ports.iter().map(Port::name)) {
            if names.contains(&name) {
                let why = "is to be that of two links";
                return Err(Invalid::new("interface name", name, why));
            }
            names.push(name);
        }
        if let Some(overlay) = &self.overlay {
            overlay.check()?;
        }
        self.ports
            .iter()
            .try_for_each(|port| port.check(self.vlans))
    }
}

fn remove_link(rtnl: &mut Rtnl, link: &Link) -> Result<(), Error> {
    match rtnl.apply(|changes| changes.delete_link(link.index())) {
        Err(error) if error.is_not_found() => Ok(()),
        outcome => outcome,
    }
}
