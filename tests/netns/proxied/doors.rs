//! Exposures: who reaches the guest, where, and as whom.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use libtest_mimic::Trial;
use tapwire::ProxyProtocol;
use tapwire::sys::NetNs;

use super::scene::{GATEWAY, GUEST, Start, accept, datagrams};
use crate::support::trials;
use crate::world::{FAMILIES, NEVER, NODE, NODE_TOO, OUTSIDE, SOON, at, ip};

pub(super) fn trials() -> Vec<Trial> {
    trials![
        datagrams_come_from_the_client_and_answers_from_the_address_asked,
        ports_in_a_row_lead_to_their_own,
        exposure_on_one_address_is_on_that_alone,
        loopback_is_served_only_by_name_and_seen_as_the_gateway,
        clients_that_are_not_allowed_are_turned_away,
        clients_beyond_the_limit_are_turned_away,
        closed_port_of_the_guest_is_reset,
        proxy_protocol_tells_who_the_client_is,
    ]
}

fn datagrams_come_from_the_client_and_answers_from_the_address_asked() {
    let start = Start {
        settings: |settings| settings.resolvers([]).idle(Duration::from_millis(500)),
        ..Start::exposing(&["udp/8080->one:80"])
    };
    let scene = start.go();
    for family in FAMILIES {
        let guest = datagrams(&scene.guest, at(GUEST[family], 80));
        for node in [NODE[family], NODE_TOO[family]] {
            // Not connected: it sees where answers come from.
            let client = datagrams(&scene.world.outside, at(OUTSIDE[family], 0));
            for text in [&b"a question"[..], &[3; 1400]] {
                client.send_to(text, at(node, 8080)).unwrap();
                let mut room = [0; 2000];
                let (length, seen) = guest.recv_from(&mut room).unwrap();
                assert_eq!(&room[..length], text);
                assert_eq!(seen, client.local_addr().unwrap());
                guest.send_to(b"an answer", seen).unwrap();
                let (length, from) = client.recv_from(&mut room).unwrap();
                assert_eq!(&room[..length], b"an answer");
                assert_eq!(from, at(node, 8080));
            }
        }
    }
    scene.soon("all are forgotten", |counters| counters.flows() == 0);
    assert_eq!(scene.counters().lost(), 0);
    assert_eq!(scene.counters().denied(), 0);
}

fn ports_in_a_row_lead_to_their_own() {
    let scene = Start::exposing(&["tcp/8000-8002->one:9000-9002"]).go();
    for family in FAMILIES {
        for number in 0..3 {
            let server = scene.in_guest(family, 9000 + number);
            scene
                .connect_from_outside(at(NODE[family], 8000 + number))
                .unwrap();
            accept(&server);
        }
        let error = scene
            .connect_from_outside(at(NODE[family], 8003))
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    }
}

fn exposure_on_one_address_is_on_that_alone() {
    let one = format!("tcp/{},[{}]:8080->one:80", NODE[0], NODE[1]);
    let scene = Start::exposing(&[&one]).go();
    for family in FAMILIES {
        let server = scene.in_guest(family, 80);
        scene.connect_from_outside(at(NODE[family], 8080)).unwrap();
        accept(&server);
        let error = scene
            .connect_from_outside(at(NODE_TOO[family], 8080))
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    }
}

fn loopback_is_served_only_by_name_and_seen_as_the_gateway() {
    let scene = Start::exposing(&[
        "tcp/8080->one:80",
        "udp/8080->one:80",
        "tcp/127.0.0.1:8081->one:80",
        "udp/127.0.0.1:8081->one:80",
    ])
    .go();
    let server = scene.in_guest(0, 80);
    let guest = datagrams(&scene.guest, at(GUEST[0], 80));
    let node = &scene.world.node;
    for local in ["127.0.0.1", "::1"] {
        assert_eq!(failure(node, at(local, 8080)), ErrorKind::ConnectionReset);
    }
    assert_eq!(scene.counters().refused(), 2);
    let client = datagrams(node, at("127.0.0.1", 0));
    client.send_to(b"0", at("127.0.0.1", 8080)).unwrap();
    scene.soon("the datagram is refused", |counters| {
        counters.refused() == 3
    });

    let mut client = connect(node, at("127.0.0.1", 8081));
    let (mut stream, seen) = accept(&server);
    assert_eq!(seen.ip(), ip(GATEWAY[0]));
    client.write_all(b"x").unwrap();
    stream.read_exact(&mut [0]).unwrap();
    // Two clients are told apart.
    let [one, two] = [(); 2].map(|()| datagrams(node, at("127.0.0.1", 0)));
    for (number, client) in [(b"1", &one), (b"2", &two), (b"3", &one)] {
        client.send_to(number, at("127.0.0.1", 8081)).unwrap();
        let mut room = [0];
        let (_, seen) = guest.recv_from(&mut room).unwrap();
        assert_eq!(seen.ip(), ip(GATEWAY[0]));
        guest.send_to(&room, seen).unwrap();
        client.recv_from(&mut room).unwrap();
        assert_eq!(&room, number);
    }
}

