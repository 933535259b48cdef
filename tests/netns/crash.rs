//! An agent that is killed at any moment leaves nothing that its next run
//! does not complete or remove.
//!
//! The agent is the example `riklet`, or this very program.

use std::process::Output;

use libtest_mimic::Trial;
use tapwire::nft::{Element, Family, Name, Nft, Value};
use tapwire::sys::NetNs;

use crate::agent::{File, add_uplink, program, riklet, riklet_prints};
use crate::moments::{
    Moment, in_each_moment, in_new_node, kill_program, moments_of_program, moments_with,
    strace_program,
};
use crate::planner;
use crate::snapshot::Snapshot;
use crate::support::{feed, forget_names, run, trials};
use crate::upgrade::as_here;

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = trials![needs ["strace", "nft", "ip"]:
        killed_up_is_completed_by_the_next_or_removed,
        killed_change_of_ports_is_completed_by_the_next,
        killed_down_is_completed_by_the_next,
        killed_down_of_all_is_completed_by_the_next,
        up_that_the_kernel_refuses_at_any_step_leaves_nothing,
        down_of_all_goes_on_past_a_guest_that_cannot_be_taken_away,
        killed_plan_is_completed_by_the_next_and_nothing_was_ever_gone,
        killed_plan_of_clones_is_completed_by_the_next,
        killed_plan_of_namespaces_is_completed_by_the_next,
        killed_takeover_of_the_first_layout_is_completed_by_the_next,
        killed_repair_of_altered_tables_is_completed_by_the_next,
        killed_growth_of_full_sets_is_completed_by_the_next,
    ];
    trials.extend(trials![needs ["nft", "ip", "Linux 6.9"]:
        killed_owner_of_persistent_tables_is_succeeded,
    ]);
    trials
}

fn killed_up_is_completed_by_the_next_or_removed() {
    let workload = File::workload("hello-world", &[8080, 8081]);
    let up = ["up", workload.path()];
    Scene {
        before: &[],
        killed: &up,
        repeated: &up,
    }
    .play();
}

fn killed_change_of_ports_is_completed_by_the_next() {
    let old = File::workload("hello-world", &[8080, 8081]);
    let new = File::workload("hello-world", &[8081, 8082]);
    let up = ["up", new.path()];
    Scene {
        before: &[&["up", old.path()]],
        killed: &up,
        repeated: &up,
    }
    .play();
}

fn killed_down_is_completed_by_the_next() {
    let stays = File::workload("stays", &[8080]);
    let goes = File::workload("goes", &[8081]);
    Scene {
        before: &[&["up", stays.path(), goes.path()]],
        killed: &["down", "goes"],
        repeated: &["down", "goes"],
    }
    .play();
}

fn killed_down_of_all_is_completed_by_the_next() {
    let (one, two) = (
        File::workload("one", &[8080]),
        File::workload("two", &[8081]),
    );
    Scene {
        before: &[&["up", one.path(), two.path()]],
        killed: &["down", "--all"],
        repeated: &["down", "--all"],
    }
    .play();
}

/// Not a kill but a refusal, at each step of a second function's way up: it is
/// taken back, and its addresses are free.
fn up_that_the_kernel_refuses_at_any_step_leaves_nothing() {
    let [first, second, third] = [("first", 8080), ("second", 8081), ("third", 8082)]
        .map(|(name, port)| File::workload(name, &[port]));
    let up = ["up", second.path()];
    let (state, moments, right) = in_new_node(|| {
        riklet_prints(&["up", first.path()]);
        let state = Snapshot::take();
        let moments = moments_of(&up);
        riklet_prints(&["down", "second"]);
        riklet_prints(&["up", third.path()]);
        (state, moments, Snapshot::take())
    });
    in_each_moment(moments, |moment| {
        riklet_prints(&["up", first.path()]);
        let Moment { name, number, call } = moment;
        let inject = format!("inject={name}:error=ENOMEM:when={number}");
        let output = strace(&["-o", "/dev/null", "-e", &inject], &up);
        assert_eq!(output.status.code(), Some(1), "{call}: {output:?}");
        state.assert_same(&Snapshot::take(), &format!("refused: {call}"));
        riklet_prints(&["up", third.path()]);
        right.assert_same(&Snapshot::take(), "the next function");
    });
}

