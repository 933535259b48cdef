//! The three drawings of one made-up host. The recordings were read by people;
//! that of Graphviz also by `dot`, see the tests against the kernel.

use super::*;
use crate::guest::{Guest, GuestName, Networks};

/// Two guests, one without its TAP, and names that each form would take for
/// its own.
fn topology() -> Topology {
    let owner = Owner::new("riklet").unwrap();
    let networks = Networks::default();
    let attachment = |slot, name| {
        let guest = Guest::new(name).unwrap();
        networks.attachment(&owner, &guest, slot).unwrap()
    };
    let [web, idle] = [attachment(0, "web"), attachment(1, "idle")];
    let mut topology = Topology::new(owner.clone());
    let net = |net: &str| net.parse().unwrap();
    topology.uplink(Uplink {
        name: "eth0".into(),
        up: true,
        addresses: vec![net("203.0.113.1/24"), net("2001:db8::1/64")],
        forwards_ipv4: true,
        forwards_ipv6: true,
    });
    topology.uplink(Uplink {
        name: r#"a"\<b>&#_\"#.into(),
        up: false,
        addresses: vec![net("192.0.2.1/32")],
        forwards_ipv4: false,
        forwards_ipv6: true,
    });
    let tap = TapState {
        up: true,
        carrier: true,
        stats: LinkStats::made_up([1234, 98_765], [1, 42]),
    };
    let (ipv4, ipv6) = (web.ipv4(), web.ipv6());
    topology.guest(web, Some(tap));
    topology.guest(idle, None);
    for (exposure, guest, connections) in [
        (format!("tcp/8080->{ipv4}:80"), Some("web"), 3),
        (format!("tcp/8080->[{ipv6}]:80"), Some("web"), 1),
        (format!("udp/203.0.113.1:53->{ipv4}:5353"), Some("web"), 1),
        ("tcp/443->web:8443,idle:8443 by source".to_owned(), None, 5),
        (
            "tcp/22->idle:22 limit 9 label <my> [shop] & *more*".to_owned(),
            Some("idle"),
            0,
        ),
        ("tcp/9->192.0.2.9:9".to_owned(), None, 0),
    ] {
        let guest = guest.map(|name| GuestName::new(name).unwrap());
        let exposure = exposure.parse().unwrap();
        topology.exposure(Exposed::made_up(exposure, guest, connections));
    }
    topology.conflicts(["chain ip filter FORWARD drops\nwhat \"tcp/8080\" lets in"])
}

#[test]
fn tree_is_as_recorded() {
    let drawn = topology().tree().to_string();
    assert_eq!(drawn, include_str!("golden/tree.txt"), "\n{drawn}");
}

#[test]
fn graphviz_is_as_recorded() {
    let drawn = topology().graphviz().to_string();
    assert_eq!(drawn, include_str!("golden/graph.dot"), "\n{drawn}");
}

#[test]
fn mermaid_is_as_recorded() {
    let drawn = topology().mermaid().to_string();
    assert_eq!(drawn, include_str!("golden/graph.mmd"), "\n{drawn}");
}

#[test]
fn owner_without_anything_is_one_line() {
    let nothing = Topology::new(Owner::new("riklet").unwrap());
    assert_eq!(nothing.tree().to_string(), "riklet\n");
    assert_eq!(
        nothing.mermaid().to_string(),
        "flowchart LR\n  host[\"riklet\"]\n"
    );
}
