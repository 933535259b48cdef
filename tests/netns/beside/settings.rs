//! Settings of the host that stand in the way.

use std::net::UdpSocket;
use std::process::Command;

use libtest_mimic::Trial;
use tapwire::Conflict;

use super::Node;
use crate::planner;
use crate::support::trials;
use crate::world::{FAMILIES, at};

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = trials![table_of_flows_that_is_nearly_full_is_told,];
    trials.extend(trials![needs ["strace"]:
        legacy_tables_that_cannot_be_read_are_told,
    ]);
    trials.extend(trials![needs ["nft", "ip"]:
        strict_filter_on_a_second_uplink_drops_and_is_told,
        forwarding_that_was_switched_off_is_told,
        bridge_netfilter_is_told_where_a_bridge_has_ports,
    ]);
    trials
}

/// The way back leads through another interface than the client's packets
/// came by. A rule for the host's own address does not help: behind the
/// translation it is the guest's address that is looked up.
fn strict_filter_on_a_second_uplink_drops_and_is_told() {
    let mut node = Node::new();
    let far = |node: &Node| {
        let reach = || {
            let to = at("203.0.113.1", super::PORT);
            crate::world::ask(
                &node.world.outside,
                tapwire::Protocol::Tcp,
                to,
                crate::world::NEVER,
            )
        };
        reach().is_some()
    };
    // The client's address is far; a second uplink leads nowhere.
    node.world
        .outside
        .run(|| {
            let sh = |line: &str| crate::support::run("sh", &["-ec", line]);
            sh("ip addr add 198.51.100.9/32 dev lo; ip route replace 203.0.113.1/32 dev eth0 src 198.51.100.9")
        })
        .unwrap();
    node.sh(
        "ip route add default via 203.0.113.7 table 100
         ip rule add from 203.0.113.0/24 table 100
         ip link add eth1 type veth peer name far1; ip link set eth1 up; ip link set far1 up
         ip addr add 203.0.114.1/24 dev eth1; ip route add default via 203.0.114.7
         ip route add 198.51.100.9/32 via 203.0.113.7 table 100
         echo 0 >/proc/sys/net/ipv4/conf/all/rp_filter; echo 0 >/proc/sys/net/ipv4/conf/eth0/rp_filter",
    );
    // The host's new interface is to forward too, which opening sees to.
    node.host = node.world.host();
    assert_eq!(node.conflicts(), []);
    node.sh("echo 1 >/proc/sys/net/ipv4/conf/eth0/rp_filter");
    assert!(!far(&node), "the filter lets it in");
    let conflicts = node.conflicts();
    let [
        conflict @ Conflict::StrictReversePath {
            interface,
            answers_by,
        },
    ] = conflicts.as_slice()
    else {
        panic!("{conflicts:#?}");
    };
    assert_eq!(
        (interface.as_str(), answers_by.unwrap().as_str()),
        ("eth0", "eth1")
    );
    assert_eq!(
        conflict.to_string(),
        "rp_filter is strict on eth0, but the way back to the outside is dev eth1"
    );
    // Strict, but the way back is the same: no conflict.
    node.sh("ip route replace default via 203.0.113.7; ip rule del from 203.0.113.0/24 table 100");
    assert_eq!(node.conflicts(), []);
    assert!(far(&node));
}

