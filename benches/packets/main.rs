//! What a packet costs on its way through exposures, next to the form with one
//! rule for each. See `benches/README.md`.
//!
//! Real packets: a process on the host sends UDP to an exposed port of the
//! host, and the guest's TAP is read until all have come. Of `new flows` each
//! comes from a port of its own and is translated by the rules; of
//! `established` all belong to one flow.
#![expect(
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    reason = "a bench prints what it measures"
)]

#[path = "../harness/mod.rs"]
mod harness;
mod path;

use std::error::Error;
use std::time::Duration;

use criterion::Criterion;

use harness::figures::{self, Case, Figure, Measured};
use harness::{Mode, Result, gain_rights, words};
use path::{AT_ONCE, Path};

/// The rate with the most exposures next to that with one.
const FLAT: f64 = 0.95;
const PRESENT: [u16; 4] = [1, 100, 1_000, 10_000];

fn main() -> Result<(), Box<dyn Error>> {
    if let Err(why) = gain_rights() {
        println!("packets: SKIPPED, nothing was measured: {}", words(&*why));
        return Ok(());
    }
    let mode = Mode::asked();
    let present = match mode {
        Mode::Test => &PRESENT[..1],
        Mode::Quick | Mode::Full => &PRESENT[..],
    };
    let mut cases: Vec<Box<dyn Case>> = Vec::new();
    for &present in present {
        cases.push(Box::new(Packets {
            present,
            ours: Path::by_exposures(present)?,
            linear: Path::by_rules(present)?,
        }));
    }
    let mut criterion = Criterion::default().configure_from_args();
    let measured = figures::run(&mut criterion, mode, "packets", cases, 100)?;
    if mode != Mode::Test {
        let missed = flat(&measured);
        println!("\n{AT_ONCE} packets; the floor here: one rule for each exposure");
        figures::report("packets", &measured, &missed)?;
    }
    Ok(())
}

struct Packets {
    present: u16,
    ours: Path,
    linear: Path,
}

const KINDS: [&str; 2] = ["new flows", "established"];

impl Case for Packets {
    fn figures(&self) -> Vec<Figure> {
        let name = |kind| Figure::new(format!("{kind}, {} exposures", self.present));
        KINDS.map(name).to_vec()
    }

    fn round(&mut self) -> Result<Vec<[Duration; 2]>> {
        let new = [self.ours.new_flows()?, self.linear.new_flows()?];
        let established = [self.ours.established()?, self.linear.established()?];
        Ok(vec![new, established])
    }
}

/// Which rates fall when there are more exposures.
fn flat(lines: &[Measured]) -> Vec<String> {
    let mut missed = Vec::new();
    for kind in KINDS {
        let mut of_kind = lines.iter().filter(|line| line.name.starts_with(kind));
        if let (Some(first), Some(last)) = (of_kind.next(), of_kind.next_back()) {
            let rate = first.ours.as_secs_f64() / last.ours.as_secs_f64();
            println!("{}: {rate:.2} of the rate with one", last.name);
            if rate < FLAT {
                missed.push(format!("{}: {rate:.2} of the rate", last.name));
            }
        }
    }
    missed
}
