//! Pools begin and end.

use std::fs;
use std::path::Path;

use libtest_mimic::Trial;
use tapwire::nft::{Batch, Nft};
use tapwire::route::Rtnl;
use tapwire::sys::NetNs;
use tapwire::{Error, Guest, PoolSettings, Protocol, Wanted};

use super::{PATIENCE, each_way, filled, settings, start, take};
use crate::clones::direct;
use crate::support::trials;
use crate::world::{NODE, SOON, World, ask, at, within};

pub(super) fn trials() -> Vec<Trial> {
    trials![
        shutdown_removes_the_pools_and_nothing_else,
        dropped_pool_ends_its_thread_and_is_reclaimed,
        kept_network_goes_on,
        pool_runs_once_at_a_time,
        plan_leaves_a_pool_alone_that_it_knows,
        rules_about_a_pool_are_kept_in_force,
    ]
}

fn links(world: &World) -> usize {
    let links = || Rtnl::open().unwrap().links().unwrap().len();
    world.node.run(links).unwrap()
}

/// The threads of this process in a namespace.
fn threads_in(netns: &NetNs) -> usize {
    let id = netns.id().unwrap();
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    let is_there =
        |task: &Path| NetNs::open(task.join("ns/net")).is_ok_and(|it| it.id().unwrap() == id);
    tasks
        .filter(|task| task.as_ref().is_ok_and(|task| is_there(&task.path())))
        .count()
}

/// Those that close sockets end a moment later.
#[track_caller]
fn assert_threads(netns: &NetNs, count: usize) {
    let comes_to = within(SOON, |_| (threads_in(netns) == count).then_some(()));
    assert!(comes_to.is_some(), "{} threads", threads_in(netns));
}

fn shutdown_removes_the_pools_and_nothing_else() {
    for like in each_way() {
        let world = World::new();
        let mut host = world.host();
        let others = ["other", "pool", "pool.x", "pool2.0"].map(|name| {
            let guest = Guest::new(name).unwrap();
            host.attach(&guest.connection(like.wanted_connection().clone()))
                .unwrap()
        });
        let before = links(&world);
        let pool = filled(&world, &like, 3);
        let taken = take(&pool);
        let text = format!("tcp/8000->{}:80", taken.name());
        host.expose(&text.parse().unwrap()).unwrap();
        host.expose(&"tcp/8001->other:80".parse().unwrap()).unwrap();
        pool.shutdown().unwrap();
        assert_eq!(host.guests().unwrap(), others);
        assert_eq!(links(&world), before);
        assert_eq!(host.exposures().unwrap().len(), 1);
        assert_threads(&world.node, 0);
        let _vm = world.start(&others[0]);
        assert!(ask(&world.outside, Protocol::Tcp, at(NODE[0], 8001), SOON).is_some());
        host.remove().unwrap();
        let names = NetNs::names().unwrap();
        assert!(names.is_empty(), "{names:?}");
        assert_eq!(links(&world), 2);
    }
}

fn dropped_pool_ends_its_thread_and_is_reclaimed() {
    for like in each_way() {
        let world = World::new();
        let pool = filled(&world, &like, 3);
        let taken = take(&pool);
        let vm = world.start(&taken);
        pool.fill(PATIENCE).unwrap();
        assert_threads(&world.node, 1);
        drop(pool);
        assert_threads(&world.node, 0);
        assert_eq!(world.host().guests().unwrap().len(), 4);
        // What it leaves works, until it is reclaimed.
        let to = direct(&taken, 0);
        assert!(ask(&world.node, Protocol::Tcp, to, SOON).is_some());
        drop(vm);
        let pool = filled(&world, &like, 3);
        let guests = world.host().guests().unwrap();
        let names: Vec<&str> = guests.iter().map(tapwire::Attachment::name).collect();
        assert_eq!(names, ["pool.0", "pool.1", "pool.2"]);
        pool.shutdown().unwrap();
        assert_eq!(world.host().guests().unwrap(), []);
        // Also while it is at work.
        for _ in 0..5 {
            let settings = PoolSettings::new(settings(), like.clone(), 3).unwrap();
            drop(start(&world, settings).unwrap());
        }
        assert_threads(&world.node, 0);
    }
}

