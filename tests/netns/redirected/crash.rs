//! Filters that are killed, or refused, at any moment of their making and undoing.

use std::process::ExitCode;

use libtest_mimic::Trial;
use tapwire::redirected::{PodInterface, RedirectPlan, Redirected, restore};

use super::{dump, without_cables};
use crate::bridged::killed::TakeOver;
use crate::bridged::pod::eth0;
use crate::support::trials;

pub(crate) fn trials() -> Vec<Trial> {
    trials![needs ["strace", "ip", "tc"]:
        killed_take_over_is_completed_by_the_next_or_undone,
        killed_undo_is_completed_by_the_next,
        take_over_that_the_kernel_refuses_at_any_step_leaves_nothing,
    ]
}

/// Is the agent that is killed, if the command line says so.
pub(crate) fn be_agent() -> Option<ExitCode> {
    FILTERS.be_agent()
}

const FILTERS: TakeOver = TakeOver {
    agent: "redirected-agent",
    take: || {
        let pod = PodInterface::read(eth0())?;
        RedirectPlan::new(pod).tap_owner(1000).take_over().map(drop)
    },
    restore: || restore(eth0()).map(drop),
    is_taken: || Redirected::find(eth0()).unwrap().is_some(),
    dump,
    without_cables,
};

fn killed_take_over_is_completed_by_the_next_or_undone() {
    FILTERS.killed_take_over_is_completed_by_the_next_or_undone();
}

fn killed_undo_is_completed_by_the_next() {
    FILTERS.killed_undo_is_completed_by_the_next();
}

fn take_over_that_the_kernel_refuses_at_any_step_leaves_nothing() {
    FILTERS.take_over_that_the_kernel_refuses_at_any_step_leaves_nothing();
}
