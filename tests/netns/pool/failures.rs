//! Networks that cannot be made.

use std::error::Error as _;
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use libtest_mimic::Trial;
use rustix::mount::{MountFlags, UnmountFlags, mount_bind, mount_remount, unmount};
use tapwire::nft::Nft;
use tapwire::route::{NewLink, Rtnl};
use tapwire::{Error, Pool, PoolError, PoolSettings, Protocol};

use super::{PATIENCE, each_way, filled, room_for, settings, start, take};
use crate::clones::direct;
use crate::planner;
use crate::support::trials;
use crate::world::{SOON, World, ask, within};

pub(super) fn trials() -> Vec<Trial> {
    let mut trials = trials![
        full_address_space_is_told_until_one_comes_back,
        name_that_is_taken_is_told_until_it_is_free,
        device_that_may_not_be_opened_is_told_until_it_may,
        who_does_not_wait_is_told_too,
        pool_that_fails_rests,
    ];
    trials.extend(trials![needs ["setpriv"]: pool_without_rights_does_not_start]);
    trials
}

/// Why there is none.
fn failure(pool: &Pool) -> Arc<Error> {
    match pool.take(PATIENCE) {
        Err(PoolError::Failed(error)) => error,
        other => panic!("{other:?}"),
    }
}

fn full_address_space_is_told_until_one_comes_back() {
    for like in each_way() {
        let world = World::new();
        let settings = PoolSettings::new(room_for(4), like, 2).unwrap();
        let pool = start(&world, settings).unwrap();
        let taken: Vec<_> = (0..4).map(|_| take(&pool)).collect();
        let error = failure(&pool);
        let Error::Full { capacity: 4, .. } = *error else {
            panic!("{error:?}");
        };
        assert_eq!(
            error.to_string(),
            "the guests' networks are used up (room for 4)"
        );
        assert_eq!(pool.counts().ready(), 0);
        pool.put_back(taken[3].clone()).unwrap();
        let again = take(&pool);
        assert_eq!(again.ipv4(), taken[3].ipv4());
        let _vm = world.start(&again);
        let answer = ask(&world.node, Protocol::Tcp, direct(&again, 0), SOON);
        assert!(answer.is_some());
        for network in &taken[..3] {
            pool.put_back(network.clone()).unwrap();
        }
        pool.fill(PATIENCE).unwrap();
        assert!(pool.failure().is_none());
    }
}

/// Makes a link of others that has the name that a network of the owner would
/// have.
fn take_name(name: &str) {
    let bridge = NewLink::bridge(name.parse().unwrap());
    let mut rtnl = Rtnl::open().unwrap();
    rtnl.apply(|changes| changes.add_link(&bridge)).unwrap();
}

fn free_name(name: &str) {
    let mut rtnl = Rtnl::open().unwrap();
    let other = rtnl.link(name.parse().unwrap()).unwrap().unwrap();
    rtnl.apply(|changes| changes.delete_link(other.index()))
        .unwrap();
}

/// Those before it are ready, itself never is.
fn name_that_is_taken_is_told_until_it_is_free() {
    for like in &each_way() {
        let world = World::new();
        world.node.run(|| take_name("riklet-2")).unwrap();
        let settings = PoolSettings::new(settings(), like.clone(), 4).unwrap();
        let pool = start(&world, settings).unwrap();
        let Err(PoolError::Failed(error)) = pool.fill(PATIENCE) else {
            panic!("it has all that it wants: {:?}", pool.counts());
        };
        assert!(matches!(*error, Error::Conflict(_)), "{error:?}");
        assert!(error.to_string().contains("riklet-2"), "{error}");
        assert_eq!(pool.counts().ready(), 2);
        let two = [take(&pool), take(&pool)];
        assert_eq!(
            two.map(|one| one.tap().to_string()),
            ["riklet-0", "riklet-1"]
        );
        failure(&pool);
        // An attempt claims an address, and takes that back.
        let left = within(SOON, |_| {
            (world.host().guests().unwrap().len() == 2).then_some(())
        });
        assert!(left.is_some(), "those that are taken");
        world.node.run(|| free_name("riklet-2")).unwrap();
        pool.fill(PATIENCE).unwrap();
        assert_eq!(take(&pool).tap().as_str(), "riklet-2");
    }
}

