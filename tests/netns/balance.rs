//! Several guests behind one exposure.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use libtest_mimic::Trial;
use tapwire::route::{Address, Rtnl};
use tapwire::{Attachment, Exposure, Flows, GuestName, Host, IfIndex, Protocol};

use crate::stand_ins::client;
use crate::stand_ins::guest::Guest as Vm;
use crate::support::trials;
use crate::world::{FAMILIES, NEVER, NODE, OUTSIDE, PROTOCOLS, SOON, World, ask, at, ip, within};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        connections_go_to_one_guest_after_the_other,
        connections_of_two_exposures_in_turn_meet_all_guests,
        same_client_meets_the_same_guest_by_source,
        clients_are_spread_over_the_guests_by_source,
        guests_are_listed_in_their_order,
        guests_ports_and_balance_are_told_apart,
        rest_goes_on_when_one_of_the_guests_goes,
    ]
}

const NAMES: [&str; 3] = ["one", "two", "three"];

fn boot(world: &World, host: &mut Host) -> [(Attachment, Vm); 3] {
    let guests = NAMES.map(|name| world.boot(host, name));
    // Each has answered once, so that no first packet is lost later.
    for name in NAMES {
        for family in FAMILIES {
            let warm_up = expose(host, &format!("tcp/1->{name}:80"));
            assert!(ask(&world.outside, Protocol::Tcp, at(NODE[family], 1), SOON).is_some());
            host.withdraw(&warm_up, Flows::Cut).unwrap();
        }
    }
    guests
}

fn expose(host: &mut Host, text: &str) -> Exposure {
    let exposure: Exposure = text.parse().unwrap();
    host.expose(&exposure).unwrap();
    exposure
}

/// Who answers a connection.
fn who(world: &World, family: usize, port: u16) -> String {
    let ask = || crate::world::ask_here(Protocol::Tcp, at(NODE[family], port), SOON);
    world.outside.run(ask).unwrap().unwrap().0
}

/// On all addresses of the host, and on one of each family.
const HOSTS: [&str; 2] = ["", "203.0.113.1,[2001:db8::1]:"];

fn connections_go_to_one_guest_after_the_other() {
    let world = World::new();
    let mut host = world.host();
    let guests = boot(&world, &mut host);
    for (protocol, on) in PROTOCOLS
        .into_iter()
        .flat_map(|one| HOSTS.map(|on| (one, on)))
    {
        let text = format!("{protocol}/{on}8080->one:80,two:80,three:80");
        let exposure = expose(&mut host, &text);
        host.expose(&exposure).unwrap();
        for family in FAMILIES {
            let before = guests.each_ref().map(|(_, vm)| vm.seen().len());
            for _ in 0..6 {
                let answer = ask(&world.outside, protocol, at(NODE[family], 8080), SOON);
                assert_eq!(answer.unwrap().1, ip(OUTSIDE[family]));
            }
            for ((_, vm), before) in guests.iter().zip(before) {
                assert_eq!(vm.seen().len() - before, 2, "{text} {}", vm.name());
            }
        }
        let listed = host.exposures().unwrap();
        assert_eq!((listed.len(), listed[0].exposure()), (1, &exposure));
        assert_eq!(listed[0].connections(), 12);
        host.withdraw(&exposure, Flows::Cut).unwrap();
        let answer = ask(&world.outside, protocol, at(NODE[0], 8080), NEVER);
        assert_eq!(answer, None);
    }
}

fn connections_of_two_exposures_in_turn_meet_all_guests() {
    let world = World::new();
    let mut host = world.host();
    let _guests = boot(&world, &mut host);
    for (port, guests) in [(8080, "one:80,two:80"), (8081, "two:80,one:80")] {
        expose(&mut host, &format!("tcp/{port}->{guests}"));
    }
    let mut met: BTreeMap<(u16, String), u32> = BTreeMap::new();
    for _ in 0..12 {
        for port in [8080, 8081] {
            *met.entry((port, who(&world, 0, port))).or_default() += 1;
        }
    }
    assert_eq!(met.len(), 4, "{met:?}");
}

fn same_client_meets_the_same_guest_by_source() {
    let world = World::new();
    let mut host = world.host();
    let _guests = boot(&world, &mut host);
    let exposure = expose(&mut host, "tcp/8080->one:80,two:80,three:80 by source");
    assert_eq!(host.exposures().unwrap()[0].exposure(), &exposure);
    for family in FAMILIES {
        let first = who(&world, family, 8080);
        for _ in 0..6 {
            assert_eq!(who(&world, family, 8080), first);
        }
        // Also after it was made again.
        host.withdraw(&exposure, Flows::Cut).unwrap();
        host.expose(&exposure).unwrap();
        assert_eq!(who(&world, family, 8080), first);
    }
}

