//! One route of a guest.

use std::net::IpAddr;

use ipnet::IpNet;

/// A route as a guest is told it; it leaves by the interface that it is told
/// with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct GuestRoute {
    destination: IpNet,
    gateway: Option<IpAddr>,
    metric: Option<u32>,
    source: Option<IpAddr>,
    onlink: Onlink,
}

/// Whether a gateway is taken for a neighbour though no address says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Onlink {
    Yes,
    No,
}

impl GuestRoute {
    /// A route to neighbours on the link.
    pub fn new(destination: IpNet) -> Self {
        Self {
            destination,
            gateway: None,
            metric: None,
            source: None,
            onlink: Onlink::No,
        }
    }

    /// Leads to a gateway.
    #[must_use]
    pub fn via(mut self, gateway: IpAddr) -> Self {
        self.gateway = Some(gateway);
        self
    }

    /// Takes the gateway for a neighbour, whatever its address.
    #[must_use]
    pub fn onlink(mut self) -> Self {
        self.onlink = Onlink::Yes;
        self
    }

    /// Of several routes to one destination the one with the lowest metric is
    /// used.
    #[must_use]
    pub fn metric(mut self, metric: u32) -> Self {
        self.metric = Some(metric);
        self
    }

    /// What the guest sends along it comes from this address of it.
    #[must_use]
    pub fn source(mut self, source: IpAddr) -> Self {
        self.source = Some(source);
        self
    }

    /// The destination.
    pub fn destination(&self) -> IpNet {
        self.destination
    }

    /// The gateway; `None` if the destination is on the link.
    pub fn gateway(&self) -> Option<IpAddr> {
        self.gateway
    }

    /// Its metric.
    pub fn metric_number(&self) -> Option<u32> {
        self.metric
    }

    /// The source address of what the guest sends along it.
    pub fn preferred_source(&self) -> Option<IpAddr> {
        self.source
    }

    /// Whether the gateway is taken for a neighbour, whatever its address.
    pub fn is_onlink(&self) -> bool {
        self.onlink == Onlink::Yes
    }
}
