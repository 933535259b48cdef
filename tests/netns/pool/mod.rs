//! Networks that are ready before anyone asks.

mod crash;
mod failures;
mod life;
mod tenants;

use std::time::Duration;

use libtest_mimic::Trial;
use tapwire::{
    Attachment, Connection, Error, Guest, Networks, Owner, Pool, PoolSettings, Settings,
};

use crate::clones::snapshot;
use crate::world::{SOON, World, within};

pub(crate) fn trials() -> Vec<Trial> {
    [
        crash::trials(),
        failures::trials(),
        life::trials(),
        tenants::trials(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// What a guest of the pool `pool` is like, connected in each way.
fn each_way() -> [Guest; 3] {
    let like = || Guest::new("pool").unwrap();
    [
        like(),
        like().connection(Connection::Rewritten(snapshot())),
        like().connection(Connection::Namespaced(snapshot())),
    ]
}

fn settings() -> Settings {
    Settings::new(Owner::new("riklet").unwrap())
}

/// Room for so few guests as a power of two.
fn room_for(guests: u32) -> Settings {
    let prefix = 30 - u8::try_from(guests.ilog2()).unwrap();
    let ipv4 = format!("198.18.0.0/{prefix}").parse().unwrap();
    let networks = Networks::new(ipv4, "fd2c:6b8f:4a10::/64".parse().unwrap());
    settings().networks(networks.unwrap())
}

fn start(world: &World, settings: PoolSettings) -> Result<Pool, Error> {
    world.node.run(|| Pool::start(settings)).unwrap()
}

/// A pool that keeps so many ready, and has them.
fn filled(world: &World, like: &Guest, ready: u32) -> Pool {
    let settings = PoolSettings::new(settings(), like.clone(), ready).unwrap();
    let pool = start(world, settings).unwrap();
    pool.fill(PATIENCE).unwrap();
    pool
}

fn take(pool: &Pool) -> Attachment {
    pool.take(PATIENCE).unwrap()
}

/// Waits until all that came back is gone.
fn await_taken_down(pool: &Pool) {
    let gone = within(SOON, |_| (pool.counts().returned() == 0).then_some(()));
    gone.unwrap_or_else(|| panic!("{:?} {:?}", pool.counts(), pool.failure()));
}

/// For what takes a busy machine long.
const PATIENCE: Duration = Duration::from_secs(20);
