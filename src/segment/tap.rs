//! A guest on a segment: its TAP, as a port.

use super::Port;
use super::apply::{JOINED, LABEL, own_bridge, set_vlans};
use crate::error::{Conflict, Error};
use crate::pod::{Role, bridge_netfilter, derived, without_ipv6};
use crate::route::{BridgePort, Link, LinkChange, PortOptions, PortVlan, Rtnl};
use crate::sys::TapOptions;
use crate::types::{IfName, Mac};

/// A TAP that joins a segment that is there, as an access or a trunk port:
/// [`join`](Self::join) makes it, [`leave`](Self::leave) removes it.
///
/// It stays a port when whoever made the segment applies it again, whether
/// that one knows of it or not.
///
/// ```no_run
/// use tapwire::segment::{Port, TapPort};
/// let port = Port::new("guest0".parse()?).isolated().access(10);
/// let port = TapPort::new("blue".parse()?, port, "02:00:00:00:00:05".parse()?);
/// println!("TAP {}", port.join()?.name());
/// port.leave()?;
/// # Ok::<(), tapwire::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TapPort {
    bridge: IfName,
    port: Port,
    mac: Mac,
    mtu: Option<u32>,
    options: TapOptions,
}

impl TapPort {
    /// A TAP with the name of the port, on the segment whose bridge has this
    /// name, for a guest with this MAC address. It has the MTU of the bridge.
    pub fn new(bridge: IfName, port: Port, mac: Mac) -> Self {
        // The TAP is known by its own address, which must not be the guest's.
        let own = derived(mac, Role::SegmentTap);
        Self {
            bridge,
            mac,
            mtu: None,
            options: TapOptions::new(port.name()).persistent().mac(own),
            port,
        }
    }

    /// Sets the largest packet in bytes, without the Ethernet header.
    #[must_use]
    pub fn mtu(mut self, mtu: u32) -> Self {
        self.mtu = Some(mtu);
        self
    }

    /// This user may open the TAP without `CAP_NET_ADMIN`.
    #[must_use]
    pub fn tap_owner(mut self, uid: u32) -> Self {
        self.options = self.options.owner(uid);
        self
    }

    /// Members of this group may open the TAP without `CAP_NET_ADMIN`.
    #[must_use]
    pub fn tap_group(mut self, gid: u32) -> Self {
        self.options = self.options.group(gid);
        self
    }

    /// Each frame on the TAP carries a `virtio_net_hdr` before it.
    #[must_use]
    pub fn vnet_header(mut self) -> Self {
        self.options = self.options.vnet_header();
        self
    }

    /// The TAP takes several queues.
    #[must_use]
    pub fn multi_queue(mut self) -> Self {
        self.options = self.options.multi_queue();
        self
    }

    /// The name of the segment's bridge.
    pub fn segment(&self) -> IfName {
        self.bridge
    }

    /// The TAP's name.
    pub fn name(&self) -> IfName {
        self.port.name()
    }

    /// The guest's MAC address.
    pub fn mac(&self) -> Mac {
        self.mac
    }

    /// Makes the TAP a port of the segment, completes what a killed process
    /// began, or changes the VLANs of what is there. If a step fails, a TAP
    /// that this call has made is removed.
    ///
    /// # Errors
    /// [`Error::Absent`] if there is no such segment; [`Error::Invalid`] if
    /// the port has VLANs and the segment has none, or the reverse;
    /// [`Error::Conflict`] if the name is taken, or another port of this
    /// segment is for a guest with this MAC address: nothing was changed then.
    /// [`Error::Refused`], [`Error::System`] if the kernel refuses a step;
    /// [`Error::HalfDone`] if undoing failed too.
    pub fn join(&self) -> Result<Link, Error> {
        let mut rtnl = Rtnl::open()?;
        let (bridge, found) = self.check(&mut rtnl)?;
        self.build(&mut rtnl, &bridge, found.as_ref())
            .map_err(|error| match found {
                Some(_) => error,
                None => error.undone(self.leave()),
            })
    }

    /// The TAP, if it is a port of the segment as it is wanted.
    ///
    /// # Errors
    /// As [`join`](Self::join), before anything is changed; a segment that is
    /// not there is none.
    pub fn find(&self) -> Result<Option<Link>, Error> {
        let mut rtnl = Rtnl::open()?;
        let (bridge, found) = match self.check(&mut rtnl) {
            Err(error) if error.is_not_found() => return Ok(None),
            found => found?,
        };
        let is_whole = |link: &Link| {
            link.master() == Some(bridge.index())
                && link.is_up()
                && link.alias() == Some(JOINED)
                && self.mtu.is_none_or(|mtu| link.mtu() == mtu)
        };
        let Some(link) = found.filter(is_whole) else {
            return Ok(None);
        };
        let port = rtnl.bridge_port(link.index())?;
        let is_isolated = port.is_some_and(|it| it.options().contains(PortOptions::ISOLATED));
        let is_wanted = is_isolated == self.port.is_isolated()
            && (bridge.vlan_filtering() != Some(true) || self.has_vlans(&mut rtnl, &link)?);
        Ok(is_wanted.then_some(link))
    }

    /// Whether the TAP carries its VLANs and no other. (Where the bridge does
    /// not filter, the kernel lists VLAN 1 for every port.)
    fn has_vlans(&self, rtnl: &mut Rtnl, tap: &Link) -> Result<bool, Error> {
        let all = rtnl.port_vlans()?;
        let vlans = all.iter().find(|(it, _)| *it == tap.index());
        let vlans = vlans.map_or(&[][..], |(_, vlans)| vlans);
        Ok(carry_the_same(vlans, self.port.vlans()))
    }

