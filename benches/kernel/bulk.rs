//! Many exposures come in one batch.

use std::time::Duration;

use tapwire::{Exposure, Flows, Guest, Wanted};

use crate::find;
use crate::harness::figures::{Case, Figure, Measured};
use crate::harness::floor::Replay;
use crate::harness::{Mode, Result, time};
use crate::twin::{GUESTS, Twin};

const RATIO: f64 = 1.10;
/// Each of the most.
const EACH: Duration = Duration::from_micros(1);
const MOST: usize = 100_000;

pub(crate) fn small(_: Mode) -> Result<Vec<Box<dyn Case>>> {
    cases(&[100])
}

pub(crate) fn large(mode: Mode) -> Result<Vec<Box<dyn Case>>> {
    match mode {
        Mode::Test => cases(&[]),
        Mode::Quick => cases(&[10_000, MOST]),
        Mode::Full => cases(&[1_000, 10_000, MOST]),
    }
}

fn cases(sizes: &[usize]) -> Result<Vec<Box<dyn Case>>> {
    let mut cases: Vec<Box<dyn Case>> = Vec::new();
    for &count in sizes {
        cases.push(Box::new(Bulk::new(count)?));
    }
    Ok(cases)
}

/// What takes longer for each than it may.
pub(crate) fn each(lines: &[Measured]) -> Option<String> {
    let each = find(lines, &name(MOST))?.ours / u32::try_from(MOST).unwrap_or(u32::MAX);
    println!("each of {MOST}: {each:?}");
    (each > EACH).then(|| format!("each of {MOST}: {each:?}"))
}

fn name(count: usize) -> String {
    format!("{count} in one batch")
}

struct Bulk {
    twin: Twin,
    wanted: Vec<Exposure>,
    nothing: Wanted,
    add: Replay,
    withdraw: Replay,
}

impl Bulk {
    fn new(count: usize) -> Result<Self> {
        let mut twin = Twin::new()?;
        let wanted = twin.exposures(count)?;
        let mut nothing = Wanted::new().flows(Flows::Drain);
        for guest in GUESTS {
            nothing = nothing.guest(Guest::new(guest)?);
        }
        let add = twin.record(|host| Ok(host.expose_all(&wanted)?))?;
        twin.check()?;
        let withdraw = twin.record(|host| Ok(host.apply(&nothing).map(drop)?))?;
        twin.check()?;
        Ok(Self {
            twin,
            wanted,
            nothing,
            add,
            withdraw,
        })
    }
}

impl Case for Bulk {
    fn figures(&self) -> Vec<Figure> {
        vec![Figure::new(name(self.wanted.len())).ratio(RATIO)]
    }

    fn round(&mut self) -> Result<Vec<[Duration; 2]>> {
        let Twin { host, floor, .. } = &mut self.twin;
        let ours = time(|| host.expose_all(&self.wanted))?;
        let least = floor.replay(&mut self.add)?;
        floor.replay(&mut self.withdraw)?;
        host.apply(&self.nothing)?;
        Ok(vec![[ours, least]])
    }
}
