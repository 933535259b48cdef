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
mod exposures;
mod guests;
mod handles;
#[path = "../harness/mod.rs"]
mod harness;
mod reconcile;
mod twin;

use std::error::Error;

use criterion::Criterion;
use harness::figures::{self, Measured};
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

    let present = exposures::cases(mode)?;
    let lines = figures::run(&mut criterion, mode, "exposure", present, 2_000)?;
    missed.extend(exposures::flat(&lines));
    measured.extend(lines);
    for (what, cases, rounds) in [
        ("handle", handles::cases()?, 500),
        ("guest", guests::cases()?, 50),
        ("plan", reconcile::cases(mode)?, 30),
        ("bulk", bulk::cases(mode)?, 10),
    ] {
        measured.extend(figures::run(&mut criterion, mode, what, cases, rounds)?);
    }
    criterion.final_summary();
    if mode != Mode::Test {
        missed.extend(bulk::each(&measured));
        figures::report("kernel", &measured, &missed)?;
    }
    Ok(())
}

/// What was measured under this name.
fn find<'m>(lines: &'m [Measured], name: &str) -> Option<&'m Measured> {
    lines.iter().find(|line| line.name == name)
}
