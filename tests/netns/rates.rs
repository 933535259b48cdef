//! How much guests may send and be sent, and how much they did; by counting
//! what came through.

use std::net::{SocketAddr, UdpSocket};
use std::time::Instant;

use libtest_mimic::Trial;
use tapwire::{Guest, Host, Rate};

use crate::packet::{UDP, Wire, udp_packet};
use crate::support::trials;
use crate::world::{FAMILIES, NEVER, OUTSIDE, SOON, World, address_of, at, dropped, ip, within};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        guest_sends_no_more_than_its_rate,
        guest_is_sent_no_more_than_its_rate,
        what_crosses_a_guests_link_is_counted,
    ]
}

const PORT: u16 = 8080;

/// Bytes of each packet, with its IP header.
const PACKET: u64 = 1000;

/// So slow that what a test takes adds little to the burst.
fn slow() -> Rate {
    Rate::new(100).unwrap().burst(20_000)
}

/// How many bytes may have passed at most since `start`, and must have.
fn bounds(rate: Rate, start: Instant) -> (u64, u64) {
    let bucket = rate.bytes_per_second() + u64::from(rate.current_burst());
    let since = (start.elapsed().as_secs() + 1) * rate.bytes_per_second();
    // The last packet may not fit, and the kernel itself says a little.
    (bucket - 2 * PACKET, bucket + since)
}

fn data(family: usize) -> Vec<u8> {
    vec![b'x'; usize::try_from(PACKET).unwrap() - [28, 48][family]]
}

fn guest() -> Guest {
    Guest::new("hello-world").unwrap()
}

/// Whether a packet is one of the test's datagrams: also an ICMP error ends
/// with what it quotes.
fn is_ours(packet: &[u8]) -> Option<()> {
    let protocol = packet[if packet[0] >> 4 == 4 { 9 } else { 6 }];
    (protocol == UDP && packet.ends_with(b"xx")).then_some(())
}

/// Packets that come within a while.
fn count(listener: &UdpSocket) -> u64 {
    listener.set_read_timeout(Some(NEVER)).unwrap();
    let mut count = 0;
    while listener.recv(&mut [0; 2048]).is_ok() {
        count += 1;
    }
    count
}

fn guest_sends_no_more_than_its_rate() {
    let world = World::new();
    let mut host = world.host();
    let attached = host.attach(&guest()).unwrap();
    let other = host.attach(&Guest::new("other").unwrap()).unwrap();
    let (wire, other) = (Wire::open(&world, &attached), Wire::open(&world, &other));
    for family in FAMILIES {
        let bind = || UdpSocket::bind(at(OUTSIDE[family], PORT)).unwrap();
        let listener = world.outside.run(bind).unwrap();
        let send = |wire: &Wire, packets| {
            let from = SocketAddr::new(wire.address(family), 1);
            let packet = udp_packet(from, at(OUTSIDE[family], PORT), &data(family));
            for _ in 0..packets {
                wire.send(&packet);
            }
            count(&listener)
        };
        host.attach(&guest()).unwrap();
        assert!(within(SOON, |_| (send(&wire, 1) > 0).then_some(())).is_some());
        assert_eq!(send(&wire, 60), 60, "without a rate");
        let before = dropped(&mut host, "rate from guest");
        let start = Instant::now();
        host.attach(&guest().rate_from(slow())).unwrap();
        let passed = send(&wire, 60);
        let (least, most) = bounds(slow(), start);
        let bytes = passed * PACKET;
        assert!(
            (least..=most).contains(&bytes),
            "{bytes} in {least}..={most}"
        );
        assert_eq!(dropped(&mut host, "rate from guest") - before, 60 - passed);
        // What may be used up is used up, also where the policy is repeated.
        host.attach(&guest().rate_from(slow())).unwrap();
        let more = send(&wire, 60);
        let (_, most) = bounds(slow(), start);
        let bytes = (passed + more) * PACKET;
        assert!(bytes <= most, "{bytes} above {most}");
        assert_eq!(send(&other, 60), 60, "another guest has its own");
        let before = dropped(&mut host, "rate from guest");
        host.attach(&guest().rate_to(slow())).unwrap();
        assert_eq!(send(&wire, 60), 60, "the other way is another rate");
        assert_eq!(dropped(&mut host, "rate from guest"), before);
    }
}

