//! Functions on this machine, for a real VMM: up, list, down.

use tapwire::sys::has_net_admin;
use tapwire::{Attachment, Error, Exposure, Flows, Guest, Host, Owner, Settings};

use crate::support::workload::Workload;
use crate::{Failure, function, say};

/// Attaches functions and exposes their ports; prints what a VMM needs.
///
/// A function that is up already is left as it is, but for ports that its
/// definition no longer names or names now.
pub(crate) fn up(workloads: &[Workload]) -> Result<(), Failure> {
    check_rights()?;
    let mut host = Host::open(Owner::new(OWNER)?)?;
    for workload in workloads {
        let was_up = host
            .guests()?
            .iter()
            .any(|guest| guest.name() == workload.name());
        let attachment = host.attach(&Guest::new(workload.name())?)?;
        if let Err(error) = expose(&mut host, workload, &attachment) {
            if !was_up {
                // The first error is the one to tell.
                drop(host.detach(workload.name()));
            }
            return Err(error);
        }
        print_for_vmm(workload, &attachment)?;
    }
    Ok(())
}

/// Shows what is up.
pub(crate) fn list() -> Result<(), Failure> {
    let topology = match open_if_present()? {
        Some(mut host) => Some(host.topology()?),
        None => None,
    };
    match topology {
        Some(topology) if !topology.guests().is_empty() => say(topology.tree()),
        _ => say("no function is up"),
    }
}

/// Takes away one function with its ports and flows, and with the last one
/// everything else.
pub(crate) fn down(name: &str) -> Result<(), Failure> {
    let absent = || Error::Absent {
        kind: "function",
        name: name.into(),
    };
    let mut host = open_if_present()?.ok_or_else(absent)?;
    if !host.guests()?.iter().any(|guest| guest.name() == name) {
        return Err(absent().into());
    }
    host.detach(name)?;
    if host.guests()?.is_empty() {
        host.remove()?;
    }
    say(format_args!("{name} is down"))?;
    Ok(())
}

/// Takes away everything, the owner's tables included.
pub(crate) fn down_all() -> Result<(), Failure> {
    if let Some(mut host) = open_if_present()? {
        let guests = host.guests()?;
        host.remove()?;
        for guest in &guests {
            say(format_args!("{} is down", guest.name()))?;
        }
    }
    say(format_args!("nothing of {OWNER} is left"))?;
    Ok(())
}

/// Opens what is there; who only looks or takes away makes nothing.
fn open_if_present() -> Result<Option<Host>, Failure> {
    check_rights()?;
    Ok(Host::find(Settings::new(Owner::new(OWNER)?))?)
}

fn check_rights() -> Result<(), Failure> {
    if has_net_admin()? {
        return Ok(());
    }
    Err("this machine's network is not yours to change: be root, or have CAP_NET_ADMIN".into())
}

/// Makes the function's exposures those of its definition.
fn expose(host: &mut Host, workload: &Workload, attachment: &Attachment) -> Result<(), Failure> {
    let wanted = function::exposures(workload, attachment)?;
    let addresses = function::addresses(attachment);
    let present: Vec<Exposure> = host
        .exposures()?
        .iter()
        .map(|exposed| exposed.exposure().clone())
        .filter(|exposure| {
            function::address(exposure).is_some_and(|address| addresses.contains(&address))
        })
        .collect();
    for exposure in present.iter().filter(|exposure| !wanted.contains(exposure)) {
        host.withdraw(exposure, Flows::Cut)?;
    }
    // Also what is there already: an agent that was killed may not have come
    // to end the older flows that pass it by.
    for exposure in &wanted {
        host.expose(exposure)?;
    }
    Ok(())
}

fn print_for_vmm(workload: &Workload, attachment: &Attachment) -> Result<(), Failure> {
    let ports = function::exposures(workload, attachment)?;
    let mut words: Vec<String> = ports.iter().map(function::words).collect();
    words.dedup();
    say(workload.name())?;
    for (what, value) in [
        ("root file system", workload.rootfs().to_owned()),
        ("TAP", attachment.tap().to_string()),
        ("guest's MAC", attachment.mac().to_string()),
        (
            "guest's IPv4",
            format!("{}/{}", attachment.ipv4(), attachment.prefix_ipv4()),
        ),
        ("    gateway", attachment.gateway_ipv4().to_string()),
        (
            "guest's IPv6",
            format!("{}/{}", attachment.ipv6(), attachment.prefix_ipv6()),
        ),
        ("    gateway", attachment.gateway_ipv6().to_string()),
        ("node's ports", words.join(", ")),
        ("boot argument", attachment.boot_argument()),
    ] {
        say(format_args!("  {what:17} {value}"))?;
    }
    say("  for Firecracker")?;
    say(format_args!("    {}\n", firecracker(attachment)))?;
    Ok(())
}

/// The member of Firecracker's configuration file that makes the interface.
fn firecracker(attachment: &Attachment) -> String {
    let (mac, tap) = (attachment.mac(), attachment.tap());
    format!(
        r#""network-interfaces": [{{"iface_id":"eth0","guest_mac":"{mac}","host_dev_name":"{tap}"}}]"#
    )
}

/// Under this name the functions are kept, so only these are ever touched.
const OWNER: &str = "riklet";
