//! Real kernels are reached, and reach others, as stand-ins do.

use libtest_mimic::Trial;
use tapwire::{Guest, Protocol};

use super::vm::{Identity, Vm, Wire};
use super::{reaches_outside, relayed, servers};
use crate::support::trials;
use crate::world::{
    NODE, OUTSIDE, SOON, World, address_of, ask, at, each_kind, exposure, gateway_of,
};

pub(crate) fn trials() -> Vec<Trial> {
    trials![needs ["linux.uml", "musl-gcc", "setpriv", "unshare", "nsenter"]:
        real_kernels_answer_through_exposures_and_reach_the_outside,
    ]
}

/// One opens its TAP by name, as most VMMs do; the other is handed it.
fn real_kernels_answer_through_exposures_and_reach_the_outside() {
    let world = World::new();
    let mut host = world.host();
    let guests = ["one", "other"].map(|name| host.attach(&Guest::new(name).unwrap()).unwrap());
    let [one, other] = &guests;
    let mut machines = [
        Vm::uml(&Identity::of(one), Wire::Named(&world.node, one.tap())),
        Vm::uml(&Identity::of(other), Wire::Handed(world.open_tap(other))),
    ];
    let _servers = servers(&world);
    for (port, guest) in (8000..).zip(&guests) {
        for (protocol, family) in each_kind() {
            host.expose(&exposure(protocol, port, guest, family))
                .unwrap();
        }
    }
    for machine in &mut machines {
        machine.wait_until_up();
    }
    let who = |name: &str, protocol| match protocol {
        Protocol::Tcp => name.to_owned(),
        _ => String::new(),
    };
    for (protocol, family) in each_kind() {
        for (port, guest) in (8000..).zip(&guests) {
            let exposed = at(NODE[family], port);
            let name = who(guest.name(), protocol);
            assert_eq!(
                ask(&world.outside, protocol, exposed, SOON),
                Some((name.clone(), at(OUTSIDE[family], 0).ip())),
                "{exposed} from outside"
            );
            // One reaches itself, from its gateway, and the other.
            let own = guest.name() == one.name();
            let source = if own {
                gateway_of(one, family)
            } else {
                address_of(one, family)
            };
            assert_eq!(
                relayed(&world, one, protocol, exposed),
                Some((name, source)),
                "{exposed} from a guest"
            );
            reaches_outside(&world, guest, protocol, family);
        }
    }
}
