//! What the guest may reach, and which way leads there.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::packet::Why;
use super::resolver::Resolvers;
use super::settings::{ProxiedSettings, is_plain};
use crate::error::Error;
use crate::exposure::Protocol;
use crate::guest::Service;
use crate::route::{RouteKind, Rtnl};

/// The guest's policy, asked for each connection and each exchange of
/// datagrams that it begins.
#[derive(Debug)]
pub(super) struct Reach {
    settings: ProxiedSettings,
    resolvers: Resolvers,
    rtnl: Rtnl,
}

/// Where something that the guest begins leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// There, from this address of ours if from a certain one.
    To {
        peer: SocketAddr,
        from: Option<IpAddr>,
    },
    /// To a resolver.
    Resolver(SocketAddr),
    /// Nowhere, for the network says so.
    Unreachable(Why),
    /// Nowhere, for the guest may not.
    Denied,
}

impl Reach {
    pub(super) fn new(settings: ProxiedSettings, resolvers: Resolvers) -> Result<Self, Error> {
        Ok(Self {
            settings,
            resolvers,
            rtnl: Rtnl::open()?,
        })
    }

    pub(super) fn resolvers(&mut self) -> &mut Resolvers {
        &mut self.resolvers
    }

    /// The way of what the guest begins to `to`.
    pub(super) fn way(&mut self, protocol: Protocol, to: SocketAddr) -> Way {
        let ipv4 = to.is_ipv4();
        if to.ip() == self.settings.gateway(ipv4) {
            if to.port() == DNS
                && let Some(resolver) = self.resolvers.present()
            {
                return Way::Resolver(resolver);
            }
            if !self.is_granted(protocol, to.port()) {
                return Way::Denied;
            }
            let loopback: IpAddr = if ipv4 {
                Ipv4Addr::LOCALHOST.into()
            } else {
                Ipv6Addr::LOCALHOST.into()
            };
            let peer = SocketAddr::new(loopback, to.port());
            return Way::To { peer, from: None };
        }
        self.outside(to, |reach| reach.is_granted(protocol, to.port()))
    }

    /// The way of an echo to `to`.
    pub(super) fn echo_way(&mut self, to: IpAddr) -> Way {
        self.outside(SocketAddr::new(to, 0), |_| false)
    }

    fn outside(&mut self, peer: SocketAddr, granted: impl FnOnce(&Self) -> bool) -> Way {
        let (to, ipv4) = (peer.ip(), peer.is_ipv4());
        if !is_plain(to) || to == self.settings.guest(ipv4) {
            return Way::Denied;
        }
        let kind = match self.rtnl.route_to(to) {
            Ok(Some(route)) => route.route_kind(),
            Ok(None) => return Way::Unreachable(Why::Network),
            Err(error) => return way_of_refusal(&error),
        };
        match kind {
            RouteKind::LOCAL if granted(self) => Way::To { peer, from: None },
            RouteKind::UNICAST if self.is_open_to(to) => {
                let egress = self.settings.policy.egress();
                let from = if ipv4 {
                    egress.snat_ipv4().map(IpAddr::from)
                } else {
                    egress.snat_ipv6().map(IpAddr::from)
                };
                Way::To { peer, from }
            }
            _ => Way::Denied,
        }
    }

    fn is_granted(&self, protocol: Protocol, port: u16) -> bool {
        let is_it = |service: &Service| service.protocol() == protocol && service.port() == port;
        self.settings.policy.services().iter().any(is_it)
    }

    fn is_open_to(&self, to: IpAddr) -> bool {
        let prefixes = self.settings.policy.egress().prefixes();
        prefixes.is_none_or(|prefixes| prefixes.iter().any(|prefix| prefix.contains(&to)))
    }
}

/// What a route that refuses packets is to the guest.
fn way_of_refusal(error: &Error) -> Way {
    match error.raw_os_error() {
        Some(libc::EACCES) => Way::Unreachable(Why::Prohibited),
        Some(libc::ENETUNREACH) => Way::Unreachable(Why::Network),
        _ => Way::Unreachable(Why::Host),
    }
}

const DNS: u16 = 53;
