//! Clones come and go.

use std::net::UdpSocket;
use std::thread;

use libtest_mimic::Trial;
use tapwire::route::{Address, LinkChange, NewLink, Route, Rtnl};
use tapwire::sys::NetNs;
use tapwire::{Error, Host, IfIndex, Networks, Owner, Protocol, Settings};

use crate::namespaced::{boot, clone};
use crate::support::trials;
use crate::world::{
    FAMILIES, NEVER, NODE, NODE_TOO, OUTSIDE, SOON, World, ask_from, at, exposure, ip,
};

pub(super) fn trials() -> Vec<Trial> {
    trials![
        clone_that_cannot_be_made_is_not_there,
        numbers_go_on_where_an_octet_ends,
        network_of_docker_is_refused_and_the_route_named,
        two_callers_with_one_name_get_one_clone,
        caller_stays_where_it_is,
        what_a_dead_agent_left_is_removed,
        successor_meets_no_flow_of_its_predecessor,
        way_out_is_the_kernels_choice,
    ]
}

const PORT: u16 = 8080;

fn names() -> usize {
    NetNs::names().unwrap().len()
}

/// Makes a bridge, with its index and an address.
fn add_bridge(name: &str, index: u32, address: &str) {
    let index = IfIndex::new(index).unwrap();
    let bridge = NewLink::bridge(name.parse().unwrap()).index(index);
    let mut rtnl = Rtnl::open().unwrap();
    rtnl.apply(|changes| {
        changes.add_link(&bridge);
        changes.add_address(&Address::new(index, address.parse().unwrap()));
        changes.set_link(&LinkChange::new(index).up());
    })
    .unwrap();
}

fn settings(ipv4: &str) -> Settings {
    let networks = Networks::new(ipv4.parse().unwrap(), "fd09::/64".parse().unwrap());
    Settings::new(Owner::new("riklet").unwrap()).networks(networks.unwrap())
}

/// There, it was put into the pool all the same.
fn clone_that_cannot_be_made_is_not_there() {
    let world = World::new();
    let mut host = world.host();
    let obstacle = || add_bridge("riklet-0", 200, "192.0.2.1/24");
    world.node.run(obstacle).unwrap();
    host.attach(&clone("one")).unwrap_err();
    assert_eq!(host.guests().unwrap(), []);
    assert_eq!(world.host().guests().unwrap(), []);
    assert_eq!(names(), 0);
}

/// There, a number was split into octets of which one went past 255.
fn numbers_go_on_where_an_octet_ends() {
    let world = World::new();
    // The network ends where the 16 384th clone, there, met its end.
    let settings = settings("10.0.0.0/8");
    let mut host = world.node.run(|| Host::with(settings).unwrap()).unwrap();
    let mut last = None;
    for number in 0..66 {
        let one = host.attach(&clone(&format!("clone-{number}"))).unwrap();
        last = Some(one);
    }
    // 64 networks fill an octet.
    assert_eq!(last.unwrap().ipv4().to_string(), "10.0.1.6");
}

fn network_of_docker_is_refused_and_the_route_named() {
    let world = World::new();
    world
        .node
        .run(|| add_bridge("docker0", 200, "172.17.0.1/16"))
        .unwrap();
    let settings = settings("172.17.0.0/16");
    let mut host = world.node.run(|| Host::with(settings).unwrap()).unwrap();
    let error = host.attach(&clone("one")).unwrap_err();
    assert!(matches!(error, Error::Conflict(_)), "{error:?}");
    assert!(error.to_string().contains("docker0"), "{error}");
    assert_eq!((host.guests().unwrap().len(), names()), (0, 0));
    // With the networks that are the default they live side by side.
    drop(host);
    let mut host = world.host();
    host.attach(&clone("one")).unwrap();
}

