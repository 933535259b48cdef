//! Who reaches what, as one table: each row over TCP and UDP, IPv4 and IPv6,
//! alone and among ten thousand other exposures.
//!
//! `cargo test --test netns -- matrix --nocapture` prints it.
#![expect(
    clippy::print_stdout,
    reason = "the table is what one wants to see of it"
)]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::time::Duration;

use libtest_mimic::Trial;
use tapwire::route::{Address, Ipv4Setting, Route, Rtnl};
use tapwire::sys::NetNs;
use tapwire::{
    Attachment, Egress, Exposure, Guest, Host, IfIndex, Mac, Protocol, Relay, RelaySettings,
};

use crate::packet::{self, tcp_packet, udp_packet};
use crate::stand_ins::frame as frames;
use crate::stand_ins::guest::Guest as Vm;
use crate::stand_ins::server::Server;
use crate::support::trials;
use crate::world::{
    FAMILIES, GUEST_PORT, NEVER, NODE, NODE_TOO, OUTSIDE, SOON, World, address_of, ask, ask_from,
    at, gateway_of, ip, within,
};

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

/// The node with its guests: `web` is exposed in every way, `other` is a guest
/// like it, and the rest have policies.
struct Setting {
    world: World,
    host: RefCell<Host>,
    guests: Vec<(Attachment, Vm)>,
}

/// A guest that names `web` as its peer and leaves behind those addresses of
/// the node that masquerading would not take; one that reaches some prefixes only; one that reaches nothing but
/// what it was granted.
fn with_policies() -> [Guest; 3] {
    let chosen = Egress::snat(ip(NODE_TOO[0])).and_then(|egress| egress.behind(ip(NODE[1])));
    let prefixes = OUTSIDE.map(|address| ip(address).into());
    let guest = |name| Guest::new(name).unwrap();
    [
        guest("friend")
            .peer(&"web".parse().unwrap())
            .egress(chosen.unwrap()),
        guest("limited").egress(Egress::masquerade().only(prefixes)),
        guest("closed")
            .egress(Egress::none())
            .service(format!("tcp/{SERVICE}").parse().unwrap())
            .service(format!("udp/{SERVICE}").parse().unwrap()),
    ]
}

impl Setting {
    fn new(others: &[Exposure]) -> Self {
        let world = World::new();
        let mut host = world.host();
        let plain = ["web", "other"].map(|name| Guest::new(name).unwrap());
        let special = with_policies();
        let guests: Vec<_> = plain
            .iter()
            .chain(&special)
            .map(|guest| world.boot_as(&mut host, guest))
            .collect();
        host.expose_all(others).unwrap();
        for protocol in ["tcp", "udp"] {
            let [too4, too6] = NODE_TOO;
            for text in [
                format!("{protocol}/{ALL}->web:80"),
                format!("{protocol}/{too4},[{too6}]:{ONE}->web:80"),
                format!("{protocol}/{OTHERS}->web:80 from 192.0.2.0/24,2001:db8:1::/48"),
                format!("{protocol}/{SOME}->web:80 from 203.0.113.0/24,2001:db8::/64"),
                format!("{protocol}/127.0.0.1:{LOOPBACK}->web:80"),
            ] {
                host.expose(&text.parse().unwrap()).unwrap();
            }
        }
        assert_eq!(host.exposures().unwrap().len(), others.len() + 10);
        let web = &guests[0].0;
        let route = || {
            let mut rtnl = Rtnl::open().unwrap();
            rtnl.apply(|changes| {
                for family in FAMILIES {
                    let net = address_of(web, family).into();
                    changes.add_route(&Route::new(net).via(ip(NODE[family])));
                    let too = Address::new(link(), ip(OUTSIDE_TOO[family]).into());
                    changes.add_address(&too.without_dad());
                }
            })
            .unwrap();
        };
        world.outside.run(route).unwrap();
        world.outside.run(reach_loopback_of_others).unwrap();
        Self {
            world,
            host: RefCell::new(host),
            guests,
        }
    }

