//! Other firewalls reload and flush while a watch keeps what is wanted.

use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use tapwire::{Change, Guest, Wanted};

use super::Node;
use super::forward::{DOCKER, FIREWALLD, UFW, restore};
use crate::support::trials;
use crate::world::{FAMILIES, SOON};

pub(crate) fn trials() -> Vec<Trial> {
    trials![needs ["nft", "ufw", "iptables-nft", "unshare", "firewalld", "dbus-daemon"]:
        reloads_and_flushes_are_survived_or_repaired,
    ]
}

/// What others do, how, and whether it takes the owner's tables rather than the
/// shim.
type Reload<'a> = (&'static str, &'a dyn Fn(&Node), bool);

/// Whatever they do, events tell of it, and what is ours is as before, the shim
/// in their chains included. Prints how long a repair took, from when the other
/// program had ended.
fn reloads_and_flushes_are_survived_or_repaired() {
    let mut node = Node::new();
    let mut wanted = Wanted::new().guest(Guest::new("hello-world").unwrap());
    let exposed = node.host.exposures().unwrap();
    wanted.extend(exposed.iter().map(|one| one.exposure().clone()));
    let wanted = wanted.shim();
    let mut watch = node.host.watch(wanted.clone()).unwrap();
    let ours = |node: &Node| {
        let listing = ["inet", "arp"]
            .map(|family| node.run("nft", &["-s", "list", "table", family, "riklet"]));
        listing.concat()
    };
    let before = ours(&node);
    let docker = |node: &Node| restore(node, "iptables-nft-restore", DOCKER);
    let reloads: [Reload<'_>; 6] = [
        ("iptables-restore", &docker, false),
        ("iptables-restore again", &docker, false),
        ("ufw reload", &|node| drop(node.sh(UFW)), false),
        (
            "nft flush ruleset",
            &|node| drop(node.sh("nft flush ruleset")),
            true,
        ),
        ("firewalld reload", &|node| drop(node.sh(FIREWALLD)), false),
        (
            "nft -f with a flush, as a boot script does",
            &|node| drop(node.sh("printf 'flush ruleset\ntable inet site {}\n' | nft -f -")),
            true,
        ),
    ];
    for (what, reload, takes_ours) in reloads {
        reload(&node);
        let start = Instant::now();
        let repaired = watch.wait(&mut node.host, SOON).unwrap();
        let took = start.elapsed();
        let repaired = repaired.unwrap_or_else(|| panic!("{what}: not noticed"));
        eprintln!("{what}: repaired {took:?} after");
        let is_tables = |change: &Change| matches!(change, Change::Tables(_));
        let is_shim = |change: &Change| matches!(change, Change::Shim { .. });
        let changes = repaired.changes();
        assert_eq!(
            changes.iter().any(is_tables),
            takes_ours,
            "{what}: {repaired}"
        );
        assert_eq!(
            changes.iter().any(is_shim),
            !takes_ours,
            "{what}: {repaired}"
        );
        assert_eq!(ours(&node), before, "{what}");
        assert!(node.host.plan(&wanted).unwrap().is_empty(), "{what}");
        for family in FAMILIES {
            assert!(node.exposed(family), "{what}");
            assert!(node.egress(family, SOON), "{what}");
        }
        while watch
            .wait(&mut node.host, Duration::from_millis(20))
            .unwrap()
            .is_some()
        {}
    }
}
