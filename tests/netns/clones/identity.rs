//! Who a clone says it is: its identity before it is rewritten.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket};

use libtest_mimic::Trial;
use tapwire::IfName;
use tapwire::route::Rtnl;

use super::{clone, snapshot};
use crate::packet::{self, UDP, Wire, fragments, udp, udp_packet};
use crate::spoof::heard;
use crate::stand_ins::frame;
use crate::world::{
    FAMILIES, NEVER, NODE, OUTSIDE, SOON, World, address_of, at, dropped, gateway_of, ip,
    soon_dropped, within,
};

pub(crate) fn trials() -> Vec<Trial> {
    both![
        clone_with_a_foreign_address_is_dropped_and_counted,
        clone_with_a_foreign_address_on_its_link_is_dropped_and_counted,
        fragments_of_two_clones_never_meet,
        gateway_is_found_whatever_is_filtered,
        gateway_by_a_link_local_address_is_found,
        no_address_is_made_for_nobody,
    ]
}

const PORT: u16 = 9999;

fn listener(world: &World, family: usize) -> UdpSocket {
    let bind = || UdpSocket::bind(at(OUTSIDE[family], PORT)).unwrap();
    let socket = world.outside.run(bind).unwrap();
    socket.set_read_timeout(Some(NEVER)).unwrap();
    socket
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

fn clone_with_a_foreign_address_is_dropped_and_counted() {
    let world = World::new();
    let mut host = world.host();
    let own = host.attach(&clone("own")).unwrap();
    let other = host.attach(&clone("other")).unwrap();
    let (routed, _) = world.boot(&mut host, "routed");
    let wire = Wire::open(&world, &own);
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
        let inner = wire.address(family);
        assert!(
            send(snapshot().mac(), inner),
            "the one in which it believes"
        );
        let strangers = [
            address_of(&own, family),
            address_of(&other, family),
            address_of(&routed, family),
            gateway_of(&own, family),
            ip(NODE[family]),
            ip(["172.16.0.1", "fd00:ac10::1"][family]),
            ip(["192.0.2.1", "2001:db8:9::1"][family]),
        ];
        for stranger in strangers {
            assert!(!send(snapshot().mac(), stranger), "{stranger}");
        }
        assert!(!send(routed.mac(), inner), "another's MAC");
        soon_dropped(&mut host, "spoof", before + 8);
    }
}

fn clone_with_a_foreign_address_on_its_link_is_dropped_and_counted() {
    let world = World::new();
    let mut host = world.host();
    let own = host.attach(&clone("own")).unwrap();
    let wire = Wire::open(&world, &own);
    let (routed, _) = world.boot(&mut host, "routed");
    let snapshot = snapshot();
    let inner = snapshot.ipv4_net().addr();
    for (mac, address, is_honest) in [
        (snapshot.mac(), inner, true),
        (snapshot.mac(), own.ipv4(), false),
        (snapshot.mac(), routed.ipv4(), false),
        (routed.mac(), inner, false),
    ] {
        let before = dropped(&mut host, "spoof over arp");
        wire.send_frame(&frame::arp_request(mac, address, snapshot.gateway_ipv4()));
        soon_dropped(&mut host, "spoof over arp", before + u64::from(!is_honest));
    }
    let (Some(inner), Some(gateway)) = (snapshot.ipv6_net(), snapshot.gateway_ipv6()) else {
        panic!("a snapshot with IPv6");
    };
    let link_local: Ipv6Addr = "fe80::7".parse().unwrap();
    for (mac, address, is_honest) in [
        (snapshot.mac(), inner.addr(), true),
        (snapshot.mac(), link_local, true),
        (snapshot.mac(), Ipv6Addr::UNSPECIFIED, true),
        (snapshot.mac(), own.ipv6(), false),
        (snapshot.mac(), routed.ipv6(), false),
        (routed.mac(), inner.addr(), false),
        (routed.mac(), link_local, false),
    ] {
        let before = dropped(&mut host, "spoof");
        wire.send_frame(&frame::neighbour_solicitation(mac, address, gateway));
        soon_dropped(&mut host, "spoof", before + u64::from(!is_honest));
    }
}

