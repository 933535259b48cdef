//! Who a guest says it is; by frames that no honest guest sends.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use libtest_mimic::Trial;
use tapwire::Guest;
use tapwire::route::{RouteFilter, Rtnl};

use crate::packet::{
    self, ICMPV6, OPTIONS, UDP, Wire, behind_options, fragments, icmp, ipv4, ipv6,
    port_unreachable, tagged, udp, udp_packet,
};
use crate::stand_ins::frame;
use crate::support::trials;
use crate::world::{
    FAMILIES, NEVER, NODE, OUTSIDE, SOON, World, at, dropped, gateway_of, ip, soon_dropped, within,
};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        guest_with_a_foreign_address_is_dropped_and_counted,
        fragment_of_another_guest_joins_no_packet,
        guest_is_nobodys_router,
        vlan_tags_hide_no_sender,
        source_routes_lead_nowhere,
        what_is_said_on_the_link_is_told_apart,
        error_about_the_connection_of_another_reaches_nobody,
    ]
}

const PORT: u16 = 9999;

/// A socket of the outside on `PORT`.
fn listener(world: &World, family: usize) -> UdpSocket {
    let bind = || UdpSocket::bind(at(OUTSIDE[family], PORT)).unwrap();
    let socket = world.outside.run(bind).unwrap();
    socket.set_read_timeout(Some(NEVER)).unwrap();
    socket
}

pub(crate) fn heard(listener: &UdpSocket) -> Option<Vec<u8>> {
    let mut bytes = [0; 2048];
    let length = listener.recv(&mut bytes).ok()?;
    Some(bytes[..length].to_vec())
}

/// Has something arrive first: the outside may have to find its neighbour.
fn warm_up(wire: &Wire, family: usize, listener: &UdpSocket) {
    let from = SocketAddr::new(wire.address(family), 1);
    let hello = udp_packet(from, at(OUTSIDE[family], PORT), b"hello");
    let arrives = |_| {
        wire.send(&hello);
        heard(listener)
    };
    assert!(within(SOON, arrives).is_some(), "the honest frame arrives");
    while heard(listener).is_some() {}
}

fn guest_with_a_foreign_address_is_dropped_and_counted() {
    let world = World::new();
    let mut host = world.host();
    let guest = host.attach(&Guest::new("honest").unwrap()).unwrap();
    let other = host.attach(&Guest::new("victim").unwrap()).unwrap();
    let wire = Wire::open(&world, &guest);
    for family in FAMILIES {
        let listener = listener(&world, family);
        warm_up(&wire, family, &listener);
        let before = dropped(&mut host, "spoof");
        let send = |mac, from: IpAddr| {
            let from = SocketAddr::new(from, 1234);
            let packet = udp_packet(from, at(OUTSIDE[family], PORT), b"spoof");
            wire.send_frame(&packet::frame(mac, &packet));
            heard(&listener).is_some()
        };
        let own = wire.address(family);
        let victim = [IpAddr::from(other.ipv4()), other.ipv6().into()][family];
        let nobody = ip(["192.0.2.1", "2001:db8:9::1"][family]);
        let loopback = ip(["127.0.0.1", "::1"][family]);
        assert!(send(guest.mac(), own), "its own");
        assert!(!send(guest.mac(), victim), "another guest's address");
        assert!(!send(guest.mac(), nobody), "nobody's address");
        assert!(!send(guest.mac(), ip(NODE[family])), "the host's address");
        assert!(
            !send(guest.mac(), gateway_of(&guest, family)),
            "its gateway"
        );
        assert!(!send(guest.mac(), loopback), "loopback");
        assert!(!send(other.mac(), own), "another guest's MAC");
        // That from ::1 the kernel drops before anyone sees it.
        soon_dropped(&mut host, "spoof", before + [6, 5][family]);
    }
    for (mac, address) in [(guest.mac(), other.ipv4()), (other.mac(), guest.ipv4())] {
        wire.send_frame(&frame::arp_request(mac, address, guest.gateway_ipv4()));
    }
    soon_dropped(&mut host, "spoof over arp", 2);
    let before = dropped(&mut host, "spoof");
    let link_local = "fe80::7".parse().unwrap();
    for address in [Ipv6Addr::UNSPECIFIED, link_local, other.ipv6()] {
        for mac in [guest.mac(), other.mac()] {
            let asks = frame::neighbour_solicitation(mac, address, guest.gateway_ipv6());
            wire.send_frame(&asks);
        }
    }
    // With its own MAC, all but that from another's address are honest.
    soon_dropped(&mut host, "spoof", before + 4);
    assert_eq!(dropped(&mut host, "link-local"), 0);
}

