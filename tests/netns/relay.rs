//! The relay, between clients and guests with real stacks.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use rustix::net::sockopt;
use tapwire::sys::NetNs;
use tapwire::{Attachment, Error, Guest, Host, Protocol, ProxyProtocol, Relay, RelaySettings};

use crate::linux_guest::LinuxGuest;
use crate::support::trials;
use crate::world::{
    GUEST_PORT, NEVER, NODE, NODE_TOO, OUTSIDE, SOON, World, address_of, ask, ask_from, at,
    each_kind, gateway_of, ip, within,
};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        process_on_the_host_reaches_a_guest_by_its_loopback_addresses,
        outside_reaches_a_guest_of_the_other_family,
        other_host_addresses_and_the_other_family_stay_untouched,
        guest_reaches_no_other_guest_by_a_relay,
        five_hundred_connections_at_once,
        slow_reader_holds_up_the_writer,
        either_side_ends_first_and_goes_on_reading,
        connection_that_is_held_up_costs_no_time,
        reset_is_passed_on_both_ways,
        drop_ends_it_at_once,
        guest_learns_the_client_by_the_header,
        clients_above_the_limit_are_turned_away,
        guest_that_refuses_or_is_silent_is_told_as_a_reset,
        silent_udp_client_is_given_up,
        each_start_that_cannot_be_is_its_own_error,
        sockets_belong_to_the_namespace_of_the_starting_thread,
    ]
}

const PORT: u16 = 8080;

/// A relay in the node's namespace.
fn relay(world: &World, settings: RelaySettings) -> Relay {
    world.node.run(|| Relay::with(settings)).unwrap().unwrap()
}

