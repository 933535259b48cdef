//! Links as the kernel reports them: `RTM_NEWLINK`, `rtnetlink(7)`.

use std::fmt;

use crate::wire::uapi::if_link::{
    IFLA_ADDRESS, IFLA_AF_SPEC, IFLA_BR_VLAN_FILTERING, IFLA_EXT_MASK, IFLA_GROUP, IFLA_IFALIAS,
    IFLA_IFNAME, IFLA_INFO_DATA, IFLA_INFO_KIND, IFLA_LINK, IFLA_LINK_NETNSID, IFLA_LINKINFO,
    IFLA_MACVLAN_MODE, IFLA_MASTER, IFLA_MTU,
};
use crate::wire::uapi::rtnetlink::RTEXT_FILTER_SKIP_STATS;
use crate::wire::{Attrs, DecodeError, Message, Writer};
use crate::{IfIndex, IfName, Mac};

use super::MacvtapMode;
use super::devconf::{Ipv4Setting, Ipv4Settings};

bitflags::bitflags! {
    /// The state of a link: `IFF_*` of `linux/if.h`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    pub struct LinkFlags: u32 {
        /// `IFF_UP`: set up by the administrator.
        const UP = 1;
        /// `IFF_BROADCAST`: has a broadcast address, as Ethernet does.
        const BROADCAST = 1 << 1;
        /// `IFF_LOOPBACK`: the loopback interface.
        const LOOPBACK = 1 << 3;
        /// `IFF_POINTOPOINT`: one other end, so no link-layer addresses.
        const POINT_TO_POINT = 1 << 4;
        /// `IFF_RUNNING`: up, and able to send.
        const RUNNING = 1 << 6;
        /// `IFF_NOARP`: nobody is asked for addresses.
        const NOARP = 1 << 7;
        /// `IFF_PROMISC`: takes in what is meant for others.
        const PROMISC = 1 << 8;
        /// `IFF_MULTICAST`: sends to groups.
        const MULTICAST = 1 << 12;
        /// `IFF_LOWER_UP`: the driver reports a carrier.
        const LOWER_UP = 1 << 16;
        /// What else the kernel has.
        const _ = !0;
    }
}

/// A network interface.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Link {
    index: IfIndex,
    flags: LinkFlags,
    name: Box<str>,
    mac: Option<Mac>,
    mtu: u32,
    group: u32,
    kind: Option<Box<str>>,
    alias: Option<Box<str>>,
    master: Option<IfIndex>,
    parent: Option<u32>,
    parent_elsewhere: bool,
    macvtap: Option<MacvtapMode>,
    vlan_filtering: Option<bool>,
    ipv4: Ipv4Settings,
}

impl Link {
    /// Its index.
    pub fn index(&self) -> IfIndex {
        self.index
    }

    /// Its name. The kernel takes more names than [`IfName`] does, so that of
    /// a foreign interface may not be one; bytes that are not UTF-8 are
    /// replaced.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its MAC address, if it has one.
    pub fn mac(&self) -> Option<Mac> {
        self.mac
    }

    /// The largest packet in bytes, without the link-layer header.
    pub fn mtu(&self) -> u32 {
        self.mtu
    }

    /// Its state.
    pub fn flags(&self) -> LinkFlags {
        self.flags
    }

    /// Whether the administrator set it up (`IFF_UP`).
    pub fn is_up(&self) -> bool {
        self.flags.contains(LinkFlags::UP)
    }

    /// Whether it is up and able to send (`IFF_RUNNING`).
    pub fn is_running(&self) -> bool {
        self.flags.contains(LinkFlags::RUNNING)
    }

    /// Whether it has a carrier (`IFF_LOWER_UP`): for a TAP, whether a
    /// program holds it open.
    pub fn is_lower_up(&self) -> bool {
        self.flags.contains(LinkFlags::LOWER_UP)
    }

    /// Its kind: `veth`, `bridge`, `tun` (also for a TAP); `None` for
    /// hardware and loopback.
    pub fn kind(&self) -> Option<&str> {
        self.kind.as_deref()
    }

    /// The group that it is in, at first 0.
    pub fn group(&self) -> u32 {
        self.group
    }

    /// The text that was attached to it.
    pub fn alias(&self) -> Option<&str> {
        self.alias.as_deref()
    }

    /// The bridge, or other aggregate, that it is a port of.
    pub fn master(&self) -> Option<IfIndex> {
        self.master
    }

    /// The interface that it rests on (macvtap, VLAN), or the other end
    /// (veth), if that is in the same network namespace.
    pub fn parent(&self) -> Option<IfIndex> {
        self.parent
            .filter(|_| !self.parent_elsewhere)
            .and_then(|index| IfIndex::new(index).ok())
    }

