//! Links are made, changed, listed and deleted.

use libtest_mimic::Trial;
use tapwire::Error;
use tapwire::route::{Link, LinkChange, MacvtapMode, NewLink, RouteFilter, Rtnl, Vxlan};
use tapwire::sys::NetNs;

use super::{addr, index, ip, mac, name, operation, pair};
use crate::support::trials;

pub(super) fn trials() -> Vec<Trial> {
    let mut list = trials![needs ["ip"]:
        veth_gets_what_it_was_given,
        veth_goes_straight_into_another_namespace,
        link_moves_to_another_namespace,
        every_setter_of_a_change_reaches_the_kernel,
        macvtap_and_vxlan_are_made,
        vlan_is_made_or_refused_in_the_kernels_words,
    ];
    list.extend(trials![
        absent_link_is_none,
        group_is_deleted_at_once,
        two_thousand_links_are_listed_completely,
    ]);
    list
}

fn veth_gets_what_it_was_given() {
    let rtnl = &mut Rtnl::open().unwrap();
    // 255 bytes, the most that there may be.
    let alias = "é".repeat(127) + "e";
    rtnl.apply(|changes| {
        changes.add_link(
            &NewLink::veth(name("near"), name("far"))
                .index(index(100))
                .mac(mac("02:00:00:00:00:0a"))
                .mtu(1400)
                .group(7)
                .up()
                .peer_index(index(200))
                .peer_mac(mac("02:00:00:00:00:0b")),
        );
        changes.set_link(&LinkChange::new(index(200)).up());
        changes.set_link(&LinkChange::new(index(100)).alias(&alias));
    })
    .unwrap();

    let seen = &ip("link show dev near")[0];
    assert_eq!(seen["ifindex"], 100);
    assert_eq!(seen["address"], "02:00:00:00:00:0a");
    assert_eq!(seen["mtu"], 1400);
    assert_eq!(seen["group"], "7");
    assert_eq!(seen["ifalias"], alias);
    assert_eq!(seen["linkinfo"]["info_kind"], "veth");
    let seen = &ip("link show dev far")[0];
    assert_eq!(seen["ifindex"], 200);
    assert_eq!(seen["address"], "02:00:00:00:00:0b");
    assert_eq!(seen["mtu"], 1400);
    assert_eq!(seen["operstate"], "UP");

    let link = rtnl.link(name("near")).unwrap().unwrap();
    assert_eq!(Some(&link), rtnl.link_at(index(100)).unwrap().as_ref());
    assert_eq!(link.index(), index(100));
    assert_eq!(link.name(), "near");
    assert_eq!(link.mac(), Some(mac("02:00:00:00:00:0a")));
    assert_eq!((link.mtu(), link.group()), (1400, 7));
    assert_eq!(link.kind(), Some("veth"));
    assert_eq!(link.alias(), Some(alias.as_str()));
    assert_eq!(link.parent(), Some(index(200)));
    assert!(link.is_up() && link.is_running() && link.is_lower_up());
    assert!(rtnl.links().unwrap().contains(&link));
}

fn absent_link_is_none() {
    let rtnl = &mut Rtnl::open().unwrap();
    assert_eq!(rtnl.link(name("none")).unwrap(), None);
    assert_eq!(rtnl.link_at(index(4711)).unwrap(), None);
    assert_eq!(rtnl.addresses(Some(index(4711))).unwrap(), []);
    assert_eq!(rtnl.routes(&RouteFilter::new().table(4711)).unwrap(), []);
    assert_eq!(
        rtnl.routes(&RouteFilter::new().dev(index(4711))).unwrap(),
        []
    );
    assert_eq!(rtnl.neighbours(Some(index(4711))).unwrap(), []);
}

fn veth_goes_straight_into_another_namespace() {
    let rtnl = &mut Rtnl::open().unwrap();
    let other = NetNs::new().unwrap();
    rtnl.apply(|changes| {
        let veth = NewLink::veth(name("clone0"), name("eth0"));
        changes.add_link(
            &veth
                .index(index(50))
                .peer_index(index(3))
                .peer_netns(&other),
        );
    })
    .unwrap();
    let near = rtnl.link(name("clone0")).unwrap().unwrap();
    assert_eq!(near.parent(), None, "the peer's index counts elsewhere");
    assert_eq!(rtnl.link(name("eth0")).unwrap(), None);
    let inside = other.run(|| ip("link show dev eth0")).unwrap();
    assert_eq!(inside[0]["ifindex"], 3);
}

fn link_moves_to_another_namespace() {
    let rtnl = &mut Rtnl::open().unwrap();
    pair(rtnl);
    let other = NetNs::new().unwrap();
    rtnl.apply(|changes| {
        changes.set_link(
            &LinkChange::new(index(11))
                .rename(name("moved"))
                .netns(&other),
        );
    })
    .unwrap();
    assert_eq!(rtnl.link(name("right")).unwrap(), None);
    let inside = other.run(|| ip("link show dev moved")).unwrap();
    assert_eq!(inside[0]["ifindex"], 11);
}

