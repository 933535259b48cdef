//! Frames by hand: a guest that pretends to be another, and whatever bytes.

use std::cell::RefCell;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;
use std::time::Duration;

use libtest_mimic::Trial;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, recv, socketpair};
use tapwire::guest::GATEWAY_MAC;
use tapwire::{Guest, Mac, Proxied, ProxiedCounters, ProxiedSettings};

use super::scene::{GATEWAY, GUEST, MAC};
use crate::stand_ins::frame;
use crate::support::trials;
use crate::world::{FAMILIES, at};

pub(super) fn trials() -> Vec<Trial> {
    trials![
        gateway_answers_for_itself_and_nobody_else,
        foreign_addresses_are_dropped_and_counted,
        dhcp_is_answered_by_who_was_asked_to,
        no_frame_makes_it_panic,
    ]
}

/// A proxy that is driven by hand, and the guest's end of its wire.
pub(super) struct Bench {
    pub(super) proxied: Proxied,
    wire: OwnedFd,
}

impl Bench {
    pub(super) fn new() -> Self {
        let guest = Guest::new("one").unwrap();
        let (ours, wire) = pair(SocketType::SEQPACKET);
        let settings = ProxiedSettings::new(&guest).resolvers([at("127.0.0.53", 53)]);
        let proxied = Proxied::over(ours, settings).unwrap();
        Self { proxied, wire }
    }

    /// The guest sends a frame; what it is answered.
    fn send(&mut self, frame: &[u8]) -> Vec<Vec<u8>> {
        rustix::io::write(&self.wire, frame).unwrap();
        self.turn();
        let mut frames = Vec::new();
        let mut room = [0; 2000];
        while let Ok((length, _)) = recv(&self.wire, &mut room, RecvFlags::DONTWAIT) {
            frames.push(room[..length].to_vec());
        }
        frames
    }

    pub(super) fn turn(&mut self) {
        assert!(!self.proxied.turn(Some(Duration::ZERO)).unwrap());
    }

    fn counters(&self) -> ProxiedCounters {
        self.proxied.handle().counters()
    }
}

pub(super) fn pair(kind: SocketType) -> (OwnedFd, OwnedFd) {
    socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).unwrap()
}

fn gateway_answers_for_itself_and_nobody_else() {
    let mut bench = Bench::new();
    let (guest, gateway) = (v4(GUEST[0]), v4(GATEWAY[0]));
    let answers = bench.send(&frame::arp_request(own(), guest, gateway));
    assert_eq!(answers.len(), 1);
    assert_eq!(answers[0][..14], ethernet(0x0806));
    // Sender: the gateway's MAC and address.
    assert_eq!(answers[0][22..28], GATEWAY_MAC.octets());
    assert_eq!(answers[0][28..32], gateway.octets());
    let other = bench.send(&frame::arp_request(
        own(),
        guest,
        Ipv4Addr::new(198, 18, 0, 3),
    ));
    assert!(other.is_empty());
    // Asking whether its own address is free is honest.
    let probe = frame::arp_request(own(), Ipv4Addr::UNSPECIFIED, guest);
    assert!(bench.send(&probe).is_empty());

    let (guest, gateway) = (v6(GUEST[1]), v6(GATEWAY[1]));
    let answers = bench.send(&frame::neighbour_solicitation(own(), guest, gateway));
    assert_eq!(answers.len(), 1);
    assert_eq!(answers[0][..14], ethernet(0x86dd));
    assert_eq!(answers[0][54], 136, "a neighbour advertisement");
    assert_eq!(answers[0][62..78], gateway.octets());
    assert_eq!(answers[0][80..86], GATEWAY_MAC.octets());
    let other = v6("fd2c:6b8f:4a10::3");
    assert!(
        bench
            .send(&frame::neighbour_solicitation(own(), guest, other))
            .is_empty()
    );
    assert_eq!(bench.counters(), ProxiedCounters::default());
}

fn foreign_addresses_are_dropped_and_counted() {
    let mut bench = Bench::new();
    let foreign = Mac::new([2, 0, 0, 0, 0, 9]).unwrap();
    let (guest, gateway) = (v4(GUEST[0]), v4(GATEWAY[0]));
    let (guest6, gateway6) = (v6(GUEST[1]), v6(GATEWAY[1]));
    let mut frames = vec![
        frame::arp_request(foreign, guest, gateway),
        frame::arp_request(own(), Ipv4Addr::new(198, 18, 0, 3), gateway),
        frame::arp_request(own(), gateway, gateway),
        frame::neighbour_solicitation(own(), v6("fd2c:6b8f:4a10::3"), gateway6),
        frame::neighbour_solicitation(foreign, guest6, gateway6),
        lying(&frame::arp_request(foreign, guest, gateway)),
        lying(&frame::neighbour_solicitation(foreign, guest6, gateway6)),
    ];
    for family in FAMILIES {
        let to = at(["203.0.113.7", "2001:db8::7"][family], 7);
        let other = at(["198.18.0.3", "fd2c:6b8f:4a10::3"][family], 7);
        let honest = at(GUEST[family], 7);
        for (mac, from) in [(foreign, honest), (own(), other)] {
            frames.push(frame::udp(mac, GATEWAY_MAC, from, to, b"x").unwrap());
        }
    }
    for (number, frame) in frames.iter().enumerate() {
        assert!(bench.send(frame).is_empty(), "frame {number} was answered");
        let counters = bench.counters();
        assert_eq!(
            counters.spoofed(),
            u64::try_from(number).unwrap() + 1,
            "frame {number}"
        );
        assert_eq!(counters.flows(), 0);
    }
    assert_eq!(bench.counters().malformed(), 0);
}

