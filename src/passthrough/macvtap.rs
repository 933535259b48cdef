//! A macvtap as it is wanted. `ip-link(8)`, `drivers/net/macvtap.c`.

use crate::error::{Conflict, Error, Invalid};
use crate::pod::without_ipv6;
use crate::route::{Link, LinkChange, MacvtapMode, NewLink, Rtnl};
use crate::sys::Macvtap;
use crate::types::{IfIndex, IfName, Mac};

/// A macvtap as it is wanted: [`create`](Self::create) makes it,
/// [`attach`](Self::attach) takes one that is there,
/// [`remove`](Self::remove) removes it.
///
/// A guest behind it has a MAC address of its own on the parent's network, and
/// whichever IP addresses that network gives it. The guest's MAC address must
/// be the macvtap's; with [`MacvtapMode::PASSTHRU`] it becomes the parent's too,
/// as long as the macvtap is there. (The kernel then forgets the neighbours of
/// the parent, permanent ones too.)
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
        self.add(&mut rtnl, &parent)?;
        self.set_parents_mac(&mut rtnl)
            .and_then(|()| self.finish(&mut rtnl))
            .and_then(|macvtap| {
                macvtap.reset()?;
                Ok(macvtap)
            })
            .map_err(|error| error.undone(self.delete(&mut rtnl)))
    }

    /// Opens one more queue of a macvtap that is there, for example because
    /// whoever made it was killed; what was still to be done is done. Offloads
    /// are as they were left.
    ///
    /// # Errors
    /// [`Error::Absent`] if it, or its parent, is not there;
    /// [`Error::Conflict`] if it is not as the options say; else as
    /// [`Macvtap::open`].
    pub fn attach(&self) -> Result<Macvtap, Error> {
        let mut rtnl = Rtnl::open()?;
        if self.find(&mut rtnl)?.is_some() {
            self.set_parents_mac(&mut rtnl)?;
        }
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

    /// Looks for what makes it impossible.
    pub(crate) fn look(&self) -> Result<(), Error> {
        let mut rtnl = Rtnl::open()?;
        let parent = self.parent(&mut rtnl)?;
        self.find(&mut rtnl)?;
        let links = rtnl.links()?;
        let wanted = || format!("macvtap {} ({}) on {}", self.name, self.mode, self.parent);
        let master = links.iter().find(|it| Some(it.index()) == parent.master());
        if let Some(master) = master
            && master.kind() != Some("vrf")
        {
            let holder = format!("{}, which {} is a port of", master.name(), self.parent);
            return Err(Conflict::new(wanted(), holder).into());
        }
        let alone = MacvtapMode::PASSTHRU;
        let shares = |it: &&Link| {
            it.name() != self.name.as_str()
                && it.macvtap_mode().is_some()
                && it.parent() == parent_of_macvtaps(&parent)
                && (self.mode == alone || it.macvtap_mode() == Some(alone))
        };
        if let Some(other) = links.iter().find(shares) {
            let holder = format!("another macvtap on it ({other})");
            return Err(Conflict::new(wanted(), holder).into());
        }
        if let Some(mac) = self.mac.filter(|_| self.mode != alone)
            && parent.mac() == Some(mac)
        {
            let why = "is that of the macvtap's parent";
            return Err(Invalid::new("MAC address", mac, why).into());
        }
        match self.mtu {
            Some(mtu) if mtu > parent.mtu() => {
                let why = "is more than the macvtap's parent has";
                Err(Invalid::new("MTU", mtu, why).into())
            }
            _ => Ok(()),
        }
    }

    /// Makes it, or completes what is there, without opening its device. If a
    /// step fails, what this call has made is removed.
    pub(crate) fn make(&self) -> Result<Link, Error> {
        let mut rtnl = Rtnl::open()?;
        let parent = self.parent(&mut rtnl)?;
        let is_new = self.find(&mut rtnl)?.is_none();
        if is_new {
            self.add(&mut rtnl, &parent)?;
        }
        self.set_parents_mac(&mut rtnl)
            .and_then(|()| self.set_up(&mut rtnl))
            .and_then(|()| self.made(&mut rtnl))
            .map_err(|error| {
                let undoing = if is_new {
                    self.delete(&mut rtnl)
                } else {
                    Ok(())
                };
                error.undone(undoing)
            })
    }

    /// What is there of it, if nothing is missing.
    pub(crate) fn find_whole(&self) -> Result<Option<Link>, Error> {
        let found = match self.find(&mut Rtnl::open()?) {
            Err(error) if error.is_not_found() => None,
            found => found?,
        };
        let has_mac = |link: &Link| self.mac.is_none_or(|mac| link.mac() == Some(mac));
        Ok(found.filter(|link| link.is_up() && has_mac(link)))
    }

    /// The macvtap's name.
    pub fn name(&self) -> IfName {
        self.name
    }

    /// What it rests on.
    pub fn parent_name(&self) -> IfName {
        self.parent
    }

    pub(crate) fn has_parent_for_itself(&self) -> bool {
        self.mode == MacvtapMode::PASSTHRU
    }

    /// The MAC address that it has or is to have, if that is known.
    pub(crate) fn known_mac(&self) -> Result<Option<Mac>, Error> {
        match self.mac {
            Some(mac) => Ok(Some(mac)),
            None => Ok(self.find_whole()?.and_then(|link| link.mac())),
        }
    }

    fn add(&self, rtnl: &mut Rtnl, parent: &Link) -> Result<(), Error> {
        let mut link = NewLink::macvtap(self.name, parent.index(), self.mode);
        if let Some(mac) = self.mac {
            link = link.mac(mac);
        }
        if let Some(mtu) = self.mtu {
            link = link.mtu(mtu);
        }
        rtnl.apply(|changes| changes.add_link(&link))
    }

    /// The macvtap, if it is there and as it is wanted. (One that has its
    /// parent for itself is made before it is given its MAC address.)
    fn find(&self, rtnl: &mut Rtnl) -> Result<Option<Link>, Error> {
        let parent = self.parent(rtnl)?;
        let Some(link) = rtnl.link(self.name)? else {
            return Ok(None);
        };
        let has_mac = |mac| link.mac() == Some(mac) || self.has_parent_for_itself();
        let is_wanted = link.macvtap_mode() == Some(self.mode)
            && link.parent() == parent_of_macvtaps(&parent)
            && self.mac.is_none_or(has_mac)
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
        let link = self.made(rtnl)?;
        if link.mac() == Some(mac) {
            return Ok(());
        }
        rtnl.apply(|changes| changes.set_link(&LinkChange::new(link.index()).mac(mac)))
    }

    fn made(&self, rtnl: &mut Rtnl) -> Result<Link, Error> {
        rtnl.link(self.name)?.ok_or_else(|| Error::Absent {
            kind: "macvtap",
            name: self.name.as_str().into(),
        })
    }

    fn set_up(&self, rtnl: &mut Rtnl) -> Result<(), Error> {
        let link = self.made(rtnl)?;
        without_ipv6(self.name)?;
        rtnl.apply(|changes| changes.set_link(&LinkChange::new(link.index()).up()))
    }

    fn finish(&self, rtnl: &mut Rtnl) -> Result<Macvtap, Error> {
        self.set_up(rtnl)?;
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

/// What a macvtap on it is said to rest on: one on another macvlan or macvtap
/// goes by what that one rests on.
fn parent_of_macvtaps(parent: &Link) -> Option<IfIndex> {
    match parent.kind() {
        Some("macvlan" | "macvtap") => parent.parent(),
        _ => Some(parent.index()),
    }
}
