//! Two guests, back to back over a pair of datagram sockets.

use std::net::IpAddr;
use std::os::unix::net::UnixDatagram;

use super::super::frame;
use super::super::http::peer_in;
use super::*;

fn pair() -> (Guest, Guest) {
    let (left, right) = UnixDatagram::pair().unwrap();
    let left_config = Config::new("left", "02:00:00:00:00:01".parse().unwrap())
        .ipv4(v4("192.0.2.1"), 30, v4("192.0.2.2"))
        .ipv6(v6("2001:db8::1"), 126, v6("2001:db8::2"))
        .http(80)
        .echo(53);
    let right_config = Config::new("right", "02:00:00:00:00:02".parse().unwrap())
        .ipv4(v4("192.0.2.2"), 30, v4("192.0.2.1"))
        .ipv6(v6("2001:db8::2"), 126, v6("2001:db8::1"));
    (
        Guest::start(left, left_config).unwrap(),
        Guest::start(right, right_config).unwrap(),
    )
}

#[test]
fn one_guest_fetches_from_another_over_both_families() {
    let (left, right) = pair();
    for (to, from) in [
        ("192.0.2.1:80", ip("192.0.2.2")),
        ("[2001:db8::1]:80", ip("2001:db8::2")),
    ] {
        let body = right.http_get(at(to), "/", PATIENCE).unwrap();
        assert!(body.starts_with("hello from left, you are "), "{body}");
        assert_eq!(peer_in(&body).unwrap().ip(), from);
        let (transport, peer) = *left.seen().last().unwrap();
        assert_eq!((transport, Some(peer)), (Transport::Tcp, peer_in(&body)));
    }
    assert_eq!(left.seen().len(), 2);
}

#[test]
fn more_fetches_in_a_row_than_one_port_can_hold_are_all_answered() {
    let (left, right) = pair();
    for count in 0..300 {
        let path = format!("/{count}");
        let body = right.http_get(at("192.0.2.1:80"), &path, PATIENCE).unwrap();
        assert!(body.starts_with(&format!("hello from left at {path}, ")));
    }
    assert_eq!(left.seen().len(), 300);
}

#[test]
fn fetches_at_the_same_time_do_not_disturb_each_other() {
    let (left, right) = pair();
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                right.http_get(at("192.0.2.1:80"), "/", PATIENCE).unwrap();
            });
        }
    });
    let mut seen = left.seen();
    seen.sort_by_key(|(_, peer)| *peer);
    seen.dedup();
    assert_eq!(seen.len(), 8);
}

#[test]
fn echo_tells_the_source_that_the_guest_saw() {
    let (left, right) = pair();
    for (to, from) in [
        ("192.0.2.1:53", "192.0.2.2:"),
        ("[2001:db8::1]:53", "[2001:db8::2]:"),
    ] {
        let answer = right.udp_ask(at(to), b"what", PATIENCE).unwrap();
        let answer = String::from_utf8(answer).unwrap();
        assert!(
            answer.starts_with(from) && answer.ends_with(" what"),
            "{answer}"
        );
    }
    assert!(left.seen().iter().all(|(kind, _)| *kind == Transport::Udp));
    assert_eq!(left.seen().len(), 2);
}

