//! The routed connection: a TAP with the host's address, a small network of
//! its own for each guest.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

use super::{Attachment, Connection, Guest};
use crate::error::Invalid;
use crate::owner::Owner;
use crate::types::Mac;

/// The MAC address of every TAP on the host's side. It is the same
/// everywhere, so that a guest that is resumed from a snapshot elsewhere
/// still knows its gateway.
pub const GATEWAY_MAC: Mac = Mac::known([0x02, 0x74, 0x77, 0xff, 0xff, 0xfe]);

/// Prefix length of a guest's IPv4 network.
pub(super) const PREFIX_IPV4: u8 = 30;

/// Prefix length of a guest's IPv6 network.
pub(super) const PREFIX_IPV6: u8 = 126;

/// Highest number of a TAP: what fits its name behind the longest owner.
const SLOT_MAX: u32 = 99_999;

/// The networks from which each guest gets its own: a /30 of IPv4 and a /126
/// of IPv6 by the number of its TAP. The host has the first address of each,
/// the guest the second.
///
/// The defaults are `198.18.0.0/15` and `fd2c:6b8f:4a10::/64`. The first is set
/// aside for benchmarks (RFC 2544), so it is routable but neither on the
/// internet nor, unlike most of RFC 1918, on people's gateways, Docker's or a
/// cluster's networks; the second is a unique local prefix (RFC 4193).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Networks {
    ipv4: Ipv4Net,
    ipv6: Ipv6Net,
}

impl Networks {
    /// Takes guests' networks from these.
    ///
    /// # Errors
    /// [`Invalid`] if one has no room for a guest, host bits set, or
    /// addresses that are not unicast.
    pub fn new(ipv4: Ipv4Net, ipv6: Ipv6Net) -> Result<Self, Invalid> {
        let invalid4 = |why| Invalid::new("guest network", ipv4, why);
        let invalid6 = |why| Invalid::new("guest network", ipv6, why);
        if ipv4.prefix_len() > PREFIX_IPV4 {
            return Err(invalid4("has no room for a /30"));
        }
        if ipv6.prefix_len() > PREFIX_IPV6 {
            return Err(invalid6("has no room for a /126"));
        }
        if ipv4.addr() != ipv4.network() {
            return Err(invalid4("has host bits set"));
        }
        if ipv6.addr() != ipv6.network() {
            return Err(invalid6("has host bits set"));
        }
        let odd4 = |address: Ipv4Addr| {
            address.is_loopback() || address.is_multicast() || address.octets()[0] == 0
        };
        if odd4(ipv4.network()) || odd4(ipv4.broadcast()) || ipv4.broadcast().octets()[0] >= 240 {
            return Err(invalid4("is not a network of unicast addresses"));
        }
        let odd6 = |address: Ipv6Addr| {
            address.is_loopback()
                || address.is_multicast()
                || address.is_unspecified()
                || address.is_unicast_link_local()
        };
        if odd6(ipv6.network()) || odd6(ipv6.broadcast()) {
            return Err(invalid6("is not a network of routable unicast addresses"));
        }
        Ok(Self { ipv4, ipv6 })
    }

    /// The IPv4 network.
    pub fn ipv4(&self) -> Ipv4Net {
        self.ipv4
    }

    /// The IPv6 network.
    pub fn ipv6(&self) -> Ipv6Net {
        self.ipv6
    }

    /// How many guests find room.
    pub fn guests(&self) -> u32 {
        let room = |bits: u8, prefix: u8| {
            1_u32
                .checked_shl(bits.saturating_sub(prefix).into())
                .unwrap_or(u32::MAX)
        };
        room(PREFIX_IPV4, self.ipv4.prefix_len())
            .min(room(PREFIX_IPV6, self.ipv6.prefix_len()))
            .min(SLOT_MAX.saturating_add(1))
    }

