//! A guest with several interfaces, one per method.

use std::net::IpAddr;
use std::thread;

use libtest_mimic::Trial;
use tapwire::interfaces::{AttachedInterface, Interface, Interfaces, Method};
use tapwire::masqueraded::Masquerade;
use tapwire::sys::{NetNs, TapOptions};
use tapwire::{Guest, IfName, Owner, Ports, Protocol, Settings};

use crate::bridged::pod::{
    OUTSIDE, POD, PORT, Pods, Wiring, asked, assert_same, inside, ip, servers, settled,
};
use crate::linux_guest::Wire;
use crate::stand_ins::server::Server;
use crate::support::{run, trials};
use crate::world::{SOON, at, within};

pub(crate) fn trials() -> Vec<Trial> {
    trials![needs ["ip", "nft"]:
        all_methods_carry_traffic_at_once,
        impossible_combinations_are_refused_and_change_nothing,
        failing_interface_takes_the_others_back,
    ]
}

/// A pod with three interfaces: the cluster's, and two others.
struct Scene {
    pods: Pods,
    one: NetNs,
    two: NetNs,
}

fn scene() -> Scene {
    let pods = Pods::new(Wiring::Subnet);
    let [one, two] = [(); 2].map(|()| NetNs::new().unwrap());
    for (number, far) in [(1, &one), (2, &two)] {
        let file = {
            use std::os::fd::{AsFd, AsRawFd};
            format!(
                "/proc/{}/fd/{}",
                std::process::id(),
                far.as_fd().as_raw_fd()
            )
        };
        inside(&pods.pod, || {
            ip(&format!(
                "link add net{number} type veth peer name far netns {file}"
            ));
            ip(&format!("address add 10.{number}.0.5/24 dev net{number}"));
            ip(&format!("link set net{number} up"));
        });
        inside(far, || {
            ip(&format!("address add 10.{number}.0.1/24 dev far"));
            ip("link set far up");
        });
    }
    Scene { pods, one, two }
}

fn all_methods_carry_traffic_at_once() {
    let scene = scene();
    let pod = &scene.pods.pod;
    let before = state(pod);
    let wanted = interfaces();
    let plan = inside(pod, || wanted.plan().unwrap());
    for words in [
        "eth0, masqueraded:",
        "eth1, bridged:",
        "eth2, redirected:",
        "eth3, routed:",
    ] {
        assert!(plan.to_string().contains(words), "{words} in\n{plan}");
    }
    assert!(!plan.is_empty());
    let attached = inside(pod, || wanted.apply().unwrap());
    let again = inside(pod, || wanted.apply().unwrap());
    assert_eq!(again, attached);
    assert_eq!(inside(pod, || wanted.find().unwrap()), attached);
    assert!(inside(pod, || wanted.plan().unwrap()).is_empty());
    let methods: Vec<Method> = attached.iter().map(AttachedInterface::method).collect();
    let expected = [
        Method::Masqueraded,
        Method::Bridged,
        Method::Redirected,
        Method::Routed,
    ];
    assert_eq!(methods, expected);
    {
        let vm = Vm::boot(pod, &attached);
        let ways = [
            (&scene.pods.outside, POD[0], OUTSIDE[0]),
            (&scene.one, "10.1.0.5", "10.1.0.1"),
            (&scene.two, "10.2.0.5", "10.2.0.1"),
            (pod, "198.18.0.2", "198.18.0.1"),
        ];
        thread::scope(|scope| {
            for (from, to, source) in ways {
                scope.spawn(move || {
                    for _ in 0..20 {
                        let answer = asked(from, at(to, PORT));
                        let source: IpAddr = source.parse().unwrap();
                        assert_eq!(answer, Some(("guest".to_owned(), source)), "{to}");
                    }
                });
            }
        });
        // What the guest begins leaves by the one that is the default.
        let _outside = servers(&scene.pods.outside, "outside");
        let (_, seen) = asked(&vm.netns, at(OUTSIDE[0], PORT)).unwrap();
        assert_eq!(seen, POD[0].parse::<IpAddr>().unwrap());
    }
    inside(pod, || wanted.remove().unwrap());
    assert_eq!(inside(pod, || wanted.find().unwrap()), []);
    // The routed one's owner may have others.
    inside(pod, || {
        let host = tapwire::Host::open(Owner::new("tw").unwrap()).unwrap();
        host.remove().unwrap();
        wanted.remove().unwrap();
    });
    assert_same(&state(pod), &before, "removed");
}

