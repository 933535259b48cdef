//! Clones in namespaces of their own: what is special about them. What holds
//! for all clones is in `clones`.

mod inside;
mod life;

use std::os::fd::OwnedFd;

use libtest_mimic::Trial;
use tapwire::sys::{NetNs, TapOptions};
use tapwire::{Attachment, Connection, Guest, Host, Snapshot};

use crate::clones::snapshot;
use crate::stand_ins::guest::Guest as Vm;
use crate::world::{SOON, config, within};

pub(crate) fn trials() -> Vec<Trial> {
    [inside::trials(), life::trials()]
        .into_iter()
        .flatten()
        .collect()
}

/// A clone that is to be attached.
pub(crate) fn clone(name: &str) -> Guest {
    clone_of(name, snapshot())
}

pub(crate) fn clone_of(name: &str, snapshot: Snapshot) -> Guest {
    let guest = Guest::new(name).unwrap();
    guest.connection(Connection::Namespaced(snapshot))
}

/// Opens a clone's TAP as its VMM does.
pub(crate) fn open_tap(host: &Host, clone: &Attachment) -> OwnedFd {
    // A program that another test starts holds a copy of every descriptor for
    // a moment.
    let open = |_| match host.open_tap(clone, TapOptions::nonblocking) {
        Err(error) if error.is_busy() => None,
        result => Some(result),
    };
    let tap = within(SOON, open).expect("the TAP is held by another");
    tap.unwrap().into()
}

/// Attaches a clone and resumes it: it has the addresses that it believes in.
pub(crate) fn boot(host: &mut Host, name: &str) -> (Attachment, Vm) {
    let attachment = host.attach(&clone(name)).unwrap();
    let vm = Vm::start(open_tap(host, &attachment), config(&attachment)).unwrap();
    (attachment, vm)
}

/// The namespace of a clone.
pub(crate) fn inside(clone: &Attachment) -> NetNs {
    NetNs::open_named(clone.namespace().unwrap()).unwrap()
}