    /// Removes the TAP, if it is there. The segment stays.
    ///
    /// # Errors
    /// [`Error::Conflict`] if what has the name was made for something else;
    /// [`Error::Refused`] if the kernel does not remove it.
    pub fn leave(&self) -> Result<(), Error> {
        let mut rtnl = Rtnl::open()?;
        let links = rtnl.links()?;
        match self.tap(&links)? {
            Some(tap) => super::remove_link(&mut rtnl, tap),
            None => Ok(()),
        }
    }

    /// Looks for what makes it impossible; gives the bridge, and what there is
    /// of the TAP.
    pub(crate) fn check(&self, rtnl: &mut Rtnl) -> Result<(Link, Option<Link>), Error> {
        let links = rtnl.links()?;
        let bridge = own_bridge(&links, self.bridge)?.filter(|it| it.alias() == Some(LABEL));
        let bridge = bridge.ok_or_else(|| Error::Absent {
            kind: "segment",
            name: self.bridge.as_str().into(),
        })?;
        self.port.check(bridge.vlan_filtering() == Some(true))?;
        let tap = self.tap(&links)?;
        let wanted = || format!("TAP {} on segment {}", self.name(), self.bridge);
        if let Some(master) = tap.and_then(Link::master)
            && master != bridge.index()
        {
            let of = links.iter().find(|link| link.index() == master);
            let of = of.map_or_else(|| master.to_string(), |link| link.name().to_owned());
            let holder = format!("{of}, which it is a port of");
            return Err(Conflict::new(wanted(), holder).into());
        }
        let own = Some(derived(self.mac, Role::SegmentTap));
        let is_same_guest = |link: &&Link| {
            link.master() == Some(bridge.index())
                && link.mac() == own
                && link.name() != self.name().as_str()
        };
        if let Some(other) = links.iter().find(is_same_guest) {
            let wanted = format!("MAC address {} on segment {}", self.mac, self.bridge);
            let holder = format!("the guest on {}", other.name());
            return Err(Conflict::new(wanted, holder).into());
        }
        Ok((bridge.clone(), tap.cloned()))
    }

    /// What the segment's namespace does to frames between its ports.
    pub(crate) fn conflicts(&self) -> Vec<Conflict> {
        bridge_netfilter(self.bridge)
    }

    fn tap<'a>(&self, links: &'a [Link]) -> Result<Option<&'a Link>, Error> {
        let name = self.name();
        let Some(link) = links.iter().find(|link| link.name() == name.as_str()) else {
            return Ok(None);
        };
        if link.kind() == Some("tun") && link.mac() == Some(derived(self.mac, Role::SegmentTap)) {
            return Ok(Some(link));
        }
        let holder = format!("another interface of that name ({link})");
        let wanted = format!("TAP {name} on segment {}", self.bridge);
        Err(Conflict::new(wanted, holder).into())
    }

    fn build(&self, rtnl: &mut Rtnl, bridge: &Link, found: Option<&Link>) -> Result<Link, Error> {
        let index = if let Some(link) = found {
            self.set_mtu(rtnl, link)?;
            link.index()
        } else {
            let mtu = self.mtu.unwrap_or_else(|| bridge.mtu());
            self.options.clone().mtu(mtu).create()?.index()?
        };
        without_ipv6(self.name())?;
        let isolated = PortOptions::ISOLATED;
        let options = if self.port.is_isolated() {
            BridgePort::new().on(isolated)
        } else {
            BridgePort::new().off(isolated)
        };
        // It is up last, so that no frame comes or goes by a port that is not
        // yet as it is wanted.
        rtnl.apply(|changes| {
            changes.set_link(&LinkChange::new(index).alias(JOINED).master(bridge.index()));
            changes.set_bridge_port(index, &options);
        })?;
        if bridge.vlan_filtering() == Some(true) {
            set_vlans(rtnl, &[(index, self.port.vlans())])?;
        }
        rtnl.apply(|changes| changes.set_link(&LinkChange::new(index).up()))?;
        let made = rtnl.link_at(index)?;
        made.ok_or_else(|| self.absent())
    }

    fn set_mtu(&self, rtnl: &mut Rtnl, link: &Link) -> Result<(), Error> {
        match self.mtu {
            Some(mtu) if mtu != link.mtu() => {
                rtnl.apply(|changes| changes.set_link(&LinkChange::new(link.index()).mtu(mtu)))
            }
            _ => Ok(()),
        }
    }

    fn absent(&self) -> Error {
        Error::Absent {
            kind: "port",
            name: self.name().as_str().into(),
        }
    }
}

/// Whether two lists say the same of every VLAN: the kernel joins neighbours
/// to ranges.
fn carry_the_same(one: &[PortVlan], other: &[PortVlan]) -> bool {
    let of = |list: &[PortVlan], id: u16| {
        let vlan = list.iter().find(|it| it.first() <= id && id <= it.last());
        vlan.map(|it| (it.takes_untagged(), it.leaves_untagged()))
    };
    let ends = |list: &[PortVlan]| list.iter().map(PortVlan::last).max().unwrap_or(0);
    (0..=ends(one).max(ends(other))).all(|id| of(one, id) == of(other, id))
}
