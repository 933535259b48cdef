//! Links to be made: `RTM_NEWLINK`, `ip-link(8)`.

use std::fmt;
use std::marker::PhantomData;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use netlink_packet_route::link::{
    InfoData, InfoKind, InfoMacVtap, InfoVeth, InfoVlan, InfoVxlan, LinkAttribute, LinkFlags,
    LinkInfo, LinkMessage, MacVtapMode,
};

use crate::error::Invalid;
use crate::wire::Writer;
use crate::wire::uapi::if_link::{
    MACVLAN_MODE_BRIDGE, MACVLAN_MODE_PASSTHRU, MACVLAN_MODE_PRIVATE, MACVLAN_MODE_VEPA,
};
use crate::{IfIndex, IfName, Mac};

use super::codec::emit;

/// A link to be made. TAP devices are not among them: the kernel makes those
/// by `ioctl` only.
///
/// Its alias is set with a [`LinkChange`](super::LinkChange) afterwards, since
/// the kernel passes over an alias in the request that makes a link.
///
/// ```
/// use tapwire::{IfIndex, route::NewLink};
/// let link = NewLink::veth("clone0".parse()?, "eth0".parse()?)
///     .index(IfIndex::new(1000)?)
///     .mtu(1400)
///     .up();
/// # Ok::<(), tapwire::error::Invalid>(())
/// ```
#[derive(Debug, Clone)]
pub struct NewLink<'fd> {
    kind: Kind,
    end: End,
    mtu: Option<u32>,
    queues: Option<u32>,
    group: Option<u32>,
    master: Option<IfIndex>,
    descriptors: PhantomData<BorrowedFd<'fd>>,
}

/// What both ends of a veth pair have each for themselves.
#[derive(Debug, Clone)]
struct End {
    name: IfName,
    index: Option<IfIndex>,
    mac: Option<Mac>,
    up: bool,
    namespace: Option<RawFd>,
}

#[derive(Debug, Clone)]
enum Kind {
    Veth(End),
    Bridge,
    Macvtap(IfIndex, MacvtapMode),
    Vlan(IfIndex, u16),
    Vxlan(Vxlan),
}

impl<'fd> NewLink<'fd> {
    /// A pair of links: what goes into one comes out of the other. The other
    /// end is made down, for the kernel cannot set it up before the pair is
    /// complete (`ENOTCONN`).
    pub fn veth(name: IfName, peer: IfName) -> Self {
        Self::new(name, Kind::Veth(End::new(peer)))
    }

    /// A bridge.
    pub fn bridge(name: IfName) -> Self {
        Self::new(name, Kind::Bridge)
    }

    /// A macvtap on top of `parent`, whose file is `/dev/tap` with its index.
    pub fn macvtap(name: IfName, parent: IfIndex, mode: MacvtapMode) -> Self {
        Self::new(name, Kind::Macvtap(parent, mode))
    }

    /// The VLAN `id` (802.1Q, 1 to 4094) of `parent`.
    pub fn vlan(name: IfName, parent: IfIndex, id: u16) -> Self {
        Self::new(name, Kind::Vlan(parent, id))
    }

    /// A VXLAN tunnel.
    pub fn vxlan(name: IfName, tunnel: Vxlan) -> Self {
        Self::new(name, Kind::Vxlan(tunnel))
    }

    fn new(name: IfName, kind: Kind) -> Self {
        Self {
            kind,
            end: End::new(name),
            mtu: None,
            queues: None,
            group: None,
            master: None,
            descriptors: PhantomData,
        }
    }

    /// Gives it this index, so that what follows in the same burst can refer
    /// to it; otherwise the kernel takes the next free one.
    #[must_use]
    pub fn index(mut self, index: IfIndex) -> Self {
        self.end.index = Some(index);
        self
    }

    /// Gives it this MAC address; otherwise a random one.
    #[must_use]
    pub fn mac(mut self, mac: Mac) -> Self {
        self.end.mac = Some(mac);
        self
    }

    /// Sets the largest packet in bytes, of both ends of a pair.
    #[must_use]
    pub fn mtu(mut self, mtu: u32) -> Self {
        self.mtu = Some(mtu);
        self
    }

    /// Gives it so many queues for sending and receiving, both ends of a pair;
    /// otherwise a pair has one for each processor.
    #[must_use]
    pub fn queues(mut self, queues: u32) -> Self {
        self.queues = Some(queues);
        self
    }

    /// Puts it into a group, to be deleted with it; a pair needs that of one
    /// end only.
    #[must_use]
    pub fn group(mut self, group: u32) -> Self {
        self.group = Some(group);
        self
    }

