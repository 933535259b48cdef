//! What stands in the way is told, typed, before anything is changed.

use std::path::Path;

use libtest_mimic::Trial;
use tapwire::Conflict;
use tapwire::interfaces::{Interface, Interfaces};
use tapwire::route::Rtnl;

use super::scene::{four, joined, name, scene, state};
use crate::bridged::pod::{assert_same, inside, ip, servers, set};
use crate::support::{run, trials};

pub(crate) fn trials() -> Vec<Trial> {
    trials![needs ["ip", "nft"]:
        nothing_is_in_the_way_of_what_is_alone,
        what_others_have_and_do_is_told_of_each,
        networks_on_two_interfaces_are_told,
    ]
}

fn nothing_is_in_the_way_of_what_is_alone() {
    let scene = scene();
    let pod = &scene.pods.pod;
    let wanted = four().with(joined());
    let before = state(pod);
    let found = inside(pod, || {
        silence_bridges();
        wanted.conflicts().unwrap()
    });
    assert_eq!(found, []);
    assert_same(&state(pod), &before, "looked");
    inside(pod, || wanted.apply().unwrap());
    assert_eq!(inside(pod, || wanted.conflicts().unwrap()), []);
    inside(pod, || wanted.remove().unwrap());
}

fn what_others_have_and_do_is_told_of_each() {
    let scene = scene();
    let pod = &scene.pods.pod;
    let _listener = servers(pod, "pod");
    let net1 = inside(pod, || {
        silence_bridges();
        rules(
            "table inet strict { chain forward { type filter hook forward priority 0; policy drop; }; }",
        );
        rules(
            "table ip mesh { chain in { type nat hook prerouting priority -100; tcp dport 80 redirect to :15006; }; }",
        );
        ip("link add guest5 type bridge");
        let net1 = Rtnl::open().unwrap().link(name("net1"));
        let index = net1.unwrap().unwrap().index();
        ip(&format!("link add twtap{index} type bridge"));
        ip("link add tw-0 type bridge");
        ip("route add 10.0.2.0/30 dev net2");
        index
    });
    let before = state(pod);
    let wanted = four().with(joined());
    let found = inside(pod, || wanted.conflicts().unwrap());
    let told = |is_it: &dyn Fn(&Conflict) -> bool, what: &str| {
        let count = found.iter().filter(|it| is_it(it)).count();
        assert_eq!(count, 1, "{what} in {found:#?}");
    };
    let held = |by: String| {
        move |it: &Conflict| matches!(it, Conflict::Held { .. }) && it.to_string().contains(&by)
    };
    told(&held(format!("twtap{net1}")), "the bridged one's TAP");
    told(&held("10.0.2.0/30".into()), "the masqueraded one's network");
    told(&held("tw-0".into()), "the routed one's TAP");
    told(&held("guest5".into()), "the port of the segment");
    told(
        &|it| matches!(it, Conflict::ForwardDrop { chain, .. } if chain.to_string().contains("strict")),
        "the drop, of two that are routed",
    );
    for conflict in &found {
        assert!(!conflict.remedy().is_empty(), "{conflict}");
    }
    let error = inside(pod, || wanted.apply().unwrap_err());
    assert!(error.is_exists(), "{error}");
    assert_same(&state(pod), &before, "looked");
    // Once nothing prevents it, the masqueraded one tells what breaks it.
    inside(pod, || ip("route del 10.0.2.0/30 dev net2"));
    let found = inside(pod, || wanted.conflicts().unwrap());
    let is_mesh = |it: &Conflict| matches!(it, Conflict::Translated { chain, .. } if chain.to_string().contains("mesh"));
    let listens =
        |it: &Conflict| matches!(it, Conflict::Listening { port, .. } if port.port() == 80);
    assert!(found.iter().any(is_mesh), "{found:#?}");
    assert!(found.iter().any(listens), "{found:#?}");
    if Path::new(BRIDGES).exists() {
        inside(pod, || set(&format!("{BRIDGE_KEY}iptables"), "1"));
        let found = inside(pod, || wanted.conflicts().unwrap());
        for bridge in ["twbr", "blue"] {
            let is_it = |it: &Conflict| matches!(it, Conflict::BridgeNetfilter { bridge: it, .. } if it.as_str().starts_with(bridge));
            assert_eq!(
                found.iter().filter(|it| is_it(it)).count(),
                1,
                "{bridge} in {found:#?}"
            );
        }
    }
}

fn networks_on_two_interfaces_are_told() {
    let scene = scene();
    let pod = &scene.pods.pod;
    let wide = joined().address("10.1.0.77/16".parse().unwrap());
    let wanted = Interfaces::new()
        .with(Interface::bridged(name("eth1"), name("net1")))
        .with(Interface::redirected(name("eth2"), name("net2")))
        .with(wide);
    inside(pod, silence_bridges);
    let found = inside(pod, || wanted.conflicts().unwrap());
    let words: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert_eq!(
        words,
        ["network 10.1.0.0/16 on the guest's eth5 clashes with network 10.1.0.0/24 on its eth1"]
    );
}

fn rules(words: &str) {
    run("nft", &[words]);
}

fn silence_bridges() {
    if Path::new(BRIDGES).exists() {
        for key in ["iptables", "ip6tables"] {
            set(&format!("{BRIDGE_KEY}{key}"), "0");
        }
    }
}

const BRIDGES: &str = "/proc/sys/net/bridge";
const BRIDGE_KEY: &str = "net/bridge/bridge-nf-call-";
