//! Several ports in a row, several addresses, guests by name.

use libtest_mimic::Trial;
use tapwire::nft::{Family, Name, Nft};
use tapwire::{Attachment, Exposure, Flows, Host, Protocol};

use crate::stand_ins::guest::Guest as Vm;
use crate::support::trials;
use crate::world::{
    FAMILIES, NEVER, NODE, NODE_TOO, OUTSIDE, PROTOCOLS, SOON, World, ask, ask_from, at, config,
    each_kind, exposure, gateway_of, ip,
};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        range_leads_each_port_to_the_one_as_far_behind,
        large_range_is_one_element_of_a_family,
        single_port_beats_a_large_range,
        large_range_gives_way_to_its_ports_when_it_is_limited,
        large_ranges_that_overlap_clash,
        several_addresses_are_one_exposure,
        exposures_on_several_addresses_each_are_told_apart,
        part_of_an_exposure_is_not_withdrawn_for_it,
        guest_by_name_is_reached_over_both_families,
        ten_thousand_ports_come_and_go_in_one_change_each,
        older_udp_flows_do_not_bypass_a_range,
        large_range_on_loopback_serves_local_processes_only,
    ]
}

/// A guest that answers on these ports.
fn boot(world: &World, host: &mut Host, name: &str, ports: &[u16]) -> (Attachment, Vm) {
    let guest = host.attach(&tapwire::Guest::new(name).unwrap()).unwrap();
    let mut serving = config(&guest);
    for &port in ports {
        serving = serving.http(port).echo(port);
    }
    let vm = Vm::start(world.open_tap(&guest), serving).unwrap();
    (guest, vm)
}

fn expose(host: &mut Host, text: &str) -> Exposure {
    let exposure: Exposure = text.parse().unwrap();
    host.expose(&exposure).unwrap();
    exposure
}

/// What is in force, in the plain notation.
fn listed(host: &mut Host) -> Vec<String> {
    let listed = host.exposures().unwrap();
    listed
        .iter()
        .map(|exposed| exposed.exposure().to_string())
        .collect()
}

/// How many elements a set of the owner's has.
fn count(world: &World, set: &'static str) -> usize {
    let count = || {
        let mut nft = Nft::open().unwrap();
        let table = nft
            .snapshot(Family::INET, &Name::constant("riklet"))
            .unwrap()
            .unwrap();
        let mut sets = table.sets();
        let (_, elements) = sets.find(|(one, _)| one.name().as_str() == set).unwrap();
        elements.len()
    };
    world.node.run(count).unwrap()
}

fn range_leads_each_port_to_the_one_as_far_behind() {
    let world = World::new();
    let mut host = world.host();
    let (_, vm) = boot(&world, &mut host, "hello-world", &[81, 82]);
    for protocol in PROTOCOLS {
        let range = expose(
            &mut host,
            &format!("{protocol}/8000-8002->hello-world:80-82"),
        );
        host.expose(&range).unwrap();
        for family in FAMILIES {
            for port in 8000..=8002 {
                let (_, source) =
                    ask(&world.outside, protocol, at(NODE[family], port), SOON).unwrap();
                assert_eq!(source, ip(OUTSIDE[family]));
            }
            for port in [7999, 8003] {
                let answer = ask(&world.outside, protocol, at(NODE[family], port), NEVER);
                assert_eq!(answer, None, "{port}");
            }
            assert!(ask_from(&vm, protocol, at(NODE[family], 8002), SOON).is_some());
        }
        let exposed = host.exposures().unwrap();
        let [exposed] = exposed.as_slice() else {
            panic!("{exposed:?}")
        };
        assert_eq!(exposed.exposure(), &range);
        assert!(exposed.connections() >= 8, "{exposed}");
        assert_eq!(exposed.guest().unwrap().as_str(), "hello-world");
        host.withdraw(&range, Flows::Cut).unwrap();
        assert!(
            host.withdraw(&range, Flows::Cut)
                .unwrap_err()
                .is_not_found()
        );
        for family in FAMILIES {
            let answer = ask(&world.outside, protocol, at(NODE[family], 8001), NEVER);
            assert_eq!(answer, None);
        }
    }
}

