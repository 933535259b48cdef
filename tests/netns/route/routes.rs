//! Addresses, routes, neighbours and rules are listed as they were added.

use libtest_mimic::Trial;
use serde_json::Value;
use tapwire::Error;
use tapwire::route::{
    Address, Neighbour, NeighbourState, Route, RouteFilter, RouteKind, RoutingRule, Rtnl, Scope,
};

use super::{addr, ip, mac, name, net, operation, pair};
use crate::support::trials;

pub(super) fn trials() -> Vec<Trial> {
    let mut list = trials![needs ["ip"]:
        addresses_are_listed_as_they_were_added,
        routes_are_listed_as_they_were_added,
        neighbours_are_listed_as_they_were_added,
        rules_are_listed_as_they_were_added_and_never_doubled,
        partial_route_is_deleted_but_not_added,
        rule_of_another_kind_is_partial,
    ];
    list.extend(trials![delete_of_a_route_agrees_in_all_that_is_set,]);
    list
}

fn addresses_are_listed_as_they_were_added() {
    let rtnl = &mut Rtnl::open().unwrap();
    let (left, right) = pair(rtnl);
    let plain = Address::new(left, net("198.51.100.1/30"));
    let peer = Address::new(left, net("10.1.0.1/32")).peer(addr("10.1.0.2"));
    let scoped = Address::new(right, net("169.254.1.1/32")).scope(Scope::LINK);
    let ipv6 = Address::new(left, net("2001:db8::1/64")).without_dad();
    let all = [plain, peer, scoped, ipv6];
    rtnl.apply(|changes| all.iter().for_each(|address| changes.add_address(address)))
        .unwrap();
    let listed = rtnl.addresses(None).unwrap();
    for address in &all {
        assert!(listed.contains(address), "{address} not in {listed:?}");
    }
    let of_right = rtnl.addresses(Some(right)).unwrap();
    assert!(of_right.contains(&scoped));
    assert!(of_right.iter().all(|address| address.index() == right));

    let seen = ip("addr show dev left");
    let seen = seen[0]["addr_info"].as_array().unwrap();
    let of = |local: &str| seen.iter().find(|info| info["local"] == local).unwrap();
    assert_eq!(of("198.51.100.1")["prefixlen"], 30);
    assert_eq!(of("198.51.100.1")["scope"], "global");
    assert_eq!(of("10.1.0.1")["address"], "10.1.0.2");
    assert_eq!(of("2001:db8::1")["nodad"], true);
    assert_eq!(of("2001:db8::1")["tentative"], Value::Null);

    let error = rtnl
        .apply(|changes| changes.add_address(&plain))
        .unwrap_err();
    assert!(error.is_exists());
    assert_eq!(
        operation(&error),
        (Some(0), "add address 198.51.100.1/30 dev 10".into())
    );
    rtnl.apply(|changes| {
        changes.replace_address(&plain);
        for address in &all {
            changes.delete_address(address);
        }
    })
    .unwrap();
    let listed = rtnl.addresses(None).unwrap();
    assert!(all.iter().all(|address| !listed.contains(address)));
    let error = rtnl
        .apply(|changes| changes.delete_address(&plain))
        .unwrap_err();
    assert!(error.is_not_found());
}

