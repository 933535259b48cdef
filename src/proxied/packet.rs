//! What is in a frame of the guest's, and packets to it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    EthernetFrame, Icmpv4DstUnreachable, Icmpv4Packet, Icmpv4Repr, Icmpv6DstUnreachable,
    Icmpv6Packet, Icmpv6Repr, IpProtocol, Ipv4Packet, Ipv4Repr, Ipv6Packet, Ipv6Repr, TcpPacket,
    UdpPacket, UdpRepr,
};

use super::cable::{self, Cable};

/// What is to be thought of a transport's checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Checksum {
    /// It is to be right.
    Verify,
    /// It was left out, since the packet never was on a wire.
    Trust,
}

/// An IP packet of a protocol that is known here, whole and with right
/// checksums.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Packet<'f> {
    /// The packet from its IP header on.
    pub(super) bytes: &'f [u8],
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    pub(super) transport: Transport<'f>,
}

/// What an IP packet carries, from the transport's header on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transport<'f> {
    Tcp(&'f [u8]),
    Udp(&'f [u8]),
    Icmp(&'f [u8]),
}

impl<'f> Packet<'f> {
    /// Reads what is behind the Ethernet header of type IPv4 or IPv6; `None`
    /// for a fragment, an unknown protocol, and whatever is cut off or wrong.
    pub(super) fn read(ethertype: u16, bytes: &'f [u8], checksum: Checksum) -> Option<Self> {
        let (length, header, protocol);
        let (source, destination): (IpAddr, IpAddr);
        if ethertype == cable::IPV4 {
            let packet = Ipv4Packet::new_checked(bytes).ok()?;
            let fragment = packet.more_frags() || packet.frag_offset() != 0;
            if packet.version() != 4 || fragment || !packet.verify_checksum() {
                return None;
            }
            (length, header) = (packet.total_len().into(), packet.header_len().into());
            (source, destination) = (packet.src_addr().into(), packet.dst_addr().into());
            protocol = packet.next_header();
        } else {
            let packet = Ipv6Packet::new_checked(bytes).ok()?;
            if packet.version() != 6 {
                return None;
            }
            (length, header) = (packet.total_len(), packet.header_len());
            (source, destination) = (packet.src_addr().into(), packet.dst_addr().into());
            protocol = packet.next_header();
        }
        let bytes = bytes.get(..length)?;
        let inner = bytes.get(header..)?;
        let verify = checksum == Checksum::Verify;
        let transport = match protocol {
            IpProtocol::Tcp => {
                let packet = TcpPacket::new_checked(inner).ok()?;
                let good = !verify || packet.verify_checksum(&source.into(), &destination.into());
                let ports = packet.src_port() != 0 && packet.dst_port() != 0;
                (good && ports).then_some(Transport::Tcp(inner))
            }
            IpProtocol::Udp => {
                let packet = UdpPacket::new_checked(inner).ok()?;
                let inner = inner.get(..packet.len().into())?;
                let good = !verify || packet.verify_checksum(&source.into(), &destination.into());
                let ports = packet.dst_port() != 0;
                (good && ports).then_some(Transport::Udp(inner))
            }
            IpProtocol::Icmp if source.is_ipv4() => {
                let packet = Icmpv4Packet::new_checked(inner).ok()?;
                packet.verify_checksum().then_some(Transport::Icmp(inner))
            }
            IpProtocol::Icmpv6 => {
                let (IpAddr::V6(from), IpAddr::V6(to)) = (source, destination) else {
                    return None;
                };
                let packet = Icmpv6Packet::new_checked(inner).ok()?;
                let good = !verify || packet.verify_checksum(&from, &to);
                good.then_some(Transport::Icmp(inner))
            }
            _ => None,
        }?;
        Some(Self {
            bytes,
            source,
            destination,
            transport,
        })
    }
}

/// An IP packet that was read once already.
pub(super) fn again(bytes: &[u8]) -> Option<Packet<'_>> {
    let is_ipv4 = bytes.first().is_some_and(|byte| byte >> 4 == 4);
    let ethertype = if is_ipv4 { cable::IPV4 } else { cable::IPV6 };
    Packet::read(ethertype, bytes, Checksum::Trust)
}

/// The addresses and the type of a frame; `None` if it has no Ethernet header.
pub(super) fn ethernet(frame: &[u8]) -> Option<Ethernet<'_>> {
    let header = EthernetFrame::new_checked(frame).ok()?;
    Some(Ethernet {
        source: header.src_addr().0,
        destination: header.dst_addr().0,
        ethertype: header.ethertype().into(),
        payload: frame.get(cable::ETHERNET..)?,
    })
}

