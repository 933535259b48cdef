//! The gateway's port 53 leads to a resolver.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use libtest_mimic::Trial;

use super::policy::from_guest;
use super::scene::{GATEWAY, Scene, Start, accept, datagrams, listen};
use crate::support::trials;
use crate::world::{FAMILIES, NEVER, OUTSIDE, SOON, at};

pub(super) fn trials() -> Vec<Trial> {
    trials![
        questions_are_passed_on_and_answered_as_the_gateway,
        refusing_resolver_is_passed_over_at_once,
        silent_resolver_is_passed_over_when_asked_again,
        without_a_resolver_nobody_answers,
    ]
}

fn questions_are_passed_on_and_answered_as_the_gateway() {
    // One on the host's loopback, as systemd-resolved is.
    let start = Start {
        settings: |settings| settings.resolvers([at("127.0.0.53", 53)]),
        ..Start::new()
    };
    let scene = start.go();
    let resolver = datagrams(&scene.world.node, at("127.0.0.53", 53));
    let server = listen(&scene.world.node, at("127.0.0.53", 53));
    for family in FAMILIES {
        let guest = from_guest(&scene, at(GATEWAY[family], 53));
        guest.send(b"who is it?").unwrap();
        answer(&resolver, b"who is it?");
        hear(&guest, b"answered");
        // And long answers over TCP.
        let mut stream = scene.connect_from_guest(at(GATEWAY[family], 53)).unwrap();
        stream.write_all(b"who?").unwrap();
        let (mut peer, _) = accept(&server);
        peer.read_exact(&mut [0; 4]).unwrap();
        peer.write_all(b"me").unwrap();
        stream.read_exact(&mut [0; 2]).unwrap();
    }
}

fn refusing_resolver_is_passed_over_at_once() {
    let scene = with_two();
    let second = datagrams(&scene.world.outside, at(OUTSIDE[1], 53));
    let guest = from_guest(&scene, at(GATEWAY[0], 53));
    guest.send(b"first").unwrap();
    answer(&second, b"first");
    hear(&guest, b"answered");
    // The next one goes there from the beginning.
    let guest = from_guest(&scene, at(GATEWAY[1], 53));
    guest.send(b"second").unwrap();
    answer(&second, b"second");
    hear(&guest, b"answered");
}

fn silent_resolver_is_passed_over_when_asked_again() {
    let scene = with_two();
    let first = datagrams(&scene.world.outside, at(OUTSIDE[0], 53));
    let second = datagrams(&scene.world.outside, at(OUTSIDE[1], 53));
    let guest = from_guest(&scene, at(GATEWAY[0], 53));
    guest.send(b"first").unwrap();
    first.recv(&mut [0; 16]).unwrap();
    // As a guest's own resolver does after a while.
    guest
        .set_read_timeout(Some(Duration::from_millis(1200)))
        .unwrap();
    assert!(guest.recv(&mut [0; 16]).is_err());
    guest.send(b"first again").unwrap();
    answer(&second, b"first again");
    guest.set_read_timeout(Some(SOON)).unwrap();
    hear(&guest, b"answered");
}

fn without_a_resolver_nobody_answers() {
    let scene = Start::new().go();
    for family in FAMILIES {
        let guest = from_guest(&scene, at(GATEWAY[family], 53));
        guest.set_read_timeout(Some(NEVER)).unwrap();
        guest.send(b"anyone?").unwrap();
        assert!(guest.recv(&mut [0]).is_err());
    }
    assert_eq!(scene.counters().denied(), 2);
}

fn with_two() -> Scene {
    Start {
        settings: |settings| settings.resolvers(OUTSIDE.map(|address| at(address, 53))),
        ..Start::new()
    }
    .go()
}

#[track_caller]
fn answer(resolver: &std::net::UdpSocket, question: &[u8]) {
    let mut room = [0; 64];
    let (length, from): (usize, SocketAddr) = resolver.recv_from(&mut room).unwrap();
    assert_eq!(&room[..length], question);
    resolver.send_to(b"answered", from).unwrap();
}

#[track_caller]
fn hear(guest: &std::net::UdpSocket, words: &[u8]) {
    let mut room = [0; 64];
    let length = guest.recv(&mut room).unwrap();
    assert_eq!(&room[..length], words);
}