fn impossible_combinations_are_refused_and_change_nothing() {
    let scene = scene();
    let pod = &scene.pods.pod;
    inside(pod, || {
        ip("link set net1 down");
        ip("link set net1 address 02:00:00:00:00:01 up");
        ip("link set net2 down");
        ip("link set net2 address 02:00:00:00:00:01 up");
    });
    let before = state(pod);
    let new = Interfaces::new;
    let bridged = |guest: &str, pod: &str| Interface::bridged(name(guest), name(pod));
    let of = |owner: &str, ports: (u16, u16)| {
        let ports = Ports::new(ports.0, ports.1).unwrap();
        masquerade(owner).carry(Protocol::Tcp, ports)
    };
    let masqueraded = |guest: &str, it: Masquerade| Interface::masqueraded(name(guest), it);
    for (wanted, words) in [
        (new(), "has no interface"),
        (
            new()
                .with(bridged("eth0", "eth0"))
                .with(bridged("eth0", "net1")),
            "is that of two interfaces",
        ),
        (
            new()
                .with(bridged("eth0", "eth0").default_route())
                .with(bridged("eth1", "net1").default_route()),
            "is a second default route",
        ),
        (
            new()
                .with(bridged("eth0", "eth0"))
                .with(Interface::redirected(name("eth1"), name("eth0"))),
            "is to be taken over twice",
        ),
        (
            new()
                .with(bridged("eth1", "net1"))
                .with(bridged("eth2", "net2")),
            "MAC address \"02:00:00:00:00:01\" is that of two interfaces",
        ),
        (
            new()
                .with(masqueraded("eth0", of("a", (80, 90))))
                .with(masqueraded("eth1", of("b", (90, 99)))),
            "carries a port that another interface carries",
        ),
        (
            new()
                .with(masqueraded("eth0", of("a", (80, 80))))
                .with(Interface::routed(
                    name("eth1"),
                    Settings::new(Owner::new("a").unwrap()),
                    Guest::new("b").unwrap(),
                )),
            "owner \"a\" is that of two interfaces",
        ),
        (
            new()
                .with(masqueraded("eth0", of("a", (80, 80))))
                .with(bridged("eth1", "eth0"))
                .with(bridged("eth2", "net1"))
                .with(Interface::redirected(name("eth3"), name("net2"))),
            "02:00:00:00:00:01",
        ),
        (
            new().with(bridged("eth0", "net7")),
            "no interface named net7",
        ),
    ] {
        let error = inside(pod, || wanted.apply().unwrap_err()).to_string();
        assert!(error.contains(words), "{words} in {error}");
        assert_same(&state(pod), &before, words);
    }
    inside(pod, || {
        ip("link set net2 down");
        ip("link set net2 address 02:00:00:00:00:02 up");
    });
    let before = state(pod);
    let no_pod = new()
        .with(masqueraded("eth0", of("a", (80, 80))))
        .with(bridged("eth1", "eth0"))
        .with(bridged("eth2", "net1"))
        .with(Interface::redirected(name("eth3"), name("net2")));
    let error = inside(pod, || no_pod.apply().unwrap_err()).to_string();
    assert!(
        error.contains("of which no interface with an address is left"),
        "{error}"
    );
    assert_same(&state(pod), &before, "nothing is left");
}

fn failing_interface_takes_the_others_back() {
    let scene = scene();
    let pod = &scene.pods.pod;
    // Nothing tells before that the last one cannot be.
    inside(pod, || {
        ip("link add tw-0 type bridge");
    });
    // Where the kernel has one switch for IPv6 forwarding, a handle notes the
    // interfaces that it finds.
    let look = || inside(pod, || tapwire::Host::open(Owner::new("tw").unwrap())).unwrap();
    drop(look());
    let before = state(pod);
    let wanted = interfaces();
    let error = inside(pod, || wanted.apply().unwrap_err()).to_string();
    assert!(error.contains("tw-0"), "{error}");
    drop(look());
    assert_same(&state(pod), &before, "taken back");
}

/// One per method.
fn interfaces() -> Interfaces {
    let routed = Settings::new(Owner::new("tw").unwrap());
    Interfaces::new()
        .with(Interface::masqueraded(name("eth0"), masquerade("vm")).default_route())
        .with(Interface::bridged(name("eth1"), name("net1")))
        .with(Interface::redirected(name("eth2"), name("net2")))
        .with(Interface::routed(
            name("eth3"),
            routed,
            Guest::new("web-0").unwrap(),
        ))
}

fn masquerade(owner: &str) -> Masquerade {
    Masquerade::new(Owner::new(owner).unwrap(), Guest::new("web-0").unwrap())
}

fn name(name: &str) -> IfName {
    name.parse().unwrap()
}

fn state(pod: &NetNs) -> String {
    inside(pod, || {
        let forward = std::fs::read_to_string("/proc/sys/net/ipv4/conf/eth0/forwarding");
        settled() + &run("nft", &["-s", "list", "ruleset"]) + &forward.unwrap()
    })
}

/// A guest with the kernel's own stack and an interface for each TAP.
struct Vm {
    netns: NetNs,
    _servers: Vec<Server>,
    _wires: Vec<Wire>,
}

impl Vm {
    fn boot(pod: &NetNs, attached: &[AttachedInterface]) -> Self {
        let netns = NetNs::new().unwrap();
        inside(&netns, || ip("link set lo up"));
        let wire = |one: &AttachedInterface| {
            let options = TapOptions::new(one.tap()).nonblocking();
            let attach = || {
                within(SOON, |_| match options.clone().attach() {
                    Err(error) if error.is_busy() => None,
                    result => Some(result.unwrap()),
                })
            };
            let host = inside(pod, attach).expect("the TAP is held by another");
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
            Wire::new(host, guest)
        };
        Self {
            _wires: attached.iter().map(wire).collect(),
            _servers: servers(&netns, "guest"),
            netns,
        }
    }
}
