//! A guest whose link is somebody else's.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::error::Invalid;
use crate::types::IfName;

/// Where a guest is whose link, addresses and way to the outside somebody
/// else looks after, as a CNI plugin does: at these addresses, behind this
/// interface of the host.
///
/// ```
/// use tapwire::{Connection, Elsewhere, Guest};
/// let pod = Elsewhere::new("cni0".parse()?, ["10.244.0.5".parse().unwrap()])?;
/// let guest = Guest::new("web-0")?.connection(Connection::Elsewhere(pod));
/// # Ok::<(), tapwire::error::Invalid>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Elsewhere {
    link: IfName,
    ipv4: Option<Ipv4Addr>,
    ipv6: Option<Ipv6Addr>,
}

impl Elsewhere {
    /// A guest at these addresses, one of a family or one of each, to which
    /// the host sends packets by `link`.
    ///
    /// # Errors
    /// [`Invalid`] if there is no address, two of a family, or one to which
    /// nothing can be led from outside: loopback, link-local, multicast,
    /// unspecified.
    pub fn new(link: IfName, addresses: impl IntoIterator<Item = IpAddr>) -> Result<Self, Invalid> {
        let mut place = Self {
            link,
            ipv4: None,
            ipv6: None,
        };
        for address in addresses {
            let invalid = |why| Invalid::new("address of a guest elsewhere", address, why);
            let is_odd = match address {
                IpAddr::V4(address) => address.is_broadcast() || address.is_link_local(),
                IpAddr::V6(address) => address.is_unicast_link_local(),
            };
            if is_odd || address.is_loopback() || address.is_multicast() || address.is_unspecified()
            {
                return Err(invalid("is none that others could reach"));
            }
            let second = match address {
                IpAddr::V4(address) => place.ipv4.replace(address).is_some(),
                IpAddr::V6(address) => place.ipv6.replace(address).is_some(),
            };
            if second {
                return Err(invalid("is the second one of its family"));
            }
        }
        if place.addresses().next().is_none() {
            return Err(Invalid::new("guest elsewhere", link, "has no address"));
        }
        Ok(place)
    }

    /// The interface of the host by which packets reach it.
    pub fn link(&self) -> IfName {
        self.link
    }

    /// Its addresses.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + use<> {
        let ipv6 = self.ipv6.map(IpAddr::from);
        self.ipv4.map(IpAddr::from).into_iter().chain(ipv6)
    }

    /// Its IPv4 address; the unspecified one if it has none.
    pub(super) fn ipv4(&self) -> Ipv4Addr {
        self.ipv4.unwrap_or(Ipv4Addr::UNSPECIFIED)
    }

    /// Its IPv6 address, likewise.
    pub(super) fn ipv6(&self) -> Ipv6Addr {
        self.ipv6.unwrap_or(Ipv6Addr::UNSPECIFIED)
    }
}

/// `elsewhere behind cni0`.
impl fmt::Display for Elsewhere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "elsewhere behind {}", self.link)?;
        let mut addresses = self.addresses();
        addresses.try_for_each(|address| write!(f, " {address}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guest_elsewhere_has_one_address_of_a_family_that_others_can_reach() {
        let at = |addresses: &[&str]| {
            let addresses = addresses.iter().map(|address| address.parse().unwrap());
            Elsewhere::new(IfName::constant("cni0"), addresses)
        };
        let both = at(&["10.244.0.5", "fd00::5"]).unwrap();
        assert_eq!(both.addresses().count(), 2);
        assert_eq!(both.to_string(), "elsewhere behind cni0 10.244.0.5 fd00::5");
        assert_eq!(at(&["fd00::5"]).unwrap().ipv4(), Ipv4Addr::UNSPECIFIED);
        for bad in [
            &[][..],
            &["10.0.0.1", "10.0.0.2"],
            &["127.0.0.1"],
            &["169.254.1.1"],
            &["0.0.0.0"],
            &["255.255.255.255"],
            &["fe80::1"],
            &["ff02::1"],
            &["::1"],
        ] {
            assert!(at(bad).is_err(), "{bad:?}");
        }
    }
}
