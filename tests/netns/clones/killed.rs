//! A process that makes a hundred clones is killed anywhere.

use std::env;
use std::time::{SystemTime, UNIX_EPOCH};

use libtest_mimic::Trial;
use tapwire::sys::NetNs;

use crate::moments::{Moment, in_each_moment, in_new_node, kill_program, moments_of_program};
use crate::planner;
use crate::snapshot::Snapshot;
use crate::support::{forget_names, trials};

pub(crate) fn trials() -> Vec<Trial> {
    trials![needs ["strace", "nft", "ip"]:
        killed_while_a_hundred_are_planned_and_made,
        killed_while_a_pool_of_a_hundred_is_filled,
    ]
}

/// By the pool's own thread. Those in namespaces are among `pool::crash`, a few.
fn killed_while_a_pool_of_a_hundred_is_filled() {
    let fill = planner::arguments(["pool", "100", "rewritten"]);
    killed_anywhere(&fill, 0, |_| {});
}

/// Every other one in a namespace of its own.
fn killed_while_a_hundred_are_planned_and_made() {
    let names: Vec<String> = (0..COUNT)
        .map(|number| match number % 2 {
            0 => format!("@c{number}"),
            _ => format!("clone:c{number}"),
        })
        .collect();
    let with = |verb| {
        let words = names.iter().map(String::as_str);
        planner::arguments([verb])
            .into_iter()
            .chain(words)
            .collect()
    };
    let (make, check): (Vec<&str>, Vec<&str>) = (with("apply"), with("has"));
    killed_anywhere(&make, COUNT / 2, |when| {
        let output = planner::run(&check);
        assert!(output.status.success(), "{when}: {output:?}");
    });
}

/// A process is killed at moments from all of its work. The next one has what
/// the first was to have, in `inside` namespaces and outside, and nothing else.
fn killed_anywhere(make: &[&str], inside: usize, check: impl Fn(&str) + Sync) {
    let program = planner::program();
    let remove = planner::arguments(["remove"]);
    let (empty, right, moments) = in_new_node(|| {
        let empty = Snapshot::take();
        let moments = moments_of_program(&program, make);
        let right = Snapshot::take();
        planner::runs(&remove);
        empty.assert_same(&Snapshot::take(), "removed");
        (empty, right, moments)
    });
    assert!(moments.len() > COUNT, "{} moments", moments.len());
    let seed = seed();
    in_each_moment(sample(moments, seed), |moment| {
        forget_names();
        kill_program(&program, make, moment);
        let when = format!("TAPWIRE_SEED={seed}, killed before {}", moment.call);
        planner::runs(make);
        check(&when);
        right.assert_same(&Snapshot::take(), &when);
        assert_eq!(NetNs::names().unwrap().len(), inside, "{when}");
        planner::runs(&remove);
        assert!(NetNs::names().unwrap().is_empty(), "{when}");
        empty.assert_same(&Snapshot::take(), &format!("{when}, all removed"));
    });
}

/// One of each of so many spans of equal length.
fn sample(moments: Vec<Moment>, seed: u64) -> Vec<Moment> {
    let span = moments.len().div_ceil(SAMPLE);
    let mut state = seed | 1;
    let mut moments = moments.into_iter();
    let mut sample = Vec::new();
    while !moments.as_slice().is_empty() {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let length = span.min(moments.as_slice().len());
        let place = usize::try_from(state >> 33).unwrap() % length;
        sample.extend(moments.by_ref().take(length).nth(place));
    }
    sample
}

/// Another each time, unless the environment tells one to see again.
fn seed() -> u64 {
    let told = env::var("TAPWIRE_SEED").ok();
    told.map_or_else(
        || {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
            now.as_secs() ^ u64::from(now.subsec_nanos()) << 20
        },
        |seed| seed.parse().unwrap(),
    )
}

const COUNT: usize = 100;
const SAMPLE: usize = 24;
