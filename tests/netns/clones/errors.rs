//! ICMP errors hold a packet: its addresses are those that whoever is told
//! knows, and all sums are right.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};

use libtest_mimic::Trial;
use rustix::net::{AddressFamily, RecvFlags, SocketType, ipproto, recv, socket};
use tapwire::sys::NetNs;
use tapwire::{Attachment, Exposure, Protocol, Service};

use super::{clone, host_seen_by};
use crate::linux_guest::LinuxGuest;
use crate::packet::{self, ICMP, ICMPV6, Wire, icmp, is_sum_right, udp, udp_packet};
use crate::support::{feed, run, trials};
use crate::world::{FAMILIES, NODE, OUTSIDE, SOON, World, address_of, at, gateway_of, within};

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = both![
        errors_to_a_clone_hold_what_it_sent,
        errors_of_a_clone_hold_what_was_sent_to_it,
        errors_about_the_gateway_hold_what_was_sent_to_it,
        closed_ports_are_told_to_sockets_on_both_sides,
    ];
    trials.extend(trials![needs ["nft"]: untracked_error_names_the_hosts_own_address]);
    trials.extend(both![needs ["ip"]: path_mtu_is_found_from_both_sides]);
    trials
}

const PORT: u16 = 8080;
const CLOSED: u16 = 9;

/// UDP on `PORT` of all host addresses, to the same port of the clone.
fn exposed(clone: &Attachment, family: usize) -> Exposure {
    let to = SocketAddr::new(address_of(clone, family), PORT);
    Exposure::new(Protocol::Udp, PORT, to).unwrap()
}

/// The inside of an ICMP error that says `kind`, if all of its sums are right.
fn inside(packet: &[u8], kind: [u8; 2]) -> Option<&[u8]> {
    let is_ipv4 = packet[0] >> 4 == 4;
    let header = if is_ipv4 { 20 } else { 40 };
    let (header, message) = packet.split_at(header);
    if !message.starts_with(&kind) {
        return None;
    }
    let inside = &message[8..];
    if is_ipv4 {
        assert!(is_sum_right(&header[..20]), "sum of the header");
        assert!(is_sum_right(message), "sum of the message");
        assert!(is_sum_right(&inside[..20]), "sum of the header inside");
    } else {
        let address = |from: usize| {
            let bytes: [u8; 16] = header[from..][..16].try_into().unwrap();
            IpAddr::from(bytes)
        };
        let sum = packet::with_pseudo_header(address(8), address(24), ICMPV6, message);
        assert_eq!(sum, [0; 2], "sum of the message");
    }
    Some(inside)
}

const UNREACHABLE: [[u8; 2]; 2] = [[3, 3], [1, 4]];
const TOO_BIG: [[u8; 2]; 2] = [[3, 4], [2, 0]];

fn errors_to_a_clone_hold_what_it_sent() {
    let world = World::new();
    let mut host = world.host();
    let clones = ["one", "other"].map(|name| host.attach(&clone(name)).unwrap());
    lower_mtu(&world.node, "eth0");
    for clone in &clones {
        let wire = Wire::open(&world, clone);
        for family in FAMILIES {
            let from = SocketAddr::new(wire.address(family), 1234);
            let to = at(OUTSIDE[family], CLOSED);
            let closed = udp_packet(from, to, b"hello");
            let mut large = udp_packet(from, to, &[7; 1400]);
            if family == 0 {
                let IpAddr::V4(from) = from.ip() else {
                    panic!()
                };
                let IpAddr::V4(to4) = to.ip() else { panic!() };
                let datagram = udp(SocketAddr::new(from.into(), 1234), to, &[7; 1400]);
                large = packet::ipv4(from, to4, packet::UDP, DONT_FRAGMENT, &[], &datagram);
            }
            for (sent, kind) in [(closed, UNREACHABLE), (large, TOO_BIG)] {
                let told = within(SOON, |_| {
                    wire.send(&sent);
                    wire.receive(SOON / 10, |packet| {
                        Some(inside(packet, kind[family])?.to_vec())
                    })
                });
                let told = told.unwrap_or_else(|| panic!("{kind:?} over {family}"));
                let header = [20, 40][family];
                // But for the time to live and its sum, or the hop limit.
                let addresses = if family == 0 { 12..20 } else { 8..40 };
                assert_eq!(told[addresses.clone()], sent[addresses], "{kind:?}");
                assert_eq!(told[header..][..4], sent[header..][..4], "the ports");
            }
        }
    }
}

