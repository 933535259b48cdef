//! Places: ports of the host, chains and rules of others.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// A port of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct HostPort {
    pub(crate) protocol: u8,
    pub(crate) ipv4: bool,
    pub(crate) address: Option<IpAddr>,
    pub(crate) port: u16,
}

impl HostPort {
    /// The transport protocol by its IANA number: 6 TCP, 17 UDP.
    pub fn protocol(&self) -> u8 {
        self.protocol
    }

    /// The address; `None` stands for all of its family that others can reach.
    pub fn address(&self) -> Option<IpAddr> {
        self.address
    }

    /// Whether it is a port of IPv4 addresses, else of IPv6 ones.
    pub fn is_ipv4(&self) -> bool {
        self.ipv4
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether a socket on `socket` gets what is for this port. `dual` says
    /// that an IPv6 socket on all addresses takes IPv4 too.
    pub(crate) fn is_served_by(&self, socket: SocketAddr, dual: bool) -> bool {
        let own = socket.ip().to_canonical();
        let mapped = own.is_ipv4() != socket.is_ipv4();
        if socket.port() != self.port {
            return false;
        }
        if own.is_unspecified() {
            let both = mapped || dual && socket.is_ipv6();
            return self.ipv4 == own.is_ipv4() || self.ipv4 && both;
        }
        match self.address {
            Some(address) => address == own,
            None => own.is_ipv4() == self.ipv4 && !own.is_loopback(),
        }
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.protocol {
            6 => f.write_str("tcp/")?,
            17 => f.write_str("udp/")?,
            132 => f.write_str("sctp/")?,
            number => write!(f, "protocol {number}/")?,
        }
        match self.address {
            Some(address) => write!(f, "{}", SocketAddr::new(address, self.port)),
            None => write!(f, "{}", self.port),
        }
    }
}

/// A base chain of someone else.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ForeignChain {
    pub(crate) legacy: bool,
    pub(crate) family: Box<str>,
    pub(crate) table: Box<str>,
    pub(crate) name: Box<str>,
    pub(crate) priority: i32,
    pub(crate) owned: bool,
}

impl ForeignChain {
    /// Whether it is one of legacy iptables, which `nft` does not list.
    pub fn is_legacy(&self) -> bool {
        self.legacy
    }

    /// The family of its table: `inet`, `ip`, `ip6`.
    pub fn family(&self) -> &str {
        &self.family
    }

    /// Its table: `firewalld`.
    pub fn table(&self) -> &str {
        &self.table
    }

    /// Its name: `filter_FORWARD`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its priority; lower ones come first.
    pub fn priority(&self) -> i32 {
        self.priority
    }

    /// Whether a running program owns the table, so that nobody else can
    /// change it (`flags owner` of `nft`).
    pub fn is_owned(&self) -> bool {
        self.owned
    }

    /// The program that manages such a chain.
    pub(crate) fn tool(&self) -> &'static str {
        match (self.legacy, &*self.family) {
            (true, "ip6") => "ip6tables-legacy",
            (true, _) => "iptables-legacy",
            (false, _) => "nft",
        }
    }
}

impl fmt::Display for ForeignChain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.legacy {
            write!(
                f,
                "chain {} of table {} of {}",
                self.name,
                self.table,
                self.tool()
            )
        } else {
            write!(f, "chain {} {} {}", self.family, self.table, self.name)
        }
    }
}

/// A rule of someone else.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ForeignRule {
    pub(crate) chain: Box<str>,
    pub(crate) handle: Option<u64>,
    pub(crate) number: usize,
    pub(crate) text: Box<str>,
}

impl ForeignRule {
    /// The chain that it stands in, which the base chain leads to.
    pub fn chain(&self) -> &str {
        &self.chain
    }

    /// The kernel's number of it (`nft -a`); legacy iptables has none.
    pub fn handle(&self) -> Option<u64> {
        self.handle
    }

    /// Its place in the chain, counted from 1, as `iptables` does.
    pub fn number(&self) -> usize {
        self.number
    }

    /// The rule in `nft`'s words, as far as it has any.
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for ForeignRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rule `{}`", self.text)?;
        match self.handle {
            Some(handle) => write!(f, " (handle {handle})"),
            None => write!(f, " (number {} of {})", self.number, self.chain),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(address: Option<&str>, ipv4: bool) -> HostPort {
        HostPort {
            protocol: 6,
            ipv4,
            address: address.map(|address| address.parse().unwrap()),
            port: 80,
        }
    }

    #[test]
    fn sockets_serve_their_addresses_and_dual_ones_both_families() {
        for (wanted, socket, dual, served) in [
            (port(None, true), "0.0.0.0:80", false, true),
            (port(None, true), "0.0.0.0:81", false, false),
            (port(None, true), "[::]:80", true, true),
            (port(None, true), "[::]:80", false, false),
            (port(None, false), "[::]:80", false, true),
            (port(None, false), "0.0.0.0:80", false, false),
            (port(None, true), "127.0.0.1:80", false, false),
            (port(None, true), "192.0.2.1:80", false, true),
            (port(None, true), "[::ffff:192.0.2.1]:80", true, true),
            (port(None, true), "[::ffff:0.0.0.0]:80", true, true),
            (port(Some("127.0.0.1"), true), "127.0.0.1:80", false, true),
            (port(Some("127.0.0.1"), true), "0.0.0.0:80", false, true),
            (port(Some("192.0.2.1"), true), "192.0.2.2:80", false, false),
            (port(Some("192.0.2.1"), true), "[::]:80", true, true),
        ] {
            let found = wanted.is_served_by(socket.parse().unwrap(), dual);
            assert_eq!(found, served, "{wanted} {socket} {dual}");
        }
    }
}
