//! What makes a take-over impossible is said before anything is changed.

use std::path::Path;

use libtest_mimic::Trial;
use tapwire::bridged::{BridgePlan, Bridged, PodInterface, restore};
use tapwire::{Conflict, Error};

use super::pod::{assert_same, dump, eth0, ip, set, settled, without_cables};
use crate::support::{run, trials};

pub(crate) fn trials() -> Vec<Trial> {
    trials![needs ["ip"]:
        impossible_take_over_is_refused_before_anything_changes,
        interface_that_is_none_is_refused,
        plan_says_what_it_would_do_and_take_over_does_it_once,
        bridge_netfilter_is_told,
    ]
}

fn impossible_take_over_is_refused_before_anything_changes() {
    add_pod();
    ip("link add taken type bridge");
    let read = || BridgePlan::new(PodInterface::read(eth0()).unwrap());
    let before = dump();
    let refused = |plan: BridgePlan, words: &str| {
        let error = plan.take_over().unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
        assert_same(&dump(), &before, words);
    };
    let taken = "taken".parse().unwrap();
    refused(read().bridge(taken), "another interface of that name");
    refused(read().tap(taken), "another interface of that name");
    refused(read().tap(eth0()), "is to be that of two links");
    refused(
        read().tap(taken).bridge(taken),
        "is to be that of two links",
    );
    // What was read is no longer so.
    let stale = read();
    ip("link set eth0 address 02:00:00:00:00:99");
    let error = stale.take_over().unwrap_err();
    assert!(matches!(error, Error::Conflict(_)), "{error}");
    ip("link set eth0 master taken");
    let error = read().take_over().unwrap_err();
    let Error::Conflict(conflict) = error else {
        panic!("{error}");
    };
    assert!(conflict.holder().contains("taken"), "{conflict}");
    ip("link set eth0 nomaster");
    ip("link set eth0 down");
    let error = read().take_over().unwrap_err().to_string();
    assert_eq!(error, "interface \"eth0\" is down");
    assert!(!dump().contains("twbr"));
}

fn interface_that_is_none_is_refused() {
    let refusal = |name: &str| PodInterface::read(name.parse().unwrap()).unwrap_err();
    assert!(refusal("eth7").is_not_found());
    assert_eq!(
        refusal("lo").to_string(),
        "interface \"lo\" is the loopback interface"
    );
    run("ip", &["tuntap", "add", "tun0", "mode", "tun"]);
    assert_eq!(
        refusal("tun0").to_string(),
        "interface \"tun0\" is not an Ethernet interface"
    );
    let error = restore("eth7".parse().unwrap()).unwrap_err();
    assert!(error.is_not_found());
    let error = Bridged::find("lo".parse().unwrap()).unwrap_err();
    assert!(matches!(error, Error::Invalid(_)));
}

fn plan_says_what_it_would_do_and_take_over_does_it_once() {
    add_pod();
    let [bridge, tap] = ["inner", "guest0"].map(|name| name.parse().unwrap());
    let read = || BridgePlan::new(PodInterface::read(eth0()).unwrap());
    let plan = read()
        .bridge(bridge)
        .tap(tap)
        .tap_owner(54_321)
        .vnet_header();
    let mac = plan.pod().mac();
    let words = plan.to_string();
    for line in [
        "add bridge inner address ",
        "add TAP guest0 address ",
        "set eth0 master inner: its addresses and routes stay, unused",
        &format!("lead {mac} to guest0: the guest's from now on"),
        "  ip address add 10.1.0.5/24 dev eth0",
    ] {
        assert!(words.contains(line), "{line} in\n{words}");
    }
    let before = dump();
    let first = plan.take_over().unwrap();
    let taken = without_cables();
    assert!(taken.contains("guest0"));
    let details = run("ip", &["-d", "link", "show", "guest0"]);
    assert!(
        details.contains("vnet_hdr on") && details.contains("user 54321"),
        "{details}"
    );
    let again = read().bridge(bridge).tap(tap).take_over().unwrap();
    assert_eq!((first.tap(), first.bridge()), (again.tap(), again.bridge()));
    assert_same(&without_cables(), &taken, "nothing new");
    let error = read().take_over().unwrap_err();
    assert!(
        error.to_string().contains("which was made for eth0"),
        "{error}"
    );
    assert_same(&without_cables(), &taken, "refused");
    let found = Bridged::find(eth0()).unwrap().unwrap();
    assert_eq!(found.tap(), tap);
    found.undo().unwrap();
    assert_same(&dump(), &before, "undone");
}

fn bridge_netfilter_is_told() {
    add_pod();
    let plan = BridgePlan::new(PodInterface::read(eth0()).unwrap());
    // A kernel without it, or without its module, has nothing to tell.
    if !Path::new("/proc/sys/net/bridge").exists() {
        assert_eq!(plan.conflicts().unwrap(), []);
        return;
    }
    for (value, families) in [("1", 2), ("0", 0)] {
        for key in ["iptables", "ip6tables"] {
            set(&format!("net/bridge/bridge-nf-call-{key}"), value);
        }
        let conflicts = plan.conflicts().unwrap();
        assert_eq!(conflicts.len(), families, "{conflicts:?}");
        let told = |it: &Conflict| matches!(it, Conflict::BridgeNetfilter { .. });
        assert!(conflicts.iter().all(told));
    }
}

fn add_pod() {
    ip("link add eth0 type veth peer name far");
    ip("link set far up");
    set("net/ipv6/conf/eth0/accept_dad", "0");
    ip("link set eth0 up");
    ip("address add 10.1.0.5/24 dev eth0");
    ip("address add 2001:db8:1::5/64 dev eth0");
    ip("route add default via 10.1.0.1");
    settled();
}
