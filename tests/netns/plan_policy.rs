//! What guests may do is planned and committed like all else; by real packets,
//! before and after, and with nothing left to do.

use std::net::{SocketAddr, UdpSocket};

use libtest_mimic::Trial;
use tapwire::{Attachment, Change, Egress, Guest, Host, Protocol, Rate, Wanted};

use crate::packet::{Wire, udp_packet};
use crate::stand_ins::guest::Guest as Vm;
use crate::support::trials;
use crate::world::{
    FAMILIES, GUEST_PORT, NEVER, NODE, NODE_TOO, OUTSIDE, SOON, World, address_of, ask_from, at,
    dropped, each_kind, gateway_of, ip,
};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        planned_policies_are_what_packets_meet,
        planned_rates_are_what_passes,
    ]
}

/// Where services of the node and of the outside listen.
const PORT: u16 = 8080;

fn web() -> Guest {
    Guest::new("web").unwrap()
}

/// `web` as it is wanted now, and a guest beside it.
fn wanted(web: Guest) -> Wanted {
    Wanted::new()
        .guest(web)
        .guest(Guest::new("database").unwrap())
}

/// Has it be in force by a plan that changes what guests may do, if anything;
/// after that neither this handle nor another finds anything to do.
#[track_caller]
fn apply(world: &World, host: &mut Host, web: &Guest) {
    let wanted = wanted(web.clone());
    let before = host.guests().unwrap();
    let plan = host.plan(&wanted).unwrap();
    let is_of_guest = |change: &Change| matches!(change, Change::Complete { .. });
    assert!(plan.changes().iter().all(is_of_guest), "{plan}");
    let is_as_before = before[0].policy() == web.policy();
    assert_eq!(plan.is_empty(), is_as_before, "{plan}");
    assert_eq!(host.guests().unwrap(), before, "a plan changes nothing");
    host.commit(&plan).unwrap();
    let now = host.guests().unwrap();
    assert_eq!(now[0].policy(), web.policy());
    for mut handle in [world.host(), world.host()] {
        assert_eq!(handle.guests().unwrap(), now);
        let again = handle.plan(&wanted).unwrap();
        assert!(again.is_empty(), "{again}");
    }
    assert!(host.plan(&wanted).unwrap().is_empty());
}

/// What `web` reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Reach {
    database: bool,
    service: bool,
    /// As which of the node's addresses the outside sees it.
    outside: Option<&'static str>,
}

/// By default.
const PLAIN: [Reach; 2] = [behind(NODE[0]), behind(NODE_TOO[1])];

const fn behind(address: &'static str) -> Reach {
    Reach {
        database: false,
        service: false,
        outside: Some(address),
    }
}

struct Scene {
    world: World,
    web: (Attachment, Vm),
    database: (Attachment, Vm),
}

impl Scene {
    fn reach(&self, protocol: Protocol, family: usize, expected: Reach) -> Reach {
        let netns = [&self.world.node, &self.world.outside];
        let _servers = netns.map(|netns| World::server(netns, family, PORT));
        let (web, vm) = &self.web;
        let own = address_of(web, family);
        let patience = |is_expected| if is_expected { SOON } else { NEVER };
        let asks = |to, is_expected| {
            let answer = ask_from(vm, protocol, to, patience(is_expected));
            answer.map(|(_, seen)| seen)
        };
        let database = SocketAddr::new(address_of(&self.database.0, family), GUEST_PORT);
        let service = SocketAddr::new(gateway_of(web, family), PORT);
        let outside = asks(at(OUTSIDE[family], PORT), expected.outside.is_some());
        let node = [NODE[family], NODE_TOO[family]];
        let name = |seen| node.into_iter().find(|one| ip(one) == seen);
        Reach {
            database: asks(database, expected.database).is_some_and(|seen| {
                assert_eq!(seen, own, "peers are not translated");
                true
            }),
            service: asks(service, expected.service).is_some_and(|seen| {
                assert_eq!(seen, own, "the host sees the guest");
                true
            }),
            outside: outside.map(|seen| name(seen).expect("an address of the node's")),
        }
    }

    #[track_caller]
    fn judge(&self, what: &str, expected: [Reach; 2]) {
        for (protocol, family) in each_kind() {
            let expected = expected[family];
            let found = self.reach(protocol, family, expected);
            assert_eq!(found, expected, "{what}: {protocol}, {}", OUTSIDE[family]);
        }
    }
}

