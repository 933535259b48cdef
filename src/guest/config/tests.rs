use proptest::prelude::*;

use super::*;

fn subnet() -> GuestConfig {
    GuestConfig::new("02:74:77:00:00:05".parse().unwrap(), 1450)
        .address("10.1.0.5/24".parse().unwrap())
        .route(GuestRoute::new(any4()).via([10, 1, 0, 1].into()))
}

/// As Calico gives it to pods.
fn proxy_arp() -> GuestConfig {
    GuestConfig::new("02:74:77:00:00:05".parse().unwrap(), 1450)
        .address("10.244.3.7/32".parse().unwrap())
        .route(GuestRoute::new("169.254.1.1/32".parse().unwrap()))
        .route(GuestRoute::new(any4()).via([169, 254, 1, 1].into()))
}

fn any4() -> IpNet {
    "0.0.0.0/0".parse().unwrap()
}

fn eth0() -> crate::IfName {
    "eth0".parse().unwrap()
}

#[test]
fn kernel_argument_says_all_of_a_subnet() {
    let config = subnet()
        .dns([10, 0, 0, 10].into())
        .hostname("web-0")
        .unwrap();
    assert_eq!(
        config.kernel_argument(eth0()).unwrap(),
        "ip=10.1.0.5::10.1.0.1:255.255.255.0:web-0:eth0:off:10.0.0.10"
    );
    let alone = GuestConfig::new(config.mac(), 1500).address("10.1.0.5/31".parse().unwrap());
    assert_eq!(
        alone.kernel_argument(eth0()).unwrap(),
        "ip=10.1.0.5:::255.255.255.254::eth0:off"
    );
}

#[test]
fn kernel_argument_names_what_it_cannot_say() {
    let refusal = |config: &GuestConfig| config.kernel_argument(eth0()).unwrap_err();
    let gateway = [169, 254, 1, 1].into();
    assert_eq!(refusal(&proxy_arp()), Unfit::GatewayOffLink(gateway));
    let none = GuestConfig::new(subnet().mac(), 1500);
    assert_eq!(refusal(&none), Unfit::NoIpv4);
    let second: IpNet = "10.2.0.5/24".parse().unwrap();
    assert_eq!(refusal(&subnet().address(second)), Unfit::Address(second));
    let ipv6: IpNet = "2001:db8::5/64".parse().unwrap();
    assert_eq!(refusal(&subnet().address(ipv6)), Unfit::Address(ipv6));
    let more: IpNet = "10.9.0.0/16".parse().unwrap();
    let route = GuestRoute::new(more).via([10, 1, 0, 2].into());
    assert_eq!(refusal(&subnet().route(route)), Unfit::Route(more));
    let other = GuestRoute::new(any4()).via([10, 1, 0, 2].into());
    assert_eq!(refusal(&subnet().route(other)), Unfit::Route(any4()));
    let peer = [10, 1, 0, 9].into();
    let known = subnet().neighbour(peer, subnet().mac());
    assert_eq!(refusal(&known), Unfit::Neighbour(peer));
    let three = (1..=3).fold(subnet(), |config, last| config.dns([10, 0, 0, last].into()));
    assert_eq!(refusal(&three), Unfit::Dns([10, 0, 0, 3].into()));
    let search = subnet().search("example.org").unwrap();
    assert_eq!(refusal(&search), Unfit::Search);
}

#[test]
fn unikernel_is_told_in_rumpruns_words() {
    let device = "ukvmif0".parse().unwrap();
    let json = subnet().rumprun_json(device).unwrap();
    let read: serde_json::Value = serde_json::from_str(&json).unwrap();
    let expected = serde_json::json!({"net": {
        "if": "ukvmif0", "cloner": "True", "type": "inet", "method": "static",
        "addr": "10.1.0.5", "mask": "24", "gw": "10.1.0.1",
    }});
    assert_eq!(read, expected);
    let refusal = proxy_arp().rumprun_json(device).unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "gateway 169.254.1.1 is not in the subnet of the address"
    );
    let odd = subnet().rumprun_json("a\\b".parse().unwrap()).unwrap();
    let read: serde_json::Value = serde_json::from_str(&odd).unwrap();
    assert_eq!(read["net"]["if"], "a\\b");
}

