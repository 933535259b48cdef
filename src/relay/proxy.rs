//! The PROXY protocol's header: who the client is, in front of its data.

use std::net::{IpAddr, SocketAddr};

use crate::protocol::Protocol;

/// How a [`Relay`](crate::Relay) tells the guest who the client is.
///
/// See "The PROXY protocol" (`proxy-protocol.txt` of `HAProxy`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ProxyProtocol {
    /// Version 2: binary, 28 bytes for a client over IPv4, 52 for one over
    /// IPv6.
    V2,
}

impl ProxyProtocol {
    /// The header for a client that connected to an address of the host, both
    /// of one family.
    pub(crate) fn header(
        self,
        protocol: Protocol,
        client: SocketAddr,
        host: SocketAddr,
    ) -> Vec<u8> {
        let Self::V2 = self;
        let transport = if protocol == Protocol::Udp {
            DGRAM
        } else {
            STREAM
        };
        let mut addresses = Vec::with_capacity(36);
        let family = match (client.ip(), host.ip()) {
            (IpAddr::V4(client), IpAddr::V4(host)) => {
                addresses.extend(client.octets());
                addresses.extend(host.octets());
                INET
            }
            (client, host) => {
                addresses.extend(ipv6(client));
                addresses.extend(ipv6(host));
                INET6
            }
        };
        addresses.extend(client.port().to_be_bytes());
        addresses.extend(host.port().to_be_bytes());
        let mut header = Vec::with_capacity(LONGEST);
        header.extend(SIGNATURE);
        header.push(VERSION_2_PROXY);
        header.push(family | transport);
        // 12 or 36.
        let length = u16::try_from(addresses.len()).unwrap_or_default();
        header.extend(length.to_be_bytes());
        header.extend(addresses);
        header
    }
}

fn ipv6(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

/// The longest header in bytes.
pub(crate) const LONGEST: usize = 52;

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
const VERSION_2_PROXY: u8 = 0x21;
const INET: u8 = 0x10;
const INET6: u8 = 0x20;
const STREAM: u8 = 1;
const DGRAM: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    fn header(protocol: Protocol, client: &str, host: &str) -> Vec<u8> {
        let [client, host] = [client, host].map(|address| address.parse().unwrap());
        ProxyProtocol::V2.header(protocol, client, host)
    }

    /// By hand after section 2.2 of `proxy-protocol.txt`.
    #[test]
    fn header_is_as_the_protocol_has_it() {
        let ipv4 = header(Protocol::Tcp, "192.0.2.1:4660", "203.0.113.9:80");
        let mut expected = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
        expected.extend([192, 0, 2, 1, 203, 0, 113, 9, 0x12, 0x34, 0, 80]);
        assert_eq!(ipv4, expected);
        let ipv6 = header(Protocol::Udp, "[2001:db8::7]:4660", "[::1]:53");
        assert_eq!(ipv6.len(), LONGEST);
        assert_eq!(ipv6[12..16], [0x21, 0x22, 0, 36]);
        assert_eq!(ipv6[16..20], [0x20, 1, 0x0d, 0xb8]);
        assert_eq!((ipv6[31], ipv6[47]), (7, 1));
        assert_eq!(ipv6[48..], [0x12, 0x34, 0, 53]);
    }
}
