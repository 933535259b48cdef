//! The two links that make up a take-over, and how they are found again.

use super::interface::PodInterface;
use crate::route::Link;
use crate::types::{IfName, Mac};

/// What there is of a take-over: any part of it may be missing.
#[derive(Debug, Clone, Default)]
pub(super) struct Parts {
    pub(super) bridge: Option<Link>,
    pub(super) tap: Option<Link>,
}

impl Parts {
    pub(super) fn find(links: &[Link], pod: &PodInterface) -> Self {
        Self::of(links, pod.mac())
    }

    /// Finds those that were made for the interface with this MAC address.
    pub(super) fn of(links: &[Link], mac: Mac) -> Self {
        let find = |kind: &str, mac: Mac| {
            let made = |link: &&Link| link.kind() == Some(kind) && link.mac() == Some(mac);
            links.iter().find(made).cloned()
        };
        Self {
            bridge: find("bridge", bridge_mac(mac)),
            tap: find("tun", tap_mac(mac)),
        }
    }

    /// Whether the interface is a port of the bridge.
    pub(super) fn is_joined(&self, pod: &PodInterface) -> Joined {
        match (&self.bridge, pod.link().master()) {
            (Some(bridge), Some(master)) if bridge.index() == master => Joined::Yes,
            _ => Joined::No,
        }
    }

    /// The names of bridge and TAP, if they are joined to the interface.
    pub(super) fn complete(&self, pod: &PodInterface) -> Option<(IfName, IfName)> {
        let (bridge, tap) = (self.bridge.as_ref()?, self.tap.as_ref()?);
        let joined = |link: &Link| link.master() == Some(bridge.index());
        let whole = joined(pod.link()) && joined(tap) && bridge.is_up() && tap.is_up();
        let names = (bridge.name().parse().ok()?, tap.name().parse().ok()?);
        whole.then_some(names)
    }
}

/// Whether an interface is a port of its bridge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Joined {
    Yes,
    No,
}

/// The bridge's own address. It is in no frame, but must not be the guest's.
pub(super) fn bridge_mac(pod: Mac) -> Mac {
    derived(pod, 0x40)
}

/// The TAP's own address at this end, likewise.
pub(super) fn tap_mac(pod: Mac) -> Mac {
    derived(pod, 0x80)
}

/// A locally administered address (IEEE 802, 8.2.2) that differs from `mac`
/// in the bit `mark` of the first byte.
fn derived(mac: Mac, mark: u8) -> Mac {
    let mut octets = mac.octets();
    octets[0] = (octets[0] | LOCAL) ^ mark;
    Mac::known(octets)
}

const LOCAL: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derived_addresses_are_local_unicast_and_all_different() {
        for text in [
            "00:16:3e:00:00:01",
            "02:42:ac:11:00:02",
            "fe:ff:ff:ff:ff:ff",
        ] {
            let pod: Mac = text.parse().unwrap();
            let (bridge, tap) = (bridge_mac(pod), tap_mac(pod));
            assert!(bridge != pod && tap != pod && bridge != tap);
            for mac in [bridge, tap] {
                assert_eq!(Mac::new(mac.octets()), Ok(mac));
                assert_eq!(mac.octets()[0] & LOCAL, LOCAL);
            }
        }
        let [one, other] =
            ["02:00:00:00:00:01", "02:00:00:00:00:02"].map(|mac| mac.parse().unwrap());
        assert_ne!(bridge_mac(one), bridge_mac(other));
    }
}
