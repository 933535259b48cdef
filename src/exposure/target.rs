//! Where an exposure leads.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use super::ports::Ports;
use crate::error::Invalid;
use crate::guest::{Attachment, GuestName};

/// A guest's port: by an address of the guest, or by the guest's name and so
/// by the addresses that it has, IPv4 and IPv6.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Target {
    guest: Destination,
    port: u16,
}

/// A guest, as a [`Target`] tells it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Destination {
    /// One of its addresses; only packets of that family are led there.
    Address(IpAddr),
    /// Its name: packets of either family are led to it.
    Name(GuestName),
}

impl Target {
    /// Port `port` of the guest of this name.
    pub fn of(guest: GuestName, port: u16) -> Self {
        Self {
            guest: Destination::Name(guest),
            port,
        }
    }

    /// The guest.
    pub fn guest(&self) -> &Destination {
        &self.guest
    }

    /// Its port; of a range the first.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether packets of this family are led there.
    pub fn serves(&self, ipv4: bool) -> bool {
        match &self.guest {
            Destination::Address(address) => address.is_ipv4() == ipv4,
            Destination::Name(_) => true,
        }
    }

    pub(super) fn check(&self) -> Result<(), Invalid> {
        if let Destination::Address(address) = self.guest {
            let of_no_guest = address.is_unspecified() || address.is_loopback();
            if of_no_guest || !super::is_unicast(address) {
                let why = "is no address of a guest";
                return Err(Invalid::new("guest address", address, why));
            }
        }
        Ok(())
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => write!(f, "{address}"),
            Self::Name(name) => write!(f, "{name}"),
        }
    }
}

impl From<SocketAddr> for Target {
    fn from(address: SocketAddr) -> Self {
        Self {
            guest: Destination::Address(address.ip()),
            port: address.port(),
        }
    }
}

impl From<(&Attachment, u16)> for Target {
    fn from((guest, port): (&Attachment, u16)) -> Self {
        Self::of(guest.name.clone(), port)
    }
}

/// Which of several guests a new connection is led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
#[non_exhaustive]
pub enum Balance {
    /// One after the other.
    #[default]
    RoundRobin,
    /// By the client's address: the same client, the same guest, as long as
    /// the guests are the same.
    Source,
}

/// `NAME:PORTS`, `ADDRESS:PORTS`, `[ADDRESS]:PORTS`, as part of an exposure.
pub(super) fn read(text: &str) -> Result<(Target, Ports), Invalid> {
    let invalid = || Invalid::new("target", text, "is not of the form 198.18.0.2:80");
    let (guest, ports) = text.rsplit_once(':').ok_or_else(invalid)?;
    let ports = Ports::read("guest port", ports)?;
    let inner = guest
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let guest = match (inner, guest.parse()) {
        (Some(inner), _) => Destination::Address(IpAddr::V6(inner.parse().map_err(|_| invalid())?)),
        (None, Ok(address)) => Destination::Address(IpAddr::V4(address)),
        (None, Err(_)) => Destination::Name(GuestName::from_str(guest)?),
    };
    let port = ports.first();
    Ok((Target { guest, port }, ports))
}

/// A target as it is written with its first port.
pub(super) struct Single<'t>(pub(super) &'t Target);

impl fmt::Display for Single<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write(f, self.0, self.0.port)
    }
}

/// What [`read`] reads.
pub(super) fn write(
    f: &mut fmt::Formatter<'_>,
    target: &Target,
    ports: impl fmt::Display,
) -> fmt::Result {
    match &target.guest {
        Destination::Address(IpAddr::V6(address)) => write!(f, "[{address}]:{ports}"),
        Destination::Address(IpAddr::V4(address)) => write!(f, "{address}:{ports}"),
        Destination::Name(name) => write!(f, "{name}:{ports}"),
    }
}