fn errors_of_a_clone_hold_what_was_sent_to_it() {
    let world = World::new();
    let mut host = world.host();
    let _other = host.attach(&clone("other")).unwrap();
    let clone = host.attach(&clone("clone")).unwrap();
    let wire = Wire::open(&world, &clone);
    for family in FAMILIES {
        host.expose(&exposed(&clone, family)).unwrap();
        let to = at(NODE[family], PORT);
        let bind = || {
            let (domain, protocol) = [
                (AddressFamily::INET, ipproto::ICMP),
                (AddressFamily::INET6, ipproto::ICMPV6),
            ][family];
            let raw = socket(domain, SocketType::RAW, Some(protocol)).unwrap();
            (raw, UdpSocket::bind(at(OUTSIDE[family], 0)).unwrap())
        };
        let (raw, client) = world.outside.run(bind).unwrap();
        client.connect(to).unwrap();
        let got = within(SOON, |_| {
            let _told = client.send(b"hello");
            wire.receive(SOON / 10, |packet| {
                packet.ends_with(b"hello").then(|| packet.to_vec())
            })
        });
        let got = got.expect("the clone is reached");
        let place = [16..20, 24..40][family].clone();
        let own = match wire.address(family) {
            IpAddr::V4(own) => own.octets().to_vec(),
            IpAddr::V6(own) => own.octets().to_vec(),
        };
        assert_eq!(got[place.clone()], own, "at the address that it knows");
        wire.send(&packet::port_unreachable(
            wire.address(family),
            client.local_addr().unwrap().ip(),
            &got,
        ));
        // As it left, at the host's address and port.
        let mut bytes = [0; 2048];
        let told = within(SOON, |_| {
            let (length, _) = recv(&raw, &mut bytes[..], RecvFlags::DONTWAIT).ok()?;
            let packet = &bytes[..length];
            if family == 0 {
                return Some(inside(packet, UNREACHABLE[0])?.to_vec());
            }
            packet
                .starts_with(&UNREACHABLE[1])
                .then(|| packet[8..].to_vec())
        });
        let told = told.expect("the client's host is told");
        let header = [20, 40][family];
        let node = match to.ip() {
            IpAddr::V4(node) => node.octets().to_vec(),
            IpAddr::V6(node) => node.octets().to_vec(),
        };
        assert_eq!(told[place], node, "the address that it knows");
        assert_eq!(told[header + 2..][..2], PORT.to_be_bytes());
        let refused = |_| {
            let error = client.send(b"again").err()?;
            (error.kind() == ErrorKind::ConnectionRefused).then_some(())
        };
        assert_eq!(within(SOON, refused), Some(()), "and the client");
    }
}

