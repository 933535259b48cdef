//! A masquerade beside a mesh that is killed, or refused, at any moment of its
//! making and undoing.

use std::fs;
use std::process::ExitCode;

use libtest_mimic::Trial;
use tapwire::masqueraded::{Masquerade, Mesh, remove};
use tapwire::{Guest, Owner, Ports, Protocol};

use crate::bridged::killed::TakeOver;
use crate::bridged::pod;
use crate::support::{run, trials};

pub(super) fn trials() -> Vec<Trial> {
    trials![needs ["strace", "ip", "nft"]:
        killed_masquerade_is_completed_by_the_next_or_removed,
        killed_removal_is_completed_by_the_next,
        masquerade_that_the_kernel_refuses_at_any_step_leaves_nothing,
    ]
}

/// Is the agent that is killed, if the command line says so.
pub(crate) fn be_agent() -> Option<ExitCode> {
    MASQUERADE.be_agent()
}

const MASQUERADE: TakeOver = TakeOver {
    agent: "masqueraded-agent",
    take: || masquerade().apply().map(drop),
    restore: || remove(Owner::new("vm")?),
    is_taken: || masquerade().plan().unwrap().is_empty(),
    dump: || pod::dump() + &rules(),
    without_cables: || pod::without_cables() + &rules(),
};

/// All that a mesh can have.
fn masquerade() -> Masquerade {
    let port = Ports::new(80, 80).unwrap();
    Masquerade::new(Owner::new("vm").unwrap(), Guest::new("web-0").unwrap())
        .carry(Protocol::Tcp, port)
        .carry(Protocol::Udp, port)
        .mesh(Mesh::ambient().source("127.0.0.6/32".parse().unwrap()))
}

fn rules() -> String {
    let settings = [
        "ipv4/conf/eth0/forwarding",
        "ipv6/conf/eth0/force_forwarding",
    ];
    // The second is younger than some kernels.
    let settings = settings.map(|key| fs::read_to_string(format!("/proc/sys/net/{key}")));
    let settings: String = settings.into_iter().flatten().collect();
    run("nft", &["-s", "list", "ruleset"]) + &settings
}

fn killed_masquerade_is_completed_by_the_next_or_removed() {
    MASQUERADE.killed_take_over_is_completed_by_the_next_or_undone();
}

fn killed_removal_is_completed_by_the_next() {
    MASQUERADE.killed_undo_is_completed_by_the_next();
}

fn masquerade_that_the_kernel_refuses_at_any_step_leaves_nothing() {
    MASQUERADE.take_over_that_the_kernel_refuses_at_any_step_leaves_nothing();
}
