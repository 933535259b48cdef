//! A guest in the place of a pod, joined by two filters.

mod conflicts;
mod crash;
mod scenes;

use libtest_mimic::Trial;

pub(crate) use crash::be_agent;

use crate::bridged::pod;
use crate::support::run;

pub(crate) fn trials() -> Vec<Trial> {
    [conflicts::trials(), crash::trials(), scenes::trials()]
        .into_iter()
        .flatten()
        .collect()
}

/// All that is configured in the calling thread's namespace, with traffic
/// control.
fn dump() -> String {
    pod::dump() + &traffic_control()
}

/// [`dump`] without what hangs on cables.
fn without_cables() -> String {
    pod::without_cables() + &traffic_control()
}

/// Links by number, for names may be given anew.
fn traffic_control() -> String {
    let mut text = run("tc", &["qdisc", "show"]);
    for line in run("ip", &["-o", "link"]).lines() {
        let name = line.split([':', '@']).nth(1).unwrap().trim();
        let filters = run("tc", &["filter", "show", "dev", name, "ingress"]);
        // Actions are numbered by the kernel.
        text += &filters
            .lines()
            .filter(|line| !line.trim_start().starts_with("index "))
            .collect::<Vec<_>>()
            .join("\n");
    }
    text
}