fn two_callers_with_one_name_get_one_clone() {
    let world = World::new();
    drop(world.host());
    let attach = |_| {
        let mut host = world.host();
        host.attach(&clone("one")).unwrap()
    };
    let got = thread::scope(|scope| {
        let callers: Vec<_> = (0..4).map(|one| scope.spawn(move || attach(one))).collect();
        let got = callers.into_iter().map(|one| one.join().unwrap());
        got.collect::<Vec<_>>()
    });
    assert!(got.iter().all(|one| *one == got[0]));
    assert_eq!(names(), 1);
    let mut host = world.host();
    assert_eq!(host.guests().unwrap(), [got[0].clone()]);
    let wanted = tapwire::Wanted::new().guest(clone("one"));
    let plan = host.plan(&wanted).unwrap();
    assert!(plan.is_empty(), "{plan}");
}

fn caller_stays_where_it_is() {
    let world = World::new();
    let here = NetNs::current().unwrap().id().unwrap();
    let stays = || assert_eq!(NetNs::current().unwrap().id().unwrap(), here);
    let mut host = world.host();
    host.attach(&clone("one")).unwrap();
    stays();
    let obstacle = || add_bridge("riklet-1", 200, "192.0.2.1/24");
    world.node.run(obstacle).unwrap();
    host.attach(&clone("two")).unwrap_err();
    stays();
    // Its namespace is gone under its hands.
    NetNs::remove_named("riklet-0").unwrap();
    host.detach("one").unwrap();
    stays();
}

fn what_a_dead_agent_left_is_removed() {
    let world = World::new();
    let mut host = world.host();
    for name in ["one", "two"] {
        host.attach(&clone(name)).unwrap();
    }
    drop(host);
    let links = || Rtnl::open().unwrap().links().unwrap().len();
    assert_eq!((world.node.run(links).unwrap(), names()), (4, 2));
    world.host().remove().unwrap();
    assert_eq!((world.node.run(links).unwrap(), names()), (2, 0));
}

fn successor_meets_no_flow_of_its_predecessor() {
    let world = World::new();
    let mut host = world.host();
    for family in FAMILIES {
        let (first, vm) = boot(&mut host, "first");
        host.expose(&exposure(Protocol::Udp, PORT, &first, family))
            .unwrap();
        let bind = || UdpSocket::bind(at(OUTSIDE[family], 0)).unwrap();
        let socket = world.outside.run(bind).unwrap();
        socket.set_read_timeout(Some(NEVER)).unwrap();
        let echoes = || {
            socket.send_to(b"ping", at(NODE[family], PORT)).unwrap();
            socket.recv(&mut [0; 64]).is_ok()
        };
        assert!((0..10).any(|_| echoes()), "the flow is there");
        drop(vm);
        host.detach("first").unwrap();
        let (second, vm) = boot(&mut host, "second");
        assert_eq!(second.ipv4(), first.ipv4());
        assert!(!echoes(), "the successor answers");
        assert_eq!(vm.seen(), []);
        drop(vm);
        host.detach("second").unwrap();
    }
}

/// There, the first line with "default" in the words of `route` decided which
/// interface is the way out, once for all VMs.
fn way_out_is_the_kernels_choice() {
    let world = World::new();
    let mut host = world.host();
    // A default route that leads nowhere, and a better one.
    let routes = || {
        add_bridge("default0", 200, "192.0.2.1/24");
        let mut rtnl = Rtnl::open().unwrap();
        let everywhere = Route::new("0.0.0.0/0".parse().unwrap());
        rtnl.apply(|changes| {
            changes.add_route(&everywhere.via(ip("192.0.2.9")));
            changes.add_route(&Route::new("198.51.100.0/24".parse().unwrap()).via(ip(OUTSIDE[0])));
        })
        .unwrap();
    };
    world.node.run(routes).unwrap();
    let address = || {
        let there = Address::new(
            IfIndex::new(100).unwrap(),
            "198.51.100.7/32".parse().unwrap(),
        );
        Rtnl::open()
            .unwrap()
            .apply(|changes| changes.add_address(&there))
            .unwrap();
    };
    world.outside.run(address).unwrap();
    let _server = World::server(&world.outside, 0, PORT);
    let (_clone, vm) = boot(&mut host, "one");
    let (_, seen) = ask_from(&vm, Protocol::Tcp, at("198.51.100.7", PORT), SOON).unwrap();
    assert!(
        [NODE, NODE_TOO].iter().any(|names| ip(names[0]) == seen),
        "{seen}"
    );
}
