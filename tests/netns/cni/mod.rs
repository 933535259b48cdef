//! The example `cni`, run as a container runtime does it.

mod alone;
mod chained;
mod contract;
mod killed;
mod network;
mod ports;
mod scene;

use libtest_mimic::Trial;

pub(crate) fn trials() -> Vec<Trial> {
    [
        alone::trials(),
        chained::trials(),
        contract::trials(),
        killed::trials(),
        ports::trials(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
