//! What happens to packets.

use std::net::{SocketAddr, UdpSocket};

use libtest_mimic::Trial;
use tapwire::route::{Address, LinkChange, NewLink, Route, Rtnl};
use tapwire::sys::NetNs;
use tapwire::{IfIndex, IfName, Protocol};

use crate::stand_ins::client;
use crate::support::{feed, trials};
use crate::world::{
    FAMILIES, NEVER, NODE, NODE_TOO, OUTSIDE, PROTOCOLS, SOON, World, ask, at, each_kind, exposure,
    ip,
};

pub(super) fn trials() -> Vec<Trial> {
    let mut trials = trials![
        traffic_of_others_is_not_masqueraded,
        guest_has_many_exposures_at_once,
        successor_of_an_address_meets_no_flow_of_its_predecessor,
    ];
    trials.extend(trials![needs ["nft"]: exposure_answers_beside_others_tables]);
    trials
}

const PORT: u16 = 8080;

/// There, rules were appended to chains that others append to as well, after
/// ones that end the matter.
fn exposure_answers_beside_others_tables() {
    let load = |world: &World, table: &str| {
        world.node.run(|| feed("nft", &["-f", "-"], table)).unwrap();
    };
    let world = World::new();
    load(&world, &others("early", "-101", "-1"));
    let mut host = world.host();
    load(&world, &others("late", "-99", "1"));
    let (guest, _vm) = world.boot(&mut host, "hello-world");
    for (protocol, family) in each_kind() {
        host.expose(&exposure(protocol, PORT, &guest, family))
            .unwrap();
        load(&world, "add rule inet late forward counter accept");
        let seen = ask(&world.outside, protocol, at(NODE[family], PORT), SOON);
        assert_eq!(
            seen.map(|(_, source)| source),
            Some(ip(OUTSIDE[family])),
            "{protocol}"
        );
    }
}

/// A table as Docker or kube-proxy would have it: it translates the same port
/// to somewhere else, masquerades everything, and forwards.
fn others(name: &str, dstnat: &str, filter: &str) -> String {
    format!(
        "table inet {name} {{
            chain prerouting {{
                type nat hook prerouting priority {dstnat}; policy accept;
                meta nfproto ipv4 meta l4proto {{ tcp, udp }} th dport {PORT} dnat ip to 192.0.2.9:9
                meta nfproto ipv6 meta l4proto {{ tcp, udp }} th dport {PORT} dnat ip6 to [2001:db8:9::9]:9
            }}
            chain postrouting {{
                type nat hook postrouting priority 100; policy accept;
                oifname eth0 masquerade
            }}
            chain forward {{
                type filter hook forward priority {filter}; policy accept;
                ct state established,related accept
                iifname docker0 accept
            }}
        }}"
    )
}

/// There, whatever left by the uplink got the uplink's address.
fn traffic_of_others_is_not_masqueraded() {
    let world = World::new();
    let container = container_behind(&world);
    let mut host = world.host();
    let (_, _vm) = world.boot(&mut host, "hello-world");
    for family in FAMILIES {
        let _server = World::server(&world.outside, family, PORT);
        let to = at(OUTSIDE[family], PORT);
        for protocol in PROTOCOLS {
            let (_, source) = ask(&container, protocol, to, SOON).unwrap();
            assert_eq!(source, ip(CONTAINER[family]), "{protocol} of a container");
        }
        // A socket of the host that is bound to its second address.
        let answer = world
            .node
            .run(|| client::udp_ask(Some(ip(NODE_TOO[family])), to, b"ping", SOON).unwrap());
        let source = String::from_utf8(answer.unwrap()).unwrap();
        let source: SocketAddr = source.split(' ').next().unwrap().parse().unwrap();
        assert_eq!(source.ip(), ip(NODE_TOO[family]), "of the host");
    }
}

const CONTAINER: [&str; 2] = ["10.88.0.2", "2001:db8:88::2"];
const BRIDGE: [&str; 2] = ["10.88.0.1", "2001:db8:88::1"];

