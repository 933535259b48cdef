//! What stays closed: guests to others, the host to its neighbours; by real
//! packets.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use libtest_mimic::Trial;
use tapwire::nft::{
    Batch, Chain, ChainType, Family, Hook, Name, Nft, Port, Rule, Table, priority, tcp,
};
use tapwire::route::{
    Address, Ipv4Setting, Ipv6Setting, LinkChange, NewLink, Route, Rtnl, ipv6_setting,
};
use tapwire::sys::NetNs;
use tapwire::{Error, Guest, IfIndex, IfName, Protocol};

use crate::stand_ins::frame;
use crate::support::{run, trials};
use crate::world::{
    FAMILIES, GUEST_PORT, NEVER, NODE, OUTSIDE, PROTOCOLS, SOON, World, address_of, ask, ask_from,
    at, dropped, each_kind, exposure, gateway_of, ip, within,
};

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = trials![
        guest_address_is_closed_to_the_outside,
        guest_reaches_no_port_of_the_host,
        loopback_of_the_node_is_closed_to_neighbours_despite_route_localnet,
        loopback_of_the_node_is_closed_to_guests_despite_route_localnet,
        node_forwards_for_its_guests_only,
        traffic_that_others_translate_is_none_of_ours,
    ];
    trials.extend(trials![needs ["ip"]:
        link_without_an_address_forwards_for_guests_only,
    ]);
    trials
}

const PORT: u16 = 8080;

fn guest_address_is_closed_to_the_outside() {
    let world = World::new();
    let mut host = world.host();
    let (guest, vm) = world.boot(&mut host, "hello-world");
    // The outside knows the way, as on a network that routes it.
    world
        .outside
        .run(|| {
            let mut rtnl = Rtnl::open().unwrap();
            rtnl.apply(|changes| {
                for family in FAMILIES {
                    let net = address_of(&guest, family).into();
                    changes.add_route(&Route::new(net).via(ip(NODE[family])));
                }
            })
            .unwrap();
        })
        .unwrap();
    for (protocol, family) in each_kind() {
        let direct = SocketAddr::new(address_of(&guest, family), GUEST_PORT);
        assert!(
            ask(&world.node, protocol, direct, SOON).is_some(),
            "the host itself may"
        );
        let seen = vm.seen().len();
        assert_eq!(
            ask(&world.outside, protocol, direct, NEVER),
            None,
            "{protocol}"
        );
        assert_eq!(vm.seen().len(), seen, "{protocol}");
    }
}

fn guest_reaches_no_port_of_the_host() {
    let world = World::new();
    let mut host = world.host();
    let (guest, vm) = world.boot(&mut host, "hello-world");
    for family in FAMILIES {
        let _server = World::server(&world.node, family, PORT);
        for address in [ip(NODE[family]), gateway_of(&guest, family)] {
            for protocol in PROTOCOLS {
                let to = SocketAddr::new(address, PORT);
                assert!(
                    ask(&world.node, protocol, to, SOON).is_some(),
                    "the server answers"
                );
                assert_eq!(ask_from(&vm, protocol, to, NEVER), None, "{protocol} {to}");
            }
        }
    }
}

fn loopback_of_the_node_is_closed_to_neighbours_despite_route_localnet() {
    let world = World::new();
    let link = IfIndex::new(100).unwrap();
    world
        .node
        .run(|| {
            let mut rtnl = Rtnl::open().unwrap();
            rtnl.apply(|changes| changes.set_ipv4(link, &[(Ipv4Setting::RouteLocalnet, 1)]))
                .unwrap();
        })
        .unwrap();
    let server = world
        .node
        .run(|| UdpSocket::bind("127.0.0.1:7777").unwrap())
        .unwrap();
    server.set_read_timeout(Some(NEVER)).unwrap();
    let knock = || {
        world
            .outside
            .run(|| {
                let mut rtnl = Rtnl::open().unwrap();
                rtnl.apply(|changes| {
                    changes.set_ipv4(link, &[(Ipv4Setting::RouteLocalnet, 1)]);
                    changes.replace_route(
                        &Route::new("127.9.0.1/32".parse().unwrap()).via(ip(NODE[0])),
                    );
                })
                .unwrap();
                let local = UdpSocket::bind(at(OUTSIDE[0], 0)).unwrap();
                let _refused = local.send_to(b"knock", "127.9.0.1:7777");
            })
            .unwrap();
    };
    // Without our table the neighbour gets in: the test would notice.
    let open = world
        .node
        .run(|| UdpSocket::bind("127.9.0.1:7777").unwrap())
        .unwrap();
    open.set_read_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    let gets_in = || {
        (0..5).any(|_| {
            knock();
            open.recv(&mut [0; 16]).is_ok()
        })
    };
    assert!(gets_in(), "the node is open without the guard");
    let _host = world.host();
    while open.recv(&mut [0; 16]).is_ok() {
        // What was under way before the guard.
    }
    assert!(!gets_in());
}