fn planned_policies_are_what_packets_meet() {
    let world = World::new();
    let mut host = world.host();
    host.apply(&wanted(web())).unwrap();
    let guests = host.guests().unwrap();
    let boot = |place: usize| (guests[place].clone(), world.start(&guests[place]));
    let (one, other) = (boot(0), boot(1));
    let scene = Scene {
        world,
        web: one,
        database: other,
    };
    let peer = |guest: Guest| guest.peer(&"database".parse().unwrap());
    let granted = |guest: Guest| {
        guest
            .service(format!("tcp/{PORT}").parse().unwrap())
            .service(format!("udp/{PORT}").parse().unwrap())
    };
    // Those that masquerading would not take.
    let chosen = [NODE_TOO[0], NODE[1]];
    let snat = Egress::snat(ip(chosen[0])).and_then(|egress| egress.behind(ip(chosen[1])));
    let snat = snat.unwrap();
    let within = Egress::masquerade().only(OUTSIDE.map(|address| ip(address).into()));
    let elsewhere = ["198.51.100.0/24", "2001:db8:9::/48"].map(|net| net.parse().unwrap());
    let elsewhere = snat.clone().only(elsewhere);
    let with = |change: fn(&mut Reach)| {
        PLAIN.map(|mut reach| {
            change(&mut reach);
            reach
        })
    };
    let closed = with(|reach| reach.outside = None);
    let stages = [
        ("by default", web(), PLAIN),
        ("a peer", peer(web()), with(|reach| reach.database = true)),
        (
            "a service, no peer",
            granted(web()),
            with(|reach| reach.service = true),
        ),
        (
            "behind chosen addresses",
            web().egress(snat),
            chosen.map(behind),
        ),
        ("to prefixes", web().egress(within), PLAIN),
        ("to other prefixes", web().egress(elsewhere), closed),
        (
            "nowhere but to peers and services",
            granted(peer(web())).egress(Egress::none()),
            with(|reach| (reach.database, reach.service, reach.outside) = (true, true, None)),
        ),
        ("nowhere", web().egress(Egress::none()), closed),
        ("by default again", web(), PLAIN),
    ];
    for (what, web, expected) in stages {
        apply(&scene.world, &mut host, &web);
        scene.judge(what, expected);
    }
    host.remove().unwrap();
}

/// Bytes of each datagram's data; so slow that what a test takes adds little.
const DATA: usize = 952;

fn slow() -> Rate {
    Rate::new(100).unwrap().burst(20_000)
}

fn planned_rates_are_what_passes() {
    let world = World::new();
    let mut host = world.host();
    host.apply(&wanted(web())).unwrap();
    let guests = host.guests().unwrap();
    let [wire, other] = [0, 1].map(|place| Wire::open(&world, &guests[place]));
    for family in FAMILIES {
        let bind = || UdpSocket::bind(at(OUTSIDE[family], PORT)).unwrap();
        let listener = world.outside.run(bind).unwrap();
        listener.set_read_timeout(Some(NEVER)).unwrap();
        let send = |wire: &Wire| {
            let from = SocketAddr::new(wire.address(family), 1);
            let packet = udp_packet(from, at(OUTSIDE[family], PORT), &[b'x'; DATA]);
            for _ in 0..60 {
                wire.send(&packet);
            }
            let mut count = 0;
            while listener.recv(&mut [0; 2048]).is_ok() {
                count += 1;
            }
            count
        };
        while send(&wire) == 0 {}
        assert_eq!(send(&wire), 60, "without a rate");
        let before = dropped(&mut host, "rate from guest");
        apply(&world, &mut host, &web().rate_from(slow()));
        let passed = send(&wire);
        assert!((15..30).contains(&passed), "{passed} passed");
        // To commit what is in force gives nothing anew.
        apply(&world, &mut host, &web().rate_from(slow()));
        assert!(send(&wire) < 15);
        assert!(dropped(&mut host, "rate from guest") > before + 60);
        assert_eq!(send(&other), 60, "another guest has its own");
        let to_guest = dropped(&mut host, "rate to guest");
        apply(&world, &mut host, &web().rate_to(slow()));
        assert_eq!(send(&wire), 60, "the other way is another rate");
        let answers = || {
            let to = SocketAddr::new(wire.address(family), PORT);
            let any = ip(["0.0.0.0", "::"][family]);
            let socket = UdpSocket::bind((any, 0)).unwrap();
            for _ in 0..60 {
                // The host is told of what is dropped at once.
                drop(socket.send_to(&[b'x'; DATA], to));
            }
        };
        world.node.run(answers).unwrap();
        assert!(dropped(&mut host, "rate to guest") > to_guest + 30);
        apply(&world, &mut host, &web());
        assert_eq!(send(&wire), 60, "without a rate again");
    }
    host.remove().unwrap();
}
