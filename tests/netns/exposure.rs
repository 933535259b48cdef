//! Who reaches what, by real packets, TCP and UDP, IPv4 and IPv6.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use libtest_mimic::Trial;
use tapwire::route::{Ipv4Setting, Route, Rtnl};
use tapwire::{Flows, IfIndex, IfName, Protocol};

use crate::stand_ins::client::Connection;
use crate::stand_ins::frame;
use crate::support::trials;
use crate::world::{
    FAMILIES, GUEST_PORT, NEVER, NODE, NODE_TOO, OUTSIDE, PROTOCOLS, SOON, World, address_of, ask,
    ask_from, at, each_kind, exposure, gateway_of, ip, within,
};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        outside_reaches_an_exposed_port_and_keeps_its_address,
        exposure_on_one_host_address_leaves_the_others_alone,
        exact_host_address_beats_all_addresses,
        local_process_reaches_the_host_addresses_but_loopback_stays_its_own,
        guest_reaches_itself_through_the_host,
        guest_reaches_another_only_through_its_exposure,
        guest_address_is_closed_to_the_outside,
        guest_reaches_the_outside_with_the_nodes_address,
        guest_reaches_no_port_of_the_host,
        guest_with_a_foreign_address_is_dropped_and_counted,
        loopback_of_the_node_is_closed_to_neighbours_despite_route_localnet,
        withdrawn_exposure_cuts_its_flows_or_drains_them,
        older_udp_flow_does_not_bypass_a_new_exposure,
        node_forwards_for_its_guests_only,
    ]
}

const PORT: u16 = 8080;

fn outside_reaches_an_exposed_port_and_keeps_its_address() {
    let world = World::new();
    let mut host = world.host();
    let (guest, _vm) = world.boot(&mut host, "hello-world");
    for (protocol, family) in each_kind() {
        host.expose(&exposure(protocol, PORT, &guest, family))
            .unwrap();
        let seen = ask(&world.outside, protocol, at(NODE[family], PORT), SOON);
        let (name, source) = seen.unwrap_or_else(|| panic!("{protocol} {family}: no answer"));
        assert_eq!(source, ip(OUTSIDE[family]), "{protocol}");
        assert!(protocol == Protocol::Udp || name == "hello-world");
    }
    for exposed in host.exposures().unwrap() {
        assert!(exposed.connections() >= 1, "{exposed}");
        assert_eq!(exposed.guest().unwrap().as_str(), "hello-world");
    }
}

fn exposure_on_one_host_address_leaves_the_others_alone() {
    let world = World::new();
    let mut host = world.host();
    let (guest, _vm) = world.boot(&mut host, "hello-world");
    for (protocol, family) in each_kind() {
        let one = exposure(protocol, PORT, &guest, family)
            .on(ip(NODE_TOO[family]))
            .unwrap();
        host.expose(&one).unwrap();
        assert!(
            ask(&world.outside, protocol, at(NODE_TOO[family], PORT), SOON).is_some(),
            "{one}"
        );
        assert_eq!(
            ask(&world.outside, protocol, at(NODE[family], PORT), NEVER),
            None,
            "{one}"
        );
    }
}

fn exact_host_address_beats_all_addresses() {
    let world = World::new();
    let mut host = world.host();
    let (everywhere, _vm1) = world.boot(&mut host, "everywhere");
    let (exact, _vm2) = world.boot(&mut host, "exact");
    for family in FAMILIES {
        host.expose(&exposure(Protocol::Tcp, PORT, &everywhere, family))
            .unwrap();
        host.expose(
            &exposure(Protocol::Tcp, PORT, &exact, family)
                .on(ip(NODE_TOO[family]))
                .unwrap(),
        )
        .unwrap();
        for (address, name) in [(NODE, "everywhere"), (NODE_TOO, "exact")] {
            let (answered, _) = ask(
                &world.outside,
                Protocol::Tcp,
                at(address[family], PORT),
                SOON,
            )
            .unwrap();
            assert_eq!(answered, name);
        }
    }
}

fn local_process_reaches_the_host_addresses_but_loopback_stays_its_own() {
    let world = World::new();
    let mut host = world.host();
    let (guest, _vm) = world.boot(&mut host, "hello-world");
    for family in FAMILIES {
        let _own_service = World::server(&world.node, family, PORT);
        for protocol in PROTOCOLS {
            host.expose(&exposure(protocol, PORT, &guest, family))
                .unwrap();
            let (name, source) = ask(&world.node, protocol, at(NODE[family], PORT), SOON).unwrap();
            assert_eq!(source, ip(NODE[family]), "{protocol}");
            assert!(protocol == Protocol::Udp || name == "hello-world");
            let loopback = ["127.0.0.1", "::1"][family];
            let (name, source) = ask(&world.node, protocol, at(loopback, PORT), SOON).unwrap();
            assert_eq!(source, ip(loopback), "{protocol}");
            assert!(
                protocol == Protocol::Udp || name == "server",
                "{name} took over {loopback}"
            );
        }
    }
}

