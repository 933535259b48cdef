//! A guest with a part of a network card.

mod macvtap;
mod vhost;

use libtest_mimic::Trial;

pub(crate) fn trials() -> Vec<Trial> {
    [macvtap::trials(), vhost::trials()]
        .into_iter()
        .flatten()
        .collect()
}
