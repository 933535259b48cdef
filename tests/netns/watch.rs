//! What is wanted is kept in force, whatever others do.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use tapwire::nft::Nft;
use tapwire::{Exposure, Guest, Host, Owner, Wanted};

use crate::support::{run, trials};
use crate::world::SOON;

pub(crate) fn trials() -> Vec<Trial> {
    trials![needs ["nft", "ip"]:
        what_someone_took_away_is_noticed_and_repaired,
        own_changes_and_those_of_others_tables_are_no_reason_to_repair,
        something_else_can_be_wanted,
        lost_events_are_made_up_for,
    ]
}

fn open() -> Host {
    Host::open(Owner::new("riklet").unwrap()).unwrap()
}

fn wanted(ports: std::ops::RangeInclusive<u16>) -> Wanted {
    let mut wanted = Wanted::new();
    wanted.extend(["a", "b"].map(|name| Guest::new(name).unwrap()));
    wanted.extend(ports.map(|port| -> Exposure { format!("tcp/{port}->a:80").parse().unwrap() }));
    wanted
}

/// Prints how long each repair took, from when the other program had ended.
fn what_someone_took_away_is_noticed_and_repaired() {
    let mut host = open();
    let mut watch = host.watch(wanted(1..=20)).unwrap();
    // Elements and links are listed in no order; what IPv6 does by itself, and
    // the state of a link, come in their own time.
    let state = || {
        let listing = run("nft", &["-s", "list", "ruleset"]);
        let listing = listing.split_whitespace().collect::<Vec<_>>().join(" ");
        let parts = listing.split([',', '{', '}', '=']).map(str::trim);
        let addresses = run("ip", &["-br", "addr"]);
        let plain = |line: &str| {
            let words = line.split_whitespace();
            let states = ["UP", "DOWN", "UNKNOWN"];
            let words = words.filter(|word| !word.starts_with("fe80:") && !states.contains(word));
            words.collect::<Vec<_>>().join(" ")
        };
        let mut parts: Vec<_> = parts.map(str::to_owned).collect();
        parts.extend(addresses.lines().map(plain));
        parts.sort_unstable();
        parts
    };
    let before = state();
    assert!(watch.wait(&mut host, Duration::ZERO).unwrap().is_none());
    for what in [
        "nft flush ruleset",
        "nft delete table inet riklet",
        "nft delete table arp riklet",
        "nft flush table inet riklet",
        "nft flush chain inet riklet expose4",
        "nft delete element inet riklet dnat4_any { tcp . 8 }",
        "nft add element inet riklet dnat4_any { tcp . 200 : 192.0.2.1 . 80 }",
        "nft flush set inet riklet guard4",
        "ip link del riklet-0",
        "ip link set riklet-1 down",
        "ip addr flush dev riklet-0",
    ] {
        let words: Vec<&str> = what.split(' ').collect();
        run(words[0], &words[1..]);
        let start = Instant::now();
        let repaired = watch.wait(&mut host, SOON).unwrap();
        let took = start.elapsed();
        let repaired = repaired.unwrap_or_else(|| panic!("{what}: not noticed"));
        assert!(!repaired.is_empty());
        eprintln!("{what}: repaired {took:?} after");
        // What is reported in several events may be repaired in several steps.
        while watch
            .wait(&mut host, Duration::from_millis(20))
            .unwrap()
            .is_some()
        {}
        let now = state();
        let only = |here: &[String], there: &[String]| -> Vec<String> {
            let only = here.iter().filter(|part| !there.contains(part));
            only.cloned().collect()
        };
        let (lost, new) = (only(&before, &now), only(&now, &before));
        assert!(
            now == before,
            "{what}: {repaired}lost {lost:?}, new {new:?}"
        );
    }
    host.remove().unwrap();
}

fn own_changes_and_those_of_others_tables_are_no_reason_to_repair() {
    let mut host = open();
    let mut watch = host.watch(wanted(1..=3)).unwrap();
    run("nft", &["add", "table", "inet", "other"]);
    run(
        "nft",
        &[
            "add",
            "set",
            "inet",
            "other",
            "dnat4",
            "{ type ipv4_addr ; }",
        ],
    );
    run("nft", &["delete", "table", "inet", "other"]);
    watch.want(&mut host, wanted(1..=4)).unwrap();
    let generation = Nft::open().unwrap().generation().unwrap();
    // A busy machine may need more than one wait for all events.
    for _ in 0..100 {
        let repaired = watch.wait(&mut host, Duration::from_millis(50)).unwrap();
        assert!(repaired.is_none(), "{}", repaired.unwrap());
        if !is_readable(&watch) {
            break;
        }
    }
    assert!(!is_readable(&watch), "all events were read");
    assert_eq!(Nft::open().unwrap().generation().unwrap(), generation);
    host.remove().unwrap();
}

fn something_else_can_be_wanted() {
    let mut host = open();
    let mut watch = host.watch(wanted(1..=3)).unwrap();
    let plan = watch.want(&mut host, wanted(2..=3)).unwrap();
    assert_eq!(plan.changes().len(), 1, "{plan}");
    let bad = wanted(2..=3).exposure("tcp/9->nobody:80".parse().unwrap());
    assert!(watch.want(&mut host, bad).is_err());
    assert_eq!(watch.wanted(), &wanted(2..=3));
    run("nft", &["flush", "ruleset"]);
    assert!(is_readable(&watch));
    assert!(watch.wait(&mut host, SOON).unwrap().is_some());
    assert_eq!(host.exposures().unwrap().len(), 2);
    host.remove().unwrap();
}

/// So much happens that the events do not fit their buffer.
fn lost_events_are_made_up_for() {
    let mut host = open();
    let mut watch = host.watch(wanted(1..=1)).unwrap();
    let elements: Vec<String> = (1..=30_000).map(|port| port.to_string()).collect();
    let elements = elements.join(", ");
    crate::support::feed(
        "nft",
        &["-f", "-"],
        &format!(
            "add table inet other\nadd set inet other s {{ type inet_service; }}\n\
             add element inet other s {{ {elements} }}\ndelete table inet riklet\n"
        ),
    );
    assert!(watch.wait(&mut host, SOON).unwrap().is_some());
    assert_eq!(host.exposures().unwrap().len(), 1);
    run("nft", &["delete", "table", "inet", "other"]);
    host.remove().unwrap();
}

fn is_readable(watch: &tapwire::Watch) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let fd = watch.as_fd();
    let mut descriptors = [PollFd::new(&fd, PollFlags::IN)];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    poll(&mut descriptors, Some(&now)).unwrap() > 0
}
