//! Virtual functions of a card, as far as they can be asked for without one.

use libtest_mimic::Trial;
use tapwire::Error;
use tapwire::passthrough::VirtualFunctions;
use tapwire::sys::NetNs;

use crate::bridged::pod::{inside, ip};
use crate::support::trials;

pub(crate) fn trials() -> Vec<Trial> {
    trials![needs ["ip"]: interface_is_looked_for_in_its_own_namespace]
}

fn interface_is_looked_for_in_its_own_namespace() {
    let pod = NetNs::new().unwrap();
    ip("link add there type veth peer name other");
    let read = |name: &str| inside(&pod, || VirtualFunctions::of(name.parse().unwrap()));
    // What is mounted on `/sys` is not the pod's.
    let error = inside(&pod, || {
        ip("link add pf0 type veth peer name far");
        VirtualFunctions::of("pf0".parse().unwrap()).unwrap_err()
    });
    assert!(matches!(error, Error::Invalid(_)), "{error}");
    let error = read("there").unwrap_err();
    assert!(error.is_not_found(), "{error}");
}
