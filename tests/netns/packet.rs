//! A guest that is only a descriptor: it sends what a test makes up, byte by
//! byte, and reads what comes.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tapwire::{Attachment, Mac, Snapshot};

use crate::world::{World, within};

pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
pub(crate) const ICMP: u8 = 1;
pub(crate) const ICMPV6: u8 = 58;

/// The other end of a guest's TAP.
pub(crate) struct Wire {
    file: File,
    mac: Mac,
    gateway: Mac,
    addresses: [IpAddr; 2],
}

impl Wire {
    pub(crate) fn open(world: &World, guest: &Attachment) -> Self {
        let inside = Snapshot::of(guest);
        let ipv6 = inside.ipv6_net().expect("a guest with IPv6").addr();
        Self {
            file: File::from(world.open_tap(guest)),
            mac: inside.mac(),
            gateway: inside.current_gateway_mac(),
            addresses: [inside.ipv4_net().addr().into(), ipv6.into()],
        }
    }

    /// A guest that takes these addresses for its own.
    pub(crate) fn open_as(world: &World, guest: &Attachment, addresses: [IpAddr; 2]) -> Self {
        Self {
            file: File::from(world.open_tap(guest)),
            mac: Snapshot::of(guest).mac(),
            gateway: Snapshot::of(guest).current_gateway_mac(),
            addresses,
        }
    }

    /// Its own address in a family, in its own eyes.
    pub(crate) fn address(&self, family: usize) -> IpAddr {
        self.addresses[family]
    }

    /// Sends an IP packet to the host, with its own MAC.
    pub(crate) fn send(&self, packet: &[u8]) {
        let mut frame = frame(self.mac, packet);
        frame[..6].copy_from_slice(&self.gateway.octets());
        self.send_frame(&frame);
    }

    pub(crate) fn send_frame(&self, frame: &[u8]) {
        assert_eq!((&self.file).write(frame).unwrap(), frame.len());
    }

    /// The first IP packet that `wanted` makes something of.
    pub(crate) fn receive<T>(
        &self,
        patience: std::time::Duration,
        mut wanted: impl FnMut(&[u8]) -> Option<T>,
    ) -> Option<T> {
        let mut frame = vec![0; 65_536];
        within(patience, |_| {
            while let Ok(length) = (&self.file).read(&mut frame) {
                if let Some(found) = wanted(&frame[14..length]) {
                    return Some(found);
                }
            }
            None
        })
    }

    /// Whether an echo request is answered.
    pub(crate) fn ping(&self, to: IpAddr, patience: std::time::Duration) -> bool {
        let from = self.address(usize::from(to.is_ipv6()));
        self.send(&echo_request(from, to));
        let answer = |packet: &[u8]| match to {
            IpAddr::V4(to) => (packet[12..16] == to.octets() && packet[20] == 0).then_some(()),
            IpAddr::V6(to) => (packet[8..24] == to.octets() && packet[40] == 129).then_some(()),
        };
        self.receive(patience, answer).is_some()
    }
}

/// A frame from this MAC to the gateway.
pub(crate) fn frame(from: Mac, packet: &[u8]) -> Vec<u8> {
    tagged(from, &[], packet)
}

/// A frame with these VLAN tags, outermost first.
pub(crate) fn tagged(from: Mac, vlans: &[u16], packet: &[u8]) -> Vec<u8> {
    let mut frame = tapwire::guest::GATEWAY_MAC.octets().to_vec();
    frame.extend(from.octets());
    for vlan in vlans {
        frame.extend([0x81, 0x00]);
        frame.extend(vlan.to_be_bytes());
    }
    frame.extend(if packet[0] >> 4 == 4 {
        [0x08, 0x00]
    } else {
        [0x86, 0xdd]
    });
    frame.extend(packet);
    frame
}

/// An IP packet.
pub(crate) fn ip(from: IpAddr, to: IpAddr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => ipv4(from, to, protocol, 0, &[], payload),
        (IpAddr::V6(from), IpAddr::V6(to)) => ipv6(from, to, protocol, payload),
        _ => panic!("one address is IPv4, the other IPv6"),
    }
}

/// An IPv4 packet; `place` is the field of flags and fragment offset, options
/// are padded by the caller.
pub(crate) fn ipv4(
    from: Ipv4Addr,
    to: Ipv4Addr,
    protocol: u8,
    place: u16,
    options: &[u8],
    payload: &[u8],
) -> Vec<u8> {
    let header = 20 + options.len();
    let mut packet = vec![0x40 | u8::try_from(header / 4).unwrap(), 0];
    packet.extend(u16::try_from(header + payload.len()).unwrap().to_be_bytes());
    packet.extend(FRAGMENT_ID.to_be_bytes());
    packet.extend(place.to_be_bytes());
    packet.extend([64, protocol, 0, 0]);
    packet.extend(from.octets());
    packet.extend(to.octets());
    packet.extend(options);
    let sum = checksum(&packet);
    packet[10..12].copy_from_slice(&sum);
    packet.extend(payload);
    packet
}

pub(crate) fn ipv6(from: Ipv6Addr, to: Ipv6Addr, next: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
    packet.extend([next, 255]);
    packet.extend(from.octets());
    packet.extend(to.octets());
    packet.extend(payload);
    packet
}

