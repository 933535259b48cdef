//! From what a pod's interface has to what a guest must be told.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use super::interface::PodInterface;
use crate::guest::{GuestConfig, GuestRoute};
use crate::route::{Address, NeighbourState, Route, RouteKind};
use crate::wire::uapi::rtnetlink::{RT_TABLE_MAIN, RTPROT_KERNEL};

/// Something of the pod's interface that a [`GuestConfig`] has no place for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum LeftOut {
    /// A route that the guest is not told: it is in another table than the
    /// main one, or drops or refuses packets.
    Route(Route),
    /// A route that the guest is told without its further properties, such as
    /// an MTU of its own.
    Properties(Route),
    /// An address that another host was found to have.
    Duplicate(Address),
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Route(route) => write!(f, "route {route}"),
            Self::Properties(route) => write!(f, "further properties of the route {route}"),
            Self::Duplicate(address) => {
                write!(f, "address {address}, which another host has as well")
            }
        }
    }
}

/// What a guest is told in the place of the pod, and what it is not.
///
/// It makes its own link-local addresses, and what follows from an address by
/// itself (the route to its subnet, routes to its own addresses) is left to
/// it.
pub(crate) fn guest_config(pod: &PodInterface) -> (GuestConfig, Vec<LeftOut>) {
    let mut left_out = Vec::new();
    let mut config = GuestConfig::new(pod.mac(), pod.mtu());
    // The kernel lists the IPv6 address that it was given last first, so the
    // guest's kernel will list them as this one does.
    let (ipv4, ipv6): (Vec<&Address>, Vec<&Address>) = pod
        .addresses()
        .iter()
        .partition(|address| address.net().addr().is_ipv4());
    for address in ipv4.into_iter().chain(ipv6.into_iter().rev()) {
        match own(address) {
            _ if address.dad_failed() => left_out.push(LeftOut::Duplicate(*address)),
            // Without a route to its subnet, others of it are reached as any
            // other is (CNI's `ptp`).
            Some(net) if !is_on_link(&net, pod) => {
                config = config.address(net.addr().into());
            }
            Some(net) => config = config.address(net),
            None => {}
        }
    }
    let mut routes: Vec<&Route> = Vec::new();
    for route in pod.routes() {
        if follows_by_itself(route, &config) {
            continue;
        }
        if route.table_number() != RT_TABLE_MAIN || route.route_kind() != RouteKind::UNICAST {
            left_out.push(LeftOut::Route(*route));
            continue;
        }
        if route.is_partial() {
            left_out.push(LeftOut::Properties(*route));
        }
        routes.push(route);
    }
    // What is on the link before what leads through it; the sort is stable.
    routes.sort_by_key(|route| match route.gateway() {
        None => 0,
        Some(_) if route.destination().prefix_len() > 0 => 1,
        Some(_) => 2,
    });
    for route in routes {
        config = config.route(told(route));
    }
    for neighbour in pod.neighbours() {
        let Some(mac) = neighbour.mac() else {
            continue;
        };
        let is_gateway = |route: &GuestRoute| route.gateway() == Some(neighbour.ip());
        if neighbour.state() == NeighbourState::PERMANENT {
            config = config.neighbour(neighbour.ip(), mac);
        } else if config.routes().iter().any(is_gateway) {
            config = config.gateway_mac(neighbour.ip(), mac);
        }
    }
    (config, left_out)
}

/// The address as the guest gets it; `None` for link-local ones of IPv6. At
/// the other end of a point-to-point address is one host, to which there is a
/// route.
fn own(address: &Address) -> Option<IpNet> {
    match (address.net().addr(), address.peer_address()) {
        (IpAddr::V6(address), _) if address.is_unicast_link_local() => None,
        (own, Some(_)) => Some(own.into()),
        (_, None) => Some(address.net()),
    }
}

/// Whether the pod takes the subnet of an address to be on its link.
fn is_on_link(net: &IpNet, pod: &PodInterface) -> bool {
    pod.routes().iter().any(|route| {
        route.destination() == net.trunc()
            && route.gateway().is_none()
            && route.route_kind() == RouteKind::UNICAST
    })
}

/// Whether the guest's kernel makes this route when it is told an address.
fn follows_by_itself(route: &Route, config: &GuestConfig) -> bool {
    let kind = route.route_kind();
    let (destination, table) = (route.destination(), route.table_number());
    let is_own = kind != RouteKind::UNICAST && table == RT_TABLE_LOCAL;
    let of_every_link = match destination.addr() {
        IpAddr::V4(_) => false,
        IpAddr::V6(address) => address.is_unicast_link_local() || address.is_multicast(),
    };
    let is_subnet = |net: &IpNet| net.trunc() == destination;
    let of_address = route.protocol_number() == RTPROT_KERNEL
        && route.gateway().is_none()
        && config.addresses().iter().any(is_subnet);
    is_own || of_every_link || of_address
}

fn told(route: &Route) -> GuestRoute {
    let mut told = GuestRoute::new(route.destination());
    if let Some(gateway) = route.gateway() {
        told = told.via(gateway);
    }
    if route.is_onlink() {
        told = told.onlink();
    }
    if let Some(source) = route.preferred_source() {
        told = told.source(source);
    }
    let usual = if route.destination().addr().is_ipv6() {
        IPV6_METRIC
    } else {
        0
    };
    match route.metric_number() {
        Some(metric) if metric != usual => told.metric(metric),
        _ => told,
    }
}

/// The metric of an IPv6 route for which none was given
/// (`IP6_RT_PRIO_USER` of `linux/ipv6_route.h`).
const IPV6_METRIC: u32 = 1024;

/// `RT_TABLE_LOCAL` of `linux/rtnetlink.h`, which the kernel keeps.
const RT_TABLE_LOCAL: u32 = 255;
