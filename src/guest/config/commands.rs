//! A configuration in the words of `ip`.

use std::fmt;

use super::GuestConfig;
use crate::types::IfName;

/// The `ip` commands that configure an interface of a guest, one to a line.
#[derive(Debug, Clone, Copy)]
pub struct Commands<'a> {
    config: &'a GuestConfig,
    device: IfName,
}

impl GuestConfig {
    /// The commands that configure the guest's interface `device`.
    pub fn commands(&self, device: IfName) -> Commands<'_> {
        Commands {
            config: self,
            device,
        }
    }
}

impl fmt::Display for Commands<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { config, device } = self;
        let (mac, mtu) = (config.mac, config.mtu);
        writeln!(f, "ip link set {device} address {mac} mtu {mtu} up")?;
        for net in &config.addresses {
            // Whoever had it before has found that nobody else has, and routes
            // can name it as their source at once.
            let at_once = if net.addr().is_ipv6() { " nodad" } else { "" };
            writeln!(f, "ip address add {net} dev {device}{at_once}")?;
        }
        for (address, mac) in &config.neighbours {
            writeln!(
                f,
                "ip neighbour replace {address} lladdr {mac} dev {device}"
            )?;
        }
        for route in &config.routes {
            let destination = route.destination();
            let family = if destination.addr().is_ipv6() {
                "-6 "
            } else {
                ""
            };
            write!(f, "ip {family}route add {destination}")?;
            match route.gateway() {
                Some(gateway) if gateway.is_ipv6() && destination.addr().is_ipv4() => {
                    write!(f, " via inet6 {gateway}")?;
                }
                Some(gateway) => write!(f, " via {gateway}")?,
                None => {}
            }
            write!(f, " dev {device}")?;
            if route.is_onlink() {
                f.write_str(" onlink")?;
            }
            if let Some(metric) = route.metric_number() {
                write!(f, " metric {metric}")?;
            }
            if let Some(source) = route.preferred_source() {
                write!(f, " src {source}")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for GuestConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.commands(DEVICE).fmt(f)
    }
}

/// The first interface of a guest, as Linux calls it.
const DEVICE: IfName = IfName::constant("eth0");
