//! What every copy of a snapshot believes about its network.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::{Ipv4Net, Ipv6Net};

use super::{Attachment, Connection, GATEWAY_MAC};
use crate::error::Invalid;
use crate::types::{IfName, Mac};

/// What all copies of a snapshot have in common: what the VM in it believes
/// about its network.
///
/// ```
/// use tapwire::{Connection, Guest, Snapshot};
/// let snapshot = Snapshot::new(
///     "tap0".parse()?,
///     "06:00:ac:10:00:02".parse()?,
///     "172.16.0.2/24".parse()?,
///     "172.16.0.1".parse()?,
/// )?;
/// let clone = Guest::new("clone-7")?.connection(Connection::Rewritten(snapshot));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Snapshot {
    tap: IfName,
    mac: Mac,
    ipv4: Ipv4Net,
    gateway_ipv4: Ipv4Addr,
    ipv6: Option<(Ipv6Net, Ipv6Addr)>,
    gateway_mac: Mac,
}

impl Snapshot {
    /// A VM that was snapshotted with this TAP, whose interface has this MAC
    /// address, and IPv4 address with its prefix, and that reaches everything
    /// else by this gateway. It knows the gateway as
    /// [`GATEWAY_MAC`](crate::guest::GATEWAY_MAC), and no IPv6, unless told
    /// otherwise.
    ///
    /// # Errors
    /// [`Invalid`] if an address is none that one interface can have, or if
    /// the gateway is the guest itself, or no neighbour in its network. A
    /// prefix of 32 has none, so its gateway may be anyone.
    pub fn new(tap: IfName, mac: Mac, ipv4: Ipv4Net, gateway: Ipv4Addr) -> Result<Self, Invalid> {
        check_ipv4(ipv4, ipv4.addr(), GUEST_ADDRESS)?;
        check_ipv4(ipv4, gateway, GATEWAY)?;
        if gateway == ipv4.addr() {
            return Err(Invalid::new(GATEWAY, gateway, IS_GUEST));
        }
        if ipv4.prefix_len() < 32 && !ipv4.contains(&gateway) {
            return Err(Invalid::new(GATEWAY, gateway, NO_NEIGHBOUR));
        }
        Ok(Self {
            tap,
            mac,
            ipv4,
            gateway_ipv4: gateway,
            ipv6: None,
            gateway_mac: GATEWAY_MAC,
        })
    }

    /// The VM has this IPv6 address too, with its prefix, and reaches
    /// everything else by this gateway, which may be a link-local address.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn ipv6(self, ipv6: Ipv6Net, gateway: Ipv6Addr) -> Result<Self, Invalid> {
        check_ipv6(ipv6.addr(), GUEST_ADDRESS)?;
        if ipv6.addr().is_unicast_link_local() {
            return Err(Invalid::new(GUEST_ADDRESS, ipv6.addr(), "is link-local"));
        }
        check_ipv6(gateway, GATEWAY)?;
        if gateway == ipv6.addr() {
            return Err(Invalid::new(GATEWAY, gateway, IS_GUEST));
        }
        let is_neighbour = gateway.is_unicast_link_local() || ipv6.contains(&gateway);
        if ipv6.prefix_len() < 128 && !is_neighbour {
            return Err(Invalid::new(GATEWAY, gateway, NO_NEIGHBOUR));
        }
        Ok(Self {
            ipv6: Some((ipv6, gateway)),
            ..self
        })
    }

    /// The VM knows its gateway by this MAC address. A resumed guest goes on
    /// sending there until it asks again.
    #[must_use]
    pub fn gateway_mac(self, mac: Mac) -> Self {
        Self {
            gateway_mac: mac,
            ..self
        }
    }

    /// The snapshot that is taken of a guest that is attached: of a routed
    /// one what it was given, of a clone what it was made from.
    pub fn of(attachment: &Attachment) -> Self {
        match attachment.connection() {
            Connection::Rewritten(snapshot) | Connection::Namespaced(snapshot) => snapshot.clone(),
            Connection::Routed | Connection::Elsewhere(_) => Self {
                tap: attachment.tap,
                mac: attachment.mac,
                ipv4: Ipv4Net::new_assert(attachment.ipv4, attachment.prefix_ipv4()),
                gateway_ipv4: attachment.gateway_ipv4,
                ipv6: Some((
                    Ipv6Net::new_assert(attachment.ipv6, attachment.prefix_ipv6()),
                    attachment.gateway_ipv6,
                )),
                gateway_mac: GATEWAY_MAC,
            },
        }
    }

    /// The TAP's name at the time of the snapshot.
    pub fn tap(&self) -> IfName {
        self.tap
    }

    /// The MAC address of the VM's interface.
    pub fn mac(&self) -> Mac {
        self.mac
    }

    /// The VM's IPv4 address, with the prefix of its network.
    pub fn ipv4_net(&self) -> Ipv4Net {
        self.ipv4
    }

    /// The VM's IPv4 gateway.
    pub fn gateway_ipv4(&self) -> Ipv4Addr {
        self.gateway_ipv4
    }

    /// The VM's IPv6 address, with the prefix of its network.
    pub fn ipv6_net(&self) -> Option<Ipv6Net> {
        self.ipv6.map(|(net, _)| net)
    }

    /// The VM's IPv6 gateway.
    pub fn gateway_ipv6(&self) -> Option<Ipv6Addr> {
        self.ipv6.map(|(_, gateway)| gateway)
    }

    pub(crate) fn without_ipv6(&self) -> Self {
        Self {
            ipv6: None,
            ..self.clone()
        }
    }

    /// The gateway, if it is the host by an address that can be rewritten: of a
    /// link-local one the VM takes answers from the link alone.
    pub(crate) fn translated_gateway_ipv6(&self) -> Option<Ipv6Addr> {
        let gateway = self.gateway_ipv6();
        gateway.filter(|gateway| !gateway.is_unicast_link_local())
    }

    /// The link-local gateway, which the host has to have itself.
    pub(crate) fn link_local_gateway(&self) -> Option<Ipv6Addr> {
        let gateway = self.gateway_ipv6();
        gateway.filter(Ipv6Addr::is_unicast_link_local)
    }

    /// The MAC address by which the VM knows its gateway.
    pub fn current_gateway_mac(&self) -> Mac {
        self.gateway_mac
    }
}