#[test]
fn classless_routes_are_those_of_rfc_3442() {
    assert_eq!(subnet().classless_routes(), [0, 10, 1, 0, 1]);
    let bytes = [32, 169, 254, 1, 1, 0, 0, 0, 0, 0, 169, 254, 1, 1];
    assert_eq!(proxy_arp().classless_routes(), bytes);
    // The gateway's own route is added where it is only implied.
    let onlink = GuestConfig::new(subnet().mac(), 1500)
        .address("10.244.3.7/32".parse().unwrap())
        .route(
            GuestRoute::new(any4())
                .via([169, 254, 1, 1].into())
                .onlink(),
        );
    assert_eq!(onlink.classless_routes(), bytes);
    let odd = GuestRoute::new("10.9.128.0/17".parse().unwrap()).via([10, 1, 0, 2].into());
    let config = GuestConfig::new(subnet().mac(), 1500)
        .address("10.1.0.5/24".parse().unwrap())
        .route(odd);
    assert_eq!(config.classless_routes(), [17, 10, 9, 128, 10, 1, 0, 2]);
}

#[test]
fn commands_are_those_of_ip() {
    let config = proxy_arp()
        .address("2001:db8::7/128".parse().unwrap())
        .neighbour(
            [169, 254, 1, 1].into(),
            "ee:ee:ee:ee:ee:ee".parse().unwrap(),
        )
        .route(
            GuestRoute::new("::/0".parse().unwrap())
                .via("fe80::1".parse().unwrap())
                .metric(100),
        );
    assert_eq!(
        config.to_string(),
        "ip link set eth0 address 02:74:77:00:00:05 mtu 1450 up\n\
         ip address add 10.244.3.7/32 dev eth0\n\
         ip address add 2001:db8::7/128 dev eth0 nodad\n\
         ip neighbour replace 169.254.1.1 lladdr ee:ee:ee:ee:ee:ee dev eth0\n\
         ip route add 169.254.1.1/32 dev eth0\n\
         ip route add 0.0.0.0/0 via 169.254.1.1 dev eth0\n\
         ip -6 route add ::/0 via fe80::1 dev eth0 metric 100\n"
    );
}

#[test]
fn names_that_would_be_more_than_a_name_are_refused() {
    for bad in ["", ".", "a..b", "a b", "x:off", "a\n", "ä", &"a".repeat(64)] {
        assert!(subnet().hostname(bad).is_err(), "{bad:?}");
        assert!(subnet().search(bad).is_err(), "{bad:?}");
    }
    let long = ["a"; 40].join(".");
    assert!(subnet().hostname(&long).is_err());
    assert!(subnet().search(&long).is_ok());
}

proptest! {
    /// What a client of RFC 3442 reads is what was said.
    #[test]
    fn classless_routes_are_read_as_written(
        routes in proptest::collection::vec((any::<u32>(), 0..=32_u8), 0..40)
    ) {
        let nets: Vec<Ipv4Net> = routes
            .iter()
            .map(|&(bits, length)| Ipv4Net::new(bits.into(), length).unwrap().trunc())
            .collect();
        let config = nets.iter().fold(subnet(), |config, net| {
            config.route(GuestRoute::new(IpNet::V4(*net)).via([10, 1, 0, 2].into()))
        });
        let mut read = Vec::new();
        let bytes = config.classless_routes();
        let mut bytes = bytes.iter().copied();
        while let Some(length) = bytes.next() {
            let mut octets = [0; 4];
            for octet in octets.iter_mut().take(usize::from(length).div_ceil(8)) {
                *octet = bytes.next().unwrap();
            }
            let router: Vec<u8> = bytes.by_ref().take(4).collect();
            read.push((Ipv4Net::new(octets.into(), length).unwrap(), router));
        }
        let mut expected = vec![("0.0.0.0/0".parse().unwrap(), vec![10, 1, 0, 1])];
        expected.extend(nets.into_iter().map(|net| (net, vec![10, 1, 0, 2])));
        prop_assert_eq!(read, expected);
    }
}
