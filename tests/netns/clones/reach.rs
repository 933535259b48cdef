//! Who reaches a clone and whom it reaches, with the address that the other
//! side sees.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use libtest_mimic::Trial;
use tapwire::route::Rtnl;
use tapwire::{Attachment, Egress, Exposure, GuestName, Host, Protocol};

use super::{boot_three, clone, direct, host_seen_by, snapshot};
use crate::linux_guest::LinuxGuest;
use crate::packet::{Wire, udp_packet};
use crate::stand_ins::client::udp_ask;
use crate::stand_ins::guest::Guest as Vm;
use crate::world::{
    FAMILIES, GUEST_PORT, NEVER, NODE, NODE_TOO, OUTSIDE, PROTOCOLS, SOON, World, address_of, ask,
    ask_from, at, each_kind, exposure, gateway_of, ip, soon_dropped, within,
};

pub(crate) fn trials() -> Vec<Trial> {
    both![
        clones_of_one_snapshot_are_exposed_side_by_side,
        clones_reach_the_outside_behind_the_host,
        clone_reaches_itself_and_others_by_exposures,
        clones_reach_each_other_directly_only_as_peers,
        clones_with_one_socket_address_keep_their_flows_apart,
        balance_spreads_over_clones,
        clone_beside_a_routed_guest,
        clone_with_the_kernels_own_stack,
        clone_without_ipv6_has_none,
        ipv6_works_where_it_is_off_for_new_interfaces,
        clone_is_routed_to_before_it_runs,
    ]
}

/// Who has seen something come since.
struct Watched<'v>(Vec<(&'v Vm, usize)>);

impl<'v> Watched<'v> {
    fn new(vms: impl IntoIterator<Item = &'v Vm>) -> Self {
        Self(vms.into_iter().map(|vm| (vm, vm.seen().len())).collect())
    }

    fn reached(&self) -> Vec<&str> {
        let reached = self
            .0
            .iter()
            .filter(|(vm, before)| vm.seen().len() > *before);
        reached.map(|(vm, _)| vm.name()).collect()
    }
}

/// The exposure of a clone in a family, on a port of its own.
fn own_port(clone: &Attachment, protocol: Protocol, family: usize) -> (u16, Exposure) {
    let port = 8000
        + clone
            .ipv4()
            .octets()
            .iter()
            .map(|&byte| u16::from(byte))
            .sum::<u16>();
    (port, exposure(protocol, port, clone, family))
}

fn expose_each<const N: usize>(host: &mut Host, clones: [&Attachment; N]) {
    for clone in clones {
        for (protocol, family) in each_kind() {
            host.expose(&own_port(clone, protocol, family).1).unwrap();
        }
    }
}

fn clones_of_one_snapshot_are_exposed_side_by_side() {
    let world = World::new();
    let mut host = world.host();
    let clones = boot_three(&world, &mut host);
    expose_each(&mut host, clones.each_ref().map(|(clone, _)| clone));
    for (clone, vm) in &clones {
        assert_eq!(clone.connection().snapshot(), Some(&snapshot()));
        for (protocol, family) in each_kind() {
            let (port, _) = own_port(clone, protocol, family);
            let exposed = at(NODE[family], port);
            let own = direct(clone, family);
            for (from, to, source) in [
                (&world.outside, exposed, ip(OUTSIDE[family])),
                (&world.node, exposed, ip(NODE[family])),
                (&world.node, own, host_seen_by(clone, family)),
            ] {
                let watched = Watched::new(clones.iter().map(|(_, vm)| vm));
                let (_, seen) = ask(from, protocol, to, SOON)
                    .unwrap_or_else(|| panic!("{protocol} {to} of {}", clone.name()));
                assert_eq!(watched.reached(), [vm.name()], "{protocol} {to}");
                assert_eq!(seen, source, "{protocol} {to}");
            }
        }
    }
}

/// Of several addresses the kernel may take any.
fn is_node(seen: IpAddr, family: usize) -> bool {
    [NODE, NODE_TOO]
        .iter()
        .any(|names| ip(names[family]) == seen)
}

fn clones_reach_the_outside_behind_the_host() {
    let world = World::new();
    let mut host = world.host();
    let [one, ..] = boot_three(&world, &mut host);
    let mut snat = Egress::snat(ip(NODE_TOO[0])).unwrap();
    snat = snat.behind(ip(NODE_TOO[1])).unwrap();
    let other = world.boot_as(&mut host, &clone("other").egress(snat));
    let none = world.boot_as(&mut host, &clone("none").egress(Egress::none()));
    for family in FAMILIES {
        let _server = World::server(&world.outside, family, 9000);
        for protocol in PROTOCOLS {
            let to = at(OUTSIDE[family], 9000);
            let (_, seen) = ask_from(&one.1, protocol, to, SOON).unwrap();
            assert!(is_node(seen, family), "{protocol}: {seen}");
            let (_, seen) = ask_from(&other.1, protocol, to, SOON).unwrap();
            assert_eq!(seen, ip(NODE_TOO[family]), "{protocol}");
            assert_eq!(ask_from(&none.1, protocol, to, NEVER), None, "{protocol}");
        }
    }
}