/// The kernel puts fragments together by their addresses and number,
/// whichever interfaces they came in by.
fn fragment_of_another_guest_joins_no_packet() {
    let world = World::new();
    let mut host = world.host();
    let honest = host.attach(&Guest::new("honest").unwrap()).unwrap();
    let liar = host.attach(&Guest::new("liar").unwrap()).unwrap();
    let (honest, liar) = (Wire::open(&world, &honest), Wire::open(&world, &liar));
    for family in FAMILIES {
        let listener = listener(&world, family);
        warm_up(&honest, family, &listener);
        let from = SocketAddr::new(honest.address(family), 1234);
        let to = at(OUTSIDE[family], PORT);
        let datagram = udp(from, to, b"8 bytes.and 16 bytes too.");
        let [first, second] = fragments(from.ip(), to.ip(), UDP, &datagram);
        // The same sum, so that the receiver would not notice.
        let mut lie = datagram.clone();
        lie.swap(16, 18);
        let [_, injected] = fragments(from.ip(), to.ip(), UDP, &lie);
        let before = dropped(&mut host, "spoof");
        liar.send(&injected);
        soon_dropped(&mut host, "spoof", before + 1);
        honest.send(&first);
        assert_eq!(heard(&listener), None, "half of it is missing");
        honest.send(&second);
        assert_eq!(
            heard(&listener).as_deref(),
            Some(&datagram[8..]),
            "as it was sent"
        );
    }
}

fn guest_is_nobodys_router() {
    let world = World::new();
    let mut host = world.host();
    let guest = host.attach(&Guest::new("router").unwrap()).unwrap();
    let wire = Wire::open(&world, &guest);
    let link_local: Ipv6Addr = "fe80::7".parse().unwrap();
    let all_nodes: Ipv6Addr = "ff02::1".parse().unwrap();
    let advertisement = |from: Ipv6Addr| {
        // Hop limit 64, lifetime of the router 1800 seconds.
        let body = [64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0];
        icmp(from.into(), all_nodes.into(), [134, 0], &body)
    };
    let redirect = icmp(link_local.into(), all_nodes.into(), [137, 0], &[0; 36]);
    wire.send(&ipv6(
        link_local,
        all_nodes,
        ICMPV6,
        &advertisement(link_local),
    ));
    soon_dropped(&mut host, "guest as router", 1);
    wire.send(&ipv6(link_local, all_nodes, ICMPV6, &redirect));
    soon_dropped(&mut host, "guest as router", 2);
    let hidden = behind_options(ICMPV6, &advertisement(link_local));
    wire.send(&ipv6(link_local, all_nodes, OPTIONS, &hidden));
    soon_dropped(&mut host, "guest as router", 3);
    // From its own address it is no advertisement, and a packet to the host.
    wire.send(&ipv6(
        guest.ipv6(),
        all_nodes,
        ICMPV6,
        &advertisement(guest.ipv6()),
    ));
    soon_dropped(&mut host, "guest to host", 1);
    let routes = || Rtnl::open().unwrap().routes(&RouteFilter::new()).unwrap();
    let routes = world.node.run(routes).unwrap();
    let default = |net: &ipnet::IpNet| net.prefix_len() == 0;
    assert!(!routes.iter().any(|route| default(&route.destination())));
    // Without our table the kernel takes none either.
    let setting = format!("/proc/sys/net/ipv6/conf/{}/accept_ra", guest.tap());
    let accepts = || std::fs::read_to_string(setting).unwrap();
    assert_eq!(world.node.run(accepts).unwrap().trim(), "0");
}

