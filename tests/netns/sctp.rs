//! SCTP, which few machines have sockets for: by raw packets.

use std::fs::File;
use std::io::Read;
use std::net::{IpAddr, SocketAddr};

use libtest_mimic::Trial;
use rustix::net::{AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType};
use tapwire::{Attachment, Exposure, Flows, Guest};

use crate::support::trials;
use crate::world::{FAMILIES, NEVER, NODE, OUTSIDE, SOON, World, address_of, at, within};

pub(crate) fn trials() -> Vec<Trial> {
    trials![association_is_led_to_the_guest_and_back_with_right_checksums]
}

const CLIENT_PORT: u16 = 5000;
const HOST_PORT: u16 = 36412;
const GUEST_PORT: u16 = 80;
const CLIENT_TAG: u32 = 0x0102_0304;

const INIT: u8 = 1;
const INIT_ACK: u8 = 2;

fn association_is_led_to_the_guest_and_back_with_right_checksums() {
    let world = World::new();
    let mut host = world.host();
    let guest = host.attach(&Guest::new("mme").unwrap()).unwrap();
    let mut tap = File::from(world.open_tap(&guest));
    let exposure: Exposure = "sctp/36412->mme:80".parse().unwrap();
    host.expose(&exposure).unwrap();
    assert_eq!(host.exposures().unwrap()[0].exposure(), &exposure);
    for family in FAMILIES {
        let socket = world.outside.run(|| raw(family)).unwrap();
        let send = || {
            let init = packet(CLIENT_PORT, HOST_PORT, 0, INIT, CLIENT_TAG);
            // A raw socket takes no port with an address of IPv6.
            let to = at(NODE[family], 0);
            rustix::net::sendto(&socket, &init, SendFlags::empty(), &to).unwrap();
        };
        let arrived = within(SOON, |_| {
            send();
            take_sctp(&mut tap, family)
        });
        let (source, destination, init) = arrived.expect("no INIT reached the guest");
        assert_eq!(source, OUTSIDE[family].parse::<IpAddr>().unwrap());
        assert_eq!(destination, address_of(&guest, family));
        assert_eq!(ports(&init), (CLIENT_PORT, GUEST_PORT));
        assert!(is_sound(&init), "the checksum of the INIT");
        let answer = packet(GUEST_PORT, CLIENT_PORT, CLIENT_TAG, INIT_ACK, 7);
        let frame = frame(&guest, family, &answer);
        let back = within(SOON, |_| {
            std::io::Write::write(&mut tap, &frame).unwrap();
            receive(&socket, family)
        });
        let (from, answer) = back.expect("no INIT ACK came back");
        assert_eq!(from, NODE[family].parse::<IpAddr>().unwrap());
        assert_eq!(ports(&answer), (HOST_PORT, CLIENT_PORT));
        assert!(is_sound(&answer), "the checksum of the INIT ACK");
    }
    assert_eq!(host.exposures().unwrap()[0].connections(), 2);
    host.withdraw(&exposure, Flows::Cut).unwrap();
    let socket = world.outside.run(|| raw(0)).unwrap();
    let late = within(NEVER, |_| {
        let init = packet(CLIENT_PORT + 1, HOST_PORT, 0, INIT, CLIENT_TAG);
        let to = at(NODE[0], 0);
        rustix::net::sendto(&socket, &init, SendFlags::empty(), &to).unwrap();
        take_sctp(&mut tap, 0).filter(|(_, _, init)| ports(init).0 == CLIENT_PORT + 1)
    });
    assert_eq!(late, None);
}

fn raw(family: usize) -> std::os::fd::OwnedFd {
    let domain = [AddressFamily::INET, AddressFamily::INET6][family];
    let sctp = Protocol::from_raw(132.try_into().unwrap());
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    rustix::net::socket_with(domain, SocketType::RAW, flags, Some(sctp)).unwrap()
}