fn large_range_is_one_element_of_a_family() {
    let world = World::new();
    let mut host = world.host();
    let (_, _vm) = boot(&world, &mut host, "hello-world", &[20_000, 25_000, 29_999]);
    for protocol in PROTOCOLS {
        let range = expose(
            &mut host,
            &format!("{protocol}/20000-29999->hello-world:20000-29999 label media"),
        );
        host.expose(&range).unwrap();
        assert_eq!(listed(&mut host), [range.to_string()]);
        assert_eq!(
            (count(&world, "ranges4_any"), count(&world, "dnat4_any")),
            (1, 0)
        );
        assert_eq!(
            (count(&world, "ranges6_any"), count(&world, "dnat6_any")),
            (1, 0)
        );
        for family in FAMILIES {
            for port in [20_000, 25_000, 29_999] {
                let to = at(NODE[family], port);
                let (_, source) = ask(&world.outside, protocol, to, SOON).unwrap();
                assert_eq!(source, ip(OUTSIDE[family]));
                assert!(ask(&world.node, protocol, to, SOON).is_some());
            }
            let outside = at(NODE[family], 30_000);
            assert_eq!(ask(&world.outside, protocol, outside, NEVER), None);
        }
        assert!(host.exposures().unwrap()[0].connections() >= 12);
        host.withdraw(&range, Flows::Cut).unwrap();
        assert_eq!(
            count(&world, "ranges4_any") + count(&world, "ranges6_any"),
            0
        );
    }
    // On one address, the other is as if it were not.
    let one = format!("tcp/{}:20000-29999->hello-world:20000-29999", NODE_TOO[0]);
    expose(&mut host, &one);
    let reached = |address| ask(&world.outside, Protocol::Tcp, at(address, 25_000), NEVER);
    assert!(reached(NODE_TOO[0]).is_some());
    assert_eq!(reached(NODE[0]), None);
}

fn single_port_beats_a_large_range() {
    let world = World::new();
    let mut host = world.host();
    let (_, _behind) = boot(&world, &mut host, "behind", &[20_000, 25_000]);
    let (_, _before) = boot(&world, &mut host, "before", &[]);
    let names = || {
        FAMILIES.map(|family| {
            [20_000, 25_000].map(|port| {
                let to = at(NODE[family], port);
                ask(&world.outside, Protocol::Tcp, to, SOON).unwrap().0
            })
        })
    };
    let addresses = format!("{},[{}]", NODE[0], NODE[1]);
    expose(
        &mut host,
        &format!("tcp/{addresses}:20000-29999->behind:20000-29999"),
    );
    let single = expose(&mut host, "tcp/25000->before:80");
    assert_eq!(names(), [["behind", "before"]; 2]);
    host.withdraw(&single, Flows::Cut).unwrap();
    assert_eq!(names(), [["behind", "behind"]; 2]);
}

fn large_range_gives_way_to_its_ports_when_it_is_limited() {
    let world = World::new();
    let mut host = world.host();
    let (_, _vm) = boot(&world, &mut host, "hello-world", &[25_000]);
    let plain = expose(&mut host, "tcp/24000-25999->hello-world:24000-25999");
    let limited = expose(
        &mut host,
        "tcp/24000-25999->hello-world:24000-25999 from 203.0.113.7/32",
    );
    assert_eq!(listed(&mut host), [limited.to_string()]);
    assert_eq!(
        (count(&world, "ranges4_any"), count(&world, "dnat4_any")),
        (0, 2000)
    );
    assert_eq!(count(&world, "allow4_any"), 1);
    let reached = |family: usize| {
        let to = at(NODE[family], 25_000);
        ask(&world.outside, Protocol::Tcp, to, NEVER).is_some()
    };
    assert!(reached(0));
    assert!(!reached(1), "no IPv6 client is allowed");
    host.expose(&plain).unwrap();
    assert_eq!(listed(&mut host), [plain.to_string()]);
    assert_eq!(
        (count(&world, "ranges4_any"), count(&world, "dnat4_any")),
        (1, 0)
    );
    assert_eq!(
        count(&world, "special4_any") + count(&world, "allow4_any"),
        0
    );
    assert!(reached(0) && reached(1));
}