fn vlan_tags_hide_no_sender() {
    let world = World::new();
    let mut host = world.host();
    let guest = host.attach(&Guest::new("hello-world").unwrap()).unwrap();
    let wire = Wire::open(&world, &guest);
    for family in FAMILIES {
        let listener = listener(&world, family);
        warm_up(&wire, family, &listener);
        let send = |vlans: &[u16], from: IpAddr| {
            let from = SocketAddr::new(from, 1234);
            let packet = udp_packet(from, at(OUTSIDE[family], PORT), b"tagged");
            wire.send_frame(&tagged(guest.mac(), vlans, &packet));
            heard(&listener).is_some()
        };
        let own = wire.address(family);
        let nobody = ip(["192.0.2.1", "2001:db8:9::1"][family]);
        // VLAN 0 is none: the tag tells a priority only.
        assert!(send(&[0], own));
        assert!(!send(&[7], own), "a network that is not there");
        assert!(!send(&[0, 7], own), "a network that is not there");
        let before = dropped(&mut host, "spoof");
        for vlans in [&[0][..], &[0, 0]] {
            assert!(!send(vlans, nobody), "{vlans:?}");
        }
        soon_dropped(&mut host, "spoof", before + 2);
    }
}

/// Also where the administrator lets senders choose the way.
fn source_routes_lead_nowhere() {
    let world = World::new();
    let allow = || {
        for name in ["all", "default", "eth0"] {
            let path = format!("/proc/sys/net/ipv4/conf/{name}/accept_source_route");
            std::fs::write(path, "1").unwrap();
        }
    };
    world.node.run(allow).unwrap();
    world.outside.run(allow).unwrap();
    let mut host = world.host();
    let guest = host.attach(&Guest::new("hello-world").unwrap()).unwrap();
    let wire = Wire::open(&world, &guest);
    let listener = listener(&world, 0);
    warm_up(&wire, 0, &listener);
    let (from, to) = (
        SocketAddr::new(guest.ipv4().into(), 1),
        at(OUTSIDE[0], PORT),
    );
    let (IpAddr::V4(outside), IpAddr::V4(node)) = (to.ip(), ip(NODE[0])) else {
        panic!("not IPv4");
    };
    let routed = |to_first: Ipv4Addr| {
        // Loose source route, at its first address, and one byte of padding.
        let mut options = vec![131, 7, 4];
        options.extend(outside.octets());
        options.push(0);
        // Without a sum, since it would be over both destinations.
        let mut datagram = udp(from, to, b"routed");
        datagram[6..8].fill(0);
        let packet = ipv4(guest.ipv4(), to_first, UDP, 0, &options, &datagram);
        wire.send(&packet);
        heard(&listener)
    };
    assert_eq!(routed(node), None);
    // The test would notice: the host does as the packet says if it may.
    let setting = |value: &str| {
        let path = format!(
            "/proc/sys/net/ipv4/conf/{}/accept_source_route",
            guest.tap()
        );
        world
            .node
            .run(|| std::fs::write(path, value).unwrap())
            .unwrap();
    };
    setting("1");
    assert!(within(SOON, |_| routed(node)).is_some());
    host.attach(&Guest::new("hello-world").unwrap()).unwrap();
    while heard(&listener).is_some() {}
    assert_eq!(routed(node), None, "attaching again sees to it");
}

