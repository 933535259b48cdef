//! What is to be done, before anything is.

use std::fmt;
use std::fs;

use super::carry::{self, LeftOut};
use super::interface::PodInterface;
use super::parts::{self, Parts};
use crate::error::{Conflict, Error, Invalid};
use crate::guest::GuestConfig;
use crate::route::{Link, Rtnl};
use crate::types::IfName;

/// How a pod's interface would be taken over; [`take_over`](Self::take_over)
/// does it.
///
/// `Display` lists the steps in the words of `ip`, then what the guest would
/// be told, then what it would not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BridgePlan {
    pub(super) pod: PodInterface,
    pub(super) bridge: Option<IfName>,
    pub(super) tap: Option<IfName>,
    pub(super) owner: Option<u32>,
    pub(super) group: Option<u32>,
    pub(super) frames: Frames,
    pub(super) queues: Queues,
}

/// What precedes each frame on the TAP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Frames {
    Plain,
    WithHeader,
}

/// How many descriptors the TAP takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Queues {
    One,
    Many,
}

impl BridgePlan {
    /// Takes this interface over, with a bridge `twbrN` and a TAP `twtapN`,
    /// where N is the interface's index.
    pub fn new(pod: PodInterface) -> Self {
        Self {
            pod,
            bridge: None,
            tap: None,
            owner: None,
            group: None,
            frames: Frames::Plain,
            queues: Queues::One,
        }
    }

    /// Calls the bridge so.
    #[must_use]
    pub fn bridge(mut self, name: IfName) -> Self {
        self.bridge = Some(name);
        self
    }

    /// Calls the TAP so.
    #[must_use]
    pub fn tap(mut self, name: IfName) -> Self {
        self.tap = Some(name);
        self
    }

    /// This user may open the TAP without `CAP_NET_ADMIN`.
    #[must_use]
    pub fn tap_owner(mut self, uid: u32) -> Self {
        self.owner = Some(uid);
        self
    }

    /// Members of this group may open the TAP without `CAP_NET_ADMIN`.
    #[must_use]
    pub fn tap_group(mut self, gid: u32) -> Self {
        self.group = Some(gid);
        self
    }

    /// Each frame on the TAP carries a `virtio_net_hdr` before it. (Which
    /// offloads are used is the VMM's to say, by `TUNSETOFFLOAD`; the bridge
    /// passes all of them on, and the kernel does what the other side cannot.)
    #[must_use]
    pub fn vnet_header(mut self) -> Self {
        self.frames = Frames::WithHeader;
        self
    }

    /// The TAP takes several queues.
    #[must_use]
    pub fn multi_queue(mut self) -> Self {
        self.queues = Queues::Many;
        self
    }

    /// The interface that is taken over.
    pub fn pod(&self) -> &PodInterface {
        &self.pod
    }

    /// What the guest would be told.
    pub fn config(&self) -> GuestConfig {
        carry::guest_config(&self.pod).0
    }

    /// What the guest would not be told.
    pub fn left_out(&self) -> Vec<LeftOut> {
        carry::guest_config(&self.pod).1
    }

    /// What others have or do that touches the guest's packets without
    /// preventing the take-over: bridge netfilter, by which the rules of the
    /// pod's namespace are applied to them.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the interface's name makes no name for a bridge.
    pub fn conflicts(&self) -> Result<Vec<Conflict>, Error> {
        let bridge = self.bridge_name()?;
        let is_on = |path| fs::read_to_string(path).is_ok_and(|text| text.trim() != "0");
        Ok([(false, IPTABLES), (true, IP6TABLES)]
            .into_iter()
            .filter(|&(_, path)| is_on(path))
            .map(|(ipv6, _)| Conflict::BridgeNetfilter { bridge, ipv6 })
            .collect())
    }

    pub(super) fn bridge_name(&self) -> Result<IfName, Invalid> {
        let made = || format!("twbr{}", self.pod.index()).parse();
        self.bridge.map_or_else(made, Ok)
    }

    pub(super) fn tap_name(&self) -> Result<IfName, Invalid> {
        let made = || format!("twtap{}", self.pod.index()).parse();
        self.tap.map_or_else(made, Ok)
    }

    /// Looks for what makes it impossible; gives the parts that are there
    /// already, from an attempt that was cut short or completed.
    pub(super) fn check(&self, rtnl: &mut Rtnl) -> Result<Parts, Error> {
        let (bridge, tap) = (self.bridge_name()?, self.tap_name()?);
        let name = self.pod.name();
        if bridge == tap || bridge == name || tap == name {
            let why = "is to be that of two links";
            return Err(Invalid::new("interface name", tap, why).into());
        }
        let links = rtnl.links()?;
        let now = links.iter().find(|link| link.name() == name.as_str());
        let same =
            |link: &&Link| link.index() == self.pod.index() && link.mac() == Some(self.pod.mac());
        let Some(now) = now.filter(same) else {
            let wanted = format!("interface {name} as it was planned for");
            return Err(Conflict::new(wanted, "another, or none").into());
        };
        let parts = Parts::find(&links, &self.pod);
        if let Some(master) = now.master()
            && parts.bridge.as_ref().map(Link::index) != Some(master)
        {
            let of = links.iter().find(|link| link.index() == master);
            let of = of.map_or_else(|| master.to_string(), |link| link.name().to_owned());
            let wanted = format!("{name} as a port of {bridge}");
            return Err(Conflict::new(wanted, format!("{of}, which it is a port of")).into());
        }
        if !now.is_up() {
            return Err(Invalid::new("interface", name, "is down").into());
        }
        for (wanted, part, kind) in [(bridge, &parts.bridge, "bridge"), (tap, &parts.tap, "TAP")] {
            let taken = links.iter().find(|link| link.name() == wanted.as_str());
            match (part, taken) {
                (Some(part), _) if part.name() != wanted.as_str() => {
                    let holder = format!("{}, which was made for {name}", part.name());
                    return Err(Conflict::new(format!("{kind} {wanted}"), holder).into());
                }
                (None, Some(link)) => {
                    let holder = format!("another interface of that name ({link})");
                    return Err(Conflict::new(format!("{kind} {wanted}"), holder).into());
                }
                _ => {}
            }
        }
        Ok(parts)
    }
}

impl fmt::Display for BridgePlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Ok(bridge), Ok(tap)) = (self.bridge_name(), self.tap_name()) else {
            return f.write_str("no names\n");
        };
        let (name, mac, mtu) = (self.pod.name(), self.pod.mac(), self.pod.mtu());
        let (own, port) = (parts::bridge_mac(mac), parts::tap_mac(mac));
        writeln!(
            f,
            "add bridge {bridge} address {own} mtu {mtu}: no STP, no snooping, no IP"
        )?;
        writeln!(f, "add TAP {tap} address {port} mtu {mtu} master {bridge}")?;
        writeln!(
            f,
            "set {name} master {bridge}: its addresses and routes stay, unused"
        )?;
        writeln!(f, "lead {mac} to {tap}: the guest's from now on")?;
        f.write_str("the guest is told:\n")?;
        for line in self.config().to_string().lines() {
            writeln!(f, "  {line}")?;
        }
        self.left_out()
            .iter()
            .try_for_each(|left_out| writeln!(f, "the guest is not told: {left_out}"))
    }
}

const IPTABLES: &str = "/proc/sys/net/bridge/bridge-nf-call-iptables";
const IP6TABLES: &str = "/proc/sys/net/bridge/bridge-nf-call-ip6tables";
