//! The `ip=` argument of a Linux kernel:
//! `Documentation/admin-guide/nfs/nfsroot.rst`.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};

use super::{GuestConfig, Unfit};
use crate::types::IfName;

impl GuestConfig {
    /// The argument by which a Linux kernel with `CONFIG_IP_PNP` configures
    /// its interface `device` before it starts a process.
    ///
    /// The MTU is no part of it (the VMM's device can tell it), nor is the
    /// MAC address.
    ///
    /// # Errors
    /// [`Unfit`] with the first thing that the argument cannot say: the guest
    /// would lack it.
    pub fn kernel_argument(&self, device: IfName) -> Result<String, Unfit> {
        let (address, gateway) = self.one_ipv4()?;
        if !self.search.is_empty() {
            return Err(Unfit::Search);
        }
        let (client, mask) = (address.addr(), address.netmask());
        let gateway = gateway.map_or_else(String::new, |gateway| gateway.to_string());
        let host = self.host_name().unwrap_or_default();
        let mut argument = format!("ip={client}::{gateway}:{mask}:{host}:{device}:off");
        for (place, server) in self.dns.iter().enumerate() {
            if place >= DNS_SERVERS || server.is_ipv6() {
                return Err(Unfit::Dns(*server));
            }
            argument.push(':');
            argument.push_str(&server.to_string());
        }
        Ok(argument)
    }

    /// One address and its gateway, if that is all there is to say.
    pub(super) fn one_ipv4(&self) -> Result<(Ipv4Net, Option<Ipv4Addr>), Unfit> {
        let address = self.ipv4().ok_or(Unfit::NoIpv4)?;
        let is_more = |net: &&IpNet| **net != IpNet::V4(address);
        if let Some(more) = self.addresses.iter().find(is_more) {
            return Err(Unfit::Address(*more));
        }
        let gateway = self.gateway_ipv4();
        if let Some(gateway) = gateway.filter(|gateway| !address.contains(gateway)) {
            return Err(Unfit::GatewayOffLink(gateway));
        }
        let mut defaults = 0_u32;
        for route in &self.routes {
            let default = route.destination().prefix_len() == 0;
            let by_gateway = gateway.is_some() && route.gateway() == gateway.map(IpAddr::V4);
            defaults = defaults.saturating_add(default.into());
            if !default || !by_gateway || defaults > 1 {
                return Err(Unfit::Route(route.destination()));
            }
        }
        match self.neighbours.first() {
            Some(&(neighbour, _)) => Err(Unfit::Neighbour(neighbour)),
            None => Ok((address, gateway)),
        }
    }
}

/// The kernel takes two, and a time server after them.
const DNS_SERVERS: usize = 2;
