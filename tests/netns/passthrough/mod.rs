//! A guest with a part of a network card.

mod crash;
mod function;
mod macvtap;
mod vhost;

use libtest_mimic::Trial;

pub(crate) use crash::be_agent;

pub(crate) fn trials() -> Vec<Trial> {
    [
        crash::trials(),
        function::trials(),
        macvtap::trials(),
        vhost::trials(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
