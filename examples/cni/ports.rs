//! The capability `portMappings`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use tapwire::route::Rtnl;
use tapwire::{Connection, Elsewhere, Exposure, Flows, Guest, Host, IfName, Protocol, Settings};

use crate::call::{Call, or_nothing};
use crate::config::{Config, PortMapping};
use crate::failure::{Code, Failure};

/// Has ports of the node lead to a pod at these addresses, and those that led
/// there before and are not wanted no longer.
pub(crate) fn open(call: &Call, config: &Config, addresses: &[IpAddr]) -> Result<(), Failure> {
    let wanted = exposures(config, addresses)?;
    if wanted.is_empty() {
        return close(call, config);
    }
    let pod = Elsewhere::new(link_to(addresses)?, addresses.iter().copied())?;
    let guest = Guest::new(call.guest.as_str())?.connection(Connection::Elsewhere(pod));
    let mut host = Host::with(Settings::new(config.owner.clone()))?;
    host.attach(&guest)?;
    for old in current(&mut host, call)? {
        if !wanted.contains(&old) {
            or_nothing(host.withdraw(&old, Flows::Cut))?;
        }
    }
    Ok(host.expose_all(&wanted)?)
}

/// Makes sure that ports lead to a pod as they should.
pub(crate) fn check(call: &Call, config: &Config, addresses: &[IpAddr]) -> Result<(), Failure> {
    let wanted = exposures(config, addresses)?;
    let there = match Host::find(Settings::new(config.owner.clone()))? {
        Some(mut host) => current(&mut host, call)?,
        None => Vec::new(),
    };
    match wanted.iter().find(|one| !there.contains(one)) {
        None => Ok(()),
        Some(missing) => Err(Failure::told(Code::Check, missing, "is not in force")),
    }
}

/// Closes all ports that lead to the guest.
pub(crate) fn close(call: &Call, config: &Config) -> Result<(), Failure> {
    match Host::find(Settings::new(config.owner.clone()))? {
        Some(mut host) => or_nothing(host.detach(call.guest.as_str())),
        None => Ok(()),
    }
}

/// What the mappings say, for a guest with these addresses.
pub(crate) fn exposures(config: &Config, addresses: &[IpAddr]) -> Result<Vec<Exposure>, Failure> {
    let mut exposures = Vec::new();
    for mapping in &config.ports {
        let invalid = |why: &dyn std::fmt::Display| {
            Failure::told(Code::Config, format!("portMappings: {mapping:?}"), why)
        };
        let protocol = protocol(mapping).ok_or_else(|| invalid(&"no such protocol"))?;
        let host = match mapping.host_ip.as_deref() {
            None | Some("") => None,
            Some(text) => Some(text.parse::<IpAddr>().map_err(|error| invalid(&error))?),
        };
        let before = exposures.len();
        for &address in addresses {
            if host.is_some_and(|host| host.is_ipv4() != address.is_ipv4()) {
                continue;
            }
            let guest = SocketAddr::new(address, mapping.container_port);
            let exposure = || Exposure::new(protocol, mapping.host_port, guest);
            if let Some(host) = host.filter(|host| !host.is_unspecified()) {
                exposures.push(exposure()?.on(host)?);
                continue;
            }
            exposures.push(exposure()?);
            if config.loopback && address.is_ipv4() {
                exposures.push(exposure()?.on(Ipv4Addr::LOCALHOST.into())?);
            }
        }
        if exposures.len() == before {
            return Err(invalid(&"the pod has no address of this family"));
        }
    }
    Ok(exposures)
}

/// Those in force that lead to the call's guest.
fn current(host: &mut Host, call: &Call) -> Result<Vec<Exposure>, Failure> {
    let exposed = host.exposures()?;
    let ours = exposed
        .iter()
        .filter(|exposed| exposed.guests().contains(&call.guest));
    Ok(ours.map(|exposed| exposed.exposure().clone()).collect())
}

fn protocol(mapping: &PortMapping) -> Option<Protocol> {
    let text = mapping.protocol.as_deref().unwrap_or("tcp");
    match text.to_ascii_lowercase().as_str() {
        "" | "tcp" => Some(Protocol::Tcp),
        "udp" => Some(Protocol::Udp),
        "sctp" => Some(Protocol::Sctp),
        _ => None,
    }
}

/// The interface by which the node reaches the pod.
fn link_to(addresses: &[IpAddr]) -> Result<IfName, Failure> {
    let mut rtnl = Rtnl::open()?;
    for &address in addresses {
        let index = rtnl.route_to(address)?.and_then(|route| route.index());
        if let Some(index) = index
            && let Some(link) = rtnl.link_at(index)?
        {
            return Ok(link.name().parse()?);
        }
    }
    let why = "the node has no route to the pod";
    Err(Failure::told(Code::TryAgain, "portMappings", why))
}
