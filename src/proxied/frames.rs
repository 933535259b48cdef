//! Frames of the guest's: whose they are, and who takes what is in them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use smoltcp::time::Instant;

use super::neighbours::{self, Verdict};
use super::outside::Outside;
use super::packet::{self, Checksum, Ethernet, Packet, Transport};
use super::{Proxied, cable};
use crate::guest::GATEWAY_MAC;

impl Proxied {
    /// Takes one frame of the guest's.
    pub(super) fn take(&mut self, frame: &[u8], checksum: Checksum, now: Instant) {
        let counters = Arc::clone(&self.outside.counters);
        let Some(frame) = packet::ethernet(frame) else {
            return counters.malformed.one();
        };
        if frame.source != self.outside.settings.mac.octets() {
            return counters.spoofed.one();
        }
        let verdict = match frame.ethertype {
            cable::ARP => {
                let Outside {
                    cable, settings, ..
                } = &mut self.outside;
                neighbours::arp(cable, settings, frame.payload)
            }
            cable::IPV4 | cable::IPV6 => self.take_packet(&frame, checksum, now),
            _ => Verdict::Malformed,
        };
        match verdict {
            Verdict::Honest => {}
            Verdict::Spoofed => counters.spoofed.one(),
            Verdict::Malformed => counters.malformed.one(),
        }
    }

    fn take_packet(&mut self, frame: &Ethernet<'_>, checksum: Checksum, now: Instant) -> Verdict {
        let [first, ..] = frame.destination;
        let is_group = first & 1 != 0;
        let Some(packet) = Packet::read(frame.ethertype, frame.payload, checksum) else {
            // What hosts tell groups about themselves is of no interest here.
            return if is_group {
                Verdict::Honest
            } else {
                Verdict::Malformed
            };
        };
        let outside = &mut self.outside;
        if let Transport::Icmp(message) = packet.transport
            && let Some(verdict) =
                neighbours::discovery(&mut outside.cable, &outside.settings, &packet, message)
        {
            return verdict;
        }
        if let Transport::Udp([_, _, 0, DHCP_SERVER, ..]) = packet.transport
            && packet.source.is_ipv4()
            && self.answer_to_dhcp(&packet)
        {
            return Verdict::Honest;
        }
        let outside = &mut self.outside;
        let ipv4 = packet.source.is_ipv4();
        if packet.source != outside.settings.guest(ipv4) {
            return if is_silent(packet.source) {
                Verdict::Honest
            } else {
                Verdict::Spoofed
            };
        }
        if frame.destination != GATEWAY_MAC.octets() {
            return Verdict::Honest;
        }
        match packet.transport {
            Transport::Tcp(segment) => {
                self.connections.receive(outside, &packet, segment, now);
            }
            Transport::Udp(datagram) => {
                let doors = &self.doors;
                self.exchanges
                    .receive(outside, doors, &packet, datagram, now);
            }
            Transport::Icmp(message) => self.echoes.receive(outside, &packet, message, now),
        }
        Verdict::Honest
    }

    /// Whether it was a message to a DHCP server, answered or not.
    fn answer_to_dhcp(&mut self, packet: &Packet<'_>) -> bool {
        let settings = &self.outside.settings;
        let (guest, gateway) = (settings.guest(true), settings.gateway(true));
        let is_own = packet.source == guest || packet.source.is_unspecified();
        let is_here = packet.destination == gateway || packet.destination == BROADCAST;
        let (Some(responder), true) = (&mut self.dhcp, is_own && is_here) else {
            return false;
        };
        if let Transport::Udp(datagram) = packet.transport
            && let Some(message) = datagram.get(UDP_HEADER..)
            && let Some(answer) = responder(message)
        {
            let from = SocketAddr::new(gateway, DHCP_SERVER.into());
            let to = SocketAddr::new(BROADCAST, DHCP_CLIENT);
            self.outside.send_datagram(from, to, &[&answer]);
        }
        true
    }
}

/// Whether it is an address that hosts have before, or beside, the one that
/// they were given.
fn is_silent(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_unspecified(),
        IpAddr::V6(address) => address.is_unspecified() || address.is_unicast_link_local(),
    }
}

const DHCP_SERVER: u8 = 67;
const DHCP_CLIENT: u16 = 68;
const UDP_HEADER: usize = 8;
const BROADCAST: IpAddr = IpAddr::V4(Ipv4Addr::BROADCAST);