fn clients_that_are_not_allowed_are_turned_away() {
    let scene = Start::exposing(&[
        "tcp/8080->one:80 from 203.0.113.7/32,2001:db8::7/128",
        "udp/8080->one:80 from 203.0.113.7/32,2001:db8::7/128",
    ])
    .go();
    for family in FAMILIES {
        let server = scene.in_guest(family, 80);
        let guest = datagrams(&scene.guest, at(GUEST[family], 80));
        scene.connect_from_outside(at(NODE[family], 8080)).unwrap();
        accept(&server);
        // The host itself has another address.
        let before = scene.counters().refused();
        let turned_away = failure(&scene.world.node, at(NODE[family], 8080));
        assert_eq!(turned_away, ErrorKind::ConnectionReset);
        let other = datagrams(&scene.world.node, at(NODE[family], 0));
        other.send_to(b"x", at(NODE[family], 8080)).unwrap();
        scene.soon("both are refused", |counters| {
            counters.refused() == before + 2
        });
        guest.set_read_timeout(Some(NEVER)).unwrap();
        assert!(guest.recv(&mut [0]).is_err());
    }
}

fn clients_beyond_the_limit_are_turned_away() {
    let scene = Start::exposing(&["tcp/8080->one:80 limit 2", "udp/8080->one:80 limit 1"]).go();
    let server = scene.in_guest(0, 80);
    let connect = || scene.connect_from_outside(at(NODE[0], 8080)).unwrap();
    let (one, two) = (connect(), connect());
    let (first, _second) = (accept(&server), accept(&server));
    let turned_away = failure(&scene.world.outside, at(NODE[0], 8080));
    assert_eq!(turned_away, ErrorKind::ConnectionReset);
    drop((one, first));
    scene.soon("one is over", |counters| counters.open() == 1);
    let _three = connect();
    accept(&server);
    drop(two);

    let guest = datagrams(&scene.guest, at(GUEST[0], 80));
    let clients = [(); 2].map(|()| datagrams(&scene.world.outside, at(OUTSIDE[0], 0)));
    clients[0].send_to(b"1", at(NODE[0], 8080)).unwrap();
    guest.recv(&mut [0]).unwrap();
    let before = scene.counters().refused();
    clients[1].send_to(b"2", at(NODE[0], 8080)).unwrap();
    scene.soon("the second is refused", |counters| {
        counters.refused() == before + 1
    });
}

fn closed_port_of_the_guest_is_reset() {
    let scene = Start::exposing(&["tcp/8080->one:81"]).go();
    for family in FAMILIES {
        let reset = failure(&scene.world.outside, at(NODE[family], 8080));
        assert_eq!(reset, ErrorKind::ConnectionReset);
    }
    scene.soon("both are refused", |counters| counters.refused() == 2);
    assert_eq!(scene.counters().connections(), 0);
    assert_eq!(scene.counters().open(), 0);
}

fn proxy_protocol_tells_who_the_client_is() {
    let start = Start {
        settings: |settings| settings.resolvers([]).proxy_protocol(ProxyProtocol::V2),
        ..Start::exposing(&["tcp/127.0.0.1:8080->one:80", "udp/127.0.0.1:8080->one:80"])
    };
    let scene = start.go();
    let server = scene.in_guest(0, 80);
    let guest = datagrams(&scene.guest, at(GUEST[0], 80));
    let mut client = connect(&scene.world.node, at("127.0.0.1", 8080));
    let (mut stream, _) = accept(&server);
    client.write_all(b"hello").unwrap();
    let mut heard = [0; 28 + 5];
    stream.read_exact(&mut heard).unwrap();
    assert_eq!(heard, *header(0x11, client.local_addr().unwrap(), b"hello"));
    let client = datagrams(&scene.world.node, at("127.0.0.1", 0));
    client.send_to(b"again", at("127.0.0.1", 8080)).unwrap();
    assert_eq!(guest.recv(&mut heard).unwrap(), 33);
    assert_eq!(heard, *header(0x12, client.local_addr().unwrap(), b"again"));
}

/// What `proxy-protocol.txt` has in front of the data of a client that came
/// to 127.0.0.1:8080.
fn header(transport: u8, client: SocketAddr, data: &[u8]) -> Vec<u8> {
    let mut bytes = b"\r\n\r\n\0\r\nQUIT\n\x21".to_vec();
    bytes.extend([transport, 0, 12, 127, 0, 0, 1, 127, 0, 0, 1]);
    bytes.extend(client.port().to_be_bytes());
    bytes.extend(8080_u16.to_be_bytes());
    bytes.extend(data);
    bytes
}

/// What a connection fails with, as early as while it is made.
fn failure(netns: &NetNs, to: SocketAddr) -> ErrorKind {
    let made = netns.run(|| TcpStream::connect_timeout(&to, SOON)).unwrap();
    let failed = made.and_then(|mut stream| {
        stream.set_read_timeout(Some(SOON))?;
        stream.read(&mut [0])
    });
    failed.unwrap_err().kind()
}

fn connect(netns: &NetNs, to: SocketAddr) -> TcpStream {
    let stream = netns.run(|| TcpStream::connect_timeout(&to, SOON));
    let stream = stream.unwrap().unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream
}
