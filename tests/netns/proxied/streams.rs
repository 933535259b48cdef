//! What becomes of connections: who sees whom, half closed, reset, held up,
//! many at once.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use libtest_mimic::Trial;
use rustix::net::sockopt;

use super::scene::{GUEST, Scene, Start, accept};
use crate::support::trials;
use crate::world::{FAMILIES, NODE, NODE_TOO, SOON, at, ip, within};

pub(super) fn trials() -> Vec<Trial> {
    trials![
        both_ways_with_the_addresses_that_the_other_side_saw,
        either_side_ends_first_and_goes_on_reading,
        reset_is_passed_on_both_ways,
        slow_reader_holds_up_the_writer,
        thousand_connections_at_once,
        idle_proxy_takes_no_time,
        end_of_the_proxy_resets_its_connections,
    ]
}

fn both_ways_with_the_addresses_that_the_other_side_saw() {
    let scene = Start::exposing(&["tcp/8080->one:80"]).go();
    for family in FAMILIES {
        let server = scene.outside(family, 7000);
        let mut guest = scene
            .connect_from_guest(server.local_addr().unwrap())
            .unwrap();
        let (mut peer, seen) = accept(&server);
        let own = [NODE[family], NODE_TOO[family]].map(ip);
        assert!(own.contains(&seen.ip()), "{seen} is not the host");
        say(&mut guest, &mut peer, "a question");
        say(&mut peer, &mut guest, "an answer");

        let server = scene.in_guest(family, 80);
        let mut client = scene.connect_from_outside(at(NODE[family], 8080)).unwrap();
        let (mut guest, seen) = accept(&server);
        assert_eq!(seen, client.local_addr().unwrap(), "the client's address");
        assert_eq!(guest.local_addr().unwrap(), at(GUEST[family], 80));
        say(&mut client, &mut guest, "a question");
        say(&mut guest, &mut client, "an answer");
    }
    scene.soon("all came", |counters| {
        counters.connections() == 4
            && counters.bytes_from_guest() == 2 * (10 + 9)
            && counters.bytes_to_guest() == 2 * (10 + 9)
    });
    scene.soon("all are over", |counters| counters.open() == 0);
}

fn either_side_ends_first_and_goes_on_reading() {
    let scene = Start::exposing(&["tcp/8080->one:80"]).go();
    for family in FAMILIES {
        let (mut guest, mut peer) = scene.pair(family);
        half_close(&mut guest, &mut peer);
        let (mut guest, mut peer) = scene.pair(family);
        half_close(&mut peer, &mut guest);
        let server = scene.in_guest(family, 80);
        let mut client = scene.connect_from_outside(at(NODE[family], 8080)).unwrap();
        let (mut guest, _) = accept(&server);
        half_close(&mut client, &mut guest);
    }
    scene.soon("all are over", |counters| counters.open() == 0);
}

/// `first` says all and ends; `second` answers long after that.
#[track_caller]
fn half_close(first: &mut TcpStream, second: &mut TcpStream) {
    first.write_all(&vec![1; 100_000]).unwrap();
    first.shutdown(Shutdown::Write).unwrap();
    let mut heard = Vec::new();
    second.read_to_end(&mut heard).unwrap();
    assert!(heard == vec![1; 100_000], "{} bytes came", heard.len());
    for _ in 0..10 {
        second.write_all(&vec![2; 100_000]).unwrap();
    }
    second.shutdown(Shutdown::Write).unwrap();
    heard.clear();
    first.read_to_end(&mut heard).unwrap();
    assert!(heard == vec![2; 1_000_000], "{} bytes came", heard.len());
}

fn reset_is_passed_on_both_ways() {
    let scene = Start::new().go();
    for family in FAMILIES {
        let (guest, peer) = scene.pair(family);
        reset(&scene, guest, peer);
        let (guest, peer) = scene.pair(family);
        reset(&scene, peer, guest);
        // Also where one way has ended already.
        let (guest, mut peer) = scene.pair(family);
        guest.shutdown(Shutdown::Write).unwrap();
        assert_eq!(peer.read(&mut [0]).unwrap(), 0);
        reset(&scene, peer, guest);
    }
}

#[track_caller]
fn reset(scene: &Scene, one: TcpStream, mut other: TcpStream) {
    sockopt::set_socket_linger(&one, Some(Duration::ZERO)).unwrap();
    drop(one);
    let error = other.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    scene.soon("it is over", |counters| counters.open() == 0);
}

