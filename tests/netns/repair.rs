//! Tables that are made anew while packets flow.

use std::net::UdpSocket;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use libtest_mimic::Trial;
use tapwire::{
    Error, Exposure, Flows, Guest, Host, Networks, Owner, Protocol, Service, Settings, Wanted,
};

use crate::stand_ins::client::{Connection, http_get};
use crate::support::{run, trials};
use crate::world::{NODE, NODE_TOO, SOON, World, ask, at};

pub(crate) fn trials() -> Vec<Trial> {
    trials![needs ["nft"]:
        enlarging_stops_no_packet,
        enlarging_hundreds_of_times_leads_no_packet_astray,
        guests_that_are_attached_make_their_sets_larger,
        rules_that_someone_changed_are_right_again_when_opened,
        foreign_tables_stay_as_they_are,
    ]
}

fn settings() -> Settings {
    Settings::new(Owner::new("riklet").unwrap())
}

fn wanted(ports: std::ops::Range<u16>) -> Wanted {
    let mut wanted = Wanted::new().guest(Guest::new("a").unwrap());
    wanted.extend(ports.map(|port| -> Exposure { format!("tcp/{port}->a:80").parse().unwrap() }));
    wanted.flows(Flows::Drain)
}

/// The map is doubled and doubled again; a connection goes on, and new ones
/// are made at every moment.
fn enlarging_stops_no_packet() {
    let world = World::new();
    let open = || Host::with(settings().exposures(1)).unwrap();
    let mut host = world.node.run(open).unwrap();
    host.apply(&wanted(80..81)).unwrap();
    let _vm = world.start(&host.guests().unwrap()[0]);
    assert!(ask(&world.outside, Protocol::Tcp, at(NODE[0], 80), SOON).is_some());
    let (rebuilt, answered) = flowing(&world, || {
        for ports in 2..100 {
            host.apply(&wanted(80..80 + ports)).unwrap();
        }
        98
    });
    assert!(rebuilt > 0 && answered > 3, "{answered}");
    assert_eq!(host.exposures().unwrap().len(), 99);
    host.remove().unwrap();
}

/// A map is doubled over and over while a connection begins at every moment. A
/// process on the host gets those that find no exposure.
fn enlarging_hundreds_of_times_leads_no_packet_astray() {
    const ROUNDS: usize = 25;
    let world = World::new();
    let listen = || UdpSocket::bind(at("0.0.0.0", 80)).unwrap();
    let astray = world.node.run(listen).unwrap();
    astray.set_nonblocking(true).unwrap();
    // The others are no reason to look through all flows.
    let wanted = |others: u16| wanted(81..81 + others).exposure("udp/80->a:80".parse().unwrap());
    let mut begun = 0;
    for round in 0..ROUNDS {
        let open = || Host::with(settings().exposures(1)).unwrap();
        let mut host = world.node.run(open).unwrap();
        host.apply(&wanted(0)).unwrap();
        let done = AtomicBool::new(false);
        let storm = || {
            for node in [NODE[0], NODE_TOO[0]].into_iter().cycle() {
                if done.load(Ordering::Relaxed) {
                    break;
                }
                // Each from a port of its own, so that it begins a flow.
                let socket = UdpSocket::bind(at("0.0.0.0", 0)).unwrap();
                let _refused = socket.send_to(b"ping", at(node, 80));
            }
        };
        std::thread::scope(|scope| {
            scope.spawn(|| world.outside.run(storm).unwrap());
            for power in 0..8 {
                host.apply(&wanted(1 << power)).unwrap();
            }
            done.store(true, Ordering::Relaxed);
        });
        begun += host.exposures().unwrap().last().unwrap().connections();
        assert!(astray.recv(&mut [0; 4]).is_err(), "in round {round}");
        host.remove().unwrap();
    }
    assert!(begun > 1000, "{begun}");
}