/// Its VM runs on while the agent is another.
fn kept_network_goes_on() {
    for like in each_way() {
        let world = World::new();
        let pool = filled(&world, &like, 2);
        let kept = take(&pool);
        let _vm = world.start(&kept);
        let mut host = world.host();
        let text = format!("tcp/8000->{}:80", kept.name());
        host.expose(&text.parse().unwrap()).unwrap();
        drop(pool);
        let again = || PoolSettings::new(settings(), like.clone(), 2).unwrap();
        let pool = start(&world, again().keep(kept.name()).unwrap()).unwrap();
        pool.fill(PATIENCE).unwrap();
        assert!(ask(&world.outside, Protocol::Tcp, at(NODE[0], 8000), SOON).is_some());
        let counts = pool.counts();
        assert_eq!((counts.ready(), counts.taken()), (2, 1));
        let guests = host.guests().unwrap();
        assert_eq!(guests.len(), 3);
        assert!(guests.contains(&kept));
        pool.put_back(kept).unwrap();
        super::await_taken_down(&pool);
        assert_eq!(host.exposures().unwrap(), []);
        drop(pool);
        let error = start(&world, again().keep("pool.99").unwrap()).unwrap_err();
        assert!(matches!(error, Error::Absent { .. }), "{error:?}");
        assert_eq!(error.to_string(), "no guest named pool.99");
    }
}

fn pool_runs_once_at_a_time() {
    let world = World::new();
    let [like, _, _] = each_way();
    let pool = filled(&world, &like, 1);
    let same = || {
        start(
            &world,
            PoolSettings::new(settings(), like.clone(), 1).unwrap(),
        )
    };
    let error = same().unwrap_err();
    assert!(matches!(error, Error::Conflict(_)), "{error:?}");
    assert_eq!(
        error.to_string(),
        "pool pool of riklet clashes with the process that has bound @tapwire/riklet/pool"
    );
    let other = PoolSettings::new(settings(), Guest::new("other").unwrap(), 1).unwrap();
    let other = start(&world, other).unwrap();
    other.fill(PATIENCE).unwrap();
    let elsewhere = World::new();
    filled(&elsewhere, &like, 1).shutdown().unwrap();
    drop(pool);
    let pool = same().unwrap();
    pool.fill(PATIENCE).unwrap();
    pool.shutdown().unwrap();
    assert_eq!(world.host().guests().unwrap().len(), 1, "the other's");
}

fn plan_leaves_a_pool_alone_that_it_knows() {
    for like in each_way() {
        let world = World::new();
        let pool = filled(&world, &like, 3);
        let taken = take(&pool);
        let _vm = world.start(&taken);
        let mut host = world.host();
        for text in ["tcp/8000->NAME:80", "tcp/8001->gone:80"] {
            if text.contains("gone") {
                host.attach(&Guest::new("gone").unwrap()).unwrap();
            }
            let text = text.replace("NAME", taken.name());
            host.expose(&text.parse().unwrap()).unwrap();
        }
        pool.fill(PATIENCE).unwrap();
        let wanted = Wanted::new().guest(Guest::new("stays").unwrap());
        let known = wanted.clone().pool(like.name().clone());
        assert_eq!(known.pools(), [like.name().clone()]);
        host.apply(&known).unwrap();
        let guests = host.guests().unwrap();
        assert_eq!(guests.len(), 5, "{guests:?}");
        assert!(guests.contains(&taken));
        assert_eq!(host.exposures().unwrap().len(), 1);
        assert!(host.plan(&known).unwrap().is_empty());
        let to = at(NODE[0], 8000);
        assert!(ask(&world.outside, Protocol::Tcp, to, SOON).is_some());
        // By its name it is like any other.
        let no_more = known.clone().guest(
            Guest::new(taken.name())
                .unwrap()
                .connection(like.wanted_connection().clone()),
        );
        host.apply(&no_more).unwrap();
        assert_eq!(host.exposures().unwrap(), []);
        // While the pool is at work.
        for round in 0..10 {
            let network = take(&pool);
            let done = host.apply(&known).unwrap();
            let guests = host.guests().unwrap();
            assert!(
                guests.contains(&network),
                "{round}: {network:?}, {done:?}: {guests:?}"
            );
            pool.put_back(network).unwrap();
        }
        super::await_taken_down(&pool);
        pool.fill(PATIENCE).unwrap();
        // One that does not know of it takes all.
        host.apply(&wanted).unwrap();
        assert_eq!(host.guests().unwrap().len(), 1);
        pool.shutdown().unwrap();
    }
}

/// Someone flushes the whole ruleset.
fn rules_about_a_pool_are_kept_in_force() {
    for like in each_way() {
        let world = World::new();
        let pool = filled(&world, &like, 2);
        let mut host = world.host();
        let known = Wanted::new().pool(like.name().clone());
        host.apply(&known).unwrap();
        let flush = || {
            let mut nft = Nft::open().unwrap();
            let mut batch = Batch::new();
            for table in nft.tables().unwrap() {
                batch.delete(&table);
            }
            nft.commit(&mut batch).unwrap();
        };
        world.node.run(flush).unwrap();
        host.apply(&known).unwrap();
        let network = take(&pool);
        let _vm = world.start(&network);
        for family in [0, 1] {
            let to = direct(&network, family);
            assert!(ask(&world.node, Protocol::Tcp, to, SOON).is_some());
        }
        pool.shutdown().unwrap();
    }
}
