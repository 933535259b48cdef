//! An interface of a pod, with everything that was configured on it.

use crate::error::{Error, Invalid};
use crate::route::{Address, Link, LinkFlags, Neighbour, Route, RouteFilter, Rtnl};
use crate::types::{IfIndex, IfName, Mac};

/// What the kernel knows about an Ethernet interface: what a guest takes over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodInterface {
    name: IfName,
    mac: Mac,
    link: Link,
    addresses: Vec<Address>,
    routes: Vec<Route>,
    neighbours: Vec<Neighbour>,
}

impl PodInterface {
    /// Reads it in the calling thread's network namespace.
    ///
    /// # Errors
    /// [`Error::Absent`] if it is not there, [`Error::Invalid`] if it is the
    /// loopback interface or no Ethernet interface; else as
    /// [`Rtnl::links`].
    pub fn read(name: IfName) -> Result<Self, Error> {
        let mut rtnl = Rtnl::open()?;
        let (link, mac) = ethernet(&mut rtnl, name)?;
        let index = link.index();
        Ok(Self {
            name,
            mac,
            link,
            addresses: rtnl.addresses(Some(index))?,
            routes: rtnl.routes(&RouteFilter::new().dev(index))?,
            neighbours: rtnl.neighbours(Some(index))?,
        })
    }

    /// Its name.
    pub fn name(&self) -> IfName {
        self.name
    }

    /// Its index.
    pub fn index(&self) -> IfIndex {
        self.link.index()
    }

    /// Its MAC address, which the guest takes over.
    pub fn mac(&self) -> Mac {
        self.mac
    }

    /// The largest packet in bytes, without the Ethernet header.
    pub fn mtu(&self) -> u32 {
        self.link.mtu()
    }

    /// The interface itself: its kind, state, and what it is a port of.
    pub fn link(&self) -> &Link {
        &self.link
    }

    /// Its addresses of both families, link-local ones included.
    pub fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    /// The routes of all tables that leave by it.
    pub fn routes(&self) -> &[Route] {
        &self.routes
    }

    /// Its neighbours, permanent ones and those that the kernel found.
    pub fn neighbours(&self) -> &[Neighbour] {
        &self.neighbours
    }
}

/// The interface, if it is one that can be bridged, and its MAC address.
pub(crate) fn ethernet(rtnl: &mut Rtnl, name: IfName) -> Result<(Link, Mac), Error> {
    let link = rtnl.link(name)?.ok_or_else(|| Error::Absent {
        kind: "interface",
        name: name.as_str().into(),
    })?;
    let invalid = |why| Invalid::new("interface", name, why);
    if link.flags().contains(LinkFlags::LOOPBACK) {
        return Err(invalid("is the loopback interface").into());
    }
    let one_end = link.flags().contains(LinkFlags::POINT_TO_POINT);
    match link.mac() {
        Some(mac) if !one_end => Ok((link, mac)),
        _ => Err(invalid("is not an Ethernet interface").into()),
    }
}
