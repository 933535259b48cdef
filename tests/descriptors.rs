//! A relay, and a handle, in a process that has no descriptors left.
//!
//! A program of its own (`harness = false`), since the limit is the whole
//! process's.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

use std::fs::{self, File};
use std::io::{Error, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use libtest_mimic::{Arguments, Trial};
use rustix::net::{AddressFamily, SocketType, connect, socket};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tapwire::route::{Address, LinkChange, Rtnl};
use tapwire::sys::{NetNs, enter_user_namespace, has_net_admin};
use tapwire::{Guest, Host, IfIndex, Owner, Protocol, Relay};

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // The limit is everybody's.
    arguments.test_threads = Some(1);
    if !arguments.list && !has_net_admin().unwrap() {
        // While there is one thread.
        enter_user_namespace().expect("CAP_NET_ADMIN, or the right to make user namespaces");
    }
    let trial = |name, test: fn()| {
        let run = move || {
            NetNs::new().unwrap().run(test).unwrap();
            Ok(())
        };
        Trial::test(name, run)
    };
    let trials = vec![
        trial(
            "clients_are_turned_away_without_descriptors",
            clients_are_turned_away_without_descriptors,
        ),
        trial(
            "guests_are_attached_by_the_last_descriptors",
            guests_are_attached_by_the_last_descriptors,
        ),
    ];
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn guests_are_attached_by_the_last_descriptors() {
    let mut host = Host::open(Owner::new("riklet").unwrap()).unwrap();
    let guest = |number: u32| Guest::new(&format!("guest-{number}")).unwrap();
    host.attach(&guest(0)).unwrap();
    let limit = getrlimit(Resource::Nofile);
    // One for the TAP, and one for what it is told of IPv6.
    leave(2);
    for number in 1..20 {
        host.attach(&guest(number)).unwrap();
    }
    leave(0);
    let error = host.attach(&guest(20)).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(24), "EMFILE: {error:?}");
    assert_eq!(host.guests().unwrap().len(), 20);
    setrlimit(Resource::Nofile, limit).unwrap();
    for number in 20..50 {
        host.attach(&guest(number)).unwrap();
    }
    let links = Rtnl::open().unwrap().links().unwrap();
    assert_eq!(links.len(), 51, "a TAP each, and the loopback");
    host.remove().unwrap();
}

/// Limits the descriptors so that there are so many left.
fn leave(wanted: usize) {
    let limit = getrlimit(Resource::Nofile);
    for current in 3.. {
        let limit = Rlimit {
            current: Some(current),
            ..limit
        };
        setrlimit(Resource::Nofile, limit).unwrap();
        let opened: Vec<File> = (0..=wanted)
            .map_while(|_| File::open("/dev/null").ok())
            .collect();
        if opened.len() >= wanted {
            assert_eq!(opened.len(), wanted);
            return;
        }
    }
}

fn clients_are_turned_away_without_descriptors() {
    let guest = guest();
    let relay = Relay::start(
        Protocol::Tcp,
        "[::1]:0".parse().unwrap(),
        guest.local_addr().unwrap(),
    )
    .unwrap();
    let to = relay.local_addr();
    let mut clients: Vec<TcpStream> = (0..5)
        .map(|_| {
            socket(AddressFamily::INET6, SocketType::STREAM, None)
                .unwrap()
                .into()
        })
        .collect();
    let first = TcpStream::connect(to).unwrap();
    let taken = guest.accept().unwrap();
    let time = time_of_relay();
    let limit = getrlimit(Resource::Nofile);
    let free = u64::try_from(clients[0].try_clone().unwrap().as_raw_fd()).unwrap();
    let only = |current| {
        let limit = Rlimit {
            current: Some(current),
            ..limit
        };
        setrlimit(Resource::Nofile, limit).unwrap();
    };
    only(free);
    assert!(File::open("/dev/null").is_err(), "one is left");
    // None for the client; then one for it, and none towards the guest. The
    // clients stay open, so that no descriptor becomes free by them.
    for (client, left, refused) in [(0, 0, 1), (1, 0, 2), (2, 0, 3), (3, 1, 4)] {
        only(free + left);
        let client = &mut clients[client];
        client.set_read_timeout(Some(SOON)).unwrap();
        // It ends when it is read from, or before.
        let ended = connect(&*client, &to).map_err(Error::from);
        let error = ended.and_then(|()| client.read(&mut [0])).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        assert_eq!(relay.counters().refused(), refused);
    }
    let before = nanoseconds(&time);
    thread::sleep(Duration::from_millis(300));
    let busy = nanoseconds(&time) - before;
    assert!(busy < 30_000_000, "the relay's thread ran for {busy} ns");
    setrlimit(Resource::Nofile, limit).unwrap();
    connect(&clients[4], &to).unwrap();
    clients[4].write_all(b"!").unwrap();
    let (mut server, _) = guest.accept().unwrap();
    server.read_exact(&mut [0]).unwrap();
    assert_eq!(relay.counters().connections(), 2);
    assert_eq!(relay.counters().open(), 2);
    drop((first, taken));
}

/// A guest's socket, on an address that stands for a guest's.
fn guest() -> TcpListener {
    let guest: SocketAddr = "198.18.0.2:80".parse().unwrap();
    let loopback = IfIndex::new(1).unwrap();
    let mut rtnl = Rtnl::open().unwrap();
    rtnl.apply(|changes| {
        changes.set_link(&LinkChange::new(loopback).up());
        changes.add_address(&Address::new(loopback, guest.ip().into()));
    })
    .unwrap();
    TcpListener::bind(guest).unwrap()
}

/// How long the relay's thread has run (`/proc/<pid>/task/<tid>/schedstat`).
fn time_of_relay() -> File {
    let mut tasks = fs::read_dir("/proc/self/task").unwrap();
    let task = tasks.find_map(|task| {
        let path = task.unwrap().path();
        let name = fs::read_to_string(path.join("comm")).unwrap();
        name.starts_with("relay ").then_some(path)
    });
    File::open(task.expect("a thread").join("schedstat")).unwrap()
}

fn nanoseconds(file: &File) -> u64 {
    let mut text = [0; 64];
    let length = file.read_at(&mut text, 0).unwrap();
    let text = str::from_utf8(&text[..length]).unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}

const SOON: Duration = Duration::from_secs(5);
