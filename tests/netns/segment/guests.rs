//! Guests on ports.

use std::time::Duration;

use tapwire::Protocol;
use tapwire::segment::Port;
use tapwire::sys::{NetNs, TapOptions};

use crate::bridged::pod::{eth0, inside, ip, servers};
use crate::linux_guest::Wire;
use crate::stand_ins::server::Server;
use crate::world::{ask, at};

/// A guest with the kernel's own stack behind a TAP of the calling thread's
/// namespace. It answers under its address.
pub(crate) struct Guest {
    pub(crate) netns: NetNs,
    pub(crate) address: String,
    _servers: Vec<Server>,
    _wire: Wire,
}

impl Guest {
    /// `address` is of a /24.
    pub(crate) fn boot(port: &str, address: &str) -> Self {
        let host = TapOptions::new(port.parse().unwrap()).nonblocking();
        let host = host.create().unwrap();
        let netns = NetNs::new().unwrap();
        let guest = inside(&netns, || {
            let tap = TapOptions::new(eth0()).mtu(1400).nonblocking();
            let tap = tap.create().unwrap();
            ip("link set lo up");
            ip("link set eth0 up");
            ip(&format!("address add {address}/24 dev eth0"));
            tap
        });
        Self {
            _servers: servers(&netns, address),
            netns,
            address: address.to_owned(),
            _wire: Wire::new(host, guest),
        }
    }

    pub(crate) fn reaches(&self, to: &str, limit: Duration) -> bool {
        let answer = ask(&self.netns, Protocol::Tcp, at(to, 80), limit);
        answer.is_some_and(|(name, _)| name == to)
    }
}

pub(crate) fn port(name: &str) -> Port {
    Port::new(name.parse().unwrap())
}