fn guest_is_sent_no_more_than_its_rate() {
    let world = World::new();
    let mut host = world.host();
    let attached = host.attach(&guest()).unwrap();
    let wire = Wire::open(&world, &attached);
    let peer = Guest::new("other").unwrap().peer(guest().name());
    let other = Wire::open(&world, &host.attach(&peer).unwrap());
    for family in FAMILIES {
        let to = SocketAddr::new(address_of(&attached, family), PORT);
        let any = SocketAddr::new(ip(["0.0.0.0", "::"][family]), 0);
        let socket = world.node.run(|| UdpSocket::bind(any).unwrap()).unwrap();
        let packet = udp_packet(SocketAddr::new(other.address(family), 1), to, &data(family));
        // From the host and from a peer, which are the two ways to a guest.
        let send = |packets: usize| {
            for _ in 0..packets / 2 {
                // The host is told of what is dropped at once.
                drop(socket.send_to(&data(family), to));
                other.send(&packet);
            }
            let mut count = 0;
            while wire.receive(NEVER, is_ours).is_some() {
                count += 1;
            }
            count
        };
        host.attach(&guest()).unwrap();
        assert_eq!(send(60), 60, "without a rate");
        let before = dropped(&mut host, "rate to guest");
        let start = Instant::now();
        host.attach(&guest().rate_to(slow())).unwrap();
        let passed = send(60);
        let (least, most) = bounds(slow(), start);
        let bytes = passed * PACKET;
        assert!(
            (least..=most).contains(&bytes),
            "{bytes} in {least}..={most}"
        );
        assert!(dropped(&mut host, "rate to guest") - before >= 60 - passed);
    }
}

fn what_crosses_a_guests_link_is_counted() {
    let world = World::new();
    let mut host = world.host();
    let attached = host.attach(&guest()).unwrap();
    let quiet = host.attach(&Guest::new("quiet").unwrap()).unwrap();
    let (wire, _quiet) = (Wire::open(&world, &attached), Wire::open(&world, &quiet));
    let traffic = |host: &mut Host, name: &str| {
        let all = host.traffic().unwrap();
        all.into_iter()
            .find(|one| one.guest().as_str() == name)
            .unwrap()
    };
    let socket = || UdpSocket::bind("0.0.0.0:0").unwrap();
    let socket = world.node.run(socket).unwrap();
    let to = SocketAddr::new(attached.ipv4().into(), PORT);
    // What the kernel itself says on a new link ends.
    socket.send_to(&data(0), to).unwrap();
    assert_eq!(wire.receive(SOON, is_ours), Some(()));
    let settled = within(SOON, |_| {
        let before = traffic(&mut host, "hello-world");
        std::thread::sleep(NEVER);
        (before == traffic(&mut host, "hello-world")).then_some(before)
    });
    let (before, quiet) = (settled.unwrap(), traffic(&mut host, "quiet"));
    let from = SocketAddr::new(attached.ipv4().into(), 1);
    let honest = udp_packet(from, at(OUTSIDE[0], PORT), &data(0));
    let spoofed = SocketAddr::new(ip("192.0.2.1"), 1);
    let spoofed = udp_packet(spoofed, at(OUTSIDE[0], PORT), &data(0));
    for _ in 0..10 {
        wire.send(&honest);
        wire.send(&spoofed);
        socket.send_to(&data(0), to).unwrap();
    }
    // Nobody listens on the outside, which says so to the guest; and the node may
    // ask once more where the guest is.
    let (mut all, mut frames) = (0, 0);
    let mut is_ours_of_all = |packet: &[u8]| {
        frames += 1;
        is_ours(packet)
    };
    while wire.receive(NEVER, &mut is_ours_of_all).is_some() {
        all += 1;
    }
    assert_eq!(all, 10);
    let after = traffic(&mut host, "hello-world");
    let frame = PACKET + 14;
    let [from, to] = [
        [before.from_guest(), after.from_guest()],
        [before.to_guest(), after.to_guest()],
    ];
    assert_eq!(from[1].packets - from[0].packets, 20);
    assert_eq!(from[1].bytes - from[0].bytes, 20 * frame);
    assert_eq!(to[1].packets - to[0].packets, frames);
    assert!(to[1].bytes - to[0].bytes >= 10 * frame);
    assert_eq!(after.undelivered(), before.undelivered());
    assert_eq!(dropped(&mut host, "spoof"), 10, "counted apart");
    assert_eq!(traffic(&mut host, "quiet").from_guest(), quiet.from_guest());
}
