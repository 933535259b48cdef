//! One exposure is added, moved and withdrawn, with others present.

use std::time::Duration;

use tapwire::{Exposure, Flows, Protocol};

use crate::find;
use crate::harness::figures::{Case, Figure, Measured};
use crate::harness::floor::Replay;
use crate::harness::{Mode, Result, time};
use crate::twin::Twin;

const PORT: u16 = 60_000;
const RATIO: f64 = 1.10;
/// With the most present, next to none.
const FLAT: f64 = 1.15;
const WITHDRAW_P99: Duration = Duration::from_micros(50);

const ADD: &str = "add";
const MOVE: &str = "move";
const WITHDRAW: &str = "withdraw";

fn present(mode: Mode) -> &'static [usize] {
    match mode {
        Mode::Test => &[0],
        Mode::Quick => &[0, 10_000, 100_000],
        Mode::Full => &[0, 1_000, 10_000, 100_000],
    }
}

pub(crate) fn cases(mode: Mode) -> Result<Vec<Box<dyn Case>>> {
    let mut cases: Vec<Box<dyn Case>> = Vec::new();
    for &present in present(mode) {
        cases.push(Box::new(One::new(present)?));
    }
    Ok(cases)
}

/// What does not cost the same however many there are.
pub(crate) fn flat(lines: &[Measured]) -> Vec<String> {
    let mut missed = Vec::new();
    for what in [ADD, WITHDRAW] {
        let of = |present| find(lines, &name(what, present));
        let most = present(Mode::Full).iter().rev().find_map(|&most| of(most));
        if let (Some(none), Some(most)) = (of(0), most) {
            let ratio = most.ours.as_secs_f64() / none.ours.as_secs_f64();
            println!("{}: {ratio:.2} times as long as with 0", most.name);
            if ratio > FLAT {
                missed.push(format!("{}: {ratio:.2} times as long", most.name));
            }
        }
    }
    missed
}

fn name(what: &str, present: usize) -> String {
    format!("{what} one, {present} present")
}

struct One {
    present: usize,
    twin: Twin,
    exposure: Exposure,
    moved: Exposure,
    replays: [Replay; 3],
}

impl One {
    fn new(present: usize) -> Result<Self> {
        let mut twin = Twin::new()?;
        let others = twin.exposures(present)?;
        if present > 0 {
            twin.record(|host| Ok(host.expose_all(&others)?))?;
        }
        let to = |target| Exposure::new(Protocol::Tcp, PORT, target);
        let [exposure, moved] = [to(twin.addresses[0])?, to(twin.addresses[1])?];
        // Once to be warm, as in all that follows.
        twin.record(|host| Ok(host.expose(&exposure)?))?;
        twin.record(|host| Ok(host.withdraw(&exposure, Flows::Drain)?))?;
        let add = twin.record(|host| Ok(host.expose(&exposure)?))?;
        twin.check()?;
        let repoint = twin.record(|host| Ok(host.repoint(&exposure, &moved, Flows::Drain)?))?;
        twin.check()?;
        let withdraw = twin.record(|host| Ok(host.withdraw(&moved, Flows::Drain)?))?;
        twin.check()?;
        Ok(Self {
            present,
            twin,
            exposure,
            moved,
            replays: [add, repoint, withdraw],
        })
    }
}

impl Case for One {
    fn figures(&self) -> Vec<Figure> {
        let figure = |what| Figure::new(name(what, self.present)).ratio(RATIO);
        vec![
            figure(ADD),
            figure(MOVE),
            figure(WITHDRAW).p99(WITHDRAW_P99),
        ]
    }

    fn round(&mut self) -> Result<Vec<[Duration; 2]>> {
        let Twin { host, floor, .. } = &mut self.twin;
        let [add, repoint, withdraw] = &mut self.replays;
        let (exposure, moved) = (&self.exposure, &self.moved);
        floor.prepare(add)?;
        let added = [time(|| host.expose(exposure))?, floor.send(add)?];
        floor.prepare(repoint)?;
        let repointed = [
            time(|| host.repoint(exposure, moved, Flows::Drain))?,
            floor.send(repoint)?,
        ];
        floor.prepare(withdraw)?;
        let withdrawn = [
            time(|| host.withdraw(moved, Flows::Drain))?,
            floor.send(withdraw)?,
        ];
        Ok(vec![added, repointed, withdrawn])
    }
}
