//! What holds for all values: golden requests, captured dumps, any bytes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use proptest::prelude::*;

use super::*;
use crate::wire::uapi::rtnetlink::{
    RTM_DELADDR, RTM_DELLINK, RTM_DELNEIGH, RTM_DELROUTE, RTM_DELRULE, RTM_NEWADDR, RTM_NEWLINK,
    RTM_NEWNEIGH, RTM_NEWROUTE, RTM_NEWRULE, RTM_SETLINK,
};
use crate::wire::{Attrs, Flags, Header, Message, Messages, Writer, push_message};
use crate::{IfIndex, IfName};

fn name(name: &str) -> IfName {
    name.parse().unwrap()
}

fn index(index: u32) -> IfIndex {
    IfIndex::new(index).unwrap()
}

fn net(net: &str) -> IpNet {
    net.parse().unwrap()
}

fn body(encode: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut out = Writer::new(&mut bytes);
    encode(&mut out);
    out.finish().unwrap();
    bytes
}

fn request(kind: u16, encode: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    push_message(&mut bytes, Header::new(kind, Flags::REQUEST, 0), encode).unwrap();
    bytes
}

fn only(bytes: &[u8]) -> Message<'_> {
    Messages::new(bytes).next().unwrap().unwrap()
}

/// The prefix of `address` with a length that its family can have.
fn prefix(ipv4: bool, address: u128, length: u8) -> IpNet {
    let most = if ipv4 { 32 } else { 128 };
    let address = if ipv4 {
        IpAddr::from(Ipv4Addr::from_bits(u32::try_from(address >> 96).unwrap()))
    } else {
        IpAddr::from(Ipv6Addr::from_bits(address))
    };
    let length = length.min(most);
    IpNet::new(address, length).unwrap().trunc()
}

