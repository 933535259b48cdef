//! The verbs of `route` against the kernel, with `ip` as the judge.

mod bursts;
mod links;
mod routes;
mod settings;

use std::net::IpAddr;

use ipnet::IpNet;
use libtest_mimic::Trial;
use serde_json::Value;
use tapwire::route::{LinkChange, NewLink, Rtnl};
use tapwire::{Error, IfIndex, IfName, Mac};

use crate::support::run;

pub(crate) fn trials() -> Vec<Trial> {
    let lists = [
        bursts::trials(),
        links::trials(),
        routes::trials(),
        settings::trials(),
    ];
    lists.into_iter().flatten().collect()
}

/// What `ip -j -d` prints in the calling thread's namespace.
fn ip(arguments: &str) -> Value {
    let arguments: Vec<_> = ["-j", "-d"]
        .into_iter()
        .chain(arguments.split(' '))
        .collect();
    let text = run("ip", &arguments);
    if text.trim().is_empty() {
        return Value::Array(Vec::new());
    }
    serde_json::from_str(&text).unwrap()
}

fn name(name: &str) -> IfName {
    name.parse().unwrap()
}

fn index(index: u32) -> IfIndex {
    IfIndex::new(index).unwrap()
}

fn mac(mac: &str) -> Mac {
    mac.parse().unwrap()
}

fn net(net: &str) -> IpNet {
    net.parse().unwrap()
}

fn addr(address: &str) -> IpAddr {
    address.parse().unwrap()
}

/// A pair `left` (index 10) and `right` (index 11), both up.
fn pair(rtnl: &mut Rtnl) -> (IfIndex, IfIndex) {
    let (left, right) = (index(10), index(11));
    rtnl.apply(|changes| {
        let veth = NewLink::veth(name("left"), name("right"));
        changes.add_link(&veth.index(left).up().peer_index(right));
        changes.set_link(&LinkChange::new(right).up());
    })
    .unwrap();
    (left, right)
}

/// The place and the words of a change that was refused.
fn operation(error: &Error) -> (Option<usize>, String) {
    match error {
        Error::Refused { operation, .. } => (operation.index(), operation.what().to_owned()),
        other => panic!("{other:?}"),
    }
}
