//! What a guest may do besides answering: it comes into force, is read back
//! and ends; by real packets.

use std::net::{IpAddr, SocketAddr};

use libtest_mimic::Trial;
use tapwire::{Attachment, Egress, Error, Guest, GuestName, Host, Protocol, Rate, Wanted};

use crate::packet::{self, ICMP, Wire, icmp, udp_packet};
use crate::snapshot::Snapshot;
use crate::stand_ins::guest::Guest as Vm;
use crate::support::{feed, run, trials};
use crate::world::{
    FAMILIES, GUEST_PORT, NEVER, NODE, NODE_TOO, OUTSIDE, PROTOCOLS, SOON, World, address_of,
    ask_from, at, dropped, each_kind, exposure, gateway_of, within,
};

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = trials![
        peers_reach_each_other_and_nobody_else_does,
        peer_that_is_not_attached_takes_effect_when_it_is,
        peers_of_a_guest_that_is_gone_are_not_those_of_the_next,
        guest_reaches_the_services_that_it_was_granted,
        exposed_port_is_no_service,
        guest_may_ping_the_host_and_ask_nothing_else_of_it,
        flows_that_are_no_longer_allowed_end,
        flows_that_a_plan_no_longer_allows_end,
    ];
    trials.extend(trials![needs ["nft", "ip"]:
        policy_is_read_back_as_it_was_wanted,
        policy_that_cannot_be_changes_nothing,
    ]);
    trials
}

const PORT: u16 = 8080;

fn name(name: &str) -> GuestName {
    name.parse().unwrap()
}

fn guest(name: &str) -> Guest {
    Guest::new(name).unwrap()
}

/// A guest that may do a bit of everything.
fn busy(name: &str) -> Guest {
    let only = ["198.51.100.0/24", "192.0.2.0/24", "2001:db8:9::/48"];
    let egress = Egress::snat(NODE_TOO[0].parse().unwrap())
        .and_then(|egress| egress.behind(NODE_TOO[1].parse().unwrap()))
        .unwrap()
        .only(only.map(|net| net.parse().unwrap()));
    guest(name)
        .peer(&self::name("database"))
        .peer(&self::name("a-peer-that-is-not-there-yet"))
        .service("udp/53".parse().unwrap())
        .service("tcp/53".parse().unwrap())
        .service("sctp/9".parse().unwrap())
        .egress(egress)
        .rate_from(Rate::new(12_500_000).unwrap())
        .rate_to(Rate::new(1).unwrap().burst(u32::MAX))
}

/// Whether a guest's server answers another guest, which it sees as it is.
fn reaches(from: &Vm, own: &Attachment, to: &Attachment, kind: (Protocol, usize)) -> bool {
    let (protocol, family) = kind;
    let to = SocketAddr::new(address_of(to, family), GUEST_PORT);
    match ask_from(from, protocol, to, NEVER) {
        Some((_, seen)) => {
            assert_eq!(seen, address_of(own, family), "peers are not translated");
            true
        }
        None => false,
    }
}

#[track_caller]
fn all_reach(from: &Vm, own: &Attachment, to: &Attachment, wanted: bool) {
    for kind in each_kind() {
        let mut attempts = if wanted { 10 } else { 1 };
        let mut found = false;
        while !found && attempts > 0 {
            found = reaches(from, own, to, kind);
            attempts -= 1;
        }
        assert_eq!(found, wanted, "{} to {}, {kind:?}", own.name(), to.name());
    }
}

