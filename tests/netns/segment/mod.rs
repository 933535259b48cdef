//! Layer-2 segments, with guests on TAPs and real packets.

mod changes;
mod crash;
mod guests;
mod joined;
mod reach;
pub(crate) mod stock;

use libtest_mimic::Trial;

pub(crate) use crash::be_agent;

pub(crate) fn trials() -> Vec<Trial> {
    [
        changes::trials(),
        crash::trials(),
        joined::trials(),
        reach::trials(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
