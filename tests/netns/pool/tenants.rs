//! Who gets a network, and what they find there.

use std::collections::HashSet;
use std::io::ErrorKind;
use std::net::UdpSocket;
use std::sync::Mutex;
use std::thread;

use libtest_mimic::Trial;
use tapwire::conntrack::{FlowFilter, flows};
use tapwire::nft::Nft;
use tapwire::route::{Neighbour, Rtnl};
use tapwire::sys::{NetNs, Tap, TapOptions};
use tapwire::{Attachment, Connection, Egress, Guest, Host, Pool, PoolSettings, Protocol, Rate};

use super::{PATIENCE, await_taken_down, each_way, filled, room_for, start, take};
use crate::clones::direct;
use crate::support::trials;
use crate::world::{
    FAMILIES, NEVER, NODE, NODE_TOO, OUTSIDE, SOON, World, address_of, ask, ask_from, at,
    each_kind, ip, within,
};

pub(super) fn trials() -> Vec<Trial> {
    trials![
        taken_network_works_at_once,
        taken_networks_are_replaced,
        successor_finds_nothing_of_its_predecessor,
        flows_of_the_predecessor_do_not_reach_its_successor,
        predecessor_that_holds_the_tap_hears_nothing,
        many_threads_take_and_put_back,
    ]
}

/// By its own address and by exposures by name, and it reaches the outside.
fn taken_network_works_at_once() {
    for like in each_way() {
        let world = World::new();
        let pool = filled(&world, &like, 3);
        let mut host = world.host();
        let networks: Vec<Attachment> = (0..3).map(|_| take(&pool)).collect();
        let _servers = FAMILIES.map(|family| World::server(&world.outside, family, SERVER[family]));
        for (network, port) in networks.iter().zip(8000..) {
            let vm = world.start(network);
            for protocol in ["tcp", "udp"] {
                let text = format!("{protocol}/{port}->{}:80", network.name());
                host.expose(&text.parse().unwrap()).unwrap();
            }
            for (protocol, family) in each_kind() {
                for (from, to) in [
                    (&world.node, direct(network, family)),
                    (&world.outside, at(NODE[family], port)),
                ] {
                    let answer = ask(from, protocol, to, SOON);
                    assert!(answer.is_some(), "{network:?} {to}");
                }
                let to = at(OUTSIDE[family], SERVER[family]);
                let (_, seen) = ask_from(&vm, protocol, to, SOON).unwrap();
                assert!([NODE, NODE_TOO].map(|it| ip(it[family])).contains(&seen));
            }
        }
        pool.shutdown().unwrap();
    }
}

fn taken_networks_are_replaced() {
    let world = World::new();
    let [_, like, _] = each_way();
    let pool = filled(&world, &like, 4);
    let taken: Vec<Attachment> = (0..10).map(|_| take(&pool)).collect();
    let names: HashSet<&str> = taken.iter().map(Attachment::name).collect();
    let addresses: HashSet<_> = taken.iter().map(Attachment::ipv4).collect();
    assert_eq!((names.len(), addresses.len()), (10, 10));
    pool.fill(PATIENCE).unwrap();
    let counts = pool.counts();
    assert_eq!(
        (counts.ready(), counts.taken(), counts.returned()),
        (4, 10, 0)
    );
    assert_eq!(world.host().guests().unwrap().len(), 14);
    for network in taken.clone() {
        pool.put_back(network).unwrap();
    }
    await_taken_down(&pool);
    assert_eq!(pool.counts().ready(), 4);
    assert_eq!(world.host().guests().unwrap().len(), 4);
    let error = pool.put_back(taken[0].clone()).unwrap_err();
    assert_eq!(error.to_string(), "no taken network named pool.0");
}

/// One network is all that there is room for: the next tenant gets the
/// number and the addresses of the last.
fn only_one(world: &World, like: &Guest) -> Pool {
    let settings = PoolSettings::new(room_for(1), like.clone(), 1).unwrap();
    start(world, settings).unwrap()
}

/// A handle with the networks that [`only_one`] has.
fn host_of(world: &World) -> Host {
    world.node.run(|| Host::with(room_for(1)).unwrap()).unwrap()
}

fn addresses_in_flows(world: &World) -> HashSet<std::net::IpAddr> {
    let list = || {
        let mut nft = Nft::open().unwrap();
        let families = [FlowFilter::ipv4(), FlowFilter::ipv6()];
        let flows = families.iter().flat_map(|family| {
            let flows = flows(nft.connection_mut(), family).unwrap();
            flows.into_iter().flat_map(|flow| {
                let tuples = [*flow.original(), *flow.reply()];
                tuples.map(|tuple| [tuple.source(), tuple.destination()])
            })
        });
        flows.flatten().collect()
    };
    world.node.run(list).unwrap()
}