    /// Sets it up.
    #[must_use]
    pub fn up(mut self) -> Self {
        self.end.up = true;
        self
    }

    /// Makes it a port of this bridge.
    #[must_use]
    pub fn master(mut self, master: IfIndex) -> Self {
        self.master = Some(master);
        self
    }

    /// Makes it in another network namespace, given by its open file.
    #[must_use]
    pub fn netns(mut self, namespace: &'fd impl AsFd) -> Self {
        self.end.namespace = Some(namespace.as_fd().as_raw_fd());
        self
    }

    /// Gives the other end of a pair this index in its namespace; the near
    /// end needs one as well.
    #[must_use]
    pub fn peer_index(self, index: IfIndex) -> Self {
        self.peer(|peer| peer.index = Some(index))
    }

    /// Gives the other end of a pair this MAC address.
    #[must_use]
    pub fn peer_mac(self, mac: Mac) -> Self {
        self.peer(|peer| peer.mac = Some(mac))
    }

    /// Makes the other end of a pair in another network namespace, given by
    /// its open file.
    #[must_use]
    pub fn peer_netns(self, namespace: &'fd impl AsFd) -> Self {
        let namespace = namespace.as_fd().as_raw_fd();
        self.peer(|peer| peer.namespace = Some(namespace))
    }

    /// Other kinds have no other end; a setter of it changes nothing there.
    fn peer(mut self, change: impl FnOnce(&mut End)) -> Self {
        if let Kind::Veth(peer) = &mut self.kind {
            change(peer);
        }
        self
    }

    pub(super) fn check(&self) -> Result<(), Invalid> {
        check_mtu(self.mtu)?;
        match &self.kind {
            Kind::Veth(peer) => match (self.end.index, peer.index) {
                (None, Some(index)) => Err(Invalid::new(
                    "peer index",
                    index,
                    "counts only if the near end has an index too",
                )),
                _ => Ok(()),
            },
            Kind::Vlan(_, id) if !(1..=4094).contains(id) => {
                Err(Invalid::new("VLAN id", id, "is not between 1 and 4094"))
            }
            Kind::Vxlan(tunnel) => tunnel.check(),
            _ => Ok(()),
        }
    }

    pub(super) fn encode(&self, out: &mut Writer<'_>) {
        let mut message = self.end.message();
        let both = self.of_both_ends();
        let (kind, data) = self.kind.info(&both);
        let mut info = vec![LinkInfo::Kind(kind)];
        info.extend(data.map(LinkInfo::Data));
        let attributes = &mut message.attributes;
        attributes.extend(self.kind.parent().map(LinkAttribute::Link));
        attributes.extend(both);
        attributes.extend(self.group.map(LinkAttribute::Group));
        attributes.extend(
            self.master
                .map(|master| LinkAttribute::Controller(master.get())),
        );
        attributes.push(LinkAttribute::LinkInfo(info));
        emit(out, &message);
    }

    /// What both ends of a pair have alike.
    fn of_both_ends(&self) -> Vec<LinkAttribute> {
        let queues = self.queues.into_iter();
        self.mtu
            .map(LinkAttribute::Mtu)
            .into_iter()
            .chain(queues.flat_map(|count| {
                [
                    LinkAttribute::NumTxQueues(count),
                    LinkAttribute::NumRxQueues(count),
                ]
            }))
            .collect()
    }
}

impl End {
    fn new(name: IfName) -> Self {
        Self {
            name,
            index: None,
            mac: None,
            up: false,
            namespace: None,
        }
    }

    fn message(&self) -> LinkMessage {
        let mut message = LinkMessage::default();
        message.header.index = self.index.map_or(0, IfIndex::get);
        if self.up {
            message.header.flags = LinkFlags::Up;
            message.header.change_mask = LinkFlags::Up;
        }
        let attributes = &mut message.attributes;
        attributes.push(LinkAttribute::IfName(self.name.as_str().into()));
        attributes.extend(
            self.mac
                .map(|mac| LinkAttribute::Address(mac.octets().to_vec())),
        );
        attributes.extend(self.namespace.map(LinkAttribute::NetNsFd));
        message
    }
}

impl Kind {
    fn parent(&self) -> Option<u32> {
        match self {
            Self::Macvtap(parent, _) | Self::Vlan(parent, _) => Some(parent.get()),
            _ => None,
        }
    }

