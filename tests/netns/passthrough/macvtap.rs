//! Guests on one parent, in each mode, with real packets.

use std::net::UdpSocket;
use std::time::Duration;

use libtest_mimic::Trial;
use tapwire::passthrough::MacvtapOptions;
use tapwire::route::{MacvtapMode, Rtnl};
use tapwire::sys::{Macvtap, NetNs, Offload, TapOptions};
use tapwire::{Error, IfName, Protocol};

use crate::bridged::pod::{dump, eth0, inside, ip, servers, settled};
use crate::linux_guest::Wire;
use crate::stand_ins::server::Server;
use crate::support::{run, trials};
use crate::world::{NEVER, SOON, ask, at, within};

pub(crate) fn trials() -> Vec<Trial> {
    trials![needs ["ip", "root"]:
        guests_in_mode_bridge_reach_each_other_and_the_outside,
        guests_in_mode_private_reach_the_outside_only,
        guests_in_mode_vepa_reach_each_other_by_the_switch,
        guest_in_mode_passthru_has_the_parent_and_its_mac_for_itself,
        header_and_offloads_are_those_that_were_asked_for,
        macvtap_is_attached_again_and_removed,
        macvtap_on_a_macvlan_is_found_again,
        macvtap_that_cannot_be_leaves_nothing,
    ]
}

const OUTSIDE: &str = "10.9.0.1";
const GUESTS: [&str; 2] = ["10.9.0.11", "10.9.0.12"];
const MACS: [&str; 2] = ["02:00:00:00:09:11", "02:00:00:00:09:12"];

fn guests_in_mode_bridge_reach_each_other_and_the_outside() {
    let _scene = Scene::new();
    let [one, other] = guests(MacvtapMode::BRIDGE);
    assert!(one.reaches(OUTSIDE, SOON));
    assert!(one.reaches(GUESTS[1], SOON) && other.reaches(GUESTS[0], SOON));
}

fn guests_in_mode_private_reach_the_outside_only() {
    let scene = Scene::new();
    let [one, other] = guests(MacvtapMode::PRIVATE);
    assert!(one.reaches(OUTSIDE, SOON));
    assert!(other.reaches(OUTSIDE, SOON));
    assert!(!one.reaches(GUESTS[1], NEVER));
    // Not by a switch that sends back what it gets either.
    scene.hairpin();
    assert!(!one.reaches(GUESTS[1], NEVER));
}

fn guests_in_mode_vepa_reach_each_other_by_the_switch() {
    let scene = Scene::new();
    let [one, other] = guests(MacvtapMode::VEPA);
    assert!(one.reaches(OUTSIDE, SOON));
    assert!(!one.reaches(GUESTS[1], NEVER));
    scene.hairpin();
    assert!(one.reaches(GUESTS[1], SOON) && other.reaches(GUESTS[0], SOON));
}

fn guest_in_mode_passthru_has_the_parent_and_its_mac_for_itself() {
    let _scene = Scene::new();
    let before = link("parent").mac();
    let wanted = options(0, MacvtapMode::PASSTHRU);
    let guest = guest(0, wanted.create().unwrap());
    assert!(guest.reaches(OUTSIDE, SOON));
    assert_eq!(link("parent").mac(), Some(MACS[0].parse().unwrap()));
    let refused = options(1, MacvtapMode::BRIDGE).create().unwrap_err();
    assert!(matches!(refused, Error::Refused { .. }), "{refused}");
    drop(guest);
    wanted.remove().unwrap();
    assert_eq!(link("parent").mac(), before);
}

