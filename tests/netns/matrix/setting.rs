//! The node of the table, and what each of its rows tries there.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::time::Duration;

use tapwire::route::{Address, Ipv4Setting, Route, Rtnl};
use tapwire::sys::NetNs;
use tapwire::{Attachment, Egress, Exposure, Guest, Host, IfIndex, Mac, Protocol};

use crate::packet::{self, tcp_packet, udp_packet};
use crate::stand_ins::frame as frames;
use crate::stand_ins::guest::Guest as Vm;
use crate::stand_ins::server::Server;
use crate::world::{
    FAMILIES, GUEST_PORT, NEVER, NODE, NODE_TOO, OUTSIDE, World, address_of, ask, ask_from, at,
    gateway_of, ip, within,
};

use super::{ALL, LOCAL, LOOPBACK, NONE, NOTHING, ONE, OTHERS, OUTSIDE_TOO, ROWS, SERVICE, SOME};

/// The node with its guests: `web` is exposed in every way, `other` is a guest
/// like it, and the rest have policies.
pub(super) struct Setting {
    pub(super) world: World,
    pub(super) host: RefCell<Host>,
    pub(super) guests: Vec<(Attachment, Vm)>,
}

/// A guest that names `web` as its peer and leaves behind those addresses of
/// the node that masquerading would not take; one that reaches some prefixes
/// only; one that reaches nothing but what it was granted.
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
    pub(super) fn new(others: &[Exposure]) -> Self {
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
    pub(super) fn judge(&self, title: &str) {
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

    pub(super) fn outside(&self, protocol: Protocol, to: SocketAddr, patience: Duration) -> String {
        self.met(to, || ask(&self.world.outside, protocol, to, patience))
    }

    pub(super) fn node(&self, protocol: Protocol, to: SocketAddr, patience: Duration) -> String {
        self.met(to, || ask(&self.world.node, protocol, to, patience))
    }

    pub(super) fn guest(
        &self,
        name: &str,
        protocol: Protocol,
        to: SocketAddr,
        patience: Duration,
    ) -> String {
        let (_, vm) = self.find(name);
        self.met(to, || ask_from(vm, protocol, to, patience))
    }

    /// A packet of a guest's that no honest one sends: in the name of an
    /// address, and to whom it will.
    pub(super) fn pretend(
        &self,
        protocol: Protocol,
        (name, from): (&str, IpAddr),
        to: SocketAddr,
    ) -> String {
        let mac = self.find(name).0.mac();
        self.send(name, &frame(mac, protocol, from, to))
    }

    /// A packet of a guest's with its own address and another's MAC.
    pub(super) fn disguise(&self, protocol: Protocol, family: usize, to: SocketAddr) -> String {
        let mac = self.find("web").0.mac();
        let from = self.address("other", family);
        self.send("other", &frame(mac, protocol, from, to))
    }

    /// A guest tells its neighbour that it has another's address.
    pub(super) fn solicit(&self, family: usize) -> String {
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
    pub(super) fn send(&self, name: &str, frame: &[u8]) -> String {
        let (_, vm) = self.find(name);
        self.comes_of(|| vm.send_frame(frame).unwrap())
    }

    /// A packet of the outside's to a loopback address of the node, both of
    /// which route such addresses.
    pub(super) fn intrude(&self, protocol: Protocol, family: usize) -> String {
        if family == 1 {
            return NONE.into();
        }
        let to = at("127.9.0.1", SERVICE);
        self.world.node.run(route_loopback).unwrap();
        let _service = service(&self.world.node, "127.9.0.1", SERVICE);
        self.outside(protocol, to, NEVER)
    }

    pub(super) fn find(&self, name: &str) -> &(Attachment, Vm) {
        let mut guests = self.guests.iter();
        guests.find(|(guest, _)| guest.name() == name).unwrap()
    }

    pub(super) fn address(&self, name: &str, family: usize) -> IpAddr {
        address_of(&self.find(name).0, family)
    }

    pub(super) fn gateway(&self, name: &str, family: usize) -> IpAddr {
        gateway_of(&self.find(name).0, family)
    }

    /// A guest's port itself.
    pub(super) fn direct(&self, name: &str, family: usize) -> SocketAddr {
        SocketAddr::new(self.address(name, family), GUEST_PORT)
    }

    /// How many each guest has seen, and what was dropped for which reason.
    pub(super) fn look(&self) -> (Vec<usize>, BTreeMap<String, u64>) {
        let seen = self.guests.iter().map(|(_, vm)| vm.seen().len());
        let dropped = self.host.borrow_mut().dropped().unwrap();
        let reasons = dropped
            .iter()
            .map(|one| (one.reason().to_owned(), one.counts().packets));
        (seen.collect(), reasons.collect())
    }

    /// Who answers, and whom it sees. Who answers a datagram is known by what
    /// guests have seen; a service of the one who was asked if it was none.
    pub(super) fn met(
        &self,
        to: SocketAddr,
        ask: impl FnOnce() -> Option<(String, IpAddr)>,
    ) -> String {
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
    pub(super) fn comes_of(&self, send: impl FnOnce()) -> String {
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

    pub(super) fn name_of(&self, address: IpAddr) -> String {
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
pub(super) fn refusal(text: &str) -> String {
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
pub(super) fn service(netns: &NetNs, address: &str, port: u16) -> Server {
    let start = || {
        let tcp = TcpListener::bind(at(address, port)).unwrap();
        let udp = UdpSocket::bind(at(address, port)).unwrap();
        Server::start("service", tcp, udp).unwrap()
    };
    netns.run(start).unwrap()
}