fn settings(protocol: Protocol, listen: &str, guest: SocketAddr) -> RelaySettings {
    RelaySettings::new(protocol, at(listen, PORT), guest)
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

fn five_hundred_connections_at_once() {
    const CONNECTIONS: usize = 500;
    let (world, _host, attachment, guest) = linux_world();
    let echo = listener(&guest, &attachment);
    let address = echo.local_addr().unwrap();
    let relay = relay(&world, settings(Protocol::Tcp, "::1", address));
    let connect = || connect(&world.node, relay.local_addr());
    let clients: Vec<TcpStream> = (0..CONNECTIONS).map(|_| connect()).collect();
    let mut servers: Vec<TcpStream> = (0..CONNECTIONS).map(|_| accept(&echo)).collect();
    within(SOON, |_| {
        (relay.counters().connections() == 500).then_some(())
    })
    .expect("all are in");
    assert_eq!(relay.counters().open(), 500);
    assert_eq!(relay_threads(&world).len(), 1);
    // Each says its own, all at the same time.
    for (number, mut client) in clients.iter().enumerate() {
        client.write_all(&number.to_be_bytes()).unwrap();
    }
    for server in &mut servers {
        let mut number = [0; size_of::<usize>()];
        server.read_exact(&mut number).unwrap();
        server
            .write_all(&(!usize::from_be_bytes(number)).to_be_bytes())
            .unwrap();
    }
    for (number, mut client) in clients.iter().enumerate() {
        let mut answer = [0; size_of::<usize>()];
        client.read_exact(&mut answer).unwrap();
        assert_eq!(usize::from_be_bytes(answer), !number);
    }
    drop(clients);
    for mut server in servers {
        assert_eq!(server.read(&mut [0]).unwrap(), 0);
    }
    within(SOON, |_| (relay.counters().open() == 0).then_some(())).expect("all are over");
    let counters = relay.counters();
    assert_eq!(counters.connections(), 500);
    assert_eq!(counters.bytes_to_guest(), 500 * 8);
    assert_eq!(counters.bytes_to_client(), 500 * 8);
}

fn slow_reader_holds_up_the_writer() {
    const TOO_MUCH: usize = 64 << 20;
    let (world, _host, attachment, guest) = linux_world();
    let echo = listener(&guest, &attachment);
    let relay = relay(
        &world,
        settings(Protocol::Tcp, "::1", echo.local_addr().unwrap()),
    );
    let client = connect(&world.node, relay.local_addr());
    let server = accept(&echo);
    for (mut from, mut to) in [(&client, &server), (&server, &client)] {
        from.set_write_timeout(Some(Duration::from_millis(500)))
            .unwrap();
        let sent = write_until_full(&mut from, TOO_MUCH);
        assert!(sent < TOO_MUCH / 2, "{sent} bytes were taken for nobody");
        // What the relay has taken is on the other side but for 16 KiB.
        let counters = relay.counters();
        let taken = counters.bytes_to_guest().max(counters.bytes_to_client());
        assert!(usize::try_from(taken).unwrap() <= sent);
        // It arrives as it was sent when it is read.
        let mut received = 0;
        let mut bytes = vec![0; 1 << 20];
        to.set_read_timeout(Some(SOON)).unwrap();
        while received < sent {
            let length = to.read(&mut bytes).unwrap();
            for (place, &byte) in (received..).zip(&bytes[..length]) {
                assert_eq!(byte, pattern(place), "byte {place}");
            }
            received += length;
        }
        assert_eq!(received, sent);
    }
}

/// Writes until nothing is taken for as long as the stream waits.
fn write_until_full(stream: &mut &TcpStream, most: usize) -> usize {
    let mut sent = 0;
    while sent < most {
        let bytes: Vec<u8> = (sent..sent + 65_536).map(pattern).collect();
        match stream.write(&bytes) {
            Ok(length) => sent += length,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => panic!("{error}"),
        }
    }
    sent
}

/// What repeats itself at no power of two.
fn pattern(place: usize) -> u8 {
    u8::try_from(place % 251).unwrap()
}

fn either_side_ends_first_and_goes_on_reading() {
    let (world, _host, attachment, guest) = linux_world();
    let echo = listener(&guest, &attachment);
    let relay = relay(
        &world,
        settings(Protocol::Tcp, "::1", echo.local_addr().unwrap()),
    );
    for client_is_first in [true, false] {
        let client = connect(&world.node, relay.local_addr());
        let server = accept(&echo);
        let (mut first, mut second) = if client_is_first {
            (&client, &server)
        } else {
            (&server, &client)
        };
        first.write_all(b"last words").unwrap();
        first.shutdown(Shutdown::Write).unwrap();
        let mut heard = Vec::new();
        second.read_to_end(&mut heard).unwrap();
        assert_eq!(heard, b"last words");
        // The other way is open: more than once, and more than one buffer.
        for _ in 0..3 {
            let words = vec![7; 100_000];
            second.write_all(&words).unwrap();
            let mut heard = vec![0; words.len()];
            first.read_exact(&mut heard).unwrap();
            assert_eq!(heard, words);
        }
        assert_eq!(relay.counters().open(), 1);
        second.shutdown(Shutdown::Write).unwrap();
        assert_eq!(first.read(&mut [0]).unwrap(), 0);
        within(SOON, |_| (relay.counters().open() == 0).then_some(())).expect("it is over");
    }
}

/// Both sides have ended, but the guest does not take what it was sent: the
/// client's socket is hung up all the time (`EPOLLHUP`) and must not be read.
fn connection_that_is_held_up_costs_no_time() {
    let (world, _host, attachment, guest) = linux_world();
    let echo = listener(&guest, &attachment);
    let relay = relay(
        &world,
        settings(Protocol::Tcp, "::1", echo.local_addr().unwrap()),
    );
    let client = connect(&world.node, relay.local_addr());
    let mut server = accept(&echo);
    server.shutdown(Shutdown::Write).unwrap();
    assert_eq!((&client).read(&mut [0]).unwrap(), 0);
    // Only so much more than the relay takes that the end gets to it too.
    let mut sent = 0;
    let taken = |sent: usize| {
        let taken = relay.counters().bytes_to_guest();
        (usize::try_from(taken).unwrap() == sent).then_some(())
    };
    while within(Duration::from_millis(200), |_| taken(sent)).is_some() {
        assert!(sent < 64 << 20, "{sent} bytes were taken for nobody");
        (&client).write_all(&[0; 32_768]).unwrap();
        sent += 32_768;
    }
    client.shutdown(Shutdown::Write).unwrap();
    let thread = &relay_threads(&world)[0];
    let before = nanoseconds(thread);
    std::thread::sleep(NEVER);
    let busy = nanoseconds(thread) - before;
    assert!(busy < 40_000_000, "the relay's thread ran for {busy} ns");
    assert_eq!(relay.counters().open(), 1);
    let mut heard = Vec::new();
    server.read_to_end(&mut heard).unwrap();
    assert_eq!(heard.len(), sent);
    within(SOON, |_| (relay.counters().open() == 0).then_some(())).expect("it is over");
}

/// How long a thread has run.
fn nanoseconds(task: &Path) -> u64 {
    let text = std::fs::read_to_string(task.join("schedstat")).unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}

fn reset_is_passed_on_both_ways() {
    let (world, _host, attachment, guest) = linux_world();
    let echo = listener(&guest, &attachment);
    let relay = relay(
        &world,
        settings(Protocol::Tcp, "::1", echo.local_addr().unwrap()),
    );
    for client_resets in [true, false] {
        for half_closed in [false, true] {
            let client = connect(&world.node, relay.local_addr());
            let server = accept(&echo);
            let (one, mut other) = if client_resets {
                (client, server)
            } else {
                (server, client)
            };
            if half_closed {
                one.shutdown(Shutdown::Write).unwrap();
                assert_eq!(other.read(&mut [0]).unwrap(), 0);
            }
            sockopt::set_socket_linger(&one, Some(Duration::ZERO)).unwrap();
            drop(one);
            // An end without an error is none that was reset.
            let error = || other.take_error().unwrap().map(|error| error.kind());
            let kind = if half_closed {
                within(SOON, |_| error())
            } else {
                other.read(&mut [0]).err().map(|error| error.kind())
            };
            assert!(
                matches!(
                    kind,
                    Some(ErrorKind::ConnectionReset | ErrorKind::BrokenPipe)
                ),
                "{client_resets} {half_closed} {kind:?}"
            );
            within(SOON, |_| (relay.counters().open() == 0).then_some(())).expect("it is over");
        }
    }
}

fn drop_ends_it_at_once() {
    let (world, _host, attachment, guest) = linux_world();
    let echo = listener(&guest, &attachment);
    let address = echo.local_addr().unwrap();
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        // The port is free again each time.
        for _ in 0..3 {
            let relay = relay(&world, settings(protocol, "::1", address));
            let started = Instant::now();
            if protocol == Protocol::Tcp {
                let mut client = connect(&world.node, relay.local_addr());
                let mut server = accept(&echo);
                drop(relay);
                for end in [&mut client, &mut server] {
                    let error = end.read(&mut [0]).unwrap_err();
                    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
                }
            } else {
                drop(relay);
            }
            assert!(started.elapsed() < Duration::from_secs(1));
            assert!(relay_threads(&world).is_empty());
        }
    }
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

fn clients_above_the_limit_are_turned_away() {
    let (world, _host, attachment, guest) = linux_world();
    let echo = listener(&guest, &attachment);
    let address = echo.local_addr().unwrap();
    let one = relay(
        &world,
        settings(Protocol::Tcp, "::1", address).connections(2),
    );
    let mut clients: Vec<TcpStream> = (0..2)
        .map(|_| connect(&world.node, one.local_addr()))
        .collect();
    let _servers: Vec<TcpStream> = (0..2).map(|_| accept(&echo)).collect();
    let kind = fate(&world.node, one.local_addr());
    assert_eq!(kind, Some(ErrorKind::ConnectionReset));
    assert_eq!(one.counters().refused(), 1);
    // With one of them gone there is room again.
    let gone = clients.pop().unwrap();
    sockopt::set_socket_linger(&gone, Some(Duration::ZERO)).unwrap();
    drop(gone);
    within(SOON, |_| (one.counters().open() == 1).then_some(())).expect("one is over");
    let mut fourth = connect(&world.node, one.local_addr());
    accept(&echo).write_all(b"!").unwrap();
    fourth.read_exact(&mut [0]).unwrap();
    drop(one);
    // UDP: the guest hears of so many clients.
    let udp = guest
        .netns
        .run(|| UdpSocket::bind(address))
        .unwrap()
        .unwrap();
    udp.set_read_timeout(Some(SOON)).unwrap();
    let relay = relay(
        &world,
        settings(Protocol::Udp, "::1", address).connections(2),
    );
    let clients: Vec<UdpSocket> = world
        .node
        .run(|| {
            (0..3)
                .map(|_| UdpSocket::bind(at("::1", 0)).unwrap())
                .collect()
        })
        .unwrap();
    for client in &clients {
        client.send_to(b"?", relay.local_addr()).unwrap();
    }
    for _ in 0..2 {
        udp.recv(&mut [0]).unwrap();
    }
    within(SOON, |_| (relay.counters().refused() == 1).then_some(())).expect("one is refused");
    assert_eq!(relay.counters().connections(), 2);
}

fn guest_that_refuses_or_is_silent_is_told_as_a_reset() {
    let (world, _host, attachment, guest) = linux_world();
    let address = SocketAddr::new(attachment.ipv4().into(), GUEST_PORT);
    let relay = relay(&world, settings(Protocol::Tcp, "::1", address));
    let kind = fate(&world.node, relay.local_addr());
    assert_eq!(kind, Some(ErrorKind::ConnectionReset));
    assert_eq!(relay.counters().refused(), 1);
    // A guest that has stopped is given up after ten seconds.
    drop(guest);
    let mut client = connect(&world.node, relay.local_addr());
    let started = Instant::now();
    client
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let error = client.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert!(
        started.elapsed() < Duration::from_secs(16),
        "{:?}",
        started.elapsed()
    );
    assert_eq!(relay.counters().refused(), 2);
    assert_eq!(relay.counters().connections(), 0);
}

fn silent_udp_client_is_given_up() {
    let (world, _host, attachment, guest) = linux_world();
    let address = SocketAddr::new(attachment.ipv6().into(), GUEST_PORT);
    let udp = guest
        .netns
        .run(|| UdpSocket::bind(address))
        .unwrap()
        .unwrap();
    udp.set_read_timeout(Some(SOON)).unwrap();
    let idle = Duration::from_millis(300);
    let relay = relay(&world, settings(Protocol::Udp, NODE[0], address).idle(idle));
    let client = world
        .outside
        .run(|| UdpSocket::bind(at(OUTSIDE[0], 0)))
        .unwrap()
        .unwrap();
    let say = || {
        client.send_to(b"?", relay.local_addr()).unwrap();
        udp.recv_from(&mut [0]).unwrap().1
    };
    let first = say();
    let last = Instant::now();
    assert_eq!(say(), first);
    within(SOON, |_| (relay.counters().open() == 0).then_some(())).expect("it is given up");
    assert!(last.elapsed() >= idle, "{:?}", last.elapsed());
    assert_ne!(say(), first);
    assert_eq!(relay.counters().connections(), 2);
    // Nobody else gets an answer through: the port towards the guest takes
    // the guest's only.
    let port = say();
    let stranger = world
        .node
        .run(|| UdpSocket::bind((port.ip(), 0)))
        .unwrap()
        .unwrap();
    stranger.send_to(b"!", port).unwrap();
    client.set_read_timeout(Some(NEVER)).unwrap();
    assert_eq!(
        client.recv(&mut [0]).unwrap_err().kind(),
        ErrorKind::WouldBlock
    );
}

fn each_start_that_cannot_be_is_its_own_error() {
    let world = World::new();
    let guest = at("198.18.0.2", 80);
    let start = |protocol, listen: SocketAddr, guest| {
        world
            .node
            .run(|| Relay::start(protocol, listen, guest))
            .unwrap()
    };
    for (protocol, name) in [(Protocol::Tcp, "tcp"), (Protocol::Udp, "udp")] {
        let held = start(protocol, at("::1", PORT), guest).unwrap();
        let error = start(protocol, at("::1", PORT), guest).unwrap_err();
        assert!(matches!(error, Error::Conflict(_)), "{error:?}");
        let words = format!("relay at {name} [::1]:8080 clashes with a socket that is bound there");
        assert_eq!(error.to_string(), words);
        drop(held);
        let error = start(protocol, at("2001:db8::99", PORT), guest).unwrap_err();
        assert!(error.is_not_found());
        assert_eq!(
            error.to_string(),
            "no address of the host named 2001:db8::99"
        );
        // The host's own services are not what a relay leads to.
        let error = start(protocol, at("::1", PORT), at("127.0.0.1", 22)).unwrap_err();
        assert_eq!(
            error.to_string(),
            r#"guest address "127.0.0.1" is no address of a guest"#
        );
    }
    assert!(relay_threads(&world).is_empty());
}

fn sockets_belong_to_the_namespace_of_the_starting_thread() {
    let (world, _host, attachment, guest) = linux_world();
    let echo = listener(&guest, &attachment);
    let address = echo.local_addr().unwrap();
    // This thread's namespace has no way to the guest.
    NetNs::current().unwrap();
    let relay = relay(&world, settings(Protocol::Tcp, "::1", address));
    let _client = connect(&world.node, relay.local_addr());
    let server = accept(&echo);
    assert_eq!(server.peer_addr().unwrap().ip(), attachment.gateway_ipv4());
}

/// A world with one guest that has the kernel's stack.
fn linux_world() -> (World, Host, Attachment, LinuxGuest) {
    let world = World::new();
    let mut host = world.host();
    let attachment = host.attach(&Guest::new("one").unwrap()).unwrap();
    let guest = LinuxGuest::start(&world, &attachment);
    (world, host, attachment, guest)
}

/// Listens on a port of the guest's IPv4 address.
fn listener(guest: &LinuxGuest, attachment: &Attachment) -> TcpListener {
    let address = SocketAddr::new(attachment.ipv4().into(), GUEST_PORT);
    guest
        .netns
        .run(|| {
            let fd = rustix::net::socket(
                rustix::net::AddressFamily::INET,
                rustix::net::SocketType::STREAM,
                None,
            )
            .unwrap();
            rustix::net::bind(&fd, &address).unwrap();
            rustix::net::listen(&fd, 1024).unwrap();
            TcpListener::from(fd)
        })
        .unwrap()
}

/// How a connection that is turned away ends: when it is read from, or
/// before.
fn fate(netns: &NetNs, to: SocketAddr) -> Option<ErrorKind> {
    let connect = || TcpStream::connect_timeout(&to, SOON);
    let read = |mut stream: TcpStream| {
        stream.set_read_timeout(Some(SOON))?;
        stream.read(&mut [0])
    };
    let outcome = netns.run(connect).unwrap().and_then(read);
    outcome.err().map(|error| error.kind())
}

/// A connection that waits for what it reads no longer than [`SOON`].
fn connect(netns: &NetNs, to: SocketAddr) -> TcpStream {
    let stream = netns
        .run(|| TcpStream::connect_timeout(&to, SOON))
        .unwrap()
        .unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream
}

fn accept(listener: &TcpListener) -> TcpStream {
    sockopt::set_socket_timeout(listener, sockopt::Timeout::Recv, Some(SOON)).unwrap();
    let (stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream
}

/// The threads of relays in the node's namespace.
fn relay_threads(world: &World) -> Vec<PathBuf> {
    let node = world.node.id().unwrap().to_string();
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    // A thread of another test may end while it is looked at.
    let is_one = |task: &Path| {
        let name = std::fs::read_to_string(task.join("comm")).ok()?;
        let netns = std::fs::read_link(task.join("ns/net")).ok()?;
        Some(name.starts_with("relay ") && netns.to_str() == Some(&node))
    };
    tasks
        .map(|task| task.unwrap().path())
        .filter(|task| is_one(task) == Some(true))
        .collect()
}
