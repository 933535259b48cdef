//! Each impossible combination has its own error, and changes nothing.

use libtest_mimic::Trial;
use tapwire::interfaces::{Interface, Interfaces};
use tapwire::masqueraded::Masquerade;
use tapwire::passthrough::MacvtapOptions;
use tapwire::route::{MacvtapMode, VirtualFunction};
use tapwire::segment::{Port, TapPort};
use tapwire::{Guest, Owner, Ownership, Ports, Protocol, Settings};

use super::scene::{masquerade, name, scene, state};
use crate::bridged::pod::{assert_same, inside, ip};
use crate::support::trials;

pub(crate) fn trials() -> Vec<Trial> {
    trials![needs ["ip", "nft"]:
        combinations_that_contradict_themselves_are_refused,
        what_others_have_is_refused_before_anything_is_made,
        masqueraded_one_without_a_pod_is_refused,
    ]
}

fn combinations_that_contradict_themselves_are_refused() {
    let scene = scene();
    let pod = &scene.pods.pod;
    inside(pod, || {
        for number in [1, 2] {
            ip(&format!("link set net{number} down"));
            ip(&format!("link set net{number} address {MAC} up"));
        }
    });
    let before = state(pod);
    let all = [names_and_defaults(), addresses_and_owners(), links()];
    for (wanted, words) in all.into_iter().flatten() {
        let wanted = wanted.into_iter().fold(Interfaces::new(), Interfaces::with);
        for error in inside(pod, || {
            [
                wanted.plan().unwrap_err(),
                wanted.apply().unwrap_err(),
                wanted.conflicts().unwrap_err(),
            ]
        }) {
            let error = error.to_string();
            assert!(error.contains(words), "{words} in {error}");
        }
        assert_same(&state(pod), &before, words);
    }
}

