//! An exposure is moved.

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use libtest_mimic::Trial;
use tapwire::nft::Nft;
use tapwire::{Exposed, Exposure, Flows, Host, Protocol};

use crate::stand_ins::client::{self, Connection};
use crate::support::trials;
use crate::world::{FAMILIES, NEVER, NODE, OUTSIDE, PROTOCOLS, SOON, World, ask, at};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        port_is_never_closed_while_it_is_moved,
        flows_of_a_moved_exposure_are_cut_or_drained,
        moving_is_refused_as_a_whole_and_can_be_repeated,
        exposure_becomes_another_in_every_part,
    ]
}

fn expose(host: &mut Host, text: &str) -> Exposure {
    let exposure: Exposure = text.parse().unwrap();
    host.expose(&exposure).unwrap();
    exposure
}

fn port_is_never_closed_while_it_is_moved() {
    let world = World::new();
    let mut host = world.host();
    let (_, _one) = world.boot(&mut host, "one");
    let (_, _other) = world.boot(&mut host, "other");
    let shapes: [Exposure; 5] = [
        "tcp/8080->one:80",
        "tcp/8080->other:80 from 203.0.113.0/24,2001:db8::/64 label b",
        "tcp/8079-8080->one:79-80 limit 1000",
        "tcp/8080->one:80,other:80",
        "tcp/203.0.113.1,[2001:db8::1]:8080->other:80",
    ]
    .map(|text| text.parse().unwrap());
    host.expose(&shapes[0]).unwrap();
    for (family, shape) in [(0, &shapes[1]), (1, &shapes[0])] {
        let old = host.exposures().unwrap()[0].exposure().clone();
        host.repoint(&old, shape, Flows::Drain).unwrap();
        assert!(ask(&world.outside, Protocol::Tcp, at(NODE[family], 8080), SOON).is_some());
    }
    let over = AtomicBool::new(false);
    let (over, outside) = (&over, &world.outside);
    thread::scope(|scope| {
        let clients = FAMILIES.map(|family| {
            scope.spawn(move || {
                let ask = || {
                    let mut asked = 0_u32;
                    while !over.load(Ordering::Relaxed) {
                        // Where nothing is exposed, the node itself refuses.
                        let answer = client::http_get(at(NODE[family], 8080), "/", SOON);
                        answer.map_err(|error| format!("after {asked}: {error}"))?;
                        asked += 1;
                    }
                    Ok::<_, String>(asked)
                };
                outside.run(ask).unwrap()
            })
        });
        let mut move_on = |round| {
            let [old, new] = [round, round + 1].map(|round| &shapes[round % shapes.len()]);
            host.repoint(old, new, Flows::Drain)?;
            let listed = host.exposures()?;
            assert_eq!((listed.len(), listed[0].exposure()), (1, new));
            Ok::<_, tapwire::Error>(())
        };
        let moved = (0..100).try_for_each(&mut move_on);
        over.store(true, Ordering::Relaxed);
        moved.unwrap();
        for client in clients {
            let asked = client.join().unwrap().unwrap();
            assert!(asked > 10, "{asked} connections are too few to tell");
        }
    });
}

fn flows_of_a_moved_exposure_are_cut_or_drained() {
    let world = World::new();
    let mut host = world.host();
    let (_, one) = world.boot(&mut host, "one");
    let (_, other) = world.boot(&mut host, "other");
    for family in FAMILIES {
        for flows in [Flows::Drain, Flows::Cut] {
            let to = at(NODE[family], 8080);
            let old = PROTOCOLS
                .map(|protocol| expose(&mut host, &format!("{protocol}/8079-8080->one:79-80")));
            let new: [Exposure; 2] = PROTOCOLS.map(|protocol| {
                let text = format!("{protocol}/8079-8080->other:79-80");
                text.parse().unwrap()
            });
            assert!(ask(&world.outside, Protocol::Tcp, to, SOON).is_some());
            let open = || Connection::open(to, NEVER * 2).unwrap();
            let mut connection = world.outside.run(open).unwrap();
            connection.get("/").unwrap();
            let bind = || UdpSocket::bind(at(OUTSIDE[family], 0)).unwrap();
            let socket = world.outside.run(bind).unwrap();
            socket.set_read_timeout(Some(NEVER)).unwrap();
            let echoes = || {
                socket.send_to(b"ping", to).unwrap();
                socket.recv(&mut [0; 64]).is_ok()
            };
            assert!((0..20).any(|_| echoes()));
            for (old, new) in old.iter().zip(&new) {
                host.repoint(old, new, flows).unwrap();
            }
            let seen = [one.seen().len(), other.seen().len()];
            assert!((0..20).any(|_| echoes()), "UDP finds a guest");
            let [to_one, to_other] = [one.seen().len() > seen[0], other.seen().len() > seen[1]];
            let drains = flows == Flows::Drain;
            assert_eq!((to_one, to_other), (drains, !drains), "UDP {flows:?}");
            assert_eq!(connection.get("/").is_ok(), drains, "TCP {flows:?}");
            let (name, _) = ask(&world.outside, Protocol::Tcp, to, SOON).unwrap();
            assert_eq!(name, "other");
            for new in &new {
                host.withdraw(new, Flows::Cut).unwrap();
            }
        }
    }
}