/// The kernel refuses to delete the first guest's TAP; the others go, and with
/// the next attempt all is gone.
fn down_of_all_goes_on_past_a_guest_that_cannot_be_taken_away() {
    let files = ["one", "two", "three"].map(|name| File::workload(name, &[]));
    let mut up = vec!["up"];
    up.extend(files.iter().map(File::path));
    let down = ["down", "--all"];
    let deletes = |moment: &Moment| moment.call.contains("RTM_DELLINK");
    let deletes_after = |options: &[&str]| {
        let moments = in_new_node(|| {
            riklet_prints(&up);
            moments_with(&program(), options, &down)
        });
        moments.into_iter().filter(deletes).collect::<Vec<_>>()
    };
    // First all at once; if that is refused, one by one.
    let Moment {
        name,
        number: group,
        ..
    } = &deletes_after(&[])[0];
    let inject = format!("inject={name}:error=EPERM:when={group}");
    let first = deletes_after(&["-e", &inject])[1].number;
    let step = first - group;
    add_uplink();
    let empty = Snapshot::take();
    riklet_prints(&up);
    let inject = format!("inject={name}:error=EPERM:when={group}..{first}+{step}");
    let output = strace(&["-o", "/dev/null", "-e", &inject], &down);
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(words.starts_with("error: "), "{output:?}");
    let list = riklet_prints(&["list"]);
    for (name, is_up) in [("one", true), ("two", false), ("three", false)] {
        assert_eq!(list.contains(name), is_up, "{name} in\n{list}");
    }
    riklet_prints(&down);
    empty.assert_same(&Snapshot::take(), "all removed");
}

/// A plan with all there is: a guest and an exposure that stay, one that is
/// moved, those that come and those that go.
fn killed_plan_is_completed_by_the_next_and_nothing_was_ever_gone() {
    let before = [
        "apply",
        "stays",
        "moves",
        "goes",
        "tcp/80->stays:80",
        "tcp/81->moves:80",
        "udp/82->goes:80",
    ];
    let after = [
        "apply",
        "stays",
        "moves",
        "comes",
        "tcp/80->stays:80",
        "tcp/81->stays:80",
        "udp/83->comes:80",
    ];
    let [before, after] = [before, after].map(planner::arguments);
    let (empty, right, moments) = in_new_node(|| {
        let empty = Snapshot::take();
        planner::runs(&before);
        let moments = moments_of_program(&planner::program(), &after);
        (empty, Snapshot::take(), moments)
    });
    in_each_moment(moments, |moment| {
        planner::runs(&before);
        kill_program(&planner::program(), &after, moment);
        let when = format!("killed before {}", moment.call);
        // The first guest's addresses end with 2, the second's with 6.
        assert_eq!(leads_to(80), [2, 2], "{when}");
        let moved = leads_to(81);
        assert!(moved == [6, 6] || moved == [2, 2], "{when}: {moved:?}");
        planner::runs(&after);
        right.assert_same(&Snapshot::take(), &when);
        planner::runs(&planner::arguments(["remove"]));
        empty.assert_same(&Snapshot::take(), &format!("{when}, all removed"));
    });
}

/// Clones of one snapshot that stay, that come and that go, several at once.
fn killed_plan_of_clones_is_completed_by_the_next() {
    let before = [
        "apply",
        "clone:stays",
        "clone:goes",
        "clone:too",
        "tcp/80->stays:80",
    ];
    let after = [
        "apply",
        "clone:stays",
        "clone:comes",
        "clone:new",
        "tcp/80->comes:80",
    ];
    let [before, after] = [planner::arguments(before), planner::arguments(after)];
    let (empty, right, moments) = in_new_node(|| {
        let empty = Snapshot::take();
        planner::runs(&before);
        let moments = moments_of_program(&planner::program(), &after);
        (empty, Snapshot::take(), moments)
    });
    in_each_moment(moments, |moment| {
        planner::runs(&before);
        kill_program(&planner::program(), &after, moment);
        let when = format!("killed before {}", moment.call);
        planner::runs(&after);
        right.assert_same(&Snapshot::take(), &when);
        planner::runs(&planner::arguments(["remove"]));
        empty.assert_same(&Snapshot::take(), &format!("{when}, all removed"));
    });
}

