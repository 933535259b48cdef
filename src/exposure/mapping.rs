//! One port of the host and where it leads: what the kernel knows of an
//! exposure.

use std::hash::{Hash, Hasher};
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;

use super::Protocol;

/// One port of the host, on one or all of its addresses of a family, that
/// leads to one port of one guest. Small and on the stack: an exposure is one
/// of these or many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Mapping {
    pub(crate) protocol: Protocol,
    pub(crate) host_address: Option<IpAddr>,
    pub(crate) host_port: NonZeroU16,
    pub(crate) guest_address: IpAddr,
    pub(crate) guest_port: NonZeroU16,
}

impl Mapping {
    /// Where it leads.
    pub(crate) fn guest(&self) -> SocketAddr {
        SocketAddr::new(self.guest_address, self.guest_port.get())
    }

    /// The side of the layout that it is on: the family, and whether it is for
    /// one host address.
    pub(crate) fn side(&self) -> (bool, bool) {
        (self.guest_address.is_ipv4(), self.host_address.is_some())
    }

    /// What only one exposure of a host can have: the same without its target.
    pub(crate) fn key(&self) -> Key {
        Key {
            protocol: self.protocol,
            ipv4: self.guest_address.is_ipv4(),
            host_address: self.host_address,
            host_port: self.host_port,
        }
    }
}

/// The host's side of an exposure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Key {
    protocol: Protocol,
    ipv4: bool,
    host_address: Option<IpAddr>,
    host_port: NonZeroU16,
}

/// In two words: many keys are looked up for one change.
impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let address = match self.host_address {
            None => 0,
            Some(IpAddr::V4(address)) => u128::from(address.to_bits()),
            Some(IpAddr::V6(address)) => address.to_bits(),
        };
        let [high, low] = self.host_port.get().to_be_bytes();
        let rest = [self.protocol.number(), u8::from(self.ipv4), high, low];
        state.write_u128(address);
        state.write_u32(u32::from_be_bytes(rest));
    }
}

impl Key {
    /// The key of a port of one host address, or of all of a family's.
    pub(crate) fn new(
        protocol: Protocol,
        ipv4: bool,
        host_address: Option<IpAddr>,
        host_port: NonZeroU16,
    ) -> Self {
        Self {
            protocol,
            ipv4,
            host_address,
            host_port,
        }
    }

    /// The port, leading there. `None` for port 0 of the guest.
    pub(crate) fn to(&self, guest: SocketAddr) -> Option<Mapping> {
        Some(Mapping {
            protocol: self.protocol,
            host_address: self.host_address,
            host_port: self.host_port,
            guest_address: guest.ip(),
            guest_port: NonZeroU16::new(guest.port())?,
        })
    }

    /// The same port for packets of the other family.
    pub(crate) fn of_other_family(&self) -> Self {
        Self {
            ipv4: !self.ipv4,
            ..*self
        }
    }

    /// The keys of the exposures that a packet to this address and port can
    /// meet, the one that decides first. `None` for port 0.
    pub(crate) fn reached_at(protocol: Protocol, address: IpAddr, port: u16) -> Option<[Self; 2]> {
        let key = |host_address| {
            Some(Self {
                protocol,
                ipv4: address.is_ipv4(),
                host_address,
                host_port: NonZeroU16::new(port)?,
            })
        };
        Some([key(Some(address))?, key(None)?])
    }

    /// Whether it is that of an exposure on a loopback address.
    pub(crate) fn is_on_loopback(&self) -> bool {
        self.host_address
            .is_some_and(|address| address.is_loopback())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(host: Option<&str>, port: u16) -> Key {
        Key {
            protocol: Protocol::Udp,
            ipv4: true,
            host_address: host.map(|address| address.parse().unwrap()),
            host_port: NonZeroU16::new(port).unwrap(),
        }
    }

    #[test]
    fn exact_address_is_looked_for_before_all_addresses() {
        let keys = Key::reached_at(Protocol::Udp, "203.0.113.1".parse().unwrap(), 53).unwrap();
        assert_eq!(keys, [key(Some("203.0.113.1"), 53), key(None, 53)]);
        assert_eq!(
            Key::reached_at(Protocol::Udp, [203, 0, 113, 1].into(), 0),
            None
        );
    }

    #[test]
    fn target_is_no_part_of_the_key() {
        let to = |guest: &str| Mapping {
            protocol: Protocol::Tcp,
            host_address: None,
            host_port: NonZeroU16::MIN,
            guest_address: guest.parse().unwrap(),
            guest_port: NonZeroU16::MIN,
        };
        assert_eq!(to("198.18.0.2").key(), to("198.18.0.6").key());
        assert_ne!(to("198.18.0.2").key(), to("fd00::2").key());
    }
}
