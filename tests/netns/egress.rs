//! How guests reach the outside; by real packets.

use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use ipnet::IpNet;
use libtest_mimic::Trial;
use tapwire::route::{Address, Rtnl};
use tapwire::{Egress, Guest, IfIndex, IfName, Protocol};

use crate::packet::{Wire, tcp_packet, udp_packet};
use crate::stand_ins::guest::Guest as Vm;
use crate::stand_ins::server::Server;
use crate::support::trials;
use crate::world::{
    FAMILIES, GUEST_PORT, NEVER, NODE, NODE_TOO, OUTSIDE, SOON, World, address_of, ask, ask_from,
    at, dropped, each_kind, exposure, ip, within,
};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        outside_sees_the_address_that_was_chosen,
        other_family_is_masqueraded,
        guest_reaches_only_the_prefixes_that_it_is_limited_to,
        exposure_is_reached_at_the_address_that_was_asked_for,
        guest_without_egress_answers_exposures_and_peers,
        policy_is_replaced_without_a_moment_of_openness,
        packets_of_no_connection_stay_inside,
    ]
}

const PORT: u16 = 8080;

/// Other addresses of the outside, each in a network of its own.
const FAR: [&str; 2] = ["198.51.100.7", "2001:db8:2::7"];

/// A world whose outside has more addresses, and is the way to them.
fn world() -> World {
    let world = World::new();
    let link = IfIndex::new(100).unwrap();
    let add = || {
        let mut rtnl = Rtnl::open().unwrap();
        rtnl.apply(|changes| {
            for address in FAR {
                let net = IpNet::from(ip(address));
                changes.add_address(&Address::new(link, net).without_dad());
            }
        })
        .unwrap();
    };
    world.outside.run(add).unwrap();
    let route = || {
        let mut rtnl = Rtnl::open().unwrap();
        rtnl.apply(|changes| {
            for family in FAMILIES {
                let net = IpNet::from(ip(FAR[family]));
                let route = tapwire::route::Route::new(net).via(ip(OUTSIDE[family]));
                changes.add_route(&route);
            }
        })
        .unwrap();
    };
    world.node.run(route).unwrap();
    world
}

/// A server on one address of the outside.
fn server(world: &World, address: &str) -> Server {
    let start = || {
        let tcp = TcpListener::bind(at(address, PORT)).unwrap();
        let udp = UdpSocket::bind(at(address, PORT)).unwrap();
        Server::start("server", tcp, udp).unwrap()
    };
    world.outside.run(start).unwrap()
}

fn guest() -> Guest {
    Guest::new("hello-world").unwrap()
}

fn only(nets: &[&str]) -> Egress {
    Egress::masquerade().only(nets.iter().map(|net| net.parse().unwrap()))
}

/// The address behind which a guest is masqueraded, and the other one that
/// the node has.
fn sources(vm: &Vm, family: usize) -> [IpAddr; 2] {
    let to = at(OUTSIDE[family], PORT);
    let (_, plain) = ask_from(vm, Protocol::Udp, to, SOON).unwrap();
    let [one, other] = [NODE, NODE_TOO].map(|addresses| ip(addresses[family]));
    assert!(plain == one || plain == other, "{plain}");
    [plain, if plain == one { other } else { one }]
}

fn outside_sees_the_address_that_was_chosen() {
    let world = World::new();
    let mut host = world.host();
    let (_, vm) = world.boot(&mut host, "hello-world");
    let (_, other_vm) = world.boot(&mut host, "other");
    let _servers = OUTSIDE.map(|address| server(&world, address));
    let [ipv4, ipv6] = FAMILIES.map(|family| sources(&vm, family));
    let chosen = Egress::snat(ipv4[1]).and_then(|egress| egress.behind(ipv6[1]));
    for (egress, place) in [
        (Egress::masquerade(), 0),
        (chosen.unwrap(), 1),
        (Egress::masquerade(), 0),
    ] {
        host.attach(&guest().egress(egress)).unwrap();
        for (protocol, family) in each_kind() {
            let source = [ipv4, ipv6][family];
            let to = at(OUTSIDE[family], PORT);
            let (_, seen) = ask_from(&vm, protocol, to, SOON).unwrap();
            assert_eq!(seen, source[place], "{protocol}");
            let (_, seen) = ask_from(&other_vm, protocol, to, SOON).unwrap();
            assert_eq!(seen, source[0], "{protocol}, another guest");
        }
    }
}

