//! One guest with an interface by each method, with real packets.

use std::net::IpAddr;
use std::path::Path;
use std::thread;

use libtest_mimic::Trial;
use tapwire::interfaces::{AttachedInterface, Device, Method};
use tapwire::sys::NetNs;
use tapwire::{Host, Owner};

use super::scene::{Scene, Vm, four, interfaces, scene, segment, state};
use crate::bridged::pod::{OUTSIDE, POD, PORT, asked, assert_same, inside, ip, servers};
use crate::support::{run, trials};
use crate::world::at;

pub(crate) fn trials() -> Vec<Trial> {
    let mut all = trials![needs ["ip", "nft", "root"]:
        all_methods_carry_traffic_at_once,
        failing_interface_takes_the_others_back,
    ];
    all.extend(trials![needs ["ip", "nft"]:
        routed_ones_owner_stays_for_others,
    ]);
    all
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
        "eth4, passthrough:\n  add macvtap guest4 on net3",
        "eth5, segment:\n  add TAP guest5 to segment blue",
    ] {
        assert!(plan.to_string().contains(words), "{words} in\n{plan}");
    }
    assert!(!plan.is_empty());
    assert_same(&state(pod), &before, "planned");
    let attached = inside(pod, || wanted.apply().unwrap());
    let again = inside(pod, || wanted.apply().unwrap());
    assert_eq!(again, attached);
    assert_eq!(inside(pod, || wanted.find().unwrap()), attached);
    let plan = inside(pod, || wanted.plan().unwrap());
    assert!(plan.is_empty(), "{plan}");
    assert_described(pod, &attached);
    // The node says again what its segment is, without the guest.
    inside(pod, || segment().apply().unwrap());
    {
        let vm = Vm::boot(pod, &attached);
        assert_carries(&scene, &vm);
    }
    inside(pod, || wanted.remove().unwrap());
    assert_same(&state(pod), &before, "removed");
    assert_eq!(inside(pod, || wanted.find().unwrap()), []);
    inside(pod, || wanted.remove().unwrap());
    assert_same(&state(pod), &before, "removed again");
}

/// What the VMM and the guest are told.
fn assert_described(pod: &NetNs, attached: &[AttachedInterface]) {
    let methods: Vec<Method> = attached.iter().map(AttachedInterface::method).collect();
    let expected = [
        Method::Masqueraded,
        Method::Bridged,
        Method::Redirected,
        Method::Routed,
        Method::Passthrough,
        Method::Segment,
    ];
    assert_eq!(methods, expected);
    let [.., macvtap, port] = attached else {
        panic!("{attached:?}");
    };
    let Device::Macvtap { name, path } = macvtap.device() else {
        panic!("{macvtap:?}");
    };
    let index = run_in(pod, &["-o", "link", "show", "guest4"]);
    let (index, _) = index.split_once(':').unwrap();
    assert_eq!(name.as_str(), "guest4");
    assert_eq!(path, Path::new(&format!("/dev/tap{index}")));
    assert_eq!(*port.device(), Device::Tap("guest5".parse().unwrap()));
    for (one, mac, address) in [
        (macvtap, "02:00:00:00:03:06", "10.3.0.5/24"),
        (port, "02:00:00:00:04:06", "10.4.0.5/24"),
    ] {
        let config = one.config();
        assert_eq!(config.mac().to_string(), mac);
        assert_eq!(config.mtu(), 1500);
        assert_eq!(config.addresses(), [address.parse().unwrap()]);
        assert_eq!(config.routes(), []);
    }
}

/// From and to the guest by each interface at once; each side sees the other's
/// address.
fn assert_carries(scene: &Scene, vm: &Vm) {
    let pod = &scene.pods.pod;
    let [one, two, three, four] = &scene.far;
    let to_guest = [
        (&scene.pods.outside, POD[0], OUTSIDE[0]),
        (one, "10.1.0.5", "10.1.0.1"),
        (two, "10.2.0.5", "10.2.0.1"),
        (pod, "198.18.0.2", "198.18.0.1"),
        (three, "10.3.0.5", "10.3.0.1"),
        (four, "10.4.0.5", "10.4.0.1"),
    ];
    let mut far = servers(&scene.pods.outside, "outside");
    for (netns, name) in [(one, "one"), (two, "two"), (three, "three"), (four, "four")] {
        far.extend(servers(netns, name));
    }
    // What the guest begins to elsewhere leaves by the one that is the default.
    let from_guest = [
        ("outside", OUTSIDE[0], POD[0]),
        ("one", "10.1.0.1", "10.1.0.5"),
        ("two", "10.2.0.1", "10.2.0.5"),
        ("three", "10.3.0.1", "10.3.0.5"),
        ("four", "10.4.0.1", "10.4.0.5"),
    ];
    let assert_answers = |from: &NetNs, to: &str, name: &str, source: &str| {
        let expected = (name.to_owned(), source.parse::<IpAddr>().unwrap());
        for _ in 0..20 {
            assert_eq!(asked(from, at(to, PORT)), Some(expected.clone()), "{to}");
        }
    };
    thread::scope(|scope| {
        for (from, to, source) in to_guest {
            scope.spawn(move || assert_answers(from, to, "guest", source));
        }
        for (name, to, source) in from_guest {
            scope.spawn(move || assert_answers(&vm.netns, to, name, source));
        }
    });
}

/// Nothing tells before that the last one cannot be.
fn failing_interface_takes_the_others_back() {
    let scene = scene();
    let pod = &scene.pods.pod;
    inside(pod, || {
        ip("link add beside link net3 type macvlan mode passthru");
    });
    let before = state(pod);
    let wanted = interfaces();
    let error = inside(pod, || wanted.apply().unwrap_err());
    assert!(error.to_string().contains("guest4"), "{error}");
    assert_same(&state(pod), &before, "taken back");
}

fn routed_ones_owner_stays_for_others() {
    let scene = scene();
    let pod = &scene.pods.pod;
    let before = state(pod);
    let wanted = four();
    inside(pod, || {
        let mut host = Host::open(Owner::new("tw").unwrap()).unwrap();
        host.attach(&tapwire::Guest::new("other").unwrap()).unwrap();
        wanted.apply().unwrap();
        wanted.remove().unwrap();
        let guests = host.guests().unwrap();
        assert_eq!(guests.len(), 1, "{guests:?}");
        assert_eq!(guests[0].name(), "other");
        host.remove().unwrap();
    });
    assert_same(&state(pod), &before, "removed");
}

fn run_in(netns: &NetNs, words: &[&str]) -> String {
    inside(netns, || run("ip", words))
}