fn large_ranges_that_overlap_clash() {
    let world = World::new();
    let mut host = world.host();
    for name in ["one", "other"] {
        host.attach(&tapwire::Guest::new(name).unwrap()).unwrap();
    }
    let first = expose(&mut host, "tcp/20000-29999->one:20000-29999 label media");
    for clashing in [
        "tcp/25000-35000->other:25000-35000",
        "tcp/20000-29999->other:20000-29999",
        "tcp/25000-26999->one:25000-26999",
    ] {
        let clashing: Exposure = clashing.parse().unwrap();
        let error = host.expose(&clashing).unwrap_err();
        let words = format!("{clashing} clashes with {first} of guest one");
        assert_eq!(error.to_string(), words);
        let error = host
            .expose_all(&["tcp/1-2000->one:1-2000".parse().unwrap(), clashing])
            .unwrap_err();
        assert!(error.is_exists());
    }
    assert_eq!(listed(&mut host), [first.to_string()]);
    // Behind them, on one address before them, over UDP: no clash.
    for beside in [
        "tcp/30000-35000->other:30000-35000",
        "tcp/203.0.113.1:20000-29999->other:20000-29999",
        "udp/20000-29999->other:20000-29999",
    ] {
        expose(&mut host, beside);
    }
}

fn several_addresses_are_one_exposure() {
    let world = World::new();
    let mut host = world.host();
    let (guest, vm) = world.boot(&mut host, "hello-world");
    for protocol in PROTOCOLS {
        let text = format!(
            "{protocol}/{},127.0.0.1,[{}]:8080->hello-world:80 label web",
            NODE[0], NODE[1]
        );
        let exposure: Exposure = text.parse().unwrap();
        host.expose(&exposure).unwrap();
        assert_eq!(listed(&mut host), [exposure.to_string()]);
        for family in FAMILIES {
            let reached = |address: &str| {
                ask(&world.outside, protocol, at(address, 8080), NEVER).map(|(_, source)| source)
            };
            assert_eq!(reached(NODE[family]), Some(ip(OUTSIDE[family])));
            assert_eq!(reached(NODE_TOO[family]), None);
            let own = ask_from(&vm, protocol, at(NODE[family], 8080), SOON);
            assert_eq!(own.unwrap().1, gateway_of(&guest, family));
        }
        assert!(ask(&world.node, protocol, at("127.0.0.1", 8080), SOON).is_some());
        host.withdraw(&exposure, Flows::Cut).unwrap();
        assert!(listed(&mut host).is_empty());
    }
}

fn exposures_on_several_addresses_each_are_told_apart() {
    let world = World::new();
    let mut host = world.host();
    world.boot(&mut host, "hello-world");
    let texts = [
        "tcp/203.0.113.1,203.0.113.2:80->hello-world:80",
        "tcp/203.0.113.3,203.0.113.4:80->hello-world:80",
        "tcp/203.0.113.5:80->hello-world:80",
        "tcp/203.0.113.6:80->hello-world:80",
    ];
    for text in texts {
        expose(&mut host, text);
    }
    assert_eq!(listed(&mut host), texts);
    // A port is of one exposure, also if it leads to the same place.
    let both: Exposure = "tcp/203.0.113.5,203.0.113.6:80->hello-world:80"
        .parse()
        .unwrap();
    let error = host.expose(&both).unwrap_err();
    let words = format!("{both} clashes with {} of guest hello-world", texts[2]);
    assert!(
        error.to_string() == words || error.to_string() == words.replace("113.5:", "113.6:"),
        "{error}"
    );
    let one: Exposure = "tcp/203.0.113.1:80->hello-world:80".parse().unwrap();
    assert!(host.withdraw(&one, Flows::Cut).unwrap_err().is_not_found());
    assert_eq!(listed(&mut host), texts);
}

/// Whoever made it, and whoever asks.
fn part_of_an_exposure_is_not_withdrawn_for_it() {
    let world = World::new();
    let mut host = world.host();
    let (guest, _vm) = world.boot(&mut host, "hello-world");
    let texts = [
        "tcp/203.0.113.1,203.0.113.2:80->hello-world:80",
        "tcp/8000-8003->hello-world:8000-8003",
        "udp/53->hello-world:53",
    ];
    for text in texts {
        expose(&mut host, text);
    }
    let parts = [
        "tcp/203.0.113.1:80->hello-world:80".to_owned(),
        "tcp/8001->hello-world:8001".to_owned(),
        format!("udp/53->{}:53", guest.ipv4()),
    ];
    for mut handle in [host, world.host()] {
        let before = listed(&mut handle);
        assert_eq!(before.len(), texts.len());
        for text in &parts {
            let part: Exposure = text.parse().unwrap();
            let error = handle.withdraw(&part, Flows::Cut).unwrap_err();
            assert!(error.is_not_found(), "{text}: {error}");
            assert_eq!(listed(&mut handle), before, "{text}");
        }
    }
}