/// What is wanted, and what is said of it.
type Refusal = (Vec<Interface>, &'static str);

/// Names of the guest's, default routes, pods.
fn names_and_defaults() -> Vec<Refusal> {
    vec![
        (vec![], "has no interface"),
        (
            vec![bridged("eth0", "eth0"), bridged("eth0", "net1")],
            "interface name \"eth0\" is that of two interfaces",
        ),
        (
            vec![
                bridged("eth0", "eth0").default_route(),
                joined("eth1", "guest1").default_route(),
            ],
            "interface \"eth1\" is a second default route",
        ),
        (
            vec![
                bridged("eth0", "eth0"),
                joined("eth1", "guest1").route(route("0.0.0.0/0")),
            ],
            "interface \"eth1\" has a default route and is not the default",
        ),
        (
            vec![bridged("eth1", "net1").default_route()],
            "interface \"eth1\" is to be the default and has no default route",
        ),
        (
            vec![
                bridged("eth0", "eth0"),
                Interface::redirected(name("eth1"), name("eth0")),
            ],
            "interface of the pod \"eth0\" is to be taken over twice",
        ),
    ]
}

/// MAC addresses, ports, owners.
fn addresses_and_owners() -> Vec<Refusal> {
    let shared = |tap, mac| macvtap_with("eth4", tap, "net3", mac);
    vec![
        (
            vec![bridged("eth1", "net1"), bridged("eth2", "net2")],
            "MAC address \"02:00:00:00:00:01\" is that of two interfaces",
        ),
        (
            vec![bridged("eth1", "net1"), shared("guest4", MAC)],
            "MAC address \"02:00:00:00:00:01\" is that of two interfaces",
        ),
        (
            vec![
                shared("guest4", "02:00:00:00:00:07"),
                joined("eth5", "guest5"),
            ],
            "MAC address \"02:00:00:00:00:07\" is that of two interfaces",
        ),
        (
            vec![shared("guest4", "02:00:00:00:03:05")],
            "MAC address \"02:00:00:00:03:05\" is that of the macvtap's parent",
        ),
        (
            vec![
                masqueraded("eth0", of("a", (80, 90))),
                masqueraded("eth1", of("b", (90, 99))),
            ],
            "interface \"eth1\" carries a port that another interface carries",
        ),
        (
            vec![
                masqueraded("eth0", of("a", (80, 80))),
                masqueraded("eth1", of("b", (81, 81))),
            ],
            "interface \"eth1\" has the guest's network of another interface",
        ),
        (
            vec![
                masqueraded("eth0", of("a", (80, 80))),
                routed("eth1", Settings::new(owner("a"))),
            ],
            "owner \"a\" is that of two interfaces",
        ),
        (
            vec![routed(
                "eth1",
                Settings::new(owner("a")).ownership(Ownership::Owned),
            )],
            "is to own tables that go with their handle",
        ),
    ]
}

/// Parents, names of links, virtual functions.
fn links() -> Vec<Refusal> {
    let shared = |tap, mac| macvtap_with("eth4", tap, "net3", mac);
    let alone = |tap| macvtap("eth5", tap, "net3", MacvtapMode::PASSTHRU);
    vec![
        (
            vec![alone("guest4"), shared("guest5", "02:00:00:00:00:08")],
            "interface \"net3\" is one macvtap's for itself and another's parent",
        ),
        (
            vec![
                bridged("eth1", "net1"),
                macvtap("eth4", "guest4", "net1", MacvtapMode::BRIDGE),
            ],
            "interface \"net1\" is to be taken over and a macvtap's parent",
        ),
        (
            vec![bridged("eth1", "blue"), joined("eth5", "guest5")],
            "interface \"blue\" is to be taken over and a segment's bridge",
        ),
        (
            vec![
                joined("eth4", "guest4"),
                shared("guest4", "02:00:00:00:00:08"),
            ],
            "interface name \"eth4\" is that of two interfaces",
        ),
        (
            vec![
                joined("eth5", "guest4"),
                shared("guest4", "02:00:00:00:00:08"),
            ],
            "interface name \"guest4\" is to be that of two links",
        ),
        (
            vec![
                routed("eth3", Settings::new(owner("tw"))),
                joined("eth5", "tw-7"),
            ],
            "interface name \"tw-7\" is that of a TAP of an owner's",
        ),
        (
            vec![function("eth6", 1), function("eth7", 1)],
            "virtual function \"1 of net3\" is that of two interfaces",
        ),
        (
            vec![Interface::virtual_function(
                name("eth6"),
                name("net3"),
                VirtualFunction::new(1),
            )],
            "virtual function \"1 of net3\" is to have a MAC address",
        ),
    ]
}

/// The first of two could be made, the second cannot.
fn what_others_have_is_refused_before_anything_is_made() {
    let scene = scene();
    let pod = &scene.pods.pod;
    inside(pod, || {
        ip("link add taken type bridge");
        ip("link add tw-0 type bridge");
        ip("link add port type veth peer name cable");
        ip("link set port master taken");
        ip("route add 10.0.2.0/30 dev net1");
    });
    let before = state(pod);
    for (second, words) in [
        (
            macvtap("eth4", "taken", "net3", MacvtapMode::BRIDGE),
            "an interface of that name",
        ),
        (
            macvtap("eth4", "guest4", "port", MacvtapMode::BRIDGE),
            "taken, which port is a port of",
        ),
        (
            macvtap("eth4", "guest4", "nobody", MacvtapMode::BRIDGE),
            "no interface named nobody",
        ),
        (joined("eth5", "taken"), "another interface of that name"),
        (
            Interface::segment(
                name("eth5"),
                TapPort::new(name("red"), Port::new(name("guest5")), MAC.parse().unwrap()),
            ),
            "no segment named red",
        ),
        (
            Interface::segment(
                name("eth5"),
                TapPort::new(
                    name("taken"),
                    Port::new(name("guest5")),
                    MAC.parse().unwrap(),
                ),
            ),
            "another interface of that name",
        ),
        (
            Interface::segment(
                name("eth5"),
                TapPort::new(
                    name("blue"),
                    Port::new(name("guest5")).access(10),
                    MAC.parse().unwrap(),
                ),
            ),
            "is in a VLAN of a segment without",
        ),
        (
            bridged("eth1", "port"),
            "port for a guest clashes with taken",
        ),
        (bridged("eth1", "net7"), "no interface named net7"),
        (bridged("eth1", "cable"), "interface \"cable\" is down"),
        (routed("eth3", Settings::new(owner("tw"))), "tw-0"),
        (
            masqueraded("eth3", masquerade("vm").carry(Protocol::Tcp, ports(80, 80))),
            "10.0.2.0/30",
        ),
    ] {
        let wanted = Interfaces::new()
            .with(Interface::redirected(name("eth2"), name("net2")))
            .with(second);
        for error in inside(pod, || {
            [wanted.plan().unwrap_err(), wanted.apply().unwrap_err()]
        }) {
            let error = error.to_string();
            assert!(error.contains(words), "{words} in {error}");
        }
        assert_same(&state(pod), &before, words);
    }
}

fn masqueraded_one_without_a_pod_is_refused() {
    let scene = scene();
    let pod = &scene.pods.pod;
    let before = state(pod);
    let no_pod = |last: Interface| {
        let wanted = Interfaces::new()
            .with(masqueraded("eth0", of("a", (80, 80))))
            .with(bridged("eth1", "eth0"))
            .with(bridged("eth2", "net1"))
            .with(last);
        let error = inside(pod, || wanted.apply().unwrap_err()).to_string();
        let words = "of which no interface with an address is left";
        assert!(error.contains(words), "{error}");
        assert_same(&state(pod), &before, "nothing is left");
    };
    no_pod(Interface::redirected(name("eth3"), name("net2")));
    no_pod(macvtap("eth3", "guest3", "net2", MacvtapMode::PASSTHRU));
}

const MAC: &str = "02:00:00:00:00:01";

fn bridged(guest: &str, pod: &str) -> Interface {
    Interface::bridged(name(guest), name(pod))
}

fn masqueraded(guest: &str, masquerade: Masquerade) -> Interface {
    Interface::masqueraded(name(guest), masquerade)
}

fn routed(guest: &str, settings: Settings) -> Interface {
    Interface::routed(name(guest), settings, Guest::new("b").unwrap())
}

fn macvtap(guest: &str, tap: &str, parent: &str, mode: MacvtapMode) -> Interface {
    Interface::macvtap(
        name(guest),
        MacvtapOptions::new(name(tap), name(parent), mode),
    )
}

fn macvtap_with(guest: &str, tap: &str, parent: &str, mac: &str) -> Interface {
    let options = MacvtapOptions::new(name(tap), name(parent), MacvtapMode::BRIDGE);
    Interface::macvtap(name(guest), options.mac(mac.parse().unwrap()))
}

fn joined(guest: &str, tap: &str) -> Interface {
    let mac = "02:00:00:00:00:07".parse().unwrap();
    Interface::segment(
        name(guest),
        TapPort::new(name("blue"), Port::new(name(tap)), mac),
    )
}

fn function(guest: &str, number: u32) -> Interface {
    let mac = format!("02:00:00:00:06:{}", &guest[3..].repeat(2));
    let function = VirtualFunction::new(number).mac(mac.parse().unwrap());
    Interface::virtual_function(name(guest), name("net3"), function)
}

fn route(net: &str) -> tapwire::guest::GuestRoute {
    tapwire::guest::GuestRoute::new(net.parse().unwrap()).via([10, 4, 0, 1].into())
}

fn of(owner: &str, (first, last): (u16, u16)) -> Masquerade {
    masquerade(owner).carry(Protocol::Tcp, ports(first, last))
}

fn ports(first: u16, last: u16) -> Ports {
    Ports::new(first, last).unwrap()
}

fn owner(name: &str) -> Owner {
    Owner::new(name).unwrap()
}
