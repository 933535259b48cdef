//! Classless static routes of DHCP: RFC 3442.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};

use super::GuestConfig;

impl GuestConfig {
    /// The IPv4 routes as the value of DHCP's option 121, the default route
    /// included (a client that takes this option passes over the router
    /// option). Empty if there are none.
    ///
    /// A gateway that is on the link though no prefix says so gets a route of
    /// its own before the first that leads to it. Metrics and source
    /// addresses have no place in it.
    pub fn classless_routes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (destination, router) in self.ipv4_routes() {
            bytes.push(destination.prefix_len());
            let significant = destination.prefix_len().div_ceil(8).into();
            bytes.extend(destination.network().octets().iter().take(significant));
            bytes.extend(router.octets());
        }
        bytes
    }

    /// Destinations and gateways; `0.0.0.0` for what is on the link.
    fn ipv4_routes(&self) -> Vec<(Ipv4Net, Ipv4Addr)> {
        let mut routes: Vec<(Ipv4Net, Ipv4Addr)> = Vec::new();
        for route in &self.routes {
            let IpNet::V4(destination) = route.destination() else {
                continue;
            };
            let gateway = match route.gateway() {
                None => Ipv4Addr::UNSPECIFIED,
                Some(IpAddr::V4(gateway)) => gateway,
                Some(IpAddr::V6(_)) => continue, // DHCP has no word for it
            };
            let on_link =
                |net: &(Ipv4Net, Ipv4Addr)| net.1.is_unspecified() && net.0.contains(&gateway);
            let is_reachable = gateway.is_unspecified()
                || self.is_on_link(gateway.into())
                || routes.iter().any(on_link);
            if !is_reachable {
                routes.push((gateway.into(), Ipv4Addr::UNSPECIFIED));
            }
            routes.push((destination.trunc(), gateway));
        }
        routes
    }
}