#[test]
fn closed_port_refuses_and_absent_host_times_out() {
    let (_left, right) = pair();
    right.connect(at("192.0.2.1:80"), PATIENCE).unwrap();
    let refused = right.connect(at("192.0.2.1:81"), PATIENCE).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    let short = Duration::from_millis(200);
    let started = Instant::now();
    for to in ["192.0.2.3:80", "198.51.100.1:81"] {
        let error = right.udp_ask(at(to), b"", short).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
    assert!(started.elapsed() < PATIENCE);
}

#[test]
fn raw_frame_reaches_the_other_side_as_it_is() {
    let (frames, other) = UnixDatagram::pair().unwrap();
    let guest = Guest::start(
        frames,
        Config::new("g", "02:00:00:00:00:01".parse().unwrap()),
    );
    let frame = [0xff; 60];
    guest.unwrap().send_frame(&frame).unwrap();
    let mut heard = [0; 100];
    other.set_read_timeout(Some(PATIENCE)).unwrap();
    while other.recv(&mut heard).unwrap() != frame.len() {}
    assert_eq!(heard[..60], frame);
}

#[test]
fn guest_asks_for_both_gateways_when_it_boots() {
    let (left, wire) = UnixDatagram::pair().unwrap();
    let mac = "02:00:00:00:00:01".parse().unwrap();
    let config = Config::new("g", mac)
        .ipv4(v4("192.0.2.1"), 30, v4("192.0.2.2"))
        .ipv6(v6("2001:db8::1"), 126, v6("2001:db8::2"));
    let _guest = Guest::start(left, config).unwrap();
    wire.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut heard = [0; 100];
    let length = wire.recv(&mut heard).unwrap();
    let request = frame::arp_request(mac, v4("192.0.2.1"), v4("192.0.2.2"));
    assert_eq!(heard[..length], request);
    let length = wire.recv(&mut heard).unwrap();
    let solicitation = frame::neighbour_solicitation(mac, v6("2001:db8::1"), v6("2001:db8::2"));
    assert_eq!(heard[..length], solicitation);
}

#[test]
fn made_up_datagrams_are_taken_for_real() {
    let (frames, wire) = UnixDatagram::pair().unwrap();
    let mac = "02:00:00:00:00:01".parse().unwrap();
    let config = Config::new("g", mac)
        .ipv4(v4("192.0.2.1"), 30, v4("192.0.2.2"))
        .ipv6(v6("2001:db8::1"), 126, v6("2001:db8::2"))
        .echo(53);
    let guest = Guest::start(frames, config).unwrap();
    let gateway = "02:00:00:00:00:02".parse().unwrap();
    let sources = [at("198.51.100.7:1"), at("[2001:db8:7::7]:2")];
    for (from, to) in sources.iter().zip(["192.0.2.1:53", "[2001:db8::1]:53"]) {
        let datagram = frame::udp(gateway, mac, *from, at(to), b"x").unwrap();
        wire.send(&datagram).unwrap();
    }
    let started = Instant::now();
    while guest.seen().len() < 2 && started.elapsed() < PATIENCE {
        thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(guest.seen(), sources.map(|from| (Transport::Udp, from)));
    assert_eq!(frame::udp(mac, mac, sources[0], sources[1], b""), None);
}

#[test]
fn guest_stops_at_once_and_closes_its_descriptor() {
    let (left, right) = pair();
    let started = Instant::now();
    left.stop().unwrap();
    drop(right);
    assert!(started.elapsed() < Duration::from_millis(500));

    let (frames, other) = UnixDatagram::pair().unwrap();
    let config = Config::new("alone", "02:00:00:00:00:01".parse().unwrap());
    Guest::start(frames, config).unwrap().stop().unwrap();
    let error = other.send(b"frame").unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
}

#[test]
fn configuration_that_no_guest_can_have_is_refused() {
    let config = || Config::new("bad", "02:00:00:00:00:01".parse().unwrap());
    for bad in [
        config().http(0),
        config().echo(0),
        config().ipv4(v4("192.0.2.1"), 33, v4("192.0.2.2")),
        config().ipv6(v6("2001:db8::1"), 129, v6("2001:db8::2")),
    ] {
        let (frames, _other) = UnixDatagram::pair().unwrap();
        let error = Guest::start(frames, bad).err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }
}

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn v4(text: &str) -> Ipv4Addr {
    text.parse().unwrap()
}

fn v6(text: &str) -> Ipv6Addr {
    text.parse().unwrap()
}

const PATIENCE: Duration = Duration::from_secs(5);
