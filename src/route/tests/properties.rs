//! What is encoded decodes to the same value, and any bytes to something.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use proptest::prelude::*;

use crate::IfIndex;
use crate::wire::uapi::rtnetlink::{
    RTM_NEWADDR, RTM_NEWLINK, RTM_NEWNEIGH, RTM_NEWQDISC, RTM_NEWROUTE, RTM_NEWRULE, RTM_NEWTFILTER,
};

use super::super::*;
use super::{name, only, request};

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 8 } else { 256 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn routes_decode_to_what_was_encoded(
        (ipv4, address, length) in (any::<bool>(), any::<u128>(), 0..=128_u8),
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
        (ipv4, address, length) in (any::<bool>(), any::<u128>(), 0..=128_u8),
        peer in proptest::option::of(any::<u128>()),
        (index, scope) in (1..1000_u32, any::<u8>()),
        (no_dad, no_prefix_route) in any::<(bool, bool)>(),
    ) {
        let length = if ipv4 { length / 4 } else { length };
        let net = IpNet::new(prefix(ipv4, address, 128).addr(), length).unwrap();
        let mut address = Address::new(IfIndex::new(index).unwrap(), net);
        address = address.scope(Scope::from_number(scope));
        if let Some(peer) = peer.map(|peer| prefix(ipv4, peer, 128).addr()).filter(|&peer| peer != net.addr()) {
            address = address.peer(peer);
        }
        if no_dad {
            address = address.without_dad();
        }
        if no_prefix_route {
            address = address.without_prefix_route();
        }
        prop_assert_eq!(address.check(), Ok(()));
        let bytes = request(RTM_NEWADDR, |out| address.encode(out));
        prop_assert_eq!(Address::decode(&only(&bytes)), Ok(address));
    }

    #[test]
    fn rules_decode_to_what_was_encoded(
        (ipv4, table, priority) in (any::<bool>(), 1..u32::MAX, any::<Option<u32>>()),
        from in proptest::option::of((any::<u128>(), 0..=128_u8)),
        to in proptest::option::of((any::<u128>(), 0..=128_u8)),
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
}

/// Has every decoder of this room read `body`.
pub(super) fn read_all(body: &[u8]) {
    for kind in [
        RTM_NEWLINK,
        RTM_NEWADDR,
        RTM_NEWROUTE,
        RTM_NEWNEIGH,
        RTM_NEWRULE,
        RTM_NEWQDISC,
        RTM_NEWTFILTER,
    ] {
        let bytes = request(kind, |out| out.fixed(body));
        let message = only(&bytes);
        // Reads the body as what the message says it is.
        drop(describe::Described(&message).to_string());
        std::hint::black_box(describe::attribute_at(&message, 44));
        if kind == RTM_NEWLINK {
            drop(Link::decode(&message));
        }
    }
}

/// The prefix of `address`; of `length`, 0 to 128, IPv4 takes a quarter.
fn prefix(ipv4: bool, address: u128, length: u8) -> IpNet {
    let address = if ipv4 {
        IpAddr::from(Ipv4Addr::from_bits(u32::try_from(address >> 96).unwrap()))
    } else {
        IpAddr::from(Ipv6Addr::from_bits(address))
    };
    let length = if ipv4 { length / 4 } else { length };
    IpNet::new(address, length).unwrap().trunc()
}