/// `tap0 06:00:ac:10:00:02 172.16.0.2/24 via 172.16.0.1 02:74:77:ff:ff:fe`,
/// and for IPv6 `fd00::2/64 via fe80::1` behind it.
impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            tap,
            mac,
            ipv4,
            gateway_ipv4,
            ipv6,
            gateway_mac,
        } = self;
        write!(f, "{tap} {mac} {ipv4} via {gateway_ipv4} {gateway_mac}")?;
        match ipv6 {
            Some((net, gateway)) => write!(f, " {net} via {gateway}"),
            None => Ok(()),
        }
    }
}

/// From what `Display` prints.
impl FromStr for Snapshot {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let invalid = || {
            let why = "is not as `tap0 MAC ADDRESS/PREFIX via GATEWAY MAC`";
            Invalid::new("snapshot", text, why)
        };
        let words: Vec<&str> = text.split_ascii_whitespace().collect();
        let [tap, mac, ipv4, "via", gateway, gateway_mac, rest @ ..] = words.as_slice() else {
            return Err(invalid());
        };
        let snapshot = Self::new(
            tap.parse()?,
            mac.parse()?,
            ipv4.parse().map_err(|_| invalid())?,
            gateway.parse().map_err(|_| invalid())?,
        )?
        .gateway_mac(gateway_mac.parse()?);
        match rest {
            [] => Ok(snapshot),
            [ipv6, "via", gateway] => snapshot.ipv6(
                ipv6.parse().map_err(|_| invalid())?,
                gateway.parse().map_err(|_| invalid())?,
            ),
            _ => Err(invalid()),
        }
    }
}

fn check_ipv4(net: Ipv4Net, address: Ipv4Addr, what: &'static str) -> Result<(), Invalid> {
    let is_unicast = !(address.is_loopback()
        || address.is_multicast()
        || address.octets()[0] == 0
        || address.octets()[0] >= 240);
    // Networks of one and two addresses have neither (RFC 3021).
    let is_of_all = net.prefix_len() < 31 && [net.network(), net.broadcast()].contains(&address);
    if is_unicast && !is_of_all {
        Ok(())
    } else {
        Err(Invalid::new(what, address, NO_UNICAST))
    }
}

fn check_ipv6(address: Ipv6Addr, what: &'static str) -> Result<(), Invalid> {
    let is_other = address.is_loopback()
        || address.is_multicast()
        || address.is_unspecified()
        || address.to_ipv4_mapped().is_some();
    if is_other {
        Err(Invalid::new(what, IpAddr::from(address), NO_UNICAST))
    } else {
        Ok(())
    }
}

