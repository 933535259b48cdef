//! What is wanted is planned and committed, and what there is is listed.

use std::time::Duration;

use tapwire::{Exposure, Flows, Guest, Wanted};

use crate::harness::figures::{Case, Figure};
use crate::harness::floor::Replay;
use crate::harness::{Mode, Result, time};
use crate::twin::{GUESTS, Twin};

const NOTHING_TO_DO: f64 = 1.5;

pub(crate) fn cases(mode: Mode) -> Result<Vec<Box<dyn Case>>> {
    let count = if mode == Mode::Test { 1_000 } else { 10_000 };
    Ok(vec![Box::new(Reconcile::new(count)?)])
}

struct Reconcile {
    count: usize,
    twin: Twin,
    /// All, without the last, without the last thousand.
    wanted: [Wanted; 3],
    nothing: Replay,
    list: Replay,
    /// The last is taken away and put back, and the last thousand.
    changes: [Replay; 4],
}

impl Reconcile {
    fn new(count: usize) -> Result<Self> {
        let mut twin = Twin::new()?;
        let exposures = twin.exposures(count)?;
        let wanted = [0, 1, 1_000].map(|fewer| wanted(&exposures[..count - fewer]));
        let [all, but_one, but_many] = wanted;
        let wanted = [all?, but_one?, but_many?];
        let mut apply = |place: usize| {
            let replay = twin.record(|host| Ok(host.apply(&wanted[place]).map(drop)?))?;
            twin.check()?;
            Ok::<_, Box<dyn std::error::Error>>(replay)
        };
        apply(0)?;
        let nothing = apply(0)?;
        let changes = [apply(1)?, apply(0)?, apply(2)?, apply(0)?];
        let list = twin.record(|host| Ok(host.exposures().map(drop)?))?;
        Ok(Self {
            count,
            twin,
            wanted,
            nothing,
            list,
            changes,
        })
    }
}

fn wanted(exposures: &[Exposure]) -> Result<Wanted> {
    let mut wanted = Wanted::new().flows(Flows::Drain);
    for guest in GUESTS {
        wanted = wanted.guest(Guest::new(guest)?);
    }
    wanted.extend(exposures.iter().cloned());
    Ok(wanted)
}

impl Case for Reconcile {
    fn figures(&self) -> Vec<Figure> {
        let count = self.count;
        vec![
            Figure::new(format!("reconcile {count}, nothing to do")).ratio(NOTHING_TO_DO),
            Figure::new(format!("reconcile {count}, one to withdraw")),
            Figure::new(format!("reconcile {count}, one to add")),
            Figure::new(format!("reconcile {count}, 1000 to withdraw")),
            Figure::new(format!("reconcile {count}, 1000 to add")),
            Figure::new(format!("list {count}")),
        ]
    }

    fn round(&mut self) -> Result<Vec<[Duration; 2]>> {
        let Twin { host, floor, .. } = &mut self.twin;
        let wanted = &self.wanted;
        let mut taken = vec![[
            time(|| host.apply(&wanted[0]))?,
            floor.replay(&mut self.nothing)?,
        ]];
        for (place, change) in [1, 0, 2, 0].into_iter().zip(&mut self.changes) {
            taken.push([time(|| host.apply(&wanted[place]))?, floor.replay(change)?]);
        }
        taken.push([time(|| host.exposures())?, floor.replay(&mut self.list)?]);
        Ok(taken)
    }
}