/// The device file is of a file system without devices for a while.
fn device_that_may_not_be_opened_is_told_until_it_may() {
    for like in each_way() {
        let world = World::new();
        let pool = filled(&world, &like, 2);
        mount_bind(TUN, TUN).unwrap();
        mount_remount(TUN, MountFlags::BIND | MountFlags::NODEV, "").unwrap();
        let taken = [take(&pool), take(&pool)];
        let error = failure(&pool);
        assert!(error.is_permission_denied(), "{error:?}");
        assert!(
            error.to_string().starts_with("open /dev/net/tun"),
            "{error}"
        );
        assert_eq!(
            world.host().guests().unwrap().len(),
            2,
            "those that are taken"
        );
        let shown = pool.take(Duration::ZERO).unwrap_err();
        assert_eq!(
            shown.to_string(),
            "no network of the pool is ready, and none can be made"
        );
        assert!(shown.source().unwrap().to_string().contains(TUN));
        unmount(TUN, UnmountFlags::DETACH).unwrap();
        let third = take(&pool);
        assert!(taken.iter().all(|one| one.ipv4() != third.ipv4()));
        let _vm = world.start(&third);
        assert!(ask(&world.node, Protocol::Tcp, direct(&third, 0), SOON).is_some());
        pool.fill(PATIENCE).unwrap();
        assert!(pool.failure().is_none());
    }
}

fn who_does_not_wait_is_told_too() {
    let world = World::new();
    world.node.run(|| take_name("riklet-0")).unwrap();
    let [like, _, _] = each_way();
    let pool = start(&world, PoolSettings::new(settings(), like, 1).unwrap()).unwrap();
    failure(&pool);
    let error = pool.take(Duration::ZERO).unwrap_err();
    assert!(matches!(error, PoolError::Failed(_)), "{error:?}");
    world.node.run(|| free_name("riklet-0")).unwrap();
    pool.fill(PATIENCE).unwrap();
    take(&pool);
    let mut last = pool.take(Duration::ZERO);
    for _ in 0..1000 {
        match last {
            Err(PoolError::NotReady) => last = pool.take(Duration::from_millis(1)),
            Ok(_) => return,
            Err(error) => panic!("{error:?}"),
        }
    }
    last.unwrap();
}

/// Each attempt changes the ruleset, if only to take the claim back.
fn pool_that_fails_rests() {
    let world = World::new();
    world.node.run(|| take_name("riklet-0")).unwrap();
    let [like, _, _] = each_way();
    let pool = start(&world, PoolSettings::new(settings(), like, 32).unwrap()).unwrap();
    failure(&pool);
    let generation = || {
        let generation = || Nft::open().unwrap().generation().unwrap();
        world.node.run(generation).unwrap()
    };
    let before = generation();
    thread::sleep(Duration::from_secs(1));
    let changes = generation() - before;
    assert!(changes < 20, "{changes} changes within a second");
    // Who waits asks for more, but not all the time.
    let before = generation();
    let end = std::time::Instant::now() + Duration::from_secs(1);
    while std::time::Instant::now() < end {
        failure(&pool);
    }
    let changes = generation() - before;
    assert!(
        (1..80).contains(&changes),
        "{changes} changes within a second"
    );
}

fn pool_without_rights_does_not_start() {
    let arguments = planner::arguments(["pool", "2", "routed"]);
    let output = Command::new("setpriv")
        .args(["--bounding-set=-net_admin", "--inh-caps=-net_admin"])
        .arg(planner::program())
        .args(arguments)
        .output()
        .unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{words}");
    assert!(words.contains("Operation not permitted"), "{words}");
}

const TUN: &str = "/dev/net/tun";