fn other_family_is_masqueraded() {
    let world = World::new();
    let mut host = world.host();
    let (_, vm) = world.boot(&mut host, "hello-world");
    let _servers = OUTSIDE.map(|address| server(&world, address));
    let sources = FAMILIES.map(|family| sources(&vm, family));
    for family in FAMILIES {
        let egress = Egress::snat(sources[family][1]).unwrap();
        host.attach(&guest().egress(egress)).unwrap();
        for (protocol, asked) in each_kind() {
            let (_, seen) = ask_from(&vm, protocol, at(OUTSIDE[asked], PORT), SOON).unwrap();
            let wanted = sources[asked][usize::from(asked == family)];
            assert_eq!(seen, wanted, "{protocol}");
        }
    }
}

fn guest_reaches_only_the_prefixes_that_it_is_limited_to() {
    let world = world();
    let mut host = world.host();
    let (_, vm) = world.boot(&mut host, "hello-world");
    let wired = host.attach(&Guest::new("wired").unwrap()).unwrap();
    let wire = Wire::open(&world, &wired);
    let near = ["203.0.113.0/24", "2001:db8::/64"];
    let far = ["198.51.100.0/25", "2001:db8:2::/48"];
    let (_, free_vm) = world.boot(&mut host, "free");
    for (nets, reached, closed) in [
        (near, OUTSIDE, FAR),
        (far, FAR, OUTSIDE),
        (
            ["0.0.0.0/1", "2001:db8:2::7/128"],
            [OUTSIDE[0], FAR[1]],
            [OUTSIDE[0], OUTSIDE[1]],
        ),
    ] {
        host.attach(&guest().egress(only(&nets))).unwrap();
        host.attach(&Guest::new("wired").unwrap().egress(only(&nets)))
            .unwrap();
        for (protocol, family) in each_kind() {
            let _servers = [OUTSIDE, FAR].map(|addresses| server(&world, addresses[family]));
            let inside = |address: &str| {
                let address = ip(address);
                let net = nets[family].parse::<IpNet>().unwrap();
                net.contains(&address)
            };
            for address in [reached[family], closed[family]] {
                let to = at(address, PORT);
                let patience = if inside(address) { SOON } else { NEVER };
                let answer = ask_from(&vm, protocol, to, patience);
                assert_eq!(
                    answer.is_some(),
                    inside(address),
                    "{protocol} {to} of {nets:?}"
                );
                assert_eq!(wire.ping(ip(address), patience), inside(address));
                assert!(ask_from(&free_vm, protocol, to, SOON).is_some(), "another");
            }
        }
    }
    // Of a family without a prefix, nothing.
    host.attach(&guest().egress(only(&["203.0.113.0/24"])))
        .unwrap();
    let before = dropped(&mut host, "egress");
    for (protocol, family) in each_kind() {
        let _server = World::server(&world.outside, family, PORT);
        let patience = [SOON, NEVER][family];
        let answer = ask_from(&vm, protocol, at(OUTSIDE[family], PORT), patience);
        assert_eq!(answer.is_some(), family == 0, "{protocol}");
    }
    assert!(dropped(&mut host, "egress") > before);
}

fn exposure_is_reached_at_the_address_that_was_asked_for() {
    let world = World::new();
    let mut host = world.host();
    let (_, vm) = world.boot(&mut host, "hello-world");
    let (other, _other_vm) = world.boot(&mut host, "other");
    for (protocol, family) in each_kind() {
        host.expose(&exposure(protocol, PORT, &other, family))
            .unwrap();
        for (egress, reached) in [
            (Egress::masquerade(), true),
            (Egress::none(), false),
            (only(&["203.0.113.1/32", "2001:db8::1/128"]), true),
            // That of the guest that answers is not what was asked for.
            (only(&["198.18.0.0/15", "fd2c:6b8f:4a10::/64"]), false),
        ] {
            host.attach(&guest().egress(egress.clone())).unwrap();
            let patience = if reached { SOON } else { NEVER };
            let answer = ask_from(&vm, protocol, at(NODE[family], PORT), patience);
            assert_eq!(answer.is_some(), reached, "{protocol} {family} {egress:?}");
        }
    }
}

