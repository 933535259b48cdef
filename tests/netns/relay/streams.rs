//! What becomes of connections: held up, half closed, reset, dropped.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use rustix::net::sockopt;
use tapwire::Protocol;

use super::{accept, connect, linux_world, listener, relay, relay_threads, settings};
use crate::support::trials;
use crate::world::{NEVER, SOON, within};

pub(super) fn trials() -> Vec<Trial> {
    trials![
        five_hundred_connections_at_once,
        slow_reader_holds_up_the_writer,
        either_side_ends_first_and_goes_on_reading,
        connection_that_is_held_up_costs_no_time,
        reset_is_passed_on_both_ways,
        drop_ends_it_at_once,
    ]
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
    for (mut from, mut to, is_to_guest) in [(&client, &server, true), (&server, &client, false)] {
        from.set_write_timeout(Some(Duration::from_millis(500)))
            .unwrap();
        let sent = write_until_full(&mut from, TOO_MUCH);
        assert!(sent < TOO_MUCH / 2, "{sent} bytes were taken for nobody");
        // What the relay has taken is on the other side but for 16 KiB.
        let counters = relay.counters();
        let taken = if is_to_guest {
            counters.bytes_to_guest()
        } else {
            counters.bytes_to_client()
        };
        assert!(usize::try_from(taken).unwrap() <= sent, "{taken} of {sent}");
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
    while within(Duration::from_millis(500), |_| taken(sent)).is_some() {
        assert!(sent < 64 << 20, "{sent} bytes were taken for nobody");
        (&client).write_all(&vec![0; 32_768]).unwrap();
        sent += 32_768;
    }
    client.shutdown(Shutdown::Write).unwrap();
    let thread = &relay_threads(&world)[0];
    let before = nanoseconds(thread);
    std::thread::sleep(NEVER);
    let busy = nanoseconds(thread) - before;
    assert!(busy < 40_000_000, "the relay's thread ran for {busy} ns");
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
            // One that has ended is listed for a moment.
            let none = || relay_threads(&world).is_empty().then_some(());
            within(SOON, |_| none()).expect("no thread is left");
        }
    }
}