fn policy_is_read_back_as_it_was_wanted() {
    let world = World::new();
    let mut host = world.host();
    let empty = world.node.run(Snapshot::take).unwrap();
    host.attach(&guest("database")).unwrap();
    let wanted = busy("hello-world");
    let attached = host.attach(&wanted).unwrap();
    assert_eq!(attached.policy(), wanted.policy());
    let read = |host: &mut Host| {
        let guests = host.guests().unwrap();
        let found = guests.iter().find(|guest| guest.name() == "hello-world");
        found.unwrap().clone()
    };
    assert_eq!(read(&mut host), attached);
    assert_eq!(read(&mut world.host()), attached, "by another handle");
    let again = host.attach(&wanted).unwrap();
    assert_eq!(again, attached);
    // The second judge reads all of it, and takes it back.
    world
        .node
        .run(|| {
            let listing = run("nft", &["list", "table", "inet", "riklet"]);
            for line in [
                "limit rate over 12500000 bytes/second burst 64 kbytes comment \"hello-world\"",
                "\"riklet-1\" . 192.0.2.0/24 comment",
                "\"riklet-1\" . tcp . 53 comment",
                "\"riklet-0\" . \"riklet-1\" comment \"database\"",
            ] {
                assert!(listing.contains(line), "no {line} in\n{listing}");
            }
            let listing = run("nft", &["list", "ruleset"]);
            run("nft", &["flush", "ruleset"]);
            feed("nft", &["-f", "-"], &listing);
            assert_eq!(run("nft", &["list", "ruleset"]), listing);
        })
        .unwrap();
    assert_eq!(read(&mut host), attached, "what nft loaded reads the same");
    // Another policy replaces it whole, in any of its parts.
    let only = |net: &str| Egress::masquerade().only([net.parse().unwrap()]);
    for other in [
        busy("hello-world").rate_to(Rate::new(7).unwrap()),
        busy("hello-world").egress(only("192.0.0.0/16")),
        busy("hello-world").egress(only("192.0.2.0/25")),
        busy("hello-world").egress(Egress::snat(NODE[0].parse().unwrap()).unwrap()),
        guest("hello-world").peer(&name("zoo")).peer(&name("ant")),
        guest("hello-world").peer(&name("ant")),
        guest("hello-world").egress(Egress::none()),
        guest("hello-world"),
    ] {
        host.attach(&other).unwrap();
        assert_eq!(read(&mut host).policy(), other.policy());
        assert_eq!(read(&mut world.host()).policy(), other.policy());
    }
    host.attach(&wanted).unwrap();
    host.detach("hello-world").unwrap();
    host.detach("database").unwrap();
    let left = world.node.run(Snapshot::take).unwrap();
    empty.assert_same(&left, "after both are detached");
}

fn policy_that_cannot_be_changes_nothing() {
    let world = World::new();
    let mut host = world.host();
    host.attach(&busy("hello-world")).unwrap();
    let before = world.node.run(Snapshot::take).unwrap();
    for source in ["192.0.2.7", "2001:db8:9::7"] {
        let egress = Egress::snat(source.parse().unwrap()).unwrap();
        for name in ["hello-world", "another"] {
            let error = host
                .attach(&guest(name).egress(egress.clone()))
                .unwrap_err();
            assert!(matches!(error, Error::Absent { .. }), "{error:?}");
            let words = format!("no address of the host named {source}");
            assert_eq!(error.to_string(), words);
        }
    }
    let after = world.node.run(Snapshot::take).unwrap();
    before.assert_same(&after, "after refusals");
}

fn peers_reach_each_other_and_nobody_else_does() {
    let world = World::new();
    let mut host = world.host();
    let wanted = guest("web").peer(&name("database"));
    let (web, web_vm) = world.boot_as(&mut host, &wanted);
    let (database, database_vm) = world.boot(&mut host, "database");
    let (stranger, stranger_vm) = world.boot(&mut host, "stranger");
    all_reach(&web_vm, &web, &database, true);
    all_reach(&database_vm, &database, &web, true);
    for (from, own, to) in [
        (&stranger_vm, &stranger, &web),
        (&stranger_vm, &stranger, &database),
        (&web_vm, &web, &stranger),
    ] {
        all_reach(from, own, to, false);
    }
    assert!(dropped(&mut host, "not exposed") > 0);
    // Either of them may say so, and both may stop.
    host.attach(&guest("database").peer(&name("web"))).unwrap();
    host.attach(&guest("web")).unwrap();
    all_reach(&web_vm, &web, &database, true);
    all_reach(&database_vm, &database, &web, true);
    host.attach(&guest("database")).unwrap();
    all_reach(&web_vm, &web, &database, false);
    all_reach(&database_vm, &database, &web, false);
}