fn guest_without_egress_answers_exposures_and_peers() {
    let world = World::new();
    let mut host = world.host();
    let closed = guest()
        .egress(Egress::none())
        .peer(&"peer".parse().unwrap());
    let (attached, vm) = world.boot_as(&mut host, &closed);
    let (peer, peer_vm) = world.boot(&mut host, "peer");
    for (protocol, family) in each_kind() {
        let _server = World::server(&world.outside, family, PORT);
        let beyond = at(OUTSIDE[family], PORT);
        assert_eq!(ask_from(&vm, protocol, beyond, NEVER), None, "{protocol}");
        host.expose(&exposure(protocol, PORT, &attached, family))
            .unwrap();
        let exposed = at(NODE[family], PORT);
        let answer = ask(&world.outside, protocol, exposed, SOON);
        assert_eq!(answer.unwrap().1, ip(OUTSIDE[family]));
        let direct = SocketAddr::new(address_of(&attached, family), GUEST_PORT);
        assert!(ask_from(&peer_vm, protocol, direct, SOON).is_some());
        let direct = SocketAddr::new(address_of(&peer, family), GUEST_PORT);
        assert!(ask_from(&vm, protocol, direct, SOON).is_some());
        assert_eq!(ask_from(&vm, protocol, beyond, NEVER), None, "{protocol}");
    }
}

/// While one prefix takes the place of another, the guest tries a third
/// address all the time.
fn policy_is_replaced_without_a_moment_of_openness() {
    let world = world();
    let mut host = world.host();
    let attached = host.attach(&guest().egress(Egress::none())).unwrap();
    let wire = Wire::open(&world, &attached);
    let bind = || FAMILIES.map(|family| UdpSocket::bind(at(OUTSIDE[family], PORT)).unwrap());
    let listeners = world.outside.run(bind).unwrap();
    for listener in &listeners {
        listener.set_read_timeout(Some(NEVER)).unwrap();
    }
    let heard = || listeners.iter().any(|one| one.recv(&mut [0; 16]).is_ok());
    let send = || {
        for family in FAMILIES {
            let own: IpAddr = wire.address(family);
            let packet = udp_packet(SocketAddr::new(own, 1), at(OUTSIDE[family], PORT), b"");
            wire.send(&packet);
        }
    };
    let replaced = AtomicBool::new(false);
    let sent = thread::scope(|scope| {
        let sender = scope.spawn(|| {
            let mut sent = 0_u64;
            while !replaced.load(Ordering::Relaxed) {
                send();
                sent += 1;
            }
            sent
        });
        for round in 0..100 {
            let egress = match round % 4 {
                0 => only(&["198.51.100.0/24", "2001:db8:2::/48"]),
                1 => only(&["192.0.2.0/24"]),
                2 => Egress::none(),
                _ => only(&["0.0.0.0/2", "3000::/4"]),
            };
            host.attach(&guest().egress(egress)).unwrap();
        }
        replaced.store(true, Ordering::Relaxed);
        sender.join().unwrap()
    });
    assert!(sent > 100, "{sent} tries");
    assert!(!heard(), "something came through");
    host.attach(&guest()).unwrap();
    let arrives = |_| {
        send();
        heard().then_some(())
    };
    assert_eq!(within(SOON, arrives), Some(()), "the test would have heard");
}

/// Nobody would translate them: the outside would see the guest's address.
fn packets_of_no_connection_stay_inside() {
    let world = World::new();
    let mut host = world.host();
    let guest = host.attach(&Guest::new("hello-world").unwrap()).unwrap();
    let wire = Wire::open(&world, &guest);
    let reason = "of no connection";
    let eth0: IfName = "eth0".parse().unwrap();
    let received = || {
        let mut rtnl = Rtnl::open().unwrap();
        let index = rtnl.link(eth0).unwrap().unwrap().index();
        let stats = rtnl.stats().unwrap();
        let of_link = stats.iter().find(|(one, _)| *one == index).unwrap();
        of_link.1.received_packets()
    };
    for family in FAMILIES {
        // The outside may have to find its neighbour first.
        assert!(wire.ping(ip(OUTSIDE[family]), SOON));
        let before = dropped(&mut host, reason);
        let (from, to) = (
            SocketAddr::new(wire.address(family), 9),
            at(OUTSIDE[family], 9),
        );
        let count = world.outside.run(received).unwrap();
        for _ in 0..50 {
            // SYN and FIN at once begin and end nothing.
            wire.send(&tcp_packet(from, to, 0x03));
        }
        let counted = |_| (dropped(&mut host, reason) == before + 50).then_some(());
        assert_eq!(within(SOON, counted), Some(()));
        let count = world.outside.run(received).unwrap() - count;
        assert!(count < 50, "{count} packets left the node");
    }
}
