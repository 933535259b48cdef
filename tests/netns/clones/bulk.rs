//! Many come and go at once.

use std::collections::HashSet;

use libtest_mimic::Trial;
use tapwire::conntrack::{FlowFilter, flows};
use tapwire::nft::{Family, Name, Nft};
use tapwire::route::{Link, LinkChange, NewLink, Rtnl};
use tapwire::sys::TapOptions;
use tapwire::{Error, Guest, GuestName, Host, IfIndex, Protocol, Wanted};

use super::{clone, direct};
use crate::support::trials;
use crate::world::{NODE, SOON, World, ask, ask_from, at, each_kind};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        many_are_attached_and_detached_at_once,
        one_that_cannot_be_attached_takes_all_back,
        removal_in_bulk_leaves_other_links_alone,
        flows_of_those_that_go_end_and_of_those_that_stay_go_on,
        plan_of_many_is_as_one_by_one,
    ]
}

/// Some routed, most clones, and two of them peers.
fn many() -> Vec<Guest> {
    let mut guests: Vec<Guest> = (0..300)
        .map(|number| clone(&format!("clone-{number}")))
        .collect();
    guests.extend((0..10).map(|number| Guest::new(&format!("routed-{number}")).unwrap()));
    let second = GuestName::new("clone-1").unwrap();
    guests[0] = clone("clone-0").peer(&second);
    guests
}

fn names(guests: &[Guest]) -> Vec<&str> {
    guests.iter().map(|guest| guest.name().as_str()).collect()
}

fn many_are_attached_and_detached_at_once() {
    let world = World::new();
    let mut host = world.host();
    let (first, first_vm) = world.boot_as(&mut host, &clone("first"));
    let guests = many();
    let attached = host.attach_all(&guests).unwrap();
    assert!(attached.iter().zip(&guests).all(|(one, guest)| {
        one.name() == guest.name().as_str() && one.connection() == guest.wanted_connection()
    }));
    assert_eq!(host.attach_all(&guests).unwrap(), attached, "repeated");
    let listed = world.host().guests().unwrap();
    assert_eq!(listed[1..], attached);
    assert_eq!(listed[0], first);
    let mut one_by_one = Wanted::new().guest(clone("first"));
    one_by_one.extend(many());
    let plan = world.host().plan(&one_by_one).unwrap();
    assert!(plan.is_empty(), "{plan}");
    let [one, peer, last] =
        [0, 1, 299].map(|place| (&attached[place], world.start(&attached[place])));
    for (protocol, family) in each_kind() {
        for (clone, _) in [&one, &peer, &last] {
            assert!(ask(&world.node, protocol, direct(clone, family), SOON).is_some());
        }
        assert!(ask_from(&one.1, protocol, direct(peer.0, family), SOON).is_some());
    }
    let error = host.detach_all(&["clone-7", "nobody"]).unwrap_err();
    assert_eq!(error.to_string(), "no guest named nobody");
    assert_eq!(host.guests().unwrap().len(), 311, "nothing was changed");
    host.detach_all(&names(&guests)).unwrap();
    assert_eq!(host.guests().unwrap(), std::slice::from_ref(&first));
    assert_eq!(world.host().guests().unwrap(), std::slice::from_ref(&first));
    let to = direct(&first, 0);
    assert!(
        ask(&world.node, Protocol::Tcp, to, SOON).is_some(),
        "it is as it was"
    );
    drop(first_vm);
    let links = world.node.run(|| Rtnl::open().unwrap().links().unwrap());
    assert_eq!(links.unwrap().len(), 3, "lo, the uplink and the first");
    host.detach("first").unwrap();
    assert_eq!(elements_of_guests(&world), 0);
}

/// How many elements are left in the sets of guests.
fn elements_of_guests(world: &World) -> usize {
    let count = || {
        let mut nft = Nft::open().unwrap();
        let mut count = 0;
        for family in [Family::INET, Family::ARP] {
            let table = nft.table(family, &Name::constant("riklet"));
            let table = table.unwrap().unwrap();
            for set in nft.sets(&table).unwrap() {
                let name = set.name().as_str();
                if !name.starts_with("uplinks") && !name.starts_with("__") {
                    count += nft.elements(&set).unwrap().len();
                }
            }
        }
        count
    };
    world.node.run(count).unwrap()
}

fn one_that_cannot_be_attached_takes_all_back() {
    let world = World::new();
    let mut host = world.host();
    let first = host.attach(&clone("first")).unwrap();
    // Someone has a link of the name that the third would have.
    let in_the_way = || {
        TapOptions::new("riklet-x".parse().unwrap())
            .persistent()
            .create()
            .unwrap();
        let mut rtnl = Rtnl::open().unwrap();
        let [name, peer] = ["riklet-3", "other"].map(|name| name.parse().unwrap());
        rtnl.apply(|changes| changes.add_link(&NewLink::veth(name, peer)))
            .unwrap();
    };
    world.node.run(in_the_way).unwrap();
    let guests = ["a", "b", "c", "d"].map(clone);
    let error = host.attach_all(&guests).unwrap_err();
    assert!(matches!(error, Error::Conflict(_)), "{error:?}");
    assert_eq!(host.guests().unwrap(), std::slice::from_ref(&first));
    let listed = |host: &mut Host| host.guests().unwrap();
    assert_eq!(listed(&mut world.host()), [first]);
    let twice = host.attach_all(&[clone("a"), clone("a")]).unwrap_err();
    assert_eq!(twice.to_string(), "guest \"a\" is there twice");
    let other = clone("first").mac("06:00:ac:10:00:03".parse().unwrap());
    let error = host.attach_all(&[clone("z"), other]).unwrap_err();
    assert!(matches!(error, Error::Invalid(_)), "{error:?}");
    assert_eq!(host.guests().unwrap().len(), 1);
    host.detach("first").unwrap();
    assert_eq!(elements_of_guests(&world), 0);
}