fn slow_reader_holds_up_the_writer() {
    const TOO_MUCH: usize = 64 << 20;
    let scene = Start::new().go();
    for family in FAMILIES {
        let (guest, peer) = scene.pair(family);
        for (mut from, mut to) in [(&guest, &peer), (&peer, &guest)] {
            let before = scene.counters();
            from.set_write_timeout(Some(Duration::from_millis(500)))
                .unwrap();
            let mut written = 0;
            let error = loop {
                assert!(written < TOO_MUCH, "nothing holds the writer up");
                match from.write(&vec![7; 1 << 20]) {
                    Ok(length) => written += length,
                    Err(error) => break error,
                }
            };
            assert_eq!(error.kind(), ErrorKind::WouldBlock);
            let taken = |counters: tapwire::ProxiedCounters| {
                counters.bytes_from_guest() + counters.bytes_to_guest()
            };
            let mut read = vec![0; written];
            to.read_exact(&mut read).unwrap();
            assert!(read.iter().all(|byte| *byte == 7));
            let all = u64::try_from(written).unwrap();
            scene.soon("all was passed on", |counters| {
                taken(counters) - taken(before) == all
            });
        }
    }
}

fn thousand_connections_at_once() {
    const CONNECTIONS: usize = 1000;
    let scene = Start::new().go();
    let server = scene.outside(0, 7000);
    let address = server.local_addr().unwrap();
    let connect = || {
        let one = || TcpStream::connect_timeout(&address, SOON).unwrap();
        (0..CONNECTIONS).map(|_| one()).collect::<Vec<_>>()
    };
    let mut guests = scene.guest.run(connect).unwrap();
    let mut peers: Vec<TcpStream> = (0..CONNECTIONS).map(|_| accept(&server).0).collect();
    scene.soon("all are in", |counters| counters.connections() == 1000);
    assert_eq!(scene.counters().open(), 1000);
    // Each says its own, all at the same time.
    for (number, guest) in guests.iter_mut().enumerate() {
        guest.set_read_timeout(Some(SOON)).unwrap();
        guest.write_all(&number.to_be_bytes()).unwrap();
    }
    for peer in &mut peers {
        let mut number = [0; size_of::<usize>()];
        peer.read_exact(&mut number).unwrap();
        let answer = !usize::from_be_bytes(number);
        peer.write_all(&answer.to_be_bytes()).unwrap();
    }
    for (number, guest) in guests.iter_mut().enumerate() {
        let mut answer = [0; size_of::<usize>()];
        guest.read_exact(&mut answer).unwrap();
        assert_eq!(usize::from_be_bytes(answer), !number);
    }
    drop(guests);
    for mut peer in peers {
        assert_eq!(peer.read(&mut [0]).unwrap(), 0);
    }
    scene.soon("all are over", |counters| counters.open() == 0);
    let counters = scene.counters();
    assert_eq!(counters.bytes_from_guest(), 1000 * 8);
    assert_eq!(counters.bytes_to_guest(), 1000 * 8);
    assert_eq!(counters.refused(), 0);
}

fn idle_proxy_takes_no_time() {
    let scene = Start::new().go();
    let (mut guest, mut peer) = scene.pair(0);
    say(&mut guest, &mut peer, "x");
    // One that is held up, and one that is closed both ways but for a byte.
    let (held, _peer) = scene.pair(1);
    held.set_write_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    let much = vec![0; 65_536];
    while (&held).write(&much).is_ok() {}
    guest.shutdown(Shutdown::Write).unwrap();
    let time = || scene.cpu_time();
    let before = time();
    std::thread::sleep(Duration::from_secs(1));
    let used = time().checked_sub(before).unwrap();
    assert!(used < Duration::from_millis(100), "{used:?} of a second");
}

fn end_of_the_proxy_resets_its_connections() {
    let scene = Start::new().go();
    let (mut guest, mut peer) = scene.pair(0);
    say(&mut guest, &mut peer, "x");
    scene.handle.stop();
    for stream in [&mut guest, &mut peer] {
        let error = within(SOON, |_| stream.read(&mut [0]).err()).unwrap();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
}

#[track_caller]
fn say(from: &mut TcpStream, to: &mut TcpStream, words: &str) {
    from.write_all(words.as_bytes()).unwrap();
    let mut heard = vec![0; words.len()];
    to.read_exact(&mut heard).unwrap();
    assert_eq!(heard, words.as_bytes());
}