/// Clones in namespaces of their own: one that stays, one that goes and two
/// that come.
fn killed_plan_of_namespaces_is_completed_by_the_next() {
    let before = planner::arguments(["apply", "@stays", "@goes", "tcp/80->stays:80"]);
    let after = planner::arguments(["apply", "@stays", "@one", "@two", "tcp/80->two:80"]);
    let has = planner::arguments(["has", "@stays", "@one", "@two", "tcp/80->two:80"]);
    let names = || NetNs::names().unwrap().len();
    let (empty, right, moments) = in_new_node(|| {
        let empty = Snapshot::take();
        planner::runs(&before);
        let moments = moments_of_program(&planner::program(), &after);
        let right = Snapshot::take();
        planner::runs(&planner::arguments(["remove"]));
        (empty, right, moments)
    });
    in_each_moment(moments, |moment| {
        forget_names();
        planner::runs(&before);
        kill_program(&planner::program(), &after, moment);
        let when = format!("killed before {}", moment.call);
        planner::runs(&after);
        planner::runs(&has);
        assert_eq!(names(), 3, "{when}");
        right.assert_same(&Snapshot::take(), &when);
        planner::runs(&planner::arguments(["remove"]));
        assert_eq!(names(), 0, "{when}");
        empty.assert_same(&Snapshot::take(), &format!("{when}, all removed"));
    });
}

/// Tables of an older version, with the guest and exposure that stay.
fn killed_takeover_of_the_first_layout_is_completed_by_the_next() {
    Rebuild {
        spoil: || {
            let first = as_here(include_str!("../testdata/schema1.nft"));
            let first = first.replace("tcp . 8080", "tcp . 80");
            run("nft", &["flush", "ruleset"]);
            feed("nft", &["-f", "-"], &first);
        },
        before: &["apply", "hello-world", "tcp/80->hello-world:80"],
        after: &[
            "apply",
            "hello-world",
            "comes",
            "tcp/80->hello-world:80",
            "tcp/81->comes:80",
        ],
    }
    .play();
}

/// Someone emptied one table and a chain of the other, and opened another.
fn killed_repair_of_altered_tables_is_completed_by_the_next() {
    Rebuild {
        spoil: || {
            run("nft", &["flush", "table", "arp", "riklet"]);
            run(
                "nft",
                &["insert", "rule", "inet", "riklet", "from_guest", "accept"],
            );
            run("nft", &["flush", "chain", "inet", "riklet", "in_guest"]);
        },
        before: &[
            "apply",
            "stays",
            "goes",
            "tcp/80->stays:80",
            "tcp/81->goes:80 limit 7",
        ],
        after: &[
            "apply",
            "stays",
            "comes",
            "tcp/80->stays:80",
            "tcp/82->comes:80 limit 9",
        ],
    }
    .play();
}

/// The sets were made for two exposures and two guests.
fn killed_growth_of_full_sets_is_completed_by_the_next() {
    Rebuild {
        spoil: || {},
        before: &["small", "stays", "tcp/80->stays:80"],
        after: &[
            "apply",
            "stays",
            "second",
            "third",
            "tcp/80->stays:80",
            "tcp/81->second:80",
            "tcp/82-84->third:82-84",
            "udp/85-87->third:85-87",
        ],
    }
    .play();
}

/// Tables that have to be made anew, with what is in them, when the agent
/// brings a node to what is wanted. It is killed on the way.
struct Rebuild<'a> {
    /// Why the tables have to be made anew.
    spoil: fn(),
    before: &'a [&'static str],
    after: &'a [&'static str],
}

impl Rebuild<'_> {
    fn play(&self) {
        let [before, after] = [self.before, self.after].map(|words| {
            let mut arguments = planner::arguments([]);
            arguments.extend(words);
            arguments
        });
        let (empty, right, moments) = in_new_node(|| {
            let empty = Snapshot::take();
            planner::runs(&before);
            (self.spoil)();
            let moments = moments_of_program(&planner::program(), &after);
            (empty, Snapshot::take(), moments)
        });
        in_each_moment(moments, |moment| {
            planner::runs(&before);
            (self.spoil)();
            kill_program(&planner::program(), &after, moment);
            let when = format!("killed before {}", moment.call);
            assert_eq!(leads_to(80), [2, 2], "{when}");
            let links = run("ip", &["-br", "link"]);
            assert!(links.contains("riklet-0"), "{when}: {links}");
            planner::runs(&after);
            right.assert_same(&Snapshot::take(), &when);
            planner::runs(&planner::arguments(["remove"]));
            empty.assert_same(&Snapshot::take(), &format!("{when}, all removed"));
        });
    }
}