/// The neighbours that the kernel knows where a network's TAP is, besides
/// groups.
fn neighbours(world: &World, network: &Attachment) -> Vec<Neighbour> {
    let list = || {
        let mut rtnl = Rtnl::open().unwrap();
        let tap = rtnl.link(network.vmm_tap()).unwrap().unwrap();
        let all = rtnl.neighbours(Some(tap.index())).unwrap().into_iter();
        all.filter(|one| !one.ip().is_multicast())
            .collect::<Vec<_>>()
    };
    match network.namespace() {
        Some(name) => NetNs::open_named(name).unwrap().run(list).unwrap(),
        None => world.node.run(list).unwrap(),
    }
}

fn successor_finds_nothing_of_its_predecessor() {
    for like in each_way() {
        let world = World::new();
        let pool = only_one(
            &world,
            &like.clone().rate_from(Rate::new(1_000_000).unwrap()),
        );
        let mut host = host_of(&world);
        let _servers = FAMILIES.map(|family| World::server(&world.outside, family, SERVER[family]));
        let first = take(&pool);
        let at_first = neighbours(&world, &first);
        let policy = first.policy().clone();
        let changed = Guest::new(first.name())
            .unwrap()
            .connection(like.wanted_connection().clone())
            .service("tcp/22".parse().unwrap())
            .egress(Egress::masquerade().only(["203.0.113.0/24".parse().unwrap()]))
            .rate_to(Rate::new(12_500_000).unwrap());
        host.attach(&changed).unwrap();
        let vm = world.start(&first);
        for protocol in ["tcp", "udp"] {
            let text = format!("{protocol}/8000->{}:80", first.name());
            host.expose(&text.parse().unwrap()).unwrap();
        }
        for (protocol, family) in each_kind() {
            let to = at(NODE[family], 8000);
            assert!(ask(&world.outside, protocol, to, SOON).is_some());
        }
        let to = at(OUTSIDE[0], SERVER[0]);
        assert!(ask_from(&vm, Protocol::Udp, to, SOON).is_some());
        drop(vm);
        // As a VMM leaves it.
        let tap = host.open_tap(&first, |tap| tap.vnet_header().nonblocking());
        let tap = tap.unwrap();
        tap.set_vnet_header_length(12).unwrap();
        tap.set_offloads(tapwire::sys::Offload::CHECKSUM).unwrap();
        drop(tap);
        let own = FAMILIES.map(|family| address_of(&first, family));
        let flows = addresses_in_flows(&world);
        assert!(own.iter().all(|own| flows.contains(own)), "{flows:?}");
        let to_first = host.traffic().unwrap()[0].to_guest().bytes;
        pool.put_back(first.clone()).unwrap();

        let second = take(&pool);
        assert_eq!(second.ipv4(), first.ipv4(), "there is one number only");
        assert_ne!(second.name(), first.name());
        assert_eq!(second.policy(), &policy);
        assert_eq!(host.guests().unwrap(), std::slice::from_ref(&second));
        assert_eq!(host.exposures().unwrap(), []);
        let flows = addresses_in_flows(&world);
        assert!(!own.iter().any(|own| flows.contains(own)), "{flows:?}");
        let traffic = &host.traffic().unwrap()[0];
        assert_eq!(traffic.from_guest().bytes, 0);
        // The kernel greets whoever is on a link, as often as it comes up.
        assert!(traffic.to_guest().bytes < to_first, "{traffic:?}");
        assert_eq!(neighbours(&world, &second).len(), at_first.len());
        let is_permanent = |one: &Neighbour| at_first.iter().any(|it| it.mac() == one.mac());
        assert!(neighbours(&world, &second).iter().all(is_permanent));
        let tap = host.open_tap(&second, |tap| tap.vnet_header().nonblocking());
        assert_eq!(tap.unwrap().vnet_header_length().unwrap(), 10);
        let vm = world.start(&second);
        assert!(ask(&world.outside, Protocol::Udp, at(NODE[0], 8000), NEVER).is_none());
        assert_eq!(vm.seen(), []);
        for (protocol, family) in each_kind() {
            let answer = ask(&world.node, protocol, direct(&second, family), SOON);
            assert!(answer.is_some());
        }
        pool.shutdown().unwrap();
    }
}

