//! A network is taken from a pool, and its TAP opened.
//!
//! The floor is to open a TAP that is there as any VMM does: the file, and one
//! `ioctl`. It is the same TAP, after the pool has made the next one.

use std::time::{Duration, Instant};

use tapwire::recording::open_tap;
use tapwire::sys::{NetNs, TapOptions};
use tapwire::{Guest, Host, Owner, Pool, PoolSettings, Settings};

use crate::harness::figures::{Case, Figure};
use crate::harness::{Mode, Result, inside, time};

const RATIO: f64 = 1.5;
const TAKE: Duration = Duration::from_micros(100);
const PATIENCE: Duration = Duration::from_secs(20);
const READY: u32 = 4;

pub(crate) fn cases(_: Mode) -> Result<Vec<Box<dyn Case>>> {
    Ok(vec![Box::new(Pooled::new()?)])
}

struct Pooled {
    netns: NetNs,
    host: Host,
    pool: Pool,
}

impl Pooled {
    fn new() -> Result<Self> {
        let netns = NetNs::new()?;
        let (host, pool) = inside(&netns, || {
            let settings = Settings::new(Owner::new("bench")?);
            let like = Guest::new("pool")?;
            let pool = Pool::start(PoolSettings::new(settings.clone(), like, READY)?)?;
            Ok((Host::with(settings)?, pool))
        })?;
        Ok(Self { netns, host, pool })
    }

    /// Waits until the pool has nothing to do.
    fn rest(&self) -> Result<()> {
        self.pool.fill(PATIENCE)?;
        while self.pool.counts().returned() > 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(self.pool.fill(PATIENCE)?)
    }
}

impl Case for Pooled {
    fn figures(&self) -> Vec<Figure> {
        vec![
            Figure::new("take a network from a pool").p99(TAKE),
            Figure::new("take one, and open its TAP").ratio(RATIO),
            Figure::new("take one, and its TAP by open_tap"),
            Figure::new("put one back into a pool"),
        ]
    }

    fn round(&mut self) -> Result<Vec<[Duration; 2]>> {
        inside(&self.netns, || {
            self.rest()?;
            let start = Instant::now();
            let network = self.pool.take(PATIENCE)?;
            let take = start.elapsed();
            drop(open_tap(network.tap())?);
            let opened = start.elapsed();
            self.rest()?;
            let floor = time(|| open_tap(network.tap()))?;
            self.pool.put_back(network)?;
            self.rest()?;
            let start = Instant::now();
            let network = self.pool.take(PATIENCE)?;
            let tap = self.host.open_tap(&network, TapOptions::vnet_header)?;
            let by_library = start.elapsed();
            drop(tap);
            let back = time(|| self.pool.put_back(network))?;
            Ok([take, opened, by_library, back]
                .map(|it| [it, floor])
                .to_vec())
        })
    }
}
