//! Who reaches what, as one table: each row over TCP and UDP, IPv4 and IPv6,
//! alone and among ten thousand other exposures.
//!
//! `cargo test --test netns -- matrix --nocapture` prints it.
#![expect(
    clippy::print_stdout,
    reason = "the table is what one wants to see of it"
)]

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::time::Duration;

use libtest_mimic::Trial;
use tapwire::route::{Ipv4Setting, Route, Rtnl};
use tapwire::sys::NetNs;
use tapwire::{Attachment, Exposure, Host, IfIndex, Protocol};

use crate::stand_ins::frame;
use crate::stand_ins::guest::Guest as Vm;
use crate::stand_ins::server::Server;
use crate::support::trials;
use crate::world::{
    FAMILIES, GUEST_PORT, NEVER, NODE, NODE_TOO, OUTSIDE, SOON, World, address_of, ask, ask_from,
    at, config, gateway_of, ip,
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

const LOCAL: [&str; 2] = ["127.0.0.1", "::1"];
const NOTHING: &str = "nothing";

/// From where, to where, what comes of it over IPv4 and IPv6, and the trial;
/// it says "-" where there is no such thing.
type Row = (
    &'static str,
    &'static str,
    [&'static str; 2],
    fn(&Setting, Protocol, usize) -> String,
);

const ROWS: [Row; 20] = [
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
        [NOTHING; 2],
        |the, protocol, family| {
            let _service = service(&the.world.node, NODE[family], OTHERS);
            the.outside(protocol, at(NODE[family], OTHERS), NEVER)
        },
    ),
    (
        "outside host",
        "guest directly, routed",
        [NOTHING; 2],
        |the, protocol, family| the.outside(protocol, the.direct(family), NEVER),
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
                let text = format!("{protocol}/[::1]:1->web:80");
                let error = text.parse::<Exposure>().unwrap_err().to_string();
                let found = error.contains("cannot be translated back");
                return if found {
                    "cannot be translated back".into()
                } else {
                    error
                };
            }
            the.node(protocol, at(LOCAL[0], LOOPBACK), SOON)
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
        |the, protocol, family| the.guest(&the.web, protocol, at(NODE[family], ALL), SOON),
    ),
    (
        "guest",
        "another guest's exposure",
        ["web sees other"; 2],
        |the, protocol, family| the.guest(&the.other, protocol, at(NODE[family], ALL), SOON),
    ),
    (
        "guest, not in the allow list",
        "another guest's exposure",
        [NOTHING; 2],
        |the, protocol, family| the.guest(&the.other, protocol, at(NODE[family], SOME), NEVER),
    ),
    (
        "guest",
        "another guest directly",
        [NOTHING; 2],
        |the, protocol, family| {
            let direct = the.direct(family);
            the.guest(&the.other, protocol, direct, NEVER)
        },
    ),
    (
        "guest",
        "outside",
        ["outside sees the node"; 2],
        |the, protocol, family| {
            let _service = service(&the.world.outside, OUTSIDE[family], SERVICE);
            the.guest(&the.web, protocol, at(OUTSIDE[family], SERVICE), SOON)
        },
    ),
    (
        "guest",
        "host's own port",
        [NOTHING; 2],
        |the, protocol, family| {
            let _service = service(&the.world.node, NODE[family], SERVICE);
            the.guest(&the.web, protocol, at(NODE[family], SERVICE), NEVER)
        },
    ),
    (
        "guest",
        "host's own port at the gateway",
        [NOTHING; 2],
        |the, protocol, family| {
            let gateway = gateway_of(&the.web.0, family);
            let _service = service(&the.world.node, &gateway.to_string(), SERVICE);
            let to = SocketAddr::new(gateway, SERVICE);
            the.guest(&the.web, protocol, to, NEVER)
        },
    ),
    (
        "guest",
        "port exposed on the host's loopback",
        [NOTHING, "-"],
        |the, protocol, family| the.knock(protocol, family, the.own(family), LOOPBACK),
    ),
    (
        "guest with another's address",
        "another guest's exposure",
        [NOTHING; 2],
        |the, protocol, family| {
            let from = SocketAddr::new(address_of(&the.web.0, family), 1234);
            the.pretend(protocol, from, at(NODE[family], ALL))
        },
    ),
    (
        "outside host",
        "host's 127.0.0.1, with route_localnet",
        [NOTHING, "-"],
        |the, protocol, family| the.intrude(protocol, family),
    ),
];

