//! From what there is to what is wanted.

use super::{Port, Segment, remove_link};
use crate::error::{Conflict, Error};
use crate::pod::without_ipv6;
use crate::route::{
    BridgeOptions, BridgePort, Link, LinkChange, NewLink, PortOptions, PortVlan, Rtnl,
};
use crate::types::{IfIndex, IfName};

impl Segment {
    /// Makes the segment, or changes what there is into it: ports that are not
    /// wanted leave (but not a [`TapPort`](super::TapPort)), VLANs and peers are
    /// added and removed. If this call made the bridge and a step fails, it is
    /// removed again; what was there before may be changed in part, and the
    /// next call goes on.
    ///
    /// # Errors
    /// [`Error::Invalid`] if it contradicts itself; [`Error::Absent`] if a
    /// port is not there; [`Error::Conflict`] if a name is taken by something
    /// else, or a port is a port of something else: nothing was changed then.
    /// [`Error::Refused`] if the kernel does not do it (`EOPNOTSUPP`: it has no
    /// VLAN filtering, or no VXLAN); [`Error::HalfDone`] if undoing failed too.
    pub fn apply(&self) -> Result<(), Error> {
        self.check()?;
        let mut rtnl = Rtnl::open()?;
        let links = rtnl.links()?;
        let found = own_bridge(&links, self.bridge)?.cloned();
        let bridge = found.as_ref().map(Link::index);
        let tunnel = match &self.overlay {
            Some(overlay) => overlay.find(&links, bridge)?.cloned(),
            None => None,
        };
        let mut ports = Vec::new();
        for port in &self.ports {
            ports.push((port, free_port(&links, port, bridge)?));
        }
        if bridge.is_some() {
            return self.change(&mut rtnl, tunnel, &ports);
        }
        self.change(&mut rtnl, tunnel, &ports).map_err(|error| {
            let undoing = self.remove();
            error.undone(undoing)
        })
    }

    fn change(
        &self,
        rtnl: &mut Rtnl,
        tunnel: Option<Link>,
        ports: &[(&Port, IfIndex)],
    ) -> Result<(), Error> {
        let bridge = self.set_bridge(rtnl)?;
        let tunnel = self.set_tunnel(rtnl, tunnel, bridge)?;
        leave(rtnl, bridge, tunnel, ports)?;
        rtnl.apply(|changes| {
            for (port, index) in ports {
                changes.set_link(&LinkChange::new(*index).master(bridge).up());
                let isolated = PortOptions::ISOLATED;
                let options = if port.is_isolated() {
                    BridgePort::new().on(isolated)
                } else {
                    BridgePort::new().off(isolated)
                };
                changes.set_bridge_port(*index, &options);
            }
        })?;
        if self.vlans {
            let every = [PortVlan::tagged(1, 4094)];
            let tunnel = tunnel.map(|tunnel| (tunnel, &every[..]));
            let ports = ports.iter().map(|(port, index)| (*index, port.vlans()));
            set_vlans(rtnl, &ports.chain(tunnel).collect::<Vec<_>>())?;
        }
        rtnl.apply(|changes| {
            let links = tunnel.into_iter().chain([bridge]);
            links.for_each(|link| changes.set_link(&LinkChange::new(link).up()));
        })
    }

    fn set_bridge(&self, rtnl: &mut Rtnl) -> Result<IfIndex, Error> {
        // Without VLANs nothing is said of them, for kernels without.
        let mut options = BridgeOptions::plain();
        let index = if let Some(link) = rtnl.link(self.bridge)? {
            if self.vlans || link.vlan_filtering() == Some(true) {
                options = options.vlan_filtering(self.vlans).default_vlan(0);
            }
            rtnl.apply(|changes| changes.set_bridge(link.index(), &options))?;
            link.index()
        } else {
            if self.vlans {
                options = options.vlan_filtering(true).default_vlan(0);
            }
            let link = NewLink::bridge(self.bridge).bridge_options(options);
            rtnl.apply(|changes| changes.add_link(&link))?;
            index_of(rtnl, self.bridge)?
        };
        rtnl.apply(|changes| changes.set_link(&LinkChange::new(index).alias(LABEL)))?;
        without_ipv6(self.bridge)?;
        Ok(index)
    }

