use std::net::SocketAddrV6;

use proptest::prelude::*;

use super::frame::{BROADCAST_MAC, DHCP_CLIENT, DHCP_SERVER, DHCP6_SERVER};
use super::*;
use crate::guest::GuestRoute;

fn config() -> GuestConfig {
    GuestConfig::new(guest(), 1450)
        .address("10.244.3.5/32".parse().unwrap())
        .address("fd00:244:3::5/128".parse().unwrap())
        .route(GuestRoute::new("169.254.1.1/32".parse().unwrap()))
        .route(GuestRoute::new("0.0.0.0/0".parse().unwrap()).via([169, 254, 1, 1].into()))
        .route(GuestRoute::new("::/0".parse().unwrap()).via("fe80::1".parse().unwrap()))
        .dns([10, 96, 0, 10].into())
        .dns("fd00:96::a".parse().unwrap())
        .search("svc.cluster.local")
        .unwrap()
        .hostname("web-0")
        .unwrap()
}

fn guest() -> Mac {
    "02:74:77:00:00:05".parse().unwrap()
}

fn server() -> Mac {
    "82:74:77:00:00:05".parse().unwrap()
}

/// A client's message with these options.
fn ask4(options: &[u8]) -> Vec<u8> {
    let mut message = vec![1, 1, 6, 0, 0xde, 0xad, 0xbe, 0xef];
    message.resize(28, 0);
    message.extend(guest().octets());
    message.resize(236, 0);
    message.extend([99, 130, 83, 99]);
    message.extend(options);
    message.push(255);
    message
}

type Answered = Vec<(u8, Vec<u8>)>;

/// The kind of an answer, the address that it gives, and its options.
fn answered4(options: &[u8], config: &GuestConfig) -> Option<(u8, [u8; 4], Answered)> {
    let message = v4::Message::read(&ask4(options)).unwrap();
    let frame = message.answer(config, server())?;
    assert_eq!(&frame[6..12], &server().octets());
    // Ethernet, IPv4 and UDP.
    let payload = &frame[42..];
    assert_eq!(payload[..8], [2, 1, 6, 0, 0xde, 0xad, 0xbe, 0xef]);
    let mut options: Vec<(u8, Vec<u8>)> = Vec::new();
    let mut rest = &payload[240..];
    while rest[0] != 255 {
        let end = 2 + usize::from(rest[1]);
        let value = rest[2..end].to_vec();
        match options.last_mut() {
            Some((last, joined)) if *last == rest[0] => joined.extend(value),
            _ => options.push((rest[0], value)),
        }
        rest = &rest[end..];
    }
    let kind = options.iter().find(|(option, _)| *option == 53).unwrap().1[0];
    Some((kind, payload[16..20].try_into().unwrap(), options))
}

#[test]
fn client_gets_what_the_configuration_says() {
    let (kind, yours, options) = answered4(&[53, 1, 1], &config()).unwrap();
    assert_eq!((kind, yours), (2, [10, 244, 3, 5]));
    let value = |wanted: u8| {
        let found = options.iter().find(|(option, _)| *option == wanted);
        found.map(|(_, value)| value.as_slice()).unwrap()
    };
    assert_eq!(value(51), [255; 4]);
    assert_eq!(value(1), [255; 4]);
    assert_eq!(value(121), config().classless_routes());
    assert_eq!(value(3), [169, 254, 1, 1]);
    assert_eq!(value(26), 1450_u16.to_be_bytes());
    assert_eq!(value(6), [10, 96, 0, 10]);
    assert_eq!(value(12), b"web-0");
    assert_eq!(value(15), b"svc.cluster.local");
    assert_eq!(value(119), b"\x03svc\x07cluster\x05local\0");
}