fn guest_reaches_itself_through_the_host() {
    let world = World::new();
    let mut host = world.host();
    let (guest, vm) = world.boot(&mut host, "hello-world");
    for (protocol, family) in each_kind() {
        host.expose(&exposure(protocol, PORT, &guest, family))
            .unwrap();
        let (_, source) = ask_from(&vm, protocol, at(NODE[family], PORT), SOON).unwrap();
        assert_eq!(source, gateway_of(&guest, family), "{protocol}");
    }
}

fn guest_reaches_another_only_through_its_exposure() {
    let world = World::new();
    let mut host = world.host();
    let (asker, asker_vm) = world.boot(&mut host, "asker");
    let (asked, asked_vm) = world.boot(&mut host, "asked");
    for (protocol, family) in each_kind() {
        let direct = SocketAddr::new(address_of(&asked, family), GUEST_PORT);
        host.expose(&exposure(protocol, PORT, &asked, family))
            .unwrap();
        let (_, source) = ask_from(&asker_vm, protocol, at(NODE[family], PORT), SOON).unwrap();
        assert_eq!(source, address_of(&asker, family), "{protocol}");
        let seen = asked_vm.seen().len();
        assert_eq!(
            ask_from(&asker_vm, protocol, direct, NEVER),
            None,
            "{protocol}"
        );
        assert_eq!(asked_vm.seen().len(), seen, "{protocol}");
    }
}

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

fn guest_reaches_the_outside_with_the_nodes_address() {
    let world = World::new();
    let mut host = world.host();
    let (_, vm) = world.boot(&mut host, "hello-world");
    for family in FAMILIES {
        let _server = World::server(&world.outside, family, PORT);
        for protocol in PROTOCOLS {
            let (_, source) = ask_from(&vm, protocol, at(OUTSIDE[family], PORT), SOON).unwrap();
            let node = [NODE[family], NODE_TOO[family]].map(ip);
            assert!(node.contains(&source), "{protocol}: {source}");
        }
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

fn guest_with_a_foreign_address_is_dropped_and_counted() {
    let world = World::new();
    let mut host = world.host();
    let (guest, vm) = world.boot(&mut host, "honest");
    let (other, _other_vm) = world.boot(&mut host, "victim");
    let listener = world
        .outside
        .run(|| std::net::UdpSocket::bind(at(OUTSIDE[0], 9999)).unwrap())
        .unwrap();
    listener.set_read_timeout(Some(NEVER)).unwrap();
    let gateway = "02:74:77:ff:ff:fe".parse().unwrap();
    let send = |mac, from: IpAddr| {
        let from = SocketAddr::new(from, 1234);
        let frame = frame::udp(mac, gateway, from, at(OUTSIDE[0], 9999), b"spoof").unwrap();
        vm.send_frame(&frame).unwrap();
        listener.recv(&mut [0; 16]).is_ok()
    };
    let honest = || send(guest.mac(), guest.ipv4().into());
    assert!((0..20).any(|_| honest()), "the honest frame arrives");
    assert!(
        !send(guest.mac(), other.ipv4().into()),
        "another guest's address"
    );
    assert!(!send(guest.mac(), ip("192.0.2.1")), "nobody's address");
    assert!(
        !send(other.mac(), guest.ipv4().into()),
        "another guest's MAC"
    );
    assert!(!send(guest.mac(), ip("127.0.0.1")), "loopback");
    vm.send_frame(&frame::arp_request(
        guest.mac(),
        other.ipv4(),
        guest.gateway_ipv4(),
    ))
    .unwrap();
    let link_local = "fe80::7".parse().unwrap();
    for mac in [guest.mac(), other.mac()] {
        let asks = frame::neighbour_solicitation(mac, link_local, guest.gateway_ipv6());
        vm.send_frame(&asks).unwrap();
    }
    assert_eq!(
        within(SOON, |_| (drops(&world, "inet") == 5).then_some(())),
        Some(()),
        "ND"
    );
    assert_eq!(
        within(SOON, |_| (drops(&world, "arp") == 1).then_some(())),
        Some(()),
        "ARP"
    );
}

/// Packets that the rules commented "spoof" have dropped in a family.
fn drops(world: &World, family: &str) -> u64 {
    use tapwire::nft::{Expr, Family, Nft, Rule};
    let family = if family == "arp" {
        Family::ARP
    } else {
        Family::INET
    };
    world
        .node
        .run(|| {
            let mut nft = Nft::open().unwrap();
            let chains = nft.all_chains(family).unwrap();
            let rules = chains
                .iter()
                .flat_map(|chain| nft.rules(chain).unwrap())
                .collect::<Vec<_>>();
            let spoof = rules.iter().filter(|rule| {
                rule.current_comment()
                    .is_some_and(|text| text.as_str() == "spoof")
            });
            let counters =
                spoof
                    .flat_map(Rule::expressions)
                    .filter_map(|expression| match expression {
                        Expr::Counter(counter) => Some(*counter.packets()),
                        _ => None,
                    });
            counters.sum()
        })
        .unwrap()
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
        .run(|| std::net::UdpSocket::bind("127.0.0.1:7777").unwrap())
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
                let local = std::net::UdpSocket::bind(at(OUTSIDE[0], 0)).unwrap();
                let _refused = local.send_to(b"knock", "127.9.0.1:7777");
            })
            .unwrap();
    };
    // Without our table the neighbour gets in: the test would notice.
    let open = world
        .node
        .run(|| std::net::UdpSocket::bind("127.9.0.1:7777").unwrap())
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

