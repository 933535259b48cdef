//! A segment whose making or removing is killed at any moment.

use std::process::{Command, ExitCode};

use libtest_mimic::Trial;
use tapwire::segment::{Overlay, Segment};
use tapwire::sys::NetNs;

use super::guests::port;
use crate::bridged::killed::exit_code;
use crate::bridged::pod::{dump, ip, set, settled};
use crate::moments::{kill_program, moments_of_program};
use crate::planner::program;
use crate::support::trials;

pub(crate) fn trials() -> Vec<Trial> {
    trials![needs ["strace", "ip"]:
        killed_making_is_completed_or_undone,
        killed_removal_is_completed,
    ]
}

/// The first argument of the agent that is killed: this very program.
const AGENT: &str = "segment-agent";
const APPLY: [&str; 2] = [AGENT, "apply"];
const REMOVE: [&str; 2] = [AGENT, "remove"];

/// Is the agent, if the command line says so.
pub(crate) fn be_agent() -> Option<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        [AGENT, "apply"] => segment().apply(),
        [AGENT, "remove"] => segment().remove(),
        _ => return None,
    };
    Some(exit_code(outcome))
}

fn segment() -> Segment {
    let local = "192.0.2.1".parse().unwrap();
    let overlay = Overlay::new("vx".parse().unwrap(), 42, local);
    Segment::new("blue".parse().unwrap())
        .overlay(overlay.peer("192.0.2.2".parse().unwrap()))
        .port(port("one").isolated())
}

fn killed_making_is_completed_or_undone() {
    let before = on_host(dump);
    for moment in on_host(|| moments_of_program(&program(), &APPLY)) {
        on_host(|| {
            let when = format!("killed before {}", moment.call);
            kill_program(&program(), &APPLY, &moment);
            runs(&REMOVE);
            assert_eq!(dump(), before, "{when}, undone");
            kill_program(&program(), &APPLY, &moment);
            runs(&APPLY);
            let whole = dump();
            assert!(
                whole.contains("tapwire segment vxlan 42"),
                "{when}: {whole}"
            );
            assert!(whole.contains("isolated on"), "{when}: {whole}");
            runs(&REMOVE);
            assert_eq!(dump(), before, "{when}, completed and removed");
        });
    }
}

fn killed_removal_is_completed() {
    let before = on_host(dump);
    let moments = on_host(|| {
        runs(&APPLY);
        moments_of_program(&program(), &REMOVE)
    });
    for moment in moments {
        on_host(|| {
            runs(&APPLY);
            kill_program(&program(), &REMOVE, &moment);
            runs(&REMOVE);
            assert_eq!(dump(), before, "killed before {}", moment.call);
        });
    }
}

#[track_caller]
fn runs(arguments: &[&str]) {
    let output = Command::new(program()).args(arguments).output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {words}");
}

fn on_host<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let host = NetNs::new().unwrap();
    host.run(|| {
        set("net/ipv6/conf/default/disable_ipv6", "1");
        ip("link add one address 02:00:00:00:00:05 type veth peer name far address 02:00:00:00:00:06");
        ip("link set far up");
        ip("link set one up");
        settled();
        work()
    })
    .unwrap()
}
