//! A macvtap that is killed, or refused, at any moment of its making and
//! removing: one that shares its parent, and one that has it for itself.

use std::process::ExitCode;

use libtest_mimic::Trial;
use tapwire::Error;
use tapwire::passthrough::MacvtapOptions;
use tapwire::route::{MacvtapMode, Rtnl};

use crate::bridged::killed::TakeOver;
use crate::bridged::pod::{dump, eth0, without_cables};
use crate::support::trials;

pub(crate) fn trials() -> Vec<Trial> {
    trials![needs ["strace", "ip", "root"]:
        killed_making_is_completed_by_the_next_or_removed,
        killed_removal_is_completed_by_the_next,
        making_that_the_kernel_refuses_at_any_step_leaves_nothing,
    ]
}

/// Is the agent that is killed, if the command line says so.
pub(crate) fn be_agent() -> Option<ExitCode> {
    SHARED.be_agent().or_else(|| ALONE.be_agent())
}

const SHARED: TakeOver = TakeOver {
    agent: "macvtap-agent",
    take: || make(MacvtapMode::BRIDGE),
    restore: || options(MacvtapMode::BRIDGE).remove(),
    is_taken: || has_mac("guest0"),
    dump,
    without_cables,
};

const ALONE: TakeOver = TakeOver {
    agent: "passthru-agent",
    take: || make(MacvtapMode::PASSTHRU),
    restore: || options(MacvtapMode::PASSTHRU).remove(),
    is_taken: || has_mac("guest0") && has_mac("eth0"),
    dump: || without_neighbours(&dump()),
    without_cables: || without_neighbours(&without_cables()),
};

/// With the MAC address of the parent the kernel forgets its neighbours, those
/// too that are permanent.
fn without_neighbours(dump: &str) -> String {
    let lines = dump.split_inclusive('\n');
    lines.filter(|line| !line.contains("PERMANENT")).collect()
}

/// As a VMM's launcher does that may have been killed before.
fn make(mode: MacvtapMode) -> Result<(), Error> {
    match options(mode).attach() {
        Err(error) if error.is_not_found() => options(mode).create().map(drop),
        attached => attached.map(drop),
    }
}

fn options(mode: MacvtapMode) -> MacvtapOptions {
    let options = MacvtapOptions::new("guest0".parse().unwrap(), eth0(), mode);
    options.mac(MAC.parse().unwrap())
}

fn has_mac(name: &str) -> bool {
    let link = Rtnl::open().unwrap().link(name.parse().unwrap()).unwrap();
    link.is_some_and(|link| link.mac() == Some(MAC.parse().unwrap()))
}

const MAC: &str = "02:00:00:00:09:11";

fn killed_making_is_completed_by_the_next_or_removed() {
    SHARED.killed_take_over_is_completed_by_the_next_or_undone();
    ALONE.killed_take_over_is_completed_by_the_next_or_undone();
}

fn killed_removal_is_completed_by_the_next() {
    SHARED.killed_undo_is_completed_by_the_next();
    ALONE.killed_undo_is_completed_by_the_next();
}

fn making_that_the_kernel_refuses_at_any_step_leaves_nothing() {
    SHARED.take_over_that_the_kernel_refuses_at_any_step_leaves_nothing();
    ALONE.take_over_that_the_kernel_refuses_at_any_step_leaves_nothing();
}
