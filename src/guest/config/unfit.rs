//! Why a way to tell a guest its configuration does not suffice.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

/// What a way to tell a guest its configuration cannot say. Another way can:
/// DHCP and router advertisements, or the commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Unfit {
    /// There is no IPv4 address to tell.
    #[error("there is no IPv4 address")]
    NoIpv4,
    /// There is more than one address.
    #[error("address {0} is one too many")]
    Address(IpNet),
    /// The default gateway is on the link, but not in the address's prefix.
    #[error("gateway {0} is not in the subnet of the address")]
    GatewayOffLink(Ipv4Addr),
    /// There is a route besides the default one, or one with a property that
    /// cannot be said.
    #[error("route to {0} cannot be told")]
    Route(IpNet),
    /// There is a neighbour whose MAC address is to be told.
    #[error("neighbour {0} cannot be told")]
    Neighbour(IpAddr),
    /// There is a name server that has no place.
    #[error("name server {0} cannot be told")]
    Dns(IpAddr),
    /// There are domains that complete names.
    #[error("search domains cannot be told")]
    Search,
    /// There is a name for the guest itself.
    #[error("the host name cannot be told")]
    Hostname,
}
