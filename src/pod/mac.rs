//! MAC addresses by which what was made for an interface is found again.

use crate::types::Mac;

/// What an address belongs to; all differ in the first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// The bridge that joins interface and TAP.
    Bridge,
    /// The TAP on that bridge.
    BridgedTap,
    /// The TAP of an interface that is redirected.
    RedirectedTap,
    /// The TAP of a guest on a segment.
    SegmentTap,
}

/// A locally administered address (IEEE 802, 8.2.2), made from that of an
/// interface. It is in no frame, but must not be the guest's.
pub(crate) fn derived(mac: Mac, role: Role) -> Mac {
    let mark = match role {
        Role::Bridge => 0x40,
        Role::BridgedTap => 0x80,
        Role::RedirectedTap => 0x20,
        Role::SegmentTap => 0x10,
    };
    let mut octets = mac.octets();
    octets[0] = (octets[0] | LOCAL) ^ mark;
    Mac::known(octets)
}

const LOCAL: u8 = 2;

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn derived_addresses_are_local_unicast_and_all_different() {
        for text in [
            "00:16:3e:00:00:01",
            "02:42:ac:11:00:02",
            "fe:ff:ff:ff:ff:ff",
        ] {
            let pod: Mac = text.parse().unwrap();
            let roles = [
                Role::Bridge,
                Role::BridgedTap,
                Role::RedirectedTap,
                Role::SegmentTap,
            ];
            let all = roles.map(|role| derived(pod, role));
            assert!(!all.contains(&pod));
            let different: HashSet<Mac> = all.into_iter().collect();
            assert_eq!(different.len(), roles.len());
            for mac in all {
                assert_eq!(Mac::new(mac.octets()), Ok(mac));
                assert_eq!(mac.octets()[0] & LOCAL, LOCAL);
            }
        }
        let [one, other] = ["02:00:00:00:00:01", "02:00:00:00:00:02"]
            .map(|mac| derived(mac.parse().unwrap(), Role::Bridge));
        assert_ne!(one, other);
    }
}
