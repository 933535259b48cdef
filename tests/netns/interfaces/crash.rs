//! A guest's interfaces, whose making or removing is killed at any moment.

use std::fmt::Write;
use std::process::ExitCode;

use libtest_mimic::Trial;
use tapwire::guest::GuestConfig;
use tapwire::interfaces::{Device, Interfaces, Method};
use tapwire::sys::NetNs;

use super::scene::{add_networks, four, interfaces, joined};
use crate::bridged::killed::{exit_code, runs, unnumbered};
use crate::bridged::pod::{assert_same, dump, ip, set, settled, without_cables};
use crate::moments::{Moment, in_each_moment, kill_program, moments_of_program, refuse_program};
use crate::planner::program;
use crate::support::{is_root_of_the_machine, run, trials};
use crate::world::{SOON, within};

pub(crate) fn trials() -> Vec<Trial> {
    trials![needs ["strace", "ip", "nft", "tc"]:
        killed_making_is_completed_or_removed,
        killed_removal_is_completed,
        making_that_the_kernel_refuses_at_any_step_leaves_nothing,
    ]
}

/// The first argument of the agent that is killed: this very program.
const AGENT: &str = "interfaces-agent";
const APPLY: [&str; 2] = [AGENT, "apply"];
const REMOVE: [&str; 2] = [AGENT, "remove"];

/// Is the agent, if the command line says so.
pub(crate) fn be_agent() -> Option<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        [AGENT, "apply"] => wanted().apply().map(drop),
        [AGENT, "remove"] => wanted().remove(),
        _ => return None,
    };
    Some(exit_code(outcome))
}

/// One per method, where all can be.
fn wanted() -> Interfaces {
    if is_root_of_the_machine() {
        interfaces()
    } else {
        four().with(joined())
    }
}

fn killed_making_is_completed_or_removed() {
    let (before, whole, attached) = in_pod(|| {
        let before = state();
        runs(&APPLY);
        (before, wires(), attached())
    });
    assert_eq!(attached.len(), wanted().all().len());
    in_each_moment(
        in_pod(|| moments_of_program(&program(), &APPLY)),
        |moment| {
            in_pod(|| {
                let when = format!("killed before {}", moment.call);
                kill_program(&program(), &APPLY, moment);
                runs(&REMOVE);
                assert_comes_to(state, &before, &format!("{when}, removed"));
                kill_program(&program(), &APPLY, moment);
                runs(&APPLY);
                assert_comes_to(wires, &whole, &format!("{when}, completed"));
                assert_eq!(self::attached(), attached, "{when}, completed");
                assert!(wanted().plan().unwrap().is_empty(), "{when}, completed");
                runs(&REMOVE);
                assert_comes_to(state, &before, &format!("{when}, completed and removed"));
            });
        },
    );
}

fn killed_removal_is_completed() {
    let before = in_pod(state);
    let moments = in_pod(|| {
        runs(&APPLY);
        moments_of_program(&program(), &REMOVE)
    });
    in_each_moment(moments, |moment| {
        in_pod(|| {
            runs(&APPLY);
            kill_program(&program(), &REMOVE, moment);
            runs(&REMOVE);
            assert_comes_to(state, &before, &format!("killed before {}", moment.call));
        });
    });
}

fn making_that_the_kernel_refuses_at_any_step_leaves_nothing() {
    let before = in_pod(state);
    in_each_moment(
        in_pod(|| moments_of_program(&program(), &APPLY)),
        |moment| {
            in_pod(|| refuse(moment, &before));
        },
    );
}

/// Some refusals are answered by another way, or by asking again.
fn refuse(moment: &Moment, before: &str) {
    let output = refuse_program(&program(), &APPLY, moment);
    let when = format!("refused: {}: {output:?}", moment.call);
    if output.status.success() {
        assert!(wanted().plan().unwrap().is_empty(), "{when}");
        runs(&REMOVE);
    } else {
        assert_eq!(output.status.code(), Some(1), "{when}");
    }
    assert_comes_to(state, before, &when);
}

/// Addresses and routes follow their links a moment later.
#[track_caller]
fn assert_comes_to(state: fn() -> String, wanted: &str, when: &str) {
    let comes = within(SOON, |_| (state() == wanted).then_some(()));
    if comes.is_none() {
        assert_same(&state(), wanted, when);
    }
}

/// What is in force, but for numbers of links.
fn attached() -> Vec<(Method, String, GuestConfig)> {
    let found = wanted().find().unwrap();
    let parts = found.into_iter().map(|one| {
        let device = match one.device() {
            Device::Macvtap { name, .. } => name.to_string(),
            other => other.to_string(),
        };
        (one.method(), device, one.config().clone())
    });
    parts.collect()
}

/// All that is configured in the calling thread's namespace.
fn state() -> String {
    // Of a bridge that never had a port the kernel does not know.
    let links = dump().replace(" state UNKNOWN ", " state UP ");
    let mut text = links + &rules() + &run("tc", &["qdisc", "show"]);
    for key in ["all", "eth0", "net1"] {
        let path = format!("/proc/sys/net/ipv4/conf/{key}/forwarding");
        let value = std::fs::read_to_string(path).unwrap();
        write!(text, "{key} {value}").unwrap();
    }
    sorted(&text)
}

/// The same without what is given anew each time: cables, numbers of links,
/// MAC addresses of TAPs that are the kernel's choice.
fn wires() -> String {
    let dump = unnumbered(&without_cables()) + &rules();
    let mut text = String::new();
    // A setting that two owners need is noted by both if the first was killed
    // before it could change it.
    let lines = dump.lines().filter(|line| !line.contains("accept_ra"));
    for line in lines {
        let mut after_mac = false;
        for word in line.split_whitespace() {
            if !after_mac && word != "linkdown" {
                text.push_str(word);
                text.push(' ');
            }
            after_mac = word == "link/ether";
        }
        text.push('\n');
    }
    sorted(&text)
}

/// In no order: that of routes is the one in which they were made.
fn sorted(text: &str) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines.join("\n")
}

fn rules() -> String {
    run("nft", &["-s", "list", "ruleset"])
}

/// Does `work` in a new namespace with a pod's interfaces.
fn in_pod<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let pod = NetNs::new().unwrap();
    let far = [(); 4].map(|()| NetNs::new().unwrap());
    pod.run(|| {
        set("net/ipv6/conf/default/accept_dad", "0");
        ip("link set lo up");
        ip("link add eth0 address 02:00:00:00:00:05 type veth peer name cable address 02:00:00:00:00:06");
        ip("link set cable up");
        ip("link set eth0 up");
        ip("address add 10.244.3.5/24 dev eth0");
        ip("route add default via 10.244.3.1 dev eth0");
        add_networks(&far);
        settled();
        work()
    })
    .unwrap()
}
