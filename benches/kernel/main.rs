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
mod reconcile;
mod twin;

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

    if is_asked_for("exposure") {
        let present = exposures::cases(mode)?;
        let lines = figures::run(&mut criterion, mode, "exposure", present, 2_000)?;
        missed.extend(exposures::flat(&lines));
        measured.extend(lines);
    }
    let groups: [(&str, Group, usize); 6] = [
        ("handle", |_| handles::cases(), 500),
        ("guest", |_| guests::cases(), 50),
        ("clone", clones::cases, 50),
        ("clones", clones::bulk, 5),
        ("plan", reconcile::cases, 30),
        ("bulk", bulk::cases, 10),
    ];
    for (what, cases, rounds) in groups {
        if is_asked_for(what) {
            measured.extend(figures::run(
                &mut criterion,
                mode,
                what,
                cases(mode)?,
                rounds,
            )?);
        }
    }
    criterion.final_summary();
    if mode != Mode::Test {
        missed.extend(bulk::each(&measured));
        missed.extend(clones::compared(mode, &measured));
        figures::report("kernel", &measured, &missed)?;
    }
    Ok(())
}

/// Sets cases up.
type Group = fn(Mode) -> Result<Vec<Box<dyn Case>>>;

/// Whether a group is among those that the arguments name, if they name any.
fn is_asked_for(group: &str) -> bool {
    let arguments = std::env::args().skip(1);
    let named: Vec<String> = arguments.filter(|it| !it.starts_with('-')).collect();
    named.is_empty() || named.iter().any(|name| group.starts_with(name.as_str()))
}

/// What was measured under this name.
fn find<'m>(lines: &'m [Measured], name: &str) -> Option<&'m Measured> {
    lines.iter().find(|line| line.name == name)
}
