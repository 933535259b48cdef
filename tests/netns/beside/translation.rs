//! Others that translate what is for an exposed port, or listen on it.

use std::io::{BufRead, BufReader};
use std::net::{TcpListener, UdpSocket};
use std::process::{Command, Stdio};

use libtest_mimic::Trial;
use tapwire::error::Winner;
use tapwire::{Conflict, Exposure, Guest, Host, Networks, Owner, Settings};

use super::{Node, PORT};
use crate::support::trials;
use crate::world::{GUEST_PORT, NODE};

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = trials![needs ["nft"]:
        earlier_translation_is_found_and_takes_the_port,
        maps_are_asked_for_the_port_alone,
        ranges_of_ports_tell_each_rule_once,
        ranges_tell_what_their_ports_tell_one_by_one,
        translation_of_other_ports_is_no_conflict,
        translation_that_depends_on_the_source_may_take_the_port,
        other_owner_that_exposes_the_port_is_found,
        all_ports_are_looked_at_beside_long_chains,
    ];
    trials.extend(trials![needs ["nft", "iptables-nft"]:
        later_translation_by_iptables_is_a_clash,
    ]);
    trials.extend(trials![needs ["nft", "iptables-legacy"]:
        later_translation_by_legacy_iptables_is_a_clash,
    ]);
    trials.extend(trials![needs ["nft", "python3"]:
        port_that_is_handed_to_a_process_is_found,
    ]);
    trials.extend(trials![process_that_listens_on_a_wanted_port_is_found]);
    trials
}

/// Ports that are translated: wanted port, chain, rule, who wins, certain.
type Translated = (String, String, String, Winner, bool);

fn translated(conflicts: &[Conflict]) -> Vec<Translated> {
    let one = |conflict: &Conflict| match conflict {
        Conflict::Translated {
            port,
            chain,
            rule,
            wins,
            certain,
        } => Some((
            port.to_string(),
            chain.to_string(),
            rule.text().to_owned(),
            *wins,
            *certain,
        )),
        _ => None,
    };
    conflicts.iter().filter_map(one).collect()
}

fn ports(conflicts: &[Conflict]) -> Vec<(String, Winner, bool)> {
    let of = |(port, _, _, wins, certain)| (port, wins, certain);
    translated(conflicts).into_iter().map(of).collect()
}

fn nat(node: &Node, priority: i32, rules: &str) {
    let table = format!(
        "table inet site {{\nchain pre {{ type nat hook prerouting priority {priority}; {rules}\n}}\n}}\n"
    );
    node.run("nft", &[&table]);
}

fn earlier_translation_is_found_and_takes_the_port() {
    let mut node = Node::new();
    nat(
        &node,
        -110,
        "meta nfproto ipv4 tcp dport 8000-8100 counter redirect to :9",
    );
    assert!(node.silent(0) && node.exposed(1));
    let conflicts = node.conflicts();
    let found = translated(&conflicts);
    let [(port, chain, rule, Winner::Foreign, true)] = found.as_slice() else {
        panic!("{conflicts:#?}");
    };
    assert_eq!((&**port, &**chain), ("tcp/8080", "chain inet site pre"));
    assert!(rule.contains("tcp dport 8000-8100"), "{rule}");
    // The remedy is a command.
    let remedy = conflicts[0].remedy();
    let (_, command) = remedy.split_once(", or ").unwrap();
    node.sh(command);
    assert_eq!(node.conflicts(), []);
    assert!(node.exposed(0));
}