fn clone_reaches_itself_and_others_by_exposures() {
    let world = World::new();
    let mut host = world.host();
    let [one, other, _] = boot_three(&world, &mut host);
    expose_each(&mut host, [&one.0, &other.0]);
    for (protocol, family) in each_kind() {
        let (own, _) = own_port(&one.0, protocol, family);
        let watched = Watched::new([&one.1, &other.1]);
        let (_, seen) = ask_from(&one.1, protocol, at(NODE[family], own), SOON).unwrap();
        assert_eq!(seen, host_seen_by(&one.0, family), "{protocol}: hairpin");
        assert_eq!(watched.reached(), ["a"]);
        let (others, _) = own_port(&other.0, protocol, family);
        let watched = Watched::new([&one.1, &other.1]);
        let (_, seen) = ask_from(&one.1, protocol, at(NODE[family], others), SOON).unwrap();
        assert_eq!(
            seen,
            address_of(&one.0, family),
            "{protocol}: its own address"
        );
        assert_eq!(watched.reached(), ["b"]);
    }
}

fn clones_reach_each_other_directly_only_as_peers() {
    let world = World::new();
    let mut host = world.host();
    let [one, other, third] = boot_three(&world, &mut host);
    let asks = |(_, vm): &(Attachment, Vm), (to, _): &(Attachment, Vm), patience: Duration| {
        each_kind()
            .map(|(protocol, family)| {
                let answer = ask_from(vm, protocol, direct(to, family), patience);
                answer.map(|(_, source)| source)
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(asks(&one, &other, NEVER), [None; 4]);
    host.attach(&clone("a").peer(&GuestName::new("b").unwrap()))
        .unwrap();
    for (from, to) in [(&one, &other), (&other, &one)] {
        let sources: Vec<_> = each_kind()
            .map(|(_, family)| Some(address_of(&from.0, family)))
            .collect();
        assert_eq!(asks(from, to, SOON), sources);
    }
    assert_eq!(asks(&third, &one, NEVER), [None; 4]);
    // The address in which both believe is nobody else's.
    let inner = SocketAddr::new(snapshot().ipv4_net().addr().into(), GUEST_PORT);
    let in_vain = world.node.run(|| udp_ask(None, inner, b"ping", NEVER));
    assert!(in_vain.unwrap().is_err(), "the host knows no such address");
}

/// Two clones send from one address and port to one address and port.
fn clones_with_one_socket_address_keep_their_flows_apart() {
    let world = World::new();
    let mut host = world.host();
    let clones = ["a", "b"].map(|name| host.attach(&clone(name)).unwrap());
    let wires = clones.each_ref().map(|clone| Wire::open(&world, clone));
    for family in FAMILIES {
        let _server = World::server(&world.outside, family, 9000);
        let to = at(OUTSIDE[family], 9000);
        for round in 0..3_u8 {
            for (name, wire) in ["a", "b"].into_iter().zip(&wires) {
                let from = SocketAddr::new(wire.address(family), 5000);
                let asks = format!("{name}{round}");
                let echo = |packet: &[u8]| {
                    let text = String::from_utf8_lossy(packet);
                    let end = text.rsplit(' ').next().unwrap_or_default();
                    (end == asks).then_some(())
                };
                wire.send(&udp_packet(from, to, asks.as_bytes()));
                let mut answer = wire.receive(SOON / 10, echo);
                for _ in 0..9 {
                    if answer.is_none() {
                        wire.send(&udp_packet(from, to, asks.as_bytes()));
                        answer = wire.receive(SOON / 10, echo);
                    }
                }
                assert_eq!(answer, Some(()), "{asks} over {family}");
            }
        }
    }
}

fn balance_spreads_over_clones() {
    let world = World::new();
    let mut host = world.host();
    let clones = boot_three(&world, &mut host);
    host.expose(&"tcp/80->a:80,b:80,c:80".parse().unwrap())
        .unwrap();
    for family in FAMILIES {
        let mut names: Vec<String> = (0..32)
            .map(|_| ask(&world.outside, Protocol::Tcp, at(NODE[family], 80), SOON))
            .map(|answer| answer.unwrap().0)
            .collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names, clones.each_ref().map(|(clone, _)| clone.name()));
    }
}

/// A routed guest whose address is the one in which a clone believes: it is
/// another's, and neither meets the other's packets.
fn clone_beside_a_routed_guest() {
    let world = World::new();
    let mut host = world.host();
    let (routed, routed_vm) = world.boot(&mut host, "routed");
    let copy = super::clone_of("copy", tapwire::Snapshot::of(&routed));
    let (copy, copy_vm) = world.boot_as(&mut host, &copy);
    assert_ne!(routed.ipv4(), copy.ipv4());
    assert_eq!(routed.mac(), tapwire::Snapshot::of(&copy).mac());
    for (protocol, family) in each_kind() {
        for (attachment, vm) in [(&routed, &routed_vm), (&copy, &copy_vm)] {
            let watched = Watched::new([&routed_vm, &copy_vm]);
            let answer = ask(&world.node, protocol, direct(attachment, family), SOON);
            assert!(answer.is_some(), "{protocol} {family}");
            assert_eq!(watched.reached(), [vm.name()], "{protocol} {family}");
        }
    }
}

fn clone_with_the_kernels_own_stack() {
    let world = World::new();
    let mut host = world.host();
    let clones = ["a", "b", "c"].map(|name| host.attach(&clone(name)).unwrap());
    let guests = clones
        .each_ref()
        .map(|clone| LinuxGuest::start(&world, clone));
    expose_each(&mut host, clones.each_ref());
    for family in FAMILIES {
        let _servers = guests
            .each_ref()
            .map(|guest| World::server(&guest.netns, family, GUEST_PORT));
        let _outside = World::server(&world.outside, family, 9000);
        for (place, clone) in clones.iter().enumerate() {
            for protocol in PROTOCOLS {
                let (port, _) = own_port(clone, protocol, family);
                let exposed = at(NODE[family], port);
                let (_, seen) = ask(&world.outside, protocol, exposed, SOON).unwrap();
                assert_eq!(seen, ip(OUTSIDE[family]));
                let neighbour = &guests[(place + 1) % 3].netns;
                let (_, seen) = ask(neighbour, protocol, exposed, SOON).unwrap();
                assert_eq!(seen, address_of(&clones[(place + 1) % 3], family));
                let own = &guests[place].netns;
                let (_, seen) = ask(own, protocol, exposed, SOON).unwrap();
                assert_eq!(seen, host_seen_by(clone, family));
                let (_, seen) = ask(own, protocol, at(OUTSIDE[family], 9000), SOON).unwrap();
                assert!(is_node(seen, family), "{protocol}: {seen}");
            }
        }
    }
}

fn clone_without_ipv6_has_none() {
    let world = World::new();
    let mut host = world.host();
    let snapshot = tapwire::Snapshot::new(
        "tap0".parse().unwrap(),
        "06:00:ac:10:00:02".parse().unwrap(),
        "172.16.0.2/32".parse().unwrap(),
        "169.254.1.1".parse().unwrap(),
    )
    .unwrap()
    .gateway_mac("02:00:00:00:00:01".parse().unwrap());
    let guest = super::clone_of("old", snapshot.clone());
    let clone = host.attach(&guest).unwrap();
    assert_eq!(host.guests().unwrap(), std::slice::from_ref(&clone));
    assert_eq!(world.host().guests().unwrap(), std::slice::from_ref(&clone));
    assert_eq!(clone.connection().snapshot(), Some(&snapshot));
    let inner = snapshot.ipv4_net().addr().into();
    let wire = Wire::open_as(&world, &clone, [inner, clone.ipv6().into()]);
    let pings = |gateway| wire.ping(gateway, NEVER).then_some(());
    assert_eq!(within(SOON, |_| pings(host_seen_by(&clone, 0))), Some(()));
    assert_eq!(pings(gateway_of(&clone, 1)), None);
    soon_dropped(&mut host, "spoof", 1);
}

fn ipv6_works_where_it_is_off_for_new_interfaces() {
    let world = World::new();
    let off = || std::fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1").unwrap();
    world.node.run(off).unwrap();
    let mut host = world.host();
    let [several, others] = ["b", "c"].map(clone);
    host.attach_all(&[several, others]).unwrap();
    let clones = boot_three(&world, &mut host);
    let routed = world.boot(&mut host, "routed");
    expose_each(&mut host, clones.each_ref().map(|(clone, _)| clone));
    expose_each(&mut host, [&routed.0]);
    for (guest, _) in clones.iter().chain([&routed]) {
        for (protocol, family) in each_kind() {
            let (port, _) = own_port(guest, protocol, family);
            let to = at(NODE[family], port);
            let answer = ask(&world.outside, protocol, to, SOON);
            assert!(answer.is_some(), "{} by {protocol} at {to}", guest.name());
        }
    }
}

/// What is for it goes nowhere else meanwhile, as by a default route.
fn clone_is_routed_to_before_it_runs() {
    let world = World::new();
    let mut host = world.host();
    let clone = host.attach(&clone("a")).unwrap();
    let ways = || {
        let mut rtnl = Rtnl::open().unwrap();
        let tap = rtnl.link(clone.tap()).unwrap().unwrap().index();
        let mut way = |address| rtnl.route_to(address).unwrap().unwrap().index();
        let ways = [way(clone.ipv4().into()), way(clone.ipv6().into())];
        (ways, Some(tap))
    };
    let (ways, tap) = world.node.run(ways).unwrap();
    assert_eq!(ways, [tap, tap]);
}
