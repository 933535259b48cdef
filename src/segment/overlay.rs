//! The tunnel between the hosts of a segment: VXLAN (RFC 7348), with the
//! hosts listed in its forwarding database.

use std::net::IpAddr;

use crate::error::{Conflict, Error, Invalid};
use crate::route::{FdbEntry, Link, NewLink, Rtnl, Vxlan};
use crate::types::{IfIndex, IfName};

/// A VXLAN tunnel to the same segment on other hosts. What is for many goes to
/// every peer; who is behind which peer is learned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overlay {
    name: IfName,
    vni: u32,
    local: IpAddr,
    port: u16,
    peers: Vec<IpAddr>,
}

impl Overlay {
    /// The network `vni` (24 bits), sent from the address `local` of this
    /// host over UDP port 4789, by a link of this name.
    pub fn new(name: IfName, vni: u32, local: IpAddr) -> Self {
        Self {
            name,
            vni,
            local,
            port: 4789,
            peers: Vec::new(),
        }
    }

    /// Sends to, and receives on, this UDP port.
    #[must_use]
    pub fn udp_port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Adds another host, by its address.
    #[must_use]
    pub fn peer(mut self, address: IpAddr) -> Self {
        self.peers.push(address);
        self
    }

    /// The tunnel's name.
    pub fn name(&self) -> IfName {
        self.name
    }

    pub(super) fn check(&self) -> Result<(), Invalid> {
        for peer in &self.peers {
            let why = match peer {
                _ if peer.is_ipv4() != self.local.is_ipv4() => "is of another family than this",
                _ if *peer == self.local => "is this host",
                _ if peer.is_unspecified() || peer.is_multicast() => "is no host's",
                _ => continue,
            };
            return Err(Invalid::new("peer address", peer, why));
        }
        Ok(())
    }

    pub(super) fn link(&self, bridge: IfIndex) -> NewLink<'static> {
        let tunnel = Vxlan::new(self.vni).local(self.local).port(self.port);
        NewLink::vxlan(self.name, tunnel).master(bridge)
    }

    /// What the tunnel is, as a text that is attached to it, so that it is
    /// known whether it is still the wanted one.
    pub(super) fn label(&self) -> String {
        let (vni, local, port) = (self.vni, self.local, self.port);
        format!("{LABEL}{vni} local {local} dstport {port}")
    }

    /// The tunnel that was made for a segment, if it is there.
    pub(super) fn find<'a>(
        &self,
        links: &'a [Link],
        bridge: Option<IfIndex>,
    ) -> Result<Option<&'a Link>, Error> {
        let name = self.name.as_str();
        let Some(link) = links.iter().find(|link| link.name() == name) else {
            return Ok(None);
        };
        let ours = match link.alias() {
            Some(alias) => alias.starts_with(LABEL),
            // Of an attempt that got no further.
            None => bridge.is_some() && link.master() == bridge,
        };
        if ours && link.kind() == Some("vxlan") {
            return Ok(Some(link));
        }
        let holder = format!("another interface of that name ({link})");
        Err(Conflict::new(format!("tunnel {name}"), holder).into())
    }

    /// Has the tunnel know these peers and no others.
    pub(super) fn set_peers(&self, rtnl: &mut Rtnl, tunnel: IfIndex) -> Result<(), Error> {
        let entries = rtnl.fdb(tunnel)?;
        let floods = |entry: &&FdbEntry| entry.mac().is_none() && entry.remote().is_some();
        let there: Vec<IpAddr> = entries
            .iter()
            .filter(floods)
            .filter_map(FdbEntry::remote)
            .collect();
        rtnl.apply(|changes| {
            for peer in self.peers.iter().filter(|peer| !there.contains(peer)) {
                changes.append_fdb(&FdbEntry::flood(tunnel, *peer));
            }
            for gone in there.iter().filter(|peer| !self.peers.contains(peer)) {
                changes.delete_fdb(&FdbEntry::flood(tunnel, *gone));
            }
        })
    }
}

const LABEL: &str = "tapwire segment vxlan ";