fn what_is_said_on_the_link_is_told_apart() {
    let world = World::new();
    let mut host = world.host();
    let guest = host.attach(&Guest::new("hello-world").unwrap()).unwrap();
    let wire = Wire::open(&world, &guest);
    let routers: Ipv6Addr = "ff02::16".parse().unwrap();
    for from in ["fe80::7".parse().unwrap(), Ipv6Addr::UNSPECIFIED] {
        // A report of groups (RFC 3810) that names none.
        let report = icmp(from.into(), routers.into(), [143, 0], &[0; 4]);
        wire.send(&ipv6(from, routers, ICMPV6, &report));
    }
    soon_dropped(&mut host, "link-local", 2);
    // A probe (RFC 5227) is answered by nobody and claims nothing.
    wire.send_frame(&frame::arp_request(
        guest.mac(),
        Ipv4Addr::UNSPECIFIED,
        guest.gateway_ipv4(),
    ));
    wire.send_frame(&frame::arp_request(
        guest.mac(),
        "192.0.2.1".parse().unwrap(),
        guest.gateway_ipv4(),
    ));
    soon_dropped(&mut host, "spoof over arp", 1);
    assert_eq!(dropped(&mut host, "spoof"), 0);
}

/// A router may tell of an error with any connection, a guest only of one
/// with its own.
fn error_about_the_connection_of_another_reaches_nobody() {
    let world = World::new();
    let mut host = world.host();
    let [victim, liar] = ["victim", "liar"].map(|name| host.attach(&Guest::new(name).unwrap()));
    let (victim, liar) = (victim.unwrap(), liar.unwrap());
    let (victim, liar) = (Wire::open(&world, &victim), Wire::open(&world, &liar));
    for family in FAMILIES {
        let listener = listener(&world, family);
        warm_up(&victim, family, &listener);
        let beyond = at(OUTSIDE[family], PORT);
        let own = SocketAddr::new(victim.address(family), 1234);
        victim.send(&udp_packet(own, beyond, b"hello"));
        let mut bytes = [0; 16];
        let (_, seen) = listener.recv_from(&mut bytes).unwrap();
        let error = |from: &Wire, to: IpAddr, about: &[u8]| {
            from.send(&port_unreachable(from.address(family), to, about));
        };
        // As a router beyond the host would send it, which does not know that
        // the guest is behind it; and about a connection of the host's own.
        let before = dropped(&mut host, "of another's connection");
        error(&liar, seen.ip(), &udp_packet(seen, beyond, b"hello"));
        let of_host = world
            .node
            .run(|| UdpSocket::bind(at(NODE[family], 0)).unwrap());
        let of_host = of_host.unwrap();
        of_host.connect(beyond).unwrap();
        of_host.send(b"hello").unwrap();
        listener.recv(&mut bytes).unwrap();
        let about = udp_packet(of_host.local_addr().unwrap(), beyond, b"hello");
        error(&liar, ip(NODE[family]), &about);
        soon_dropped(&mut host, "of another's connection", before + 2);
        let received = |packet: &[u8]| {
            let place = if packet[0] >> 4 == 4 { 20 } else { 40 };
            (packet[place..][..2] == [[3, 3], [1, 4]][family]).then_some(())
        };
        assert_eq!(victim.receive(NEVER, received), None);
        assert_eq!(
            of_host.send(b"again").ok(),
            Some(5),
            "the host was not told"
        );
        // The guest itself may say that nothing listens there.
        listener.connect(seen).unwrap();
        listener.send(b"answer").unwrap();
        let answer = |packet: &[u8]| packet.ends_with(b"answer").then(|| packet.to_vec());
        let answer = victim.receive(SOON, answer).unwrap();
        error(&victim, beyond.ip(), &answer);
        let told = |_| (listener.send(b"answer").is_err()).then_some(());
        assert_eq!(within(SOON, told), Some(()), "its own errors pass");
        let to_guest = world
            .node
            .run(|| UdpSocket::bind(at(NODE[family], 0)).unwrap());
        let to_guest = to_guest.unwrap();
        to_guest.connect(own).unwrap();
        to_guest.send(b"answer").unwrap();
        let about = udp_packet(to_guest.local_addr().unwrap(), own, b"answer");
        error(&victim, ip(NODE[family]), &about);
        let told = |_| (to_guest.send(b"answer").is_err()).then_some(());
        assert_eq!(within(SOON, told), Some(()), "also to the host");
        // And those of others about its own connections.
        victim.send(&udp_packet(own, at(OUTSIDE[family], 9), b"hello"));
        assert_eq!(victim.receive(SOON, received), Some(()));
    }
}
