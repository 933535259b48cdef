//! A process that has a pool is killed at any moment.

use libtest_mimic::Trial;
use tapwire::sys::NetNs;

use super::{each_way, filled};
use crate::moments::{in_each_moment, in_new_node, kill_program, moments_of_program};
use crate::planner;
use crate::snapshot::Snapshot;
use crate::support::{forget_names, trials};
use crate::world::World;

pub(super) fn trials() -> Vec<Trial> {
    let mut trials = trials![killed_process_with_tenants_is_succeeded];
    trials.extend(trials![needs ["strace", "nft", "ip"]:
        killed_while_routed_networks_are_made,
        killed_while_rewritten_networks_are_made,
        killed_while_networks_in_namespaces_are_made,
        killed_while_networks_are_removed,
    ]);
    trials
}

/// The next has all that it wants, and nothing of the other's is left.
fn killed_process_with_tenants_is_succeeded() {
    for (like, way) in each_way().iter().zip(WAYS) {
        let world = World::new();
        let hold = planner::arguments(["pool-hold", "3", way]);
        let mut child = world.node.run(|| planner::start(&hold)).unwrap();
        let mut host = world.host();
        assert_eq!(host.guests().unwrap().len(), 5, "two of them taken");
        assert_eq!(host.exposures().unwrap().len(), 2);
        child.kill().unwrap();
        child.wait().unwrap();
        let pool = filled(&world, like, 3);
        let guests = host.guests().unwrap();
        let names: Vec<&str> = guests.iter().map(tapwire::Attachment::name).collect();
        assert_eq!(names, ["pool.0", "pool.1", "pool.2"]);
        assert_eq!(host.exposures().unwrap(), []);
        pool.shutdown().unwrap();
        host.remove().unwrap();
        assert!(NetNs::names().unwrap().is_empty());
    }
}

fn killed_while_routed_networks_are_made() {
    killed_while_made("routed");
}

fn killed_while_rewritten_networks_are_made() {
    killed_while_made("rewritten");
}

fn killed_while_networks_in_namespaces_are_made() {
    killed_while_made("namespaced");
}

fn killed_while_made(way: &'static str) {
    let make = planner::arguments(["pool", "3", way]);
    let end = planner::arguments(["pool-end", "3", way]);
    let remove = planner::arguments(["remove"]);
    let program = planner::program();
    let names = || NetNs::names().unwrap().len();
    let (empty, right, wanted, moments) = in_new_node(|| {
        let empty = Snapshot::take();
        let moments = moments_of_program(&program, &make);
        let state = (Snapshot::take(), names());
        planner::runs(&end);
        planner::runs(&remove);
        (empty, state.0, state.1, moments)
    });
    in_each_moment(moments, |moment| {
        forget_names();
        kill_program(&program, &make, moment);
        let when = format!("killed before {}", moment.call);
        planner::runs(&make);
        right.assert_same(&Snapshot::take(), &when);
        assert_eq!(names(), wanted, "{when}");
        planner::runs(&end);
        planner::runs(&remove);
        assert_eq!(names(), 0, "{when}");
        empty.assert_same(&Snapshot::take(), &format!("{when}, all removed"));
    });
}

fn killed_while_networks_are_removed() {
    let end = planner::arguments(["pool-end", "2", "namespaced"]);
    let remove = planner::arguments(["remove"]);
    let program = planner::program();
    let (empty, moments) = in_new_node(|| {
        let empty = Snapshot::take();
        let moments = moments_of_program(&program, &end);
        planner::runs(&remove);
        (empty, moments)
    });
    in_each_moment(moments, |moment| {
        forget_names();
        kill_program(&program, &end, moment);
        let when = format!("killed before {}", moment.call);
        planner::runs(&end);
        assert!(NetNs::names().unwrap().is_empty(), "{when}");
        planner::runs(&remove);
        empty.assert_same(&Snapshot::take(), &format!("{when}, all removed"));
    });
}

/// As the agent is told of [`each_way`].
const WAYS: [&str; 3] = ["routed", "rewritten", "namespaced"];