const GUEST_ADDRESS: &str = "address of a snapshot's guest";
const GATEWAY: &str = "gateway of a snapshot's guest";
const IS_GUEST: &str = "is the guest's own address";
const NO_NEIGHBOUR: &str = "is not in the guest's network";
const NO_UNICAST: &str = "is not an address that one interface can have";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Guest, Networks, Owner};

    fn snapshot(ipv4: &str, gateway: &str) -> Result<Snapshot, Invalid> {
        Snapshot::new(
            IfName::new("tap0").unwrap(),
            "06:00:ac:10:00:02".parse().unwrap(),
            ipv4.parse().unwrap(),
            gateway.parse().unwrap(),
        )
    }

    fn with_ipv6(ipv6: &str, gateway: &str) -> Result<Snapshot, Invalid> {
        let snapshot = snapshot("172.16.0.2/24", "172.16.0.1").unwrap();
        snapshot.ipv6(ipv6.parse().unwrap(), gateway.parse().unwrap())
    }

    #[test]
    fn addresses_that_no_guest_can_have_are_refused() {
        for (ipv4, gateway) in [
            ("127.0.0.2/24", "127.0.0.1"),
            ("224.0.0.2/24", "224.0.0.1"),
            ("0.0.0.2/24", "0.0.0.1"),
            ("240.0.0.2/24", "240.0.0.1"),
            ("172.16.0.0/24", "172.16.0.1"),
            ("172.16.0.255/24", "172.16.0.1"),
            ("172.16.0.2/24", "172.16.0.2"),
            ("172.16.0.2/24", "172.16.0.0"),
            ("172.16.0.2/24", "172.16.0.255"),
            ("172.16.0.2/24", "172.16.1.1"),
            ("172.16.0.2/32", "172.16.0.2"),
            ("172.16.0.2/32", "127.0.0.1"),
        ] {
            assert!(snapshot(ipv4, gateway).is_err(), "{ipv4} via {gateway}");
        }
        for (ipv4, gateway) in [
            ("172.16.0.2/24", "172.16.0.1"),
            ("172.16.0.0/31", "172.16.0.1"),
            ("172.16.0.2/32", "169.254.1.1"),
        ] {
            assert!(snapshot(ipv4, gateway).is_ok(), "{ipv4} via {gateway}");
        }
    }

    #[test]
    fn addresses_of_ipv6_that_no_guest_can_have_are_refused() {
        for (ipv6, gateway) in [
            ("::1/64", "fe80::1"),
            ("ff02::1/64", "fe80::1"),
            ("fe80::2/64", "fe80::1"),
            ("::ffff:1.2.3.4/64", "fe80::1"),
            ("fd00::2/64", "fd00::2"),
            ("fd00::2/64", "fd01::1"),
            ("fd00::2/64", "::"),
            ("fd00::2/64", "ff02::2"),
        ] {
            assert!(with_ipv6(ipv6, gateway).is_err(), "{ipv6} via {gateway}");
        }
        for (ipv6, gateway) in [
            ("fd00::2/64", "fd00::1"),
            ("fd00::2/64", "fe80::1"),
            ("fd00::2/128", "fe80::1"),
            ("fd00::2/128", "fd01::1"),
        ] {
            assert!(with_ipv6(ipv6, gateway).is_ok(), "{ipv6} via {gateway}");
        }
    }

    #[test]
    fn a_snapshot_of_a_routed_guest_is_what_it_was_given() {
        let guest = Guest::new("a").unwrap();
        let owner = Owner::new("riklet").unwrap();
        let attachment = Networks::default().attachment(&owner, &guest, 1).unwrap();
        let snapshot = Snapshot::of(&attachment);
        assert_eq!(
            snapshot.to_string(),
            "riklet-1 02:74:77:00:00:01 198.18.0.6/30 via 198.18.0.5 02:74:77:ff:ff:fe \
             fd2c:6b8f:4a10::6/126 via fd2c:6b8f:4a10::5"
        );
        assert_eq!(snapshot.current_gateway_mac(), GATEWAY_MAC);
    }

    #[test]
    fn a_snapshot_reads_what_it_prints() {
        let ipv4 = snapshot("172.16.0.2/32", "169.254.1.1").unwrap();
        let ipv4 = ipv4.gateway_mac("02:00:00:00:00:01".parse().unwrap());
        let both = with_ipv6("fd00::2/64", "fe80::1").unwrap();
        for snapshot in [ipv4, both] {
            assert_eq!(snapshot.to_string().parse(), Ok(snapshot));
        }
        for bad in [
            "",
            "tap0 06:00:ac:10:00:02 172.16.0.2/24 172.16.0.1",
            "tap0 06:00:ac:10:00:02 172.16.0.2/24 via 172.16.0.1",
            "tap0 06:00:ac:10:00:02 172.16.0.2/24 via 172.16.0.1 02:00:00:00:00:01 fd00::2/64",
            "tap0 06:00:ac:10:00:02 172.16.0.2/24 via 172.16.0.2 02:00:00:00:00:01",
        ] {
            assert!(bad.parse::<Snapshot>().is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn a_snapshot_of_a_clone_is_the_one_it_was_made_from() {
        let snapshot = with_ipv6("fd00::2/64", "fe80::1").unwrap();
        let clone = Guest::new("clone")
            .unwrap()
            .connection(Connection::Rewritten(snapshot.clone()));
        let owner = Owner::new("riklet").unwrap();
        let attachment = Networks::default().attachment(&owner, &clone, 0).unwrap();
        assert_eq!(Snapshot::of(&attachment), snapshot);
    }
}