/// The node with two guests, `web` exposed in every way.
struct Setting {
    world: World,
    _host: Host,
    web: (Attachment, Vm),
    other: (Attachment, Vm),
}

impl Setting {
    fn new(others: &[Exposure]) -> Self {
        let world = World::new();
        let mut host = world.host();
        let web = world.boot(&mut host, "web");
        let other = host.attach(&tapwire::Guest::new("other").unwrap()).unwrap();
        let vm = Vm::start(world.open_tap(&other), config(&other)).unwrap();
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
        let route = || {
            let mut rtnl = Rtnl::open().unwrap();
            rtnl.apply(|changes| {
                for family in FAMILIES {
                    let net = address_of(&web.0, family).into();
                    changes.add_route(&Route::new(net).via(ip(NODE[family])));
                }
            })
            .unwrap();
        };
        world.outside.run(route).unwrap();
        Self {
            world,
            _host: host,
            web,
            other: (other, vm),
        }
    }

    /// Runs every row, prints the table, and compares.
    fn judge(&self, title: &str) {
        let mut table = format!(
            "\n{title}\n{:31} {:38} {:5} {:26} {}\n",
            "from", "to", "", "over IPv4", "over IPv6"
        );
        let mut wrong = String::new();
        for (from, to, expected, outcome) in ROWS {
            for protocol in crate::world::PROTOCOLS {
                let [over4, over6] = FAMILIES.map(|family| {
                    let outcome = outcome(self, protocol, family);
                    let is_meant = outcome == expected[family] || outcome == "-";
                    if !is_meant {
                        let wanted = expected[family];
                        writeln!(wrong, "{protocol} {from} -> {to}: {outcome}, not {wanted}")
                            .unwrap();
                    }
                    outcome
                });
                writeln!(
                    table,
                    "{from:31} {to:38} {:5} {over4:26} {over6}",
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
        self.met("outside", || {
            ask(&self.world.outside, protocol, to, patience)
        })
    }

    fn node(&self, protocol: Protocol, to: SocketAddr, patience: Duration) -> String {
        self.met("the node", || ask(&self.world.node, protocol, to, patience))
    }

    fn guest(
        &self,
        (_, vm): &(Attachment, Vm),
        protocol: Protocol,
        to: SocketAddr,
        patience: Duration,
    ) -> String {
        self.met(vm.name(), || ask_from(vm, protocol, to, patience))
    }

    /// A datagram of the guest's to a loopback address of the node.
    fn knock(&self, protocol: Protocol, family: usize, from: SocketAddr, port: u16) -> String {
        if (protocol, family) != (Protocol::Udp, 0) {
            return "-".into();
        }
        self.frame(&self.web, from, at(LOCAL[0], port))
    }

    /// A datagram of the other guest's in the name of the first.
    fn pretend(&self, protocol: Protocol, from: SocketAddr, to: SocketAddr) -> String {
        if protocol != Protocol::Udp {
            return "-".into();
        }
        self.frame(&self.other, from, to)
    }

    fn frame(&self, (guest, vm): &(Attachment, Vm), from: SocketAddr, to: SocketAddr) -> String {
        let gateway = "02:74:77:ff:ff:fe".parse().unwrap();
        let frame = frame::udp(guest.mac(), gateway, from, to, b"ping").unwrap();
        let before = self.seen();
        for _ in 0..3 {
            vm.send_frame(&frame).unwrap();
            std::thread::sleep(NEVER / 4);
        }
        let guests = ["web", "other"].into_iter().zip(self.seen()).zip(before);
        let met = guests.filter(|((_, after), before)| after > before);
        met.map(|((name, _), _)| format!("{name} sees it"))
            .next()
            .unwrap_or_else(|| NOTHING.into())
    }

    /// A datagram of the outside's to a loopback address of the node, both of
    /// which route such addresses.
    fn intrude(&self, protocol: Protocol, family: usize) -> String {
        if (protocol, family) != (Protocol::Udp, 0) {
            return "-".into();
        }
        let link = IfIndex::new(100).unwrap();
        let open = |rtnl: &mut Rtnl| {
            rtnl.apply(|changes| changes.set_ipv4(link, &[(Ipv4Setting::RouteLocalnet, 1)]))
                .unwrap();
        };
        let bind = || {
            open(&mut Rtnl::open().unwrap());
            UdpSocket::bind(at("127.9.0.1", 7777)).unwrap()
        };
        let server = self.world.node.run(bind).unwrap();
        server.set_read_timeout(Some(NEVER)).unwrap();
        let knock = || {
            let mut rtnl = Rtnl::open().unwrap();
            open(&mut rtnl);
            let route = Route::new("127.9.0.1/32".parse().unwrap()).via(ip(NODE[0]));
            rtnl.apply(|changes| changes.replace_route(&route)).unwrap();
            let socket = UdpSocket::bind(at(OUTSIDE[0], 0)).unwrap();
            let _refused = socket.send_to(b"knock", "127.9.0.1:7777");
        };
        self.world.outside.run(knock).unwrap();
        match server.recv(&mut [0; 16]) {
            Ok(_) => "the node sees it".into(),
            Err(_) => NOTHING.into(),
        }
    }

    /// The first guest's port itself.
    fn direct(&self, family: usize) -> SocketAddr {
        SocketAddr::new(address_of(&self.web.0, family), GUEST_PORT)
    }

    fn own(&self, family: usize) -> SocketAddr {
        SocketAddr::new(address_of(&self.web.0, family), 1234)
    }

    fn seen(&self) -> [usize; 2] {
        [&self.web, &self.other].map(|(_, vm)| vm.seen().len())
    }

    /// Who answers, and whom it sees. Who answers a datagram is known by what
    /// guests have seen; a service of the asker's peer if it was none.
    fn met(&self, asker: &str, ask: impl FnOnce() -> Option<(String, IpAddr)>) -> String {
        let before = self.seen();
        let Some((_, source)) = ask() else {
            return if self.seen() == before {
                NOTHING.into()
            } else {
                "a guest, without an answer".into()
            };
        };
        let after = self.seen();
        let who = match (after[0] > before[0], after[1] > before[1]) {
            (true, false) => "web",
            (false, true) => "other",
            (false, false) if asker == "web" => "outside",
            (false, false) => "the node",
            (true, true) => "both",
        };
        format!("{who} sees {}", self.name_of(source))
    }

    fn name_of(&self, address: IpAddr) -> String {
        let is = |names: &[&str]| names.iter().any(|name| ip(name) == address);
        let guests = [("web", &self.web.0), ("other", &self.other.0)];
        let of_guest = guests.into_iter().find_map(|(name, guest)| {
            let is = |address_of: fn(&Attachment, usize) -> IpAddr| {
                FAMILIES
                    .into_iter()
                    .any(|family| address_of(guest, family) == address)
            };
            match (is(address_of), is(gateway_of)) {
                (true, _) => Some(name),
                (_, true) => Some("the gateway"),
                _ => None,
            }
        });
        match of_guest {
            Some(name) => name.into(),
            None if is(&OUTSIDE) => "outside".into(),
            None if is(&NODE) || is(&NODE_TOO) => "the node".into(),
            None if is(&LOCAL) => "loopback".into(),
            None => address.to_string(),
        }
    }
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
