//! Who reaches a guest through a relay, and what the guest learns.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};

use libtest_mimic::Trial;
use tapwire::{Protocol, ProxyProtocol};

use super::{PORT, accept, connect, linux_world, listener, relay, settings};
use crate::support::trials;
use crate::world::{
    GUEST_PORT, NEVER, NODE, NODE_TOO, OUTSIDE, SOON, World, address_of, ask, ask_from, at,
    each_kind, gateway_of, ip,
};

pub(super) fn trials() -> Vec<Trial> {
    trials![
        process_on_the_host_reaches_a_guest_by_its_loopback_addresses,
        outside_reaches_a_guest_of_the_other_family,
        other_host_addresses_and_the_other_family_stay_untouched,
        guest_reaches_no_other_guest_by_a_relay,
        guest_learns_the_client_by_the_header,
        sockets_belong_to_the_namespace_of_the_starting_thread,
    ]
}

fn process_on_the_host_reaches_a_guest_by_its_loopback_addresses() {
    let world = World::new();
    let mut host = world.host();
    let (attachment, vm) = world.boot(&mut host, "one");
    for (protocol, family) in each_kind() {
        for listen in ["::1", "127.0.0.1"] {
            let guest = SocketAddr::new(address_of(&attachment, family), GUEST_PORT);
            let relay = relay(&world, settings(protocol, listen, guest));
            let (_, source) = ask(&world.node, protocol, at(listen, PORT), SOON)
                .unwrap_or_else(|| panic!("{relay} leads nowhere"));
            assert_eq!(source, gateway_of(&attachment, family), "{relay}");
            let counters = relay.counters();
            assert_eq!(counters.connections(), 1, "{relay}");
            assert!(counters.bytes_to_guest() > 0 && counters.bytes_to_client() > 0);
            assert_eq!((counters.refused(), counters.lost()), (0, 0));
        }
    }
    assert_eq!(vm.seen().len(), 8);
}

fn outside_reaches_a_guest_of_the_other_family() {
    let world = World::new();
    let mut host = world.host();
    let (attachment, _vm) = world.boot(&mut host, "one");
    for (protocol, family) in each_kind() {
        let guest = SocketAddr::new(address_of(&attachment, 1 - family), GUEST_PORT);
        let relay = relay(&world, settings(protocol, NODE[family], guest));
        let (_, source) = ask(&world.outside, protocol, at(NODE[family], PORT), SOON)
            .unwrap_or_else(|| panic!("{relay} leads nowhere"));
        assert_eq!(source, gateway_of(&attachment, 1 - family), "{relay}");
    }
}

