//! How many may be connected at once.

use std::io;

use libtest_mimic::Trial;
use tapwire::nft::{Family, Name, Nft};
use tapwire::{Exposure, Flows, Host, Protocol, Settings};

use crate::stand_ins::client::{self, Connection};
use crate::support::trials;
use crate::world::{FAMILIES, NEVER, NODE, NODE_TOO, SOON, World, ask, at, within};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        connections_beyond_the_limit_are_refused_until_others_end,
        udp_flows_are_limited_too,
        limits_of_two_exposures_are_counted_apart,
        another_limit_replaces_the_first,
        chain_of_a_limit_lives_as_long_as_it_is_used,
        full_sets_are_named,
    ]
}

fn expose(host: &mut Host, text: &str) -> Exposure {
    let exposure: Exposure = text.parse().unwrap();
    host.expose(&exposure).unwrap();
    exposure
}

fn open(world: &World, address: &str, port: u16) -> io::Result<Connection> {
    let open = || {
        let mut connection = Connection::open(at(address, port), SOON)?;
        connection.get("/")?;
        Ok(connection)
    };
    world.outside.run(open).unwrap()
}

/// The first connections to a guest that was just started may take a while.
fn warm_up(world: &World, family: usize, port: u16) {
    assert!(ask(&world.outside, Protocol::Tcp, at(NODE[family], port), SOON).is_some());
}

