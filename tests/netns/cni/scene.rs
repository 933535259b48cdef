//! A node with an outside behind it, and a pod.

use std::net::IpAddr;

use serde_json::Value;
use tapwire::Protocol;
use tapwire::sys::{NetNs, TapOptions};

use super::network::Place;
use crate::bridged::pod::{eth0, inside, ip, servers, set};
use crate::linux_guest::Wire;
use crate::stand_ins::server::Server;
use crate::world::{SOON, World, ask, at, within};

/// A [`World`] whose node forwards, and a pod's namespace.
pub(crate) struct Scene {
    pub(crate) world: World,
    pub(crate) pod: NetNs,
    pub(crate) place: Place,
}

impl Scene {
    pub(crate) fn new() -> Self {
        let world = World::new();
        inside(&world.node, || {
            ip("link set lo up");
            // As every node has it; `bridge` and `ptp` switch it on, too.
            set("net/ipv4/ip_forward", "1");
            set("net/ipv6/conf/all/forwarding", "1");
            set("net/ipv6/conf/default/accept_dad", "0");
        });
        inside(&world.outside, || ip("link set lo up"));
        let pod = NetNs::new().unwrap();
        inside(&pod, || {
            ip("link set lo up");
            set("net/ipv6/conf/default/accept_dad", "0");
        });
        Self {
            place: Place::of(&pod),
            world,
            pod,
        }
    }

    /// Does `work` on the node, where runtimes run plugins.
    pub(crate) fn node<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        inside(&self.world.node, work)
    }
}

/// A guest with the kernel's own stack, that holds a TAP and is configured by
/// what the plugin says it must be told.
pub(crate) struct Vm {
    pub(crate) netns: NetNs,
    _servers: Vec<Server>,
    _wire: Wire,
}

impl Vm {
    pub(crate) fn boot(pod: &NetNs, told: &Value) -> Self {
        let tap = told["tap"].as_str().unwrap().parse().unwrap();
        let attach = || {
            let options = TapOptions::new(tap).nonblocking();
            within(SOON, |_| match options.clone().attach() {
                Err(error) if error.is_busy() => None,
                result => Some(result.unwrap()),
            })
        };
        let host = inside(pod, attach).expect("the TAP is held by another");
        let netns = NetNs::new().unwrap();
        let mac = told["mac"].as_str().unwrap().parse().unwrap();
        let mtu = told["mtu"].as_u64().unwrap().try_into().unwrap();
        let guest = inside(&netns, || {
            let options = TapOptions::new(eth0()).mac(mac).mtu(mtu);
            options.nonblocking().create().unwrap()
        });
        inside(&netns, || {
            ip("link set lo up");
            for line in told["commands"].as_array().unwrap() {
                let line = line.as_str().unwrap();
                ip(line.strip_prefix("ip ").unwrap());
            }
        });
        Self {
            _servers: servers(&netns, "guest"),
            netns,
            _wire: Wire::new(host, guest),
        }
    }
}

/// Whether the guest answers at this address, asked from a namespace.
pub(crate) fn answers(from: &NetNs, address: &str, port: u16) -> Option<IpAddr> {
    let (name, source) = ask(from, Protocol::Tcp, at(address, port), SOON)?;
    assert_eq!(name, "guest", "{address} {port}");
    Some(source.to_canonical())
}

/// The addresses of a result, IPv4 before IPv6.
pub(crate) fn addresses(result: &Value) -> Vec<String> {
    let ips = result["ips"].as_array().unwrap();
    let mut all: Vec<String> = ips
        .iter()
        .map(|ip| {
            let address = ip["address"].as_str().unwrap();
            address.split_once('/').unwrap().0.to_owned()
        })
        .collect();
    all.sort_by_key(|address| address.contains(':'));
    all
}
