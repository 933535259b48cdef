//! What is left when something goes wrong.

use std::net::SocketAddr;
use std::process::Command;

use libtest_mimic::Trial;
use tapwire::{Exposure, Guest, Host, Networks, Owner, Settings};

use crate::agent::{File, add_uplink, program};
use crate::snapshot::Snapshot;
use crate::support::{run, trials};

pub(super) fn trials() -> Vec<Trial> {
    let mut trials = trials![needs ["nft", "ip"]:
        handle_opens_after_its_predecessor_was_dropped,
        owners_leave_each_other_alone,
        guest_is_detached_whatever_someone_took_away,
        everything_is_removed_whatever_someone_took_away,
        guest_is_attached_and_exposed_again_after_the_ruleset_was_flushed,
    ];
    trials.extend(trials![needs ["strace"]: agent_runs_no_program]);
    trials
}

/// There, the chain that the predecessor had left was an error. (What it is
/// to be killed, `crash` shows.)
fn handle_opens_after_its_predecessor_was_dropped() {
    add_uplink();
    let empty = Snapshot::take();
    let mut host = open("riklet");
    let first = host.attach(&guest("first")).unwrap();
    let exposure = exposure(8080, "198.18.0.2");
    host.expose(&exposure).unwrap();
    let state = Snapshot::take();
    drop(host);
    state.assert_same(&Snapshot::take(), "dropped");
    let (mut one, mut two) = (open("riklet"), open("riklet"));
    state.assert_same(&Snapshot::take(), "opened twice");
    assert_eq!(one.guests().unwrap(), [first]);
    assert_eq!(one.exposures().unwrap()[0].exposure(), &exposure);
    // Each works on, though it has not seen what the other did.
    for round in 0..4 {
        let a = one.attach(&guest(&format!("a-{round}"))).unwrap();
        let b = two.attach(&guest(&format!("b-{round}"))).unwrap();
        assert_ne!(a.tap(), b.tap());
        two.expose(
            &Exposure::new(
                tapwire::Protocol::Tcp,
                9000 + round,
                SocketAddr::new(a.ipv4().into(), 80),
            )
            .unwrap(),
        )
        .unwrap();
        one.detach(b.name()).unwrap();
    }
    assert_eq!(two.guests().unwrap().len(), 5);
    two.remove().unwrap();
    empty.assert_same(&Snapshot::take(), "removed");
}

/// There, a second agent put the first one's chain on its own delete list.
/// Here the one name even begins like the other.
fn owners_leave_each_other_alone() {
    add_uplink();
    let empty = Snapshot::take();
    let networks = Networks::new("10.9.8.0/24".parse().unwrap(), "fd09::/64".parse().unwrap());
    let rik = || {
        let owner = Owner::new("rik").unwrap();
        Host::with(Settings::new(owner).networks(networks.unwrap())).unwrap()
    };
    let use_it = |mut host: Host, name| {
        let guest = host.attach(&guest(name)).unwrap();
        host.expose(&exposure(8080, &guest.ipv4().to_string()))
            .unwrap();
        host
    };
    let first = use_it(rik(), "of-rik");
    let state = Snapshot::take();
    let second = use_it(open("riklet"), "of-riklet");
    second.remove().unwrap();
    state.assert_same(&Snapshot::take(), "riklet came and went");
    // Who came first may also go first: the other goes on, with all it needs.
    let second = use_it(open("riklet"), "of-riklet");
    first.remove().unwrap();
    let alone = Snapshot::take();
    assert_eq!(open("riklet").guests().unwrap().len(), 1);
    second.remove().unwrap();
    empty.assert_same(&Snapshot::take(), "both went");
    let second = use_it(open("riklet"), "of-riklet");
    Snapshot::take().assert_same(&alone, "riklet was alone from the start");
    second.remove().unwrap();
}

/// What someone may do to us, as root.
const TAKEN_AWAY: [&str; 9] = [
    "nft flush ruleset",
    "nft flush table inet riklet",
    "nft flush set inet riklet guard4",
    "nft flush set inet riklet guard6",
    "nft flush map inet riklet dnat4_any",
    "nft delete table inet riklet",
    "nft delete table arp riklet",
    "ip link del riklet-0",
    "ip addr flush dev riklet-0",
];