fn every_setter_of_a_change_reaches_the_kernel() {
    let rtnl = &mut Rtnl::open().unwrap();
    let (left, right) = pair(rtnl);
    let bridge = index(20);
    rtnl.apply(|changes| {
        changes.add_link(&NewLink::bridge(name("br0")).index(bridge).up());
        // A link that is up can be renamed since Linux 6.2.
        changes.set_link(&LinkChange::new(left).down());
        changes.set_link(
            &LinkChange::new(left)
                .rename(name("port"))
                .mac(mac("02:00:00:00:00:0c"))
                .mtu(1300)
                .group(9)
                .alias("a text")
                .master(bridge),
        );
    })
    .unwrap();
    let seen = &ip("link show dev port")[0];
    assert_eq!(seen["address"], "02:00:00:00:00:0c");
    assert_eq!(seen["mtu"], 1300);
    assert_eq!(seen["group"], "9");
    assert_eq!(seen["ifalias"], "a text");
    assert_eq!(seen["master"], "br0");
    assert_eq!(seen["operstate"], "DOWN");
    assert_eq!(
        rtnl.link_at(left).unwrap().and_then(|link| link.master()),
        Some(bridge)
    );

    rtnl.apply(|changes| {
        changes.set_link(&LinkChange::new(left).no_master().alias("").up());
        changes.delete_link(bridge);
    })
    .unwrap();
    let link = rtnl.link_at(left).unwrap().unwrap();
    assert_eq!((link.master(), link.alias()), (None, None));
    assert!(link.is_up());

    rtnl.apply(|changes| changes.delete_link(right)).unwrap();
    assert_eq!(rtnl.link_at(left).unwrap(), None, "a pair goes together");
}

fn macvtap_and_vxlan_are_made() {
    let rtnl = &mut Rtnl::open().unwrap();
    let (left, right) = pair(rtnl);
    let tunnel = Vxlan::new(77)
        .local(addr("192.0.2.1"))
        .remote(addr("192.0.2.2"))
        .port(8472)
        .dev(right);
    rtnl.apply(|changes| {
        changes.add_link(&NewLink::macvtap(name("mvt0"), left, MacvtapMode::PASSTHRU));
        changes.add_link(&NewLink::bridge(name("br0")).index(index(30)));
        changes.add_link(&NewLink::vxlan(name("vx0"), tunnel).master(index(30)));
    })
    .unwrap();
    let seen = &ip("link show dev mvt0")[0];
    assert_eq!(seen["linkinfo"]["info_data"]["mode"], "passthru");
    assert_eq!(seen["link"], "left");
    let seen = &ip("link show dev vx0")[0];
    let data = &seen["linkinfo"]["info_data"];
    assert_eq!((&data["id"], &data["port"]), (&77.into(), &8472.into()));
    assert_eq!(data["local"], "192.0.2.1");
    assert_eq!(data["remote"], "192.0.2.2");
    assert_eq!(data["link"], "right");
    assert_eq!(seen["master"], "br0");
}

/// This kernel may have VLANs or not; either way the answer must be its own.
fn vlan_is_made_or_refused_in_the_kernels_words() {
    let rtnl = &mut Rtnl::open().unwrap();
    let (left, _) = pair(rtnl);
    let made = rtnl.apply(|changes| {
        changes.add_link(&NewLink::vlan(name("left.7"), left, 7).index(index(40)));
    });
    match made {
        Ok(()) => {
            let seen = &ip("link show dev left.7")[0];
            assert_eq!(seen["linkinfo"]["info_data"]["id"], 7);
        }
        Err(error) => {
            assert_eq!(
                operation(&error),
                (Some(0), "add link left.7 type vlan".into())
            );
            assert_eq!(error.raw_os_error(), Some(95));
            let source = std::error::Error::source(&error).unwrap().to_string();
            assert!(source.ends_with("Unknown device type"), "{source}");
        }
    }
}

fn group_is_deleted_at_once() {
    let rtnl = &mut Rtnl::open().unwrap();
    rtnl.apply(|changes| {
        for number in 0..3 {
            let veth = NewLink::veth(name(&format!("a{number}")), name(&format!("b{number}")));
            changes.add_link(&veth.group(5));
        }
        changes.add_link(&NewLink::bridge(name("stays")));
    })
    .unwrap();
    rtnl.apply(|changes| changes.delete_links_of_group(5))
        .unwrap();
    let links = rtnl.links().unwrap();
    let names: Vec<_> = links.iter().map(Link::name).collect();
    assert_eq!(names, ["lo", "stays"]);
    let error = rtnl
        .apply(|changes| changes.delete_links_of_group(5))
        .unwrap_err();
    assert!(error.is_not_found());
    assert_eq!(operation(&error).1, "delete links of group 5");
    let error = rtnl
        .apply(|changes| changes.delete_links_of_group(0))
        .unwrap_err();
    assert!(matches!(error, Error::Invalid(_)));
}

fn two_thousand_links_are_listed_completely() {
    let rtnl = &mut Rtnl::open().unwrap();
    rtnl.apply(|changes| {
        for number in 1000..2000 {
            let (near, far) = (format!("near{number}"), format!("far{number}"));
            let veth = NewLink::veth(name(&near), name(&far)).group(1);
            changes.add_link(
                &veth
                    .index(index(number))
                    .peer_index(index(number.saturating_add(4000))),
            );
        }
    })
    .unwrap();
    let links = rtnl.links().unwrap();
    assert_eq!(links.len(), 2001);
    for number in 1000..2000 {
        assert_eq!(
            links
                .iter()
                .filter(|link| link.index() == index(number))
                .count(),
            1
        );
    }
    rtnl.apply(|changes| changes.delete_links_of_group(1))
        .unwrap();
}