/// A frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ethernet<'f> {
    pub(super) source: [u8; 6],
    pub(super) destination: [u8; 6],
    pub(super) ethertype: u16,
    pub(super) payload: &'f [u8],
}

/// Sends the guest a datagram, if it fits a frame; whether it does.
pub(super) fn send_datagram(
    cable: &mut Cable,
    from: SocketAddr,
    to: SocketAddr,
    payload: &[&[u8]],
) -> bool {
    let datagram = UdpRepr {
        src_port: from.port(),
        dst_port: to.port(),
    };
    let length: usize = payload.iter().map(|part| part.len()).sum();
    let whole = length.saturating_add(datagram.header_len());
    let (source, destination) = (from.ip().into(), to.ip().into());
    send_ip(cable, from.ip(), to.ip(), IpProtocol::Udp, whole, |room| {
        datagram.emit(
            &mut UdpPacket::new_unchecked(room),
            &source,
            &destination,
            length,
            |room| {
                let bytes = payload.iter().copied().flatten();
                for (place, byte) in room.iter_mut().zip(bytes) {
                    *place = *byte;
                }
            },
            &ChecksumCapabilities::default(),
        );
    })
}

/// Sends the guest a message of ICMP of either version, as it is but for its checksum.
pub(super) fn send_icmp(cable: &mut Cable, from: IpAddr, to: IpAddr, message: &[u8]) -> bool {
    let protocol = if from.is_ipv4() {
        IpProtocol::Icmp
    } else {
        IpProtocol::Icmpv6
    };
    send_ip(cable, from, to, protocol, message.len(), |room| {
        room.copy_from_slice(message);
        match (from, to) {
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                Icmpv6Packet::new_unchecked(room).fill_checksum(&from, &to);
            }
            _ => Icmpv4Packet::new_unchecked(room).fill_checksum(),
        }
    })
}

/// Why something does not reach where it was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    Network,
    Host,
    Port,
    Prohibited,
}

/// What the guest sent: its addresses, and the first bytes of the transport's
/// header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sent<'p> {
    pub(super) from: IpAddr,
    pub(super) to: IpAddr,
    pub(super) protocol: IpProtocol,
    pub(super) start: &'p [u8],
}

impl<'p> Sent<'p> {
    /// What the packet was.
    pub(super) fn of(packet: &Packet<'p>) -> Self {
        let (protocol, bytes) = match packet.transport {
            Transport::Tcp(bytes) => (IpProtocol::Tcp, bytes),
            Transport::Udp(bytes) => (IpProtocol::Udp, bytes),
            Transport::Icmp(bytes) if packet.source.is_ipv4() => (IpProtocol::Icmp, bytes),
            Transport::Icmp(bytes) => (IpProtocol::Icmpv6, bytes),
        };
        Self {
            from: packet.source,
            to: packet.destination,
            protocol,
            start: bytes.get(..QUOTED).unwrap_or(bytes),
        }
    }