    fn set_tunnel(
        &self,
        rtnl: &mut Rtnl,
        found: Option<Link>,
        bridge: IfIndex,
    ) -> Result<Option<IfIndex>, Error> {
        let Some(overlay) = &self.overlay else {
            return Ok(None);
        };
        let label = overlay.label();
        let index = match found {
            Some(link) if link.alias() == Some(&label) => link.index(),
            other => {
                if let Some(link) = other {
                    remove_link(rtnl, &link)?;
                }
                rtnl.apply(|changes| changes.add_link(&overlay.link(bridge)))?;
                index_of(rtnl, overlay.name())?
            }
        };
        overlay.set_peers(rtnl, index)?;
        without_ipv6(overlay.name())?;
        let change = LinkChange::new(index).master(bridge).alias(&label);
        rtnl.apply(|changes| changes.set_link(&change))?;
        Ok(Some(index))
    }
}

/// Has those leave that are not wanted; a tunnel of the segment goes.
fn leave(
    rtnl: &mut Rtnl,
    bridge: IfIndex,
    tunnel: Option<IfIndex>,
    ports: &[(&Port, IfIndex)],
) -> Result<(), Error> {
    let stays = |link: &Link| {
        tunnel == Some(link.index())
            || link.alias() == Some(JOINED)
            || ports.iter().any(|(_, port)| *port == link.index())
    };
    let links = rtnl.links()?;
    let of_bridge = links.iter().filter(|link| link.master() == Some(bridge));
    rtnl.apply(|changes| {
        for link in of_bridge.filter(|link| !stays(link)) {
            let is_tunnel = link.alias().is_some_and(|alias| alias.starts_with(LABEL));
            if is_tunnel && link.kind() == Some("vxlan") {
                changes.delete_link(link.index());
            } else {
                changes.set_link(&LinkChange::new(link.index()).no_master());
            }
        }
    })
}

/// Has each port carry these VLANs and no others.
pub(super) fn set_vlans(rtnl: &mut Rtnl, wanted: &[(IfIndex, &[PortVlan])]) -> Result<(), Error> {
    let there = rtnl.port_vlans()?;
    rtnl.apply(|changes| {
        for &(port, wanted) in wanted {
            let now = there.iter().find(|(it, _)| *it == port);
            let now = now.map_or(&[][..], |(_, vlans)| vlans);
            let gone: Vec<_> = now
                .iter()
                .filter(|it| !wanted.contains(it))
                .copied()
                .collect();
            let new: Vec<_> = wanted
                .iter()
                .filter(|it| !now.contains(it))
                .copied()
                .collect();
            if !gone.is_empty() {
                changes.delete_port_vlans(port, &gone);
            }
            // Those that stay too: a range that went may have covered them.
            if !(gone.is_empty() && new.is_empty()) {
                changes.add_port_vlans(port, wanted);
            }
        }
    })
}

/// The bridge of that name, if it is there and was made for a segment; one
/// that has neither label nor ports is of an attempt that got no further.
pub(super) fn own_bridge(links: &[Link], name: IfName) -> Result<Option<&Link>, Error> {
    let Some(link) = links.iter().find(|link| link.name() == name.as_str()) else {
        return Ok(None);
    };
    let is_port = |it: &Link| it.master() == Some(link.index());
    let begun = link.alias().is_none() && !link.is_up() && !links.iter().any(is_port);
    if link.kind() == Some("bridge") && (link.alias() == Some(LABEL) || begun) {
        return Ok(Some(link));
    }
    let holder = format!("another interface of that name ({link})");
    Err(Conflict::new(format!("bridge {name} of a segment"), holder).into())
}

/// The index of a link that may become a port, or is one already.
fn free_port(links: &[Link], port: &Port, bridge: Option<IfIndex>) -> Result<IfIndex, Error> {
    let name = port.name();
    let link = links.iter().find(|link| link.name() == name.as_str());
    let link = link.ok_or_else(|| Error::Absent {
        kind: "port",
        name: name.as_str().into(),
    })?;
    match link.master() {
        Some(master) if bridge != Some(master) => {
            let of = links.iter().find(|link| link.index() == master);
            let of = of.map_or_else(|| master.to_string(), |link| link.name().to_owned());
            let holder = format!("{of}, which it is a port of");
            Err(Conflict::new(format!("{name} as a port of a segment"), holder).into())
        }
        _ => Ok(link.index()),
    }
}

fn index_of(rtnl: &mut Rtnl, name: IfName) -> Result<IfIndex, Error> {
    let link = rtnl.link(name)?.ok_or_else(|| Error::Absent {
        kind: "interface",
        name: name.as_str().into(),
    })?;
    Ok(link.index())
}

/// By which bridges of segments are known; that of tunnels begins with it.
pub(super) const LABEL: &str = "tapwire segment";

/// By which ports that have joined by themselves are known.
pub(super) const JOINED: &str = "tapwire segment port";
