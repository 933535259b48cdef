//! What a guest must be told to take an interface into use, as a value.

mod boot;
mod classless;
mod commands;
mod route;
mod rumprun;
mod unfit;

#[cfg(feature = "dhcp")]
use std::net::Ipv6Addr;
use std::net::{IpAddr, Ipv4Addr};

#[cfg(feature = "dhcp")]
use ipnet::Ipv6Net;
use ipnet::{IpNet, Ipv4Net};

pub use commands::Commands;
pub use route::GuestRoute;
pub use unfit::Unfit;

use crate::error::Invalid;
use crate::types::Mac;

/// The configuration of one interface of a guest: all that its system has to
/// be told, whichever way it is told.
///
/// `Display` shows it as the `ip` commands that would set it up on `eth0`.
///
/// ```
/// use tapwire::guest::{GuestConfig, GuestRoute};
/// let config = GuestConfig::new("02:74:77:00:00:05".parse()?, 1450)
///     .address("10.1.0.5/24".parse().unwrap())
///     .route(GuestRoute::new("0.0.0.0/0".parse().unwrap()).via([10, 1, 0, 1].into()));
/// assert_eq!(config.kernel_argument("eth0".parse()?)?, "ip=10.1.0.5::10.1.0.1:255.255.255.0::eth0:off");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct GuestConfig {
    mac: Mac,
    mtu: u32,
    addresses: Vec<IpNet>,
    routes: Vec<GuestRoute>,
    neighbours: Vec<(IpAddr, Mac)>,
    gateway_macs: Vec<(IpAddr, Mac)>,
    dns: Vec<IpAddr>,
    search: Vec<Box<str>>,
    hostname: Option<Box<str>>,
}

impl GuestConfig {
    /// An interface with this MAC address and this largest packet in bytes
    /// (without the Ethernet header), and nothing else yet.
    pub fn new(mac: Mac, mtu: u32) -> Self {
        Self {
            mac,
            mtu,
            addresses: Vec::new(),
            routes: Vec::new(),
            neighbours: Vec::new(),
            gateway_macs: Vec::new(),
            dns: Vec::new(),
            search: Vec::new(),
            hostname: None,
        }
    }

    /// Has this address; the prefix says which others are on the link.
    #[must_use]
    pub fn address(mut self, address: IpNet) -> Self {
        self.addresses.push(address);
        self
    }

    /// Has this route, behind those that it has already.
    #[must_use]
    pub fn route(mut self, route: GuestRoute) -> Self {
        self.routes.push(route);
        self
    }

    /// Without its default routes, as an interface beside the one that has
    /// them.
    #[must_use]
    pub fn without_default_routes(mut self) -> Self {
        self.routes
            .retain(|route| route.destination().prefix_len() > 0);
        self
    }

    /// Takes this MAC address for a neighbour's without asking.
    #[must_use]
    pub fn neighbour(mut self, address: IpAddr, mac: Mac) -> Self {
        self.neighbours.push((address, mac));
        self
    }

    /// Notes the MAC address that a gateway was seen to have. The guest is
    /// not told; router advertisements for a gateway without a link-local
    /// address are made with it.
    #[must_use]
    pub fn gateway_mac(mut self, address: IpAddr, mac: Mac) -> Self {
        self.gateway_macs.push((address, mac));
        self
    }

    /// Asks this server for names, after those that it has already.
    #[must_use]
    pub fn dns(mut self, server: IpAddr) -> Self {
        self.dns.push(server);
        self
    }

    /// Completes names with this domain.
    ///
    /// # Errors
    /// [`Invalid`] if it is no domain name (RFC 1123).
    pub fn search(mut self, domain: &str) -> Result<Self, Invalid> {
        check_name("search domain", domain)?;
        self.search.push(domain.into());
        Ok(self)
    }

    /// Calls itself so.
    ///
    /// # Errors
    /// [`Invalid`] if it is no host name (RFC 1123) of at most 64 bytes.
    pub fn hostname(mut self, name: &str) -> Result<Self, Invalid> {
        check_name("host name", name)?;
        if name.len() > HOST_NAME_MAX {
            let why = "is longer than 64 bytes";
            return Err(Invalid::new("host name", name, why));
        }
        self.hostname = Some(name.into());
        Ok(self)
    }

