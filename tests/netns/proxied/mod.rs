//! Guests behind a proxy that has no right but a descriptor.

mod doors;
mod echoes;
mod names;
mod policy;
mod refusals;
mod scene;
mod spoofs;
mod streams;
mod transfer;

use libtest_mimic::Trial;

pub(crate) fn trials() -> Vec<Trial> {
    let trials = [
        doors::trials(),
        echoes::trials(),
        names::trials(),
        policy::trials(),
        refusals::trials(),
        spoofs::trials(),
        streams::trials(),
        transfer::trials(),
    ];
    trials.into_iter().flatten().collect()
}