fn routes_are_listed_as_they_were_added() {
    let rtnl = &mut Rtnl::open().unwrap();
    let (left, _) = pair(rtnl);
    rtnl.apply(|changes| {
        changes.add_address(&Address::new(left, net("198.51.100.1/30")));
        changes.add_address(&Address::new(left, net("2001:db8::1/64")).without_dad());
    })
    .unwrap();
    let tag = 211;
    let all = [
        Route::new(net("203.0.113.0/24"))
            .via(addr("198.51.100.2"))
            .dev(left),
        Route::new(net("10.9.0.2/32"))
            .dev(left)
            .source(addr("198.51.100.1")),
        Route::new(net("0.0.0.0/0"))
            .via(addr("192.0.2.9"))
            .dev(left)
            .onlink()
            .metric(50),
        Route::new(net("10.10.0.0/16")).dev(left).table(100_000),
        Route::new(net("10.11.0.0/16"))
            .via(addr("2001:db8::2"))
            .dev(left),
        Route::new(net("10.12.0.0/16")).kind(RouteKind::BLACKHOLE),
        Route::new(net("2001:db8:3::/48")).kind(RouteKind::UNREACHABLE),
        Route::new(net("10.13.0.0/16"))
            .dev(left)
            .scope(Scope::UNIVERSE),
        Route::new(net("2001:db8:1::/48"))
            .via(addr("2001:db8::2"))
            .dev(left),
        Route::new(net("2001:db8:2::5/128"))
            .dev(left)
            .metric(7)
            .table(300),
        Route::new(net("::/0")).via(addr("2001:db8::3")).dev(left),
    ]
    .map(|route| route.protocol(tag));
    rtnl.apply(|changes| all.iter().for_each(|route| changes.add_route(route)))
        .unwrap();
    let filter = RouteFilter::new().protocol(tag);
    let listed = rtnl.routes(&filter).unwrap();
    for route in &all {
        assert!(listed.contains(route), "{route} not in {listed:#?}");
    }
    assert_eq!(listed.len(), all.len());
    assert!(listed.iter().all(|route| !route.is_partial()));
    let of_table = rtnl.routes(&RouteFilter::new().table(100_000)).unwrap();
    assert_eq!(of_table, [all[3]]);
    let of_device = rtnl.routes(&filter.dev(left)).unwrap();
    assert_eq!(of_device.len(), 9, "two of eleven lead nowhere");

    let seen = ip("route show table all proto 211");
    let seen = seen.as_array().unwrap();
    let of = |dst: &str| seen.iter().find(|route| route["dst"] == dst).unwrap();
    assert_eq!(of("203.0.113.0/24")["gateway"], "198.51.100.2");
    assert_eq!(of("10.9.0.2")["scope"], "link");
    assert_eq!(of("10.9.0.2")["prefsrc"], "198.51.100.1");
    assert_eq!(of("default")["flags"][0], "onlink");
    assert_eq!(of("10.10.0.0/16")["table"], "100000");
    assert_eq!(of("10.11.0.0/16")["via"]["host"], "2001:db8::2");
    assert_eq!(of("10.12.0.0/16")["type"], "blackhole");

    assert_eq!(rtnl.route_to(addr("203.0.113.77")).unwrap(), Some(all[0]));
    assert_eq!(rtnl.route_to(addr("10.9.0.2")).unwrap(), Some(all[1]));
    assert_eq!(rtnl.route_to(addr("8.8.8.8")).unwrap(), Some(all[2]));
    assert_eq!(rtnl.route_to(addr("2001:db8:1::9")).unwrap(), Some(all[8]));
    let error = rtnl.route_to(addr("10.12.0.1")).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(22), "the blackhole's answer");

    let error = rtnl
        .apply(|changes| changes.add_route(&all[1]))
        .unwrap_err();
    assert!(error.is_exists());
    assert_eq!(
        operation(&error).1,
        "add route 10.9.0.2/32 dev 10 proto 211 src 198.51.100.1"
    );
    rtnl.apply(|changes| {
        changes.replace_route(&all[1]);
        for route in &all {
            changes.delete_route(route);
        }
    })
    .unwrap();
    assert_eq!(rtnl.routes(&filter).unwrap(), []);
    assert_eq!(rtnl.route_to(addr("8.8.8.8")).unwrap(), None);
    assert_eq!(rtnl.route_to(addr("2a00::1")).unwrap(), None);
    let error = rtnl
        .apply(|changes| changes.delete_route(&all[1]))
        .unwrap_err();
    assert!(error.is_not_found());
}

fn delete_of_a_route_agrees_in_all_that_is_set() {
    let rtnl = &mut Rtnl::open().unwrap();
    let (left, right) = pair(rtnl);
    let route = Route::new(net("10.9.0.0/24"))
        .dev(left)
        .protocol(211)
        .metric(5);
    rtnl.apply(|changes| changes.add_route(&route)).unwrap();
    for other in [route.dev(right), route.protocol(212), route.metric(6)] {
        let error = rtnl
            .apply(|changes| changes.delete_route(&other))
            .unwrap_err();
        assert!(error.is_not_found(), "{other}");
    }
    rtnl.apply(|changes| changes.delete_route(&route)).unwrap();
}

