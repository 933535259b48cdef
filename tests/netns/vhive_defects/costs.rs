//! What a clone costs others.

use libtest_mimic::Trial;
use tapwire::nft::{Family, Nft};

use crate::namespaced::clone;
use crate::support::{feed, run, trials};
use crate::world::{World, exposure};

pub(super) fn trials() -> Vec<Trial> {
    let mut trials = trials![clones_are_elements_and_no_rules];
    trials.extend(trials![needs ["nft"]:
        tables_of_iptables_stay_as_they_are,
        others_read_whose_an_element_is,
    ]);
    trials
}

/// The chains and rules on the host, by the kernel's numbers of them: none is
/// added, replaced or deleted.
fn rules() -> Vec<(String, Option<u64>)> {
    let mut nft = Nft::open().unwrap();
    let mut all = Vec::new();
    for table in nft.tables().unwrap() {
        for chain in nft.chains(&table).unwrap() {
            all.push((chain.name().to_string(), chain.handle()));
        }
        for rule in nft.all_rules(&table).unwrap() {
            all.push((rule.chain().to_string(), rule.handle()));
        }
    }
    all
}

fn clones_are_elements_and_no_rules() {
    let world = World::new();
    let mut host = world.host();
    let before = world.node.run(rules).unwrap();
    let names: Vec<String> = (0..8).map(|number| format!("clone-{number}")).collect();
    for (name, port) in names.iter().zip(8000..) {
        let clone = host.attach(&clone(name)).unwrap();
        let web = exposure(tapwire::Protocol::Tcp, port, &clone, 0);
        host.expose(&web).unwrap();
    }
    assert_eq!(world.node.run(rules).unwrap(), before);
    for name in &names {
        host.detach(name).unwrap();
    }
    assert_eq!(world.node.run(rules).unwrap(), before);
}

fn tables_of_iptables_stay_as_they_are() {
    let theirs = "table ip filter { chain FORWARD { type filter hook forward priority 0; policy accept; }; }
        table ip nat { chain POSTROUTING { type nat hook postrouting priority 100; policy accept; }; }";
    let world = World::new();
    let list = || {
        let tables = ["filter", "nat"].map(|name| run("nft", &["list", "table", "ip", name]));
        let mut nft = Nft::open().unwrap();
        let tables_of_ip = nft.tables().unwrap().into_iter();
        let tables_of_ip = tables_of_ip.filter(|table| table.family() == Family::IP);
        (tables, tables_of_ip.count())
    };
    world
        .node
        .run(|| feed("nft", &["-f", "-"], theirs))
        .unwrap();
    let before = world.node.run(list).unwrap();
    let mut host = world.host();
    let clone = host.attach(&clone("one")).unwrap();
    assert_eq!(world.node.run(list).unwrap(), before);
    let of_ip = || {
        let tables = Nft::open().unwrap().tables().unwrap();
        tables
            .iter()
            .filter(|table| table.family() == Family::IP)
            .count()
    };
    assert_eq!(crate::namespaced::inside(&clone).run(of_ip).unwrap(), 0);
    host.remove().unwrap();
    assert_eq!(world.node.run(list).unwrap(), before);
}

fn others_read_whose_an_element_is() {
    let world = World::new();
    let mut host = world.host();
    host.attach(&clone("hello-world")).unwrap();
    let list = |set: &'static str| {
        let list = move || run("nft", &["list", "set", "inet", "riklet", set]);
        world.node.run(list).unwrap()
    };
    let guard = list("guard4");
    assert!(guard.contains("comment \"hello-world\""), "{guard}");
    let inside = list("inside4");
    let snapshot = "\"riklet-0\" comment \"tap0 06:00:ac:10:00:02 172.16.0.2/24 via 172.16.0.1";
    assert!(inside.contains(snapshot), "{inside}");
}