fn guest_by_name_is_reached_over_both_families() {
    let world = World::new();
    let mut host = world.host();
    let (guest, _vm) = world.boot(&mut host, "hello-world");
    for protocol in PROTOCOLS {
        let exposure = Exposure::new(protocol, 8080, (&guest, 80)).unwrap();
        host.expose(&exposure).unwrap();
        for family in FAMILIES {
            let (_, source) = ask(&world.outside, protocol, at(NODE[family], 8080), SOON).unwrap();
            assert_eq!(source, ip(OUTSIDE[family]));
        }
    }
    let listed = listed(&mut host);
    assert_eq!(
        listed,
        ["tcp/8080->hello-world:80", "udp/8080->hello-world:80"]
    );
    host.detach("hello-world").unwrap();
    assert!(host.exposures().unwrap().is_empty());
}

fn ten_thousand_ports_come_and_go_in_one_change_each() {
    let world = World::new();
    let mut host = world.host();
    let (_, _vm) = boot(&world, &mut host, "hello-world", &[15_000]);
    let generation = || {
        let generation = || Nft::open().unwrap().generation().unwrap();
        world.node.run(generation).unwrap()
    };
    let exposure: Exposure = "tcp/20000-29999->hello-world:10000-19999".parse().unwrap();
    let before = generation();
    host.expose(&exposure).unwrap();
    assert_eq!(generation(), before + 1);
    assert_eq!(listed(&mut host), [exposure.to_string()]);
    let connected = ask(&world.outside, Protocol::Tcp, at(NODE[0], 25_000), SOON);
    assert!(connected.is_some());
    host.expose(&exposure).unwrap();
    assert_eq!(generation(), before + 1, "it was in force");
    host.withdraw(&exposure, Flows::Cut).unwrap();
    assert_eq!(generation(), before + 2);
    assert!(listed(&mut host).is_empty());
}

fn older_udp_flows_do_not_bypass_a_range() {
    let world = World::new();
    let mut host = world.host();
    let ports = [8001, 25_000];
    let (_, _vm) = boot(&world, &mut host, "hello-world", &ports);
    let mut sockets = Vec::new();
    for family in FAMILIES {
        for port in ports {
            let to = at(NODE[family], port);
            let bind = |address, port| move || std::net::UdpSocket::bind(at(address, port));
            let silent = world.node.run(bind(NODE[family], port)).unwrap().unwrap();
            let socket = world
                .outside
                .run(bind(OUTSIDE[family], 0))
                .unwrap()
                .unwrap();
            socket.send_to(b"ping", to).unwrap();
            silent.set_read_timeout(Some(SOON)).unwrap();
            silent.recv(&mut [0; 16]).unwrap();
            socket.set_read_timeout(Some(NEVER)).unwrap();
            sockets.push((socket, to));
        }
    }
    expose(&mut host, "udp/8000-8010->hello-world:8000-8010");
    expose(&mut host, "udp/20000-29999->hello-world:20000-29999");
    for (socket, to) in sockets {
        let answered = (0..20).any(|_| {
            socket.send_to(b"ping", to).unwrap();
            socket.recv(&mut [0; 64]).is_ok()
        });
        assert!(
            answered,
            "the flow to {to} still goes to the silent service"
        );
    }
}

fn large_range_on_loopback_serves_local_processes_only() {
    let world = World::new();
    let mut host = world.host();
    let (guest, _vm) = boot(&world, &mut host, "hello-world", &[25_000]);
    for protocol in PROTOCOLS {
        expose(
            &mut host,
            &format!("{protocol}/127.0.0.1:20000-29999->hello-world:20000-29999"),
        );
        let (_, source) = ask(&world.node, protocol, at("127.0.0.1", 25_000), SOON).unwrap();
        assert_eq!(source, gateway_of(&guest, 0));
        assert_eq!(
            ask(&world.outside, protocol, at(NODE[0], 25_000), NEVER),
            None
        );
    }
    for (protocol, family) in each_kind() {
        let single = exposure(protocol, 25_000, &guest, family);
        host.expose(&single).unwrap();
        let local = ask(&world.node, protocol, at(NODE[family], 25_000), SOON);
        assert!(local.is_some());
    }
}