fn withdrawn_exposure_cuts_its_flows_or_drains_them() {
    let world = World::new();
    let mut host = world.host();
    let (guest, _vm) = world.boot(&mut host, "hello-world");
    for (flows, goes_on) in [(Flows::Cut, false), (Flows::Drain, true)] {
        for family in FAMILIES {
            let to = at(NODE[family], PORT);
            let [tcp, udp] = PROTOCOLS.map(|protocol| exposure(protocol, PORT, &guest, family));
            host.expose(&tcp).unwrap();
            host.expose(&udp).unwrap();
            assert!(ask(&world.outside, Protocol::Tcp, to, SOON).is_some());
            let mut connection = world
                .outside
                .run(|| Connection::open(to, NEVER * 2).unwrap())
                .unwrap();
            connection.get("/").unwrap();
            let socket = world
                .outside
                .run(|| std::net::UdpSocket::bind(at(OUTSIDE[family], 0)).unwrap())
                .unwrap();
            socket.set_read_timeout(Some(NEVER)).unwrap();
            let echoes = || {
                socket.send_to(b"ping", to).unwrap();
                socket.recv(&mut [0; 64]).is_ok()
            };
            assert!((0..20).any(|_| echoes()));
            host.withdraw(&tcp, flows).unwrap();
            host.withdraw(&udp, flows).unwrap();
            assert_eq!(echoes(), goes_on, "UDP {flows:?}");
            assert_eq!(connection.get("/").is_ok(), goes_on, "TCP {flows:?}");
            assert_eq!(
                ask(&world.outside, Protocol::Tcp, to, NEVER),
                None,
                "no new connection"
            );
        }
    }
}

fn older_udp_flow_does_not_bypass_a_new_exposure() {
    let world = World::new();
    let mut host = world.host();
    let (guest, _vm) = world.boot(&mut host, "hello-world");
    for family in FAMILIES {
        let to = at(NODE[family], PORT);
        let socket = world
            .outside
            .run(|| std::net::UdpSocket::bind(at(OUTSIDE[family], 0)).unwrap())
            .unwrap();
        socket.set_read_timeout(Some(NEVER)).unwrap();
        // A silent service of the node has taken the flow.
        let silent = world
            .node
            .run(|| std::net::UdpSocket::bind(to).unwrap())
            .unwrap();
        socket.send_to(b"ping", to).unwrap();
        silent.set_read_timeout(Some(SOON)).unwrap();
        silent.recv(&mut [0; 16]).unwrap();
        host.expose(&exposure(Protocol::Udp, PORT, &guest, family))
            .unwrap();
        let answered = (0..20).any(|_| {
            socket.send_to(b"ping", to).unwrap();
            socket.recv(&mut [0; 64]).is_ok()
        });
        assert!(answered, "the flow still goes to the silent service");
    }
}

/// The node has two neighbours; it forwarded nothing between them before and
/// must not now, though it forwards for its guests.
fn node_forwards_for_its_guests_only() {
    use tapwire::route::{Address, LinkChange, NewLink};
    let world = World::new();
    let third = tapwire::sys::NetNs::new().unwrap();
    let link = IfIndex::new(200).unwrap();
    let eth1: IfName = "eth1".parse().unwrap();
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
        assert_eq!(forwarding(eth1), Some(0), "switched off again");
        let path = "/proc/sys/net/ipv6/conf/eth1/force_forwarding";
        assert!(std::fs::read_to_string(path).is_ok_and(|value| value.trim() == "0"));
    };
    world.node.run(off).unwrap();
}
