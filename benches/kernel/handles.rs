//! What must not wait: a clash, and letting go of a handle.

use std::time::{Duration, Instant};

use tapwire::{Exposure, Flows, Host, Owner, Protocol};

use crate::harness::figures::{Case, Figure};
use crate::harness::floor::{Floor, Replay};
use crate::harness::{Mode, Result, inside, time};
use crate::twin::Twin;

const REFUSED: Duration = Duration::from_micros(20);
const DROP: Duration = Duration::from_micros(50);
const PRESENT: usize = 10_000;

pub(crate) fn cases(_: Mode) -> Result<Vec<Box<dyn Case>>> {
    Ok(vec![Box::new(Clash::new()?), Box::new(Drops::new()?)])
}

/// A port that is exposed to another guest.
struct Clash {
    twin: Twin,
    exposure: Exposure,
    refused: Replay,
}

impl Clash {
    fn new() -> Result<Self> {
        let mut twin = Twin::new()?;
        let others = twin.exposures(PRESENT)?;
        twin.record(|host| Ok(host.expose_all(&others)?))?;
        let exposure = Exposure::new(Protocol::Tcp, 5_000, twin.addresses[1])?;
        let refused = twin.record(|host| refuse(host, &exposure))?;
        Ok(Self {
            twin,
            exposure,
            refused,
        })
    }
}

fn refuse(host: &mut Host, exposure: &Exposure) -> Result<()> {
    match host.expose(exposure) {
        Err(tapwire::Error::Conflict(_)) => Ok(()),
        other => Err(format!("no conflict but {other:?}").into()),
    }
}

impl Case for Clash {
    fn figures(&self) -> Vec<Figure> {
        vec![Figure::new(format!("refused duplicate, {PRESENT} present")).p99(REFUSED * 5)]
    }

    fn round(&mut self) -> Result<Vec<[Duration; 2]>> {
        let Twin { host, floor, .. } = &mut self.twin;
        let ours = time(|| refuse(host, &self.exposure))?;
        Ok(vec![[ours, floor.replay(&mut self.refused)?]])
    }
}

/// A handle is let go while the kernel has yet to free what was withdrawn.
struct Drops {
    twin: Twin,
    exposure: Exposure,
}

impl Drops {
    fn new() -> Result<Self> {
        let twin = Twin::new()?;
        let exposure = Exposure::new(Protocol::Tcp, 60_000, twin.addresses[0])?;
        Ok(Self { twin, exposure })
    }
}

impl Case for Drops {
    fn figures(&self) -> Vec<Figure> {
        vec![Figure::new("drop a host after a withdrawal (floor: close)").p99(DROP)]
    }

    fn round(&mut self) -> Result<Vec<[Duration; 2]>> {
        let Self { twin, exposure } = self;
        let host = &mut twin.host;
        let other = inside(&twin.netns, || Ok(Host::open(Owner::new("bench")?)?))?;
        host.expose(exposure)?;
        host.withdraw(exposure, Flows::Drain)?;
        let start = Instant::now();
        drop(other);
        let ours = start.elapsed();
        let raw = inside(&twin.netns, Floor::open)?;
        host.expose(exposure)?;
        host.withdraw(exposure, Flows::Drain)?;
        let start = Instant::now();
        drop(raw);
        Ok(vec![[ours, start.elapsed()]])
    }
}
