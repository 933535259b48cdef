//! What happens in the namespace of a clone, and what does not.

use std::collections::HashSet;
use std::fs;
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};

use libtest_mimic::Trial;
use tapwire::conn::Connection;
use tapwire::conntrack::{Flow, FlowFilter, flows};
use tapwire::nft::{Family, Nft};
use tapwire::{Protocol, Snapshot};

use super::{boot, clone, inside};
use crate::packet::Wire;
use crate::support::{run, trials};
use crate::world::{
    FAMILIES, GUEST_PORT, NEVER, NODE, OUTSIDE, PROTOCOLS, SOON, World, address_of, ask, ask_from,
    at, each_kind, exposure, ip, soon_dropped, within,
};

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = trials![
        one_connection_is_tracked_on_the_host_and_none_inside,
        nothing_that_is_opened_inside_speaks_for_the_guest,
        guest_finds_nothing_in_its_namespace,
        clone_in_the_place_of_what_it_was_copied_from,
    ];
    trials.extend(trials![needs ["ip", "nft"]: namespace_is_as_others_know_it]);
    trials
}

const PORT: u16 = 8080;

fn one_connection_is_tracked_on_the_host_and_none_inside() {
    let world = World::new();
    let mut host = world.host();
    let (clone, _vm) = boot(&mut host, "one");
    // By the ports of who asked, who asks again from another one if an answer
    // takes long.
    let ports = |filter: &FlowFilter| {
        let mut connection = Connection::netfilter().unwrap();
        let flows = flows(&mut connection, filter).unwrap().into_iter();
        let port = |flow: Flow| (flow.original().protocol(), flow.original().source_port());
        flows.map(port).collect::<Vec<_>>()
    };
    for (protocol, family) in each_kind() {
        host.expose(&exposure(protocol, PORT, &clone, family))
            .unwrap();
        let seen = ask(&world.outside, protocol, at(NODE[family], PORT), SOON);
        assert_eq!(seen.unwrap().1, ip(OUTSIDE[family]), "{protocol}");
    }
    let filters = [FlowFilter::ipv4(), FlowFilter::ipv6()];
    for tracked in world.node.run(|| filters.each_ref().map(ports)).unwrap() {
        let askers: HashSet<_> = tracked.iter().collect();
        assert_eq!(askers.len(), tracked.len(), "one each: {tracked:?}");
        assert!(tracked.len() >= PROTOCOLS.len(), "{tracked:?}");
    }
    let tracked = || (filters.each_ref().map(ports), counted());
    let in_namespace = inside(&clone).run(tracked).unwrap();
    assert_eq!(in_namespace, ([vec![], vec![]], 0));
}

/// What the kernel says about how many flows it tracks in the namespace.
fn counted() -> u32 {
    let count = fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_count");
    count.unwrap().trim().parse().unwrap()
}

/// Whoever opens a socket in the namespace, the VMM for one, is not the guest.
fn nothing_that_is_opened_inside_speaks_for_the_guest() {
    let world = World::new();
    let mut host = world.host();
    let (clone, vm) = boot(&mut host, "one");
    for family in FAMILIES {
        let listener = || UdpSocket::bind(at(OUTSIDE[family], PORT)).unwrap();
        let listener = world.outside.run(listener).unwrap();
        listener.set_read_timeout(Some(NEVER)).unwrap();
        let send = || {
            let socket = UdpSocket::bind(at(["0.0.0.0", "::"][family], 0)).unwrap();
            socket.send_to(b"x", at(OUTSIDE[family], PORT)).err()
        };
        let refused = inside(&clone).run(send).unwrap();
        assert_eq!(refused.unwrap().kind(), ErrorKind::PermissionDenied);
        assert!(listener.recv(&mut [0; 8]).is_err(), "nothing arrives");
        // What the guest itself sends does.
        drop(listener);
        let _server = World::server(&world.outside, family, PORT);
        assert!(ask_from(&vm, Protocol::Udp, at(OUTSIDE[family], PORT), SOON).is_some());
    }
}