fn peer_that_is_not_attached_takes_effect_when_it_is() {
    let world = World::new();
    let mut host = world.host();
    let wanted = guest("web").peer(&name("database")).egress(Egress::none());
    let (web, web_vm) = world.boot_as(&mut host, &wanted);
    // Another handle knows of it as well.
    let mut other = world.host();
    for _ in 0..2 {
        let (database, database_vm) = world.boot(&mut other, "database");
        all_reach(&web_vm, &web, &database, true);
        all_reach(&database_vm, &database, &web, true);
        drop(database_vm);
        other.detach("database").unwrap();
    }
    // Pings are for peers too.
    let database = other.attach(&guest("database")).unwrap();
    let wire = Wire::open(&world, &database);
    for family in FAMILIES {
        assert!(wire.ping(address_of(&web, family), SOON));
    }
}

fn peers_of_a_guest_that_is_gone_are_not_those_of_the_next() {
    let world = World::new();
    let mut host = world.host();
    let (web, web_vm) = world.boot_as(&mut host, &guest("web").peer(&name("database")));
    let database = host
        .attach(
            &busy("database")
                .peer(&name("web"))
                .egress(Egress::masquerade()),
        )
        .unwrap();
    // A handle that has read none of this detaches it.
    let mut other = world.host();
    host.attach(&busy("database").service("tcp/8080".parse().unwrap()))
        .unwrap();
    other.detach("database").unwrap();
    let (next, next_vm) = world.boot(&mut host, "next");
    assert_eq!(next.tap(), database.tap());
    assert_eq!(*next.policy(), *guest("next").policy());
    all_reach(&web_vm, &web, &next, false);
    all_reach(&next_vm, &next, &web, false);
    let _server = World::server(&world.node, 0, PORT);
    let to = SocketAddr::new(gateway_of(&next, 0), PORT);
    assert_eq!(ask_from(&next_vm, Protocol::Tcp, to, NEVER), None);
}

fn guest_reaches_the_services_that_it_was_granted() {
    let world = World::new();
    let mut host = world.host();
    let (granted, vm) = world.boot(&mut host, "granted");
    let (_other, other_vm) = world.boot(&mut host, "other");
    for (protocol, family) in each_kind() {
        let _server = World::server(&world.node, family, PORT);
        let service = format!("{protocol}/{PORT}").parse().unwrap();
        host.attach(&guest("granted").service(service)).unwrap();
        for address in [gateway_of(&granted, family), NODE[family].parse().unwrap()] {
            let to = SocketAddr::new(address, PORT);
            let answer = ask_from(&vm, protocol, to, SOON);
            let (_, seen) = answer.unwrap_or_else(|| panic!("{protocol} {to}"));
            assert_eq!(seen, address_of(&granted, family));
            let unlike = PROTOCOLS.into_iter().find(|one| *one != protocol);
            assert_eq!(ask_from(&vm, unlike.unwrap(), to, NEVER), None);
            assert_eq!(ask_from(&other_vm, protocol, to, NEVER), None);
        }
    }
    let before = dropped(&mut host, "guest to host");
    let _server = World::server(&world.node, 0, PORT + 1);
    let to = SocketAddr::new(gateway_of(&granted, 0), PORT + 1);
    assert_eq!(
        ask_from(&vm, Protocol::Udp, to, NEVER),
        None,
        "another port"
    );
    assert!(dropped(&mut host, "guest to host") > before);
    // What the guest was granted answers while it has no other egress.
    let both = guest("granted")
        .service("tcp/8080".parse().unwrap())
        .service("udp/8080".parse().unwrap());
    host.attach(&both.egress(Egress::none())).unwrap();
    for (protocol, family) in each_kind() {
        let _server = World::server(&world.node, family, PORT);
        let to = SocketAddr::new(gateway_of(&granted, family), PORT);
        assert!(ask_from(&vm, protocol, to, SOON).is_some());
    }
}