/// The sets have room for the guests of small networks, and for a few things
/// of each. A handle with larger networks goes on, and so does traffic. Only
/// networks are ever used up.
fn guests_that_are_attached_make_their_sets_larger() {
    let world = World::new();
    let with = |prefix: u8| {
        let ipv4 = format!("198.18.0.0/{prefix}").parse().unwrap();
        let ipv6 = format!("fd00::/{}", prefix + 96).parse().unwrap();
        let networks = Networks::new(ipv4, ipv6).unwrap();
        Host::with(settings().networks(networks)).unwrap()
    };
    let guest = |number: u32| Guest::new(&format!("vm-{number}")).unwrap();
    let mut small = world.node.run(|| with(29)).unwrap();
    let (first, _vm) = world.boot_as(&mut small, &guest(0));
    small.attach(&guest(1)).unwrap();
    assert!(matches!(
        small.attach(&guest(2)),
        Err(Error::Full { capacity: 2, .. })
    ));
    let web = format!("tcp/80->{}:80", first.ipv4());
    small.expose(&web.parse().unwrap()).unwrap();
    assert!(ask(&world.outside, Protocol::Tcp, at(NODE[0], 80), SOON).is_some());

    let mut large = world.node.run(|| with(24)).unwrap();
    let granted = (1..=5000).fold(guest(9), |guest, port| {
        guest.service(Service::new(Protocol::Tcp, port).unwrap())
    });
    let (granted, _) = flowing(&world, || {
        for number in 2..9 {
            large.attach(&guest(number)).unwrap();
        }
        large.attach(&granted).unwrap()
    });
    assert_eq!(granted.policy().services().len(), 5000);
    let guests = large.guests().unwrap();
    assert_eq!(guests.len(), 10);
    assert_eq!(guests[9], granted);
    let vm = world.start(&guests[8]);
    let of_last = format!("tcp/81->{}:80", guests[8].ipv4());
    large.expose(&of_last.parse().unwrap()).unwrap();
    let seen = ask(&world.outside, Protocol::Tcp, at(NODE[0], 81), SOON);
    assert_eq!(seen.unwrap().0, "vm-8");
    drop(vm);
    // The other handle, with its own networks, goes on as well.
    assert_eq!(small.attach(&guest(9)).unwrap().ipv4(), granted.ipv4());
    small.remove().unwrap();
}

fn rules_that_someone_changed_are_right_again_when_opened() {
    let world = World::new();
    let mut host = world.host();
    host.apply(&wanted(80..81)).unwrap();
    let _vm = world.start(&host.guests().unwrap()[0]);
    assert!(ask(&world.outside, Protocol::Tcp, at(NODE[0], 80), SOON).is_some());
    let listing = || {
        world
            .node
            .run(|| run("nft", &["-s", "list", "ruleset"]))
            .unwrap()
    };
    let before = listing();
    for what in [
        "flush table inet riklet",
        "flush table arp riklet",
        "flush chain inet riklet forward",
        "delete table arp riklet",
        "insert rule inet riklet from_guest accept",
    ] {
        let words: Vec<&str> = what.split(' ').collect();
        world.node.run(|| run("nft", &words)).unwrap();
        let mut other = world.host();
        assert_eq!(other.exposures().unwrap().len(), 1, "{what}");
        if what == "delete table arp riklet" {
            other.apply(&wanted(80..81)).unwrap();
        }
        assert_eq!(listing(), before, "{what}");
        assert!(
            ask(&world.outside, Protocol::Tcp, at(NODE[0], 80), SOON).is_some(),
            "{what}"
        );
    }
    host.remove().unwrap();
}

fn foreign_tables_stay_as_they_are() {
    let host = Host::with(settings().exposures(1)).unwrap();
    run("nft", &["add", "table", "ip", "riklet"]);
    run("nft", &["add", "table", "inet", "rik"]);
    run(
        "nft",
        &["add", "set", "inet", "rik", "s", "{ type ipv4_addr ; }"],
    );
    drop(host);
    let foreign = || {
        run("nft", &["list", "table", "ip", "riklet"])
            + &run("nft", &["list", "table", "inet", "rik"])
    };
    let before = foreign();
    let mut host = Host::with(settings().exposures(1)).unwrap();
    run("nft", &["flush", "table", "inet", "riklet"]);
    host.apply(&wanted(1..20)).unwrap();
    host.apply(&Wanted::new()).unwrap();
    assert_eq!(foreign(), before);
    host.remove().unwrap();
    assert_eq!(foreign(), before);
}

/// Does `work` while a connection goes on and others are made; how many
/// answers there were.
pub(crate) fn flowing<T>(world: &World, work: impl FnOnce() -> T) -> (T, usize) {
    let done = AtomicBool::new(false);
    let to = at(NODE[0], 80);
    std::thread::scope(|scope| {
        let asker = scope.spawn(|| {
            let ask = || {
                let mut established = Connection::open(to, SOON).unwrap();
                let mut answers = 0;
                while !done.load(Ordering::Relaxed) || answers < 4 {
                    established.get("/").expect("the connection goes on");
                    // One attempt each: a moment without rules would refuse.
                    http_get(to, "/", SOON).expect("new ones are made");
                    answers += 2;
                }
                answers
            };
            world.outside.run(ask).unwrap()
        });
        let start = Instant::now();
        // The asker ends also when the work has failed.
        let result = catch_unwind(AssertUnwindSafe(work));
        done.store(true, Ordering::Relaxed);
        let answers = asker.join();
        let result = result.unwrap_or_else(|panic| resume_unwind(panic));
        assert!(start.elapsed() < SOON * 12);
        (result, answers.unwrap())
    })
}