#[test]
fn client_is_told_yes_or_no_or_nothing() {
    let kind = |options: &[u8]| answered4(options, &config()).map(|(kind, ..)| kind);
    let server = v4::SERVER.octets();
    let select = |yours: [u8; 4], server: [u8; 4]| {
        [&[53, 1, 3, 50, 4][..], &yours, &[54, 4], &server].concat()
    };
    assert_eq!(kind(&select([10, 244, 3, 5], server)), Some(5));
    assert_eq!(kind(&select([10, 244, 3, 6], server)), Some(6));
    assert_eq!(
        kind(&select([10, 244, 3, 5], [10, 0, 0, 1])),
        None,
        "another server's"
    );
    assert_eq!(
        kind(&[53, 1, 3, 50, 4, 192, 168, 0, 7]),
        Some(6),
        "of another network"
    );
    let (kind8, yours, options) = answered4(&[53, 1, 8], &config()).unwrap();
    assert_eq!((kind8, yours), (5, [0; 4]));
    assert!(options.iter().all(|(option, _)| *option != 51), "no lease");
    for silent in [4, 7, 0, 99] {
        assert_eq!(kind(&[53, 1, silent]), None, "{silent}");
    }
    let no_ipv4 = GuestConfig::new(guest(), 1500);
    assert_eq!(answered4(&[53, 1, 1], &no_ipv4), None);
    let other = GuestConfig::new(server_mac(), 1500).address("10.0.0.1/24".parse().unwrap());
    assert_eq!(answered4(&[53, 1, 1], &other), None, "another's message");
}

fn server_mac() -> Mac {
    server()
}

#[test]
fn long_values_are_split_and_kept_within_the_clients_room() {
    let many = (0..60_u8).fold(config(), |config, third| {
        let net = ipnet::Ipv4Net::new([10, 9, third, 0].into(), 24).unwrap();
        config.route(GuestRoute::new(net.into()).via([169, 254, 1, 1].into()))
    });
    let routes = many.classless_routes();
    assert!(routes.len() > 255);
    let of = |options: &[u8]| {
        let (_, _, options) = answered4(options, &many).unwrap();
        options.into_iter().find(|(option, _)| *option == 121)
    };
    assert_eq!(
        of(&[53, 1, 1]),
        None,
        "576 bytes are all that every client takes"
    );
    assert_eq!(of(&[53, 1, 1, 57, 2, 5, 220]), Some((121, routes)));
}

/// A message of DHCPv6 with a client id and these options.
fn ask6(kind: u8, options: &[u8]) -> Vec<u8> {
    [&[kind, 1, 2, 3, 0, 1, 0, 2, 7, 7][..], options].concat()
}

fn answered6(kind: u8, options: &[u8], config: &GuestConfig) -> Option<Vec<u8>> {
    let bytes = ask6(kind, options);
    let from = SocketAddrV6::new(frame::link_local(guest()), 546, 0, 0);
    let message = v6::Message::read(&bytes).unwrap();
    let frame = message.answer(from, config, server())?;
    // Ethernet, IPv6 and UDP.
    let payload = frame[62..].to_vec();
    assert_eq!(payload[1..4], [1, 2, 3]);
    Some(payload)
}

const IA: [u8; 16] = [0, 3, 0, 12, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0];

fn holds(message: &[u8], part: &[u8]) -> bool {
    message.windows(part.len()).any(|window| window == part)
}

#[test]
fn client_of_ipv6_gets_its_addresses_for_ever() {
    let address = [
        &[0, 5, 0, 24][..],
        &"fd00:244:3::5".parse::<Ipv6Addr>().unwrap().octets(),
        &[255; 8],
    ]
    .concat();
    let offer = answered6(1, &IA, &config()).unwrap();
    assert_eq!(offer[0], 2);
    assert!(holds(&offer, &address));
    let rapid = answered6(1, &[&IA[..], &[0, 14, 0, 0]].concat(), &config()).unwrap();
    assert_eq!(rapid[0], 7);
    assert!(holds(&rapid, &address) && holds(&rapid, &[0, 14, 0, 0]));
    let own = [&[0, 2, 0, 10, 0, 3, 0, 1][..], &server().octets()].concat();
    for kind in [3, 5] {
        let reply = answered6(kind, &[&own[..], &IA].concat(), &config()).unwrap();
        assert_eq!(reply[0], 7);
        assert!(holds(&reply, &address));
        assert!(holds(&reply, b"\x03svc\x07cluster\x05local\0"));
        assert_eq!(answered6(kind, &IA, &config()), None, "no server named");
        let other = [0, 2, 0, 2, 9, 9];
        let options = [&other[..], &IA].concat();
        assert_eq!(answered6(kind, &options, &config()), None, "another server");
    }
    let info = answered6(11, &[], &config()).unwrap();
    assert!(holds(
        &info,
        &"fd00:96::a".parse::<Ipv6Addr>().unwrap().octets()
    ));
    let none = GuestConfig::new(guest(), 1500);
    let refusal = answered6(1, &IA, &none).unwrap();
    assert!(holds(&refusal, &[0, 13, 0, 2, 0, 2]), "no addresses");
}

