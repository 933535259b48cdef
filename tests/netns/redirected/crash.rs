//! A take-over and its way back that are killed, or refused, at any moment.

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use libtest_mimic::Trial;
use tapwire::Error;
use tapwire::redirected::{PodInterface, RedirectPlan, Redirected, restore};
use tapwire::sys::NetNs;

use super::{dump, without_cables};
use crate::bridged::pod::{eth0, ip, set, settled};
use crate::crash::{Moment, kill_program, moments_of_program, refuse_program};
use crate::planner::program;
use crate::support::trials;

pub(crate) fn trials() -> Vec<Trial> {
    trials![needs ["strace", "ip", "tc"]:
        killed_take_over_is_completed_by_the_next_or_undone,
        killed_undo_is_completed_by_the_next,
        take_over_that_the_kernel_refuses_at_any_step_leaves_nothing,
    ]
}

/// The first argument of the agent that is killed: this very program.
const AGENT: &str = "redirected-agent";
const TAKE: [&str; 2] = [AGENT, "take"];
const UNDO: [&str; 2] = [AGENT, "undo"];

/// Is the agent, if the command line says so.
pub(crate) fn be_agent() -> Option<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        [AGENT, "take"] => take(),
        [AGENT, "undo"] => restore(eth0()).map(drop),
        _ => return None,
    };
    Some(match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    })
}

fn take() -> Result<(), Error> {
    let pod = PodInterface::read(eth0())?;
    RedirectPlan::new(pod).tap_owner(1000).take_over().map(drop)
}

fn killed_take_over_is_completed_by_the_next_or_undone() {
    let (before, taken) = in_pod(|| (dump(), taken_over()));
    for moment in in_pod(|| moments_of_program(&program(), &TAKE)) {
        in_pod(|| {
            let when = format!("killed before {}", moment.call());
            kill_program(&program(), &TAKE, &moment);
            assert_untouched(&before, &when);
            restore(eth0()).unwrap();
            assert_eq!(dump(), before, "{when}, undone");
            kill_program(&program(), &TAKE, &moment);
            runs(&TAKE);
            assert_eq!(
                unnumbered(&without_cables()),
                unnumbered(&taken),
                "{when}, completed"
            );
            assert!(Redirected::find(eth0()).unwrap().is_some(), "{when}");
            runs(&UNDO);
            assert_eq!(dump(), before, "{when}, completed and undone");
        });
    }
}

fn killed_undo_is_completed_by_the_next() {
    let before = in_pod(dump);
    let moments = in_pod(|| {
        runs(&TAKE);
        moments_of_program(&program(), &UNDO)
    });
    for moment in moments {
        in_pod(|| {
            let when = format!("killed before {}", moment.call());
            runs(&TAKE);
            kill_program(&program(), &UNDO, &moment);
            assert_untouched(&before, &when);
            runs(&UNDO);
            assert_eq!(dump(), before, "{when}");
        });
    }
}

fn take_over_that_the_kernel_refuses_at_any_step_leaves_nothing() {
    let before = in_pod(dump);
    for moment in in_pod(|| moments_of_program(&program(), &TAKE)) {
        in_pod(|| {
            let when = format!("refused: {}", moment.call());
            refuse(&moment);
            assert_eq!(dump(), before, "{when}");
        });
    }
}

fn refuse(moment: &Moment) {
    let output = refuse_program(&program(), &TAKE, moment);
    assert_eq!(
        output.status.code(),
        Some(1),
        "{}: {output:?}",
        moment.call()
    );
}

/// The pod's own addresses and routes are there at every moment.
fn assert_untouched(before: &str, when: &str) {
    let now = dump();
    let own = |line: &&str| {
        let line = line.trim_start();
        [
            "inet",
            "unicast",
            "local",
            "default",
            "broadcast",
            "valid_lft",
        ]
        .iter()
        .any(|word| line.starts_with(word))
            && !line.contains(" lo")
    };
    for line in before.lines().filter(own) {
        let line = line.trim();
        assert!(now.contains(line), "{when}: {line} is missing in\n{now}");
    }
}

fn taken_over() -> String {
    runs(&TAKE);
    without_cables()
}

/// Links are numbered as they are made; those that were removed leave gaps.
fn unnumbered(dump: &str) -> String {
    let lines = dump.lines().map(|line| match line.split_once(": ") {
        Some((number, rest)) if number.bytes().all(|byte| byte.is_ascii_digit()) => rest,
        _ => line,
    });
    let mut lines: Vec<&str> = lines.collect();
    lines.sort_unstable();
    lines.join("\n")
}

#[track_caller]
fn runs(arguments: &[&str]) {
    let program: PathBuf = program();
    let output = Command::new(program).args(arguments).output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {words}");
}

/// Does `work` in a new namespace with a pod's interface, numbers and MAC
/// addresses always the same.
fn in_pod<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let pod = NetNs::new().unwrap();
    pod.run(|| {
        set("net/ipv6/conf/default/accept_dad", "0");
        ip("link add eth0 address 02:00:00:00:00:05 type veth peer name far address 02:00:00:00:00:06");
        ip("link set far up");
        ip("link set eth0 mtu 1450 up");
        ip("address add 10.244.3.5/32 dev eth0");
        ip("address add fd00:244:3::5/128 dev eth0");
        ip("route add 169.254.1.1 dev eth0 scope link");
        ip("route add default via 169.254.1.1 dev eth0");
        ip("-6 route add default via fe80::1 dev eth0");
        ip("neigh add 169.254.1.1 lladdr ee:ee:ee:ee:ee:ee dev eth0 nud permanent");
        settled();
        work()
    })
    .unwrap()
}
