//! Guests of each kind, over IPv4, whatever the kernel knows besides: it may
//! have been told `ipv6.disable=1`.

use std::net::SocketAddr;

use libtest_mimic::Trial;
use tapwire::{Connection, Guest, Protocol};

use crate::clones::snapshot;
use crate::support::trials;
use crate::world::{
    GUEST_PORT, NODE, OUTSIDE, SOON, World, address_of, ask, ask_from, at, exposure, ip,
};

pub(crate) fn trials() -> Vec<Trial> {
    trials![guests_of_each_kind_are_reached_and_reach_out]
}

fn guests_of_each_kind_are_reached_and_reach_out() {
    const PORT: u16 = 8080;
    let world = World::new();
    let _server = World::server(&world.outside, 0, GUEST_PORT);
    let mut host = world.host();
    let kinds = [
        ("routed", Connection::Routed),
        ("rewritten", Connection::Rewritten(snapshot())),
        ("namespaced", Connection::Namespaced(snapshot())),
    ];
    for (name, connection) in kinds {
        let guest = Guest::new(name).unwrap().connection(connection);
        let (attachment, vm) = world.boot_as(&mut host, &guest);
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            host.expose(&exposure(protocol, PORT, &attachment, 0))
                .unwrap();
            let own = SocketAddr::new(address_of(&attachment, 0), GUEST_PORT);
            for (place, to) in [(&world.outside, at(NODE[0], PORT)), (&world.node, own)] {
                let answer = ask(place, protocol, to, SOON);
                assert!(answer.is_some(), "{name}: {protocol} to {to}");
            }
            let (_, source) = ask_from(&vm, protocol, at(OUTSIDE[0], GUEST_PORT), SOON).unwrap();
            assert_eq!(source, ip(NODE[0]), "{name}");
        }
        // Another handle finds all of it, and it in order.
        let mut again = world.host();
        assert_eq!(again.attach(&guest).unwrap(), attachment);
        again.topology().unwrap();
        let exposed = exposure(Protocol::Tcp, PORT, &attachment, 0);
        assert_eq!(again.conflicts(&[exposed]).unwrap(), [], "{name}");
        host.detach(name).unwrap();
        drop(vm);
    }
    host.remove().unwrap();
}
