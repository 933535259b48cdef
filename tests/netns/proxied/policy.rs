//! What a guest reaches, what it does not, and what it is told then.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use libtest_mimic::Trial;
use rustix::io::Errno;
use tapwire::route::{Neighbour, Rtnl};
use tapwire::{Egress, Guest, IfIndex};

use super::scene::{GATEWAY, Scene, Start, accept, datagrams, listen};
use crate::support::trials;
use crate::world::{FAMILIES, NEVER, NODE, NODE_TOO, OUTSIDE, SOON, at, ip};

pub(super) fn trials() -> Vec<Trial> {
    trials![
        datagrams_go_both_ways_and_are_forgotten,
        closed_port_is_refused,
        what_is_not_there_is_unreachable,
        host_and_its_loopback_are_denied,
        granted_service_is_reached_at_the_host_and_at_the_gateway,
        egress_is_limited_to_its_prefixes,
        egress_address_is_the_one_that_others_see,
        unusual_destinations_are_denied,
        connections_beyond_the_limit_are_refused,
        exchanges_beyond_the_limit_are_lost,
    ]
}

fn datagrams_go_both_ways_and_are_forgotten() {
    let start = Start {
        settings: |settings| settings.resolvers([]).idle(Duration::from_millis(300)),
        ..Start::new()
    };
    let scene = start.go();
    for family in FAMILIES {
        let peer = datagrams(&scene.world.outside, at(OUTSIDE[family], 0));
        let guest = from_guest(&scene, peer.local_addr().unwrap());
        for text in [&b""[..], b"a question", &[7; 1400]] {
            let mut room = [0; 2000];
            guest.send(text).unwrap();
            let (length, seen) = peer.recv_from(&mut room).unwrap();
            assert_eq!(&room[..length], text);
            assert!(
                [NODE[family], NODE_TOO[family]]
                    .map(ip)
                    .contains(&seen.ip())
            );
            peer.send_to(&room[..length], seen).unwrap();
            assert_eq!(guest.recv(&mut room).unwrap(), length);
        }
    }
    assert_eq!(scene.counters().lost(), 0);
    scene.soon("both are forgotten", |counters| counters.flows() == 0);
}

fn closed_port_is_refused() {
    let scene = Start::new().go();
    for family in FAMILIES {
        let closed = at(OUTSIDE[family], 9);
        let error = scene.connect_from_guest(closed).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        let guest = from_guest(&scene, closed);
        guest.send(b"anyone?").unwrap();
        let error = guest.recv(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    }
    assert_eq!(scene.counters().connections(), 0);
    assert_eq!(scene.counters().open(), 0);
}

fn what_is_not_there_is_unreachable() {
    let start = Start {
        settings: |settings| {
            settings
                .resolvers([])
                .connect_within(Duration::from_millis(500))
        },
        ..Start::new()
    };
    let scene = start.go();
    for elsewhere in ["192.0.2.1", "2001:db8:9::1"] {
        // No route leads there.
        let error = scene.connect_from_guest(at(elsewhere, 80)).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(ENETUNREACH));
        // Of a datagram the guest's system is told, but tells nobody.
        let before = scene.counters().refused();
        from_guest(&scene, at(elsewhere, 80)).send(b"x").unwrap();
        scene.soon("refused", |counters| counters.refused() == before + 1);
    }
    // Nobody answers: the packets go to a host that has no such address.
    let silent = ["203.0.113.50", "2001:db8::50"];
    let mac = scene.world.outside.run(|| {
        let eth0 = Rtnl::open().unwrap().link_at(link()).unwrap().unwrap();
        eth0.mac().unwrap()
    });
    let mac = mac.unwrap();
    scene
        .world
        .node
        .run(|| {
            let mut rtnl = Rtnl::open().unwrap();
            rtnl.apply(|changes| {
                for address in silent {
                    changes.add_neighbour(&Neighbour::new(link(), ip(address), mac));
                }
            })
            .unwrap();
        })
        .unwrap();
    for address in silent {
        let error = scene.connect_from_guest(at(address, 80)).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(EHOSTUNREACH), "{error}");
    }
    // Nobody is at the address: the host's neighbours do not know it.
    let error = scene
        .connect_from_guest(at("203.0.113.51", 80))
        .unwrap_err();
    assert_eq!(error.raw_os_error(), Some(EHOSTUNREACH), "{error}");
    assert_eq!(scene.counters().connections(), 0);
}