fn clients_are_spread_over_the_guests_by_source() {
    let world = World::new();
    let mut host = world.host();
    let guests = boot(&world, &mut host);
    let clients: [Vec<IpAddr>; 2] = [
        (16..32).map(|last| [203, 0, 113, last].into()).collect(),
        (16..32)
            .map(|last| [0x2001, 0xdb8, 0, 0, 0, 0, 0, last].into())
            .collect(),
    ];
    let add = || {
        let mut rtnl = Rtnl::open().unwrap();
        let link = IfIndex::new(100).unwrap();
        rtnl.apply(|changes| {
            for client in clients.iter().flatten() {
                let net = IpNet::new(*client, if client.is_ipv4() { 24 } else { 64 });
                changes.add_address(&Address::new(link, net.unwrap()).without_dad());
            }
        })
        .unwrap();
    };
    world.outside.run(add).unwrap();
    for on in HOSTS {
        let text = format!("udp/{on}8080->one:80,two:80,three:80 by source");
        let exposure = expose(&mut host, &text);
        for family in FAMILIES {
            let mut met = BTreeMap::new();
            for client in &clients[family] {
                let seen = || guests.each_ref().map(|(_, vm)| vm.seen().len());
                let to = at(NODE[family], 8080);
                let ask = |time| client::udp_ask(Some(*client), to, b"ping", time).ok();
                let whom = || {
                    let before = seen();
                    let answer = world.outside.run(|| within(SOON, ask)).unwrap();
                    assert!(answer.is_some(), "{client}");
                    let after = seen();
                    (0..3).find(|&place| after[place] > before[place]).unwrap()
                };
                let guest = whom();
                assert_eq!(whom(), guest, "{client} with another port");
                *met.entry(guest).or_insert(0) += 1;
            }
            assert_eq!(met.len(), 3, "{text}: {met:?}");
        }
        host.withdraw(&exposure, Flows::Cut).unwrap();
    }
}

fn guests_are_listed_in_their_order() {
    let world = World::new();
    let mut host = world.host();
    let guests: Vec<Attachment> = (0..48)
        .map(|number| {
            let name = format!("guest-{number}");
            host.attach(&tapwire::Guest::new(&name).unwrap()).unwrap()
        })
        .collect();
    let port = |place: usize| u16::try_from(100 - place).unwrap();
    for count in [2, 3, 7, 47, 48] {
        for by_source in [false, true] {
            let by_name: Vec<String> = guests
                .iter()
                .take(count)
                .enumerate()
                .map(|(place, guest)| format!("{}:{}", guest.name(), port(place)))
                .collect();
            let by_address: Vec<String> = guests
                .iter()
                .take(count)
                .enumerate()
                .map(|(place, guest)| format!("[{}]:{}", guest.ipv6(), port(place)))
                .collect();
            for targets in [by_name, by_address] {
                let rest = if by_source { " by source" } else { "" };
                let targets = targets.join(",");
                let text = format!("tcp/8080->{targets}{rest} label {count}");
                let exposure = expose(&mut host, &text);
                let listed = host.exposures().unwrap();
                assert_eq!((listed.len(), listed[0].exposure()), (1, &exposure));
                let names: Vec<&str> = listed[0].guests().iter().map(GuestName::as_str).collect();
                let wanted: Vec<&str> = guests.iter().take(count).map(Attachment::name).collect();
                assert_eq!(names, wanted);
                host.withdraw(&exposure, Flows::Drain).unwrap();
                assert!(host.exposures().unwrap().is_empty());
            }
        }
    }
}

fn guests_ports_and_balance_are_told_apart() {
    let world = World::new();
    let mut host = world.host();
    let _guests = boot(&world, &mut host);
    let first = expose(&mut host, "tcp/8080->one:80,two:80 label a");
    for other in [
        "tcp/8080->one:80",
        "tcp/8080->two:80,one:80",
        "tcp/8080->one:80,two:81",
        "tcp/8080->one:80,two:80,three:80",
    ] {
        let other: Exposure = other.parse().unwrap();
        let error = host.expose(&other).unwrap_err();
        let words = format!("{other} clashes with {first} of guest one, two");
        assert_eq!(error.to_string(), words);
        assert!(
            host.withdraw(&other, Flows::Cut)
                .unwrap_err()
                .is_not_found()
        );
    }
    // How they are balanced, and who may connect, is replaced.
    let by_source = expose(
        &mut host,
        "tcp/8080->one:80,two:80 by source from 203.0.113.0/24",
    );
    assert_eq!(host.exposures().unwrap()[0].exposure(), &by_source);
    let (met, again) = (who(&world, 0, 8080), who(&world, 0, 8080));
    assert_eq!(met, again);
    let single = expose(&mut host, "tcp/8081->one:80 by source");
    assert_eq!(host.exposures().unwrap()[1].exposure(), &single);
    assert_eq!(who(&world, 0, 8081), "one");
}

fn rest_goes_on_when_one_of_the_guests_goes() {
    let world = World::new();
    let mut host = world.host();
    let _guests = boot(&world, &mut host);
    expose(&mut host, "tcp/8080->one:80,two:80,three:80 label web");
    for (gone, rest) in [("one", vec!["two", "three"]), ("three", vec!["two"])] {
        host.detach(gone).unwrap();
        let listed = host.exposures().unwrap();
        let targets: Vec<String> = rest.iter().map(|name| format!("{name}:80")).collect();
        let wanted = format!("tcp/8080->{} label web", targets.join(","));
        assert_eq!(listed[0].exposure().to_string(), wanted);
        for _ in 0..6 {
            assert!(rest.contains(&who(&world, 1, 8080).as_str()));
        }
    }
    host.detach("two").unwrap();
    assert!(host.exposures().unwrap().is_empty());
}
