//! A workload's ports as exposures of an attached guest.

use std::net::{IpAddr, SocketAddr};

use tapwire::error::Invalid;
use tapwire::{Attachment, Destination, Exposure, Protocol, Target};

use crate::support::workload::{Protocol as Spoken, Workload};

/// The exposures that the definition asks for, over IPv4 and IPv6 each.
pub(crate) fn exposures(
    workload: &Workload,
    attachment: &Attachment,
) -> Result<Vec<Exposure>, Invalid> {
    let mut exposures = Vec::new();
    for port in workload.exposures() {
        let protocol = match port.protocol() {
            Spoken::Tcp => Protocol::Tcp,
            Spoken::Udp => Protocol::Udp,
        };
        add(
            &mut exposures,
            protocol,
            (port.port(), port.target_port()),
            attachment,
        )?;
    }
    Ok(exposures)
}

/// The same for TCP and UDP, whichever of them the definition names.
pub(crate) fn exposures_of_both_protocols(
    workload: &Workload,
    attachment: &Attachment,
) -> Result<Vec<Exposure>, Invalid> {
    let mut exposures = Vec::new();
    for ports in ports(workload) {
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            add(&mut exposures, protocol, ports, attachment)?;
        }
    }
    Ok(exposures)
}

/// The ports of the node, each with the function's port that it leads to.
pub(crate) fn ports(workload: &Workload) -> Vec<(u16, u16)> {
    let mut ports: Vec<_> = workload
        .exposures()
        .iter()
        .map(|port| (port.port(), port.target_port()))
        .collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

/// The two addresses of a guest.
pub(crate) fn addresses(attachment: &Attachment) -> [IpAddr; 2] {
    [attachment.ipv4().into(), attachment.ipv6().into()]
}

/// What a port of the node is called: `tcp 8080 → 80`.
pub(crate) fn words(exposure: &Exposure) -> String {
    let (protocol, ports) = (exposure.protocol(), exposure.host_ports());
    let target = exposure.targets().first().map_or(0, Target::port);
    match exposure.host_addresses() {
        [] => format!("{protocol} {ports} → {target}"),
        [address, ..] => {
            let host = SocketAddr::new(*address, ports.first());
            format!("{protocol} {host} → {target}")
        }
    }
}

/// Where an exposure leads, if it tells an address.
pub(crate) fn address(exposure: &Exposure) -> Option<IpAddr> {
    match exposure.targets().first()?.guest() {
        Destination::Address(address) => Some(*address),
        _ => None,
    }
}

fn add(
    exposures: &mut Vec<Exposure>,
    protocol: Protocol,
    (port, target): (u16, u16),
    attachment: &Attachment,
) -> Result<(), Invalid> {
    for address in addresses(attachment) {
        let exposure = Exposure::new(protocol, port, SocketAddr::new(address, target))?;
        if !exposures.contains(&exposure) {
            exposures.push(exposure);
        }
    }
    Ok(())
}
