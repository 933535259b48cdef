//! What a relay turns away or gives up, and what it is not started with.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use rustix::net::sockopt;
use tapwire::sys::NetNs;
use tapwire::{Error, Protocol, Relay};

use super::{PORT, accept, connect, linux_world, listener, relay, relay_threads, settings};
use crate::support::trials;
use crate::world::{GUEST_PORT, NEVER, NODE, OUTSIDE, SOON, World, at, within};

pub(super) fn trials() -> Vec<Trial> {
    trials![
        clients_above_the_limit_are_turned_away,
        guest_that_refuses_or_is_silent_is_told_as_a_reset,
        silent_udp_client_is_given_up,
        each_start_that_cannot_be_is_its_own_error,
    ]
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
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    let error = client.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert!(
        started.elapsed() < Duration::from_secs(30),
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
