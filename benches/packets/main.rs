//! What a packet costs on its way through exposures to guests, next to the form
//! with one rule for each. See `benches/README.md`.
//!
//! Real packets: a client sends to an exposed port of the host, which leads to
//! a guest. Of `new flows` each packet comes from a port of its own and is
//! translated by the rules, of `established` all belong to one flow; `connects`
//! are TCP connections until they are accepted, `bulk` is what one of them
//! carries.
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
use path::{AT_ONCE, BULK, Path, Way};

/// The rate with the most exposures next to that with one.
const FLAT: f64 = 0.95;
const PRESENT: [u16; 4] = [1, 100, 1_000, 10_000];

/// What packets to a clone take with others present, next to one alone.
const AS_ALONE: f64 = 1.10;
const CLONES: [u16; 2] = [100, 1_000];
const SNAPSHOT: &str = "tap0 06:00:ac:10:00:02 172.16.0.2/24 via 172.16.0.1 02:74:77:ff:ff:fe";

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
    let mut measured = figures::run(&mut criterion, mode, "packets", cases, 100)?;
    let present = if mode == Mode::Test {
        &[2]
    } else {
        &CLONES[..]
    };
    for way in [Way::Rewritten, Way::Namespaced] {
        for &present in present {
            let cases: Vec<Box<dyn Case>> = vec![Box::new(Clones::new(way, present)?)];
            measured.extend(figures::run(&mut criterion, mode, "clones", cases, 100)?);
        }
    }
    if mode != Mode::Test {
        let missed = flat(&measured);
        println!(
            "\n{AT_ONCE} packets or connections, or {BULK} bytes; the floor here: one rule for \
             each exposure and guest; for clones, one that is alone"
        );
        rates(&measured);
        figures::report("packets", &measured, &missed)?;
    }
    Ok(())
}

struct Packets {
    present: u16,
    ours: Path,
    linear: Path,
}

const KINDS: [&str; 4] = ["new flows", "established", "connects", "bulk"];

impl Case for Packets {
    fn figures(&self) -> Vec<Figure> {
        let name = |kind| Figure::new(format!("{kind}, {} exposures", self.present));
        KINDS.map(name).to_vec()
    }

    fn round(&mut self) -> Result<Vec<[Duration; 2]>> {
        let new = [self.ours.new_flows()?, self.linear.new_flows()?];
        let established = [self.ours.established()?, self.linear.established()?];
        let connects = [self.ours.connects()?, self.linear.connects()?];
        let bulk = [self.ours.bulk()?, self.linear.bulk()?];
        Ok(vec![new, established, connects, bulk])
    }
}

/// The last of clones of one snapshot, and one that is alone.
struct Clones {
    way: Way,
    present: u16,
    last: Path,
    alone: Path,
}

impl Clones {
    fn new(way: Way, present: u16) -> Result<Self> {
        Ok(Self {
            way,
            present,
            last: Path::by_clones(SNAPSHOT, way, present)?,
            alone: Path::by_clones(SNAPSHOT, way, 1)?,
        })
    }
}

impl Case for Clones {
    fn figures(&self) -> Vec<Figure> {
        let Self { way, present, .. } = self;
        let name = |kind| Figure::new(format!("to a clone {way:?}, {present} present, {kind}"));
        let kinds = ["connects", "echoes"];
        kinds.map(|kind| name(kind).ratio(AS_ALONE)).to_vec()
    }

    fn round(&mut self) -> Result<Vec<[Duration; 2]>> {
        let connects = [self.last.connects()?, self.alone.connects()?];
        let echoes = [self.last.echoes()?, self.alone.echoes()?];
        Ok(vec![connects, echoes])
    }
}

/// What the times are as rates.
fn rates(lines: &[Measured]) {
    for line in lines {
        let of = |many: f64| many / line.ours.as_secs_f64();
        if line.name.starts_with("bulk") {
            let bits = f64::from(u32::try_from(BULK).unwrap_or(u32::MAX)) * 8e-9;
            println!("{}: {:.2} Gbit/s", line.name, of(bits));
        } else {
            println!("{}: {:.0} a second", line.name, of(AT_ONCE.into()));
        }
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