    fn info(&self, both: &[LinkAttribute]) -> (InfoKind, Option<InfoData>) {
        match self {
            Self::Veth(peer) => {
                let mut peer = peer.message();
                peer.attributes.extend_from_slice(both);
                let data = InfoData::Veth(InfoVeth::Peer(peer));
                (InfoKind::Veth, Some(data))
            }
            Self::Bridge => (InfoKind::Bridge, None),
            Self::Macvtap(_, mode) => {
                let mode = MacVtapMode::from(mode.number());
                let data = InfoData::MacVtap(vec![InfoMacVtap::Mode(mode)]);
                (InfoKind::MacVtap, Some(data))
            }
            Self::Vlan(_, id) => {
                let data = InfoData::Vlan(vec![InfoVlan::Id(*id)]);
                (InfoKind::Vlan, Some(data))
            }
            Self::Vxlan(tunnel) => (InfoKind::Vxlan, Some(InfoData::Vxlan(tunnel.info()))),
        }
    }
}

/// How a macvtap shares its parent: `MACVLAN_MODE_*` of `linux/if_link.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MacvtapMode(u32);

impl MacvtapMode {
    /// The guests on one parent do not reach each other.
    pub const PRIVATE: Self = Self(MACVLAN_MODE_PRIVATE);
    /// They reach each other through the switch behind the parent.
    pub const VEPA: Self = Self(MACVLAN_MODE_VEPA);
    /// They reach each other, but not the host.
    pub const BRIDGE: Self = Self(MACVLAN_MODE_BRIDGE);
    /// One guest has the parent for itself.
    pub const PASSTHRU: Self = Self(MACVLAN_MODE_PASSTHRU);

    /// The mode of this number.
    pub const fn from_number(number: u32) -> Self {
        Self(number)
    }

    /// The kernel's number.
    pub const fn number(self) -> u32 {
        self.0
    }
}

impl fmt::Display for MacvtapMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match *self {
            Self::PRIVATE => "private",
            Self::VEPA => "vepa",
            Self::BRIDGE => "bridge",
            Self::PASSTHRU => "passthru",
            Self(number) => return write!(f, "{number:#x}"),
        };
        f.write_str(name)
    }
}

/// A VXLAN tunnel: Ethernet in UDP (RFC 7348).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Vxlan {
    vni: u32,
    local: Option<IpAddr>,
    remote: Option<IpAddr>,
    port: u16,
    parent: Option<IfIndex>,
}

impl Vxlan {
    /// The network `vni` (24 bits), over UDP port 4789.
    pub fn new(vni: u32) -> Self {
        Self {
            vni,
            local: None,
            remote: None,
            port: 4789,
            parent: None,
        }
    }

    /// Sends from this address.
    #[must_use]
    pub fn local(mut self, address: IpAddr) -> Self {
        self.local = Some(address);
        self
    }

    /// Sends what it knows no better place for to this address, which may be
    /// a multicast group.
    #[must_use]
    pub fn remote(mut self, address: IpAddr) -> Self {
        self.remote = Some(address);
        self
    }

    /// Sends to, and receives on, this UDP port.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Sends by this interface.
    #[must_use]
    pub fn dev(mut self, parent: IfIndex) -> Self {
        self.parent = Some(parent);
        self
    }

    fn check(&self) -> Result<(), Invalid> {
        if self.vni >= 1 << 24 {
            return Err(Invalid::new("VNI", self.vni, "is above 16777215"));
        }
        match (self.local, self.remote) {
            (Some(local), Some(remote)) if local.is_ipv4() != remote.is_ipv4() => {
                Err(Invalid::new(
                    "remote address",
                    remote,
                    "is of another family than the local one",
                ))
            }
            _ => Ok(()),
        }
    }

    fn info(&self) -> Vec<InfoVxlan> {
        let mut info = vec![InfoVxlan::Id(self.vni)];
        info.extend(self.remote.map(|remote| match remote {
            IpAddr::V4(remote) => InfoVxlan::Group(remote),
            IpAddr::V6(remote) => InfoVxlan::Group6(remote),
        }));
        info.extend(self.local.map(|local| match local {
            IpAddr::V4(local) => InfoVxlan::Local(local),
            IpAddr::V6(local) => InfoVxlan::Local6(local),
        }));
        info.extend(self.parent.map(|parent| InfoVxlan::Link(parent.get())));
        info.push(InfoVxlan::Port(self.port));
        info
    }
}

/// What every Ethernet device takes at least, and at most
/// (`ETH_MIN_MTU`, `ETH_MAX_MTU` of `linux/if_ether.h`).
pub(super) fn check_mtu(mtu: Option<u32>) -> Result<(), Invalid> {
    match mtu {
        Some(mtu) if !(68..=65_535).contains(&mtu) => {
            Err(Invalid::new("MTU", mtu, "is not between 68 and 65535"))
        }
        _ => Ok(()),
    }
}
