//! A guest with several interfaces, each by a method of its own.

mod conflicts;
mod crash;
mod refusals;
mod scene;
mod traffic;

use libtest_mimic::Trial;

pub(crate) use crash::be_agent;

pub(crate) fn trials() -> Vec<Trial> {
    [
        conflicts::trials(),
        crash::trials(),
        refusals::trials(),
        traffic::trials(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