/// A namespace that the node routes to the outside, as the administrator has
/// switched on; the outside knows the way back.
fn container_behind(world: &World) -> NetNs {
    let container = NetNs::new().unwrap();
    let index = IfIndex::new(300).unwrap();
    let up = |addresses: [&str; 2], gateways: Option<[&str; 2]>| {
        let mut rtnl = Rtnl::open().unwrap();
        rtnl.apply(|changes| {
            changes.set_link(&LinkChange::new(index).up());
            for (address, length) in addresses.into_iter().zip([24, 64]) {
                let net = ipnet::IpNet::new(ip(address), length).unwrap();
                changes.add_address(&Address::new(index, net).without_dad());
            }
            for (gateway, net) in gateways.into_iter().flatten().zip(["0.0.0.0/0", "::/0"]) {
                changes.add_route(&Route::new(net.parse().unwrap()).via(ip(gateway)));
            }
        })
        .unwrap();
    };
    let on_node = || {
        for file in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
            std::fs::write(format!("/proc/sys/net/{file}"), "1").unwrap();
        }
        let name: IfName = "cni0".parse().unwrap();
        let veth = NewLink::veth(name, "eth0".parse().unwrap())
            .index(index)
            .peer_index(index)
            .peer_netns(&container);
        let mut rtnl = Rtnl::open().unwrap();
        rtnl.apply(|changes| changes.add_link(&veth)).unwrap();
        up(BRIDGE, None);
    };
    world.node.run(on_node).unwrap();
    container.run(|| up(CONTAINER, Some(BRIDGE))).unwrap();
    let way_back = || {
        let mut rtnl = Rtnl::open().unwrap();
        rtnl.apply(|changes| {
            for (net, node) in ["10.88.0.0/24", "2001:db8:88::/64"].into_iter().zip(NODE) {
                changes.add_route(&Route::new(net.parse().unwrap()).via(ip(node)));
            }
        })
        .unwrap();
    };
    world.outside.run(way_back).unwrap();
    container
}

/// There, a function had one TCP port over IPv4.
fn guest_has_many_exposures_at_once() {
    let world = World::new();
    let mut host = world.host();
    let (guest, _vm) = world.boot(&mut host, "hello-world");
    let ports = [1, 80, 8080, 65535];
    for (protocol, family) in each_kind() {
        for port in ports {
            host.expose(&exposure(protocol, port, &guest, family))
                .unwrap();
        }
    }
    assert_eq!(host.exposures().unwrap().len(), 16);
    for (protocol, family) in each_kind() {
        for port in ports {
            let seen = ask(&world.outside, protocol, at(NODE[family], port), SOON);
            assert!(seen.is_some(), "{protocol} {family} {port}");
        }
    }
}

/// There, addresses went to the next guest with the flows of the last.
fn successor_of_an_address_meets_no_flow_of_its_predecessor() {
    let world = World::new();
    let mut host = world.host();
    for family in FAMILIES {
        let (first, vm) = world.boot(&mut host, "first");
        host.expose(&exposure(Protocol::Udp, PORT, &first, family))
            .unwrap();
        let socket = world
            .outside
            .run(|| UdpSocket::bind(at(OUTSIDE[family], 0)).unwrap())
            .unwrap();
        socket.set_read_timeout(Some(NEVER)).unwrap();
        let echoes = || {
            socket.send_to(b"ping", at(NODE[family], PORT)).unwrap();
            socket.recv(&mut [0; 64]).is_ok()
        };
        assert!((0..10).any(|_| echoes()), "the flow is there");
        drop(vm);
        host.detach("first").unwrap();
        let (second, vm) = world.boot(&mut host, "second");
        assert_eq!(second.ipv4(), first.ipv4());
        assert!(!echoes(), "the successor answers");
        assert_eq!(vm.seen(), []);
        drop(vm);
        host.detach("second").unwrap();
    }
}
