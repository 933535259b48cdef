//! What must not wait: a clash, and letting go of a handle.

use std::time::{Duration, Instant};

use tapwire::nft::Nft;
use tapwire::route::Rtnl;
use tapwire::{Exposure, Flows, Host, Owner, Protocol};

use crate::harness::figures::{Case, Figure};
use crate::harness::floor::{Floor, Replay};
use crate::harness::{Mode, Result, inside, time};
use crate::twin::Twin;

const REFUSED: Duration = Duration::from_micros(20);
const DROP: Duration = Duration::from_micros(50);
const PRESENT: usize = 10_000;

pub(crate) fn clashes(_: Mode) -> Result<Vec<Box<dyn Case>>> {
    Ok(vec![Box::new(Clash::new()?)])
}

pub(crate) fn drops(_: Mode) -> Result<Vec<Box<dyn Case>>> {
    Ok(vec![Box::new(Drops::new()?)])
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
        vec![Figure::new(format!("refused duplicate, {PRESENT} present")).median(REFUSED)]
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

impl Drops {
    /// How long it takes to let go of what `open` makes, right after a
    /// withdrawal.
    fn drop_of<T: Send>(&mut self, open: impl FnOnce() -> Result<T> + Send) -> Result<Duration> {
        let handle = inside(&self.twin.netns, open)?;
        self.twin.host.expose(&self.exposure)?;
        self.twin.host.withdraw(&self.exposure, Flows::Drain)?;
        let start = Instant::now();
        drop(handle);
        Ok(start.elapsed())
    }
}

impl Case for Drops {
    fn figures(&self) -> Vec<Figure> {
        let figure = |what| Figure::new(format!("drop {what} after a withdrawal")).p99(DROP);
        vec![figure("a host"), figure("an nft"), figure("an rtnl")]
    }

    /// The floor is to close a bare socket of netfilter, and to wait.
    fn round(&mut self) -> Result<Vec<[Duration; 2]>> {
        let taken = [
            self.drop_of(|| Ok(Host::open(Owner::new("bench")?)?))?,
            self.drop_of(|| Ok(Nft::open()?))?,
            self.drop_of(|| Ok(Rtnl::open()?))?,
        ];
        let floor = self.drop_of(Floor::open)?;
        Ok(taken.map(|ours| [ours, floor]).to_vec())
    }
}