/// The two halves of a packet's payload as fragments, the second from 16
/// bytes on.
pub(crate) fn fragments(from: IpAddr, to: IpAddr, protocol: u8, payload: &[u8]) -> [Vec<u8>; 2] {
    let (first, second) = payload.split_at(16);
    let [more, last] = [1, 0];
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => [
            ipv4(from, to, protocol, more << 13, &[], first),
            ipv4(from, to, protocol, last << 13 | 2, &[], second),
        ],
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            [(more, first), (2_u16 << 3 | last, second)].map(|(place, part)| {
                let mut header = vec![protocol, 0];
                header.extend(place.to_be_bytes());
                header.extend(u32::from(FRAGMENT_ID).to_be_bytes());
                header.extend(part);
                ipv6(from, to, FRAGMENT, &header)
            })
        }
        _ => panic!("one address is IPv4, the other IPv6"),
    }
}

/// A UDP datagram without its IP header.
pub(crate) fn udp(from: SocketAddr, to: SocketAddr, data: &[u8]) -> Vec<u8> {
    let mut datagram = from.port().to_be_bytes().to_vec();
    datagram.extend(to.port().to_be_bytes());
    datagram.extend(u16::try_from(8 + data.len()).unwrap().to_be_bytes());
    datagram.extend([0, 0]);
    datagram.extend(data);
    let sum = with_pseudo_header(from.ip(), to.ip(), UDP, &datagram);
    datagram[6..8].copy_from_slice(&sum);
    datagram
}

/// A whole UDP packet.
pub(crate) fn udp_packet(from: SocketAddr, to: SocketAddr, data: &[u8]) -> Vec<u8> {
    ip(from.ip(), to.ip(), UDP, &udp(from, to, data))
}

/// A TCP segment without data, as a whole packet.
pub(crate) fn tcp_packet(from: SocketAddr, to: SocketAddr, flags: u8) -> Vec<u8> {
    let mut segment = from.port().to_be_bytes().to_vec();
    segment.extend(to.port().to_be_bytes());
    segment.extend([0, 0, 0, 1, 0, 0, 0, 1, 0x50, flags, 4, 0, 0, 0, 0, 0]);
    let sum = with_pseudo_header(from.ip(), to.ip(), TCP, &segment);
    segment[16..18].copy_from_slice(&sum);
    ip(from.ip(), to.ip(), TCP, &segment)
}

/// An ICMP or `ICMPv6` message without its IP header.
pub(crate) fn icmp(from: IpAddr, to: IpAddr, [kind, code]: [u8; 2], body: &[u8]) -> Vec<u8> {
    let mut message = vec![kind, code, 0, 0];
    message.extend(body);
    let sum = if from.is_ipv4() {
        checksum(&message)
    } else {
        with_pseudo_header(from, to, ICMPV6, &message)
    };
    message[2..4].copy_from_slice(&sum);
    message
}

pub(crate) fn echo_request(from: IpAddr, to: IpAddr) -> Vec<u8> {
    let (protocol, kind) = if to.is_ipv4() {
        (ICMP, 8)
    } else {
        (ICMPV6, 128)
    };
    ip(
        from,
        to,
        protocol,
        &icmp(from, to, [kind, 0], b"\0\x07\0\x01ping"),
    )
}

/// The message that says that `packet` came to a closed port.
pub(crate) fn port_unreachable(from: IpAddr, to: IpAddr, packet: &[u8]) -> Vec<u8> {
    let (protocol, kind) = if to.is_ipv4() {
        (ICMP, [3, 3])
    } else {
        (ICMPV6, [1, 4])
    };
    let body = [&[0; 4], packet].concat();
    ip(from, to, protocol, &icmp(from, to, kind, &body))
}

/// `payload` behind a header of destination options (RFC 8200) that hold
/// nothing; the number that such a header has is [`OPTIONS`].
pub(crate) fn behind_options(next: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![next, 0, 1, 4, 0, 0, 0, 0];
    bytes.extend(payload);
    bytes
}

pub(crate) const OPTIONS: u8 = 60;
const FRAGMENT: u8 = 44;
const FRAGMENT_ID: u16 = 0x7477;

pub(crate) fn with_pseudo_header(
    from: IpAddr,
    to: IpAddr,
    protocol: u8,
    payload: &[u8],
) -> [u8; 2] {
    let mut bytes = Vec::new();
    for address in [from, to] {
        match address {
            IpAddr::V4(address) => bytes.extend(address.octets()),
            IpAddr::V6(address) => bytes.extend(address.octets()),
        }
    }
    bytes.extend(u32::try_from(payload.len()).unwrap().to_be_bytes());
    bytes.extend([0, 0, 0, protocol]);
    bytes.extend(payload);
    checksum(&bytes)
}

/// Whether the checksum among these bytes is that of all.
pub(crate) fn is_sum_right(bytes: &[u8]) -> bool {
    checksum(bytes) == [0; 2]
}

fn checksum(bytes: &[u8]) -> [u8; 2] {
    let words = bytes.chunks(2);
    let mut sum: u32 = words
        .map(|word| u32::from(word[0]) << 8 | word.get(1).map_or(0, |&low| u32::from(low)))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!u16::try_from(sum).unwrap()).to_be_bytes()
}
