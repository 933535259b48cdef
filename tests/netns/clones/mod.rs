//! Many copies of one snapshot side by side: all believe in one address and
//! have one MAC.

/// Lists tests of what holds for clones whichever way they are connected.
macro_rules! both {
    ($($test:ident),* $(,)?) => {
        both![needs []: $($test),*]
    };
    (needs $needs:tt: $($test:ident),* $(,)?) => {
        vec![$(
            crate::support::trial(
                concat!(module_path!(), "::", stringify!($test)),
                &$needs,
                || $test(),
            ),
            crate::support::trial(
                concat!(module_path!(), "::", stringify!($test), "_in_a_namespace"),
                &$needs,
                || crate::clones::in_namespaces($test),
            ),
        )*]
    };
}

mod bulk;
mod errors;
mod example;
mod handover;
mod identity;
mod killed;
mod plan;
mod reach;

use std::cell::Cell;
use std::net::{IpAddr, SocketAddr};

use libtest_mimic::Trial;
use tapwire::{Attachment, Connection, Guest, Host, Snapshot};

use crate::stand_ins::guest::Guest as Vm;
use crate::world::{GUEST_PORT, World, address_of};

pub(crate) fn trials() -> Vec<Trial> {
    [
        bulk::trials(),
        errors::trials(),
        example::trials(),
        handover::trials(),
        plan::trials(),
        identity::trials(),
        killed::trials(),
        reach::trials(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// What vHive's snapshots have, and IPv6.
pub(crate) const SNAPSHOT: &str = "tap0 06:00:ac:10:00:02 172.16.0.2/24 via 172.16.0.1 \
     02:74:77:ff:ff:fe fd00:ac10::2/64 via fd00:ac10::1";

pub(crate) fn snapshot() -> Snapshot {
    SNAPSHOT.parse().unwrap()
}

thread_local! {
    static CONNECTION: Cell<fn(Snapshot) -> Connection> =
        const { Cell::new(Connection::Rewritten) };
}

/// Runs a test with each clone in a namespace of its own.
fn in_namespaces(test: fn()) {
    CONNECTION.set(Connection::Namespaced);
    test();
}

/// A copy of the snapshot.
pub(crate) fn clone(name: &str) -> Guest {
    clone_of(name, snapshot())
}

/// A copy of a snapshot, connected as the test is about.
pub(crate) fn clone_of(name: &str, snapshot: Snapshot) -> Guest {
    let guest = Guest::new(name).unwrap();
    guest.connection(CONNECTION.get()(snapshot))
}

/// The host as a clone sees it: the gateway that it believes in.
pub(crate) fn host_seen_by(clone: &Attachment, family: usize) -> IpAddr {
    let snapshot = Snapshot::of(clone);
    match family {
        0 => snapshot.gateway_ipv4().into(),
        _ => snapshot.gateway_ipv6().unwrap().into(),
    }
}

/// Three running clones.
pub(crate) fn boot_three(world: &World, host: &mut Host) -> [(Attachment, Vm); 3] {
    ["a", "b", "c"].map(|name| world.boot_as(host, &clone(name)))
}

/// The port on which every guest answers, at a clone's own address.
pub(crate) fn direct(clone: &Attachment, family: usize) -> SocketAddr {
    SocketAddr::new(address_of(clone, family), GUEST_PORT)
}