/// Whoever began: the clone, by asking at a closed port of its gateway, or the
/// host, which closed the port from which it asked before the answer came.
fn errors_about_the_gateway_hold_what_was_sent_to_it() {
    const CLONES: u16 = 1234;
    let world = World::new();
    let mut host = world.host();
    let _other = host.attach(&clone("other")).unwrap();
    let attached = host.attach(&clone("clone")).unwrap();
    let wire = Wire::open(&world, &attached);
    for family in FAMILIES {
        let service = Service::new(Protocol::Udp, CLOSED).unwrap();
        host.attach(&clone("clone").service(service)).unwrap();
        let own = SocketAddr::new(wire.address(family), CLONES);
        let gateway = host_seen_by(&attached, family);
        let asks = udp_packet(own, SocketAddr::new(gateway, CLOSED), b"asks");
        let to = SocketAddr::new(address_of(&attached, family), CLONES);
        let any = ["0.0.0.0", "::"][family];
        let client = world.node.run(|| UdpSocket::bind(at(any, 0)).unwrap());
        let client = client.unwrap();
        let port = client.local_addr().unwrap().port();
        let asked = within(SOON, |_| {
            client.send_to(b"asked", to).unwrap();
            let is_it = |packet: &[u8]| packet.ends_with(b"asked").then(|| packet.to_vec());
            wire.receive(SOON / 10, is_it)
        });
        let place = [12..16, 8..24][family].clone();
        let octets = match gateway {
            IpAddr::V4(gateway) => gateway.octets().to_vec(),
            IpAddr::V6(gateway) => gateway.octets().to_vec(),
        };
        assert_eq!(asked.unwrap()[place], octets, "from its gateway");
        drop(client);
        let answers = udp_packet(own, SocketAddr::new(gateway, port), b"answers");
        for sent in [asks, answers] {
            let told = within(SOON, |_| {
                wire.send(&sent);
                let is_it = |packet: &[u8]| Some(inside(packet, UNREACHABLE[family])?.to_vec());
                wire.receive(SOON / 10, is_it)
            });
            let addresses = if family == 0 { 12..20 } else { 8..40 };
            let told = told.expect("the clone is told");
            assert_eq!(told[addresses.clone()], sent[addresses], "family {family}");
        }
    }
}

/// The limit of what is rewritten: only a connection tells whether a packet was
/// meant for the gateway.
fn untracked_error_names_the_hosts_own_address() {
    let world = World::new();
    let mut host = world.host();
    let service = Service::new(Protocol::Udp, CLOSED).unwrap();
    let attached = host.attach(&clone("clone").service(service)).unwrap();
    let rules = format!(
        "table inet other {{ chain raw {{ type filter hook prerouting priority raw; \
         udp dport {CLOSED} notrack; }}\n}}"
    );
    world
        .node
        .run(|| feed("nft", &["-f", "-"], &rules))
        .unwrap();
    let wire = Wire::open(&world, &attached);
    for family in FAMILIES {
        let own = SocketAddr::new(wire.address(family), 1234);
        let gateway = SocketAddr::new(host_seen_by(&attached, family), CLOSED);
        let sent = udp_packet(own, gateway, b"asks");
        let told = within(SOON, |_| {
            wire.send(&sent);
            let is_it = |packet: &[u8]| Some(inside(packet, UNREACHABLE[family])?.to_vec());
            wire.receive(SOON / 10, is_it)
        });
        let octets = match gateway_of(&attached, family) {
            IpAddr::V4(gateway) => gateway.octets().to_vec(),
            IpAddr::V6(gateway) => gateway.octets().to_vec(),
        };
        let place = [16..20, 24..40][family].clone();
        assert_eq!(told.expect("the clone is told")[place], octets);
    }
}

fn closed_ports_are_told_to_sockets_on_both_sides() {
    let world = World::new();
    let mut host = world.host();
    let clones = ["one", "other"].map(|name| host.attach(&clone(name)).unwrap());
    let guests = clones
        .each_ref()
        .map(|clone| LinuxGuest::start(&world, clone));
    for family in FAMILIES {
        host.expose(&exposed(&clones[0], family)).unwrap();
        let any = ["0.0.0.0", "::"][family];
        let exposed = at(NODE[family], PORT);
        let own = SocketAddr::new(address_of(&clones[0], family), CLOSED);
        for (from, to) in [
            (&world.outside, exposed),
            (&world.node, exposed),
            (&world.node, own),
            (&guests[0].netns, exposed),
            (&guests[1].netns, exposed),
            (&guests[0].netns, at(OUTSIDE[family], CLOSED)),
            (&guests[1].netns, at(OUTSIDE[family], CLOSED)),
        ] {
            let client = from.run(|| UdpSocket::bind(at(any, 0)).unwrap()).unwrap();
            client.connect(to).unwrap();
            let refused = |_| {
                let error = client.send(b"hello").err()?;
                (error.kind() == ErrorKind::ConnectionRefused).then_some(())
            };
            assert_eq!(within(SOON, refused), Some(()), "{to} over {family}");
        }
    }
}