/// Whatever group a link of others is in: also in the one that would be
/// taken first.
fn removal_in_bulk_leaves_other_links_alone() {
    let world = World::new();
    let mut host = world.host();
    let guests = many();
    host.attach_all(&guests).unwrap();
    let groups = || -> HashSet<u32> {
        let links = Rtnl::open().unwrap().links().unwrap();
        let taps = links.iter().filter(|link| link.kind() == Some("tun"));
        taps.map(Link::group).collect()
    };
    let together = Vec::from_iter(world.node.run(groups).unwrap());
    let [together] = together[..] else {
        panic!("they are attached together: {together:?}")
    };
    assert_ne!(together, 0);
    // One of others' joins the guests' own group, two what they may be
    // gathered in.
    let gathering = 0x7400_0000 | (std::process::id() & 0x00ff_ffff);
    let taken = [together, gathering, gathering + 1];
    let others = || {
        let mut rtnl = Rtnl::open().unwrap();
        rtnl.apply(|changes| {
            for (place, group) in (0..).zip(taken) {
                let [name, peer] =
                    [0, 1].map(|end| format!("other-{place}-{end}").parse().unwrap());
                let index = IfIndex::new(5000 + place).unwrap();
                changes.add_link(&NewLink::veth(name, peer).index(index));
                let change = LinkChange::new(index).group(group);
                changes.set_link(&change);
            }
        })
        .unwrap();
    };
    let (some, rest) = guests.split_at(2);
    host.detach_all(&names(some)).unwrap();
    assert_eq!(world.node.run(groups).unwrap(), HashSet::from([together]));
    assert_eq!(host.guests().unwrap().len(), rest.len(), "the rest stays");
    world.node.run(others).unwrap();
    host.detach_all(&names(rest)).unwrap();
    let links = world.node.run(|| Rtnl::open().unwrap().links().unwrap());
    let mut names: Vec<String> = links
        .unwrap()
        .iter()
        .map(|link| link.name().into())
        .collect();
    names.sort_unstable();
    let others = [
        "other-0-0",
        "other-0-1",
        "other-1-0",
        "other-1-1",
        "other-2-0",
        "other-2-1",
    ];
    assert_eq!(names, [&["eth0", "lo"][..], &others].concat());
}

fn flows_of_those_that_go_end_and_of_those_that_stay_go_on() {
    let world = World::new();
    let mut host = world.host();
    let clones = super::boot_three(&world, &mut host);
    for (place, (clone, _)) in (0_u16..).zip(&clones) {
        for protocol in ["tcp", "udp"] {
            let text = format!("{protocol}/{}->{}:80", 8000 + place, clone.name());
            host.expose(&text.parse().unwrap()).unwrap();
        }
        for (protocol, family) in each_kind() {
            let to = at(NODE[family], 8000 + place);
            assert!(ask(&world.outside, protocol, to, SOON).is_some());
        }
    }
    let of = || {
        let list = || {
            let mut nft = Nft::open().unwrap();
            [FlowFilter::ipv4(), FlowFilter::ipv6()]
                .iter()
                .flat_map(|family| flows(nft.connection_mut(), family).unwrap())
                .map(|flow| flow.reply().source())
                .collect::<Vec<_>>()
        };
        world.node.run(list).unwrap()
    };
    let before = of();
    for (clone, _) in &clones {
        assert!(before.contains(&clone.ipv4().into()) && before.contains(&clone.ipv6().into()));
    }
    host.detach_all(&["a", "b"]).unwrap();
    let after = of();
    for (place, (clone, _)) in clones.iter().enumerate() {
        let has = after.contains(&clone.ipv4().into()) || after.contains(&clone.ipv6().into());
        assert_eq!(has, place == 2, "{}", clone.name());
    }
    assert_eq!(host.exposures().unwrap().len(), 2);
    assert!(ask(&world.outside, Protocol::Tcp, at(NODE[0], 8002), SOON).is_some());
}

fn plan_of_many_is_as_one_by_one() {
    let world = World::new();
    let mut host = world.host();
    let mut wanted = Wanted::new();
    wanted.extend(many());
    host.apply(&wanted).unwrap();
    let by_plan = host.guests().unwrap();
    assert_eq!(world.host().attach_all(&many()).unwrap(), by_plan);
    assert!(host.plan(&wanted).unwrap().is_empty());
    host.apply(&Wanted::new()).unwrap();
    assert_eq!(host.guests().unwrap(), []);
    assert_eq!(elements_of_guests(&world), 0);
}
