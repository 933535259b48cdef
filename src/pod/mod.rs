//! What [`bridged`](crate::bridged) and [`redirected`](crate::redirected)
//! have in common: the interface of a pod, what a guest in its place is told,
//! and the guest's TAP.

mod carry;
mod interface;
mod listeners;
mod mac;
mod tap;

pub use carry::LeftOut;
pub(crate) use carry::guest_config;
pub use interface::PodInterface;
pub(crate) use interface::ethernet;
pub(crate) use listeners::listeners;
pub(crate) use mac::{Role, derived};
pub(crate) use tap::{Frames, PodTap, Queues, without_ipv6};

use std::fs;

use crate::error::{Conflict, Error, Invalid};
use crate::route::Link;
use crate::types::IfName;

/// What giving an interface back to its pod found to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Restored {
    /// Something was there and has been removed.
    Removed,
    /// Nothing was there.
    Nothing,
}

/// Finds the link of this kind that was made for the interface.
pub(crate) fn made(links: &[Link], kind: &str, pod: crate::Mac, role: Role) -> Option<Link> {
    let mac = derived(pod, role);
    let made = |link: &&Link| link.kind() == Some(kind) && link.mac() == Some(mac);
    links.iter().find(made).cloned()
}

/// The interface as it is now, if it is still the one that was read, is up,
/// and is a port of nothing but `bridge`.
pub(crate) fn unchanged<'a>(
    links: &'a [Link],
    pod: &PodInterface,
    bridge: Option<&Link>,
) -> Result<&'a Link, Error> {
    let name = pod.name();
    let same = |link: &&Link| {
        link.name() == name.as_str() && link.index() == pod.index() && link.mac() == Some(pod.mac())
    };
    let Some(now) = links.iter().find(same) else {
        let wanted = format!("interface {name} as it was planned for");
        return Err(Conflict::new(wanted, "another, or none").into());
    };
    if let Some(master) = now.master()
        && bridge.map(Link::index) != Some(master)
    {
        let of = links.iter().find(|link| link.index() == master);
        let of = of.map_or_else(|| master.to_string(), |link| link.name().to_owned());
        let wanted = format!("{name} for a guest");
        return Err(Conflict::new(wanted, format!("{of}, which it is a port of")).into());
    }
    if !now.is_up() {
        return Err(Invalid::new("interface", name, "is down").into());
    }
    Ok(now)
}

/// The rules of the namespace that are applied to frames between the ports of
/// a bridge.
pub(crate) fn bridge_netfilter(bridge: IfName) -> Vec<Conflict> {
    let is_on = |path| fs::read_to_string(path).is_ok_and(|text| text.trim() != "0");
    [(false, IPTABLES), (true, IP6TABLES)]
        .into_iter()
        .filter(|&(_, path)| is_on(path))
        .map(|(ipv6, _)| Conflict::BridgeNetfilter { bridge, ipv6 })
        .collect()
}

/// Makes sure that a name is that of the part, if it was made, and else free.
pub(crate) fn free(
    links: &[Link],
    pod: &PodInterface,
    (kind, wanted): (&str, IfName),
    part: Option<&Link>,
) -> Result<(), Conflict> {
    let taken = links.iter().find(|link| link.name() == wanted.as_str());
    let holder = match (part, taken) {
        (Some(part), _) if part.name() != wanted.as_str() => {
            format!("{}, which was made for {}", part.name(), pod.name())
        }
        (None, Some(link)) => format!("another interface of that name ({link})"),
        _ => return Ok(()),
    };
    Err(Conflict::new(format!("{kind} {wanted}"), holder))
}

const IPTABLES: &str = "/proc/sys/net/bridge/bridge-nf-call-iptables";
const IP6TABLES: &str = "/proc/sys/net/bridge/bridge-nf-call-ip6tables";
