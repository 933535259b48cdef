//! Ethernet frames: what a guest asks in one, and the answer in another.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};

use super::bytes::Bytes;
use crate::types::Mac;

/// What a guest asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Question<'a> {
    /// A message for a DHCP server.
    Dhcp(&'a [u8]),
    /// A message for a DHCPv6 server, and who sent it.
    Dhcp6(SocketAddrV6, &'a [u8]),
    /// A router solicitation.
    Router,
    /// A neighbour solicitation: who asks, for which address.
    Neighbour(Ipv6Addr, Ipv6Addr),
}

/// Reads a frame. Checksums are not looked at: a guest with offloads leaves
/// them to its device.
pub(super) fn read(frame: &[u8], guest: Mac) -> Option<Question<'_>> {
    let mut bytes = Bytes(frame);
    let _to: [u8; 6] = bytes.array()?;
    if bytes.array()? != guest.octets() {
        return None;
    }
    match bytes.u16()? {
        ETHERTYPE_IPV4 => read_ipv4(bytes),
        ETHERTYPE_IPV6 => read_ipv6(bytes),
        _ => None,
    }
}

fn read_ipv4(mut bytes: Bytes<'_>) -> Option<Question<'_>> {
    let [
        version_length,
        _,
        total0,
        total1,
        _,
        _,
        fragment0,
        fragment1,
        _,
        protocol,
        ..,
    ] = bytes.array::<20>()?;
    let header = usize::from(version_length & 0xf).checked_mul(4)?;
    let is_fragment = u16::from_be_bytes([fragment0, fragment1]) & 0x3fff != 0;
    if version_length >> 4 != 4 || is_fragment || protocol != PROTOCOL_UDP {
        return None;
    }
    bytes.take(header.checked_sub(20)?)?;
    let total: usize = u16::from_be_bytes([total0, total1]).into();
    let mut bytes = Bytes(bytes.take(total.checked_sub(header)?)?);
    let (_, to, payload) = read_udp(&mut bytes)?;
    (to == DHCP_SERVER).then_some(Question::Dhcp(payload))
}

fn read_ipv6(mut bytes: Bytes<'_>) -> Option<Question<'_>> {
    let [version, _, _, _] = bytes.array()?;
    let length = bytes.u16()?;
    let [next, hops] = bytes.array()?;
    let source: Ipv6Addr = bytes.array::<16>()?.into();
    let _to: [u8; 16] = bytes.array()?;
    let mut bytes = Bytes(bytes.take(length.into())?);
    match next {
        _ if version >> 4 != 6 => None,
        PROTOCOL_UDP => {
            let (from, to, payload) = read_udp(&mut bytes)?;
            let from = SocketAddrV6::new(source, from, 0, 0);
            (to == DHCP6_SERVER).then_some(Question::Dhcp6(from, payload))
        }
        PROTOCOL_ICMPV6 if hops == ND_HOPS => {
            let [kind, code, ..] = bytes.array::<8>()?;
            match (kind, code) {
                (ROUTER_SOLICITATION, 0) => Some(Question::Router),
                (NEIGHBOUR_SOLICITATION, 0) => {
                    let target: Ipv6Addr = bytes.array::<16>()?.into();
                    Some(Question::Neighbour(source, target))
                }
                _ => None,
            }
        }
        _ => None,
    }
}

/// The ports and what follows.
fn read_udp<'a>(bytes: &mut Bytes<'a>) -> Option<(u16, u16, &'a [u8])> {
    let (from, to, length, _checksum) = (bytes.u16()?, bytes.u16()?, bytes.u16()?, bytes.u16()?);
    let payload = bytes.take(usize::from(length).checked_sub(8)?)?;
    Some((from, to, payload))
}

/// A datagram of IPv4 in a frame; `None` if it is too large for one.
pub(super) fn udp4(
    [from_mac, to_mac]: [[u8; 6]; 2],
    from: SocketAddrV4,
    to: SocketAddrV4,
    payload: &[u8],
) -> Option<Vec<u8>> {
    let (source, destination) = (*from.ip(), *to.ip());
    let addresses = [source.into(), destination.into()];
    let udp = udp(addresses, from.port(), to.port(), payload)?;
    let total = u16::try_from(udp.len().checked_add(20)?).ok()?;
    let [t0, t1] = total.to_be_bytes();
    let mut header = vec![0x45, 0, t0, t1, 0, 0, 0x40, 0, TTL, PROTOCOL_UDP, 0, 0];
    header.extend(source.octets());
    header.extend(destination.octets());
    let sum = checksum([&header]);
    if let Some(field) = header.get_mut(10..12) {
        field.copy_from_slice(&sum.to_be_bytes());
    }
    let mut frame = ethernet(from_mac, to_mac, ETHERTYPE_IPV4);
    frame.extend(header);
    frame.extend(udp);
    Some(frame)
}

/// A datagram of IPv6 in a frame.
pub(super) fn udp6(
    macs: [[u8; 6]; 2],
    from: SocketAddrV6,
    to: SocketAddrV6,
    payload: &[u8],
) -> Option<Vec<u8>> {
    let addresses = [(*from.ip()).into(), (*to.ip()).into()];
    let udp = udp(addresses, from.port(), to.port(), payload)?;
    ipv6(macs, *from.ip(), *to.ip(), PROTOCOL_UDP, &udp)
}

/// A message of ICMPv6 in a frame; its checksum is made here.
pub(super) fn icmpv6(
    macs: [[u8; 6]; 2],
    from: Ipv6Addr,
    to: Ipv6Addr,
    mut message: Vec<u8>,
) -> Option<Vec<u8>> {
    let length = u16::try_from(message.len()).ok()?;
    let pseudo = pseudo_header([from.into(), to.into()], PROTOCOL_ICMPV6, length);
    let sum = checksum([&pseudo, &message]);
    message.get_mut(2..4)?.copy_from_slice(&sum.to_be_bytes());
    ipv6(macs, from, to, PROTOCOL_ICMPV6, &message)
}

fn ipv6(
    [from_mac, to_mac]: [[u8; 6]; 2],
    from: Ipv6Addr,
    to: Ipv6Addr,
    next: u8,
    payload: &[u8],
) -> Option<Vec<u8>> {
    let [l0, l1] = u16::try_from(payload.len()).ok()?.to_be_bytes();
    let mut frame = ethernet(from_mac, to_mac, ETHERTYPE_IPV6);
    frame.extend([0x60, 0, 0, 0, l0, l1, next, ND_HOPS]);
    frame.extend(from.octets());
    frame.extend(to.octets());
    frame.extend(payload);
    Some(frame)
}

fn udp(addresses: [IpAddr; 2], from: u16, to: u16, payload: &[u8]) -> Option<Vec<u8>> {
    let length = u16::try_from(payload.len().checked_add(8)?).ok()?;
    let mut bytes = Vec::with_capacity(length.into());
    for field in [from, to, length, 0] {
        bytes.extend(field.to_be_bytes());
    }
    bytes.extend(payload);
    let pseudo = pseudo_header(addresses, PROTOCOL_UDP, length);
    // RFC 768: a sum of zero is sent as all ones.
    let sum = match checksum([&pseudo, &bytes]) {
        0 => 0xffff,
        sum => sum,
    };
    bytes.get_mut(6..8)?.copy_from_slice(&sum.to_be_bytes());
    Some(bytes)
}

/// What a checksum covers besides the packet (RFC 768, RFC 8200).
fn pseudo_header([from, to]: [IpAddr; 2], protocol: u8, length: u16) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(40);
    for address in [from, to] {
        match address {
            IpAddr::V4(address) => bytes.extend(address.octets()),
            IpAddr::V6(address) => bytes.extend(address.octets()),
        }
    }
    bytes.extend([0, protocol]);
    bytes.extend(length.to_be_bytes());
    bytes
}

