//! Who gives addresses to whom: no guest to another, and the host where it
//! grants that; by real packets.

use std::net::{SocketAddr, UdpSocket};

use libtest_mimic::Trial;
use tapwire::Guest;
use tapwire::route::Rtnl;

use crate::packet::{self, OPTIONS, UDP, Wire, behind_options, udp, udp_packet};
use crate::spoof::heard;
use crate::support::trials;
use crate::world::{FAMILIES, NEVER, SOON, World, dropped, soon_dropped, within};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        guest_answers_no_request_for_an_address,
        request_for_an_address_reaches_a_host_that_grants_it,
    ]
}

fn guest_answers_no_request_for_an_address() {
    let world = World::new();
    let mut host = world.host();
    let peer = "client".parse().unwrap();
    let server = Guest::new("server").unwrap().peer(&peer);
    let server = host.attach(&server).unwrap();
    let client = host.attach(&Guest::new("client").unwrap()).unwrap();
    let (server, client) = (Wire::open(&world, &server), Wire::open(&world, &client));
    let arrives = |family: usize, ports: [u16; 2], hidden: bool, patience| {
        let [from, to] = [&server, &client].map(|wire| wire.address(family));
        let [from, to] = [
            SocketAddr::new(from, ports[0]),
            SocketAddr::new(to, ports[1]),
        ];
        let datagram = udp(from, to, b"offer");
        let (next, payload) = if hidden {
            (OPTIONS, behind_options(UDP, &datagram))
        } else {
            (UDP, datagram)
        };
        server.send(&packet::ip(from.ip(), to.ip(), next, &payload));
        let ends_so = |packet: &[u8]| packet.ends_with(b"offer").then_some(());
        client.receive(patience, ends_so).is_some()
    };
    for family in FAMILIES {
        let [server_port, client_port] = [[67, 68], [547, 546]][family];
        assert!(
            arrives(family, [server_port, 1068], false, SOON),
            "a peer may"
        );
        assert!(!arrives(family, [server_port, client_port], false, NEVER));
    }
    assert!(arrives(1, [547, 1546], true, SOON), "a peer may");
    assert!(!arrives(1, [547, 546], true, NEVER), "behind a header");
    assert_eq!(dropped(&mut host, "guest as dhcp server"), 3);
}

fn request_for_an_address_reaches_a_host_that_grants_it() {
    let world = World::new();
    let mut host = world.host();
    let guest = Guest::new("hello-world").unwrap();
    let attached = host.attach(&guest).unwrap();
    let wire = Wire::open(&world, &attached);
    let servers = world
        .node
        .run(|| {
            let tap = Rtnl::open().unwrap().link(attached.tap()).unwrap().unwrap();
            let ipv4 = UdpSocket::bind("0.0.0.0:67").unwrap();
            let ipv6 = UdpSocket::bind("[::]:547").unwrap();
            let group = "ff02::1:2".parse().unwrap();
            ipv6.join_multicast_v6(&group, tap.index().get()).unwrap();
            [ipv4, ipv6]
        })
        .unwrap();
    for server in &servers {
        server.set_read_timeout(Some(NEVER)).unwrap();
    }
    let ask = |mac, family: usize| {
        let (from, to) = [
            ("0.0.0.0:68", "255.255.255.255:67"),
            ("[fe80::7]:546", "[ff02::1:2]:547"),
        ][family];
        let packet = udp_packet(from.parse().unwrap(), to.parse().unwrap(), b"discover");
        wire.send_frame(&packet::frame(mac, &packet));
        heard(&servers[family]).is_some()
    };
    for family in FAMILIES {
        assert!(!ask(attached.mac(), family), "not granted");
    }
    soon_dropped(&mut host, "guest to host", 2);
    let granted = guest
        .service("udp/67".parse().unwrap())
        .service("udp/547".parse().unwrap());
    host.attach(&granted).unwrap();
    for family in FAMILIES {
        let arrives = within(SOON, |_| ask(attached.mac(), family).then_some(()));
        assert_eq!(arrives, Some(()), "granted");
        assert!(
            !ask("02:00:00:00:00:07".parse().unwrap(), family),
            "spoofed"
        );
    }
    assert_eq!(dropped(&mut host, "spoof"), 2);
}
