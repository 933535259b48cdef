//! A macvtap as it is wanted. `ip-link(8)`, `drivers/net/macvtap.c`.

use crate::error::{Conflict, Error};
use crate::pod::without_ipv6;
use crate::route::{Link, LinkChange, MacvtapMode, NewLink, Rtnl};
use crate::sys::Macvtap;
use crate::types::{IfName, Mac};

/// A macvtap as it is wanted: [`create`](Self::create) makes it,
/// [`attach`](Self::attach) takes one that is there,
/// [`remove`](Self::remove) removes it.
///
/// A guest behind it has a MAC address of its own on the parent's network, and
/// whichever IP addresses that network gives it. The guest's MAC address must
/// be the macvtap's; with [`MacvtapMode::PASSTHRU`] it becomes the parent's too,
/// as long as the macvtap is there.
///
/// ```no_run
/// use std::os::fd::OwnedFd;
/// use tapwire::passthrough::MacvtapOptions;
/// use tapwire::route::MacvtapMode;
/// let options = MacvtapOptions::new("guest0".parse()?, "eth0".parse()?, MacvtapMode::BRIDGE)
///     .mac("02:00:00:00:00:05".parse()?);
/// let macvtap = options.create()?;
/// macvtap.set_vnet_header_length(12)?;
/// let for_the_vmm = OwnedFd::from(macvtap);
/// # Ok::<(), tapwire::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MacvtapOptions {
    name: IfName,
    parent: IfName,
    mode: MacvtapMode,
    mac: Option<Mac>,
    mtu: Option<u32>,
    nonblocking: bool,
}

impl MacvtapOptions {
    /// A macvtap on `parent` with the parent's MTU and a random MAC address;
    /// with [`MacvtapMode::PASSTHRU`] it has the parent's.
    pub fn new(name: IfName, parent: IfName, mode: MacvtapMode) -> Self {
        Self {
            name,
            parent,
            mode,
            mac: None,
            mtu: None,
            nonblocking: false,
        }
    }

    /// Gives it this MAC address.
    #[must_use]
    pub fn mac(mut self, mac: Mac) -> Self {
        self.mac = Some(mac);
        self
    }

    /// Sets the largest packet in bytes, at most the parent's.
    #[must_use]
    pub fn mtu(mut self, mtu: u32) -> Self {
        self.mtu = Some(mtu);
        self
    }

    /// Has the descriptor not block.
    #[must_use]
    pub fn nonblocking(mut self) -> Self {
        self.nonblocking = true;
        self
    }

    /// Makes it, up and without IP of the host's, and opens its device, with a
    /// vnet header of 10 bytes and no offloads. If a step fails, it is removed
    /// again.
    ///
    /// # Errors
    /// [`Error::Absent`] if the parent is not there; [`Error::Conflict`] if
    /// the name is taken; [`Error::Refused`] if the kernel does not make it
    /// (`EBUSY`: the parent is a port of a bridge; `EINVAL`: another macvtap
    /// has it for itself, or is there when this one is to); else as
    /// [`Macvtap::open`].
    pub fn create(&self) -> Result<Macvtap, Error> {
        let mut rtnl = Rtnl::open()?;
        let parent = self.parent(&mut rtnl)?;
        if let Some(link) = rtnl.link(self.name)? {
            return Err(self.conflict(&link));
        }
        let mut link = NewLink::macvtap(self.name, parent.index(), self.mode);
        if let Some(mac) = self.mac {
            link = link.mac(mac);
        }
        if let Some(mtu) = self.mtu {
            link = link.mtu(mtu);
        }
        rtnl.apply(|changes| changes.add_link(&link))?;
        self.set_parents_mac(&mut rtnl)
            .and_then(|()| self.finish(&mut rtnl))
            .and_then(|macvtap| {
                macvtap.reset()?;
                Ok(macvtap)
            })
            .map_err(|error| error.undone(self.delete(&mut rtnl)))
    }