/// The internet checksum (RFC 1071) of parts, of which only the last may have
/// an odd length.
fn checksum<const N: usize>(parts: [&[u8]; N]) -> u16 {
    let mut sum = 0_u64;
    for part in parts {
        for pair in part.chunks(2) {
            let word = match *pair {
                [high, low] => u16::from_be_bytes([high, low]),
                [high] => u16::from_be_bytes([high, 0]),
                _ => 0,
            };
            sum = sum.saturating_add(word.into());
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff).saturating_add(sum >> 16);
    }
    !u16::try_from(sum).unwrap_or_default()
}

fn ethernet(from: [u8; 6], to: [u8; 6], kind: u16) -> Vec<u8> {
    let mut frame = Vec::with_capacity(FRAME);
    frame.extend(to);
    frame.extend(from);
    frame.extend(kind.to_be_bytes());
    frame
}

/// The link-local address that an interface makes of its MAC address
/// (RFC 4291, appendix A).
pub(super) fn link_local(mac: Mac) -> Ipv6Addr {
    let [m0, m1, m2, m3, m4, m5] = mac.octets();
    let mut octets = [0; 16];
    octets[0] = 0xfe;
    octets[1] = 0x80;
    let [.., i0, i1, i2, i3, i4, i5, i6, i7] = &mut octets;
    [*i0, *i1, *i2, *i3] = [m0 ^ 2, m1, m2, 0xff];
    [*i4, *i5, *i6, *i7] = [0xfe, m3, m4, m5];
    octets.into()
}

/// The frame's MAC address for all nodes of IPv6.
pub(super) const ALL_NODES_MAC: [u8; 6] = [0x33, 0x33, 0, 0, 0, 1];
pub(super) const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
pub(super) const BROADCAST_MAC: [u8; 6] = [0xff; 6];
pub(super) const BROADCAST: Ipv4Addr = Ipv4Addr::BROADCAST;

pub(super) const DHCP_SERVER: u16 = 67;
pub(super) const DHCP_CLIENT: u16 = 68;
pub(super) const DHCP6_SERVER: u16 = 547;

pub(super) const ROUTER_SOLICITATION: u8 = 133;
pub(super) const ROUTER_ADVERTISEMENT: u8 = 134;
pub(super) const NEIGHBOUR_SOLICITATION: u8 = 135;
pub(super) const NEIGHBOUR_ADVERTISEMENT: u8 = 136;

pub(super) const ETHERTYPE_IPV4: u16 = 0x800;
pub(super) const ETHERTYPE_IPV6: u16 = 0x86dd;
pub(super) const PROTOCOL_UDP: u8 = 17;
pub(super) const PROTOCOL_ICMPV6: u8 = 58;

/// Neighbour discovery comes from the link itself (RFC 4861, 6.1).
const ND_HOPS: u8 = 255;
const TTL: u8 = 64;
const FRAME: usize = 400;
