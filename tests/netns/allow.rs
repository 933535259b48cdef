//! Who may connect.

use std::net::UdpSocket;

use libtest_mimic::Trial;
use tapwire::{Exposed, Exposure, Flows, Host, Protocol};

use crate::stand_ins::client::{self, Connection};
use crate::support::{run, trials};
use crate::world::{
    FAMILIES, NEVER, NODE, NODE_TOO, OUTSIDE, PROTOCOLS, SOON, World, address_of, ask, ask_from,
    at, ip,
};

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = trials![
        only_clients_of_allowed_networks_connect,
        allow_list_goes_for_local_processes_and_guests_too,
        allow_list_goes_for_loopback_too,
        allow_list_of_one_family_shuts_the_other_out,
        allow_list_of_a_range_is_one_element_a_network,
        another_allow_list_replaces_the_first,
        flows_of_clients_that_are_no_longer_allowed_are_cut_when_asked,
    ];
    trials.extend(trials![needs ["nft"]: packets_of_others_are_dropped_and_counted]);
    trials
}

fn expose(host: &mut Host, text: &str) -> Exposure {
    let exposure: Exposure = text.parse().unwrap();
    host.expose(&exposure).unwrap();
    exposure
}

/// A network with the outside host in it, and one without, of each family.
const INSIDE: [&str; 2] = ["203.0.113.0/29", "2001:db8::/125"];
const ELSEWHERE: [&str; 2] = ["203.0.113.64/26", "2001:db8::40/122"];

fn only_clients_of_allowed_networks_connect() {
    let world = World::new();
    let mut host = world.host();
    let (_, _vm) = world.boot(&mut host, "hello-world");
    let both = |nets: [&str; 2]| nets.join(",");
    let too = format!("{},[{}]", NODE_TOO[0], NODE_TOO[1]);
    for protocol in PROTOCOLS {
        // The outside may at one address of the node and not at the other,
        // and the other way round.
        let (inside, elsewhere) = (both(INSIDE), both(ELSEWHERE));
        let texts = [
            format!("{protocol}/8080->hello-world:80 from 192.0.2.0/24,{inside}"),
            format!("{protocol}/8081->hello-world:80 from 192.0.2.0/24,{elsewhere}"),
            format!("{protocol}/{too}:8080->hello-world:80 from {elsewhere}"),
            format!("{protocol}/{too}:8081->hello-world:80 from {inside}"),
        ];
        let exposures = texts.each_ref().map(|text| expose(&mut host, text));
        let listed = host.exposures().unwrap();
        let listed: Vec<_> = listed.iter().map(Exposed::exposure).collect();
        assert_eq!(listed, exposures.iter().collect::<Vec<_>>());
        for family in FAMILIES {
            for (address, port, open) in [
                (NODE, 8080, true),
                (NODE, 8081, false),
                (NODE_TOO, 8080, false),
                (NODE_TOO, 8081, true),
            ] {
                let to = at(address[family], port);
                let patience = if open { SOON } else { NEVER };
                let answer = ask(&world.outside, protocol, to, patience);
                let source = answer.map(|(_, source)| source);
                assert_eq!(source, open.then(|| ip(OUTSIDE[family])), "{to}");
            }
        }
        for exposure in exposures {
            host.withdraw(&exposure, Flows::Cut).unwrap();
        }
        assert!(host.exposures().unwrap().is_empty());
    }
}

fn packets_of_others_are_dropped_and_counted() {
    let world = World::new();
    let mut host = world.host();
    let (_, vm) = world.boot(&mut host, "hello-world");
    expose(
        &mut host,
        "tcp/8080->hello-world:80 from 192.0.2.0/24,2001:db8:ff::/48",
    );
    // A service of the node on that port is not reached in its place.
    for (family, chain) in [(0, "allowed4_any"), (1, "allowed6_any")] {
        let _service = World::server(&world.node, family, 8080);
        let error = world
            .outside
            .run(|| Connection::open(at(NODE[family], 8080), NEVER).err())
            .unwrap();
        assert_eq!(error.unwrap().kind(), std::io::ErrorKind::TimedOut);
        let list = || run("nft", &["list", "chain", "inet", "riklet", chain]);
        let listing = world.node.run(list).unwrap();
        assert!(listing.contains("source not allowed"));
        assert!(!listing.contains("packets 0"), "{listing}");
    }
    assert!(vm.seen().is_empty());
}

fn allow_list_goes_for_local_processes_and_guests_too() {
    let world = World::new();
    let mut host = world.host();
    let (_, _vm) = world.boot(&mut host, "asked");
    let (asker, asker_vm) = world.boot(&mut host, "asker");
    for protocol in PROTOCOLS {
        for family in FAMILIES {
            let to = at(NODE[family], 8080);
            let asker = address_of(&asker, family);
            for (allowed, guest, local) in [
                (asker, true, false),
                (ip(NODE[family]), false, true),
                (ip(OUTSIDE[family]), false, false),
            ] {
                expose(
                    &mut host,
                    &format!(
                        "{protocol}/8080->asked:80 from {allowed}/{}",
                        [32, 128][family]
                    ),
                );
                let patience = |expected| if expected { SOON } else { NEVER };
                let answer = ask_from(&asker_vm, protocol, to, patience(guest));
                assert_eq!(answer.is_some(), guest, "guest, {allowed} allowed");
                let answer = ask(&world.node, protocol, to, patience(local));
                assert_eq!(answer.is_some(), local, "process, {allowed} allowed");
            }
        }
    }
}

