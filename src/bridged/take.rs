//! The take-over, step by step, and back if a step fails.

use super::Bridged;
use super::parts::{Joined, Parts};
use super::plan::BridgePlan;
use crate::error::Error;
use crate::pod::{self, Role, without_ipv6};
use crate::route::{
    BridgeOptions, BridgePort, FdbEntry, Ipv4Setting, LinkChange, NewLink, PortOptions, Rtnl,
};
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
        self.build(&mut rtnl, found, &mut made)
            .map_err(|error| error.undone(self.take_back(&mut rtnl, was_port, &made)))
    }

    /// Removes what was made. Should that fail too, what is left is found
    /// again by the next attempt and by `restore`.
    fn take_back(&self, rtnl: &mut Rtnl, was_port: Joined, made: &[IfIndex]) -> Result<(), Error> {
        let refused = rtnl.attempt(|changes| {
            if was_port == Joined::No {
                changes.set_link(&LinkChange::new(self.pod.index()).no_master());
            }
            for &index in made {
                changes.delete_link(index);
            }
        })?;
        refused.into_iter().next().map_or(Ok(()), Err)
    }

    fn build(
        &self,
        rtnl: &mut Rtnl,
        found: Parts,
        made: &mut Vec<IfIndex>,
    ) -> Result<Bridged, Error> {
        let (bridge_name, tap_name) = (self.bridge_name()?, self.tap_name()?);
        let interface = self.pod.index();
        let bridge = match found.bridge {
            Some(bridge) => bridge.index(),
            None => self.make_bridge(rtnl, bridge_name, made)?,
        };
        silence(rtnl, bridge, bridge_name)?;
        let tap = if let Some(tap) = found.tap {
            tap.index()
        } else {
            let mac = pod::derived(self.pod.mac(), Role::BridgedTap);
            let tap = self.tap.make(&self.pod, mac)?;
            made.push(tap);
            tap
        };
        without_ipv6(tap_name)?;
        rtnl.apply(|changes| {
            changes.set_link(&LinkChange::new(tap).master(bridge));
            changes.set_bridge_port(tap, &no_learning());
            changes.set_link(&LinkChange::new(tap).up());
            changes.set_link(&LinkChange::new(bridge).up());
        })?;
        // As soon as the interface is a port, its frames are the bridge's, and
        // the entry leads them on: together.
        rtnl.apply(|changes| {
            changes.set_link(&LinkChange::new(interface).master(bridge));
            changes.set_bridge_port(interface, &no_learning());
            // Also though it is the address of the other port, which the bridge
            // would keep for its own.
            changes.replace_fdb(&FdbEntry::on_port(tap, self.pod.mac()).sticky());
        })?;
        Ok(Bridged::new(self.pod.clone(), bridge_name, tap_name))
    }

    fn make_bridge(
        &self,
        rtnl: &mut Rtnl,
        name: IfName,
        made: &mut Vec<IfIndex>,
    ) -> Result<IfIndex, Error> {
        let mac = pod::derived(self.pod.mac(), Role::Bridge);
        let bridge = NewLink::bridge(name).mac(mac).mtu(self.pod.mtu());
        let bridge = bridge.bridge_options(BridgeOptions::plain());
        rtnl.apply(|changes| changes.add_link(&bridge))?;
        let link = rtnl.link(name)?.ok_or_else(|| Error::Absent {
            kind: "bridge",
            name: name.as_str().into(),
        })?;
        made.push(link.index());
        Ok(link.index())
    }
}

/// What the bridge does not know goes out by the other port.
fn no_learning() -> BridgePort {
    BridgePort::new().off(PortOptions::LEARNING)
}

/// Has the pod's system not answer by the bridge for addresses that are the
/// guest's now, and send nothing by it.
fn silence(rtnl: &mut Rtnl, bridge: IfIndex, name: IfName) -> Result<(), Error> {
    rtnl.apply(|changes| changes.set_ipv4(bridge, &[(Ipv4Setting::ArpIgnore, NO_ADDRESS)]))?;
    without_ipv6(name)
}

/// `arp_ignore`: answer for no address.
const NO_ADDRESS: u32 = 8;
