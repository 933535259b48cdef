//! The verbs of a host: what they leave in the kernel.

use libtest_mimic::Trial;
use tapwire::{Exposure, Flows, Guest, Host, Owner};

use crate::support::{feed, run, trials};

pub(crate) fn trials() -> Vec<Trial> {
    trials![needs ["nft", "ip"]:
        ruleset_is_readable_and_loads_again_unchanged,
    ]
}

fn owner() -> Owner {
    Owner::new("riklet").unwrap()
}

fn ruleset_is_readable_and_loads_again_unchanged() {
    let mut host = Host::open(owner()).unwrap();
    let guest = host.attach(&Guest::new("hello-world").unwrap()).unwrap();
    let web: Exposure = format!("tcp/8080->{}:80", guest.ipv4()).parse().unwrap();
    host.expose(&web).unwrap();
    let listing = run("nft", &["list", "ruleset"]);
    run("nft", &["flush", "ruleset"]);
    feed("nft", &["-f", "-"], &listing);
    assert_eq!(run("nft", &["list", "ruleset"]), listing);
    assert_eq!(host.exposures().unwrap()[0].exposure(), &web);
    host.withdraw(&web, Flows::Cut).unwrap();
    host.remove().unwrap();
    assert_eq!(run("nft", &["list", "ruleset"]), "");
    assert_eq!(run("ip", &["-br", "link"]).lines().count(), 1);
}