fn allow_list_goes_for_loopback_too() {
    let world = World::new();
    let mut host = world.host();
    let (_, _vm) = world.boot(&mut host, "hello-world");
    for protocol in PROTOCOLS {
        for (nets, open) in [("127.0.0.0/29", true), ("10.0.0.0/8", false)] {
            let text = format!("{protocol}/127.0.0.1:8080->hello-world:80 from {nets}");
            let exposure = expose(&mut host, &text);
            assert_eq!(host.exposures().unwrap()[0].exposure(), &exposure);
            let patience = if open { SOON } else { NEVER };
            let answer = ask(&world.node, protocol, at("127.0.0.1", 8080), patience);
            assert_eq!(answer.is_some(), open, "{text}");
            host.withdraw(&exposure, Flows::Cut).unwrap();
        }
    }
}

fn allow_list_of_one_family_shuts_the_other_out() {
    let world = World::new();
    let mut host = world.host();
    let (guest, _vm) = world.boot(&mut host, "hello-world");
    for (family, net) in [(0, "0.0.0.0/0"), (1, "::/0")] {
        let exposure = expose(&mut host, &format!("tcp/8080->hello-world:80 from {net}"));
        assert_eq!(host.exposures().unwrap()[0].exposure(), &exposure);
        for other in FAMILIES {
            let to = at(NODE[other], 8080);
            let answer = ask(&world.outside, Protocol::Tcp, to, NEVER);
            assert_eq!(answer.is_some(), other == family, "{net}");
        }
    }
    let by_address = format!("tcp/81->{}:80 from 10.0.0.0/8,fd00::/8", guest.ipv4());
    let error = host.expose(&by_address.parse().unwrap()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "allowed client \"fd00::/8\" is of a family that the exposure does not serve"
    );
}

fn allow_list_of_a_range_is_one_element_a_network() {
    let world = World::new();
    let mut host = world.host();
    let (_, _vm) = world.boot(&mut host, "hello-world");
    let nets: Vec<String> = (0..200).map(|net| format!("10.{net}.0.0/24")).collect();
    let nets = nets.join(",");
    let text = format!("tcp/79-178->hello-world:79-178 from {nets},{}", INSIDE[0]);
    let exposure = expose(&mut host, &text);
    assert_eq!(host.exposures().unwrap()[0].exposure(), &exposure);
    let reached = || ask(&world.outside, Protocol::Tcp, at(NODE[0], 80), NEVER).is_some();
    assert!(reached());
    let fewer = expose(&mut host, &text.replace(&format!(",{}", INSIDE[0]), ""));
    assert_eq!(host.exposures().unwrap()[0].exposure(), &fewer);
    assert!(!reached());
}

fn another_allow_list_replaces_the_first() {
    let world = World::new();
    let mut host = world.host();
    let mut other_handle = world.host();
    let (_, _vm) = world.boot(&mut host, "hello-world");
    for protocol in PROTOCOLS {
        for family in FAMILIES {
            let to = at(NODE[family], 8080);
            let plain = format!("{protocol}/8080->hello-world:80");
            let cases = [
                (plain.clone(), true),
                (format!("{plain} from {} label a", ELSEWHERE[family]), false),
                (format!("{plain} from {} limit 100", INSIDE[family]), true),
                (format!("{plain} from {}", ELSEWHERE[family]), false),
                (format!("{plain} label b"), true),
            ];
            let mut counted = 0;
            for (text, open) in cases {
                // Two handles in turn: neither goes by what it remembers.
                let exposure = expose(&mut host, &text);
                std::mem::swap(&mut host, &mut other_handle);
                let listed = host.exposures().unwrap();
                assert_eq!(listed.len(), 1, "{listed:?}");
                assert_eq!(listed[0].exposure(), &exposure);
                assert!(
                    listed[0].connections() >= counted,
                    "{text}: the counter was lost"
                );
                let patience = if open { SOON } else { NEVER };
                let answer = ask(&world.outside, protocol, to, patience);
                assert_eq!(answer.is_some(), open, "{text}");
                counted = host.exposures().unwrap()[0].connections();
            }
            host.withdraw(&plain.parse().unwrap(), Flows::Cut).unwrap();
        }
    }
}

fn flows_of_clients_that_are_no_longer_allowed_are_cut_when_asked() {
    let world = World::new();
    let mut host = world.host();
    let (_, _vm) = world.boot(&mut host, "hello-world");
    for family in FAMILIES {
        for flows in [Flows::Drain, Flows::Cut] {
            let [tcp, udp] = PROTOCOLS
                .map(|protocol| expose(&mut host, &format!("{protocol}/8080->hello-world:80")));
            let to = at(NODE[family], 8080);
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
            for (nets, goes_on) in [(INSIDE, true), (ELSEWHERE, flows == Flows::Drain)] {
                for old in [&tcp, &udp] {
                    let new = old.clone().allow(nets[family].parse().unwrap());
                    host.repoint(old, &new, flows).unwrap();
                }
                assert_eq!(echoes(), goes_on, "UDP {nets:?} {flows:?}");
                assert_eq!(
                    connection.get("/").is_ok(),
                    goes_on,
                    "TCP {nets:?} {flows:?}"
                );
            }
            let client = || client::http_get(to, "/", NEVER).is_ok();
            assert!(!world.outside.run(client).unwrap(), "a new connection");
            host.withdraw(&tcp, Flows::Cut).unwrap();
            host.withdraw(&udp, Flows::Cut).unwrap();
        }
    }
}
