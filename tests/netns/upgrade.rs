//! A newer version takes over from an older one.

use libtest_mimic::Trial;
use tapwire::route::{Address, Rtnl};
use tapwire::{Guest, Host, Owner, Protocol};

use crate::clones;
use crate::packet::Wire;
use crate::repair::flowing;
use crate::support::{feed, run, trials};
use crate::world::{FAMILIES, NODE, SOON, World, ask, at, within};

pub(crate) fn trials() -> Vec<Trial> {
    trials![needs ["nft"]:
        tables_of_the_first_layout_are_taken_over_without_dropping_a_flow,
        tables_of_the_second_layout_are_taken_over_without_dropping_a_flow,
        tables_of_the_third_layout_are_taken_over_without_dropping_a_flow,
        tables_of_the_fourth_layout_are_taken_over_without_dropping_a_flow,
        clone_of_the_fourth_layout_finds_its_gateway,
        tables_of_a_newer_layout_are_left_alone,
    ]
}

/// The tables of an owner `riklet` with the guest `hello-world`, as the first
/// layout had them, with one exposure: `tcp/8080` of all addresses.
const FIRST: &str = include_str!("../testdata/schema1.nft");

/// Tables of an older layout as they are where the kernel has one switch for
/// IPv6 forwarding on all interfaces (before Linux 6.17), or one for each.
pub(crate) fn as_here(tables: &str) -> String {
    if std::fs::exists("/proc/sys/net/ipv6/conf/all/force_forwarding").unwrap() {
        return tables.to_owned();
    }
    let (before, noted) = tables.split_at(tables.find("set uplinks6").unwrap());
    let all = "\"all\", \"eth0\" comment \"accept_ra 1\"";
    before.to_owned() + &noted.replacen("\"eth0\"", all, 1)
}

/// As the second one had them.
const SECOND: &str = include_str!("../testdata/schema2.nft");

/// As the third one had them.
const THIRD: &str = include_str!("../testdata/schema3.nft");

/// As the fourth one had them.
const FOURTH: &str = include_str!("../testdata/schema4.nft");

fn tables_of_the_first_layout_are_taken_over_without_dropping_a_flow() {
    take_over(FIRST);
}

fn tables_of_the_second_layout_are_taken_over_without_dropping_a_flow() {
    take_over(SECOND);
}

fn tables_of_the_third_layout_are_taken_over_without_dropping_a_flow() {
    take_over(THIRD);
}

fn tables_of_the_fourth_layout_are_taken_over_without_dropping_a_flow() {
    take_over(FOURTH);
}

/// There the TAP itself had that address; until it is attached again it is
/// found by that. One that is detached goes.
fn clone_of_the_fourth_layout_finds_its_gateway() {
    let world = World::new();
    let mut host = world.host();
    let [clone, gone] = ["clone", "gone"].map(|name| host.attach(&clones::clone(name)).unwrap());
    drop(host);
    let age = || {
        let mut rtnl = Rtnl::open().unwrap();
        for clone in [&clone, &gone] {
            let (tap, gateways) = (clone.tap(), (clone.gateway_ipv4(), clone.gateway_ipv6()));
            for (table, map, address) in [
                ("inet", "clone4", "172.16.0.1".to_owned()),
                ("inet", "inner4", gateways.0.to_string()),
                ("inet", "clone6", "fd00:ac10::1".to_owned()),
                ("inet", "clone6", "ff02::1:ff00:1".to_owned()),
                ("inet", "inner6", gateways.1.to_string()),
                ("arp", "clone", "172.16.0.1".to_owned()),
                ("arp", "inner", gateways.0.to_string()),
            ] {
                let element = format!("{{ \"{tap}\" . {address} }}");
                let words = ["delete", "element", table, "riklet", map, &element];
                run("nft", &words);
            }
            let tap = rtnl.link(tap).unwrap().unwrap().index();
            rtnl.apply(|changes| {
                for single in ["172.16.0.1/32", "fd00:ac10::1/128"] {
                    let address = Address::new(tap, single.parse().unwrap());
                    changes.add_address(&address.without_dad());
                }
            })
            .unwrap();
        }
        let older = run("nft", &["list", "ruleset"]).replace("schema=5", "schema=4");
        run("nft", &["flush", "ruleset"]);
        // Sums that nft cannot say are right again when it is taken over.
        feed("nft", &["-f", "-"], &older);
    };
    world.node.run(age).unwrap();
    let mut host = world.host();
    assert_eq!(host.guests().unwrap(), [clone.clone(), gone]);
    // What it never had is no hindrance.
    host.detach("gone").unwrap();
    assert_eq!(host.guests().unwrap(), std::slice::from_ref(&clone));
    let wire = Wire::open(&world, &clone);
    let finds_it = || {
        for family in FAMILIES {
            let gateway = clones::host_seen_by(&clone, family);
            let pinged = within(SOON, |patience| wire.ping(gateway, patience).then_some(()));
            assert!(pinged.is_some(), "{gateway}");
        }
    };
    finds_it();
    host.attach(&clones::clone("clone")).unwrap();
    let listed = world
        .node
        .run(|| run("nft", &["list", "map", "arp", "riklet", "clone"]));
    assert!(listed.unwrap().contains(". 172.16.0.1 : 198.18.0.1"));
    finds_it();
}

fn take_over(older: &str) {
    let world = World::new();
    let mut host = world.host();
    // The TAP is the same; only the tables are of the older version.
    let (guest, _vm) = world.boot(&mut host, "hello-world");
    let before = world
        .node
        .run(|| run("nft", &["-s", "list", "ruleset"]))
        .unwrap();
    assert!(before.contains("schema=5"), "{before}");
    drop(host);
    let older = as_here(older).replace("tcp . 8080", "tcp . 80");
    let load = || {
        run("nft", &["flush", "ruleset"]);
        feed("nft", &["-f", "-"], &older);
    };
    world.node.run(load).unwrap();
    for _ in 0..6 {
        assert!(ask(&world.outside, Protocol::Tcp, at(NODE[0], 80), SOON).is_some());
    }
    let (mut host, answers) = flowing(&world, || world.host());
    assert!(answers > 3);
    assert_eq!(host.guests().unwrap(), [guest]);
    let exposed = host.exposures().unwrap();
    assert_eq!(exposed.len(), 2);
    let exposed = &exposed[0];
    assert_eq!(exposed.exposure().to_string(), "tcp/80->198.18.0.2:80");
    assert!(exposed.connections() > 5, "{exposed}");
    let now = world
        .node
        .run(|| run("nft", &["-s", "list", "ruleset"]))
        .unwrap();
    let without_elements = |listing: &str| -> Vec<String> {
        let lines = listing
            .lines()
            .filter(|line| !line.contains("elements = { tcp"));
        lines.map(str::to_owned).collect()
    };
    assert_eq!(without_elements(&now), without_elements(&before));
    host.attach(&Guest::new("hello-world").unwrap()).unwrap();
    host.remove().unwrap();
}

fn tables_of_a_newer_layout_are_left_alone() {
    let host = Host::open(Owner::new("riklet").unwrap()).unwrap();
    drop(host);
    let newer = run("nft", &["list", "ruleset"]).replace("schema=5", "schema=6");
    run("nft", &["flush", "ruleset"]);
    feed("nft", &["-f", "-"], &newer);
    let error = Host::open(Owner::new("riklet").unwrap()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the tables of owner riklet clashes with table inet riklet of a newer version (layout 6, this one knows 5)"
    );
    assert_eq!(run("nft", &["list", "ruleset"]), newer);
}