fn loopback_of_the_node_is_closed_to_guests_despite_route_localnet() {
    let world = World::new();
    let mut host = world.host();
    let (guest, vm) = world.boot(&mut host, "hello-world");
    let server = world
        .node
        .run(|| {
            let mut rtnl = Rtnl::open().unwrap();
            let tap = rtnl.link(guest.tap()).unwrap().unwrap().index();
            rtnl.apply(|changes| changes.set_ipv4(tap, &[(Ipv4Setting::RouteLocalnet, 1)]))
                .unwrap();
            UdpSocket::bind("0.0.0.0:7777").unwrap()
        })
        .unwrap();
    server.set_read_timeout(Some(NEVER)).unwrap();
    let gateway = "02:74:77:ff:ff:fe".parse().unwrap();
    let from = SocketAddr::new(guest.ipv4().into(), 1234);
    for _ in 0..3 {
        let knock =
            frame::udp(guest.mac(), gateway, from, at("127.0.0.1", 7777), b"knock").unwrap();
        vm.send_frame(&knock).unwrap();
        assert!(server.recv(&mut [0; 16]).is_err());
    }
    let counted = within(SOON, |_| {
        (dropped(&mut host, "guest to host loopback") == 3).then_some(())
    });
    assert_eq!(
        counted,
        Some(()),
        "dropped by the rule that is there for it"
    );
}

fn eth1() -> IfName {
    "eth1".parse().unwrap()
}

/// Another network, to which the node is the router of the outside, did it
/// forward: `198.51.100.7` and `2001:db8:2::7` by the node's `eth1`.
fn third_network(world: &World) -> NetNs {
    let third = NetNs::new().unwrap();
    let link = IfIndex::new(200).unwrap();
    let eth1 = eth1();
    let nets = [
        ["198.51.100.1/24", "2001:db8:2::1/64"],
        ["198.51.100.7/24", "2001:db8:2::7/64"],
    ];
    let add = |rtnl: &mut Rtnl, own: [&str; 2]| {
        rtnl.apply(|changes| {
            changes.set_link(&LinkChange::new(link).up());
            for net in own {
                changes.add_address(&Address::new(link, net.parse().unwrap()).without_dad());
            }
        })
        .unwrap();
    };
    let route = |rtnl: &mut Rtnl, destinations: [&str; 2], gateways: [&str; 2]| {
        rtnl.apply(|changes| {
            for (net, gateway) in destinations.into_iter().zip(gateways) {
                changes.add_route(&Route::new(net.parse().unwrap()).via(ip(gateway)));
            }
        })
        .unwrap();
    };
    world
        .node
        .run(|| {
            let mut rtnl = Rtnl::open().unwrap();
            rtnl.apply(|changes| {
                changes.add_link(
                    &NewLink::veth(eth1, eth1)
                        .index(link)
                        .peer_index(link)
                        .peer_netns(&third),
                );
            })
            .unwrap();
            add(&mut rtnl, nets[0]);
        })
        .unwrap();
    third
        .run(|| {
            let mut rtnl = Rtnl::open().unwrap();
            add(&mut rtnl, nets[1]);
            route(
                &mut rtnl,
                ["203.0.113.0/24", "2001:db8::/64"],
                ["198.51.100.1", "2001:db8:2::1"],
            );
        })
        .unwrap();
    let back = || {
        let mut rtnl = Rtnl::open().unwrap();
        route(&mut rtnl, ["198.51.100.0/24", "2001:db8:2::/64"], NODE);
    };
    world.outside.run(back).unwrap();
    third
}