    /// How it shares its parent, if it is a macvtap.
    pub fn macvtap_mode(&self) -> Option<MacvtapMode> {
        self.macvtap
    }

    /// Whether its ports carry only the VLANs that they are given; `None` if it
    /// is no bridge, or the kernel has no VLAN filtering.
    pub fn vlan_filtering(&self) -> Option<bool> {
        self.vlan_filtering
    }

    /// An IPv4 setting of it; `None` if it has no IPv4.
    pub fn ipv4_setting(&self, setting: Ipv4Setting) -> Option<u32> {
        self.ipv4.get(setting)
    }

    pub(crate) fn decode(message: &Message<'_>) -> Result<Self, DecodeError> {
        let (&header, attrs) = message.split::<16>()?;
        let [_, _, _, _, i0, i1, i2, i3, f0, f1, f2, f3, ..] = header;
        let index = IfIndex::new(u32::from_ne_bytes([i0, i1, i2, i3]))
            .map_err(|_| DecodeError::Range { what: "ifi_index" })?;
        let mut link = Self {
            index,
            flags: LinkFlags::from_bits_retain(u32::from_ne_bytes([f0, f1, f2, f3])),
            name: Box::default(),
            mac: None,
            mtu: 0,
            group: 0,
            kind: None,
            alias: None,
            master: None,
            parent: None,
            parent_elsewhere: false,
            macvtap: None,
            vlan_filtering: None,
            ipv4: Ipv4Settings::default(),
        };
        // One pass over some sixty attributes, of which these count.
        for attribute in attrs {
            let attribute = attribute?;
            match attribute.kind() {
                kind if kind == IFLA_IFNAME => link.name = text(attribute.payload()),
                kind if kind == IFLA_ADDRESS => {
                    let octets = attribute.payload().try_into().ok();
                    link.mac = octets.and_then(|octets| Mac::new(octets).ok());
                }
                kind if kind == IFLA_MTU => link.mtu = attribute.get(IFLA_MTU)?,
                kind if kind == IFLA_GROUP => link.group = attribute.get(IFLA_GROUP)?,
                kind if kind == IFLA_IFALIAS => link.alias = Some(text(attribute.payload())),
                kind if kind == IFLA_MASTER => {
                    link.master = IfIndex::new(attribute.get(IFLA_MASTER)?).ok();
                }
                kind if kind == IFLA_LINK => link.parent = Some(attribute.get(IFLA_LINK)?),
                kind if kind == IFLA_LINK_NETNSID => link.parent_elsewhere = true,
                kind if kind == IFLA_LINKINFO => {
                    link.kind = attribute.nested().find(IFLA_INFO_KIND)?.map(text);
                    match link.kind() {
                        Some("macvtap") => link.macvtap = macvtap_mode(attribute.nested())?,
                        Some("bridge") => link.vlan_filtering = filtering(attribute.nested())?,
                        _ => {}
                    }
                }
                kind if kind == IFLA_AF_SPEC => {
                    link.ipv4 = Ipv4Settings::decode(attribute.nested())?;
                }
                _ => {}
            }
        }
        Ok(link)
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.index, self.name)
    }
}

/// The body of an `RTM_GETLINK`: of one link, or of all. Statistics are left
/// out, which are two thirds of what the kernel would send.
pub(super) fn encode_get(index: Option<IfIndex>, name: Option<IfName>, out: &mut Writer<'_>) {
    let [i0, i1, i2, i3] = index.map_or(0, IfIndex::get).to_ne_bytes();
    out.fixed(&[0, 0, 0, 0, i0, i1, i2, i3, 0, 0, 0, 0, 0, 0, 0, 0]);
    if let Some(name) = name {
        // With its NUL: the kernel's policy is NLA_STRING, 15 bytes and a NUL.
        let length = name.as_str().len().saturating_add(1);
        out.put(
            IFLA_IFNAME,
            name.as_bytes().get(..length).unwrap_or_default(),
        );
    }
    out.put(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
}

fn macvtap_mode(info: Attrs<'_>) -> Result<Option<MacvtapMode>, DecodeError> {
    let mode = match info.find(IFLA_INFO_DATA)? {
        Some(data) => data.find(IFLA_MACVLAN_MODE)?,
        None => None,
    };
    Ok(mode.map(MacvtapMode::from_number))
}

fn filtering(info: Attrs<'_>) -> Result<Option<bool>, DecodeError> {
    let filtering = match info.find(IFLA_INFO_DATA)? {
        Some(data) => data.find(IFLA_BR_VLAN_FILTERING)?,
        None => None,
    };
    Ok(filtering.map(|value| value != 0))
}

fn text(bytes: &[u8]) -> Box<str> {
    let text = bytes.split(|&byte| byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).into()
}
