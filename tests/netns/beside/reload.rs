//! Other firewalls reload and flush while a watch keeps what is wanted.

use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use tapwire::{Guest, Wanted};

use super::Node;
use super::forward::{DOCKER, FIREWALLD, UFW, restore};
use crate::support::trials;
use crate::world::{FAMILIES, SOON};

pub(crate) fn trials() -> Vec<Trial> {
    trials![needs ["nft", "ufw", "iptables-nft", "unshare", "firewalld", "dbus-daemon"]:
        reloads_and_flushes_are_survived_or_repaired,
    ]
}

/// What others do, how, and whether it takes what is ours.
type Reload<'a> = (&'static str, &'a dyn Fn(&Node), bool);

/// Whatever they do, events tell of it, and what is ours is as before. Prints
/// how long a repair took, from when the other program had ended.
fn reloads_and_flushes_are_survived_or_repaired() {
    let mut node = Node::new();
    let mut wanted = Wanted::new().guest(Guest::new("hello-world").unwrap());
    let exposed = node.host.exposures().unwrap();
    wanted.extend(exposed.iter().map(|one| one.exposure().clone()));
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
        let patience = if takes_ours { SOON } else { Duration::ZERO };
        let repaired = watch.wait(&mut node.host, patience).unwrap();
        let took = start.elapsed();
        assert_eq!(repaired.is_some(), takes_ours, "{what}: {repaired:?}");
        match repaired {
            Some(_) => eprintln!("{what}: repaired {took:?} after"),
            None => eprintln!("{what}: survived, looked after in {took:?}"),
        }
        assert_eq!(ours(&node), before, "{what}");
        assert!(node.host.plan(&wanted).unwrap().is_empty(), "{what}");
        // Where they drop what is forwarded, the shim lets guests through.
        assert_eq!(node.host.add_shim().unwrap(), [], "{what}");
        for family in FAMILIES {
            assert!(node.exposed(family), "{what}");
        }
        while watch
            .wait(&mut node.host, Duration::from_millis(20))
            .unwrap()
            .is_some()
        {}
    }
}
