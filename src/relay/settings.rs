//! What a relay is started with.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::proxy::ProxyProtocol;
use crate::error::Invalid;
use crate::protocol::Protocol;

/// What a [`Relay`](crate::Relay) is made from, and what may differ from the
/// defaults.
///
/// ```
/// use tapwire::{Protocol, ProxyProtocol, RelaySettings};
/// let settings = RelaySettings::new(Protocol::Tcp, "[::1]:80".parse()?, "198.18.0.2:80".parse()?)
///     .connections(64)
///     .proxy_protocol(ProxyProtocol::V2);
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RelaySettings {
    pub(super) protocol: Protocol,
    pub(super) listen: SocketAddr,
    pub(super) guest: SocketAddr,
    pub(super) connections: usize,
    pub(super) idle: Duration,
    pub(super) proxy: Option<ProxyProtocol>,
}

impl RelaySettings {
    /// The defaults: at most 1024 connections at a time, UDP clients given up
    /// after 60 s of silence, no header for the guest.
    ///
    /// TCP may listen on all IPv4 addresses (`0.0.0.0`) or all IPv6 addresses
    /// (`::`, without those of IPv4: `IPV6_V6ONLY`); port 0 lets the kernel
    /// choose one.
    pub fn new(protocol: Protocol, listen: SocketAddr, guest: SocketAddr) -> Self {
        Self {
            protocol,
            listen,
            guest,
            connections: 1024,
            idle: Duration::from_secs(60),
            proxy: None,
        }
    }

    /// Serves so many connections, or clients of UDP, at a time; others are
    /// reset, their datagrams lost. A TCP connection has two descriptors and
    /// at most 32 KiB of the process's memory, a UDP client one descriptor.
    #[must_use]
    pub fn connections(self, connections: usize) -> Self {
        Self {
            connections,
            ..self
        }
    }

    /// Gives up a UDP client when nothing has passed between it and the guest
    /// for so long.
    #[must_use]
    pub fn idle(self, idle: Duration) -> Self {
        Self { idle, ..self }
    }

    /// Tells the guest who the client is: before the first byte of each TCP
    /// connection, and in front of each UDP datagram. The guest must expect
    /// it, and must trust it only from the host's addresses.
    #[must_use]
    pub fn proxy_protocol(self, version: ProxyProtocol) -> Self {
        Self {
            proxy: Some(version),
            ..self
        }
    }

    pub(super) fn check(&self) -> Result<(), Invalid> {
        let is_udp = self.protocol == Protocol::Udp;
        if !is_udp && self.protocol != Protocol::Tcp {
            return Err(Invalid::new(
                "protocol",
                self.protocol,
                "cannot be relayed, only tcp and udp can",
            ));
        }
        let (listen, guest) = (self.listen.ip(), self.guest.ip());
        // An IPv4 address in IPv6's clothes would pass by these questions.
        if guest.is_unspecified() || guest.is_loopback() || !is_unicast(guest) {
            let why = "is no address of a guest";
            return Err(Invalid::new("guest address", guest, why));
        }
        if self.guest.port() == 0 {
            return Err(Invalid::new("guest port", 0, "is not between 1 and 65535"));
        }
        let invalid = |why| Err(Invalid::new("host address", listen, why));
        if !is_unicast(listen) {
            return invalid("is a multicast, broadcast or IPv4-mapped address");
        }
        if is_udp && listen.is_unspecified() {
            return invalid("is not the one that answers over UDP can come from");
        }
        if self.connections == 0 {
            let why = "lets nobody in";
            return Err(Invalid::new("limit of connections", 0, why));
        }
        if is_udp && self.idle.is_zero() {
            let why = "gives up every client at once";
            return Err(Invalid::new("idle time", "0s", why));
        }
        Ok(())
    }
}

fn is_unicast(address: IpAddr) -> bool {
    let strange = match address {
        IpAddr::V4(address) => address.is_broadcast(),
        IpAddr::V6(address) => address.to_ipv4_mapped().is_some(),
    };
    !(strange || address.is_multicast())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(protocol: Protocol, listen: &str, guest: &str) -> String {
        let [listen, guest] = [listen, guest].map(|address| address.parse().unwrap());
        let settings = RelaySettings::new(protocol, listen, guest);
        settings.check().unwrap_err().to_string()
    }

    #[test]
    fn target_that_is_no_guest_is_refused() {
        for guest in [
            "127.0.0.1:80",
            "127.1.2.3:80",
            "[::1]:80",
            "0.0.0.0:80",
            "[::]:80",
            "224.0.0.1:80",
            "[ff02::1]:80",
            "255.255.255.255:80",
            "[::ffff:127.0.0.1]:80",
        ] {
            let address = guest.parse::<SocketAddr>().unwrap().ip().to_string();
            assert_eq!(
                refusal(Protocol::Tcp, "[::1]:80", guest),
                format!("guest address {address:?} is no address of a guest")
            );
        }
        assert_eq!(
            refusal(Protocol::Tcp, "[::1]:80", "198.18.0.2:0"),
            "guest port \"0\" is not between 1 and 65535"
        );
    }

    #[test]
    fn address_that_cannot_be_listened_on_is_refused() {
        let guest = "198.18.0.2:80";
        assert_eq!(
            refusal(Protocol::Tcp, "[::ffff:127.0.0.1]:80", guest),
            "host address \"::ffff:127.0.0.1\" is a multicast, broadcast or IPv4-mapped address"
        );
        assert_eq!(
            refusal(Protocol::Udp, "[::]:80", guest),
            "host address \"::\" is not the one that answers over UDP can come from"
        );
    }

    #[test]
    fn settings_that_let_nobody_in_are_refused() {
        let [listen, guest] = ["[::1]:80", "198.18.0.2:80"].map(|it| it.parse().unwrap());
        let settings = RelaySettings::new(Protocol::Udp, listen, guest);
        assert!(settings.check().is_ok());
        assert_eq!(
            settings
                .clone()
                .connections(0)
                .check()
                .unwrap_err()
                .to_string(),
            "limit of connections \"0\" lets nobody in"
        );
        assert_eq!(
            settings
                .idle(Duration::ZERO)
                .check()
                .unwrap_err()
                .to_string(),
            "idle time \"0s\" gives up every client at once"
        );
    }
}