fn header_and_offloads_are_those_that_were_asked_for() {
    let scene = Scene::new();
    let macvtap = options(0, MacvtapMode::BRIDGE).create().unwrap();
    assert!(macvtap.has_vnet_header().unwrap());
    assert_eq!(macvtap.vnet_header_length().unwrap(), 10);
    macvtap.set_vnet_header_length(12).unwrap();
    assert_eq!(macvtap.vnet_header_length().unwrap(), 12);
    assert!(macvtap.set_vnet_header_length(9).is_err());
    assert!(!scene.leaves_sums(&macvtap, 12), "switched off at first");
    macvtap
        .set_offloads(Offload::CHECKSUM | Offload::TSO4)
        .unwrap();
    assert!(scene.leaves_sums(&macvtap, 12));
    assert!(
        macvtap
            .set_offloads(Offload::from_bits_retain(1 << 30))
            .is_err()
    );
    macvtap.reset().unwrap();
    assert_eq!(macvtap.vnet_header_length().unwrap(), 10);
    assert!(!scene.leaves_sums(&macvtap, 10));
    macvtap.set_vnet_header(false).unwrap();
    assert!(!macvtap.has_vnet_header().unwrap());
    let mut frame = [0; 2000];
    scene.send_to_guest();
    let length = receive(&macvtap, &mut frame, 14).expect("a frame");
    assert_eq!(
        &frame[..6],
        &MACS[0].parse::<tapwire::Mac>().unwrap().octets()
    );
    assert_eq!(length, 14 + 20 + 8 + 5);
}

fn macvtap_is_attached_again_and_removed() {
    let _scene = Scene::new();
    let before = dump();
    let wanted = options(0, MacvtapMode::BRIDGE).mtu(1400);
    assert!(wanted.attach().unwrap_err().is_not_found());
    wanted.remove().unwrap();
    drop(wanted.create().unwrap());
    assert!(wanted.create().unwrap_err().is_exists());
    let details = run("ip", &["-d", "link", "show", "guest0"]);
    assert!(details.contains("macvtap mode bridge") && details.contains("mtu 1400"));
    let addresses = run("ip", &["address", "show", "guest0"]);
    assert!(!addresses.contains("inet"), "{addresses}");
    let again = wanted.attach().unwrap();
    // A second queue, as the first.
    let second = wanted.attach().unwrap();
    assert_eq!(second.vnet_header_length().unwrap(), 10);
    drop((again, second));
    for other in [
        options(0, MacvtapMode::VEPA),
        wanted.clone().mtu(1300),
        wanted.clone().mac("02:00:00:00:00:77".parse().unwrap()),
    ] {
        assert!(matches!(other.attach(), Err(Error::Conflict(_))));
        assert!(matches!(other.remove(), Err(Error::Conflict(_))));
    }
    wanted.remove().unwrap();
    wanted.remove().unwrap();
    assert_eq!(dump(), before);
}

/// It is said to rest on what that one rests on.
fn macvtap_on_a_macvlan_is_found_again() {
    let _scene = Scene::new();
    ip("link add pod0 link parent type macvlan mode bridge");
    ip("link set pod0 up");
    // It says so some time later.
    let is_up = || run("ip", &["-br", "link", "show", "pod0"]).contains(" UP ");
    within(SOON, |_| is_up().then_some(())).expect("it comes up");
    let before = dump();
    let wanted = MacvtapOptions::new(
        "guest0".parse().unwrap(),
        "pod0".parse().unwrap(),
        MacvtapMode::BRIDGE,
    );
    drop(wanted.create().unwrap());
    drop(wanted.attach().unwrap());
    wanted.remove().unwrap();
    assert_eq!(dump(), before);
}

fn macvtap_that_cannot_be_leaves_nothing() {
    let _scene = Scene::new();
    ip("link add br0 type bridge");
    ip("link set parent master br0");
    let before = dump();
    let new = |name: &str, parent: &str| {
        MacvtapOptions::new(
            name.parse().unwrap(),
            parent.parse().unwrap(),
            MacvtapMode::BRIDGE,
        )
    };
    assert!(new("guest0", "parent").create().unwrap_err().is_busy());
    assert!(new("guest0", "nobody").create().unwrap_err().is_not_found());
    assert!(matches!(
        new("br0", "parent").create(),
        Err(Error::Conflict(_))
    ));
    let error = Macvtap::open("parent".parse().unwrap()).unwrap_err();
    assert_eq!(error.to_string(), "interface \"parent\" is not a macvtap");
    assert_eq!(dump(), before);
}

