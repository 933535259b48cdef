//! What exposures want of the host.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use super::ports::Ports;
use crate::conflict::HostPort;
use crate::exposure::Exposure;

/// Ports of one address, or of all of a family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) protocol: u8,
    pub(crate) ipv4: bool,
    address: Option<IpAddr>,
    ports: RangeInclusive<u16>,
}

impl Wanted {
    /// What an exposure wants: for each family and each address.
    pub(crate) fn of(exposure: &Exposure) -> Vec<Self> {
        let wanted = |ipv4, address| Self {
            protocol: exposure.protocol().number(),
            ipv4,
            address,
            ports: exposure.host_ports().range(),
        };
        let addresses = exposure.host_addresses();
        if addresses.is_empty() {
            let families = [true, false].into_iter();
            let served = families.filter(|&ipv4| exposure.serves(ipv4));
            return served.map(|ipv4| wanted(ipv4, None)).collect();
        }
        let each = addresses.iter();
        each.map(|&address| wanted(address.is_ipv4(), Some(address)))
            .collect()
    }

    /// Whether only processes on the host reach it.
    pub(super) fn is_on_loopback(&self) -> bool {
        self.address.is_some_and(|address| address.is_loopback())
    }

    pub(super) fn ports(&self) -> Ports {
        Ports::new(*self.ports.start(), *self.ports.end())
    }

    /// The port of this number, if it is one of them.
    pub(crate) fn port_at(&self, number: u16) -> Option<HostPort> {
        let port = self.port(number);
        self.ports.contains(&number).then_some(port)
    }

    pub(super) fn port(&self, port: u16) -> HostPort {
        HostPort {
            protocol: self.protocol,
            ipv4: self.ipv4,
            address: self.address,
            port,
        }
    }
}
