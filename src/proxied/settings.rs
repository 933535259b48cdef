//! What a proxy is opened with.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use crate::error::Invalid;
use crate::guest::{Connection, Guest, GuestName, Policy};
use crate::relay::ProxyProtocol;
use crate::types::Mac;

/// What a [`Proxied`](crate::Proxied) is opened with: the guest, and what may
/// differ from the defaults.
///
/// The guest's services and egress are heeded; its egress address is the one
/// that its connections are bound to. Of the other things that a [`Guest`] can
/// have, peers and rates have no place here and are refused.
///
/// ```
/// use tapwire::{Guest, ProxiedSettings};
/// let guest = Guest::new("hello-world")?.service("tcp/3000".parse()?);
/// let settings = ProxiedSettings::new(&guest)
///     .resolvers(["192.0.2.53:53".parse()?])
///     .connections(4096);
/// assert_eq!(settings.boot_argument(), "ip=198.18.0.2::198.18.0.1:255.255.255.252::eth0:off");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ProxiedSettings {
    pub(super) name: GuestName,
    pub(super) mac: Mac,
    pub(super) ipv4: Ends<Ipv4Addr>,
    pub(super) ipv6: Ends<Ipv6Addr>,
    pub(super) policy: Policy,
    connection: Connection,
    /// Without a word those of the system.
    pub(super) resolvers: Option<Vec<SocketAddr>>,
    pub(super) mtu: u16,
    pub(super) connections: usize,
    pub(super) flows: usize,
    pub(super) room: usize,
    pub(super) connect_within: Duration,
    pub(super) idle: Duration,
    pub(super) proxy: Option<ProxyProtocol>,
}

/// The two ends of the guest's wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Ends<A> {
    pub(super) guest: A,
    pub(super) gateway: A,
}

impl ProxiedSettings {
    /// The defaults: the addresses of the first guest of the default
    /// [`Networks`](crate::Networks), the resolvers of `/etc/resolv.conf`, an
    /// MTU of 1500, at most 4096 connections and as many exchanges of
    /// datagrams, 256 KiB of room for each way of a connection.
    pub fn new(guest: &Guest) -> Self {
        Self {
            name: guest.name().clone(),
            mac: guest.wanted_mac().unwrap_or(FIRST_MAC),
            ipv4: Ends {
                guest: Ipv4Addr::new(198, 18, 0, 2),
                gateway: Ipv4Addr::new(198, 18, 0, 1),
            },
            ipv6: Ends {
                guest: Ipv6Addr::new(0xfd2c, 0x6b8f, 0x4a10, 0, 0, 0, 0, 2),
                gateway: Ipv6Addr::new(0xfd2c, 0x6b8f, 0x4a10, 0, 0, 0, 0, 1),
            },
            policy: guest.policy().clone(),
            connection: guest.wanted_connection().clone(),
            resolvers: None,
            mtu: 1500,
            connections: 4096,
            flows: 4096,
            room: 256 * 1024,
            connect_within: Duration::from_secs(10),
            idle: Duration::from_secs(60),
            proxy: None,
        }
    }

    /// The guest's IPv4 address and its gateway's.
    #[must_use]
    pub fn ipv4(self, guest: Ipv4Addr, gateway: Ipv4Addr) -> Self {
        let ipv4 = Ends { guest, gateway };
        Self { ipv4, ..self }
    }

    /// The guest's IPv6 address and its gateway's.
    #[must_use]
    pub fn ipv6(self, guest: Ipv6Addr, gateway: Ipv6Addr) -> Self {
        let ipv6 = Ends { guest, gateway };
        Self { ipv6, ..self }
    }

    /// Where the guest's questions to its gateway's port 53, over UDP and TCP,
    /// are passed on to; to the next one when one does not answer. Without
    /// one, the gateway answers none. They may be addresses of the host's,
    /// loopback ones included.
    #[must_use]
    pub fn resolvers(self, resolvers: impl IntoIterator<Item = SocketAddr>) -> Self {
        let resolvers = Some(resolvers.into_iter().collect());
        Self { resolvers, ..self }
    }

    /// The largest IP packet on the guest's wire, 1280 to 65521 bytes. The
    /// guest's interface, and the TAP if it has a side on the host, must have
    /// the same. Without a vnet header a large one is much faster.
    #[must_use]
    pub fn mtu(self, mtu: u16) -> Self {
        Self { mtu, ..self }
    }