fn bytes(hex: &str) -> Vec<u8> {
    hex.as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

/// The attributes of a request by their path.
type Parts = Vec<(Vec<u16>, Vec<u8>)>;

/// The family header and the attributes behind it with their paths, in an
/// order of their own, for `ip` has another; texts without the NUL that `ip`
/// leaves out here and there.
fn parts(body: &[u8], header: usize) -> (&[u8], Parts) {
    fn walk(link: bool, path: &[u16], attrs: Attrs<'_>, list: &mut Parts) {
        for attribute in attrs {
            let attribute = attribute.unwrap();
            let path = [path, &[attribute.kind()]].concat();
            match path[..] {
                [18] | [18, 2] if link => walk(link, &path, attribute.nested(), list),
                [18, 1] if link => {
                    let text = attribute.payload().split(|&byte| byte == 0).next();
                    list.push((path, text.unwrap().to_vec()));
                }
                _ => list.push((path, attribute.payload().to_vec())),
            }
        }
    }
    let (header, attrs) = body.split_at(header);
    let mut list = Vec::new();
    walk(header.len() == 16, &[], Attrs::new(attrs), &mut list);
    list.sort();
    (header, list)
}

/// The golden bytes are what `ip` of iproute2 6.1 sent for the command beside
/// them, without the netlink header, recorded by `strace -e sendmsg`.
#[cfg(target_endian = "little")]
#[track_caller]
fn same_as_ip(header: usize, encode: impl FnOnce(&mut Writer<'_>), golden: &str) {
    let (ours, golden) = (body(encode), bytes(golden));
    assert_eq!(parts(&ours, header), parts(&golden, header));
}

#[cfg(target_endian = "little")]
#[test]
fn links_are_encoded_as_ip_does() {
    // ip link add veth0 type veth peer name veth1
    let link = NewLink::veth(name("veth0"), name("veth1"));
    same_as_ip(
        16,
        |out| link.encode(out),
        "000000000000000000000000000000000a00030076657468300000003000120008000100766574682400020020000100000000000000000000000000000000000a0003007665746831000000",
    );
    // ip link add mvt0 link veth2 type macvtap mode vepa
    let link = NewLink::macvtap(name("mvt0"), index(8), MacvtapMode::VEPA);
    same_as_ip(
        16,
        |out| link.encode(out),
        "000000000000000000000000000000000800050008000000090003006d767430000000001c0012000b0001006d616376746170000c0002000800010002000000",
    );
    // ip link add link veth2 name veth2.7 type vlan id 7
    let link = NewLink::vlan(name("veth2.7"), index(8), 7);
    same_as_ip(
        16,
        |out| link.encode(out),
        "0000000000000000000000000000000008000500080000000c00030076657468322e37001800120008000100766c616e0c0002000600010007000000",
    );
}

#[cfg(target_endian = "little")]
#[test]
fn vxlan_is_encoded_as_ip_does() {
    // ip link add vx0 type vxlan id 42 dstport 4789 local 192.0.2.1
    //   remote 192.0.2.2 dev veth0 ttl 5 tos 3 nolearning
    let tunnel = Vxlan::new(42)
        .local("192.0.2.1".parse().unwrap())
        .remote("192.0.2.2".parse().unwrap())
        .dev(index(6));
    let ours = body(|out| NewLink::vxlan(name("vx0"), tunnel).encode(out));
    let golden = bytes(
        "000000000000000000000000000000000800030076783000540012000900010076786c616e00000044000200080003000600000005000500050000000500060003000000080001002a00000008000400c000020108000200c0000202050007000000000006000f0012b50000",
    );
    let (_, golden) = parts(&golden, 16);
    let (_, ours) = parts(&ours, 16);
    // Besides, ip sends TTL (5), TOS (6) and learning (7).
    let beside = |path: &[u16]| matches!(path, [18, 2, 5..=7]);
    let golden: Vec<_> = golden
        .into_iter()
        .filter(|(path, _)| !beside(path))
        .collect();
    assert_eq!(ours, golden);
}

#[cfg(target_endian = "little")]
#[test]
fn changes_of_links_are_encoded_as_ip_does() {
    // ip link set veth3 alias "the alias text"
    let change = LinkChange::new(index(7)).alias("the alias text");
    same_as_ip(
        16,
        |out| change.encode(out),
        "000000000700000000000000000000001200140074686520616c69617320746578740000",
    );
    // ip link set tap1 name tapren0
    let change = LinkChange::new(index(3)).rename(name("tapren0"));
    same_as_ip(
        16,
        |out| change.encode(out),
        "000000000300000000000000000000000c00030074617072656e3000",
    );
    // ip link set veth1 master br0
    let change = LinkChange::new(index(5)).master(index(9));
    same_as_ip(
        16,
        |out| change.encode(out),
        "0000000005000000000000000000000008000a0009000000",
    );
}

#[cfg(target_endian = "little")]
#[test]
fn addresses_are_encoded_as_ip_does() {
    // ip addr add 10.1.0.1 peer 10.1.0.2/32 dev tap0
    let address = Address::new(index(2), net("10.1.0.1/32")).peer("10.1.0.2".parse().unwrap());
    same_as_ip(
        8,
        |out| address.encode(out),
        "0220000002000000080002000a010001080001000a010002",
    );
    // ip addr add 2001:db8:1::1/64 dev veth0 nodad
    let address = Address::new(index(6), net("2001:db8:1::1/64")).without_dad();
    same_as_ip(
        8,
        |out| address.encode(out),
        "0a400200060000001400020020010db80001000000000000000000011400010020010db8000100000000000000000001",
    );
}

#[cfg(target_endian = "little")]
#[test]
fn routes_are_encoded_as_ip_does() {
    let boot = 3;
    let gateway = "192.0.2.254".parse().unwrap();
    // ip route add 203.0.113.0/24 via 192.0.2.254
    let route = Route::new(net("203.0.113.0/24")).via(gateway);
    same_as_ip(
        12,
        |out| route.protocol(boot).encode(out),
        "02180000fe0300010000000008000100cb00710008000500c00002fe",
    );
    // ip route add 203.0.116.0/24 via inet6 2001:db8:1::99 dev veth0
    let route = Route::new(net("203.0.116.0/24")).dev(index(6));
    let route = route.via("2001:db8:1::99".parse().unwrap());
    same_as_ip(
        12,
        |out| route.protocol(boot).encode(out),
        "02180000fe0300010000000008000100cb007400160012000a0020010db800010000000000000000009900000800040006000000",
    );
    // ip route add default via 192.0.2.254 proto static onlink dev veth0
    let route = Route::new(net("0.0.0.0/0")).via(gateway).dev(index(6));
    same_as_ip(
        12,
        |out| route.onlink().encode(out),
        "02000000fe0400010400000008000500c00002fe0800040006000000",
    );
}

#[cfg(target_endian = "little")]
#[test]
fn neighbours_and_rules_are_encoded_as_ip_does() {
    // ip neigh add 192.0.2.50 lladdr 02:00:00:00:50:50 dev veth0 nud permanent
    let mac = "02:00:00:00:50:50".parse().unwrap();
    let neighbour = Neighbour::new(index(6), "192.0.2.50".parse().unwrap(), mac);
    same_as_ip(
        12,
        |out| neighbour.encode(out),
        "02000000060000008000000008000100c00002320a0002000200000050500000",
    );
    // ip rule add from 10.0.0.0/8 table 100 priority 1000
    let rule = RoutingRule::ipv4(100)
        .from(net("10.0.0.0/8"))
        .priority(1000);
    same_as_ip(
        12,
        |out| rule.encode(out),
        "020008006400000100000000080002000a00000008000600e8030000",
    );
    // ip rule add to 192.0.2.0/24 iif veth0 lookup 101
    let rule = RoutingRule::ipv4(101)
        .to(net("192.0.2.0/24"))
        .iif(name("veth0"));
    same_as_ip(
        12,
        |out| rule.encode(out),
        "02180000650000010000000008000100c00002000a0003007665746830000000",
    );
    // ip rule add fwmark 0x10/0xff table 102
    let rule = RoutingRule::ipv4(102).fwmark(0x10, 0xff);
    same_as_ip(
        12,
        |out| rule.encode(out),
        "02000000660000010000000008000a001000000008001000ff000000",
    );
}

/// What Linux 6.18 answered to the dumps of a namespace that held one of
/// nearly everything that `ip` can make; one answer after another, each with
/// its netlink header.
#[cfg(target_endian = "little")]
const DUMPS: [&[u8]; 10] = [
    include_bytes!("../../tests/testdata/rtnl/link.bin"),
    include_bytes!("../../tests/testdata/rtnl/addr4.bin"),
    include_bytes!("../../tests/testdata/rtnl/addr6.bin"),
    include_bytes!("../../tests/testdata/rtnl/route4.bin"),
    include_bytes!("../../tests/testdata/rtnl/route6.bin"),
    include_bytes!("../../tests/testdata/rtnl/route_mpls.bin"),
    include_bytes!("../../tests/testdata/rtnl/neigh4.bin"),
    include_bytes!("../../tests/testdata/rtnl/neigh6.bin"),
    include_bytes!("../../tests/testdata/rtnl/rule_f2.bin"),
    include_bytes!("../../tests/testdata/rtnl/rule_f10.bin"),
];

#[cfg(target_endian = "little")]
fn recorded() -> impl Iterator<Item = Message<'static>> {
    let messages = DUMPS.iter().flat_map(|dump| Messages::new(dump));
    messages.map(Result::unwrap)
}

#[cfg(target_endian = "little")]
#[test]
fn recorded_dumps_are_read() {
    let (mut links, mut addresses, mut routes, mut rules) = (vec![], vec![], vec![], vec![]);
    let mut neighbours = vec![];
    for message in recorded() {
        match message.kind() {
            RTM_NEWLINK => links.push(Link::decode(&message).unwrap()),
            RTM_NEWADDR => addresses.push(Address::decode(&message).unwrap()),
            RTM_NEWROUTE => routes.extend(Route::decode(&message).unwrap()),
            RTM_NEWNEIGH => neighbours.extend(Neighbour::decode(&message).unwrap()),
            RTM_NEWRULE => rules.extend(RoutingRule::decode(&message).unwrap()),
            _ => {}
        }
    }
    let counts = (links.len(), addresses.len(), routes.len());
    assert_eq!(counts, (18, 16, 126));
    assert_eq!((neighbours.len(), rules.len()), (26, 19));

    let link = |name| links.iter().find(|link| link.name() == name).unwrap();
    let veth3 = link("veth3");
    assert_eq!((veth3.index(), veth3.group()), (index(7), 42));
    assert_eq!(veth3.alias(), Some("the alias text"));
    assert_eq!(veth3.parent(), Some(index(8)));
    assert!(veth3.flags().contains(LinkFlags::PROMISC));
    assert_eq!(veth3.ipv4_setting(Ipv4Setting::Forwarding), Some(1));
    assert_eq!(veth3.ipv4_setting(Ipv4Setting::RpFilter), Some(0));
    assert_eq!(link("tap0").master(), Some(index(11)));
    assert_eq!(link("tap0").kind(), Some("tun"));
    assert!(link("tap0").is_up() && !link("tap0").is_lower_up());
    assert_eq!(link("peer0").parent(), None, "it is in another namespace");
    assert_eq!((link("lo").mac(), link("lo").kind()), (None, None));

    let peer = Address::new(index(2), net("10.1.0.1/32")).peer("10.1.0.2".parse().unwrap());
    assert!(addresses.contains(&peer));
    let linked = Address::new(index(6), net("192.0.2.129/25")).scope(Scope::LINK);
    assert!(addresses.contains(&linked));

    let gateway = "192.0.2.254".parse().unwrap();
    let onlink = Route::new(net("0.0.0.0/0")).via(gateway).dev(index(6));
    assert!(routes.contains(&onlink.onlink()));
    let nowhere = Route::new(net("2001:db8:103::/48")).kind(RouteKind::UNREACHABLE);
    assert!(routes.contains(&nowhere.protocol(3)));
    let partial: Vec<_> = routes.iter().filter(|route| route.is_partial()).collect();
    let has = |prefix| {
        partial
            .iter()
            .any(|route| route.destination() == net(prefix))
    };
    assert!(has("203.0.115.0/24"), "several next hops");
    assert!(has("203.0.114.0/24"), "own metrics");
    assert!(has("203.0.121.0/24"), "type of service");
    assert!(has("203.0.126.0/24"), "next-hop object");
    assert!(has("2001:db8:104::/48"), "source prefix");
    assert!(has("2001:db8:105::/48"), "encapsulation");

    let whole: Vec<_> = rules.iter().filter(|rule| !rule.is_partial()).collect();
    assert_eq!(whole.len(), 9);
    let from = RoutingRule::ipv4(100)
        .from(net("10.0.0.0/8"))
        .priority(1000);
    assert!(whole.contains(&&from));
    let local = RoutingRule::ipv4(255).priority(0).protocol(2);
    assert!(whole.contains(&&local), "the kernel leaves out priority 0");
}

#[cfg(target_endian = "little")]
#[test]
fn recorded_message_cut_anywhere_is_an_error_or_a_value() {
    for message in recorded() {
        for length in 0..message.body().len() {
            read_all(&message.body()[..length]);
        }
    }
}

#[test]
fn values_are_checked_before_they_are_sent() {
    let link = |id| NewLink::vlan(name("v"), index(1), id).check().is_ok();
    assert_eq!([0, 1, 4094, 4095].map(link), [false, true, true, false]);
    let vni = |vni| NewLink::vxlan(name("v"), Vxlan::new(vni)).check().is_ok();
    assert_eq!([0, (1 << 24) - 1, 1 << 24].map(vni), [true, true, false]);
    let mtu = |mtu| LinkChange::new(index(1)).mtu(mtu).check().is_ok();
    assert_eq!(
        [67, 68, 65_535, 65_536].map(mtu),
        [false, true, true, false]
    );
    let alias = |alias: &str| LinkChange::new(index(1)).alias(alias).check().is_ok();
    assert!(alias(&"a".repeat(255)) && alias(""));
    assert!(!alias(&"a".repeat(256)) && !alias("a\nb") && !alias("a\0b"));
    let veth = NewLink::veth(name("a"), name("b")).peer_index(index(2));
    assert!(
        veth.check().is_err(),
        "the kernel would choose another index"
    );
    assert!(veth.index(index(1)).check().is_ok());
    let route = |route: Route| route.check().is_ok();
    let ipv6 = "2001:db8::1".parse().unwrap();
    assert!(!route(Route::new(net("10.0.0.1/24"))), "host bits");
    assert!(route(Route::new(net("10.0.0.0/24")).via(ipv6)));
    assert!(!route(Route::new(net("10.0.0.0/24")).source(ipv6)));
    let ipv4 = "192.0.2.1".parse().unwrap();
    assert!(!route(Route::new(net("2001:db8::/32")).via(ipv4)));
    let address = Address::new(index(1), net("10.0.0.1/24")).peer(ipv6);
    assert!(address.check().is_err());
    let rule = |rule: RoutingRule| rule.check().is_ok();
    assert!(!rule(RoutingRule::ipv4(1).from(net("2001:db8::/32"))));
    assert!(!rule(RoutingRule::ipv4(1).to(net("10.0.0.1/24"))));
    assert!(!rule(RoutingRule::ipv4(1).fwmark(0x100, 0xff)));
}

#[test]
fn attribute_at_an_error_offset_is_found() {
    let mut bytes = Vec::new();
    let link = NewLink::veth(name("a"), name("b")).mtu(1500);
    let header = Header::new(RTM_NEWLINK, Flags::empty(), 0);
    push_message(&mut bytes, header, |out| link.encode(out)).unwrap();
    let message = Messages::new(&bytes).next().unwrap().unwrap();
    // Behind 16 bytes of netlink header and 16 of ifinfomsg: IFLA_IFNAME (3)
    // of 8 bytes, then IFLA_MTU (4).
    let at = |offset| describe::attribute_at(&message, offset);
    assert_eq!(
        [at(16), at(32), at(40), at(4000)],
        [None, Some(3), Some(4), None]
    );
}

const KINDS: [u16; 11] = [
    RTM_NEWLINK,
    RTM_DELLINK,
    RTM_SETLINK,
    RTM_NEWADDR,
    RTM_DELADDR,
    RTM_NEWROUTE,
    RTM_DELROUTE,
    RTM_NEWNEIGH,
    RTM_DELNEIGH,
    RTM_NEWRULE,
    RTM_DELRULE,
];

/// Has every decoder of this room read `body`.
fn read_all(body: &[u8]) {
    for kind in KINDS {
        let mut bytes = Vec::new();
        push_message(&mut bytes, Header::new(kind, Flags::empty(), 0), |out| {
            out.fixed(body);
        })
        .unwrap();
        let message = Messages::new(&bytes).next().unwrap().unwrap();
        drop(Link::decode(&message));
        drop(RoutingRule::decode(&message));
        drop(describe::Described(&message).to_string());
        let read = (
            Address::decode(&message).is_ok(),
            Route::decode(&message).is_ok(),
            Neighbour::decode(&message).is_ok(),
            describe::attribute_at(&message, 44),
        );
        std::hint::black_box(read);
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 8 } else { 256 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn routes_decode_to_what_was_encoded(
        (ipv4, address, length) in any::<(bool, u128, u8)>(),
        index in proptest::option::of(1..1000_u32),
        gateway in proptest::option::of(any::<(bool, u128)>()),
        source in proptest::option::of(any::<u128>()),
        (table, protocol, onlink, kind, scope) in (1..u32::MAX, any::<u8>(), any::<bool>(), 1..9_u8, any::<Option<u8>>()),
        metric in proptest::option::of(1..u32::MAX),
    ) {
        let destination = prefix(ipv4, address, length);
        let mut route = Route::new(destination).table(table).protocol(protocol);
        route = route.kind(RouteKind::from_number(kind));
        if let Some((other, gateway)) = gateway {
            route = route.via(prefix(ipv4 && other, gateway, 128).addr());
        }
        if let Some(source) = source {
            route = route.source(prefix(ipv4, source, 128).addr());
        }
        if let Some(index) = index.filter(|_| ipv4 || !(6..=9).contains(&kind)) {
            route = route.dev(IfIndex::new(index).unwrap());
        }
        if let Some(metric) = metric {
            route = route.metric(metric);
        }
        if onlink {
            route = route.onlink();
        }
        if let Some(scope) = scope.map(Scope::from_number).filter(|&scope| scope != route.route_scope()) {
            route = route.scope(scope);
        }
        prop_assert_eq!(route.check(), Ok(()));
        let bytes = request(RTM_NEWROUTE, |out| route.encode(out));
        prop_assert_eq!(Route::decode(&only(&bytes)), Ok(Some(route)));
    }

    #[test]
    fn addresses_decode_to_what_was_encoded(
        (ipv4, address, length) in any::<(bool, u128, u8)>(),
        peer in proptest::option::of(any::<u128>()),
        (index, scope, no_dad) in (1..1000_u32, any::<u8>(), any::<bool>()),
    ) {
        let length = length.min(if ipv4 { 32 } else { 128 });
        let net = IpNet::new(prefix(ipv4, address, 128).addr(), length).unwrap();
        let mut address = Address::new(IfIndex::new(index).unwrap(), net);
        address = address.scope(Scope::from_number(scope));
        if let Some(peer) = peer.map(|peer| prefix(ipv4, peer, 128).addr()).filter(|&peer| peer != net.addr()) {
            address = address.peer(peer);
        }
        if no_dad {
            address = address.without_dad();
        }
        prop_assert_eq!(address.check(), Ok(()));
        let bytes = request(RTM_NEWADDR, |out| address.encode(out));
        prop_assert_eq!(Address::decode(&only(&bytes)), Ok(address));
    }

    #[test]
    fn rules_decode_to_what_was_encoded(
        (ipv4, table, priority) in (any::<bool>(), 1..u32::MAX, any::<Option<u32>>()),
        from in proptest::option::of(any::<(u128, u8)>()),
        to in proptest::option::of(any::<(u128, u8)>()),
        (mark, iif, protocol) in (any::<Option<(u32, u32)>>(), any::<bool>(), any::<u8>()),
    ) {
        let mut rule = if ipv4 { RoutingRule::ipv4(table) } else { RoutingRule::ipv6(table) };
        rule = rule.protocol(protocol);
        if let Some(priority) = priority {
            rule = rule.priority(priority);
        }
        if let Some((address, length)) = from {
            rule = rule.from(prefix(ipv4, address, length));
        }
        if let Some((address, length)) = to {
            rule = rule.to(prefix(ipv4, address, length));
        }
        if let Some((mark, mask)) = mark {
            rule = rule.fwmark(mark & mask, mask);
        }
        if iif {
            rule = rule.iif(name("eth0"));
        }
        prop_assert_eq!(rule.check(), Ok(()));
        let bytes = request(RTM_NEWRULE, |out| rule.encode(out));
        prop_assert_eq!(RoutingRule::decode(&only(&bytes)), Ok(Some(rule)));
    }

    #[test]
    fn no_bytes_make_a_decoder_panic(body in proptest::collection::vec(any::<u8>(), 0..120)) {
        read_all(&body);
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn no_damage_to_a_recorded_message_makes_a_decoder_panic(
        which in any::<prop::sample::Index>(),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        length in any::<prop::sample::Index>(),
        cut in any::<bool>(),
    ) {
        let messages: Vec<_> = recorded().filter(|message| !message.body().is_empty()).collect();
        let mut body = which.get(&messages).body().to_vec();
        for (place, byte) in damage {
            *place.get_mut(&mut body) = byte;
        }
        if cut {
            body.truncate(length.index(body.len()));
        }
        read_all(&body);
    }
}
