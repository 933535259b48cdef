//! Clones that are wanted, read back and conflicting.

use std::net::SocketAddr;

use libtest_mimic::Trial;
use tapwire::route::{Address, Rtnl};
use tapwire::sys::NetNs;
use tapwire::{Connection, Error, Guest, Protocol, Service, Wanted};

use super::{SNAPSHOT, clone, direct, host_seen_by, snapshot};
use crate::support::{feed, run, trials};
use crate::world::{FAMILIES, PROTOCOLS, SOON, World, address_of, ask, ask_from, at, ip};

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = trials![
        another_snapshot_or_connection_of_an_attached_guest_is_a_conflict,
        gateway_that_is_somebody_else_too_is_in_nobodys_way,
    ];
    trials.extend(trials![needs ["nft", "ip"]:
        clones_are_completed_by_a_plan_whatever_was_taken_away,
    ]);
    trials
}

fn another_snapshot_or_connection_of_an_attached_guest_is_a_conflict() {
    let world = World::new();
    let mut host = world.host();
    let attached = host.attach(&clone("clone")).unwrap();
    host.attach(&Guest::new("routed").unwrap()).unwrap();
    let other: tapwire::Snapshot = SNAPSHOT
        .replace("172.16.0.2/24", "172.16.0.3/24")
        .parse()
        .unwrap();
    let other = Guest::new("clone")
        .unwrap()
        .connection(Connection::Rewritten(other));
    for guest in [other, Guest::new("clone").unwrap(), clone("routed")] {
        for error in [
            host.attach(&guest).unwrap_err(),
            host.attach_all(std::slice::from_ref(&guest)).unwrap_err(),
            host.plan(&Wanted::new().guest(guest.clone())).unwrap_err(),
        ] {
            assert!(matches!(error, Error::Conflict(_)), "{error:?}");
            assert!(
                error
                    .to_string()
                    .starts_with(&format!("guest {} ", guest.name()))
            );
        }
    }
    let mac = clone("clone").mac("06:00:ac:10:00:03".parse().unwrap());
    let error = host.attach(&mac).unwrap_err();
    assert_eq!(
        error.to_string(),
        "MAC address of a clone \"06:00:ac:10:00:03\" is not its snapshot's"
    );
    host.attach(&clone("clone").mac(snapshot().mac())).unwrap();
    assert_eq!(host.guests().unwrap()[0], attached);
    let tree = host.topology().unwrap().tree().to_string();
    assert!(
        tree.contains("inside 172.16.0.2/24  fd00:ac10::2/64"),
        "{tree}"
    );
}

/// The network that a clone believes in is the node's as well, and somebody
/// there has its gateway's address: both are reached, each by who means it.
fn gateway_that_is_somebody_else_too_is_in_nobodys_way() {
    const PORT: u16 = 9000;
    let world = World::new();
    let mut host = world.host();
    let add = |netns: &NetNs, net: &str| {
        let net: ipnet::IpNet = net.parse().unwrap();
        let add = || {
            let mut rtnl = Rtnl::open().unwrap();
            let eth0 = rtnl.link("eth0".parse().unwrap()).unwrap().unwrap().index();
            let address = Address::new(eth0, net).without_dad();
            rtnl.apply(|changes| changes.add_address(&address)).unwrap();
        };
        netns.run(add).unwrap();
    };
    for (own, others) in [
        ("172.16.0.9/24", "172.16.0.1/24"),
        ("fd00:ac10::9/64", "fd00:ac10::1/64"),
    ] {
        add(&world.node, own);
        add(&world.outside, others);
    }
    let (one, vm) = world.boot_as(&mut host, &clone("a"));
    for family in FAMILIES {
        let _other = World::server(&world.outside, family, PORT);
        let _host = World::server(&world.node, family, PORT + 1);
        let service = Service::new(Protocol::Tcp, PORT + 1).unwrap();
        host.attach(&clone("a").service(service)).unwrap();
        let [own, others] = [
            ["172.16.0.9", "172.16.0.1"],
            ["fd00:ac10::9", "fd00:ac10::1"],
        ][family];
        let answer = ask(&world.node, Protocol::Tcp, at(others, PORT), SOON);
        assert_eq!(answer.unwrap().1, ip(own), "the node's");
        let gateway = SocketAddr::new(host_seen_by(&one, family), PORT + 1);
        let answer = ask_from(&vm, Protocol::Tcp, gateway, SOON);
        assert_eq!(answer.unwrap().1, address_of(&one, family), "the clone's");
        let answer = ask(&world.node, Protocol::Tcp, direct(&one, family), SOON);
        assert_eq!(answer.unwrap().1, host_seen_by(&one, family));
    }
}

fn clones_are_completed_by_a_plan_whatever_was_taken_away() {
    let world = World::new();
    let mut host = world.host();
    let mut wanted = Wanted::new().exposure("tcp/80->b:80".parse().unwrap());
    wanted.extend(["a", "b", "c"].map(clone));
    host.apply(&wanted).unwrap();
    let attached = host.guests().unwrap();
    let clone = attached[1].clone();
    let _vm = world.start(&clone);
    let asks = || {
        for (protocol, family) in [(PROTOCOLS[0], 0), (PROTOCOLS[0], 1)] {
            assert!(ask(&world.node, protocol, direct(&clone, family), SOON).is_some());
        }
    };
    // A handle that was not there knows nothing of uplinks any more.
    let listing = || {
        let list = || run("nft", &["-s", "list", "ruleset"]);
        let listing = world.node.run(list).unwrap();
        // Before Linux 6.17 all interfaces are one for IPv6.
        let of_uplinks = |line: &&str| line.contains("\"eth0\"") || line.contains("\"all\"");
        let lines = listing.lines().filter(|line| !of_uplinks(line));
        lines.collect::<Vec<_>>().join("\n") + "\n"
    };
    asks();
    let whole = listing();
    for (program, words) in [
        ("nft", "flush map inet riklet clone4"),
        ("nft", "flush map inet riklet inner4"),
        ("nft", "flush map inet riklet inner6"),
        ("nft", "flush map arp riklet inner"),
        ("nft", "flush set inet riklet guard6"),
        ("nft", "flush set inet riklet self4"),
        ("nft", "flush chain inet riklet clone_in"),
        ("nft", "delete table arp riklet"),
        ("nft", "flush ruleset"),
        ("ip", "address del 198.18.0.5/30 dev riklet-1"),
        ("ip", "neigh del 172.16.0.2 dev riklet-1"),
    ] {
        let words: Vec<&str> = words.split(' ').collect();
        world.node.run(|| run(program, &words)).unwrap();
        let mut fresh = world.host();
        assert_eq!(fresh.guests().unwrap(), attached, "{words:?}");
        fresh.apply(&wanted).unwrap();
        assert_eq!(fresh.guests().unwrap(), attached, "{words:?}");
        assert!(fresh.plan(&wanted).unwrap().is_empty(), "{words:?}");
        assert_eq!(listing(), whole, "{words:?}");
        asks();
    }
    // What nft lists it loads again, but for sums that it cannot say: those
    // are right again when the tables are looked at next.
    let load = || {
        run("nft", &["flush", "ruleset"]);
        feed("nft", &["-f", "-"], &whole);
    };
    world.node.run(load).unwrap();
    assert_eq!(listing(), whole);
    assert_eq!(world.host().guests().unwrap(), attached);
    assert_eq!(listing(), whole);
    asks();
}
