//! Namespaces come and go, whatever happens to them.

use std::fs;
use std::path::Path;

use ipnet::{Ipv4Net, Ipv6Net};
use libtest_mimic::Trial;
use tapwire::nft::{Batch, Nft};
use tapwire::route::{LinkChange, NewLink, Rtnl};
use tapwire::sys::{NetNs, TapOptions};
use tapwire::{Attachment, Error, Guest, Host, Networks, Owner, Protocol, Settings, Wanted};

use super::{boot, clone, inside, open_tap};
use crate::stand_ins::guest::Guest as Vm;
use crate::support::trials;
use crate::world::{NODE, SOON, World, ask, at, config, exposure};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        attached_clone_is_recalled_by_another_handle,
        clone_that_lost_something_is_completed,
        clone_that_lost_its_namespace_gets_another,
        dead_file_under_the_name_is_no_obstacle,
        name_of_another_host_is_left_alone,
        index_that_is_taken_is_passed_over,
        link_of_another_kind_is_left_alone,
        links_of_others_outlive_what_could_not_be_attached,
        removed_clones_leave_nothing,
        numbers_are_given_again_and_end_where_the_networks_do,
        wanted_clones_are_planned_and_made_in_one_go,
    ]
}

fn names() -> Vec<String> {
    let names = NetNs::names().unwrap().into_iter();
    let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
    names.sort();
    names
}

fn links(world: &World) -> usize {
    let links = || Rtnl::open().unwrap().links().unwrap().len();
    world.node.run(links).unwrap()
}

fn attached_clone_is_recalled_by_another_handle() {
    let world = World::new();
    let mut host = world.host();
    let one = host.attach(&clone("one")).unwrap();
    let routed = host.attach(&Guest::new("routed").unwrap()).unwrap();
    assert_eq!(
        world.host().guests().unwrap(),
        [one.clone(), routed.clone()]
    );
    // Also when someone has emptied the owner's table.
    let flush = || {
        let mut nft = Nft::open().unwrap();
        let mut batch = Batch::new();
        for table in nft.tables().unwrap() {
            batch.delete(&table);
        }
        nft.commit(&mut batch).unwrap();
    };
    world.node.run(flush).unwrap();
    let mut again = world.host();
    assert_eq!(again.guests().unwrap(), [one.clone(), routed]);
    assert_eq!(again.attach(&clone("one")).unwrap(), one);
}

fn reaches(world: &World, host: &mut Host, clone: &Attachment, port: u16) {
    for family in [0, 1] {
        host.expose(&exposure(Protocol::Tcp, port, clone, family))
            .unwrap();
        let answer = ask(&world.outside, Protocol::Tcp, at(NODE[family], port), SOON);
        assert_eq!(answer.unwrap().0, clone.name());
    }
}