/// The last byte of the addresses, IPv4 and IPv6, to which a TCP port of all
/// addresses leads.
fn leads_to(port: u8) -> [u8; 2] {
    let mut nft = Nft::open().unwrap();
    let table = nft.table(Family::INET, &Name::constant("riklet"));
    let table = table.unwrap().expect("the table is never absent");
    [("dnat4_any", 3), ("dnat6_any", 15)].map(|(map, last)| {
        let map = nft.set(&table, &Name::constant(map)).unwrap().unwrap();
        let elements = nft.elements(&map).unwrap();
        let is_it = |element: &&Element| element.key().as_bytes()[..6] == [6, 0, 0, 0, 0, port];
        let element = elements.iter().find(is_it);
        match element.expect("the exposure is never absent").value() {
            Some(Value::Data(data)) => data.as_bytes()[last],
            other => panic!("{other:?}"),
        }
    })
}

/// Its tables stay as they are, and are the next one's.
fn killed_owner_of_persistent_tables_is_succeeded() {
    add_uplink();
    let empty = Snapshot::take();
    let hold = planner::arguments(["hold", "a", "tcp/80->a:80"]);
    let mut first = planner::start(&hold);
    run("nft", &["flush", "ruleset"]);
    // Another is told who has them.
    let output = planner::run(&hold);
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success());
    assert!(
        words.contains(&format!("process {} (", first.id())),
        "{words}"
    );
    first.kill().unwrap();
    first.wait().unwrap();
    let held = Snapshot::take();
    assert_eq!(leads_to(80), [2, 2]);
    let mut second = planner::start(&hold);
    run("nft", &["flush", "ruleset"]);
    second.kill().unwrap();
    second.wait().unwrap();
    held.assert_same(&Snapshot::take(), "the second had them");
    planner::runs(&planner::arguments(["remove"]));
    empty.assert_same(&Snapshot::take(), "all removed");
}

/// An agent's run that is killed, and what comes before and after it.
struct Scene<'a> {
    before: &'a [&'a [&'a str]],
    killed: &'a [&'a str],
    repeated: &'a [&'a str],
}

impl Scene<'_> {
    /// Plays it once undisturbed, then with a kill at each moment; each in a
    /// network namespace of its own.
    fn play(&self) {
        let (empty, right, moments) = in_new_node(|| {
            let empty = Snapshot::take();
            self.set_up();
            let moments = moments_of(self.killed);
            (empty, Snapshot::take(), moments)
        });
        in_each_moment(moments, |moment| {
            self.play_with_kill(moment, &empty, &right);
        });
    }

    fn play_with_kill(&self, moment: &Moment, empty: &Snapshot, right: &Snapshot) {
        self.set_up();
        run_killed(self.killed, moment);
        let output = riklet(self.repeated);
        let words = String::from_utf8_lossy(&output.stderr);
        // What is wholly down already cannot be taken down by name.
        let is_down = words.starts_with("error: no function named");
        let when = format!("{:?} killed before {}", self.killed, moment.call);
        assert!(output.status.success() || is_down, "{when}: {words}");
        right.assert_same(&Snapshot::take(), &when);
        riklet_prints(&["down", "--all"]);
        empty.assert_same(&Snapshot::take(), &format!("{when}, all removed"));
    }

    fn set_up(&self) {
        for arguments in self.before {
            riklet_prints(arguments);
        }
    }
}

/// Runs the agent and lists the moments at which it could be killed.
fn moments_of(arguments: &[&str]) -> Vec<Moment> {
    moments_of_program(&program(), arguments)
}

/// Runs the agent, killed on entering a system call.
fn run_killed(arguments: &[&str], moment: &Moment) {
    kill_program(&program(), arguments, moment);
}

fn strace(options: &[&str], arguments: &[&str]) -> Output {
    strace_program(&program(), options, arguments)
}
