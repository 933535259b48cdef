//! Tests against the real kernel, each in a network namespace of its own.
//!
//! They run as root, or through a user namespace for anyone who may open
//! `/dev/net/tun`. Tests that need another program as judge or partner say so
//! in their kind; without it they are ignored by name.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::print_stderr,
    reason = "a test that cannot go on has failed"
)]

mod agent;
mod agents;
mod allow;
mod bad_input;
mod bad_values;
mod balance;
mod beside;
mod bridged;
mod clones;
mod cni;
mod conntrack;
mod crash;
mod cut;
mod dhcp;
mod egress;
mod elsewhere;
mod expose;
mod exposure;
mod host;
mod interfaces;
mod isolation;
mod leaving;
mod limits;
mod linux_guest;
mod listing;
mod masqueraded;
mod matrix;
mod moments;
mod namespaced;
mod nft;
mod ownership;
mod packet;
mod passthrough;
mod plan;
mod plan_policy;
mod planner;
mod policy;
mod pool;
mod proxied;
mod ranges;
mod rates;
mod real_guest;
mod redirected;
mod relay;
mod repair;
mod repoint;
mod riklet;
mod riklet_defects;
mod route;
mod sctp;
mod segment;
mod snapshot;
mod spoof;
#[expect(unused_imports, reason = "its own tests run in tests/support.rs")]
#[path = "../../examples/support/mod.rs"]
mod stand_ins;
mod support;
mod sys;
mod topology;
mod upgrade;
mod vhive_defects;
mod watch;
mod without_ipv6;
mod world;

use std::process::ExitCode;

fn main() -> ExitCode {
    if let Some(code) = planner::be_agent()
        .or_else(bridged::be_agent)
        .or_else(masqueraded::be_agent)
        .or_else(redirected::be_agent)
        .or_else(segment::be_agent)
        .or_else(interfaces::be_agent)
        .or_else(passthrough::be_agent)
    {
        return code;
    }
    let arguments = libtest_mimic::Arguments::from_args();
    if !arguments.list
        && let Err(sentence) = support::gain_rights()
    {
        eprintln!("{sentence}");
        return ExitCode::FAILURE;
    }
    let trials = [
        agents::trials(),
        allow::trials(),
        bad_input::trials(),
        bad_values::trials(),
        balance::trials(),
        beside::trials(),
        bridged::trials(),
        clones::trials(),
        cni::trials(),
        conntrack::trials(),
        crash::trials(),
        cut::trials(),
        dhcp::trials(),
        egress::trials(),
        elsewhere::trials(),
        expose::trials(),
        exposure::trials(),
        host::trials(),
        interfaces::trials(),
        isolation::trials(),
        leaving::trials(),
        limits::trials(),
        listing::trials(),
        masqueraded::trials(),
        matrix::trials(),
        namespaced::trials(),
        nft::trials(),
        ownership::trials(),
        passthrough::trials(),
        plan::trials(),
        plan_policy::trials(),
        repair::trials(),
        policy::trials(),
        pool::trials(),
        proxied::trials(),
        rates::trials(),
        ranges::trials(),
        real_guest::trials(),
        redirected::trials(),
        relay::trials(),
        repoint::trials(),
        riklet::trials(),
        riklet_defects::trials(),
        route::trials(),
        sctp::trials(),
        segment::trials(),
        spoof::trials(),
        sys::trials(),
        upgrade::trials(),
        vhive_defects::trials(),
        watch::trials(),
        topology::trials(),
        without_ipv6::trials(),
    ]
    .into_iter()
    .flatten()
    .chain(other_kernel())
    .collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Tests of what the machine that decides about a change may lack. They are
/// no part of the tests there, and all of them are under `tests/other-kernel`,
/// which sets this variable.
fn other_kernel() -> Vec<libtest_mimic::Trial> {
    match std::env::var_os("OTHER_KERNEL") {
        Some(_) => nft::stock::trials()
            .into_iter()
            .chain(segment::stock::trials())
            .collect(),
        None => Vec::new(),
    }
}
