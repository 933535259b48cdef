//! Copies of one real guest side by side, each of which takes itself for the
//! only one.

use std::net::SocketAddr;

use libtest_mimic::Trial;
use tapwire::{Attachment, Guest};

use super::vm::{Identity, Vm, Wire};
use super::{reaches_outside, relayed, servers, told};
use crate::clones;
use crate::namespaced;
use crate::stand_ins::client;
use crate::support::trials;
use crate::world::{
    FAMILIES, NODE, OUTSIDE, SOON, World, address_of, ask, at, each_kind, exposure, ip, within,
};

pub(crate) fn trials() -> Vec<Trial> {
    trials![needs ["linux.uml", "musl-gcc", "setpriv", "unshare", "nsenter"]:
        two_copies_with_one_mac_and_address_are_two_guests,
        two_copies_in_namespaces_are_two_guests,
    ]
}

/// Their command lines differ in the TAP's name and nothing else.
fn two_copies_with_one_mac_and_address_are_two_guests() {
    two_copies_are_two_guests(clones::clone);
}

/// Their command lines differ in nothing, for the TAP has one name too.
fn two_copies_in_namespaces_are_two_guests() {
    two_copies_are_two_guests(namespaced::clone);
}

fn two_copies_are_two_guests(clone: fn(&str) -> Guest) {
    let world = World::new();
    let mut host = world.host();
    let clones = ["one", "other"].map(|name| host.attach(&clone(name)).unwrap());
    let copy = Identity::new("copy", clones::snapshot());
    let mut machines = clones.each_ref().map(|clone| {
        let inside = clone.namespace().map(|_| namespaced::inside(clone));
        let netns = inside.as_ref().unwrap_or(&world.node);
        Vm::uml(&copy, Wire::Named(netns, clone.vmm_tap()))
    });
    let _servers = servers(&world);
    for (port, clone) in (8000..).zip(&clones) {
        for (protocol, family) in each_kind() {
            host.expose(&exposure(protocol, port, clone, family))
                .unwrap();
        }
    }
    for machine in &mut machines {
        machine.wait_until_up();
    }
    remember(&world, &clones);
    let [one, other] = &clones;
    for (protocol, family) in each_kind() {
        for (port, clone) in (8000..).zip(&clones) {
            let exposed = at(NODE[family], port);
            let source = ask(&world.outside, protocol, exposed, SOON).map(|(_, source)| source);
            assert_eq!(source, Some(ip(OUTSIDE[family])), "{exposed} from outside");
            reaches_outside(&world, clone, protocol, family);
        }
        // To the other it has the address that it has alone.
        let to_other = at(NODE[family], 8001);
        let (_, source) = relayed(&world, one, protocol, to_other).unwrap();
        assert_eq!(source, address_of(one, family), "{to_other} from a copy");
        assert_ne!(source, address_of(other, family));
    }
}

/// Each copy is told a word through its exposure, and tells it again through
/// that of the other family and at its own address.
fn remember(world: &World, clones: &[Attachment]) {
    let get = |to: SocketAddr, path: &str| {
        let get = || within(SOON, |timeout| client::http_get(to, path, timeout).ok());
        world.outside.run(get).unwrap()
    };
    for (port, clone) in (8000..).zip(clones) {
        let path = format!("/keep/{}", clone.name());
        assert!(get(at(NODE[0], port), &path).is_some(), "{path}");
    }
    for (port, clone) in (8000..).zip(clones) {
        for family in FAMILIES {
            let word = Some(clone.name().to_owned());
            assert_eq!(get(at(NODE[family], port), "/kept"), word);
            assert_eq!(told(world, clone, family, "/kept"), word);
        }
    }
}