    /// Tells the guest that it does not reach its destination (RFC 792, RFC
    /// 4443). `teller` says so.
    pub(super) fn unreachable(&self, cable: &mut Cable, teller: IpAddr, why: Why) {
        let checksums = ChecksumCapabilities::default();
        match (self.from, self.to, teller) {
            (IpAddr::V4(from), IpAddr::V4(to), IpAddr::V4(_)) => {
                let message = Icmpv4Repr::DstUnreachable {
                    reason: match why {
                        Why::Network => Icmpv4DstUnreachable::NetUnreachable,
                        Why::Host => Icmpv4DstUnreachable::HostUnreachable,
                        Why::Port => Icmpv4DstUnreachable::PortUnreachable,
                        Why::Prohibited => Icmpv4DstUnreachable::CommProhibited,
                    },
                    header: header_v4(from, to, self.protocol, self.start.len()),
                    data: self.start,
                };
                let length = message.buffer_len();
                let to = self.from;
                send_ip(cable, teller, to, IpProtocol::Icmp, length, |room| {
                    message.emit(&mut Icmpv4Packet::new_unchecked(room), &checksums);
                });
            }
            (IpAddr::V6(from), IpAddr::V6(to), IpAddr::V6(source)) => {
                let message = Icmpv6Repr::DstUnreachable {
                    reason: match why {
                        Why::Network => Icmpv6DstUnreachable::NoRoute,
                        Why::Host => Icmpv6DstUnreachable::AddrUnreachable,
                        Why::Port => Icmpv6DstUnreachable::PortUnreachable,
                        Why::Prohibited => Icmpv6DstUnreachable::AdminProhibit,
                    },
                    header: header_v6(from, to, self.protocol, self.start.len()),
                    data: self.start,
                };
                let length = message.buffer_len();
                let guest = self.from;
                send_ip(cable, teller, guest, IpProtocol::Icmpv6, length, |room| {
                    let mut packet = Icmpv6Packet::new_unchecked(room);
                    message.emit(&source, &from, &mut packet, &checksums);
                });
            }
            _ => {}
        }
    }
}

/// Sends an IP packet with so many bytes behind its header, if it fits a
/// frame; whether it does.
fn send_ip(
    cable: &mut Cable,
    from: IpAddr,
    to: IpAddr,
    protocol: IpProtocol,
    length: usize,
    fill: impl FnOnce(&mut [u8]),
) -> bool {
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let header = header_v4(from, to, protocol, length);
            let whole = header.buffer_len().saturating_add(length);
            if whole > cable.mtu() {
                return false;
            }
            cable.send(cable::IPV4, whole, |room| {
                let mut packet = Ipv4Packet::new_unchecked(room);
                header.emit(&mut packet, &ChecksumCapabilities::default());
                fill(packet.payload_mut());
            });
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let header = header_v6(from, to, protocol, length);
            let whole = header.buffer_len().saturating_add(length);
            if whole > cable.mtu() {
                return false;
            }
            cable.send(cable::IPV6, whole, |room| {
                let mut packet = Ipv6Packet::new_unchecked(room);
                header.emit(&mut packet);
                fill(packet.payload_mut());
            });
        }
        _ => return false,
    }
    true
}

fn header_v4(from: Ipv4Addr, to: Ipv4Addr, protocol: IpProtocol, length: usize) -> Ipv4Repr {
    Ipv4Repr {
        src_addr: from,
        dst_addr: to,
        next_header: protocol,
        payload_len: length,
        hop_limit: HOPS,
    }
}

fn header_v6(from: Ipv6Addr, to: Ipv6Addr, protocol: IpProtocol, length: usize) -> Ipv6Repr {
    // Neighbours are told from strangers by this number (RFC 4861).
    let hop_limit = if protocol == IpProtocol::Icmpv6 {
        NEIGHBOUR_HOPS
    } else {
        HOPS
    };
    Ipv6Repr {
        src_addr: from,
        dst_addr: to,
        next_header: protocol,
        payload_len: length,
        hop_limit,
    }
}

/// So much of a packet is quoted when it does not arrive.
pub(super) const QUOTED: usize = 32;

const HOPS: u8 = 64;
const NEIGHBOUR_HOPS: u8 = 255;