/// The link between node and outside is narrow for what a clone sends; the
/// clone says itself that it takes less for what is sent to it.
fn path_mtu_is_found_from_both_sides() {
    let world = World::new();
    let mut host = world.host();
    let _other = host.attach(&clone("other")).unwrap();
    let linux = host.attach(&clone("linux")).unwrap();
    let raw = host.attach(&clone("raw")).unwrap();
    let guest = LinuxGuest::start(&world, &linux);
    let wire = Wire::open(&world, &raw);
    lower_mtu(&world.node, "eth0");
    for family in FAMILIES {
        let any = ["0.0.0.0", "::"][family];
        let to = at(OUTSIDE[family], CLOSED);
        let client = guest.netns.run(|| UdpSocket::bind(at(any, 0)).unwrap());
        let client = client.unwrap();
        client.connect(to).unwrap();
        let found = within(SOON, |_| {
            let _told = client.send(&[7; 1400]);
            mtu_to(&guest.netns, OUTSIDE[family], "1300")
        });
        assert_eq!(found, Some(()), "of what a clone sends, over {family}");
        host.expose(&exposed(&raw, family)).unwrap();
        let client = world.outside.run(|| UdpSocket::bind(at(any, 0)).unwrap());
        let client = client.unwrap();
        client.connect(at(NODE[family], PORT)).unwrap();
        let found = within(SOON, |_| {
            let _told = client.send(&[7; 1000]);
            let got = wire.receive(SOON / 10, |packet| {
                packet.ends_with(&[7; 1000]).then(|| packet.to_vec())
            })?;
            let from = wire.address(family);
            let told = client.local_addr().unwrap().ip();
            let [unused, mtu] = [[0, 0], 900_u16.to_be_bytes()];
            let limits = if family == 0 {
                [unused, mtu]
            } else {
                [unused, 1285_u16.to_be_bytes()]
            };
            let body = [limits.as_flattened(), &got[..548]].concat();
            let message = icmp(from, told, TOO_BIG[family], &body);
            wire.send(&packet::ip(from, told, [ICMP, ICMPV6][family], &message));
            mtu_to(&world.outside, NODE[family], ["900", "1285"][family])
        });
        assert_eq!(found, Some(()), "of what is sent to a clone, over {family}");
    }
}

fn lower_mtu(netns: &NetNs, link: &str) {
    let set = || {
        let path = format!("/proc/sys/net/ipv6/conf/{link}/mtu");
        let mut rtnl = tapwire::route::Rtnl::open().unwrap();
        let index = rtnl.link(link.parse().unwrap()).unwrap().unwrap().index();
        let change = tapwire::route::LinkChange::new(index).mtu(1300);
        rtnl.apply(|changes| changes.set_link(&change)).unwrap();
        assert_eq!(std::fs::read_to_string(path).unwrap().trim(), "1300");
    };
    netns.run(set).unwrap();
}

/// Whether the kernel has learnt that `to` is reached by packets of so many
/// bytes.
fn mtu_to(netns: &NetNs, to: &str, mtu: &str) -> Option<()> {
    let route = netns.run(|| run("ip", &["route", "get", to])).unwrap();
    route.contains(&format!(" mtu {mtu}")).then_some(())
}

const DONT_FRAGMENT: u16 = 2 << 13;
