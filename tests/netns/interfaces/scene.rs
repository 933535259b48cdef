//! A pod with an interface for each method, and a guest in it.

use std::os::fd::{AsFd, AsRawFd};

use tapwire::interfaces::{AttachedInterface, Device, Interface, Interfaces};
use tapwire::masqueraded::Masquerade;
use tapwire::passthrough::MacvtapOptions;
use tapwire::route::MacvtapMode;
use tapwire::segment::{Port, Segment, TapPort};
use tapwire::sys::{Macvtap, NetNs, TapOptions};
use tapwire::{Guest, IfName, Owner, Ports, Protocol, Settings};

use crate::bridged::pod::{PORT, Pods, Wiring, inside, ip, servers, settled};
use crate::linux_guest::Wire;
use crate::stand_ins::server::Server;
use crate::support::run;
use crate::world::{SOON, within};

/// A pod with five interfaces: the cluster's `eth0`, and `net1` to `net4`, of
/// which the last is a port of the segment `blue`. Behind each of these is one
/// of `far`, at `10.N.0.1/24`.
pub(super) struct Scene {
    pub(super) pods: Pods,
    pub(super) far: [NetNs; 4],
}

pub(super) fn scene() -> Scene {
    let pods = Pods::new(Wiring::Subnet);
    let far = [(); 4].map(|()| NetNs::new().unwrap());
    inside(&pods.pod, || add_networks(&far));
    Scene { pods, far }
}

/// `net1` to `net4` of the calling thread's namespace.
pub(super) fn add_networks(far: &[NetNs; 4]) {
    for (number, far) in (1..).zip(far) {
        let file = far.as_fd().as_raw_fd();
        let file = format!("/proc/{}/fd/{file}", std::process::id());
        let near = format!("net{number} address 02:00:00:00:0{number}:05");
        ip(&format!(
            "link add {near} type veth peer name far address 02:00:00:00:0{number}:01 netns {file}"
        ));
        if number < 3 {
            ip(&format!("address add 10.{number}.0.5/24 dev net{number}"));
        }
        ip(&format!("link set net{number} up"));
        inside(far, || {
            ip(&format!("address add 10.{number}.0.1/24 dev far"));
            ip("link set far up");
        });
    }
    segment().apply().unwrap();
}

/// The segment as the node has it, which knows of no guest.
pub(super) fn segment() -> Segment {
    Segment::new(name("blue")).port(Port::new(name("net4")))
}

/// One per method.
pub(super) fn interfaces() -> Interfaces {
    four().with(macvtap()).with(joined())
}

/// Those for which no right of the machine's root is needed.
pub(super) fn four() -> Interfaces {
    let routed = Settings::new(Owner::new("tw").unwrap());
    let masqueraded = masquerade("vm").carry(Protocol::Tcp, Ports::new(PORT, PORT).unwrap());
    Interfaces::new()
        .with(Interface::masqueraded(name("eth0"), masqueraded).default_route())
        .with(Interface::bridged(name("eth1"), name("net1")))
        .with(Interface::redirected(name("eth2"), name("net2")))
        .with(Interface::routed(
            name("eth3"),
            routed,
            Guest::new("web-0").unwrap(),
        ))
}

pub(super) fn macvtap() -> Interface {
    let mac = "02:00:00:00:03:06".parse().unwrap();
    let macvtap = MacvtapOptions::new(name("guest4"), name("net3"), MacvtapMode::BRIDGE).mac(mac);
    Interface::macvtap(name("eth4"), macvtap).address("10.3.0.5/24".parse().unwrap())
}

pub(super) fn joined() -> Interface {
    let mac = "02:00:00:00:04:06".parse().unwrap();
    let port = TapPort::new(name("blue"), Port::new(name("guest5")), mac);
    Interface::segment(name("eth5"), port).address("10.4.0.5/24".parse().unwrap())
}

pub(super) fn masquerade(owner: &str) -> Masquerade {
    Masquerade::new(Owner::new(owner).unwrap(), Guest::new("web-0").unwrap())
}

pub(super) fn name(name: &str) -> IfName {
    name.parse().unwrap()
}

/// All that is configured in a pod.
pub(super) fn state(pod: &NetNs) -> String {
    inside(pod, || {
        let forward = std::fs::read_to_string("/proc/sys/net/ipv4/conf/eth0/forwarding");
        settled() + &run("nft", &["-s", "list", "ruleset"]) + &forward.unwrap()
    })
}

/// A guest with the kernel's own stack and an interface for each.
pub(super) struct Vm {
    pub(super) netns: NetNs,
    _servers: Vec<Server>,
    _wires: Vec<Wire>,
}

impl Vm {
    pub(super) fn boot(pod: &NetNs, attached: &[AttachedInterface]) -> Self {
        let netns = NetNs::new().unwrap();
        inside(&netns, || ip("link set lo up"));
        let wire = |one: &AttachedInterface| {
            let config = one.config();
            let guest = inside(&netns, || {
                let options = TapOptions::new(one.name()).mac(config.mac());
                options.mtu(config.mtu()).nonblocking().create().unwrap()
            });
            inside(&netns, || {
                for line in config.commands(one.name()).to_string().lines() {
                    ip(line.strip_prefix("ip ").unwrap());
                }
            });
            match one.device() {
                Device::Tap(tap) => {
                    let options = TapOptions::new(*tap).nonblocking();
                    let attach = || {
                        within(SOON, |_| match options.clone().attach() {
                            Err(error) if error.is_busy() => None,
                            result => Some(result.unwrap()),
                        })
                    };
                    let host = inside(pod, attach).expect("the TAP is held by another");
                    Wire::new(host, guest)
                }
                Device::Macvtap { name, .. } => {
                    let host = inside(pod, || Macvtap::open_nonblocking(*name).unwrap());
                    host.reset().unwrap();
                    host.set_vnet_header(false).unwrap();
                    Wire::new(host, guest)
                }
                other => panic!("{other:?}"),
            }
        };
        Self {
            _wires: attached.iter().map(wire).collect(),
            _servers: servers(&netns, "guest"),
            netns,
        }
    }
}