/// The node has two neighbours; it forwarded nothing between them before and
/// must not now, though it forwards for its guests.
fn node_forwards_for_its_guests_only() {
    let world = World::new();
    let third = third_network(&world);
    let mut host = world.host();
    let (guest, vm) = world.boot(&mut host, "hello-world");
    for family in FAMILIES {
        let neighbour = ["198.51.100.7", "2001:db8:2::7"][family];
        let _server = World::server(&third, family, PORT);
        for protocol in PROTOCOLS {
            assert!(
                ask_from(&vm, protocol, at(neighbour, PORT), SOON).is_some(),
                "the guest may"
            );
            host.expose(&exposure(protocol, PORT, &guest, family))
                .unwrap();
            assert!(
                ask(&third, protocol, at(NODE[family], PORT), SOON).is_some(),
                "the exposure answers"
            );
            assert_eq!(
                ask(&world.outside, protocol, at(neighbour, PORT), NEVER),
                None,
                "{protocol} {family}"
            );
        }
    }
    let setting = || std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap();
    assert_eq!(world.node.run(setting).unwrap().trim(), "0");
    host.remove().unwrap();
    let off = || {
        let forwarding = |name: IfName| {
            Rtnl::open()
                .unwrap()
                .link(name)
                .unwrap()
                .unwrap()
                .ipv4_setting(Ipv4Setting::Forwarding)
        };
        assert_eq!(forwarding(eth1()), Some(0), "switched off again");
        let switch = match ipv6_setting(eth1(), Ipv6Setting::ForceForwarding) {
            Err(Error::Unsupported { .. }) => {
                ipv6_setting("all".parse().unwrap(), Ipv6Setting::Forwarding)
            }
            switch => switch,
        };
        assert_eq!(switch.unwrap(), 0, "switched off again");
    };
    world.node.run(off).unwrap();
}

/// Where IPv6 forwarding is one switch, it opens this link too.
fn link_without_an_address_forwards_for_guests_only() {
    let world = World::new();
    let third = third_network(&world);
    let shell = |netns: &NetNs, command: &str| {
        let words: Vec<&str> = command.split(' ').collect();
        netns.run(|| run("ip", &words)).unwrap()
    };
    for command in [
        "-6 address del 2001:db8:2::1/64 dev eth1",
        "-6 address add fe80::99/64 dev eth1 nodad",
        "-6 route replace 2001:db8:2::/64 dev eth1",
    ] {
        shell(&world.node, command);
    }
    shell(
        &third,
        "-6 route replace 2001:db8::/64 via fe80::99 dev eth1",
    );
    let _server = World::server(&world.outside, 1, PORT);
    let asks = |patience| ask(&third, Protocol::Tcp, at(OUTSIDE[1], PORT), patience);
    let switch = |value: &str| {
        let write = || std::fs::write("/proc/sys/net/ipv6/conf/all/forwarding", value).unwrap();
        world.node.run(write).unwrap();
    };
    switch("1");
    assert!(asks(SOON).is_some(), "there is a way");
    switch("0");
    assert_eq!(asks(NEVER), None);
    let mut host = world.host();
    host.attach(&Guest::new("hello-world").unwrap()).unwrap();
    assert_eq!(asks(NEVER), None);
}

/// Another translates a port of the node to the third network, and switches
/// forwarding on for all, after the host has noted its uplinks: as when a
/// container engine starts later.
fn traffic_that_others_translate_is_none_of_ours() {
    let world = World::new();
    let third = third_network(&world);
    let _host = world.host();
    let _server = World::server(&third, 0, PORT);
    world
        .node
        .run(|| {
            std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
            let table = Table::new(Family::IP, Name::constant("other"));
            let name = Name::constant("pre");
            let chain = Chain::base(
                &table,
                name,
                ChainType::NAT,
                Hook::PREROUTING,
                priority::DSTNAT,
            );
            let to = ip("198.51.100.7");
            let rule = Rule::new(&chain)
                .matching(tcp::dport().equal(Port(9000)))
                .dnat(to, Some(Port(PORT)));
            let mut batch = Batch::new();
            batch.add(&table).add(&chain).add(&rule);
            Nft::open().unwrap().commit(&mut batch).unwrap();
        })
        .unwrap();
    let (name, source) = ask(&world.outside, Protocol::Tcp, at(NODE[0], 9000), SOON).unwrap();
    assert_eq!((name.as_str(), source), ("server", ip(OUTSIDE[0])));
}
