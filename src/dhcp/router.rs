//! Router advertisements: RFC 4861, routes RFC 4191, names RFC 8106.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::{IpNet, Ipv6Net};

use super::domains;
use super::frame::{self, ALL_NODES, ALL_NODES_MAC, NEIGHBOUR_ADVERTISEMENT, ROUTER_ADVERTISEMENT};
use crate::guest::GuestConfig;
use crate::types::Mac;

/// Whom the advertisements come from.
///
/// A guest takes their sender for its router, which must have a link-local
/// address. A gateway that has another one is advertised under the link-local
/// address that belongs to its MAC address, for which the neighbour
/// solicitations are answered here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Router {
    address: Ipv6Addr,
    mac: Option<Mac>,
    gateway: Option<Ipv6Addr>,
    stands_in: bool,
}

impl Router {
    pub(super) fn of(config: &GuestConfig, server: Mac) -> Self {
        let gateway = config.gateway_ipv6();
        let mac = gateway.and_then(|gateway| config.mac_of_gateway(gateway.into()));
        let nobody = Self {
            address: frame::link_local(server),
            mac: None,
            gateway: None,
            stands_in: false,
        };
        match (gateway, mac) {
            (Some(address), _) if address.is_unicast_link_local() => Self {
                address,
                mac,
                gateway,
                stands_in: false,
            },
            (Some(_), Some(mac)) => Self {
                address: frame::link_local(mac),
                mac: Some(mac),
                gateway,
                stands_in: true,
            },
            _ => nobody,
        }
    }

    /// The default gateway that the guest hears of; `None` if there is none,
    /// or none that can be told.
    pub(super) fn gateway(&self) -> Option<Ipv6Addr> {
        self.gateway
    }

    /// An advertisement for all nodes on the link, in a frame.
    pub(super) fn advertise(&self, config: &GuestConfig, server: Mac) -> Option<Vec<u8>> {
        let lifetime = self.gateway.map_or(0, |_| LIFETIME);
        let managed = config.all_ipv6().next().map_or(0, |_| MANAGED);
        let mut out = vec![ROUTER_ADVERTISEMENT, 0, 0, 0, HOPS, managed | OTHER];
        out.extend(lifetime.to_be_bytes());
        out.extend([0; 8]); // reachable and retransmission times: the guest's own
        if let Some(mac) = self.mac {
            put(&mut out, SOURCE_MAC, &mac.octets())?;
        }
        if config.mtu() >= IPV6_MTU {
            let mut value = vec![0, 0];
            value.extend(config.mtu().to_be_bytes());
            put(&mut out, MTU, &value)?;
        }
        for net in on_link(config) {
            let mut value = vec![net.prefix_len(), ON_LINK];
            value.extend(FOR_EVER.to_be_bytes()); // valid
            value.extend(FOR_EVER.to_be_bytes()); // preferred
            value.extend([0; 4]);
            value.extend(net.network().octets());
            put(&mut out, PREFIX, &value)?;
        }
        for net in self.routes(config) {
            let mut value = vec![net.prefix_len(), 0];
            value.extend(FOR_EVER.to_be_bytes());
            value.extend(net.network().octets());
            put(&mut out, ROUTE, &value)?;
        }
        put_names(&mut out, config)?;
        let macs = [server.octets(), ALL_NODES_MAC];
        frame::icmpv6(macs, self.address, ALL_NODES, out)
    }

    /// The answer to who asks for the address that stands in for a gateway's.
    pub(super) fn neighbour(
        &self,
        asker: Ipv6Addr,
        target: Ipv6Addr,
        config: &GuestConfig,
        server: Mac,
    ) -> Option<Vec<u8>> {
        let mac = self
            .mac
            .filter(|_| self.stands_in && target == self.address)?;
        // A guest that looks for a duplicate of its own does not get here.
        if asker.is_unspecified() {
            return None;
        }
        let mut out = vec![NEIGHBOUR_ADVERTISEMENT, 0, 0, 0];
        out.extend([ROUTER_SOLICITED_OVERRIDE, 0, 0, 0]);
        out.extend(target.octets());
        put(&mut out, TARGET_MAC, &mac.octets())?;
        let macs = [server.octets(), config.mac().octets()];
        frame::icmpv6(macs, self.address, asker, out)
    }

    /// Routes through the router besides the default one.
    fn routes<'a>(&'a self, config: &'a GuestConfig) -> impl Iterator<Item = Ipv6Net> + 'a {
        let routes = config.routes().iter().filter(|route| {
            let by_router = self.gateway.map(IpAddr::V6);
            by_router.is_some() && route.gateway() == by_router
        });
        routes.filter_map(|route| ipv6(route.destination()).filter(|net| net.prefix_len() > 0))
    }
}

/// Prefixes whose addresses are neighbours.
fn on_link(config: &GuestConfig) -> impl Iterator<Item = Ipv6Net> + '_ {
    let of_addresses = config.all_ipv6().filter(|net| net.prefix_len() < 128);
    let direct = config.routes().iter();
    let direct = direct.filter(|route| route.gateway().is_none());
    of_addresses.chain(direct.filter_map(|route| ipv6(route.destination())))
}

fn ipv6(net: IpNet) -> Option<Ipv6Net> {
    match net {
        IpNet::V4(_) => None,
        IpNet::V6(net) => Some(net),
    }
}

fn put_names(out: &mut Vec<u8>, config: &GuestConfig) -> Option<()> {
    let mut servers = vec![0, 0];
    servers.extend(FOR_EVER.to_be_bytes());
    let head = servers.len();
    for server in config.dns_servers() {
        if let IpAddr::V6(server) = server {
            servers.extend(server.octets());
        }
    }
    if servers.len() > head {
        put(out, DNS_SERVERS, &servers)?;
    }
    let names = domains::encode(config.search_domains());
    if !names.is_empty() {
        let mut search = vec![0, 0];
        search.extend(FOR_EVER.to_be_bytes());
        search.extend(names);
        put(out, DNS_SEARCH, &search)?;
    }
    Some(())
}

/// An option, padded to a multiple of 8 bytes, which its length counts.
fn put(out: &mut Vec<u8>, option: u8, value: &[u8]) -> Option<()> {
    let units = value.len().checked_add(2)?.div_ceil(8);
    let end = out.len().checked_add(units.checked_mul(8)?)?;
    out.push(option);
    out.push(u8::try_from(units).ok()?);
    out.extend(value);
    out.resize(end, 0);
    Some(())
}

/// In seconds, of a default router: the longest that RFC 4861 allows. They
/// are sent anew long before it is over.
const LIFETIME: u16 = 9000;
const FOR_EVER: u32 = u32::MAX;
const HOPS: u8 = 64;
/// Addresses are had by DHCPv6.
const MANAGED: u8 = 0x80;
/// Other things are had by DHCPv6.
const OTHER: u8 = 0x40;
/// Neighbours are there; no address is made of the prefix.
const ON_LINK: u8 = 0x80;
const ROUTER_SOLICITED_OVERRIDE: u8 = 0xe0;
/// The smallest that IPv6 allows.
const IPV6_MTU: u32 = 1280;

const SOURCE_MAC: u8 = 1;
const TARGET_MAC: u8 = 2;
const PREFIX: u8 = 3;
const MTU: u8 = 5;
const ROUTE: u8 = 24;
const DNS_SERVERS: u8 = 25;
const DNS_SEARCH: u8 = 31;