fn moving_is_refused_as_a_whole_and_can_be_repeated() {
    let world = World::new();
    let mut host = world.host();
    let mut second = world.host();
    for name in ["one", "other"] {
        host.attach(&tapwire::Guest::new(name).unwrap()).unwrap();
    }
    let generation = || {
        world
            .node
            .run(|| Nft::open().unwrap().generation().unwrap())
            .unwrap()
    };
    let old = expose(&mut host, "tcp/80-81->one:80-81");
    let taken = expose(&mut second, "tcp/82->other:82 label taken");
    let wide: Exposure = "tcp/80-82->other:80-82".parse().unwrap();
    let before = generation();
    let error = host.repoint(&old, &wide, Flows::Cut).unwrap_err();
    let words = format!("{wide} clashes with {taken} of guest other");
    assert_eq!(error.to_string(), words);
    let absent: Exposure = "tcp/80-81->other:80-81".parse().unwrap();
    let error = host.repoint(&absent, &wide, Flows::Cut).unwrap_err();
    let words = format!("{wide} clashes with {old} of guest one");
    assert_eq!(error.to_string(), words);
    let free: Exposure = "tcp/90->other:90".parse().unwrap();
    let error = host.repoint(&absent, &free, Flows::Cut).unwrap_err();
    assert_eq!(error.to_string(), format!("no exposure named {absent}"));
    let stranger: Exposure = "tcp/90->nobody:90".parse().unwrap();
    let error = host.repoint(&old, &stranger, Flows::Cut).unwrap_err();
    assert_eq!(error.to_string(), "no guest named nobody");
    assert_eq!(generation(), before);
    host.repoint(&old, &free, Flows::Cut).unwrap();
    host.repoint(&old, &free, Flows::Cut).unwrap();
    let listed = second.exposures().unwrap();
    let listed: Vec<_> = listed.iter().map(Exposed::exposure).collect();
    assert_eq!(listed, [&taken, &free]);
    // The ports that it had are free again, for both handles.
    second.expose(&old).unwrap();
    host.withdraw(&old, Flows::Cut).unwrap();
    host.expose(&old).unwrap();
}

fn exposure_becomes_another_in_every_part() {
    let world = World::new();
    let mut host = world.host();
    for name in ["one", "other"] {
        host.attach(&tapwire::Guest::new(name).unwrap()).unwrap();
    }
    let shapes = [
        "tcp/8080->one:80",
        "udp/8080->other:80 label x",
        "sctp/203.0.113.1:8080->other:80 limit 3 label x",
        "tcp/203.0.113.1,203.0.113.2,[2001:db8::1]:8080->one:80 from 10.0.0.0/8,fd00::/8",
        "tcp/8080->one:80,other:81 by source from 10.0.0.0/8",
        "tcp/8080->other:81,one:80",
        "tcp/8000-8100->one:9000-9100 limit 4",
        "tcp/8000-9999->one:8000-9999",
        "tcp/8000-9999->other:8000-9999 from 10.0.0.0/8 limit 4",
        "tcp/127.0.0.1:8000-9999->one:8000-9999",
        "udp/127.0.0.1:53->one:53 by source",
    ];
    let shapes = shapes.map(|text| text.parse::<Exposure>().unwrap());
    host.expose(&shapes[0]).unwrap();
    let mut old = &shapes[0];
    for from in &shapes {
        for to in &shapes {
            for new in [from, to] {
                host.repoint(old, new, Flows::Drain).unwrap();
                let listed = host.exposures().unwrap();
                assert_eq!((listed.len(), listed[0].exposure()), (1, new), "from {old}");
                old = new;
            }
        }
    }
    host.withdraw(old, Flows::Cut).unwrap();
    let rest = || {
        let mut nft = Nft::open().unwrap();
        let name = tapwire::nft::Name::constant("riklet");
        let table = nft.snapshot(tapwire::nft::Family::INET, &name);
        let table = table.unwrap().unwrap();
        let held = ["guard", "self", "uplinks", "__set"];
        let sets = table.sets().filter(|(set, elements)| {
            !elements.is_empty()
                && !held
                    .iter()
                    .any(|held| set.name().as_str().starts_with(held))
        });
        sets.map(|(set, _)| set.name().to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(world.node.run(rest).unwrap(), Vec::<String>::new());
}