/// There, a rule that was gone already kept a VM from ever being stopped.
fn guest_is_detached_whatever_someone_took_away() {
    each_taken_away(|mut host, what| {
        host.detach("hello-world")
            .unwrap_or_else(|error| panic!("{what}: {error:?}"));
        let names: Vec<_> = host
            .guests()
            .unwrap()
            .iter()
            .map(|guest| guest.name().to_owned())
            .collect();
        assert_eq!(names, ["other"], "{what}");
        assert_eq!(host.exposures().unwrap().len(), 0, "{what}");
        host.remove().unwrap();
    });
}

fn everything_is_removed_whatever_someone_took_away() {
    each_taken_away(|host, what| {
        host.remove()
            .unwrap_or_else(|error| panic!("{what}: {error:?}"));
    });
}

/// Plays `end` with a fresh node for each of the things taken away, and sees
/// to it that nothing is left.
fn each_taken_away(end: impl Fn(Host, &str) + Sync) {
    for what in TAKEN_AWAY {
        let node = tapwire::sys::NetNs::new().unwrap();
        let work = || {
            add_uplink();
            let empty = listing();
            let mut host = open("riklet");
            host.attach(&guest("hello-world")).unwrap();
            host.attach(&guest("other")).unwrap();
            host.expose(&exposure(8080, "198.18.0.2")).unwrap();
            take_away(what);
            end(host, what);
            assert_eq!(listing(), empty, "{what}");
        };
        node.run(work).unwrap();
    }
}

fn guest_is_attached_and_exposed_again_after_the_ruleset_was_flushed() {
    add_uplink();
    let mut host = open("riklet");
    host.attach(&guest("hello-world")).unwrap();
    host.expose(&exposure(8080, "198.18.0.2")).unwrap();
    let elements = || {
        let listing = run("nft", &["list", "ruleset"]);
        let lines = listing.lines().filter(|line| line.contains("hello-world"));
        lines.count()
    };
    let before = elements();
    take_away("nft flush ruleset");
    assert_eq!(elements(), 0);
    host.attach(&guest("hello-world")).unwrap();
    host.expose(&exposure(8080, "198.18.0.2")).unwrap();
    assert_eq!(elements(), before);
}

fn take_away(what: &str) {
    let words: Vec<_> = what.split(' ').collect();
    run(words[0], &words[1..]);
}

/// What tables and links there are.
fn listing() -> String {
    let links = run("ip", &["-br", "link"]);
    let names = links.lines().filter_map(|line| line.split(' ').next());
    run("nft", &["list", "ruleset"]) + &names.collect::<Vec<_>>().join(" ")
}

/// There, thirteen programs were run for the life of each VM.
fn agent_runs_no_program() {
    let (log, workload) = (
        File::new("strace", ""),
        File::workload("hello-world", &[8080]),
    );
    for arguments in [&["up", workload.path()][..], &["list"], &["down", "--all"]] {
        let output = Command::new("strace")
            .args(["-f", "-e", "trace=process", "-o", log.path()])
            .args(["-E", "PATH=/nonexistent"])
            .arg(program())
            .args(arguments)
            .output();
        assert!(output.unwrap().status.success());
        let log = std::fs::read_to_string(log.path()).unwrap();
        let begun = log.lines().filter(|line| {
            ["exec", "fork(", "clone"]
                .iter()
                .any(|call| line.contains(call) && !line.contains("CLONE_THREAD"))
        });
        assert_eq!(begun.count(), 1, "{log}");
    }
}

fn open(owner: &str) -> Host {
    Host::open(Owner::new(owner).unwrap()).unwrap()
}

fn guest(name: &str) -> Guest {
    Guest::new(name).unwrap()
}

fn exposure(port: u16, guest: &str) -> Exposure {
    format!("tcp/{port}->{guest}:80").parse().unwrap()
}
