//! The take-over, step by step, and back if a step fails.

use super::Bridged;
use super::parts::{self, Joined, Parts};
use super::plan::{BridgePlan, Frames, Queues};
use crate::error::Error;
use crate::route::{Ipv4Setting, Ipv6Setting, LinkChange, Rtnl, set_ipv6_setting};
use crate::sys::TapOptions;
use crate::types::{IfIndex, IfName};

impl BridgePlan {
    /// Puts the guest's TAP in the place of the pod.
    ///
    /// What an earlier attempt has left is completed, and to take over what
    /// is taken over changes nothing. If a step fails, what this call has
    /// made is removed.
    ///
    /// # Errors
    /// [`Error::Conflict`] if the interface is a port of something, or no
    /// longer the one that was read, or if a name is taken;
    /// [`Error::Invalid`] if it is down, or names are not different: nothing
    /// was changed then. [`Error::Refused`], [`Error::System`] if the kernel
    /// refuses a step (`EOPNOTSUPP`: it does not let this kind of interface be
    /// a port; `EBUSY`: a macvlan rests on it).
    pub fn take_over(&self) -> Result<Bridged, Error> {
        let mut rtnl = Rtnl::open()?;
        let found = self.check(&mut rtnl)?;
        let was_port = found.is_joined(&self.pod);
        let mut made = Vec::new();
        let outcome = self.build(&mut rtnl, found, &mut made);
        if outcome.is_err() {
            self.take_back(&mut rtnl, was_port, &made);
        }
        outcome
    }

    /// Removes what was made. Should that fail too, what is left is found
    /// again by the next attempt and by `restore`.
    fn take_back(&self, rtnl: &mut Rtnl, was_port: Joined, made: &[IfIndex]) {
        let undone = rtnl.attempt(|changes| {
            if was_port == Joined::No {
                changes.set_link(&LinkChange::new(self.pod.index()).no_master());
            }
            for &index in made {
                changes.delete_link(index);
            }
        });
        for error in undone.unwrap_or_else(|error| vec![error]) {
            log::error!(
                "take-over of {} is left half-done: {error}",
                self.pod.name()
            );
        }
    }

    fn build(
        &self,
        rtnl: &mut Rtnl,
        found: Parts,
        made: &mut Vec<IfIndex>,
    ) -> Result<Bridged, Error> {
        let (bridge_name, tap_name) = (self.bridge_name()?, self.tap_name()?);
        let pod = self.pod.index();
        let bridge = match found.bridge {
            Some(bridge) => bridge.index(),
            None => self.make_bridge(rtnl, bridge_name, made)?,
        };
        silence(rtnl, bridge, bridge_name)?;
        let tap = match found.tap {
            Some(tap) => tap.index(),
            None => self.make_tap(tap_name, made)?,
        };
        without_ipv6(tap_name)?;
        rtnl.apply(|changes| {
            changes.set_link(&LinkChange::new(tap).master(bridge));
            changes.stop_learning(tap);
            changes.set_link(&LinkChange::new(tap).up());
            changes.set_link(&LinkChange::new(bridge).up());
        })?;
        // As soon as the interface is a port, its frames are the bridge's, and
        // the entry leads them on: together.
        rtnl.apply(|changes| {
            changes.set_link(&LinkChange::new(pod).master(bridge));
            changes.stop_learning(pod);
            changes.lead_to_port(self.pod.mac(), tap);
        })?;
        Ok(Bridged::new(self.pod.clone(), bridge_name, tap_name))
    }

    fn make_bridge(
        &self,
        rtnl: &mut Rtnl,
        name: IfName,
        made: &mut Vec<IfIndex>,
    ) -> Result<IfIndex, Error> {
        let mac = parts::bridge_mac(self.pod.mac());
        rtnl.apply(|changes| changes.add_plain_bridge(name, mac, self.pod.mtu()))?;
        let link = rtnl.link(name)?.ok_or_else(|| Error::Absent {
            kind: "bridge",
            name: name.as_str().into(),
        })?;
        made.push(link.index());
        Ok(link.index())
    }

    fn make_tap(&self, name: IfName, made: &mut Vec<IfIndex>) -> Result<IfIndex, Error> {
        let mut options = TapOptions::new(name)
            .mac(parts::tap_mac(self.pod.mac()))
            .mtu(self.pod.mtu())
            .persistent();
        if self.frames == Frames::WithHeader {
            options = options.vnet_header();
        }
        if self.queues == Queues::Many {
            options = options.multi_queue();
        }
        if let Some(uid) = self.owner {
            options = options.owner(uid);
        }
        if let Some(gid) = self.group {
            options = options.group(gid);
        }
        let index = options.create()?.index()?;
        made.push(index);
        Ok(index)
    }
}

/// Has the pod's system not answer by the bridge for addresses that are the
/// guest's now, and send nothing by it.
fn silence(rtnl: &mut Rtnl, bridge: IfIndex, name: IfName) -> Result<(), Error> {
    rtnl.apply(|changes| changes.set_ipv4(bridge, &[(Ipv4Setting::ArpIgnore, NO_ADDRESS)]))?;
    without_ipv6(name)
}

/// Where the kernel has no IPv6, there is nothing to switch off.
fn without_ipv6(name: IfName) -> Result<(), Error> {
    match set_ipv6_setting(name, Ipv6Setting::DisableIpv6, 1) {
        Err(error) if error.is_not_found() => Ok(()),
        outcome => outcome,
    }
}

/// `arp_ignore`: answer for no address.
const NO_ADDRESS: u32 = 8;
