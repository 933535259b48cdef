//! Who reaches an exposed port, by real packets, TCP and UDP, IPv4 and IPv6.

use std::net::{SocketAddr, UdpSocket};

use libtest_mimic::Trial;
use tapwire::{Flows, Protocol};

use crate::stand_ins::client::Connection;
use crate::support::trials;
use crate::world::{
    FAMILIES, GUEST_PORT, NEVER, NODE, NODE_TOO, OUTSIDE, PROTOCOLS, SOON, World, address_of, ask,
    ask_from, at, each_kind, exposure, gateway_of, ip,
};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        outside_reaches_an_exposed_port_and_keeps_its_address,
        exposure_on_one_host_address_leaves_the_others_alone,
        exact_host_address_beats_all_addresses,
        local_process_reaches_the_host_addresses_but_loopback_stays_its_own,
        guest_reaches_itself_through_the_host,
        guest_reaches_another_only_through_its_exposure,
        guest_reaches_the_outside_with_the_nodes_address,
        withdrawn_exposure_cuts_its_flows_or_drains_them,
        older_udp_flow_does_not_bypass_a_new_exposure,
    ]
}

const PORT: u16 = 8080;

fn outside_reaches_an_exposed_port_and_keeps_its_address() {
    let world = World::new();
    let mut host = world.host();
    let (guest, _vm) = world.boot(&mut host, "hello-world");
    for (protocol, family) in each_kind() {
        host.expose(&exposure(protocol, PORT, &guest, family))
            .unwrap();
        let seen = ask(&world.outside, protocol, at(NODE[family], PORT), SOON);
        let (name, source) = seen.unwrap_or_else(|| panic!("{protocol} {family}: no answer"));
        assert_eq!(source, ip(OUTSIDE[family]), "{protocol}");
        assert!(protocol == Protocol::Udp || name == "hello-world");
    }
    for exposed in host.exposures().unwrap() {
        assert!(exposed.connections() >= 1, "{exposed}");
        assert_eq!(exposed.guest().unwrap().as_str(), "hello-world");
    }
}

fn exposure_on_one_host_address_leaves_the_others_alone() {
    let world = World::new();
    let mut host = world.host();
    let (guest, _vm) = world.boot(&mut host, "hello-world");
    for (protocol, family) in each_kind() {
        let one = exposure(protocol, PORT, &guest, family)
            .on(ip(NODE_TOO[family]))
            .unwrap();
        host.expose(&one).unwrap();
        assert!(
            ask(&world.outside, protocol, at(NODE_TOO[family], PORT), SOON).is_some(),
            "{one}"
        );
        assert_eq!(
            ask(&world.outside, protocol, at(NODE[family], PORT), NEVER),
            None,
            "{one}"
        );
    }
}

fn exact_host_address_beats_all_addresses() {
    let world = World::new();
    let mut host = world.host();
    let (everywhere, _vm1) = world.boot(&mut host, "everywhere");
    let (exact, _vm2) = world.boot(&mut host, "exact");
    for family in FAMILIES {
        host.expose(&exposure(Protocol::Tcp, PORT, &everywhere, family))
            .unwrap();
        host.expose(
            &exposure(Protocol::Tcp, PORT, &exact, family)
                .on(ip(NODE_TOO[family]))
                .unwrap(),
        )
        .unwrap();
        for (address, name) in [(NODE, "everywhere"), (NODE_TOO, "exact")] {
            let (answered, _) = ask(
                &world.outside,
                Protocol::Tcp,
                at(address[family], PORT),
                SOON,
            )
            .unwrap();
            assert_eq!(answered, name);
        }
    }
}

fn local_process_reaches_the_host_addresses_but_loopback_stays_its_own() {
    let world = World::new();
    let mut host = world.host();
    let (guest, _vm) = world.boot(&mut host, "hello-world");
    for family in FAMILIES {
        let _own_service = World::server(&world.node, family, PORT);
        for protocol in PROTOCOLS {
            host.expose(&exposure(protocol, PORT, &guest, family))
                .unwrap();
            let (name, source) = ask(&world.node, protocol, at(NODE[family], PORT), SOON).unwrap();
            assert_eq!(source, ip(NODE[family]), "{protocol}");
            assert!(protocol == Protocol::Udp || name == "hello-world");
            let loopback = ["127.0.0.1", "::1"][family];
            let (name, source) = ask(&world.node, protocol, at(loopback, PORT), SOON).unwrap();
            assert_eq!(source, ip(loopback), "{protocol}");
            assert!(
                protocol == Protocol::Udp || name == "server",
                "{name} took over {loopback}"
            );
        }
    }
}

