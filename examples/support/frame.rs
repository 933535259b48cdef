//! Ethernet frames with whatever addresses: honest ones for a guest that
//! boots, others for one that pretends.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol,
    EthernetRepr, Icmpv6Packet, Icmpv6Repr, IpProtocol, Ipv4Packet, Ipv4Repr, Ipv6Packet, Ipv6Repr,
    NdiscRepr, UdpPacket, UdpRepr,
};
use tapwire::Mac;

/// Asks over ARP who has `target`, and tells that `address` is at `mac`.
pub(crate) fn arp_request(mac: Mac, address: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
    let request = ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Request,
        source_hardware_addr: EthernetAddress(mac.octets()),
        source_protocol_addr: address,
        target_hardware_addr: EthernetAddress::default(),
        target_protocol_addr: target,
    };
    let (length, protocol) = (request.buffer_len(), EthernetProtocol::Arp);
    ethernet(mac, EthernetAddress::BROADCAST, protocol, length, |bytes| {
        request.emit(&mut ArpPacket::new_unchecked(bytes));
    })
}

/// Asks over ND (RFC 4861) who has `target`, and tells that `address` is at
/// `mac`.
pub(crate) fn neighbour_solicitation(mac: Mac, address: Ipv6Addr, target: Ipv6Addr) -> Vec<u8> {
    let solicitation = Icmpv6Repr::Ndisc(NdiscRepr::NeighborSolicit {
        target_addr: target,
        lladdr: Some(EthernetAddress(mac.octets()).into()),
    });
    // The group and its Ethernet address are made of the target's last bytes.
    let [.., a, b, c] = target.octets();
    let group = Ipv6Addr::from([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c]);
    let to = EthernetAddress([0x33, 0x33, 0xff, a, b, c]);
    let header = Ipv6Repr {
        src_addr: address,
        dst_addr: group,
        next_header: IpProtocol::Icmpv6,
        payload_len: solicitation.buffer_len(),
        hop_limit: 255,
    };
    let length = header.buffer_len().saturating_add(header.payload_len);
    ethernet(mac, to, EthernetProtocol::Ipv6, length, |bytes| {
        let mut packet = Ipv6Packet::new_unchecked(bytes);
        header.emit(&mut packet);
        let mut inner = Icmpv6Packet::new_unchecked(packet.payload_mut());
        solicitation.emit(
            &address,
            &group,
            &mut inner,
            &ChecksumCapabilities::default(),
        );
    })
}

/// A datagram; `None` if one address is IPv4 and the other IPv6.
pub(crate) fn udp(
    mac: Mac,
    gateway: Mac,
    from: SocketAddr,
    to: SocketAddr,
    payload: &[u8],
) -> Option<Vec<u8>> {
    let datagram = UdpRepr {
        src_port: from.port(),
        dst_port: to.port(),
    };
    let (source, destination) = (from.ip().into(), to.ip().into());
    let checksums = ChecksumCapabilities::default();
    let emit = |bytes: &mut [u8]| {
        datagram.emit(
            &mut UdpPacket::new_unchecked(bytes),
            &source,
            &destination,
            payload.len(),
            |room| room.copy_from_slice(payload),
            &checksums,
        );
    };
    let payload_len = datagram.header_len().saturating_add(payload.len());
    let next_header = IpProtocol::Udp;
    let gateway = EthernetAddress(gateway.octets());
    match (from.ip(), to.ip()) {
        (IpAddr::V4(src_addr), IpAddr::V4(dst_addr)) => {
            let header = Ipv4Repr {
                src_addr,
                dst_addr,
                next_header,
                payload_len,
                hop_limit: HOPS,
            };
            let length = header.buffer_len().saturating_add(payload_len);
            let protocol = EthernetProtocol::Ipv4;
            Some(ethernet(mac, gateway, protocol, length, |bytes| {
                let mut packet = Ipv4Packet::new_unchecked(bytes);
                header.emit(&mut packet, &checksums);
                emit(packet.payload_mut());
            }))
        }
        (IpAddr::V6(src_addr), IpAddr::V6(dst_addr)) => {
            let header = Ipv6Repr {
                src_addr,
                dst_addr,
                next_header,
                payload_len,
                hop_limit: HOPS,
            };
            let length = header.buffer_len().saturating_add(payload_len);
            let protocol = EthernetProtocol::Ipv6;
            Some(ethernet(mac, gateway, protocol, length, |bytes| {
                let mut packet = Ipv6Packet::new_unchecked(bytes);
                header.emit(&mut packet);
                emit(packet.payload_mut());
            }))
        }
        _ => None,
    }
}

fn ethernet(
    from: Mac,
    to: EthernetAddress,
    ethertype: EthernetProtocol,
    length: usize,
    fill: impl FnOnce(&mut [u8]),
) -> Vec<u8> {
    let header = EthernetRepr {
        src_addr: EthernetAddress(from.octets()),
        dst_addr: to,
        ethertype,
    };
    let mut bytes = vec![0; EthernetFrame::<&[u8]>::buffer_len(length)];
    let mut frame = EthernetFrame::new_unchecked(&mut bytes);
    header.emit(&mut frame);
    fill(frame.payload_mut());
    bytes
}

const HOPS: u8 = 64;