    /// Runs every row, prints the table, and compares.
    fn judge(&self, title: &str) {
        let mut table = format!(
            "\n{title}\n{:31} {:39} {:5} {:32} {}\n",
            "from", "to", "", "over IPv4", "over IPv6"
        );
        let mut wrong = String::new();
        for (from, to, expected, outcome) in ROWS {
            for protocol in crate::world::PROTOCOLS {
                let [over4, over6] = FAMILIES.map(|family| {
                    let outcome = outcome(self, protocol, family);
                    if outcome != expected[family] {
                        let wanted = expected[family];
                        writeln!(wrong, "{protocol} {from} -> {to}: {outcome}, not {wanted}")
                            .unwrap();
                    }
                    outcome
                });
                writeln!(
                    table,
                    "{from:31} {to:39} {:5} {over4:32} {over6}",
                    protocol.to_string()
                )
                .unwrap();
            }
        }
        if std::env::args().any(|argument| argument == "--nocapture") {
            println!("{table}");
        }
        assert!(wrong.is_empty(), "{wrong}{table}");
        assert_eq!(table.lines().count(), 3 + 2 * ROWS.len());
    }

    fn outside(&self, protocol: Protocol, to: SocketAddr, patience: Duration) -> String {
        self.met(to, || ask(&self.world.outside, protocol, to, patience))
    }

    fn node(&self, protocol: Protocol, to: SocketAddr, patience: Duration) -> String {
        self.met(to, || ask(&self.world.node, protocol, to, patience))
    }

    fn guest(&self, name: &str, protocol: Protocol, to: SocketAddr, patience: Duration) -> String {
        let (_, vm) = self.find(name);
        self.met(to, || ask_from(vm, protocol, to, patience))
    }

    /// A packet of a guest's that no honest one sends: in the name of an
    /// address, and to whom it will.
    fn pretend(&self, protocol: Protocol, (name, from): (&str, IpAddr), to: SocketAddr) -> String {
        let mac = self.find(name).0.mac();
        self.send(name, &frame(mac, protocol, from, to))
    }

    /// A packet of a guest's with its own address and another's MAC.
    fn disguise(&self, protocol: Protocol, family: usize, to: SocketAddr) -> String {
        let mac = self.find("web").0.mac();
        let from = self.address("other", family);
        self.send("other", &frame(mac, protocol, from, to))
    }

    /// A guest tells its neighbour that it has another's address.
    fn solicit(&self, family: usize) -> String {
        let (other, (web, _)) = (&self.find("other").0, self.find("web"));
        let mac = other.mac();
        let request = if family == 0 {
            frames::arp_request(mac, web.ipv4(), other.gateway_ipv4())
        } else {
            frames::neighbour_solicitation(mac, web.ipv6(), other.gateway_ipv6())
        };
        self.send("other", &request)
    }

    /// Who sees a frame of a guest's, or why it was dropped.
    fn send(&self, name: &str, frame: &[u8]) -> String {
        let (_, vm) = self.find(name);
        self.comes_of(|| vm.send_frame(frame).unwrap())
    }

    /// A packet of the outside's to a loopback address of the node, both of
    /// which route such addresses.
    fn intrude(&self, protocol: Protocol, family: usize) -> String {
        if family == 1 {
            return NONE.into();
        }
        let to = at("127.9.0.1", SERVICE);
        self.world.node.run(route_loopback).unwrap();
        let _service = service(&self.world.node, "127.9.0.1", SERVICE);
        self.outside(protocol, to, NEVER)
    }

    fn find(&self, name: &str) -> &(Attachment, Vm) {
        let mut guests = self.guests.iter();
        guests.find(|(guest, _)| guest.name() == name).unwrap()
    }

    fn address(&self, name: &str, family: usize) -> IpAddr {
        address_of(&self.find(name).0, family)
    }

    fn gateway(&self, name: &str, family: usize) -> IpAddr {
        gateway_of(&self.find(name).0, family)
    }

    /// A guest's port itself.
    fn direct(&self, name: &str, family: usize) -> SocketAddr {
        SocketAddr::new(self.address(name, family), GUEST_PORT)
    }

    /// How many each guest has seen, and what was dropped for which reason.
    fn look(&self) -> (Vec<usize>, BTreeMap<String, u64>) {
        let seen = self.guests.iter().map(|(_, vm)| vm.seen().len());
        let dropped = self.host.borrow_mut().dropped().unwrap();
        let reasons = dropped
            .iter()
            .map(|one| (one.reason().to_owned(), one.counts().packets));
        (seen.collect(), reasons.collect())
    }

    /// Who answers, and whom it sees. Who answers a datagram is known by what
    /// guests have seen; a service of the one who was asked if it was none.
    fn met(&self, to: SocketAddr, ask: impl FnOnce() -> Option<(String, IpAddr)>) -> String {
        let mut source = None;
        let what = self.comes_of(|| source = ask().map(|(_, source)| source));
        let Some(source) = source else {
            return what;
        };
        let service = if [OUTSIDE, OUTSIDE_TOO]
            .concat()
            .iter()
            .any(|one| ip(one) == to.ip())
        {
            "outside"
        } else {
            "the node"
        };
        let who = what.strip_suffix(" sees it").unwrap_or(service);
        format!("{who} sees {}", self.name_of(source))
    }

