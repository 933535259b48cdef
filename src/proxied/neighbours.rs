//! Who is at the gateway's addresses: ARP (RFC 826) and neighbour discovery
//! (RFC 4861).

use std::net::{IpAddr, Ipv6Addr};

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, Icmpv6Packet, Icmpv6Repr,
    NdiscNeighborFlags, NdiscRepr,
};

use super::cable::{self, Cable};
use super::packet::{Packet, send_icmp};
use super::settings::ProxiedSettings;
use crate::guest::GATEWAY_MAC;

/// What is to be thought of a message between neighbours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It was answered, or needs no answer.
    Honest,
    /// The guest pretends to be another.
    Spoofed,
    /// It is not understood.
    Malformed,
}

/// Takes a packet of ARP.
pub(super) fn arp(cable: &mut Cable, settings: &ProxiedSettings, packet: &[u8]) -> Verdict {
    let repr = ArpPacket::new_checked(packet).and_then(|packet| ArpRepr::parse(&packet));
    let Ok(ArpRepr::EthernetIpv4 {
        operation,
        source_hardware_addr: mac,
        source_protocol_addr: from,
        target_protocol_addr: target,
        ..
    }) = repr
    else {
        return Verdict::Malformed;
    };
    // Who asks whether an address is free has none yet (RFC 5227).
    let is_own = from == settings.ipv4.guest || from.is_unspecified();
    if mac.0 != settings.mac.octets() || !is_own {
        return Verdict::Spoofed;
    }
    if operation == ArpOperation::Request && target == settings.ipv4.gateway {
        let answer = ArpRepr::EthernetIpv4 {
            operation: ArpOperation::Reply,
            source_hardware_addr: EthernetAddress(GATEWAY_MAC.octets()),
            source_protocol_addr: target,
            target_hardware_addr: mac,
            target_protocol_addr: from,
        };
        cable.send(cable::ARP, answer.buffer_len(), |room| {
            answer.emit(&mut ArpPacket::new_unchecked(room));
        });
    }
    Verdict::Honest
}

/// Takes a message of neighbour discovery; `None` if it is none.
pub(super) fn discovery(
    cable: &mut Cable,
    settings: &ProxiedSettings,
    packet: &Packet<'_>,
    message: &[u8],
) -> Option<Verdict> {
    let (IpAddr::V6(from), IpAddr::V6(to)) = (packet.source, packet.destination) else {
        return None;
    };
    let message = Icmpv6Packet::new_checked(message).ok()?;
    if !message.msg_type().is_ndisc() {
        return None;
    }
    // The checksum was looked at, where it was to be.
    let repr = Icmpv6Repr::parse(&from, &to, &message, &ChecksumCapabilities::ignored());
    let Ok(Icmpv6Repr::Ndisc(repr)) = repr else {
        return Some(Verdict::Malformed);
    };
    // From a router on the way it would not have the full number of hops.
    let is_near = packet.bytes.get(7) == Some(&255);
    let is_own =
        |address: Ipv6Addr| address == settings.ipv6.guest || address.is_unicast_link_local();
    let link_address = match repr {
        NdiscRepr::NeighborSolicit { lladdr, .. }
        | NdiscRepr::NeighborAdvert { lladdr, .. }
        | NdiscRepr::RouterSolicit { lladdr } => lladdr,
        // A guest is no router.
        NdiscRepr::RouterAdvert { .. } | NdiscRepr::Redirect { .. } => {
            return Some(Verdict::Spoofed);
        }
    };
    let mac = settings.mac.octets();
    let is_honest = is_near
        && (is_own(from) || from.is_unspecified())
        && link_address.is_none_or(|address| address.as_bytes() == mac);
    if !is_honest {
        return Some(Verdict::Spoofed);
    }
    match repr {
        NdiscRepr::NeighborAdvert { target_addr, .. } if !is_own(target_addr) => {
            return Some(Verdict::Spoofed);
        }
        NdiscRepr::NeighborSolicit { target_addr, .. }
            if target_addr == settings.ipv6.gateway && !from.is_unspecified() =>
        {
            advertise(cable, target_addr, from);
        }
        _ => {}
    }
    Some(Verdict::Honest)
}

/// Tells the guest that the gateway is here.
fn advertise(cable: &mut Cable, gateway: Ipv6Addr, to: Ipv6Addr) {
    let advertisement = Icmpv6Repr::Ndisc(NdiscRepr::NeighborAdvert {
        flags: NdiscNeighborFlags::ROUTER
            | NdiscNeighborFlags::SOLICITED
            | NdiscNeighborFlags::OVERRIDE,
        target_addr: gateway,
        lladdr: Some(EthernetAddress(GATEWAY_MAC.octets()).into()),
    });
    let mut message = vec![0; advertisement.buffer_len()];
    let mut packet = Icmpv6Packet::new_unchecked(&mut message);
    advertisement.emit(&gateway, &to, &mut packet, &ChecksumCapabilities::default());
    // The shortest MTU has room for it.
    let _: bool = send_icmp(cable, gateway.into(), to.into(), &message);
}
