//! Flows are listed and deleted by filter.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use libtest_mimic::Trial;
use tapwire::conn::Connection;
use tapwire::conntrack::{FlowFilter, TupleFilter, delete, flows};

use crate::support::{feed, run, trials};

pub(crate) fn trials() -> Vec<Trial> {
    trials![needs ["nft", "ip"]:
        only_matching_flows_are_deleted,
        filter_without_condition_deletes_nothing,
        ipv6_flows_are_found_and_deleted_by_address,
    ]
}

const UDP: u8 = 17;

/// Tracks flows on loopback: the kernel tracks only where a rule asks for it.
fn track_loopback() {
    run("ip", &["link", "set", "lo", "up"]);
    let ruleset =
        "table inet t { chain c { type filter hook output priority 0; ct state new counter; }; }";
    feed("nft", &["-f", "-"], ruleset);
}

/// Sends a datagram until it arrives: a new IPv6 address takes effect a
/// moment after it was added, from a work queue of the kernel.
fn send(to: SocketAddr) {
    let local = if to.is_ipv4() {
        "127.0.0.1:0"
    } else {
        "[::1]:0"
    };
    let socket = UdpSocket::bind(local).unwrap();
    let receiver = UdpSocket::bind(to).unwrap();
    receiver
        .set_read_timeout(Some(Duration::from_millis(20)))
        .unwrap();
    let arrives = |_| {
        socket.send_to(b"x", to).unwrap();
        receiver.recv(&mut [0]).is_ok()
    };
    assert!((0..100).any(arrives), "nothing reaches {to}");
}

fn to_port(port: u16) -> FlowFilter {
    FlowFilter::ipv4().original(TupleFilter::new().protocol(UDP).destination_port(port))
}

fn only_matching_flows_are_deleted() {
    track_loopback();
    let mut connection = Connection::netfilter().unwrap();
    for port in [5001, 5002] {
        send(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port));
    }
    let found = flows(&mut connection, &to_port(5001)).unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].original().destination_port(), Some(5001));
    assert_eq!(found[0].reply().source(), IpAddr::from(Ipv4Addr::LOCALHOST));

    delete(&mut connection, &to_port(5001)).unwrap();
    delete(&mut connection, &to_port(5001)).unwrap();
    assert_eq!(flows(&mut connection, &to_port(5001)).unwrap(), []);
    assert_eq!(flows(&mut connection, &to_port(5002)).unwrap().len(), 1);
}

fn filter_without_condition_deletes_nothing() {
    track_loopback();
    let mut connection = Connection::netfilter().unwrap();
    send(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 5001));
    let error = delete(&mut connection, &FlowFilter::ipv4()).unwrap_err();
    assert_eq!(error.to_string(), "flow filter \"ipv4\" has no condition");
    assert_eq!(
        flows(&mut connection, &FlowFilter::ipv4()).unwrap().len(),
        1
    );
}

fn ipv6_flows_are_found_and_deleted_by_address() {
    track_loopback();
    run(
        "ip",
        &["address", "add", "2001:db8::1/128", "dev", "lo", "nodad"],
    );
    let mut connection = Connection::netfilter().unwrap();
    let (meant, other) = (
        "[2001:db8::1]:5001".parse::<SocketAddr>().unwrap(),
        "[::1]:5001".parse().unwrap(),
    );
    send(meant);
    send(other);
    let answered_by =
        |to: SocketAddr| FlowFilter::family_of(to.ip()).reply(TupleFilter::new().source(to.ip()));
    assert_eq!(
        flows(&mut connection, &answered_by(meant)).unwrap().len(),
        1
    );
    delete(&mut connection, &answered_by(meant)).unwrap();
    assert_eq!(flows(&mut connection, &answered_by(meant)).unwrap(), []);
    assert_eq!(
        flows(&mut connection, &answered_by(other)).unwrap().len(),
        1
    );
}