/// A transparent proxy in a chain that translates nothing.
fn port_that_is_handed_to_a_process_is_found() {
    let mut node = Node::new();
    let rules = |port: u16| {
        format!(
            "table inet site {{\nchain pre {{\ntype filter hook prerouting priority mangle\n\
             meta nfproto ipv4 tcp dport {port} tproxy ip to :9 accept\n}}\n}}\n"
        )
    };
    let mut proxy = node
        .world
        .node
        .run(|| {
            Command::new("python3")
                .args(["-c", PROXY])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .unwrap();
    let mut ready = String::new();
    let mut output = BufReader::new(proxy.stdout.take().unwrap());
    output.read_line(&mut ready).unwrap();
    node.run("nft", &[&rules(PORT)]);
    let is_silent = node.silent(0) && node.exposed(1);
    let conflicts = node.conflicts();
    node.run("nft", &["delete table inet site"]);
    node.run("nft", &[&rules(PORT + 1)]);
    let of_another_port = node.conflicts();
    drop(proxy.stdin.take());
    proxy.wait().unwrap();
    assert!(is_silent);
    assert_eq!(of_another_port, []);
    let found = translated(&conflicts);
    let [(port, chain, rule, Winner::Foreign, true)] = found.as_slice() else {
        panic!("{conflicts:#?}");
    };
    assert_eq!((&**port, &**chain), ("tcp/8080", "chain inet site pre"));
    assert!(rule.contains("tproxy ip to :9"), "{rule}");
}

/// Listens on port 9 for what is for others, until its input ends.
const PROXY: &str = "
import socket, sys
listener = socket.socket()
listener.setsockopt(socket.SOL_IP, 19, 1) # IP_TRANSPARENT
listener.bind(('0.0.0.0', 9))
listener.listen()
print('ready', flush=True)
sys.stdin.read()
";

fn maps_are_asked_for_the_port_alone() {
    let mut node = Node::new();
    nat(
        &node,
        -110,
        "meta l4proto tcp dnat ip to ip daddr . tcp dport map { 203.0.113.2 . 8080 : 192.0.2.9 . 80, 203.0.113.2 . 8081 : 192.0.2.9 . 81 }
         meta l4proto . th dport vmap { udp . 8080 : drop, tcp . 8090 : goto other }
         }
         chain other { meta l4proto tcp redirect to :9",
    );
    let wanted = |texts: &[&str]| -> Vec<Exposure> {
        let guest = format!("->198.18.0.2:{GUEST_PORT}");
        let one = |text: &&str| format!("{text}{guest}").parse().unwrap();
        texts.iter().map(one).collect()
    };
    let all = wanted(&[
        "tcp/8080",
        "tcp/203.0.113.1:8080",
        "tcp/203.0.113.2:8081",
        "tcp/8082",
        "tcp/8090",
        "udp/8090",
    ]);
    let conflicts = node.host.conflicts(&all).unwrap();
    assert_eq!(
        ports(&conflicts),
        [
            ("tcp/8080".to_owned(), Winner::Foreign, true),
            ("tcp/203.0.113.2:8081".to_owned(), Winner::Foreign, true),
            ("tcp/8090".to_owned(), Winner::Foreign, true),
        ]
    );
}

fn ranges_of_ports_tell_each_rule_once() {
    let mut node = Node::new();
    nat(
        &node,
        -110,
        "tcp dport { 8090, 8095 } redirect to :9; meta nfproto ipv4 tcp dport 8010-8020 redirect to :9
         sctp dport 8030 redirect to :9",
    );
    let _socket = node
        .world
        .node
        .run(|| TcpListener::bind("[::]:8099").unwrap());
    let wanted: Exposure = "tcp/8000-8099->hello-world:9000-9099".parse().unwrap();
    let conflicts = node.host.conflicts(&[wanted]).unwrap();
    let won = |port: &str| (port.to_owned(), Winner::Foreign, true);
    assert_eq!(
        ports(&conflicts),
        [won("tcp/8010"), won("tcp/8090"), won("tcp/8090")]
    );
    let listening = conflicts.iter().filter(
        |conflict| matches!(conflict, Conflict::Listening { port, .. } if port.port() == 8099),
    );
    assert_eq!(listening.count(), 2, "of both families");
}

fn ranges_tell_what_their_ports_tell_one_by_one() {
    let mut node = Node::new();
    nat(
        &node,
        -110,
        "tcp dport != 8000-8299 redirect to :9; tcp dport > 8290 redirect to :9
         ip saddr 192.0.2.0/24 tcp dport 8050 redirect to :9; tcp dport < 8003 accept
         tcp dport & 0xff == 0x40 redirect to :9; tcp dport { 8010, 8020-8025 } goto some
         tcp dport vmap { 8100 : accept, 8101 : goto some }; tcp dport 8100-8102 redirect to :9
         ip daddr . tcp dport { 203.0.113.1 . 8150 } redirect to :9; meta l4proto tcp @th,16,8 0x20 redirect to :9
         }
         chain some { tcp dport 8024 redirect to :9; tcp dport 8010 accept; tcp sport 1 redirect to :9",
    );
    let mut told = |first: u16, last: u16| {
        let wanted = format!("tcp/{first}-{last}->198.18.0.2:{first}-{last}");
        let wanted: Exposure = wanted.parse().unwrap();
        translated(&node.host.conflicts(&[wanted]).unwrap())
    };
    let mut one_by_one: Vec<Translated> = Vec::new();
    for port in 7990..=8310 {
        for found in told(port, port) {
            let same = |other: &&Translated| (&other.1, &other.2) == (&found.1, &found.2);
            match one_by_one.iter().find(same) {
                None => one_by_one.push(found),
                Some(known) => assert_eq!(known.4, found.4),
            }
        }
    }
    assert!(one_by_one.len() > 8, "{one_by_one:#?}");
    assert_eq!(told(7990, 8310), one_by_one);
}

fn translation_of_other_ports_is_no_conflict() {
    let mut node = Node::new();
    nat(
        &node,
        -110,
        "tcp dport 8081 redirect to :9; udp dport 8080 redirect to :9; ip daddr 192.0.2.1 tcp dport 8080 redirect to :9
         iifname \"eth7\" tcp dport 8080 redirect to :9; fib daddr type != local tcp dport 8080 redirect to :9
         tcp dport != 8080 redirect to :9; tcp dport { 1, 8090-8099 } redirect to :9",
    );
    assert_eq!(node.conflicts(), []);
    assert!(node.exposed(0) && node.exposed(1));
}

fn translation_that_depends_on_the_source_may_take_the_port() {
    let mut node = Node::new();
    nat(
        &node,
        -110,
        "ip saddr 192.0.2.0/24 tcp dport 8080 redirect to :9",
    );
    let found = ports(&node.conflicts());
    assert_eq!(found, [("tcp/8080".to_owned(), Winner::Foreign, false)]);
    assert!(node.exposed(0));
}

fn other_owner_that_exposes_the_port_is_found() {
    let mut node = Node::new();
    let mut other = node
        .world
        .node
        .run(|| Host::open(Owner::new("rik").unwrap()).unwrap())
        .unwrap();
    let other_ports = other.conflicts(&["tcp/8081->198.18.0.6:80".parse().unwrap()]);
    assert_eq!(other_ports.unwrap(), []);
    let same = other.conflicts(&["tcp/8080->198.18.0.6:80".parse().unwrap()]);
    let same = same.unwrap();
    assert_eq!(ports(&same), [("tcp/8080".to_owned(), Winner::Older, true)]);
    assert_eq!(node.conflicts(), []);
}

/// A chain of rules, and another owner, whose sets are asked for each port.
fn all_ports_are_looked_at_beside_long_chains() {
    let mut node = Node::new();
    let rules = (0..500).map(|n| format!("tcp dport {} redirect to :9; ", 20_000 + 2 * n));
    nat(&node, -110, &rules.collect::<String>());
    let all: Exposure = "tcp/1-65535->198.18.0.6:1-65535".parse().unwrap();
    let mut told = || {
        let conflicts = node.host.conflicts(std::slice::from_ref(&all)).unwrap();
        ports(&conflicts)
    };
    let beside_rules = told();
    assert_eq!(beside_rules.len(), 500);
    assert_eq!(beside_rules[1].0, "tcp/20002");
    let settings = Settings::new(Owner::new("rik").unwrap()).networks(
        Networks::new(
            "198.19.0.0/16".parse().unwrap(),
            "fd19::/64".parse().unwrap(),
        )
        .unwrap(),
    );
    let other = || Host::with(settings).unwrap();
    let mut other = node.world.node.run(other).unwrap();
    other.attach(&Guest::new("web").unwrap()).unwrap();
    other.expose(&"tcp/30000->web:80".parse().unwrap()).unwrap();
    let beside_owner = told();
    let new: Vec<_> = beside_owner
        .iter()
        .filter(|it| !beside_rules.contains(it))
        .collect();
    assert_eq!(new, [&("tcp/30000".to_owned(), Winner::Older, true)]);
}

/// As Docker publishes a port. The exposure is earlier and wins.
fn later_translation_by_iptables_is_a_clash() {
    let mut node = Node::new();
    docker_publishes(&node, "iptables-nft");
    assert!(node.exposed(0));
    let conflicts = node.conflicts();
    let found = translated(&conflicts);
    let [(port, chain, _, Winner::Exposure, true)] = found.as_slice() else {
        panic!("{conflicts:#?}");
    };
    assert_eq!((&**port, &**chain), ("tcp/8080", "chain ip nat PREROUTING"));
    // Another port is none of its business.
    node.sh("iptables-nft -t nat -F DOCKER");
    assert_eq!(node.conflicts(), []);
    node.sh("iptables-nft -t nat -A DOCKER -p tcp -m multiport --dports 80,8079:8081 -j REDIRECT --to-ports 9");
    assert_eq!(ports(&node.conflicts()).len(), 1);
    node.sh("iptables-nft -t nat -F DOCKER
             iptables-nft -t nat -A DOCKER -p tcp -m tcp --sport 1:65535 --dport 8080 -j REDIRECT --to-ports 9
             iptables-nft -t nat -A DOCKER -p udp -m udp --dport 8080 -j REDIRECT --to-ports 9
             iptables-nft -t nat -A DOCKER -p tcp -m multiport ! --dports 80,8080 -j REDIRECT --to-ports 9");
    assert_eq!(node.conflicts(), []);
}

fn later_translation_by_legacy_iptables_is_a_clash() {
    let mut node = Node::new();
    docker_publishes(&node, "iptables-legacy");
    assert!(node.exposed(0));
    let conflicts = node.conflicts();
    let found = translated(&conflicts);
    let [(port, chain, rule, Winner::Exposure, true)] = found.as_slice() else {
        panic!("{conflicts:#?}");
    };
    assert_eq!(port, "tcp/8080");
    assert_eq!(chain, "chain PREROUTING of table nat of iptables-legacy");
    assert_eq!(rule, "! -i docker0 -p 6 -m tcp -j DNAT");
    node.sh("iptables-legacy -t nat -F DOCKER
             iptables-legacy -t nat -A DOCKER ! -i docker0 -p tcp -m tcp --dport 8081 -j DNAT --to-destination 172.17.0.2:80
             iptables-legacy -t nat -A DOCKER -d 192.0.2.1/32 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80");
    assert_eq!(node.conflicts(), []);
}

fn docker_publishes(node: &Node, iptables: &str) {
    node.sh(&format!(
        "{iptables} -t nat -N DOCKER
         {iptables} -t nat -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
         {iptables} -t nat -A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER
         {iptables} -t nat -A DOCKER -i docker0 -j RETURN
         {iptables} -t nat -A DOCKER ! -i docker0 -p tcp -m tcp --dport {PORT} -j DNAT --to-destination 172.17.0.2:80"
    ));
}

fn process_that_listens_on_a_wanted_port_is_found() {
    let mut node = Node::new();
    let bind = |address: &str| {
        let address = address.to_owned();
        let tcp = || TcpListener::bind(address).unwrap();
        node.world.node.run(tcp).unwrap()
    };
    let local = NODE[0];
    let sockets = [
        bind(&format!("{local}:8080")),
        bind("0.0.0.0:8081"),
        bind("[::]:8082"),
        bind("127.0.0.1:8083"),
        bind("[::1]:8084"),
    ];
    let udp = node.world.node.run(|| {
        let connected = UdpSocket::bind("0.0.0.0:8081").unwrap();
        connected.connect("203.0.113.7:53").unwrap();
        (UdpSocket::bind("0.0.0.0:8080").unwrap(), connected)
    });
    let wanted: Vec<Exposure> = [
        "tcp/8080->198.18.0.2:80",
        "tcp/203.0.113.2:8080->198.18.0.2:80",
        "udp/8080->198.18.0.2:80",
        "tcp/8081->198.18.0.2:80",
        "tcp/8081->[fd00::2]:80",
        "udp/8081->198.18.0.2:80",
        "tcp/8082->198.18.0.2:80",
        "tcp/8082->[fd00::2]:80",
        "tcp/8083->198.18.0.2:80",
        "tcp/127.0.0.1:8083->198.18.0.2:80",
        "tcp/8084->[fd00::2]:80",
        "tcp/9->198.18.0.2:80",
    ]
    .map(|text| text.parse().unwrap())
    .into();
    let conflicts = node.host.conflicts(&wanted).unwrap();
    let found: Vec<(String, String)> = conflicts
        .iter()
        .map(|conflict| match conflict {
            Conflict::Listening { port, socket, .. } => (port.to_string(), socket.to_string()),
            other => panic!("{other}"),
        })
        .collect();
    let expected = [
        ("tcp/8080", "203.0.113.1:8080"),
        ("udp/8080", "0.0.0.0:8080"),
        ("tcp/8081", "0.0.0.0:8081"),
        ("tcp/8082", "[::]:8082"),
        ("tcp/8082", "[::]:8082"),
        ("tcp/127.0.0.1:8083", "127.0.0.1:8083"),
    ];
    let expected = expected.map(|(port, socket)| (port.to_owned(), socket.to_owned()));
    assert_eq!(found, expected);
    let Conflict::Listening { inode, .. } = &conflicts[0] else {
        panic!("{conflicts:#?}");
    };
    let fd = std::os::fd::AsRawFd::as_raw_fd(&sockets[0]);
    let link = std::fs::read_link(format!("/proc/self/fd/{fd}")).unwrap();
    assert_eq!(link.to_string_lossy(), format!("socket:[{inode}]"));
    drop(udp);
    drop(sockets);
    assert_eq!(node.host.conflicts(&wanted).unwrap(), []);
}
