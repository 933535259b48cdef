//! A port of the host leads to a port of a guest.

mod layout;

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU16;
use std::str::FromStr;

pub(crate) use layout::{
    Layout, exposure_element, exposure_key, read_exposure, read_guard, read_uplink,
};

use crate::error::Invalid;

/// A transport protocol that can be exposed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Protocol {
    /// TCP (RFC 9293).
    Tcp,
    /// UDP (RFC 768).
    Udp,
}

impl Protocol {
    /// The number that IANA assigned: 6 or 17.
    pub fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
        }
    }

    /// The protocol of this number, if it can be exposed.
    pub fn from_number(number: u8) -> Option<Self> {
        [Self::Tcp, Self::Udp]
            .into_iter()
            .find(|protocol| protocol.number() == number)
    }
}

impl FromStr for Protocol {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        [Self::Tcp, Self::Udp]
            .into_iter()
            .find(|protocol| protocol.to_string() == text)
            .ok_or_else(|| Invalid::new("protocol", text, "is neither tcp nor udp"))
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// A port of the host that leads to a port of a guest, on all addresses of
/// the host or on one.
///
/// The guest's address decides the family: an exposure of an IPv6 guest
/// address listens on the host's IPv6 addresses. All addresses are those that
/// others can reach: the host's loopback addresses are its own, but for an
/// exposure on the very address (`127.0.0.1`), which serves processes on the
/// host only.
///
/// Written `tcp/8080->198.18.0.2:80`, or with the host's address
/// `udp/203.0.113.1:53->198.18.0.2:53`.
///
/// ```
/// use tapwire::{Exposure, Protocol};
/// let web = Exposure::new(Protocol::Tcp, 8080, "198.18.0.2:80".parse()?)?;
/// assert_eq!(web.to_string(), "tcp/8080->198.18.0.2:80");
/// assert_eq!("tcp/8080->198.18.0.2:80".parse(), Ok(web));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Exposure {
    protocol: Protocol,
    host_address: Option<IpAddr>,
    host_port: NonZeroU16,
    guest_address: IpAddr,
    guest_port: NonZeroU16,
}

impl Exposure {
    /// Leads `host_port` of every host address in the guest's family to
    /// `guest`.
    ///
    /// # Errors
    /// [`Invalid`] for port 0 and for a guest address that is no unicast
    /// address of another host.
    pub fn new(protocol: Protocol, host_port: u16, guest: SocketAddr) -> Result<Self, Invalid> {
        let guest_address = guest.ip();
        let of_no_guest = guest_address.is_unspecified() || guest_address.is_loopback();
        if of_no_guest || !is_unicast(guest_address) {
            return Err(Invalid::new(
                "guest address",
                guest_address,
                "is no address of a guest",
            ));
        }
        Ok(Self {
            protocol,
            host_address: None,
            host_port: port("host port", host_port)?,
            guest_address,
            guest_port: port("guest port", guest.port())?,
        })
    }

    /// Narrows it down to one address of the host; the unspecified address
    /// (`0.0.0.0`, `::`) means all.
    ///
    /// # Errors
    /// [`Invalid`] for an address of the other family (the kernel translates
    /// between addresses of one family only) and for `::1` (it does not
    /// translate the answers back), for both of which there is the `Relay` of
    /// the feature `relay`; for a multicast or broadcast address.
    pub fn on(self, host_address: IpAddr) -> Result<Self, Invalid> {
        let invalid = |why| Invalid::new("host address", host_address, why);
        if host_address.is_ipv4() != self.guest_address.is_ipv4() {
            return Err(invalid(
                "is not of the guest address's family (a relay can join the two)",
            ));
        }
        if host_address == Ipv6Addr::LOCALHOST {
            return Err(invalid(
                "cannot be translated back by the kernel (a relay can serve it)",
            ));
        }
        if !is_unicast(host_address) {
            return Err(invalid("is a multicast or broadcast address"));
        }
        Ok(Self {
            host_address: Some(host_address).filter(|address| !address.is_unspecified()),
            ..self
        })
    }

    /// The transport protocol.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// The host's address; `None` means all of the guest's family.
    pub fn host_address(&self) -> Option<IpAddr> {
        self.host_address
    }

    /// The host's port.
    pub fn host_port(&self) -> u16 {
        self.host_port.get()
    }

    /// Where it leads.
    pub fn guest(&self) -> SocketAddr {
        SocketAddr::new(self.guest_address, self.guest_port.get())
    }

    /// What only one exposure of a host can have: the same exposure without
    /// its target.
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    protocol: Protocol,
    ipv4: bool,
    host_address: Option<IpAddr>,
    host_port: NonZeroU16,
}

