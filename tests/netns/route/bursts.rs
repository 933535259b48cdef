//! Several changes at once, and the events that tell of them.

use std::time::Duration;

use libtest_mimic::Trial;
use tapwire::route::{Address, Changes, Event, LinkChange, NewLink, Route, Rtnl, Watch};

use super::{index, name, net, operation, pair};
use crate::support::trials;

pub(super) fn trials() -> Vec<Trial> {
    trials![
        bad_third_operation_is_named_and_the_others_are_applied,
        invalid_value_keeps_the_whole_burst_back,
        watch_reports_links_addresses_and_routes,
        watch_tells_of_a_loss,
    ]
}

fn bad_third_operation_is_named_and_the_others_are_applied() {
    let rtnl = &mut Rtnl::open().unwrap();
    let (left, _) = pair(rtnl);
    let bad = Address::new(index(999), net("10.0.0.1/24"));
    let queue = |changes: &mut Changes<'_>| {
        changes.replace_address(&Address::new(left, net("10.0.1.1/24")));
        changes.replace_address(&Address::new(left, net("10.0.2.1/24")));
        changes.add_address(&bad);
        changes.replace_address(&Address::new(left, net("10.0.3.1/24")));
        changes.delete_link(index(998));
    };
    let error = rtnl.apply(queue).unwrap_err();
    assert_eq!(
        operation(&error),
        (Some(2), "add address 10.0.0.1/24 dev 999".into())
    );
    assert_eq!(
        error.to_string(),
        "operation 2: add address 10.0.0.1/24 dev 999"
    );
    assert!(error.is_not_found());
    let ipv4 = |address: &&Address| address.net().addr().is_ipv4();
    assert_eq!(
        rtnl.addresses(Some(left))
            .unwrap()
            .iter()
            .filter(ipv4)
            .count(),
        3
    );
    let errors = rtnl.attempt(queue).unwrap();
    let places: Vec<_> = errors.iter().map(|error| operation(error).0).collect();
    assert_eq!(places, [Some(2), Some(4)]);
}

fn invalid_value_keeps_the_whole_burst_back() {
    let rtnl = &mut Rtnl::open().unwrap();
    let (left, _) = pair(rtnl);
    let error = rtnl
        .apply(|changes| {
            changes.set_link(&LinkChange::new(left).group(3));
            changes.add_route(&Route::new(net("10.0.0.1/8")).dev(left));
            changes.add_link(&NewLink::vlan(name("v"), left, 5000));
        })
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "destination \"10.0.0.1/8\" has host bits set"
    );
    assert_eq!(rtnl.link_at(left).unwrap().unwrap().group(), 0);
    rtnl.apply(|_| ()).unwrap();
}

fn watch_reports_links_addresses_and_routes() {
    let rtnl = &mut Rtnl::open().unwrap();
    let mut watch = Rtnl::watch().unwrap();
    let (left, _) = pair(rtnl);
    let address = Address::new(left, net("198.51.100.1/30"));
    let route = Route::new(net("203.0.113.0/24")).dev(left);
    rtnl.apply(|changes| {
        changes.add_address(&address);
        changes.add_route(&route);
        changes.delete_route(&route);
        changes.delete_address(&address);
        changes.delete_link(left);
    })
    .unwrap();
    let events = drain(&mut watch);
    let made = |event: &Event| matches!(event, Event::Link(link) if link.name() == "left");
    assert!(events.iter().any(made), "{events:#?}");
    let gone = |event: &Event| matches!(event, Event::LinkGone(link) if link.name() == "left");
    assert!(events.iter().any(gone));
    assert!(events.contains(&Event::Address(address)));
    assert!(events.contains(&Event::AddressGone(address)));
    assert!(events.contains(&Event::Route(route)));
    assert!(events.contains(&Event::RouteGone(route)));
    assert!(!events.contains(&Event::Overrun));
}

fn watch_tells_of_a_loss() {
    let rtnl = &mut Rtnl::open().unwrap();
    let mut watch = Rtnl::watch().unwrap();
    watch.set_buffer(4096).unwrap();
    for _ in 0..20 {
        pair(rtnl);
        rtnl.apply(|changes| changes.delete_link(index(10)))
            .unwrap();
    }
    assert!(drain(&mut watch).contains(&Event::Overrun));
    watch.set_buffer(1 << 20).unwrap();
    pair(rtnl);
    assert!(
        matches!(drain(&mut watch).first(), Some(Event::Link(_))),
        "reads on"
    );
}

fn drain(watch: &mut Watch) -> Vec<Event> {
    std::iter::from_fn(|| watch.next_event(Duration::from_millis(50)).unwrap()).collect()
}
