//! A bridge that is killed, or refused, at any moment of its making and undoing.

use std::process::ExitCode;

use libtest_mimic::Trial;
use tapwire::bridged::{BridgePlan, Bridged, PodInterface, restore};

use super::killed::TakeOver;
use super::pod::{dump, eth0, without_cables};
use crate::support::trials;

pub(crate) fn trials() -> Vec<Trial> {
    trials![needs ["strace", "ip"]:
        killed_take_over_is_completed_by_the_next_or_undone,
        killed_undo_is_completed_by_the_next,
        take_over_that_the_kernel_refuses_at_any_step_leaves_nothing,
    ]
}

/// Is the agent that is killed, if the command line says so.
pub(crate) fn be_agent() -> Option<ExitCode> {
    BRIDGE.be_agent()
}

const BRIDGE: TakeOver = TakeOver {
    agent: "bridged-agent",
    take: || {
        let pod = PodInterface::read(eth0())?;
        BridgePlan::new(pod).tap_owner(1000).take_over().map(drop)
    },
    restore: || restore(eth0()).map(drop),
    is_taken: || Bridged::find(eth0()).unwrap().is_some(),
    dump,
    without_cables,
};

fn killed_take_over_is_completed_by_the_next_or_undone() {
    BRIDGE.killed_take_over_is_completed_by_the_next_or_undone();
}

fn killed_undo_is_completed_by_the_next() {
    BRIDGE.killed_undo_is_completed_by_the_next();
}

fn take_over_that_the_kernel_refuses_at_any_step_leaves_nothing() {
    BRIDGE.take_over_that_the_kernel_refuses_at_any_step_leaves_nothing();
}