/// Its own address on the host is not in there, nor anything else that would
/// answer.
fn guest_finds_nothing_in_its_namespace() {
    let world = World::new();
    let mut host = world.host();
    let clone = host.attach(&clone("one")).unwrap();
    let wire = Wire::open(&world, &clone);
    let gateway = Snapshot::of(&clone).gateway_ipv6().unwrap();
    // The kernel takes its time until an address is its own.
    let answered = within(SOON, |patience| {
        wire.ping(gateway.into(), patience).then_some(())
    });
    assert!(answered.is_some(), "the host answers for its gateway");
    let link_local = "ff02::1".parse().unwrap();
    assert!(!wire.ping(link_local, NEVER), "all on the link");
    soon_dropped(&mut host, "guest to namespace", 1);
    for family in FAMILIES {
        let own = address_of(&clone, family);
        assert!(!wire.ping(own, NEVER), "{own}");
    }
}

/// A snapshot of a routed guest, restored where it had been: what it believes
/// in is what the host knows.
fn clone_in_the_place_of_what_it_was_copied_from() {
    let world = World::new();
    let mut host = world.host();
    let (routed, vm) = world.boot(&mut host, "routed");
    let snapshot = Snapshot::of(&routed);
    vm.stop().unwrap();
    host.detach("routed").unwrap();
    let clone = host.attach(&super::clone_of("clone", snapshot)).unwrap();
    assert_eq!(clone.ipv4(), routed.ipv4());
    assert_eq!(host.guests().unwrap(), std::slice::from_ref(&clone));
    assert_eq!(world.host().guests().unwrap(), std::slice::from_ref(&clone));
    let vm = world.start(&clone);
    for (protocol, family) in each_kind() {
        let own = SocketAddr::new(address_of(&clone, family), GUEST_PORT);
        assert!(
            ask(&world.node, protocol, own, SOON).is_some(),
            "{protocol} {own}"
        );
        let _server = World::server(&world.outside, family, PORT);
        let to = at(OUTSIDE[family], PORT);
        assert!(
            ask_from(&vm, protocol, to, SOON).is_some(),
            "{protocol} {to}"
        );
    }
}

fn namespace_is_as_others_know_it() {
    let world = World::new();
    let mut host = world.host();
    let clone = host.attach(&clone("one")).unwrap();
    let name = clone.namespace().unwrap();
    assert_eq!(name, "riklet-0");
    assert!(run("ip", &["netns", "list"]).contains(name));
    let path = clone.namespace_path().unwrap();
    assert_eq!(path.to_str(), Some("/run/netns/riklet-0"));
    assert!(path.exists());
    let links = run("ip", &["-n", name, "-o", "link"]);
    assert!(
        links.contains("tap0") && links.contains("02:74:77:ff:ff:fe"),
        "{links}"
    );
    let own = run("ip", &["-n", name, "-6", "-o", "addr"]);
    assert!(
        own.contains("fd00:ac10::1") && !own.contains("fe80::"),
        "{own}"
    );
    // What `nft` lists it loads again, and it is the same.
    let tables = || {
        run(
            "ip",
            &["netns", "exec", name, "nft", "-s", "list", "ruleset"],
        )
    };
    let listed = tables();
    assert!(
        listed.contains("172.16.0.2") && listed.contains("198.18.0.2"),
        "{listed}"
    );
    let again = format!("flush ruleset\n{listed}");
    inside(&clone)
        .run(|| crate::support::feed("nft", &["-f", "-"], &again))
        .unwrap();
    assert_eq!(tables(), listed);
    let inet = inside(&clone).run(|| Nft::open().unwrap().tables().unwrap());
    let families: Vec<_> = inet
        .unwrap()
        .iter()
        .map(tapwire::nft::Table::family)
        .collect();
    assert!(families.contains(&Family::INET) && families.contains(&Family::NETDEV));
}