fn host_and_its_loopback_are_denied() {
    let scene = Start::new().go();
    for family in FAMILIES {
        let any = ["0.0.0.0", "::"][family];
        let _server = listen(&scene.world.node, at(any, 7000));
        let peer = datagrams(&scene.world.node, at(any, 7000));
        for address in [NODE[family], NODE_TOO[family], GATEWAY[family]] {
            let before = scene.counters().denied();
            let error = scene.connect_from_guest(at(address, 7000)).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(prohibited(family)), "{address}");
            assert_eq!(
                error_of_datagram(&scene, at(address, 7000)),
                prohibited(family)
            );
            assert_eq!(scene.counters().denied(), before + 2);
        }
        peer.set_read_timeout(Some(NEVER)).unwrap();
        assert!(peer.recv(&mut [0]).is_err());
    }
    assert_eq!(scene.counters().connections(), 0);
}

fn granted_service_is_reached_at_the_host_and_at_the_gateway() {
    let guest = Guest::new("one").unwrap();
    let service = |guest: Guest, text: &str| guest.service(text.parse().unwrap());
    let guest = service(service(guest, "tcp/7000"), "udp/7001");
    let scene = Start {
        guest,
        ..Start::new()
    }
    .go();
    for family in FAMILIES {
        let server = listen(&scene.world.node, at(NODE[family], 7000));
        let local = listen(&scene.world.node, at(["127.0.0.1", "::1"][family], 7000));
        scene.connect_from_guest(at(NODE[family], 7000)).unwrap();
        accept(&server);
        scene.connect_from_guest(at(GATEWAY[family], 7000)).unwrap();
        assert!(accept(&local).1.ip().is_loopback());
        let peer = datagrams(&scene.world.node, at(["127.0.0.1", "::1"][family], 7001));
        from_guest(&scene, at(GATEWAY[family], 7001))
            .send(b"x")
            .unwrap();
        peer.recv(&mut [0]).unwrap();
        // The other protocol's port is not meant.
        assert_eq!(
            error_of_datagram(&scene, at(GATEWAY[family], 7000)),
            prohibited(family)
        );
    }
}

fn egress_is_limited_to_its_prefixes() {
    let only = |nets: [&str; 2]| nets.map(|net| net.parse().unwrap());
    let egress = Egress::masquerade().only(only(["203.0.113.7/32", "2001:db8::7/128"]));
    let open = Start {
        guest: Guest::new("one").unwrap().egress(egress),
        ..Start::new()
    }
    .go();
    let shut = Start {
        guest: Guest::new("one").unwrap().egress(Egress::none()),
        ..Start::new()
    }
    .go();
    for family in FAMILIES {
        open.pair(family);
        let other = at(["203.0.113.8", "2001:db8::8"][family], 80);
        let error = open.connect_from_guest(other).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(prohibited(family)));
        let _server = shut.outside(family, 7000);
        let error = shut
            .connect_from_guest(at(OUTSIDE[family], 7000))
            .unwrap_err();
        assert_eq!(error.raw_os_error(), Some(prohibited(family)));
    }
    assert_eq!(open.counters().denied(), 2);
}

fn egress_address_is_the_one_that_others_see() {
    for own in [NODE, NODE_TOO] {
        let egress = Egress::snat(ip(own[0])).and_then(|egress| egress.behind(ip(own[1])));
        let scene = Start {
            guest: Guest::new("one").unwrap().egress(egress.unwrap()),
            ..Start::new()
        }
        .go();
        for family in FAMILIES {
            let server = scene.outside(family, 7000);
            scene.connect_from_guest(at(OUTSIDE[family], 7000)).unwrap();
            assert_eq!(accept(&server).1.ip(), ip(own[family]));
            let peer = datagrams(&scene.world.outside, at(OUTSIDE[family], 7000));
            from_guest(&scene, at(OUTSIDE[family], 7000))
                .send(b"x")
                .unwrap();
            assert_eq!(peer.recv_from(&mut [0]).unwrap().1.ip(), ip(own[family]));
        }
    }
}

