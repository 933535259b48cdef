//! A guest in the place of a pod, in the two ways in which pods are wired: one
//! subnet on a bridge, and /32 addresses behind proxy ARP. Each scene is asked
//! for before, while the guest has the pod's place, and when it was undone.
//!
//! Touches nothing of this machine; see `bridged --help`.
#![expect(clippy::print_stderr, reason = "a program for people at a terminal")]

mod guest;
mod pods;
mod scene;
#[path = "../support/mod.rs"]
mod support;

use std::env;
use std::process::ExitCode;

use tapwire::sys::{enter_user_namespace, has_net_admin};

use pods::Wiring;
use scene::Scene;
use support::program::{Chain, Failure, say};

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let result = match *words {
        ["help" | "-h" | "--help"] => say(USAGE),
        [] => run(&[Wiring::Subnet, Wiring::ProxyArp]),
        ["subnet"] => run(&[Wiring::Subnet]),
        ["proxy-arp"] => run(&[Wiring::ProxyArp]),
        _ => {
            eprintln!("error: not arguments that bridged knows\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", Chain(&*error));
            ExitCode::FAILURE
        }
    }
}

fn run(wirings: &[Wiring]) -> Result<(), Failure> {
    let rights = if has_net_admin()? {
        ""
    } else {
        enter_user_namespace()?;
        ",\nall inside a user namespace, for you are not privileged"
    };
    say(format_args!(
        "A node, two pods and an outside, in network namespaces that end with this program{rights}.\n"
    ))?;
    let (mut checked, mut wrong) = (0_usize, 0_usize);
    for &wiring in wirings {
        let report = Scene::new(wiring)?.play()?;
        checked = checked.saturating_add(report.checked());
        wrong = wrong.saturating_add(report.wrong());
    }
    if wrong == 0 {
        say(format_args!("All {checked} checks went as they should."))
    } else {
        Err(format!("{wrong} of {checked} checks went wrong").into())
    }
}

const USAGE: &str = "\
usage: bridged [subnet | proxy-arp]
           puts a guest into the place of a pod on a throwaway node, and takes
           it out again: among pods of one subnet on a bridge, and among pods
           with an address each behind proxy ARP, or one of the two; asks from
           everywhere before, in between and after; needs no right but to open
           /dev/net/tun";