    /// So many TCP connections may be at once, those under way to a side
    /// included; others are reset. One has a descriptor.
    #[must_use]
    pub fn connections(self, connections: usize) -> Self {
        Self {
            connections,
            ..self
        }
    }

    /// So many exchanges of datagrams and echoes are remembered at once; what
    /// would begin another is lost. One that the guest began has a descriptor.
    #[must_use]
    pub fn flows(self, flows: usize) -> Self {
        Self { flows, ..self }
    }

    /// So many bytes of each way of a connection are kept while a side does
    /// not take them, 4 KiB to 16 MiB; then the other is not let go on. Memory
    /// is used as it is written to.
    #[must_use]
    pub fn room(self, bytes: usize) -> Self {
        Self {
            room: bytes,
            ..self
        }
    }

    /// Gives up a connection that a side has not taken after so long.
    #[must_use]
    pub fn connect_within(self, time: Duration) -> Self {
        Self {
            connect_within: time,
            ..self
        }
    }

    /// Forgets an exchange of datagrams when nothing has passed for so long.
    #[must_use]
    pub fn idle(self, idle: Duration) -> Self {
        Self { idle, ..self }
    }

    /// Tells the guest who the client of an exposure is: before the first byte
    /// of each TCP connection, and in front of each UDP datagram. Rarely
    /// needed, since the guest sees a client's own address, unless it is a
    /// loopback one, which comes as the gateway's.
    #[must_use]
    pub fn proxy_protocol(self, version: ProxyProtocol) -> Self {
        Self {
            proxy: Some(version),
            ..self
        }
    }

    /// The MAC address that the guest's interface must have.
    pub fn mac(&self) -> Mac {
        self.mac
    }

    /// The argument that has a Linux guest's kernel configure `eth0` for IPv4
    /// at boot (`Documentation/admin-guide/nfs/nfsroot.rst`).
    pub fn boot_argument(&self) -> String {
        let Ends { guest, gateway } = self.ipv4;
        format!("ip={guest}::{gateway}:255.255.255.252::eth0:off")
    }

    pub(super) fn check(&self) -> Result<(), Invalid> {
        let pairs = [true, false].map(|ipv4| Ends {
            guest: self.guest(ipv4),
            gateway: self.gateway(ipv4),
        });
        for (what, address) in pairs.into_iter().flat_map(|ends| {
            [
                ("guest address", ends.guest),
                ("gateway address", ends.gateway),
            ]
        }) {
            if !is_plain(address) {
                return Err(Invalid::new(what, address, "is no address of a host"));
            }
        }
        for ends in pairs {
            if ends.guest == ends.gateway {
                let why = "is the guest's own";
                return Err(Invalid::new("gateway address", ends.gateway, why));
            }
        }
        if self.connection != Connection::Routed {
            let why = "is another way than to be proxied";
            return Err(Invalid::new("connection of guest", &self.connection, why));
        }
        let policy = &self.policy;
        if let Some(peer) = policy.peers().first() {
            let why = "cannot be reached, since a proxied guest is alone on its wire";
            return Err(Invalid::new("peer", peer, why));
        }
        if policy.rate_from().is_some() || policy.rate_to().is_some() {
            let why = "cannot be limited where it is proxied";
            return Err(Invalid::new("rate of guest", &self.name, why));
        }
        let bad = |what, value: &dyn std::fmt::Display, why| Err(Invalid::new(what, value, why));
        if !(1280..=65_521).contains(&self.mtu) {
            return bad("MTU", &self.mtu, "is not between 1280 and 65521");
        }
        if self.connections == 0 {
            return bad("limit of connections", &0, "lets nobody in");
        }
        if self.flows == 0 {
            return bad("limit of exchanges", &0, "lets nobody in");
        }
        if !(4096..=16 << 20).contains(&self.room) {
            return bad("room", &self.room, "is not between 4096 and 16777216");
        }
        if self.connect_within.is_zero() {
            return bad("time to connect", &"0s", "gives up at once");
        }
        if self.idle.is_zero() {
            return bad("idle time", &"0s", "forgets every exchange at once");
        }
        Ok(())
    }

