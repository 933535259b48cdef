//! What cannot be has its own error, and changes nothing.

use std::net::TcpListener;
use std::os::fd::OwnedFd;

use libtest_mimic::Trial;
use rustix::net::SocketType;
use tapwire::error::Error;
use tapwire::route::{LinkChange, Rtnl};
use tapwire::sys::TapOptions;
use tapwire::{Exposure, Guest, GuestName, IfIndex, Proxied, ProxiedSettings};

use super::spoofs::{Bench, pair};
use crate::support::trials;

pub(super) fn trials() -> Vec<Trial> {
    trials![
        exposures_that_cannot_be_are_refused,
        port_that_is_taken_is_a_conflict_and_nothing_listens,
        exposure_comes_and_goes,
        wires_that_keep_no_frames_apart_are_refused,
        settings_that_cannot_be_are_refused,
        deleted_device_ends_it,
        closed_socket_ends_it,
    ]
}

fn exposures_that_cannot_be_are_refused() {
    up();
    let mut bench = Bench::new();
    for (exposure, words) in [
        (
            "sctp/80->one:80",
            "protocol \"sctp\" cannot be proxied, only tcp and udp can",
        ),
        (
            "tcp/80->one:80,two:80",
            "exposure \"tcp/80->one:80,two:80\" leads to several guests, of which a proxy has one",
        ),
        ("tcp/80->two:80", "no guest behind this proxy named two"),
        (
            "tcp/80->198.18.0.3:80",
            "no guest behind this proxy named 198.18.0.3",
        ),
        (
            "tcp/80->198.18.0.2:80 from 2001:db8::/32",
            "allowed client \"2001:db8::/32\" is of a family that the exposure does not serve",
        ),
        (
            "tcp/203.0.113.1:80->one:80",
            "no address of the host named 203.0.113.1",
        ),
    ] {
        let error = bench.proxied.expose(&read(exposure)).unwrap_err();
        assert_eq!(error.to_string(), words);
    }
    assert!(bench.proxied.exposures().is_empty());
}

fn port_that_is_taken_is_a_conflict_and_nothing_listens() {
    up();
    let mut bench = Bench::new();
    let taken = TcpListener::bind("0.0.0.0:8002").unwrap();
    let range = read("tcp/8000-8005->one:8000-8005");
    let error = bench.proxied.expose(&range).unwrap_err();
    assert!(matches!(error, Error::Conflict(_)), "{error}");
    assert!(error.to_string().contains("tcp/8000-8005->one"), "{error}");
    for port in [8000, 8001, 8003] {
        TcpListener::bind(("0.0.0.0", port)).unwrap();
    }
    drop(taken);
    bench.proxied.expose(&range).unwrap();
    // Again is no error; another one at a port of it is.
    bench.proxied.expose(&range).unwrap();
    assert_eq!(bench.proxied.exposures(), [range]);
    let error = bench.proxied.expose(&read("tcp/8003->one:80")).unwrap_err();
    assert!(matches!(error, Error::Conflict(_)), "{error}");
    bench.proxied.expose(&read("udp/8003->one:80")).unwrap();
}

fn exposure_comes_and_goes() {
    up();
    let mut bench = Bench::new();
    let exposure = read("tcp/8080->one:80");
    let error = bench.proxied.unexpose(&exposure).unwrap_err();
    assert!(error.is_not_found(), "{error}");
    bench.proxied.expose(&exposure).unwrap();
    assert!(TcpListener::bind("0.0.0.0:8080").is_err());
    bench.proxied.unexpose(&exposure).unwrap();
    assert!(bench.proxied.exposures().is_empty());
    TcpListener::bind("0.0.0.0:8080").unwrap();
}

fn wires_that_keep_no_frames_apart_are_refused() {
    let open = |fd| Proxied::over(fd, settings()).map(drop);
    open(pair(SocketType::DGRAM).0).unwrap();
    let error = open(pair(SocketType::STREAM).0).unwrap_err();
    assert_eq!(
        error.to_string(),
        "wire of a guest \"socket\" does not keep frames apart (SOCK_DGRAM and SOCK_SEQPACKET do)"
    );
    let file = OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
    let error = open(file).unwrap_err();
    assert_eq!(error.to_string(), "getsockopt SO_TYPE wire of a guest");
}

fn settings_that_cannot_be_are_refused() {
    let peer = GuestName::new("two").unwrap();
    let guest = Guest::new("one").unwrap().peer(&peer);
    let (socket, _other) = pair(SocketType::SEQPACKET);
    let error = Proxied::over(socket, ProxiedSettings::new(&guest)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "peer \"two\" cannot be reached, since a proxied guest is alone on its wire"
    );
}

fn deleted_device_ends_it() {
    let tap = TapOptions::new("eth0".parse().unwrap()).create().unwrap();
    let index = tap.index().unwrap();
    let mut proxied = Proxied::open(tap, settings()).unwrap();
    let mut rtnl = Rtnl::open().unwrap();
    rtnl.apply(|changes| changes.delete_link(index)).unwrap();
    let error = proxied.run().unwrap_err();
    assert_eq!(error.to_string(), "read wire of a guest");
    assert!(error.raw_os_error().is_some());
}

fn closed_socket_ends_it() {
    let (ours, theirs) = pair(SocketType::SEQPACKET);
    let mut proxied = Proxied::over(ours, settings()).unwrap();
    drop(theirs);
    let error = proxied.run().unwrap_err();
    assert_eq!(error.to_string(), "read wire of a guest");
}

fn settings() -> ProxiedSettings {
    ProxiedSettings::new(&Guest::new("one").unwrap()).resolvers([])
}

fn read(text: &str) -> Exposure {
    text.parse().unwrap()
}

/// Brings the namespace's loopback interface up.
fn up() {
    let loopback = LinkChange::new(IfIndex::new(1).unwrap()).up();
    let mut rtnl = Rtnl::open().unwrap();
    rtnl.apply(|changes| changes.set_link(&loopback)).unwrap();
}