/// The next answer that a raw socket has: with an IP header if it is IPv4.
fn receive(socket: &std::os::fd::OwnedFd, family: usize) -> Option<(IpAddr, Vec<u8>)> {
    let mut bytes = [0; 2048];
    let received = rustix::net::recvfrom(socket, &mut bytes[..], RecvFlags::empty()).ok()?;
    let from = SocketAddr::try_from(received.2?).unwrap().ip();
    let header = if family == 0 { 20 } else { 0 };
    let packet = bytes[header..received.0].to_vec();
    (packet[12] == INIT_ACK).then_some((from, packet))
}

/// The next SCTP packet on a TAP, and its addresses.
fn take_sctp(tap: &mut File, family: usize) -> Option<(IpAddr, IpAddr, Vec<u8>)> {
    let mut bytes = [0; 2048];
    while let Ok(length) = tap.read(&mut bytes) {
        let frame = &bytes[..length];
        match (family, u16::from_be_bytes([frame[12], frame[13]])) {
            (0, 0x0800) if frame[23] == 132 => {
                let address = |at: usize| <[u8; 4]>::try_from(&frame[at..at + 4]).unwrap().into();
                return Some((address(26), address(30), frame[34..].to_vec()));
            }
            (1, 0x86dd) if frame[20] == 132 => {
                let address = |at: usize| <[u8; 16]>::try_from(&frame[at..at + 16]).unwrap().into();
                return Some((address(22), address(38), frame[54..].to_vec()));
            }
            _ => {}
        }
    }
    None
}

/// A frame from the guest to the outside.
fn frame(guest: &Attachment, family: usize, packet: &[u8]) -> Vec<u8> {
    let gateway = [0x02, 0x74, 0x77, 0xff, 0xff, 0xfe];
    let mut frame = [gateway, guest.mac().octets()].concat();
    let length = u16::try_from(packet.len()).unwrap();
    match (address_of(guest, family), OUTSIDE[family].parse().unwrap()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let mut header = vec![0x45, 0];
            header.extend((length + 20).to_be_bytes());
            header.extend([0, 0, 0, 0, 64, 132, 0, 0]);
            header.extend(from.octets().into_iter().chain(to.octets()));
            let words = header
                .chunks(2)
                .map(|word| u32::from(word[0]) << 8 | u32::from(word[1]));
            let sum: u32 = words.sum();
            let folded = (sum & 0xffff) + (sum >> 16);
            let checksum = !u16::try_from((folded & 0xffff) + (folded >> 16)).unwrap();
            header[10..12].copy_from_slice(&checksum.to_be_bytes());
            frame.extend([0x08, 0x00]);
            frame.extend(header);
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            frame.extend(length.to_be_bytes());
            frame.extend([132, 64]);
            frame.extend(from.octets().into_iter().chain(to.octets()));
        }
        _ => unreachable!(),
    }
    frame.extend(packet);
    frame
}

/// A packet with one chunk, INIT or INIT ACK (RFC 9260, 3.3.2).
fn packet(source: u16, destination: u16, tag: u32, kind: u8, initiate: u32) -> Vec<u8> {
    let mut packet = [source.to_be_bytes(), destination.to_be_bytes()].concat();
    packet.extend(tag.to_be_bytes());
    packet.extend([0; 4]);
    packet.extend([kind, 0, 0, 20]);
    packet.extend(initiate.to_be_bytes());
    packet.extend(65_536_u32.to_be_bytes());
    packet.extend([0, 1, 0, 1]);
    packet.extend(1_u32.to_be_bytes());
    let checksum = crc32c(&packet);
    packet[8..12].copy_from_slice(&checksum.to_le_bytes());
    packet
}

fn ports(packet: &[u8]) -> (u16, u16) {
    let port = |at: usize| u16::from_be_bytes([packet[at], packet[at + 1]]);
    (port(0), port(2))
}

fn is_sound(packet: &[u8]) -> bool {
    let mut bare = packet.to_vec();
    bare[8..12].fill(0);
    packet[8..12] == crc32c(&bare).to_le_bytes()
}

/// RFC 9260, appendix A.
fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = !0_u32;
    for &byte in bytes {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            let odd = crc & 1 != 0;
            crc >>= 1;
            if odd {
                crc ^= 0x82f6_3b78;
            }
        }
    }
    !crc
}