impl Key {
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

impl FromStr for Exposure {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let invalid = || {
            Invalid::new(
                "exposure",
                text,
                "is not of the form tcp/8080->198.18.0.2:80",
            )
        };
        let (protocol, rest) = text.split_once('/').ok_or_else(invalid)?;
        let (host, guest) = rest.split_once("->").ok_or_else(invalid)?;
        let guest = guest.parse().map_err(|_| invalid())?;
        if let Ok(host) = host.parse::<SocketAddr>() {
            return Self::new(protocol.parse()?, host.port(), guest)?.on(host.ip());
        }
        Self::new(
            protocol.parse()?,
            host.parse().map_err(|_| invalid())?,
            guest,
        )
    }
}

impl fmt::Display for Exposure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/", self.protocol)?;
        match self.host_address {
            Some(address) => write!(f, "{}", SocketAddr::new(address, self.host_port.get()))?,
            None => write!(f, "{}", self.host_port)?,
        }
        write!(f, "->{}", self.guest())
    }
}

fn port(what: &'static str, number: u16) -> Result<NonZeroU16, Invalid> {
    NonZeroU16::new(number).ok_or_else(|| Invalid::new(what, number, "is not between 1 and 65535"))
}

fn is_unicast(address: IpAddr) -> bool {
    let broadcast = matches!(address, IpAddr::V4(address) if address.is_broadcast());
    !(address.is_multicast() || broadcast)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notation_reads_what_it_prints() {
        for text in [
            "tcp/8080->198.18.0.2:80",
            "udp/203.0.113.1:53->198.18.0.2:5353",
            "tcp/65535->[fd00::2]:1",
            "udp/[2001:db8::1]:53->[fd00::2]:53",
            "tcp/127.0.0.1:8080->198.18.0.2:80",
        ] {
            assert_eq!(text.parse::<Exposure>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn unspecified_host_address_means_all() {
        let exposure: Exposure = "tcp/0.0.0.0:8080->198.18.0.2:80".parse().unwrap();
        assert_eq!(exposure.to_string(), "tcp/8080->198.18.0.2:80");
    }

    #[test]
    fn each_bad_exposure_is_refused_by_name() {
        for (text, error) in [
            (
                "tcp/0->198.18.0.2:80",
                "host port \"0\" is not between 1 and 65535",
            ),
            (
                "tcp/8080->198.18.0.2:0",
                "guest port \"0\" is not between 1 and 65535",
            ),
            (
                "tcp/[2001:db8::1]:80->198.18.0.2:80",
                "host address \"2001:db8::1\" is not of the guest address's family (a relay can join the two)",
            ),
            (
                "tcp/[::1]:80->[fd00::2]:80",
                "host address \"::1\" cannot be translated back by the kernel (a relay can serve it)",
            ),
            (
                "tcp/224.0.0.1:80->198.18.0.2:80",
                "host address \"224.0.0.1\" is a multicast or broadcast address",
            ),
            (
                "tcp/80->224.0.0.1:80",
                "guest address \"224.0.0.1\" is no address of a guest",
            ),
            (
                "tcp/80->0.0.0.0:80",
                "guest address \"0.0.0.0\" is no address of a guest",
            ),
            (
                "icmp/80->198.18.0.2:80",
                "protocol \"icmp\" is neither tcp nor udp",
            ),
            (
                "tcp/65536->198.18.0.2:80",
                "exposure \"tcp/65536->198.18.0.2:80\" is not of the form tcp/8080->198.18.0.2:80",
            ),
        ] {
            assert_eq!(text.parse::<Exposure>().unwrap_err().to_string(), error);
        }
    }

    #[test]
    fn exact_address_is_looked_for_before_all_addresses() {
        let key = |text: &str| text.parse::<Exposure>().unwrap().key();
        let keys = Key::reached_at(Protocol::Udp, "203.0.113.1".parse().unwrap(), 53).unwrap();
        let exact = key("udp/203.0.113.1:53->198.18.0.2:53");
        assert_eq!(keys, [exact, key("udp/53->198.18.0.2:53")]);
    }

    #[test]
    fn target_is_no_part_of_the_key() {
        let key = |text: &str| text.parse::<Exposure>().unwrap().key();
        assert_eq!(key("tcp/80->198.18.0.2:80"), key("tcp/80->198.18.0.6:81"));
        assert_ne!(key("tcp/80->198.18.0.2:80"), key("udp/80->198.18.0.2:80"));
        assert_ne!(key("tcp/80->198.18.0.2:80"), key("tcp/80->[fd00::2]:80"));
        assert_ne!(
            key("tcp/80->198.18.0.2:80"),
            key("tcp/203.0.113.1:80->198.18.0.2:80")
        );
    }
}