    /// Its MAC address.
    pub fn mac(&self) -> Mac {
        self.mac
    }

    /// Its largest packet in bytes, without the Ethernet header.
    pub fn mtu(&self) -> u32 {
        self.mtu
    }

    /// Its addresses of both families.
    pub fn addresses(&self) -> &[IpNet] {
        &self.addresses
    }

    /// Its routes of both families, those that others need first. That a
    /// prefix of an address is on the link goes without saying.
    pub fn routes(&self) -> &[GuestRoute] {
        &self.routes
    }

    /// The neighbours that it does not ask for.
    pub fn neighbours(&self) -> &[(IpAddr, Mac)] {
        &self.neighbours
    }

    /// The MAC address that this gateway has, as far as is known.
    pub fn mac_of_gateway(&self, gateway: IpAddr) -> Option<Mac> {
        let known = self.neighbours.iter().chain(&self.gateway_macs);
        known
            .clone()
            .find_map(|&(address, mac)| (address == gateway).then_some(mac))
    }

    /// Its name servers.
    pub fn dns_servers(&self) -> &[IpAddr] {
        &self.dns
    }

    /// The domains that complete names.
    pub fn search_domains(&self) -> impl Iterator<Item = &str> {
        self.search.iter().map(AsRef::as_ref)
    }

    /// Its name.
    pub fn host_name(&self) -> Option<&str> {
        self.hostname.as_deref()
    }

    /// The first IPv4 address.
    pub fn ipv4(&self) -> Option<Ipv4Net> {
        self.all_ipv4().next()
    }

    pub(crate) fn all_ipv4(&self) -> impl Iterator<Item = Ipv4Net> {
        self.addresses.iter().filter_map(|net| match net {
            IpNet::V4(net) => Some(*net),
            IpNet::V6(_) => None,
        })
    }

    #[cfg(feature = "dhcp")]
    pub(crate) fn all_ipv6(&self) -> impl Iterator<Item = Ipv6Net> {
        self.addresses.iter().filter_map(|net| match net {
            IpNet::V4(_) => None,
            IpNet::V6(net) => Some(*net),
        })
    }

    /// The gateway of the first default route of IPv4.
    pub(crate) fn gateway_ipv4(&self) -> Option<Ipv4Addr> {
        self.default_gateways().find_map(|gateway| match gateway {
            IpAddr::V4(gateway) => Some(gateway),
            IpAddr::V6(_) => None,
        })
    }

    /// The gateway of the first default route of IPv6.
    #[cfg(feature = "dhcp")]
    pub(crate) fn gateway_ipv6(&self) -> Option<Ipv6Addr> {
        self.default_gateways().find_map(|gateway| match gateway {
            IpAddr::V4(_) => None,
            IpAddr::V6(gateway) => Some(gateway),
        })
    }

    fn default_gateways(&self) -> impl Iterator<Item = IpAddr> {
        let default = |route: &&GuestRoute| route.destination().prefix_len() == 0;
        let routes = self.routes.iter().filter(default);
        routes.filter_map(GuestRoute::gateway)
    }

    /// Whether one of the addresses says that this one is on the link.
    pub(crate) fn is_on_link(&self, address: IpAddr) -> bool {
        let link_local = match address {
            IpAddr::V4(_) => false,
            IpAddr::V6(address) => address.is_unicast_link_local(),
        };
        link_local || self.addresses.iter().any(|net| net.contains(&address))
    }
}

/// Words of a name go into kernel arguments and packets as they are.
fn check_name(what: &'static str, name: &str) -> Result<(), Invalid> {
    let letters = |label: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        (1..=63).contains(&label.len()) && label.bytes().all(plain)
    };
    if name.len() > NAME_MAX || !name.split('.').all(letters) {
        let why = "is not made of letters, digits and hyphens between dots";
        return Err(Invalid::new(what, name, why));
    }
    Ok(())
}

/// RFC 1035: 255 bytes on the wire, which are two more than in writing.
const NAME_MAX: usize = 253;

/// `__NEW_UTS_LEN` of `linux/utsname.h`.
const HOST_NAME_MAX: usize = 64;

#[cfg(test)]
mod tests;