fn unusual_destinations_are_denied() {
    let scene = Start::new().go();
    // The guest's own stack lets these out; others see to it that they are
    // denied: `0.0.0.1` would be this host, the second the broadcast address
    // of the host's network.
    for address in ["203.0.113.255", "240.0.0.1"] {
        let before = scene.counters();
        let socket = scene
            .guest
            .run(|| UdpSocket::bind("0.0.0.0:0"))
            .unwrap()
            .unwrap();
        socket.set_broadcast(true).unwrap();
        socket.send_to(b"x", at(address, 7000)).unwrap();
        scene.soon(address, |counters| {
            counters.denied() + counters.refused() == before.denied() + before.refused() + 1
        });
        assert_eq!(scene.counters().flows(), 0);
    }
}

fn connections_beyond_the_limit_are_refused() {
    let start = Start {
        settings: |settings| settings.resolvers([]).connections(2),
        ..Start::new()
    };
    let scene = start.go();
    let (one, two) = (scene.pair(0), scene.pair(1));
    let server = scene.outside(0, 7000);
    let error = scene
        .connect_from_guest(server.local_addr().unwrap())
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    assert_eq!(scene.counters().refused(), 1);
    drop((one, two));
    scene.soon("both are over", |counters| counters.open() == 0);
    scene
        .connect_from_guest(server.local_addr().unwrap())
        .unwrap();
}

fn exchanges_beyond_the_limit_are_lost() {
    let start = Start {
        settings: |settings| settings.resolvers([]).flows(1),
        ..Start::new()
    };
    let scene = start.go();
    let peer = datagrams(&scene.world.outside, at(OUTSIDE[0], 7000));
    let (one, two) = (
        from_guest(&scene, at(OUTSIDE[0], 7000)),
        from_guest(&scene, at(OUTSIDE[0], 7000)),
    );
    one.send(b"1").unwrap();
    peer.recv(&mut [0]).unwrap();
    two.send(b"2").unwrap();
    scene.soon("the second is refused", |counters| counters.refused() == 1);
    one.send(b"3").unwrap();
    let mut room = [0];
    peer.recv(&mut room).unwrap();
    assert_eq!(room, *b"3");
}

/// A socket of the guest's that exchanges datagrams with one peer.
pub(super) fn from_guest(scene: &Scene, peer: SocketAddr) -> UdpSocket {
    let any = if peer.is_ipv4() {
        "0.0.0.0:0"
    } else {
        "[::]:0"
    };
    let socket = scene.guest.run(|| UdpSocket::bind(any)).unwrap().unwrap();
    let connect = || socket.connect(peer);
    scene.guest.run(connect).unwrap().unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    socket
}

/// The error that the guest's socket has after it sent a datagram there.
#[track_caller]
fn error_of_datagram(scene: &Scene, peer: SocketAddr) -> i32 {
    let socket = from_guest(scene, peer);
    socket.send(b"x").unwrap();
    let error: io::Error = socket.recv(&mut [0]).unwrap_err();
    error.raw_os_error().unwrap()
}

/// What a connection fails with that is administratively prohibited.
fn prohibited(family: usize) -> i32 {
    [EHOSTUNREACH, EACCES][family]
}

/// The one link between the host and the outside.
fn link() -> IfIndex {
    IfIndex::new(100).unwrap()
}

const ENETUNREACH: i32 = Errno::NETUNREACH.raw_os_error();
const EHOSTUNREACH: i32 = Errno::HOSTUNREACH.raw_os_error();
const EACCES: i32 = Errno::ACCESS.raw_os_error();