#[test]
fn address_from_elsewhere_is_taken_back() {
    let foreign: Ipv6Addr = "2001:db8::9".parse().unwrap();
    let entry = [&[0, 5, 0, 24][..], &foreign.octets(), &[0; 8]].concat();
    let mut ia = IA.to_vec();
    ia[3] += 28;
    ia.extend(&entry);
    let reply = answered6(6, &ia, &config()).unwrap();
    assert!(holds(&reply, &entry), "no lifetime left");
    let status = answered6(4, &ia, &config()).unwrap();
    assert!(holds(&status, &[0, 13, 0, 2, 0, 4]), "not on link");
}

#[test]
fn gateway_without_a_link_local_address_is_stood_in_for() {
    let gateway: Ipv6Addr = "fd00:244:3::1".parse().unwrap();
    let plain = GuestConfig::new(guest(), 1500)
        .address("fd00:244:3::5/64".parse().unwrap())
        .route(GuestRoute::new("::/0".parse().unwrap()).via(gateway.into()));
    assert_eq!(Router::of(&plain, server()).gateway(), None);
    let mac: Mac = "02:00:00:00:00:01".parse().unwrap();
    let known = plain.gateway_mac(gateway.into(), mac);
    let router = Router::of(&known, server());
    assert_eq!(router.gateway(), Some(gateway));
    let stand_in = frame::link_local(mac);
    let asker = frame::link_local(guest());
    let answer = router.neighbour(asker, stand_in, &known, server()).unwrap();
    assert!(
        holds(&answer, &[2, 1, 2, 0, 0, 0, 0, 1]),
        "the gateway's MAC"
    );
    assert_eq!(router.neighbour(asker, gateway, &known, server()), None);
}

proptest! {
    /// Any bytes behind the headers give an answer or none.
    #[test]
    fn nothing_that_a_guest_sends_breaks_the_reader(
        bytes in proptest::collection::vec(any::<u8>(), 0..600),
        kind in 0..12_u8,
    ) {
        prop_assert!(frame::read(&bytes, server()).is_none() || bytes.len() >= 14);
        for prefix in [ask4(&bytes), bytes.clone()] {
            if let Some(message) = v4::Message::read(&prefix) {
                drop(message.answer(&config(), server()));
            }
        }
        let from = SocketAddrV6::new(frame::link_local(guest()), 546, 0, 0);
        for prefix in [ask6(kind, &bytes), bytes] {
            if let Some(message) = v6::Message::read(&prefix) {
                drop(message.answer(from, &config(), server()));
            }
        }
    }

    /// Of what is written in a frame, the same is read.
    #[test]
    fn frames_are_read_as_written(payload in proptest::collection::vec(any::<u8>(), 0..1200)) {
        let macs = [guest().octets(), BROADCAST_MAC];
        let from = std::net::SocketAddrV4::new([0, 0, 0, 0].into(), DHCP_CLIENT);
        let to = std::net::SocketAddrV4::new([255; 4].into(), DHCP_SERVER);
        let frame = frame::udp4(macs, from, to, &payload).unwrap();
        prop_assert_eq!(frame::read(&frame, guest()), Some(Question::Dhcp(&payload)));
        prop_assert_eq!(frame::read(&frame, server()), None);
        // Whatever is cut off is missed.
        prop_assert_eq!(frame::read(frame.split_last().unwrap().1, guest()), None);
        let from = SocketAddrV6::new(frame::link_local(guest()), 546, 0, 0);
        let to = SocketAddrV6::new("ff02::1:2".parse().unwrap(), DHCP6_SERVER, 0, 0);
        let frame = frame::udp6(macs, from, to, &payload).unwrap();
        prop_assert_eq!(frame::read(&frame, guest()), Some(Question::Dhcp6(from, &payload)));
        prop_assert_eq!(frame::read(frame.split_last().unwrap().1, guest()), None);
    }
}