fn other_host_addresses_and_the_other_family_stay_untouched() {
    let world = World::new();
    let mut host = world.host();
    let (attachment, _vm) = world.boot(&mut host, "one");
    let guest = SocketAddr::new(attachment.ipv4().into(), GUEST_PORT);
    let one = relay(&world, settings(Protocol::Tcp, NODE[1], guest));
    let refused = |to| {
        world
            .outside
            .run(|| TcpStream::connect_timeout(&to, SOON))
            .unwrap()
    };
    for other in [NODE_TOO[1], NODE[0]] {
        let error = refused(at(other, PORT)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{other}");
    }
    drop(one);
    // All IPv6 addresses are not those of IPv4.
    let _all = relay(&world, settings(Protocol::Tcp, "::", guest));
    for address in [NODE[1], NODE_TOO[1]] {
        let answer = ask(&world.outside, Protocol::Tcp, at(address, PORT), SOON);
        assert!(answer.is_some(), "{address}");
    }
    let error = refused(at(NODE[0], PORT)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    // The port is free for IPv4.
    let _ipv4 = relay(&world, settings(Protocol::Tcp, "0.0.0.0", guest));
    assert!(ask(&world.outside, Protocol::Tcp, at(NODE[0], PORT), SOON).is_some());
}

fn guest_reaches_no_other_guest_by_a_relay() {
    let world = World::new();
    let mut host = world.host();
    let (one, vm) = world.boot(&mut host, "one");
    let (_, other) = world.boot(&mut host, "other");
    let guest = SocketAddr::new(one.ipv4().into(), GUEST_PORT);
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        let relay = relay(&world, settings(protocol, NODE[1], guest));
        let to = at(NODE[1], PORT);
        assert!(ask(&world.outside, protocol, to, SOON).is_some(), "{relay}");
        assert_eq!(ask_from(&other, protocol, to, NEVER), None, "{relay}");
        assert_eq!(relay.counters().connections(), 1);
    }
    assert_eq!(vm.seen().len(), 2);
}

fn guest_learns_the_client_by_the_header() {
    let (world, _host, attachment, guest) = linux_world();
    let echo = listener(&guest, &attachment);
    let address = echo.local_addr().unwrap();
    let with_header = |protocol, listen, address| {
        relay(
            &world,
            settings(protocol, listen, address).proxy_protocol(ProxyProtocol::V2),
        )
    };
    // The client speaks IPv6, the guest IPv4; `::` tells the address that it
    // spoke to.
    let one = with_header(Protocol::Tcp, "::", address);
    let to = at(NODE_TOO[1], PORT);
    let mut client = connect(&world.outside, to);
    let mut server = accept(&echo);
    client.write_all(b"hello").unwrap();
    let mut seen = [0; 57];
    server.read_exact(&mut seen).unwrap();
    assert_eq!(client.local_addr().unwrap().ip(), ip(OUTSIDE[1]));
    let expected = header(0x21, client.local_addr().unwrap(), to);
    assert_eq!(seen, [&expected[..], b"hello"].concat()[..]);
    assert_eq!(one.counters().bytes_to_guest(), 5);
    // A client that says nothing is announced too.
    let silent = connect(&world.outside, to);
    accept(&echo).read_exact(&mut seen[..52]).unwrap();
    assert_eq!(
        seen[..52],
        header(0x21, silent.local_addr().unwrap(), to)[..]
    );
    drop(one);
    // Each datagram has it; the answer has none.
    let udp = guest
        .netns
        .run(|| UdpSocket::bind(address))
        .unwrap()
        .unwrap();
    udp.set_read_timeout(Some(SOON)).unwrap();
    let _relay = with_header(Protocol::Udp, NODE[0], address);
    let to = at(NODE[0], PORT);
    let client = world
        .outside
        .run(|| UdpSocket::bind(at(OUTSIDE[0], 0)))
        .unwrap()
        .unwrap();
    client.set_read_timeout(Some(SOON)).unwrap();
    let expected = header(0x12, client.local_addr().unwrap(), to);
    for words in [&b"one"[..], b"", b"two"] {
        client.send_to(words, to).unwrap();
        let mut seen = [0; 100];
        let (length, from) = udp.recv_from(&mut seen).unwrap();
        assert_eq!(seen[..length], [&expected[..], words].concat()[..]);
        udp.send_to(words, from).unwrap();
        assert_eq!(client.recv_from(&mut seen).unwrap(), (words.len(), to));
    }
}

/// After section 2.2 of "The PROXY protocol".
fn header(family: u8, client: SocketAddr, host: SocketAddr) -> Vec<u8> {
    let octets = |address: SocketAddr| match address.ip() {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    let ports = [client.port().to_be_bytes(), host.port().to_be_bytes()];
    let body = [octets(client), octets(host), ports.concat()].concat();
    let mut header = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    header.extend([0x21, family, 0, u8::try_from(body.len()).unwrap()]);
    header.extend(body);
    header
}

fn sockets_belong_to_the_namespace_of_the_starting_thread() {
    let (world, _host, attachment, guest) = linux_world();
    let echo = listener(&guest, &attachment);
    let address = echo.local_addr().unwrap();
    // This thread's namespace has no way to the guest.
    assert!(!world.node.is_current().unwrap());
    let relay = relay(&world, settings(Protocol::Tcp, "::1", address));
    let _client = connect(&world.node, relay.local_addr());
    let server = accept(&echo);
    assert_eq!(server.peer_addr().unwrap().ip(), attachment.gateway_ipv4());
}