/// Someone outside goes on answering what the first tenant asked, and asking
/// what it exposed.
fn flows_of_the_predecessor_do_not_reach_its_successor() {
    for like in each_way() {
        let world = World::new();
        let pool = only_one(&world, &like);
        let mut host = host_of(&world);
        for family in FAMILIES {
            let first = take(&pool);
            let vm = world.start(&first);
            let text = format!("udp/8000->{}:80", first.name());
            host.expose(&text.parse().unwrap()).unwrap();
            let bind = || UdpSocket::bind(at(OUTSIDE[family], 0)).unwrap();
            let [asked, asking] = [(); 2].map(|()| world.outside.run(bind).unwrap());
            for socket in [&asked, &asking] {
                socket.set_read_timeout(Some(NEVER)).unwrap();
            }
            let echoes = || {
                asking.send_to(b"ping", at(NODE[family], 8000)).unwrap();
                asking.recv(&mut [0; 64]).is_ok()
            };
            assert!((0..20).any(|_| echoes()), "the flow is there");
            let to = asked.local_addr().unwrap();
            let from = within(SOON, |timeout| {
                vm.udp_send(to, b"ping", timeout).ok()?;
                asked.recv_from(&mut [0; 64]).ok()
            });
            let (_, masqueraded) = from.unwrap();
            assert!(
                [NODE, NODE_TOO]
                    .map(|it| ip(it[family]))
                    .contains(&masqueraded.ip())
            );
            drop(vm);
            pool.put_back(first.clone()).unwrap();
            let second = take(&pool);
            assert_eq!(second.ipv4(), first.ipv4());
            let tap = Tap::from_fd(world.open_tap(&second)).unwrap();
            for _ in 0..3 {
                asked.send_to(b"late", masqueraded).unwrap();
                assert!(!echoes(), "the successor answers");
            }
            let mut frame = [0; 2048];
            while let Ok(length) = tap.receive(&mut frame) {
                let is_of_flow = |words: &[u8]| words == b"late" || words == b"ping";
                assert!(!frame[..length].windows(4).any(is_of_flow), "{like:?}");
            }
            drop(tap);
            pool.put_back(second).unwrap();
        }
    }
}

fn predecessor_that_holds_the_tap_hears_nothing() {
    for like in each_way() {
        let world = World::new();
        let pool = only_one(&world, &like);
        let host = host_of(&world);
        let first = take(&pool);
        let held: Tap = host.open_tap(&first, TapOptions::nonblocking).unwrap();
        pool.put_back(first).unwrap();
        let second = take(&pool);
        let vm = world.start(&second);
        for family in FAMILIES {
            let to = direct(&second, family);
            assert!(ask(&world.node, Protocol::Tcp, to, SOON).is_some());
        }
        let error = held.receive(&mut [0; 2048]).unwrap_err();
        match like.wanted_connection() {
            // It is alone in what was its namespace.
            Connection::Namespaced(_) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            // `EBADFD` of `errno(3)`: the device is gone.
            _ => assert_eq!(error.raw_os_error(), Some(77), "{error}"),
        }
        drop(vm);
    }
}

fn many_threads_take_and_put_back() {
    for like in each_way() {
        let rounds = match like.wanted_connection() {
            Connection::Namespaced(_) => 4,
            _ => 12,
        };
        let world = World::new();
        let pool = filled(&world, &like, 6);
        let in_use = Mutex::new(HashSet::new());
        let mut seen = Vec::new();
        thread::scope(|scope| {
            let take_some = || {
                let mut names = Vec::new();
                for round in 0..rounds {
                    let network = take(&pool);
                    names.push(network.name().to_owned());
                    let address = network.ipv4();
                    assert!(in_use.lock().unwrap().insert(address), "{address} twice");
                    if round % 3 == 0 {
                        let tap = world.open_tap(&network);
                        drop(tap);
                    }
                    assert!(in_use.lock().unwrap().remove(&address));
                    pool.put_back(network).unwrap();
                }
                names
            };
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(take_some)).collect();
            for thread in threads {
                seen.extend(thread.join().unwrap());
            }
        });
        let names: HashSet<&String> = seen.iter().collect();
        assert_eq!(names.len(), seen.len(), "none has two tenants");
        await_taken_down(&pool);
        pool.fill(PATIENCE).unwrap();
        assert_eq!(pool.counts().taken(), 0);
        assert_eq!(world.host().guests().unwrap().len(), 6);
        pool.shutdown().unwrap();
        assert_eq!(world.host().guests().unwrap(), []);
    }
}

/// The ports of the servers outside, one for each family.
const SERVER: [u16; 2] = [80, 81];