    /// Opens one more queue of a macvtap that is there, for example because
    /// whoever made it was killed.
    ///
    /// # Errors
    /// [`Error::Absent`] if it, or its parent, is not there;
    /// [`Error::Conflict`] if it is not as the options say; else as
    /// [`Macvtap::open`].
    pub fn attach(&self) -> Result<Macvtap, Error> {
        let mut rtnl = Rtnl::open()?;
        self.find(&mut rtnl)?;
        self.finish(&mut rtnl)
    }

    /// Removes it, if it is there. Descriptors of it are then dead.
    ///
    /// # Errors
    /// [`Error::Conflict`] if what has the name is not such a macvtap;
    /// [`Error::Refused`] if the kernel does not do it.
    pub fn remove(&self) -> Result<(), Error> {
        let mut rtnl = Rtnl::open()?;
        match self.find(&mut rtnl) {
            Ok(Some(_)) => self.delete(&mut rtnl),
            Ok(None) => Ok(()),
            // Without its parent it is gone as well.
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The macvtap, if it is there and as it is wanted.
    fn find(&self, rtnl: &mut Rtnl) -> Result<Option<Link>, Error> {
        let parent = self.parent(rtnl)?;
        let Some(link) = rtnl.link(self.name)? else {
            return Ok(None);
        };
        let is_wanted = link.macvtap_mode() == Some(self.mode)
            && link.parent() == Some(parent.index())
            && self.mac.is_none_or(|mac| link.mac() == Some(mac))
            && self.mtu.is_none_or(|mtu| link.mtu() == mtu);
        if is_wanted {
            Ok(Some(link))
        } else {
            Err(self.conflict(&link))
        }
    }

    fn parent(&self, rtnl: &mut Rtnl) -> Result<Link, Error> {
        rtnl.link(self.parent)?.ok_or_else(|| Error::Absent {
            kind: "interface",
            name: self.parent.as_str().into(),
        })
    }

    /// A new macvtap that has its parent for itself has the parent's MAC
    /// address, whichever was asked for; to set it sets that of both.
    fn set_parents_mac(&self, rtnl: &mut Rtnl) -> Result<(), Error> {
        let (Some(mac), MacvtapMode::PASSTHRU) = (self.mac, self.mode) else {
            return Ok(());
        };
        let index = self.made(rtnl)?.index();
        rtnl.apply(|changes| changes.set_link(&LinkChange::new(index).mac(mac)))
    }

    fn made(&self, rtnl: &mut Rtnl) -> Result<Link, Error> {
        rtnl.link(self.name)?.ok_or_else(|| Error::Absent {
            kind: "macvtap",
            name: self.name.as_str().into(),
        })
    }

    fn finish(&self, rtnl: &mut Rtnl) -> Result<Macvtap, Error> {
        without_ipv6(self.name)?;
        let link = self.made(rtnl)?;
        rtnl.apply(|changes| changes.set_link(&LinkChange::new(link.index()).up()))?;
        if self.nonblocking {
            Macvtap::open_nonblocking(self.name)
        } else {
            Macvtap::open(self.name)
        }
    }

    fn delete(&self, rtnl: &mut Rtnl) -> Result<(), Error> {
        match rtnl.link(self.name)? {
            Some(link) => rtnl.apply(|changes| changes.delete_link(link.index())),
            None => Ok(()),
        }
    }

    fn conflict(&self, link: &Link) -> Error {
        let (name, parent) = (self.name, self.parent);
        let wanted = format!("macvtap {name} ({}) on {parent}", self.mode);
        let holder = match (link.macvtap_mode(), link.kind()) {
            (Some(mode), _) => format!("a macvtap ({mode}) of that name ({link})"),
            (None, kind) => {
                let kind = kind.unwrap_or("network card");
                format!("an interface of that name ({link}, {kind})")
            }
        };
        Conflict::new(wanted, holder).into()
    }
}