fn exposed_port_is_no_service() {
    let world = World::new();
    let mut host = world.host();
    let wanted = guest("web").service("tcp/8080".parse().unwrap());
    let (_web, web_vm) = world.boot_as(&mut host, &wanted);
    let (other, _other_vm) = world.boot(&mut host, "other");
    let _server = World::server(&world.node, 0, PORT);
    host.expose(&exposure(Protocol::Tcp, PORT, &other, 0))
        .unwrap();
    let (name, _) = ask_from(&web_vm, Protocol::Tcp, at(NODE[0], PORT), SOON).unwrap();
    assert_eq!(name, "other");
}

fn guest_may_ping_the_host_and_ask_nothing_else_of_it() {
    let world = World::new();
    let mut host = world.host();
    let guest = host.attach(&guest("hello-world")).unwrap();
    let wire = Wire::open(&world, &guest);
    for family in FAMILIES {
        assert!(wire.ping(gateway_of(&guest, family), SOON));
        assert!(wire.ping(NODE[family].parse().unwrap(), SOON));
    }
    let before = dropped(&mut host, "guest to host");
    let (from, to): (IpAddr, IpAddr) = (guest.ipv4().into(), guest.gateway_ipv4().into());
    // A request for the host's time, which Linux answers.
    let asks = icmp(from, to, [13, 0], &[0; 16]);
    wire.send(&packet::ip(from, to, ICMP, &asks));
    let answers = |packet: &[u8]| (packet[0] >> 4 == 4 && packet[20] == 14).then_some(());
    assert_eq!(wire.receive(NEVER, answers), None);
    assert_eq!(dropped(&mut host, "guest to host"), before + 1);
}

/// The rules look at the first packet of a connection only.
fn flows_that_are_no_longer_allowed_end() {
    flows_end(|host, web| drop(host.attach(web).unwrap()));
}

fn flows_that_a_plan_no_longer_allows_end() {
    flows_end(|host, web| {
        let wanted = Wanted::new().guest(web.clone()).guest(guest("database"));
        host.apply(&wanted).unwrap();
    });
}

/// `set` has the guest `web` be as it is wanted, beside one more.
fn flows_end(set: fn(&mut Host, &Guest)) {
    let world = World::new();
    let mut host = world.host();
    let wanted = guest("web")
        .peer(&name("database"))
        .service("udp/8080".parse().unwrap());
    let web = host.attach(&wanted).unwrap();
    let database = host.attach(&guest("database")).unwrap();
    let (wire, peer) = (Wire::open(&world, &web), Wire::open(&world, &database));
    for family in FAMILIES {
        let to = peer.address(family);
        let server = World::server(&world.node, family, PORT);
        let outside = World::server(&world.outside, family, PORT);
        // One flow of each kind, from one port, which goes on.
        let asks = |to: SocketAddr, patience| {
            let from = SocketAddr::new(wire.address(family), 1234);
            within(patience, |_| {
                wire.send(&udp_packet(from, to, b"ping"));
                let answer = |packet: &[u8]| packet.ends_with(b" ping").then_some(());
                wire.receive(NEVER / 4, answer)
            })
            .is_some()
        };
        let arrives = |to: IpAddr, patience| {
            let from = SocketAddr::new(wire.address(family), 1234);
            let to = SocketAddr::new(to, 4321);
            wire.send(&udp_packet(from, to, b"to peer"));
            let arrived = |packet: &[u8]| packet.ends_with(b"to peer").then_some(());
            peer.receive(patience, arrived).is_some()
        };
        let granted = SocketAddr::new(gateway_of(&web, family), PORT);
        let beyond = at(OUTSIDE[family], PORT);
        set(&mut host, &wanted);
        assert!(asks(granted, SOON) && asks(beyond, SOON) && arrives(to, SOON));
        set(&mut host, &guest("web"));
        assert!(!asks(granted, NEVER), "a service that was granted");
        assert!(!arrives(to, NEVER), "a peer");
        assert!(asks(beyond, SOON), "the outside is as it was");
        set(&mut host, &guest("web").egress(Egress::none()));
        assert!(!asks(beyond, NEVER), "the outside");
        set(&mut host, &wanted);
        assert!(asks(granted, SOON) && asks(beyond, SOON) && arrives(to, SOON));
        drop((server, outside));
    }
}