    /// The guest's own address of a family.
    pub(super) fn guest(&self, ipv4: bool) -> IpAddr {
        if ipv4 {
            self.ipv4.guest.into()
        } else {
            self.ipv6.guest.into()
        }
    }

    /// The gateway's address of a family.
    pub(super) fn gateway(&self, ipv4: bool) -> IpAddr {
        if ipv4 {
            self.ipv4.gateway.into()
        } else {
            self.ipv6.gateway.into()
        }
    }
}

/// Whether it is an address that one host can have, and others reach it at.
pub(super) fn is_plain(address: IpAddr) -> bool {
    let strange = match address {
        // "This network" leads to the host itself.
        IpAddr::V4(address) => address.octets()[0] == 0 || address.is_broadcast(),
        // An IPv4 address in IPv6's clothes would pass by all questions.
        IpAddr::V6(address) => {
            address.is_unspecified()
                || address.is_unicast_link_local()
                || address.to_ipv4().is_some()
        }
    };
    !(strange || address.is_loopback() || address.is_multicast())
}

/// That of the first guest of [`Networks`](crate::Networks).
const FIRST_MAC: Mac = Mac::known([0x02, 0x74, 0x77, 0, 0, 0]);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::Rate;

    fn settings() -> ProxiedSettings {
        ProxiedSettings::new(&Guest::new("one").unwrap())
    }

    fn refusal(settings: &ProxiedSettings) -> String {
        settings.check().unwrap_err().to_string()
    }

    #[test]
    fn what_cannot_be_is_refused() {
        settings().check().unwrap();
        let [own, other] = [Ipv4Addr::new(10, 0, 0, 2), Ipv4Addr::new(10, 0, 0, 1)];
        assert_eq!(
            refusal(&settings().ipv4(own, own)),
            "gateway address \"10.0.0.2\" is the guest's own"
        );
        let any = Ipv6Addr::UNSPECIFIED;
        assert_eq!(
            refusal(&settings().ipv6(any, Ipv6Addr::LOCALHOST)),
            "guest address \"::\" is no address of a host"
        );
        let mapped = own.to_ipv6_mapped();
        assert!(settings().ipv6(mapped, any).check().is_err());
        settings().ipv4(own, other).check().unwrap();
        assert_eq!(
            refusal(&settings().mtu(1279)),
            "MTU \"1279\" is not between 1280 and 65521"
        );
        let snapshot = crate::Snapshot::new(
            "tap0".parse().unwrap(),
            "06:00:ac:10:00:02".parse().unwrap(),
            "172.16.0.2/24".parse().unwrap(),
            "172.16.0.1".parse().unwrap(),
        )
        .unwrap();
        let clone = Guest::new("clone")
            .unwrap()
            .connection(Connection::Rewritten(snapshot.clone()));
        assert_eq!(
            refusal(&ProxiedSettings::new(&clone)),
            format!(
                "connection of guest \"rewritten from {snapshot}\" is another way than to be proxied"
            )
        );
        assert_eq!(
            refusal(&settings().connections(0)),
            "limit of connections \"0\" lets nobody in"
        );
        assert_eq!(
            refusal(&settings().flows(0)),
            "limit of exchanges \"0\" lets nobody in"
        );
        assert_eq!(
            refusal(&settings().room(4095)),
            "room \"4095\" is not between 4096 and 16777216"
        );
        assert_eq!(
            refusal(&settings().idle(Duration::ZERO)),
            "idle time \"0s\" forgets every exchange at once"
        );
        assert_eq!(
            refusal(&settings().connect_within(Duration::ZERO)),
            "time to connect \"0s\" gives up at once"
        );
    }

    #[test]
    fn what_a_proxied_guest_cannot_have_is_refused() {
        let peer = GuestName::new("two").unwrap();
        let guest = Guest::new("one").unwrap().peer(&peer);
        assert_eq!(
            refusal(&ProxiedSettings::new(&guest)),
            "peer \"two\" cannot be reached, since a proxied guest is alone on its wire"
        );
        let guest = Guest::new("one").unwrap().rate_to(Rate::new(1000).unwrap());
        assert_eq!(
            refusal(&ProxiedSettings::new(&guest)),
            "rate of guest \"one\" cannot be limited where it is proxied"
        );
    }
}