fn neighbours_are_listed_as_they_were_added() {
    let rtnl = &mut Rtnl::open().unwrap();
    let (left, right) = pair(rtnl);
    let ipv4 = Neighbour::new(left, addr("10.0.0.2"), mac("02:00:00:00:00:02"));
    let ipv6 = Neighbour::new(left, addr("2001:db8::2"), mac("02:00:00:00:00:03"));
    rtnl.apply(|changes| {
        changes.add_neighbour(&ipv4);
        changes.add_neighbour(&ipv6);
    })
    .unwrap();
    let listed = rtnl.neighbours(Some(left)).unwrap();
    assert!(
        listed.contains(&ipv4) && listed.contains(&ipv6),
        "{listed:?}"
    );
    assert!(!rtnl.neighbours(Some(right)).unwrap().contains(&ipv4));
    assert_eq!(ipv4.state(), NeighbourState::PERMANENT);
    let seen = ip("neigh show to 10.0.0.2");
    assert_eq!(seen[0]["lladdr"], "02:00:00:00:00:02");
    assert_eq!(seen[0]["state"][0], "PERMANENT");
    let moved = Neighbour::new(left, addr("10.0.0.2"), mac("02:00:00:00:00:04"));
    let error = rtnl
        .apply(|changes| changes.add_neighbour(&moved))
        .unwrap_err();
    assert!(error.is_exists());
    assert_eq!(
        operation(&error).1,
        "add neighbour 10.0.0.2 lladdr 02:00:00:00:00:04 dev 10"
    );
    rtnl.apply(|changes| changes.replace_neighbour(&moved))
        .unwrap();
    assert!(rtnl.neighbours(None).unwrap().contains(&moved));
    rtnl.apply(|changes| {
        changes.delete_neighbour(&ipv4);
        changes.delete_neighbour(&ipv6);
    })
    .unwrap();
    assert!(!rtnl.neighbours(None).unwrap().contains(&moved));
}

fn rules_are_listed_as_they_were_added_and_never_doubled() {
    let rtnl = &mut Rtnl::open().unwrap();
    let all = [
        RoutingRule::ipv4(100)
            .priority(1000)
            .from(net("10.0.0.0/8")),
        RoutingRule::ipv4(70_000)
            .priority(1001)
            .to(net("192.0.2.0/24"))
            .iif(name("eth0")),
        RoutingRule::ipv4(102).priority(1002).fwmark(0x10, 0xff),
        RoutingRule::ipv6(103)
            .priority(1003)
            .from(net("2001:db8::/32"))
            .fwmark(1, u32::MAX),
    ]
    .map(|rule| rule.protocol(211));
    rtnl.apply(|changes| all.iter().for_each(|rule| changes.add_rule(rule)))
        .unwrap();
    let listed = rtnl.rules().unwrap();
    for rule in &all {
        assert!(listed.contains(rule), "{rule} not in {listed:#?}");
    }
    assert!(listed.iter().all(|rule| !rule.is_partial()), "{listed:#?}");
    let seen = ip("rule show");
    let seen = seen.as_array().unwrap();
    let of = |priority: u32| {
        seen.iter()
            .find(|rule| rule["priority"] == priority)
            .unwrap()
    };
    assert_eq!(
        (&of(1000)["src"], &of(1000)["srclen"]),
        (&"10.0.0.0".into(), &8.into())
    );
    assert_eq!(of(1001)["iif"], "eth0");
    assert_eq!(of(1001)["table"], "70000");
    assert_eq!(
        (&of(1002)["fwmark"], &of(1002)["fwmask"]),
        (&"0x10".into(), &"0xff".into())
    );

    let error = rtnl.apply(|changes| changes.add_rule(&all[0])).unwrap_err();
    assert!(error.is_exists());
    assert_eq!(
        operation(&error).1,
        "add rule priority 1000 from 10.0.0.0/8 lookup 100 proto 211"
    );
    rtnl.apply(|changes| all.iter().for_each(|rule| changes.delete_rule(rule)))
        .unwrap();
    assert!(
        rtnl.rules()
            .unwrap()
            .iter()
            .all(|rule| rule.protocol_number() != 211)
    );
}

fn partial_route_is_deleted_but_not_added() {
    let rtnl = &mut Rtnl::open().unwrap();
    let (left, _) = pair(rtnl);
    ip("route add 10.9.0.0/24 dev left mtu 1300");
    let routes = rtnl.routes(&RouteFilter::new().dev(left)).unwrap();
    let route = routes
        .iter()
        .find(|route| route.destination() == net("10.9.0.0/24"))
        .unwrap();
    assert!(route.is_partial());
    let error = rtnl
        .apply(|changes| changes.replace_route(route))
        .unwrap_err();
    assert!(matches!(error, Error::Invalid(_)));
    rtnl.apply(|changes| changes.delete_route(route)).unwrap();
}

fn rule_of_another_kind_is_partial() {
    let rtnl = &mut Rtnl::open().unwrap();
    for (priority, kind) in [
        (77, "ipproto tcp dport 80 table 104"),
        (78, "not from 10.0.0.0/8 table 105"),
        (79, "from 10.0.0.0/8 prohibit"),
    ] {
        ip(&format!("rule add {kind} priority {priority}"));
        let rules = rtnl.rules().unwrap();
        let rule = rules
            .iter()
            .find(|rule| rule.priority_number() == Some(priority))
            .unwrap();
        assert!(rule.is_partial(), "{kind}");
        let error = rtnl.apply(|changes| changes.delete_rule(rule)).unwrap_err();
        assert!(matches!(error, Error::Invalid(_)));
    }
}