/// The frame's own sender is the guest, whatever it says within.
fn lying(frame: &[u8]) -> Vec<u8> {
    let mut frame = frame.to_vec();
    frame[6..12].copy_from_slice(&MAC);
    frame
}

fn dhcp_is_answered_by_who_was_asked_to() {
    let mut bench = Bench::new();
    let broadcast = Mac::new([2, 0, 0, 0, 0, 0]).unwrap();
    let (none, all) = (at("0.0.0.0", 68), at("255.255.255.255", 67));
    let mut discover = frame::udp(own(), broadcast, none, all, b"discover").unwrap();
    discover[..6].fill(0xff);
    assert!(bench.send(&discover).is_empty());
    bench.proxied.answer_dhcp(|message| {
        assert_eq!(message, b"discover");
        Some(b"offer".to_vec())
    });
    let answers = bench.send(&discover);
    assert_eq!(answers.len(), 1);
    assert_eq!(answers[0][..14], ethernet(0x0800));
    assert_eq!(answers[0][26..30], v4(GATEWAY[0]).octets());
    assert_eq!(answers[0][34..38], [0, 67, 0, 68]);
    assert_eq!(&answers[0][42..], b"offer");
    assert_eq!(bench.counters(), ProxiedCounters::default());
}

fn no_frame_makes_it_panic() {
    let bench = RefCell::new(Bench::new());
    let mut runner = TestRunner::new(Config {
        cases: 4000,
        failure_persistence: None,
        ..Config::default()
    });
    // Nothing of it reaches further than this namespace, whose loopback is
    // down.
    let frames = prop_oneof![
        vec(any::<u8>(), 1..200),
        likely(),
        likely().prop_flat_map(damaged),
    ];
    runner
        .run(&frames, |frame| {
            bench.borrow_mut().send(&frame);
            Ok(())
        })
        .unwrap();
    let mut bench = bench.into_inner();
    let counters = bench.counters();
    assert!(
        counters.malformed() > 100 && counters.spoofed() > 10,
        "{counters:?}"
    );
    // It works as before.
    let request = frame::arp_request(own(), v4(GUEST[0]), v4(GATEWAY[0]));
    let answers = bench.send(&request);
    assert!(
        answers
            .iter()
            .any(|answer| answer[..14] == ethernet(0x0806))
    );
}

/// A frame that begins as one of the guest's, of each protocol.
fn likely() -> impl Strategy<Value = Vec<u8>> {
    let protocols = prop_oneof![Just(6_u8), Just(17), Just(1), Just(58), any::<u8>()];
    let parts = (
        any::<bool>(),
        protocols,
        vec(any::<u8>(), 0..120),
        any::<[u8; 4]>(),
    );
    parts.prop_map(|(ipv4, protocol, inner, to)| {
        let mut frame = GATEWAY_MAC.octets().to_vec();
        frame.extend(MAC);
        let length = u16::try_from(inner.len()).unwrap();
        if ipv4 {
            frame.extend([8, 0, 0x45, 0]);
            frame.extend((length + 20).to_be_bytes());
            frame.extend([0, 0, 0, 0, 64, protocol, 0, 0]);
            frame.extend(v4(GUEST[0]).octets());
            frame.extend(to);
            let sum: u32 = frame[14..34]
                .chunks(2)
                .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
                .sum();
            let folded = (sum & 0xffff) + (sum >> 16);
            let folded = u16::try_from((folded & 0xffff) + (folded >> 16)).unwrap();
            frame[24..26].copy_from_slice(&(!folded).to_be_bytes());
        } else {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            frame.extend(length.to_be_bytes());
            frame.extend([protocol, 255]);
            frame.extend(v6(GUEST[1]).octets());
            frame.extend([0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0]);
            frame.extend(to);
        }
        frame.extend(inner);
        frame
    })
}

/// The frame with a byte changed, and cut off.
fn damaged(frame: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
    let length = frame.len();
    (0..length, any::<u8>(), 1..=length).prop_map(move |(place, byte, end)| {
        let mut frame = frame.clone();
        frame[place] = byte;
        frame.truncate(end);
        frame
    })
}

/// The Ethernet header of a frame to the guest.
fn ethernet(kind: u16) -> [u8; 14] {
    let mut header = [0; 14];
    header[..6].copy_from_slice(&MAC);
    header[6..12].copy_from_slice(&GATEWAY_MAC.octets());
    header[12..].copy_from_slice(&kind.to_be_bytes());
    header
}

fn own() -> Mac {
    Mac::new(MAC).unwrap()
}

fn v4(address: &str) -> Ipv4Addr {
    address.parse().unwrap()
}

fn v6(address: &str) -> Ipv6Addr {
    address.parse().unwrap()
}
