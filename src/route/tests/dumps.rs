//! What the kernel dumps is read, and damaged it is an error.

use proptest::prelude::*;

use crate::wire::uapi::rtnetlink::{
    RTM_NEWADDR, RTM_NEWLINK, RTM_NEWNEIGH, RTM_NEWROUTE, RTM_NEWRULE,
};
use crate::wire::{Message, Messages};

use super::super::*;
use super::properties::read_all;
use super::{index, net};

/// What Linux 6.18 answered to the dumps of a namespace that held one of
/// nearly everything that `ip` can make; one answer after another, each with
/// its netlink header.
const DUMPS: [&[u8]; 10] = [
    include_bytes!("../../../tests/testdata/rtnl/link.bin"),
    include_bytes!("../../../tests/testdata/rtnl/addr4.bin"),
    include_bytes!("../../../tests/testdata/rtnl/addr6.bin"),
    include_bytes!("../../../tests/testdata/rtnl/route4.bin"),
    include_bytes!("../../../tests/testdata/rtnl/route6.bin"),
    include_bytes!("../../../tests/testdata/rtnl/route_mpls.bin"),
    include_bytes!("../../../tests/testdata/rtnl/neigh4.bin"),
    include_bytes!("../../../tests/testdata/rtnl/neigh6.bin"),
    include_bytes!("../../../tests/testdata/rtnl/rule_f2.bin"),
    include_bytes!("../../../tests/testdata/rtnl/rule_f10.bin"),
];

fn recorded() -> impl Iterator<Item = Message<'static>> {
    let messages = DUMPS.iter().flat_map(|dump| Messages::new(dump));
    messages.map(Result::unwrap)
}

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

#[test]
fn recorded_message_cut_anywhere_is_an_error_or_a_value() {
    for message in recorded() {
        for length in 0..message.body().len() {
            read_all(&message.body()[..length]);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 8 } else { 256 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

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

#[test]
fn next_hops_nested_as_deep_as_bytes_go_do_not_exhaust_the_stack() {
    let mut hops: Vec<u8> = Vec::new();
    while let Ok(length) = u16::try_from(hops.len() + 12) {
        let [l0, l1] = length.to_ne_bytes();
        let [h0, h1] = (length - 4).to_ne_bytes();
        let head = [l0, l1, 9, 0, h0, h1, 0, 0, 1, 0, 0, 0];
        hops.splice(0..0, head);
    }
    let header = [2, 0, 0, 0, 254, 4, 0, 1, 0, 0, 0, 0];
    let bytes = super::request(RTM_NEWROUTE, |out| {
        out.fixed(&[&header[..], &hops].concat());
    });
    assert!(
        Route::decode(&super::only(&bytes))
            .unwrap()
            .unwrap()
            .is_partial()
    );
}
