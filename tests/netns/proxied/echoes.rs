//! Who answers when the guest asks for an echo.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use libtest_mimic::Trial;
use rustix::net::{AddressFamily, SocketType, ipproto};
use tapwire::ProxiedNotice;

use super::scene::{GATEWAY, Scene, Start};
use crate::support::trials;
use crate::world::{FAMILIES, NEVER, NODE, OUTSIDE, SOON, ip};

pub(super) fn trials() -> Vec<Trial> {
    trials![
        gateway_and_others_answer,
        host_does_not_answer_at_its_own_addresses,
        without_leave_the_gateway_alone_answers_and_a_notice_says_so,
    ]
}

fn gateway_and_others_answer() {
    let scene = Start::new().go();
    assert_eq!(scene.notices, []);
    for family in FAMILIES {
        for address in [GATEWAY[family], OUTSIDE[family]] {
            let socket = pinger(&scene, ip(address));
            for number in 1..=3 {
                ask(&socket, family, number, &[number; 1000]);
                assert!(is_answered(&socket, family, number), "{address}");
            }
        }
        // Two at once are told apart.
        let [one, two] = [(); 2].map(|()| pinger(&scene, ip(OUTSIDE[family])));
        ask(&one, family, 1, b"one");
        ask(&two, family, 2, b"two");
        assert!(is_answered(&two, family, 2));
        assert!(is_answered(&one, family, 1));
    }
    assert_eq!(scene.counters().denied(), 0);
    // One of each to the outside, and two more.
    assert_eq!(scene.counters().flows(), 6);
}

fn host_does_not_answer_at_its_own_addresses() {
    let scene = Start::new().go();
    for family in FAMILIES {
        let socket = pinger(&scene, ip(NODE[family]));
        socket.set_read_timeout(Some(NEVER)).unwrap();
        ask(&socket, family, 1, b"x");
        assert!(!is_answered(&socket, family, 1));
    }
    assert_eq!(scene.counters().denied(), 2);
}

fn without_leave_the_gateway_alone_answers_and_a_notice_says_so() {
    let start = Start {
        may_ping: false,
        ..Start::new()
    };
    let scene = start.go();
    let expected = [ProxiedNotice::NoEchoV4, ProxiedNotice::NoEchoV6];
    assert_eq!(scene.notices, expected);
    for family in FAMILIES {
        let gateway = pinger(&scene, ip(GATEWAY[family]));
        ask(&gateway, family, 1, b"x");
        assert!(is_answered(&gateway, family, 1));
        let socket = pinger(&scene, ip(OUTSIDE[family]));
        socket.set_read_timeout(Some(NEVER)).unwrap();
        ask(&socket, family, 1, b"x");
        assert!(!is_answered(&socket, family, 1));
    }
    assert_eq!(scene.counters().refused(), 2);
}

/// A socket of the guest's for echoes of one host (`icmp(7)`).
fn pinger(scene: &Scene, to: IpAddr) -> UdpSocket {
    let make = || {
        std::fs::write("/proc/sys/net/ipv4/ping_group_range", "0 0").unwrap();
        let (family, protocol) = if to.is_ipv4() {
            (AddressFamily::INET, ipproto::ICMP)
        } else {
            (AddressFamily::INET6, ipproto::ICMPV6)
        };
        let fd = rustix::net::socket(family, SocketType::DGRAM, Some(protocol)).unwrap();
        rustix::net::connect(&fd, &SocketAddr::new(to, 0)).unwrap();
        UdpSocket::from(fd)
    };
    let socket = scene.guest.run(make).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    socket
}

fn ask(socket: &UdpSocket, family: usize, number: u8, data: &[u8]) {
    let mut request = vec![[8, 128][family], 0, 0, 0, 0, 0, 0, number];
    request.extend(data);
    socket.send(&request).unwrap();
}

/// Whether the answer with this number comes; its checksum is the kernel's to
/// look at.
fn is_answered(socket: &UdpSocket, family: usize, number: u8) -> bool {
    let mut room = [0; 2000];
    match socket.recv(&mut room) {
        Ok(_) => room[0] == [0, 129][family] && room[7] == number,
        Err(_) => false,
    }
}