fn guest_reaches_itself_through_the_host() {
    let world = World::new();
    let mut host = world.host();
    let (guest, vm) = world.boot(&mut host, "hello-world");
    for (protocol, family) in each_kind() {
        host.expose(&exposure(protocol, PORT, &guest, family))
            .unwrap();
        let (_, source) = ask_from(&vm, protocol, at(NODE[family], PORT), SOON).unwrap();
        assert_eq!(source, gateway_of(&guest, family), "{protocol}");
    }
}

fn guest_reaches_another_only_through_its_exposure() {
    let world = World::new();
    let mut host = world.host();
    let (asker, asker_vm) = world.boot(&mut host, "asker");
    let (asked, asked_vm) = world.boot(&mut host, "asked");
    for (protocol, family) in each_kind() {
        let direct = SocketAddr::new(address_of(&asked, family), GUEST_PORT);
        host.expose(&exposure(protocol, PORT, &asked, family))
            .unwrap();
        let (_, source) = ask_from(&asker_vm, protocol, at(NODE[family], PORT), SOON).unwrap();
        assert_eq!(source, address_of(&asker, family), "{protocol}");
        let seen = asked_vm.seen().len();
        assert_eq!(
            ask_from(&asker_vm, protocol, direct, NEVER),
            None,
            "{protocol}"
        );
        assert_eq!(asked_vm.seen().len(), seen, "{protocol}");
    }
}

fn guest_reaches_the_outside_with_the_nodes_address() {
    let world = World::new();
    let mut host = world.host();
    let (_, vm) = world.boot(&mut host, "hello-world");
    for family in FAMILIES {
        let _server = World::server(&world.outside, family, PORT);
        for protocol in PROTOCOLS {
            let (_, source) = ask_from(&vm, protocol, at(OUTSIDE[family], PORT), SOON).unwrap();
            let node = [NODE[family], NODE_TOO[family]].map(ip);
            assert!(node.contains(&source), "{protocol}: {source}");
        }
    }
}

fn withdrawn_exposure_cuts_its_flows_or_drains_them() {
    let world = World::new();
    let mut host = world.host();
    let (guest, _vm) = world.boot(&mut host, "hello-world");
    for (flows, goes_on) in [(Flows::Cut, false), (Flows::Drain, true)] {
        for family in FAMILIES {
            let to = at(NODE[family], PORT);
            let [tcp, udp] = PROTOCOLS.map(|protocol| exposure(protocol, PORT, &guest, family));
            host.expose(&tcp).unwrap();
            host.expose(&udp).unwrap();
            assert!(ask(&world.outside, Protocol::Tcp, to, SOON).is_some());
            let mut connection = world
                .outside
                .run(|| Connection::open(to, NEVER * 2).unwrap())
                .unwrap();
            connection.get("/").unwrap();
            let socket = world
                .outside
                .run(|| UdpSocket::bind(at(OUTSIDE[family], 0)).unwrap())
                .unwrap();
            socket.set_read_timeout(Some(NEVER)).unwrap();
            let echoes = || {
                socket.send_to(b"ping", to).unwrap();
                socket.recv(&mut [0; 64]).is_ok()
            };
            assert!((0..20).any(|_| echoes()));
            host.withdraw(&tcp, flows).unwrap();
            host.withdraw(&udp, flows).unwrap();
            assert_eq!(echoes(), goes_on, "UDP {flows:?}");
            assert_eq!(connection.get("/").is_ok(), goes_on, "TCP {flows:?}");
            if goes_on {
                // An agent that was killed before it cut can repeat the call.
                assert!(host.withdraw(&udp, Flows::Cut).unwrap_err().is_not_found());
                assert!(!echoes(), "UDP");
            }
            assert_eq!(
                ask(&world.outside, Protocol::Tcp, to, NEVER),
                None,
                "no new connection"
            );
        }
    }
}

fn older_udp_flow_does_not_bypass_a_new_exposure() {
    let world = World::new();
    let mut host = world.host();
    let (guest, _vm) = world.boot(&mut host, "hello-world");
    for family in FAMILIES {
        let to = at(NODE[family], PORT);
        let socket = world
            .outside
            .run(|| UdpSocket::bind(at(OUTSIDE[family], 0)).unwrap())
            .unwrap();
        socket.set_read_timeout(Some(NEVER)).unwrap();
        // A silent service of the node has taken the flow.
        let silent = world.node.run(|| UdpSocket::bind(to).unwrap()).unwrap();
        socket.send_to(b"ping", to).unwrap();
        silent.set_read_timeout(Some(SOON)).unwrap();
        silent.recv(&mut [0; 16]).unwrap();
        host.expose(&exposure(Protocol::Udp, PORT, &guest, family))
            .unwrap();
        let answered = (0..20).any(|_| {
            socket.send_to(b"ping", to).unwrap();
            socket.recv(&mut [0; 64]).is_ok()
        });
        assert!(answered, "the flow still goes to the silent service");
    }
}
