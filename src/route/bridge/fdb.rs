//! Forwarding databases: which address is behind which port of a bridge, or
//! behind which end of a tunnel. `linux/neighbour.h`.

use std::fmt;
use std::net::IpAddr;

use super::vlan::AF_BRIDGE;
use crate::types::{IfIndex, Mac};
use crate::wire::uapi::neighbour::{
    NDA_DST, NDA_LLADDR, NDA_VLAN, NTF_MASTER, NTF_SELF, NTF_STICKY, NUD_NOARP, NUD_PERMANENT,
};
use crate::wire::{DecodeError, Fields, Message, Writer};

/// An entry of a forwarding database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FdbEntry {
    index: IfIndex,
    mac: Option<Mac>,
    remote: Option<IpAddr>,
    vlan: Option<u16>,
    state: u16,
    flags: u8,
}

impl FdbEntry {
    /// The bridge sends what is for `mac` by this port of it, and does not
    /// forget it.
    pub fn on_port(port: IfIndex, mac: Mac) -> Self {
        Self {
            index: port,
            mac: Some(mac),
            remote: None,
            vlan: None,
            state: NUD_NOARP,
            flags: NTF_MASTER,
        }
    }

    /// The tunnel sends what is for `mac` to this host.
    pub fn behind(tunnel: IfIndex, mac: Mac, remote: IpAddr) -> Self {
        Self {
            mac: Some(mac),
            ..Self::flood(tunnel, remote)
        }
    }

    /// The tunnel sends what is for many, or for an address that it does not
    /// know, to this host too. There may be several such entries, see
    /// [`Changes::append_fdb`](crate::route::Changes::append_fdb).
    pub fn flood(tunnel: IfIndex, remote: IpAddr) -> Self {
        Self {
            index: tunnel,
            mac: None,
            remote: Some(remote),
            vlan: None,
            state: NUD_NOARP | NUD_PERMANENT,
            flags: NTF_SELF,
        }
    }

    /// Holds for this VLAN only.
    #[must_use]
    pub fn vlan(mut self, id: u16) -> Self {
        self.vlan = Some(id);
        self
    }

    /// Stays on its port also when the address sends by another.
    #[must_use]
    pub fn sticky(mut self) -> Self {
        self.flags |= NTF_STICKY;
        self
    }

    /// The port, or the tunnel.
    pub fn index(&self) -> IfIndex {
        self.index
    }

    /// The address; `None` stands for those that are not known.
    pub fn mac(&self) -> Option<Mac> {
        self.mac
    }

    /// The host at the other end of the tunnel.
    pub fn remote(&self) -> Option<IpAddr> {
        self.remote
    }

    /// The VLAN that it holds for, if it is for one only.
    pub fn vlan_id(&self) -> Option<u16> {
        self.vlan
    }

    /// Whether it was set by hand, for good; the others were learned.
    pub fn is_static(&self) -> bool {
        self.state & (NUD_NOARP | NUD_PERMANENT) != 0
    }

    pub(in crate::route) fn encode(&self, out: &mut Writer<'_>) {
        header(Some(self.index), self.state, self.flags, out);
        let octets = self.mac.map_or([0; 6], Mac::octets);
        out.put(NDA_LLADDR, &octets);
        match self.remote {
            Some(IpAddr::V4(remote)) => out.put(NDA_DST, &remote.octets()),
            Some(IpAddr::V6(remote)) => out.put(NDA_DST, &remote.octets()),
            None => {}
        }
        out.put_some(NDA_VLAN, self.vlan);
    }

    /// Reads an entry; `None` for one of something else than Ethernet.
    pub(in crate::route) fn decode(message: &Message<'_>) -> Result<Option<Self>, DecodeError> {
        let (header, attrs) = message.split::<12>()?;
        let &[family, _, _, _, i0, i1, i2, i3, s0, s1, flags, _] = header;
        let index = IfIndex::new(u32::from_ne_bytes([i0, i1, i2, i3]));
        let fields = Fields::<6>::read(attrs)?;
        let octets = fields
            .get(NDA_LLADDR)?
            .and_then(|it| <[u8; 6]>::try_from(it).ok());
        let (Ok(index), Some(octets), AF_BRIDGE) = (index, octets, family) else {
            return Ok(None);
        };
        let remote = fields.get(NDA_DST)?.and_then(|bytes| {
            let ipv4 = <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from);
            ipv4.or_else(|| <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from))
        });
        Ok(Some(Self {
            index,
            mac: Mac::new(octets).ok(),
            remote,
            vlan: fields.get(NDA_VLAN)?,
            state: u16::from_ne_bytes([s0, s1]),
            flags,
        }))
    }
}

impl fmt::Display for FdbEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.mac {
            Some(mac) => write!(f, "{mac}")?,
            None => f.write_str("00:00:00:00:00:00")?,
        }
        write!(f, " dev {}", self.index)?;
        match self.remote {
            Some(remote) => write!(f, " dst {remote}"),
            None => Ok(()),
        }
    }
}

/// The body of an `RTM_GETNEIGH` that lists the entries of an interface.
pub(in crate::route) fn encode_list(index: IfIndex, out: &mut Writer<'_>) {
    header(Some(index), 0, 0, out);
}

/// `struct ndmsg`.
fn header(index: Option<IfIndex>, state: u16, flags: u8, out: &mut Writer<'_>) {
    let [i0, i1, i2, i3] = index.map_or(0, IfIndex::get).to_ne_bytes();
    let [s0, s1] = state.to_ne_bytes();
    out.fixed(&[AF_BRIDGE, 0, 0, 0, i0, i1, i2, i3, s0, s1, flags, 0]);
}
