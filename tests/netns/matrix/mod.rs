//! Who reaches what, as one table: each row over TCP and UDP, IPv4 and IPv6,
//! alone and among ten thousand other exposures.
//!
//! `cargo test --test netns -- matrix --nocapture` prints it.
#![expect(
    clippy::print_stdout,
    reason = "the table is what one wants to see of it"
)]

mod setting;

use std::net::SocketAddr;

use libtest_mimic::Trial;
use tapwire::{Exposure, Protocol, Relay, RelaySettings};

use crate::support::trials;
use crate::world::{NEVER, NODE, NODE_TOO, OUTSIDE, SOON, at};

use setting::{Setting, refusal, service};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        packets_take_the_ways_of_the_table,
        packets_take_the_ways_of_the_table_among_ten_thousand_others,
    ]
}

fn packets_take_the_ways_of_the_table() {
    Setting::new(&[]).judge("alone");
}

fn packets_take_the_ways_of_the_table_among_ten_thousand_others() {
    let others: Vec<Exposure> = (20_000..25_000)
        .flat_map(|port| ["tcp", "udp"].map(|protocol| format!("{protocol}/{port}->other:{port}")))
        .map(|text| text.parse().unwrap())
        .collect();
    Setting::new(&others).judge("among 10000 others");
}

/// On all addresses, on one, for some clients, on loopback; where a service
/// of the node listens.
const ALL: u16 = 8080;
const ONE: u16 = 8081;
const OTHERS: u16 = 8082;
const SOME: u16 = 8083;
const LOOPBACK: u16 = 8084;
const SERVICE: u16 = 9000;
const RELAYED: u16 = 8085;

const LOCAL: [&str; 2] = ["127.0.0.1", "::1"];

/// Another address of the outside host's.
const OUTSIDE_TOO: [&str; 2] = ["203.0.113.8", "2001:db8::8"];

/// Nobody is met, and our rules dropped nothing.
const NOTHING: &str = "nothing";

/// There is no such thing over this family.
const NONE: &str = "-";

/// Of the node's addresses, masquerading takes the first of IPv4 and the last
/// of IPv6.
const BEHIND_CHOICE_OF_KERNEL: [&str; 2] =
    ["outside sees the node", "outside sees the node's second"];