/// The kernel puts fragments together by their addresses and number; those of
/// two clones have the same, since their guests were one.
fn fragments_of_two_clones_never_meet() {
    let world = World::new();
    let mut host = world.host();
    let clones = ["one", "other"].map(|name| host.attach(&clone(name)).unwrap());
    let [one, other] = clones.each_ref().map(|clone| Wire::open(&world, clone));
    for family in FAMILIES {
        let listener = listener(&world, family);
        warm_up(&one, family, &listener);
        let from = SocketAddr::new(one.address(family), 1234);
        let to = at(OUTSIDE[family], PORT);
        let datagrams = [b"8 bytes.and 16 bytes too.", b"8 bytes.in another order."]
            .map(|data| udp(from, to, data));
        let [[first, second], [others_first, others_second]] = datagrams
            .each_ref()
            .map(|datagram| fragments(from.ip(), to.ip(), UDP, datagram));
        one.send(&first);
        other.send(&others_second);
        assert_eq!(heard(&listener), None, "half of each is missing");
        other.send(&others_first);
        assert_eq!(heard(&listener).as_deref(), Some(&datagrams[1][8..]));
        one.send(&second);
        assert_eq!(heard(&listener).as_deref(), Some(&datagrams[0][8..]));
    }
}

/// A resumed guest asks for its gateway sooner or later; also where the
/// administrator has sources checked strictly.
fn gateway_is_found_whatever_is_filtered() {
    let world = World::new();
    let strict = || {
        for name in ["all", "default"] {
            std::fs::write(format!("/proc/sys/net/ipv4/conf/{name}/rp_filter"), "1").unwrap();
            std::fs::write(format!("/proc/sys/net/ipv4/conf/{name}/arp_ignore"), "1").unwrap();
        }
    };
    world.node.run(strict).unwrap();
    let mut host = world.host();
    let clones = ["one", "other"].map(|name| host.attach(&clone(name)).unwrap());
    let snapshot = snapshot();
    let inner = snapshot.ipv4_net().addr();
    for clone in &clones {
        let wire = Wire::open(&world, clone);
        let request = frame::arp_request(snapshot.mac(), inner, snapshot.gateway_ipv4());
        // A reply: from the gateway's MAC and address, to the guest's.
        let mut wanted = vec![0, 2];
        wanted.extend(snapshot.current_gateway_mac().octets());
        wanted.extend(snapshot.gateway_ipv4().octets());
        wanted.extend(snapshot.mac().octets());
        wanted.extend(inner.octets());
        let reply = |packet: &[u8]| packet[6..].starts_with(&wanted).then_some(());
        let answered = within(SOON, |_| {
            wire.send_frame(&request);
            wire.receive(NEVER, reply)
        });
        assert_eq!(answered, Some(()), "{}", clone.name());
        for family in FAMILIES {
            let gateway = ip(["172.16.0.1", "fd00:ac10::1"][family]);
            let pinged = within(SOON, |patience| wire.ping(gateway, patience).then_some(()));
            assert!(pinged.is_some(), "{gateway}");
        }
    }
}

fn gateway_by_a_link_local_address_is_found() {
    let world = World::new();
    let mut host = world.host();
    let text = super::SNAPSHOT.replace("via fd00:ac10::1", "via fe80::1");
    let link_local = super::clone_of("link-local", text.parse().unwrap());
    let (clone, vm) = world.boot_as(&mut host, &link_local);
    let _server = World::server(&world.outside, 1, PORT);
    let answer = crate::world::ask_from(&vm, tapwire::Protocol::Tcp, at(OUTSIDE[1], PORT), SOON);
    assert!(answer.is_some());
    let direct = super::direct(&clone, 1);
    let answer = crate::world::ask(&world.node, tapwire::Protocol::Tcp, direct, SOON);
    assert_eq!(answer.unwrap().1, gateway_of(&clone, 1));
    drop(vm);
    host.remove().unwrap();
    let links = world.node.run(|| Rtnl::open().unwrap().links().unwrap());
    assert_eq!(links.unwrap().len(), 2, "lo and the uplink");
}

/// The host has a link-local address where a guest may use it, and none where a
/// clone knows the gateway of its snapshot only.
fn no_address_is_made_for_nobody() {
    let world = World::new();
    let mut host = world.host();
    let (clone, _vm) = world.boot_as(&mut host, &clone("clone"));
    let (routed, _other) = world.boot(&mut host, "routed");
    let has_link_local = |tap: IfName| {
        let addresses = world.node.run(|| {
            let mut rtnl = Rtnl::open().unwrap();
            let link = rtnl.link(tap).unwrap().unwrap();
            rtnl.addresses(Some(link.index())).unwrap()
        });
        let addresses = addresses.unwrap().into_iter();
        let mut addresses = addresses.map(|address| address.net().addr());
        addresses.any(|one| matches!(one, IpAddr::V6(one) if one.is_unicast_link_local()))
    };
    // That of the clone had its carrier first.
    let made = within(SOON, |_| has_link_local(routed.tap()).then_some(()));
    assert!(made.is_some());
    assert!(!has_link_local(clone.tap()));
}