/// The namespace of the test with a parent, and a switch outside.
struct Scene {
    outside: NetNs,
    _server: Vec<Server>,
}

impl Scene {
    fn new() -> Self {
        let outside = NetNs::new().unwrap();
        ip("link set lo up");
        ip("link add parent type veth peer name port");
        let mut rtnl = Rtnl::open().unwrap();
        let port = link("port").index();
        rtnl.apply(|changes| {
            changes.set_link(&tapwire::route::LinkChange::new(port).netns(&outside));
        })
        .unwrap();
        ip("link set parent up");
        inside(&outside, || {
            ip("link set lo up");
            ip("link add switch type bridge");
            ip("link set port master switch up");
            ip(&format!("address add {OUTSIDE}/24 dev switch"));
            ip("link set switch up");
        });
        settled();
        let server = servers(&outside, "outside");
        Self {
            outside,
            _server: server,
        }
    }

    /// Has the switch send back by a port what came from it.
    fn hairpin(&self) {
        inside(&self.outside, || {
            ip("link set port type bridge_slave hairpin on");
        });
    }

    fn send_to_guest(&self) {
        inside(&self.outside, || {
            ip(&format!(
                "neigh replace {} lladdr {} dev switch nud permanent",
                GUESTS[0], MACS[0]
            ));
            let socket = UdpSocket::bind((OUTSIDE, 0)).unwrap();
            socket.send_to(b"hello", (GUESTS[0], 9)).unwrap();
        });
    }

    /// Whether the guest is left to finish checksums.
    fn leaves_sums(&self, macvtap: &Macvtap, header: usize) -> bool {
        self.send_to_guest();
        let mut frame = [0; 2000];
        receive(macvtap, &mut frame, header + 14).expect("a frame");
        frame[0] & 1 == 1
    }
}

fn options(number: usize, mode: MacvtapMode) -> MacvtapOptions {
    let name = format!("guest{number}").parse().unwrap();
    MacvtapOptions::new(name, "parent".parse().unwrap(), mode)
        .mac(MACS[number].parse().unwrap())
        .nonblocking()
}

fn guests(mode: MacvtapMode) -> [Guest; 2] {
    [0, 1].map(|number| guest(number, options(number, mode).create().unwrap()))
}

/// A guest with the kernel's own stack, answering under its number.
fn guest(number: usize, macvtap: Macvtap) -> Guest {
    macvtap.set_vnet_header(false).unwrap();
    let netns = NetNs::new().unwrap();
    let tap = inside(&netns, || {
        let options = TapOptions::new(eth0()).mac(MACS[number].parse().unwrap());
        let tap = options.nonblocking().create().unwrap();
        ip("link set lo up");
        ip("link set eth0 up");
        ip(&format!("address add {}/24 dev eth0", GUESTS[number]));
        tap
    });
    let servers = servers(&netns, GUESTS[number]);
    Guest {
        netns,
        _servers: servers,
        _wire: Wire::new(macvtap, tap),
    }
}

/// Receives the datagram that was sent, whose IP header begins there.
fn receive(macvtap: &Macvtap, frame: &mut [u8], start: usize) -> Option<usize> {
    within(SOON, |_| {
        let length = macvtap.receive(frame).ok()?;
        let is_it = frame[start] == 0x45 && frame[..length].ends_with(b"hello");
        is_it.then_some(length)
    })
}

struct Guest {
    netns: NetNs,
    _servers: Vec<Server>,
    _wire: Wire,
}

impl Guest {
    fn reaches(&self, to: &str, limit: Duration) -> bool {
        let answer = ask(&self.netns, Protocol::Tcp, at(to, 80), limit);
        let named = answer.map(|(name, _)| name);
        match named.as_deref() {
            Some("outside") => to == OUTSIDE,
            Some(name) => name == to,
            None => false,
        }
    }
}

fn link(name: &str) -> tapwire::route::Link {
    let name: IfName = name.parse().unwrap();
    Rtnl::open().unwrap().link(name).unwrap().unwrap()
}