    /// Which guests see what was sent, or why it was dropped.
    fn comes_of(&self, send: impl FnOnce()) -> String {
        let (seen, dropped) = self.look();
        send();
        let outcome = || {
            let (seen_now, dropped_now) = self.look();
            let guests = self.guests.iter().zip(seen_now.iter().zip(&seen));
            let met: Vec<&str> = guests
                .filter(|(_, (now, before))| now > before)
                .map(|((guest, _), _)| guest.name())
                .collect();
            let why = dropped_now.iter();
            let why = why.filter(|(why, count)| **count > dropped[*why]);
            let mut why: Vec<&str> = why.map(|(why, _)| why.as_str()).collect();
            for late in WHEN_GIVEN_UP {
                if why.len() > 1 {
                    why.retain(|why| *why != late);
                }
            }
            match (met.as_slice(), why.as_slice()) {
                ([], []) => None,
                ([], why) => Some(format!("dropped: {}", why.join(", "))),
                (met, _) => Some(format!("{} sees it", met.join(" and "))),
            }
        };
        let outcome = within(NEVER, |_| outcome());
        outcome.unwrap_or_else(|| NOTHING.into())
    }

    fn name_of(&self, address: IpAddr) -> String {
        let is = |names: &[&str]| names.iter().any(|name| ip(name) == address);
        let of_guest = self.guests.iter().find_map(|(guest, _)| {
            let is = |address_of: fn(&Attachment, usize) -> IpAddr| {
                FAMILIES
                    .into_iter()
                    .any(|family| address_of(guest, family) == address)
            };
            match (is(address_of), is(gateway_of)) {
                (true, _) => Some(guest.name()),
                (_, true) => Some("the gateway"),
                _ => None,
            }
        });
        match of_guest {
            Some(name) => name.into(),
            None if is(&OUTSIDE) || is(&OUTSIDE_TOO) => "outside".into(),
            None if is(&NODE) => "the node".into(),
            None if is(&NODE_TOO) => "the node's second".into(),
            None if is(&LOCAL) => "loopback".into(),
            None => address.to_string(),
        }
    }
}

/// What a guest ends a connection with that it has given up comes late, and is
/// dropped for these.
const WHEN_GIVEN_UP: [&str; 2] = ["of no connection", "guest to host"];

/// The link between the node and the outside, in both.
fn link() -> IfIndex {
    IfIndex::new(100).unwrap()
}

/// Has loopback addresses be routed like others.
fn route_loopback() {
    let mut rtnl = Rtnl::open().unwrap();
    let on = [(Ipv4Setting::RouteLocalnet, 1)];
    rtnl.apply(|changes| changes.set_ipv4(link(), &on)).unwrap();
}

/// Has a loopback address lead to the node instead.
fn reach_loopback_of_others() {
    route_loopback();
    let own = Address::new(IfIndex::new(1).unwrap(), "127.0.0.1/8".parse().unwrap());
    let theirs = Route::new("127.9.0.1/32".parse().unwrap()).via(ip(NODE[0]));
    let mut rtnl = Rtnl::open().unwrap();
    rtnl.apply(|changes| {
        changes.delete_address(&own);
        changes.add_route(&theirs);
    })
    .unwrap();
}

/// The flag of TCP that begins a connection.
const SYN: u8 = 0x02;

/// What an exposure is refused for.
fn refusal(text: &str) -> String {
    let error = text.parse::<Exposure>().unwrap_err().to_string();
    let known = "cannot be translated back";
    let is_known = error.contains(known);
    if is_known { known.into() } else { error }
}

/// The first packet of a connection or a flow, as a frame to the gateway.
fn frame(mac: Mac, protocol: Protocol, from: IpAddr, to: SocketAddr) -> Vec<u8> {
    let from = SocketAddr::new(from, 1234);
    let packet = match protocol {
        Protocol::Tcp => tcp_packet(from, to, SYN),
        _ => udp_packet(from, to, b"ping"),
    };
    packet::frame(mac, &packet)
}

/// A service on one address of a namespace.
fn service(netns: &NetNs, address: &str, port: u16) -> Server {
    let start = || {
        let tcp = TcpListener::bind(at(address, port)).unwrap();
        let udp = UdpSocket::bind(at(address, port)).unwrap();
        Server::start("service", tcp, udp).unwrap()
    };
    netns.run(start).unwrap()
}