fn is_refused(result: io::Result<Connection>) -> bool {
    result.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

fn connections_beyond_the_limit_are_refused_until_others_end() {
    let world = World::new();
    let mut host = world.host();
    let (_, _vm) = world.boot(&mut host, "hello-world");
    expose(&mut host, "tcp/8080->hello-world:80");
    for family in FAMILIES {
        warm_up(&world, family, 8080);
    }
    host.withdraw(&"tcp/8080->hello-world:80".parse().unwrap(), Flows::Cut)
        .unwrap();
    let exposure = expose(&mut host, "tcp/8080->hello-world:80 limit 2");
    assert_eq!(host.exposures().unwrap()[0].exposure(), &exposure);
    for family in FAMILIES {
        let open = || open(&world, NODE[family], 8080);
        let (first, _second) = (open().unwrap(), open().unwrap());
        assert!(is_refused(open()), "a third connection");
        assert!(is_refused(open()));
        drop(first);
        let again = within(SOON, |_| open().ok());
        assert!(again.is_some(), "one has ended, another may come");
    }
}

fn udp_flows_are_limited_too() {
    let world = World::new();
    let mut host = world.host();
    let (_, _vm) = world.boot(&mut host, "hello-world");
    for family in FAMILIES {
        let plain = expose(&mut host, "udp/8080->hello-world:80");
        assert!(ask(&world.outside, Protocol::Udp, at(NODE[family], 8080), SOON).is_some());
        host.withdraw(&plain, Flows::Cut).unwrap();
        let limited = expose(&mut host, "udp/8080->hello-world:80 limit 3");
        let answers = || client::udp_ask(None, at(NODE[family], 8080), b"ping", NEVER).is_ok();
        let answered: Vec<bool> = (0..5)
            .map(|_| world.outside.run(answers).unwrap())
            .collect();
        assert_eq!(answered, [true, true, true, false, false]);
        host.withdraw(&limited, Flows::Cut).unwrap();
    }
}

fn limits_of_two_exposures_are_counted_apart() {
    let world = World::new();
    let mut host = world.host();
    let (_, _vm) = world.boot(&mut host, "hello-world");
    for family in FAMILIES {
        let exact = format!("tcp/{}:8080->hello-world:80 limit 1", {
            [NODE_TOO[0].to_owned(), format!("[{}]", NODE_TOO[1])][family].clone()
        });
        let all = [
            expose(&mut host, "tcp/8080->hello-world:80 limit 1"),
            expose(&mut host, &exact),
            expose(&mut host, "tcp/8081->hello-world:80 limit 1"),
        ];
        let mut connections = Vec::new();
        for (address, port) in [(NODE, 8080), (NODE_TOO, 8080), (NODE, 8081)] {
            let open = || open(&world, address[family], port);
            connections.push(within(SOON, |_| open().ok()).unwrap());
            assert!(is_refused(open()), "{port}");
        }
        for exposure in all {
            host.withdraw(&exposure, Flows::Cut).unwrap();
        }
    }
}

fn another_limit_replaces_the_first() {
    let world = World::new();
    let mut host = world.host();
    let (_, _vm) = world.boot(&mut host, "hello-world");
    expose(&mut host, "tcp/8080->hello-world:80");
    warm_up(&world, 0, 8080);
    for limit in [3_u32, 1, 2] {
        let exposure = expose(
            &mut host,
            &format!("tcp/8080->hello-world:80 limit {limit}"),
        );
        let listed = host.exposures().unwrap();
        assert_eq!((listed.len(), listed[0].exposure()), (1, &exposure));
        let connections: Vec<_> = (0..limit)
            .map(|_| open(&world, NODE[0], 8080).unwrap())
            .collect();
        assert!(is_refused(open(&world, NODE[0], 8080)), "limit {limit}");
        drop(connections);
    }
    expose(&mut host, "tcp/8080->hello-world:80");
    let _connections = [(); 5].map(|()| open(&world, NODE[0], 8080).unwrap());
}

fn chain_of_a_limit_lives_as_long_as_it_is_used() {
    let world = World::new();
    let mut host = world.host();
    for name in ["one", "other"] {
        host.attach(&tapwire::Guest::new(name).unwrap()).unwrap();
    }
    let chains = || {
        let list = || {
            let mut nft = Nft::open().unwrap();
            let name = Name::constant("riklet");
            let table = nft.snapshot(Family::INET, &name).unwrap().unwrap();
            let names = table.chains().iter().map(|chain| chain.name().to_string());
            let mut names: Vec<_> = names.filter(|name| name.starts_with("limit")).collect();
            names.sort();
            names
        };
        world.node.run(list).unwrap()
    };
    let both = ["limit4_any_5", "limit6_any_5"];
    assert!(chains().is_empty());
    let one = expose(&mut host, "tcp/80-89->one:80-89 limit 5");
    let other = expose(&mut host, "udp/80->other:80 limit 5");
    assert_eq!(chains(), both);
    host.withdraw(&one, Flows::Cut).unwrap();
    assert_eq!(chains(), both);
    expose(&mut host, "udp/80->other:80 limit 6");
    assert_eq!(chains(), ["limit4_any_6", "limit6_any_6"]);
    expose(&mut host, "tcp/80->one:80 limit 6");
    host.withdraw(&other, Flows::Cut).unwrap();
    assert_eq!(chains(), ["limit4_any_6", "limit6_any_6"]);
    host.detach("one").unwrap();
    assert!(chains().is_empty());
    expose(&mut host, "udp/80->other:80 limit 6");
    assert_eq!(chains(), ["limit4_any_6", "limit6_any_6"]);
}

fn full_sets_are_named() {
    let world = World::new();
    let settings = Settings::new(tapwire::Owner::new("riklet").unwrap()).exposures(64);
    let mut host = world.node.run(|| Host::with(settings).unwrap()).unwrap();
    for name in ["one", "other"] {
        host.attach(&tapwire::Guest::new(name).unwrap()).unwrap();
    }
    let nets: Vec<String> = (0..40)
        .map(|net| format!("10.{}.0.0/16", net * 2))
        .collect();
    let from = format!("tcp/80->one:80 from {}", nets.join(","));
    let balanced = "tcp/1->one:1,other:1";
    expose(&mut host, balanced);
    for (text, words) in [
        (
            "tcp/80-144->one:80-144",
            "the exposures are used up (room for 64)",
        ),
        (
            "tcp/80-99->one:80-99 limit 5",
            "the exposures with an allow list, a limit or several guests are used up (room for 16)",
        ),
        (
            &from,
            "the networks in allow lists are used up (room for 16)",
        ),
        (
            "tcp/2->one:1,other:1",
            "the exposures with several guests in turn are used up (room for 48)",
        ),
    ] {
        let exposure: Exposure = text.parse().unwrap();
        assert_eq!(host.expose(&exposure).unwrap_err().to_string(), words);
        assert_eq!(host.exposures().unwrap().len(), 1);
    }
    // There is room for others as before.
    expose(&mut host, "tcp/80-140->one:80-140");
    expose(&mut host, "tcp/2->one:1,other:1 by source");
}
