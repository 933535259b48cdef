//! Addresses of interfaces: `RTM_NEWADDR` and its kin, `rtnetlink(7)`.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressScope,
};

use crate::IfIndex;
use crate::error::Invalid;
use crate::wire::{DecodeError, Message, Writer};

use super::codec::{emit, family_of, parse};
use super::kinds::Scope;

/// An IP address of an interface.
///
/// ```
/// use tapwire::{IfIndex, route::Address};
/// let address = Address::new(IfIndex::new(7)?, "198.51.100.1/30".parse().unwrap());
/// assert_eq!(address.to_string(), "198.51.100.1/30 dev 7");
/// # Ok::<(), tapwire::error::Invalid>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Address {
    index: IfIndex,
    net: IpNet,
    peer: Option<IpAddr>,
    scope: Scope,
    /// Those of [`KNOWN_FLAGS`].
    flags: AddressFlags,
}

impl Address {
    /// The address of `net` on the interface; the prefix length says which
    /// destinations the kernel then routes there.
    pub fn new(index: IfIndex, net: IpNet) -> Self {
        Self {
            index,
            net,
            peer: None,
            scope: natural_scope(net.addr()),
            flags: AddressFlags::empty(),
        }
    }

    /// Makes it a point-to-point address: the prefix is then the peer's, not
    /// the own address's.
    #[must_use]
    pub fn peer(mut self, peer: IpAddr) -> Self {
        self.peer = Some(peer);
        self
    }

    /// Sets how far the address is valid. Left alone it is the host for
    /// loopback addresses, the link for `fe80::/10`, else everywhere. The
    /// kernel sets the scope of IPv6 addresses itself.
    #[must_use]
    pub fn scope(mut self, scope: Scope) -> Self {
        self.scope = scope;
        self
    }

    /// Uses an IPv6 address at once, without duplicate address detection
    /// (`IFA_F_NODAD`), which takes a second. IPv4 has none.
    #[must_use]
    pub fn without_dad(mut self) -> Self {
        let has_dad = self.net.addr().is_ipv6();
        self.flags.set(AddressFlags::Nodad, has_dad);
        self
    }

    /// Routes nothing to the interface because of the address
    /// (`IFA_F_NOPREFIXROUTE`, ip-address(8)).
    #[must_use]
    pub fn without_prefix_route(mut self) -> Self {
        self.flags |= AddressFlags::Noprefixroute;
        self
    }

    /// The interface.
    pub fn index(&self) -> IfIndex {
        self.index
    }

    /// The address with its prefix length.
    pub fn net(&self) -> IpNet {
        self.net
    }

    /// The address at the other end, if it is a point-to-point address.
    pub fn peer_address(&self) -> Option<IpAddr> {
        self.peer
    }

    /// How far the address is valid.
    pub fn address_scope(&self) -> Scope {
        self.scope
    }

    /// Whether duplicate address detection is skipped.
    pub fn skips_dad(&self) -> bool {
        self.flags.contains(AddressFlags::Nodad)
    }

    /// Whether it cannot be used yet, while duplicates are looked for.
    pub fn is_tentative(&self) -> bool {
        self.flags.contains(AddressFlags::Tentative)
    }

    /// Whether another host was found to have it, so that it is not used.
    pub fn dad_failed(&self) -> bool {
        self.flags.contains(AddressFlags::Dadfailed)
    }

    pub(crate) fn check(&self) -> Result<(), Invalid> {
        match self.peer {
            Some(peer) if peer.is_ipv4() != self.net.addr().is_ipv4() => Err(Invalid::new(
                "peer address",
                peer,
                "is of another family than the address",
            )),
            _ => Ok(()),
        }
    }

    pub(crate) fn encode(&self, out: &mut Writer<'_>) {
        let address = self.net.addr();
        let mut message = AddressMessage::default();
        message.header.family = family_of(address);
        message.header.prefix_len = self.net.prefix_len();
        message.header.scope = AddressScope::from(self.scope.number());
        message.header.index = self.index.get();
        message.attributes = vec![
            AddressAttribute::Local(address),
            AddressAttribute::Address(self.peer.unwrap_or(address)),
        ];
        let settable = AddressFlags::Nodad | AddressFlags::Noprefixroute;
        let flags = self.flags & settable;
        if flags == AddressFlags::Nodad {
            message.header.flags = AddressHeaderFlags::Nodad;
        } else if !flags.is_empty() {
            // More than the header has room for.
            message.attributes.push(AddressAttribute::Flags(flags));
        }
        emit(out, &message);
    }

    pub(crate) fn decode(message: &Message<'_>) -> Result<Self, DecodeError> {
        let message: AddressMessage = parse(message, "address")?;
        let index = IfIndex::new(message.header.index)
            .map_err(|_| DecodeError::Range { what: "ifa_index" })?;
        let (mut local, mut address) = (None, None);
        let mut flags = AddressFlags::from_bits_retain(message.header.flags.bits().into());
        for attribute in message.attributes {
            match attribute {
                AddressAttribute::Local(ip) => local = Some(ip),
                AddressAttribute::Address(ip) => address = Some(ip),
                AddressAttribute::Flags(all) => flags = all,
                _ => {}
            }
        }
        let own = local.or(address).ok_or(DecodeError::Malformed {
            what: "address without an address",
        })?;
        let net = IpNet::new(own, message.header.prefix_len).map_err(|_| DecodeError::Range {
            what: "prefix length",
        })?;
        Ok(Self {
            index,
            net,
            peer: address.filter(|&address| address != own),
            scope: Scope::from_number(message.header.scope.into()),
            flags: flags & KNOWN_FLAGS,
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.peer {
            Some(peer) => {
                let (own, length) = (self.net.addr(), self.net.prefix_len());
                write!(f, "{own} peer {peer}/{length} dev {}", self.index)
            }
            None => write!(f, "{} dev {}", self.net, self.index),
        }
    }
}

/// The flags that an [`Address`] tells of.
const KNOWN_FLAGS: AddressFlags = AddressFlags::Nodad
    .union(AddressFlags::Noprefixroute)
    .union(AddressFlags::Tentative)
    .union(AddressFlags::Dadfailed);

/// What `ip` and the kernel take for granted.
fn natural_scope(address: IpAddr) -> Scope {
    match address {
        _ if address.is_loopback() => Scope::HOST,
        IpAddr::V6(address) if address.is_unicast_link_local() => Scope::LINK,
        _ => Scope::UNIVERSE,
    }
}
