//! What makes a take-over impossible is said before anything is changed, and
//! what is someone else's stays.

use libtest_mimic::Trial;
use tapwire::bridged::BridgePlan;
use tapwire::redirected::{PodInterface, RedirectPlan, Redirected, Restored, restore};
use tapwire::{Conflict, Error};

use super::{dump, without_cables};
use crate::bridged::pod::{assert_same, eth0, ip, set, settled};
use crate::support::{run, trials};

pub(crate) fn trials() -> Vec<Trial> {
    trials![needs ["ip", "tc"]:
        impossible_take_over_is_refused_before_anything_changes,
        qdiscs_and_filters_of_others_are_a_conflict,
        filter_of_another_that_came_later_stays,
        interface_is_restored_after_its_tap_was_deleted,
        plan_says_what_it_would_do_and_take_over_does_it_once,
        one_interface_is_not_taken_over_twice,
    ]
}

fn impossible_take_over_is_refused_before_anything_changes() {
    add_pod();
    ip("link add taken type bridge");
    let before = dump();
    let refused = |plan: RedirectPlan, words: &str| {
        let error = plan.take_over().unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
        assert_same(&dump(), &before, words);
    };
    let taken = "taken".parse().unwrap();
    refused(read().tap(taken), "another interface of that name");
    refused(read().tap(eth0()), "is to be that of two links");
    let stale = read();
    ip("link set eth0 address 02:00:00:00:00:99");
    let error = stale.take_over().unwrap_err();
    assert!(matches!(error, Error::Conflict(_)), "{error}");
    ip("link set eth0 master taken");
    let conflict = conflict(&read());
    assert!(conflict.holder().contains("taken"), "{conflict}");
    ip("link set eth0 nomaster");
    ip("link set eth0 down");
    let error = read().take_over().unwrap_err().to_string();
    assert_eq!(error, "interface \"eth0\" is down");
    assert!(!dump().contains("twtap"));
}

fn qdiscs_and_filters_of_others_are_a_conflict() {
    add_pod();
    for kind in ["ingress", "clsact"] {
        tc(&format!("qdisc add dev eth0 {kind}"));
        let before = dump();
        let index = read().pod().index();
        let empty = conflict(&read());
        assert_eq!(empty.wanted(), "what eth0 takes in");
        assert_eq!(empty.holder(), format!("qdisc {kind} dev {index}"));
        tc(
            "filter add dev eth0 ingress pref 7 protocol ip u32 match ip src 10.0.0.0/8 \
            action mirred egress redirect dev far",
        );
        let filtered = conflict(&read());
        let words = format!("filter u32 dev {index} ingress pref 7 redirect to");
        assert!(filtered.holder().contains(&words), "{filtered}");
        tc("filter del dev eth0 ingress pref 7");
        assert_same(&dump(), &before, kind);
        assert_eq!(restore(eth0()).unwrap(), Restored::Nothing);
        assert_same(&dump(), &before, kind);
        tc(&format!("qdisc del dev eth0 {kind}"));
    }
    // What shapes the way out is not in the way.
    tc("qdisc add dev eth0 root tbf rate 1gbit burst 100kb latency 50ms");
    let before = dump();
    let redirected = read().take_over().unwrap();
    redirected.undo().unwrap();
    assert_same(&dump(), &before, "shaped");
}

fn filter_of_another_that_came_later_stays() {
    add_pod();
    read().take_over().unwrap();
    tc(
        "filter add dev eth0 ingress pref 7 protocol ip u32 match ip src 10.0.0.0/8 \
        action mirred egress mirror dev far",
    );
    let conflict = conflict(&read());
    assert!(conflict.holder().contains("pref 7"), "{conflict}");
    assert!(Redirected::find(eth0()).unwrap().is_some());
    assert_eq!(restore(eth0()).unwrap(), Restored::Removed);
    let filters = run("tc", &["filter", "show", "dev", "eth0", "ingress"]);
    assert!(
        filters.contains("pref 7") && !filters.contains("pref 1 "),
        "{filters}"
    );
    assert!(!dump().contains("twtap"));
    assert_eq!(restore(eth0()).unwrap(), Restored::Nothing);
}

fn interface_is_restored_after_its_tap_was_deleted() {
    add_pod();
    let before = dump();
    for complete in [false, true] {
        let redirected = read().take_over().unwrap();
        ip(&format!("link del {}", redirected.tap()));
        assert!(Redirected::find(eth0()).unwrap().is_none());
        if complete {
            let again = read().take_over().unwrap();
            assert!(Redirected::find(eth0()).unwrap().is_some());
            // The dead filter would have come first.
            let filters = run("tc", &["filter", "show", "dev", "eth0", "ingress"]);
            assert_eq!(filters.matches("mirred").count(), 1, "{filters}");
            again.undo().unwrap();
        } else {
            assert_eq!(restore(eth0()).unwrap(), Restored::Removed);
        }
        assert_same(&dump(), &before, "restored");
    }
}

fn plan_says_what_it_would_do_and_take_over_does_it_once() {
    add_pod();
    let tap = "guest0".parse().unwrap();
    let plan = read().tap(tap).tap_owner(54_321).vnet_header();
    let words = plan.to_string();
    for line in [
        "add TAP guest0 address ",
        "add qdisc ingress dev eth0",
        "add filter u32 dev guest0 ingress pref 1 redirect to eth0",
        "  ip address add 10.1.0.5/24 dev eth0",
    ] {
        assert!(words.contains(line), "{line} in\n{words}");
    }
    let before = dump();
    plan.take_over().unwrap();
    let taken = without_cables();
    let details = run("ip", &["-d", "link", "show", "guest0"]);
    assert!(
        details.contains("vnet_hdr on") && details.contains("user 54321"),
        "{details}"
    );
    read().tap(tap).take_over().unwrap();
    assert_same(&without_cables(), &taken, "nothing new");
    let conflict = conflict(&read());
    assert!(conflict.holder().contains("which was made for eth0"));
    assert_same(&without_cables(), &taken, "refused");
    Redirected::find(eth0()).unwrap().unwrap().undo().unwrap();
    assert_same(&dump(), &before, "undone");
}

fn one_interface_is_not_taken_over_twice() {
    add_pod();
    let bridge = || BridgePlan::new(PodInterface::read(eth0()).unwrap());
    let redirected = read().take_over().unwrap();
    assert!(matches!(bridge().take_over(), Err(Error::Conflict(_))));
    redirected.undo().unwrap();
    let bridged = bridge().take_over().unwrap();
    assert!(matches!(read().take_over(), Err(Error::Conflict(_))));
    assert_eq!(
        restore(eth0()).unwrap(),
        Restored::Nothing,
        "that of another"
    );
    bridged.undo().unwrap();
}

fn read() -> RedirectPlan {
    RedirectPlan::new(PodInterface::read(eth0()).unwrap())
}

#[track_caller]
fn conflict(plan: &RedirectPlan) -> Conflict {
    match plan.take_over().unwrap_err() {
        Error::Conflict(conflict) => conflict,
        other => panic!("{other}"),
    }
}

fn tc(words: &str) {
    run("tc", &words.split_whitespace().collect::<Vec<_>>());
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