/// From where, to where, what comes of it over IPv4 and IPv6, and the trial.
type Row = (
    &'static str,
    &'static str,
    [&'static str; 2],
    fn(&Setting, Protocol, usize) -> String,
);

const ROWS: [Row; 32] = [
    (
        "outside host",
        "exposed host address",
        ["web sees outside"; 2],
        |the, protocol, family| the.outside(protocol, at(NODE[family], ALL), SOON),
    ),
    (
        "outside host",
        "the one host address of an exposure",
        ["web sees outside"; 2],
        |the, protocol, family| the.outside(protocol, at(NODE_TOO[family], ONE), SOON),
    ),
    (
        "outside host",
        "another host address",
        ["the node sees outside"; 2],
        |the, protocol, family| {
            let _service = service(&the.world.node, NODE[family], ONE);
            the.outside(protocol, at(NODE[family], ONE), SOON)
        },
    ),
    (
        "outside, in the allow list",
        "exposed port",
        ["web sees outside"; 2],
        |the, protocol, family| the.outside(protocol, at(NODE[family], SOME), SOON),
    ),
    (
        "outside, not in the allow list",
        "exposed port",
        ["dropped: source not allowed"; 2],
        |the, protocol, family| {
            let _service = service(&the.world.node, NODE[family], OTHERS);
            the.outside(protocol, at(NODE[family], OTHERS), NEVER)
        },
    ),
    (
        "outside host",
        "guest directly, routed",
        ["dropped: not exposed"; 2],
        |the, protocol, family| the.outside(protocol, the.direct("web", family), NEVER),
    ),
    (
        "process on the host",
        "exposed host address",
        ["web sees the node"; 2],
        |the, protocol, family| the.node(protocol, at(NODE[family], ALL), SOON),
    ),
    (
        "process on the host",
        "exposed port of loopback",
        ["the node sees loopback"; 2],
        |the, protocol, family| {
            let _service = service(&the.world.node, LOCAL[family], ALL);
            the.node(protocol, at(LOCAL[family], ALL), SOON)
        },
    ),
    (
        "process on the host",
        "port exposed on loopback",
        ["web sees the gateway", "cannot be translated back"],
        |the, protocol, family| {
            if family == 1 {
                return refusal(&format!("{protocol}/[::1]:1->web:80"));
            }
            the.node(protocol, at(LOCAL[0], LOOPBACK), SOON)
        },
    ),
    (
        "process on the host",
        "relay on [::1]",
        ["web sees the gateway"; 2],
        |the, protocol, family| {
            let listen = at(LOCAL[1], RELAYED);
            let settings = RelaySettings::new(protocol, listen, the.direct("web", family));
            let relay = the.world.node.run(|| Relay::with(settings)).unwrap();
            let _relay = relay.unwrap();
            the.node(protocol, listen, SOON)
        },
    ),
    (
        "outside host",
        "port exposed on loopback",
        [NOTHING; 2],
        |the, protocol, family| the.outside(protocol, at(NODE[family], LOOPBACK), NEVER),
    ),
    (
        "guest",
        "its own exposure",
        ["web sees the gateway"; 2],
        |the, protocol, family| the.guest("web", protocol, at(NODE[family], ALL), SOON),
    ),
    (
        "guest",
        "another guest's exposure",
        ["web sees other"; 2],
        |the, protocol, family| the.guest("other", protocol, at(NODE[family], ALL), SOON),
    ),
    (
        "guest, not in the allow list",
        "another guest's exposure",
        ["dropped: source not allowed"; 2],
        |the, protocol, family| the.guest("other", protocol, at(NODE[family], SOME), NEVER),
    ),
    (
        "guest",
        "another guest directly",
        ["dropped: not exposed"; 2],
        |the, protocol, family| the.guest("other", protocol, the.direct("web", family), NEVER),
    ),
    (
        "guest",
        "its peer directly",
        ["friend sees web"; 2],
        |the, protocol, family| the.guest("web", protocol, the.direct("friend", family), SOON),
    ),
    (
        "guest that is named as a peer",
        "the one that names it",
        ["web sees friend"; 2],
        |the, protocol, family| the.guest("friend", protocol, the.direct("web", family), SOON),
    ),
    (
        "guest",
        "outside",
        BEHIND_CHOICE_OF_KERNEL,
        |the, protocol, family| {
            let _service = service(&the.world.outside, OUTSIDE[family], SERVICE);
            the.guest("web", protocol, at(OUTSIDE[family], SERVICE), SOON)
        },
    ),
    (
        "guest behind a chosen address",
        "outside",
        ["outside sees the node's second", "outside sees the node"],
        |the, protocol, family| {
            let _service = service(&the.world.outside, OUTSIDE[family], SERVICE);
            the.guest("friend", protocol, at(OUTSIDE[family], SERVICE), SOON)
        },
    ),
    (
        "guest limited to prefixes",
        "outside, within them",
        BEHIND_CHOICE_OF_KERNEL,
        |the, protocol, family| {
            let _service = service(&the.world.outside, OUTSIDE[family], SERVICE);
            the.guest("limited", protocol, at(OUTSIDE[family], SERVICE), SOON)
        },
    ),
    (
        "guest limited to prefixes",
        "outside, beyond them",
        ["dropped: egress"; 2],
        |the, protocol, family| {
            let _service = service(&the.world.outside, OUTSIDE_TOO[family], SERVICE);
            the.guest("limited", protocol, at(OUTSIDE_TOO[family], SERVICE), NEVER)
        },
    ),
    (
        "guest without egress",
        "outside",
        ["dropped: egress"; 2],
        |the, protocol, family| {
            let _service = service(&the.world.outside, OUTSIDE[family], SERVICE);
            the.guest("closed", protocol, at(OUTSIDE[family], SERVICE), NEVER)
        },
    ),
    (
        "guest",
        "host's own port",
        ["dropped: guest to host"; 2],
        |the, protocol, family| {
            let _service = service(&the.world.node, NODE[family], SERVICE);
            the.guest("web", protocol, at(NODE[family], SERVICE), NEVER)
        },
    ),
    (
        "guest",
        "host's own port at the gateway",
        ["dropped: guest to host"; 2],
        |the, protocol, family| {
            let gateway = the.gateway("web", family);
            let _service = service(&the.world.node, &gateway.to_string(), SERVICE);
            the.guest("web", protocol, SocketAddr::new(gateway, SERVICE), NEVER)
        },
    ),
    (
        "guest that was granted it",
        "host's own port",
        ["the node sees closed"; 2],
        |the, protocol, family| {
            let _service = service(&the.world.node, NODE[family], SERVICE);
            the.guest("closed", protocol, at(NODE[family], SERVICE), SOON)
        },
    ),
    (
        "guest that was granted it",
        "host's own port at the gateway",
        ["the node sees closed"; 2],
        |the, protocol, family| {
            let gateway = the.gateway("closed", family);
            let _service = service(&the.world.node, &gateway.to_string(), SERVICE);
            the.guest("closed", protocol, SocketAddr::new(gateway, SERVICE), SOON)
        },
    ),
    (
        "guest",
        "port exposed on the host's loopback",
        ["dropped: guest to host loopback", NOTHING],
        |the, protocol, family| {
            let from = the.address("web", family);
            the.pretend(protocol, ("web", from), at(LOCAL[family], LOOPBACK))
        },
    ),
    (
        "guest with another's address",
        "another guest's exposure",
        ["dropped: spoof"; 2],
        |the, protocol, family| {
            let from = the.address("web", family);
            the.pretend(protocol, ("other", from), at(NODE[family], ALL))
        },
    ),
    (
        "guest with another's address",
        "outside",
        ["dropped: spoof"; 2],
        |the, protocol, family| {
            let from = the.address("web", family);
            the.pretend(protocol, ("other", from), at(OUTSIDE[family], SERVICE))
        },
    ),
    (
        "guest with another's MAC",
        "another guest's exposure",
        ["dropped: spoof"; 2],
        |the, protocol, family| the.disguise(protocol, family, at(NODE[family], ALL)),
    ),
    (
        "guest with another's address",
        "its neighbours, by ARP and ND",
        ["dropped: spoof over arp", "dropped: spoof"],
        |the, _, family| the.solicit(family),
    ),
    (
        "outside host",
        "host's 127.0.0.1, with route_localnet",
        ["dropped: remote loopback", NONE],
        |the, protocol, family| the.intrude(protocol, family),
    ),
];