    /// What the guest on TAP number `slot` gets.
    pub(crate) fn attachment(
        &self,
        owner: &Owner,
        guest: &Guest,
        slot: u32,
    ) -> Result<Attachment, Invalid> {
        if slot >= self.guests() {
            return Err(Invalid::new(
                "TAP number",
                slot,
                "lies outside of the guests' networks",
            ));
        }
        let [_, high, middle, low] = slot.to_be_bytes();
        let derived = Mac::new([0x02, 0x74, 0x77, high, middle, low])?;
        let mac = guest.fixed_mac()?.unwrap_or(derived);
        let attachment = Attachment {
            name: guest.name().clone(),
            slot,
            tap: owner.tap(slot)?,
            mac,
            ipv4: self.ipv4_of(slot, 2),
            gateway_ipv4: self.ipv4_of(slot, 1),
            ipv6: self.ipv6_of(slot, 2),
            gateway_ipv6: self.ipv6_of(slot, 1),
            connection: guest.wanted_connection().clone(),
            policy: guest.policy().clone(),
        };
        Ok(match guest.wanted_connection() {
            Connection::Elsewhere(place) => Attachment {
                ipv4: place.ipv4(),
                gateway_ipv4: Ipv4Addr::UNSPECIFIED,
                ipv6: place.ipv6(),
                gateway_ipv6: Ipv6Addr::UNSPECIFIED,
                ..attachment
            },
            _ => attachment,
        })
    }

    fn ipv4_of(&self, slot: u32, host: u32) -> Ipv4Addr {
        let offset = slot.wrapping_mul(4).wrapping_add(host);
        Ipv4Addr::from(u32::from(self.ipv4.network()).wrapping_add(offset))
    }

    fn ipv6_of(&self, slot: u32, host: u128) -> Ipv6Addr {
        let offset = u128::from(slot).wrapping_mul(4).wrapping_add(host);
        Ipv6Addr::from(u128::from(self.ipv6.network()).wrapping_add(offset))
    }
}

impl Default for Networks {
    fn default() -> Self {
        Self {
            ipv4: Ipv4Net::new_assert(Ipv4Addr::new(198, 18, 0, 0), 15),
            ipv6: Ipv6Net::new_assert(Ipv6Addr::new(0xfd2c, 0x6b8f, 0x4a10, 0, 0, 0, 0, 0), 64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(ipv4: &str, ipv6: &str) -> Result<Networks, Invalid> {
        Networks::new(ipv4.parse().unwrap(), ipv6.parse().unwrap())
    }

    #[test]
    fn every_slot_has_its_own_network() {
        let owner = Owner::new("riklet").unwrap();
        let guest = Guest::new("a").unwrap();
        let networks = Networks::default();
        assert_eq!(networks.guests(), 32_768);
        let last = networks.attachment(&owner, &guest, 32_767).unwrap();
        assert_eq!(last.ipv4(), Ipv4Addr::new(198, 19, 255, 254));
        assert_eq!(last.gateway_ipv4(), Ipv4Addr::new(198, 19, 255, 253));
        assert_eq!(last.mac().to_string(), "02:74:77:00:7f:ff");
        assert_eq!(last.ipv6().to_string(), "fd2c:6b8f:4a10::1:fffe");
        assert!(networks.attachment(&owner, &guest, 32_768).is_err());
    }

    #[test]
    fn boot_argument_configures_the_guest() {
        let owner = Owner::new("riklet").unwrap();
        let first = Networks::default()
            .attachment(&owner, &Guest::new("a").unwrap(), 0)
            .unwrap();
        assert_eq!(
            first.boot_argument(),
            "ip=198.18.0.2::198.18.0.1:255.255.255.252::eth0:off"
        );
    }

    #[test]
    fn room_is_limited_by_the_smaller_network_and_the_tap_name() {
        assert_eq!(networks("10.0.0.0/28", "fd00::/64").unwrap().guests(), 4);
        assert_eq!(networks("10.0.0.0/8", "fd00::/124").unwrap().guests(), 4);
        assert_eq!(
            networks("10.0.0.0/8", "fd00::/64").unwrap().guests(),
            100_000
        );
    }

    #[test]
    fn networks_of_other_than_unicast_addresses_are_refused() {
        for (ipv4, ipv6) in [
            ("10.0.0.0/31", "fd00::/64"),
            ("10.0.0.4/24", "fd00::/64"),
            ("127.0.0.0/24", "fd00::/64"),
            ("0.0.0.0/0", "fd00::/64"),
            ("224.0.0.0/16", "fd00::/64"),
            ("10.0.0.0/24", "fd00::/127"),
            ("10.0.0.0/24", "fd00::1/64"),
            ("10.0.0.0/24", "fe80::/64"),
            ("10.0.0.0/24", "ff02::/64"),
        ] {
            assert!(networks(ipv4, ipv6).is_err(), "{ipv4} {ipv6} was taken");
        }
    }
}
