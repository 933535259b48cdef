//! The picture of a host, and programs that read it.

use libtest_mimic::Trial;
use tapwire::route::{LinkChange, Rtnl};

use crate::support::{feed, trials};
use crate::world::{
    FAMILIES, GUEST_PORT, NODE, PROTOCOLS, SOON, World, address_of, ask, at, each_kind, exposure,
    within,
};

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = trials![
        picture_is_what_the_kernel_has,
        vmm_is_seen_also_in_a_namespace,
    ];
    trials
        .extend(trials![needs ["dot"]: graphviz_reads_the_graph, graphviz_shows_names_as_they_are]);
    trials
}

/// The link that leads there always has a carrier.
fn vmm_is_seen_also_in_a_namespace() {
    let world = World::new();
    let mut host = world.host();
    let (_, vm) = crate::namespaced::boot(&mut host, "clone");
    let is_held = |host: &mut tapwire::Host, wanted: bool| {
        let seen = within(SOON, |_| {
            let topology = host.topology().unwrap();
            let is_held = topology.guests()[0].tap().unwrap().has_carrier();
            (is_held == wanted).then_some(())
        });
        assert!(seen.is_some(), "{wanted}");
    };
    is_held(&mut host, true);
    vm.stop().unwrap();
    is_held(&mut host, false);
}

fn picture_is_what_the_kernel_has() {
    let world = World::new();
    let mut host = world.host();
    let (web, vm) = world.boot(&mut host, "web");
    let (idle, other) = world.boot(&mut host, "idle");
    other.stop().unwrap();
    for (protocol, family) in each_kind() {
        host.expose(&exposure(protocol, 8080, &web, family))
            .unwrap();
    }
    for family in FAMILIES {
        ask(&world.outside, PROTOCOLS[1], at(NODE[family], 8080), SOON).expect("an answer");
    }
    let down = |index| {
        let mut rtnl = Rtnl::open().unwrap();
        rtnl.apply(|changes| changes.set_link(&LinkChange::new(index).down()))
            .unwrap();
    };
    // The answers are counted a moment after they are there.
    let traffic = |host: &mut tapwire::Host| {
        let topology = host.topology().unwrap();
        let stats = topology.guests()[0].tap().unwrap().stats();
        (stats.received_packets() >= 2 && stats.sent_packets() >= 2).then_some(())
    };
    within(SOON, |_| traffic(&mut host)).expect("packets of the guest");
    let topology = host.topology().unwrap();
    let uplinks = topology.uplinks();
    assert_eq!(uplinks.len(), 1);
    let eth0 = &uplinks[0];
    assert_eq!(eth0.name(), "eth0");
    assert!(eth0.is_up() && eth0.forwards_ipv4() && eth0.forwards_ipv6());
    assert_eq!(eth0.addresses().len(), 4);
    let tree = topology.tree().to_string();
    let lines: Vec<&str> = tree.lines().collect();
    let [ipv4, ipv6] = FAMILIES.map(|family| address_of(&web, family));
    assert_eq!(lines[0], "riklet");
    assert!(lines[1].starts_with("├─ eth0  203.0.113.1/24  203.0.113.2/24  2001:db8::"));
    assert!(lines[1].ends_with("forwards IPv4 and IPv6"));
    assert!(
        lines[2].starts_with("├─ riklet-0  198.18.0.1/30") && lines[2].ends_with("held by a VMM")
    );
    assert_eq!(
        lines[3],
        format!("│  └─ web  {ipv4}  {ipv6}  {}", web.mac())
    );
    let port = format!("8080 → {GUEST_PORT}");
    assert_eq!(
        lines[4],
        format!("│     ├─ tcp/{port}  0 connections over IPv4, 0 over IPv6")
    );
    // Who waits long for an answer asks by another socket.
    let listed = host.exposures().unwrap();
    let [over4, over6] = FAMILIES.map(|family| {
        let asked = exposure(PROTOCOLS[1], 8080, &web, family).to_string();
        let is_it = |one: &&tapwire::Exposed| one.exposure().to_string() == asked;
        listed.iter().find(is_it).unwrap().connections()
    });
    assert!(over4 > 0 && over6 > 0);
    let word = if over4 == 1 {
        "connection"
    } else {
        "connections"
    };
    assert_eq!(
        lines[5],
        format!("│     ├─ udp/{port}  {over4} {word} over IPv4, {over6} over IPv6")
    );
    assert!(lines[6].starts_with("│     └─ ") && lines[6].ends_with(" received"));
    assert!(lines[7].ends_with("no VMM"), "{tree}");
    assert_eq!(lines.len(), 10, "{tree}");
    // What others do to it is seen.
    drop(vm);
    let index = |name| {
        world
            .node
            .run(|| Rtnl::open().unwrap().link(name).unwrap())
            .unwrap()
    };
    let [tap, eth0] = [idle.tap(), "eth0".parse().unwrap()].map(|name| index(name).unwrap());
    world.node.run(|| down(tap.index())).unwrap();
    world.node.run(|| down(eth0.index())).unwrap();
    let tree = host
        .topology()
        .unwrap()
        .conflicts(["a table"])
        .tree()
        .to_string();
    let lines: Vec<&str> = tree.lines().collect();
    // Without the link there are no IPv6 addresses either.
    assert!(lines[1].ends_with("  down"), "{tree}");
    assert!(lines[2].ends_with("  no VMM"), "{tree}");
    assert!(lines[7].ends_with("  down"), "{tree}");
    assert_eq!(lines[10..], ["└─ conflicts", "   └─ a table"], "{tree}");
}

fn graphviz_reads_the_graph() {
    let world = World::new();
    let mut host = world.host();
    let (web, _vm) = world.boot(&mut host, "web");
    for (protocol, family) in each_kind() {
        host.expose(&exposure(protocol, 8080, &web, family))
            .unwrap();
    }
    let graph = host.topology().unwrap().graphviz().to_string();
    let plain = feed("dot", &["-Tplain"], &graph);
    let names = |kind: &str, place: usize| -> Vec<String> {
        let lines = plain
            .lines()
            .map(|line| line.split(' ').collect::<Vec<_>>());
        let mut names: Vec<_> = lines
            .filter(|words| words[0] == kind)
            .map(|words| words[place].to_owned())
            .collect();
        names.sort_unstable();
        names
    };
    assert_eq!(names("node", 1), ["guest0", "host", "tap0", "uplink0"]);
    assert_eq!(names("edge", 1), ["host", "tap0", "uplink0"]);
    assert_eq!(names("edge", 2), ["guest0", "host", "tap0"]);
}

/// The recorded graph has what each part of the language would take for its
/// own.
fn graphviz_shows_names_as_they_are() {
    let graph = include_str!("../../src/topology/golden/graph.dot");
    let picture = feed("dot", &["-Tsvg"], graph);
    for words in [
        r"a&quot;\&lt;b&gt;&amp;#_\",
        r"chain ip filter FORWARD drops\u{a}what &quot;tcp/8080&quot; lets in",
        "tcp/8080 → 80, 3 connections over IPv4, 1 over IPv6",
    ] {
        assert!(picture.contains(&format!(">{words}</text>")), "{words}");
    }
}