fn forwarding_that_was_switched_off_is_told() {
    let mut node = Node::new();
    assert_eq!(node.conflicts(), []);
    // As `sysctl net.ipv4.ip_forward=0` does where it was 1.
    node.sh("echo 1 >/proc/sys/net/ipv4/ip_forward; echo 0 >/proc/sys/net/ipv4/ip_forward");
    assert!(node.silent(0) && node.exposed(1));
    let names = |conflicts: &[Conflict], of_ipv6: bool| -> Vec<String> {
        let one = |conflict: &Conflict| match conflict {
            Conflict::NotForwarding { interface, ipv6 } if *ipv6 == of_ipv6 => {
                Some(interface.to_string())
            }
            Conflict::NotForwarding { .. } => None,
            other => panic!("{other}"),
        };
        let mut names: Vec<_> = conflicts.iter().filter_map(one).collect();
        names.sort();
        names
    };
    let conflicts = node.conflicts();
    assert_eq!(names(&conflicts, false), ["eth0", "riklet-0"]);
    assert!(names(&conflicts, true).is_empty());
    for conflict in &conflicts {
        let remedy = conflict.remedy();
        let (_, command) = remedy.split_once(", or ").unwrap();
        node.sh(command);
    }
    assert_eq!(node.conflicts(), []);
    assert!(node.exposed(0));
    // Before Linux 6.17 there is one switch for all interfaces.
    node.sh("for name in force_forwarding forwarding; do
             file=/proc/sys/net/ipv6/conf/all/$name; [ ! -e $file ] || echo 0 >$file
         done");
    assert!(node.silent(1));
    let each = std::path::Path::new("/proc/sys/net/ipv6/conf/lo/force_forwarding").exists();
    let expected: &[&str] = if each {
        &["eth0", "riklet-0"]
    } else {
        &["all"]
    };
    assert_eq!(names(&node.conflicts(), true), expected);
}

fn bridge_netfilter_is_told_where_a_bridge_has_ports() {
    let mut node = Node::new();
    let setting = "/proc/sys/net/bridge/bridge-nf-call-iptables";
    if node
        .sh(&format!("cat {setting} 2>/dev/null || true"))
        .is_empty()
    {
        return; // not in this kernel
    }
    node.sh(&format!(
        "echo 1 >{setting}; echo 0 >/proc/sys/net/bridge/bridge-nf-call-ip6tables
         ip link add br0 type bridge"
    ));
    assert_eq!(node.conflicts(), []);
    node.sh("ip link add port type veth peer name end; ip link set port master br0");
    let conflicts = node.conflicts();
    assert_eq!(
        conflicts[0].to_string(),
        "net.bridge.bridge-nf-call-iptables is 1 while bridge br0 has ports"
    );
    assert_eq!(conflicts.len(), 1);
    node.sh(&format!("echo 0 >{setting}"));
    assert_eq!(node.conflicts(), []);
    assert!(FAMILIES.iter().all(|&family| node.exposed(family)));
}

/// The limit is the whole machine's, and only there can it be changed. But it
/// holds for the flows of each namespace by itself.
fn table_of_flows_that_is_nearly_full_is_told() {
    let mut node = Node::new();
    assert_eq!(node.conflicts(), []);
    let limit: usize = node
        .sh("echo 600 >/proc/sys/net/netfilter/nf_conntrack_udp_timeout
             cat /proc/sys/net/netfilter/nf_conntrack_max")
        .trim()
        .parse()
        .unwrap();
    let wanted = limit - limit.div_ceil(10);
    let fill = || {
        let ports = 1..=u16::MAX;
        // A socket that sends to itself has no flow of its own.
        let mut left = wanted + limit / 50;
        while left > 0 {
            let socket = UdpSocket::bind(at("127.0.0.1", 0)).unwrap();
            for port in ports.clone().take(left) {
                socket.send_to(b"", at("127.0.0.1", port)).unwrap();
            }
            left = left.saturating_sub(ports.len());
        }
    };
    node.world.node.run(fill).unwrap();
    let conflicts = node.conflicts();
    let [
        conflict @ Conflict::ConntrackNearLimit {
            entries,
            limit: told,
        },
    ] = conflicts.as_slice()
    else {
        panic!("{conflicts:#?}");
    };
    assert_eq!(usize::try_from(*told).unwrap(), limit);
    assert!(usize::try_from(*entries).unwrap() >= wanted);
    let words = format!("{entries} of {limit} connections are tracked");
    assert_eq!(conflict.to_string(), words);
}

/// As for an agent that may change the network, but is not root.
fn legacy_tables_that_cannot_be_read_are_told() {
    let conflicts = |strace: &[&str]| {
        let output = Command::new("strace")
            .args(["-f", "-o", "/dev/null", "-e", "signal=none"])
            .args(strace)
            .arg(planner::program())
            .args(planner::arguments(["conflicts"]))
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    for (name, words) in [
        (
            "ip_tables_names",
            "table filter of iptables-legacy is in use and cannot be read: Permission denied (os error 13)\n",
        ),
        (
            "ip6_tables_names",
            "table filter of ip6tables-legacy is in use and cannot be read: Permission denied (os error 13)\n",
        ),
    ] {
        let path = format!("/proc/thread-self/net/{name}");
        assert_eq!(conflicts(&["-P", &path]), "");
        let refused = ["-P", &path, "-e", "inject=openat:error=EACCES"];
        assert_eq!(conflicts(&refused), words);
    }
}
