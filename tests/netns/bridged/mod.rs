//! A guest in the place of a pod.

mod cni;
mod conflicts;
mod crash;
mod dhcp;
mod example;
pub(crate) mod killed;
mod nabla_defects;
pub(crate) mod pod;
mod scenes;

use libtest_mimic::Trial;

pub(crate) use crash::be_agent;

pub(crate) fn trials() -> Vec<Trial> {
    [
        cni::trials(),
        conflicts::trials(),
        crash::trials(),
        dhcp::trials(),
        example::trials(),
        nabla_defects::trials(),
        scenes::trials(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
