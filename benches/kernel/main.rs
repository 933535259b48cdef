//! How long changes of exposures and guests take, next to what the kernel
//! itself takes for the same messages. See `benches/README.md`.
#![expect(
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    reason = "a bench prints what it measures"
)]

mod bulk;
mod clones;
mod exposures;
mod guests;
mod handles;
#[path = "../harness/mod.rs"]
mod harness;
mod pool;
mod reconcile;
mod twin;
mod vhive;

use std::error::Error;

use criterion::Criterion;
use harness::figures::{self, Case, Measured};
use harness::{Mode, Result, gain_rights, words};

fn main() -> Result<(), Box<dyn Error>> {
    if let Err(why) = gain_rights() {
        println!("kernel: SKIPPED, nothing was measured: {}", words(&*why));
        return Ok(());
    }
    let mode = Mode::asked();
    let mut criterion = Criterion::default().configure_from_args();
    let mut measured = Vec::new();
    let mut missed = Vec::new();

    let groups: [(&str, MakeCases, usize); 13] = [
        ("exposure", exposures::cases, 2_000),
        ("clash", handles::clashes, 2_000),
        ("drop", handles::drops, 200),
        ("guest", guests::cases, 250),
        ("clone", clones::rewritten, 100),
        ("clone", clones::namespaced, 100),
        ("clone", clones::ways, 100),
        ("clones", clones::bulk, 15),
        ("vhive", |_| vhive::cases(), 50),
        ("pool", pool::cases, 50),
        ("plan", reconcile::cases, 30),
        ("bulk", bulk::small, 250),
        ("bulk", bulk::large, 10),
    ];
    for (group, cases, rounds) in groups {
        if asks_for(group) {
            let cases = cases(mode)?;
            measured.extend(figures::run(&mut criterion, mode, group, cases, rounds)?);
        }
    }
    criterion.final_summary();
    if mode != Mode::Test {
        missed.extend(exposures::flat(&measured));
        missed.extend(bulk::each(&measured));
        missed.extend(clones::compared(mode, &measured));
        vhive::report(&measured);
        figures::report("kernel", &measured, &missed)?;
    }
    Ok(())
}

type MakeCases = fn(Mode) -> Result<Vec<Box<dyn Case>>>;

/// Whether the arguments name this group, or none.
fn asks_for(group: &str) -> bool {
    let mut named = std::env::args().skip(1).filter(|it| !it.starts_with('-'));
    named.next().is_none_or(|first| group.starts_with(&first))
}

/// What was measured under this name.
fn find<'m>(lines: &'m [Measured], name: &str) -> Option<&'m Measured> {
    lines.iter().find(|line| line.name == name)
}