/// What someone takes away in a namespace.
type Loss = (&'static str, fn(&Attachment));

fn clone_that_lost_something_is_completed() {
    const IPV6_OFF: &str = "/proc/sys/net/ipv6/conf/all/disable_ipv6";
    let losses: [Loss; 7] = [
        ("the rules in its namespace", |_| {
            let mut nft = Nft::open().unwrap();
            let mut batch = Batch::new();
            for table in nft.tables().unwrap() {
                for chain in nft.chains(&table).unwrap() {
                    if chain.name().as_str() == "to_guest" {
                        batch.flush(&chain);
                    }
                }
            }
            nft.commit(&mut batch).unwrap();
        }),
        ("a gateway in its namespace", |_| {
            let mut rtnl = Rtnl::open().unwrap();
            let all = rtnl.addresses(None).unwrap();
            rtnl.apply(|changes| {
                for address in &all {
                    changes.delete_address(address);
                }
            })
            .unwrap();
        }),
        ("a link that is up in its namespace", |_| {
            let mut rtnl = Rtnl::open().unwrap();
            let all = rtnl.links().unwrap();
            rtnl.apply(|changes| {
                for link in &all {
                    changes.set_link(&LinkChange::new(link.index()).down());
                }
            })
            .unwrap();
        }),
        ("the way out of its namespace", |_| {
            let mut rtnl = Rtnl::open().unwrap();
            let uplink = rtnl.link("eth0".parse().unwrap()).unwrap().unwrap();
            rtnl.apply(|changes| changes.delete_link(uplink.index()))
                .unwrap();
        }),
        ("a route in its namespace", |_| {
            fs::write(IPV6_OFF, "1").unwrap();
        }),
        ("the way out of its namespace", |_| {
            fs::write(IPV6_OFF, "1").unwrap();
            let mut rtnl = Rtnl::open().unwrap();
            let uplink = rtnl.link("eth0".parse().unwrap()).unwrap().unwrap();
            rtnl.apply(|changes| changes.delete_link(uplink.index()))
                .unwrap();
        }),
        ("the TAP in its namespace", |clone| {
            let mut rtnl = Rtnl::open().unwrap();
            let tap = rtnl.link(clone.vmm_tap()).unwrap().unwrap();
            rtnl.apply(|changes| changes.delete_link(tap.index()))
                .unwrap();
        }),
    ];
    let world = World::new();
    let mut host = world.host();
    let wanted = Wanted::new().guest(clone("one"));
    let clone = host.attach(&clone("one")).unwrap();
    assert!(host.plan(&wanted).unwrap().is_empty());
    for (what, lose) in losses {
        inside(&clone).run(|| lose(&clone)).unwrap();
        let plan = host.plan(&wanted).unwrap();
        assert!(plan.to_string().contains(what), "{what}: {plan}");
        host.commit(&plan).unwrap();
        let plan = host.plan(&wanted).unwrap();
        assert!(plan.is_empty(), "{what}: {plan}");
        let vm = Vm::start(open_tap(&host, &clone), config(&clone)).unwrap();
        reaches(&world, &mut host, &clone, 8080);
        vm.stop().unwrap();
        host.apply(&wanted).unwrap();
    }
}

fn clone_that_lost_its_namespace_gets_another() {
    let world = World::new();
    let mut host = world.host();
    let one = host.attach(&clone("one")).unwrap();
    // The link stays until the namespace has gone, a moment later.
    NetNs::remove_named(one.namespace().unwrap()).unwrap();
    assert_eq!(host.attach(&clone("one")).unwrap(), one);
    let _vm = Vm::start(open_tap(&host, &one), config(&one)).unwrap();
    reaches(&world, &mut host, &one, 8080);
    // One that someone is still in stays, with its link: that goes.
    let held = inside(&one);
    NetNs::remove_named(one.namespace().unwrap()).unwrap();
    assert_eq!(host.attach(&clone("one")).unwrap(), one);
    let eth0 = || Rtnl::open().unwrap().link("eth0".parse().unwrap()).unwrap();
    assert!(held.run(eth0).unwrap().is_none());
    assert!(inside(&one).run(eth0).unwrap().is_some());
}

/// Whoever made it was killed before it became a name.
fn dead_file_under_the_name_is_no_obstacle() {
    let world = World::new();
    let mut host = world.host();
    fs::create_dir_all("/run/netns").unwrap();
    fs::write("/run/netns/riklet-0", "").unwrap();
    let (one, _vm) = boot(&mut host, "one");
    reaches(&world, &mut host, &one, 8080);
    fs::write("/run/netns/riklet-1", "").unwrap();
    host.remove().unwrap();
    assert_eq!(names(), Vec::<String>::new());
}

fn name_of_another_host_is_left_alone() {
    let (world, other) = (World::new(), World::new());
    let mut host = world.host();
    let (one, _vm) = boot(&mut host, "one");
    let mut others = other.host();
    let error = others.attach(&clone("one")).unwrap_err();
    assert!(matches!(error, Error::Conflict(_)), "{error:?}");
    assert!(error.to_string().contains("namespace riklet-0"), "{error}");
    assert_eq!(others.guests().unwrap(), []);
    others.remove().unwrap();
    assert_eq!(names(), ["riklet-0"]);
    reaches(&world, &mut host, &one, 8080);
}

fn index_that_is_taken_is_passed_over() {
    let world = World::new();
    let mut host = world.host();
    let one = host.attach(&clone("one")).unwrap();
    let find = || {
        Rtnl::open()
            .unwrap()
            .link(one.tap())
            .unwrap()
            .unwrap()
            .index()
    };
    let index = world.node.run(find).unwrap();
    host.detach("one").unwrap();
    let occupy = || {
        let bridge = NewLink::bridge("squatter".parse().unwrap()).index(index);
        Rtnl::open()
            .unwrap()
            .apply(|changes| changes.add_link(&bridge))
            .unwrap();
    };
    world.node.run(occupy).unwrap();
    let (one, _vm) = boot(&mut host, "one");
    assert_ne!(world.node.run(find).unwrap(), index);
    reaches(&world, &mut host, &one, 8080);
}

fn link_of_another_kind_is_left_alone() {
    let world = World::new();
    let mut host = world.host();
    let occupy = || {
        let bridge = NewLink::bridge("riklet-0".parse().unwrap());
        Rtnl::open()
            .unwrap()
            .apply(|changes| changes.add_link(&bridge))
            .unwrap();
    };
    world.node.run(occupy).unwrap();
    let error = host.attach(&clone("one")).unwrap_err();
    assert!(matches!(error, Error::Conflict(_)), "{error:?}");
    assert_eq!(host.guests().unwrap(), []);
    assert_eq!(names(), Vec::<String>::new());
    assert_eq!(links(&world), 3);
}

/// Also under the owner's names, and of a kind that could be its own.
fn links_of_others_outlive_what_could_not_be_attached() {
    let routed = |name| Guest::new(name).unwrap();
    let tap = || {
        let tap = TapOptions::new("riklet-1".parse().unwrap());
        tap.persistent().create().unwrap();
    };
    refuses(tap, &[clone("a"), clone("b"), clone("c")]);
    refuses(tap, &[routed("a"), clone("b")]);
    refuses(tap, &[routed("a"), routed("b")]);
    let pair = || {
        let pair = NewLink::veth("riklet-1".parse().unwrap(), "other".parse().unwrap());
        Rtnl::open()
            .unwrap()
            .apply(|changes| changes.add_link(&pair))
            .unwrap();
    };
    refuses(pair, &[routed("a"), routed("b"), routed("c")]);
    refuses(pair, &[clone("a"), routed("b")]);
    refuses(pair, &[clone("a"), clone("b")]);
    // Those that other threads make are taken back as well.
    let many: Vec<Guest> = (0..12).map(|place| clone(&format!("c-{place}"))).collect();
    refuses(pair, &many);
}

/// Makes links that are in the way of the second of the guests, and sees that
/// all guests are refused and just these links stay.
fn refuses(occupy: fn(), guests: &[Guest]) {
    let world = World::new();
    let mut host = world.host();
    let there = || {
        let links = || Rtnl::open().unwrap().links().unwrap();
        let links = world.node.run(links).unwrap().into_iter();
        let mut links: Vec<_> = links
            .map(|link| (link.index(), link.name().to_owned()))
            .collect();
        links.sort();
        links
    };
    world.node.run(occupy).unwrap();
    let before = there();
    let mut wanted = Wanted::new();
    wanted.extend(guests.iter().cloned());
    for by_plan in [false, true] {
        let made = if by_plan {
            host.apply(&wanted).map(drop)
        } else {
            host.attach_all(guests).map(drop)
        };
        let error = made.unwrap_err();
        assert!(matches!(error, Error::Conflict(_)), "{error:?}");
        assert_eq!(host.guests().unwrap(), []);
        assert_eq!(names(), Vec::<String>::new());
        assert_eq!(there(), before);
    }
}

fn removed_clones_leave_nothing() {
    let world = World::new();
    let before = links(&world);
    let mut host = world.host();
    let all: Vec<_> = (0..40)
        .map(|number| clone(&format!("clone-{number}")))
        .collect();
    let wanted = all.into_iter().fold(Wanted::new(), Wanted::guest);
    host.apply(&wanted).unwrap();
    assert_eq!(links(&world), before + 40);
    assert_eq!(names().len(), 40);
    let held = inside(&host.guests().unwrap()[0]);
    host.apply(&Wanted::new()).unwrap();
    assert_eq!(links(&world), before);
    assert_eq!(names(), Vec::<String>::new());
    let alone = || Rtnl::open().unwrap().link("eth0".parse().unwrap()).unwrap();
    assert!(
        held.run(alone).unwrap().is_none(),
        "whoever is in there is alone"
    );
    host.remove().unwrap();
    assert!(Path::new("/run/netns").read_dir().unwrap().next().is_none());
}

fn numbers_are_given_again_and_end_where_the_networks_do() {
    let world = World::new();
    let ipv4: Ipv4Net = "10.99.0.0/29".parse().unwrap();
    let ipv6: Ipv6Net = "fd99::/64".parse().unwrap();
    let networks = Networks::new(ipv4, ipv6).unwrap();
    let settings = Settings::new(Owner::new("vhive").unwrap()).networks(networks);
    let mut host = world.node.run(|| Host::with(settings).unwrap()).unwrap();
    let two = ["one", "two"].map(|name| host.attach(&clone(name)).unwrap());
    assert_eq!(two[0].namespace(), Some("vhive-0"));
    assert_eq!(two[1].ipv4().to_string(), "10.99.0.6");
    let error = host.attach(&clone("three")).unwrap_err();
    let Error::Full { capacity, .. } = error else {
        panic!("{error:?}");
    };
    assert_eq!(capacity, 2);
    host.detach("one").unwrap();
    let three = host.attach(&clone("three")).unwrap();
    assert_eq!(three.ipv4(), two[0].ipv4());
    assert_eq!(names(), ["vhive-0", "vhive-1"]);
}

fn wanted_clones_are_planned_and_made_in_one_go() {
    let world = World::new();
    let mut host = world.host();
    let text = |number| format!("tcp/{}->clone-{number}:80", 9000 + number);
    let wanted = (0..5).fold(Wanted::new(), |wanted, number| {
        let exposure = text(number).parse().unwrap();
        wanted
            .guest(clone(&format!("clone-{number}")))
            .exposure(exposure)
    });
    host.apply(&wanted).unwrap();
    assert!(world.host().plan(&wanted).unwrap().is_empty());
    for (number, clone) in host.guests().unwrap().iter().enumerate() {
        let _vm = Vm::start(open_tap(&host, clone), config(clone)).unwrap();
        let port = 9000 + u16::try_from(number).unwrap();
        let answer = ask(&world.outside, Protocol::Tcp, at(NODE[0], port), SOON);
        assert_eq!(answer.unwrap().0, format!("clone-{number}"));
    }
}
