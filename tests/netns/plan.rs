//! What is wanted is planned, printed and committed.

use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use tapwire::nft::{Family, Name, Nft};
use tapwire::{Change, Error, Exposure, Flows, Guest, Host, Owner, Protocol, Settings, Wanted};

use crate::stand_ins::client::Connection;
use crate::support::{run, trials};
use crate::world::{NEVER, NODE, SOON, World, ask, at};

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = trials![
        plan_says_what_it_changes_and_why,
        second_plan_is_empty,
        what_is_wanted_twice_is_refused_and_changes_nothing,
        exposure_of_a_guest_that_is_not_wanted_is_refused,
        plan_says_from_where_ports_are_reachable,
        exposure_that_is_moved_is_never_absent,
        flows_of_what_goes_are_cut_or_drained,
        flows_that_a_killed_agent_left_are_cut,
        plan_that_others_overtook_is_stale,
        guest_that_cannot_be_wired_is_not_attached,
        full_map_is_enlarged_in_the_same_transaction,
        nothing_to_do_costs_little_more_than_the_lists,
    ];
    trials.extend(trials![needs ["nft", "ip"]:
        what_was_taken_away_is_planned_and_comes_back,
        elements_that_belong_to_nothing_go,
    ]);
    trials
}

fn open() -> Host {
    Host::open(Owner::new("riklet").unwrap()).unwrap()
}

fn wanted(guests: &[&str], exposures: &[&str]) -> Wanted {
    let mut wanted = Wanted::new();
    wanted.extend(guests.iter().map(|name| Guest::new(name).unwrap()));
    wanted.extend(
        exposures
            .iter()
            .map(|text| text.parse::<Exposure>().unwrap()),
    );
    wanted
}

fn plan_says_what_it_changes_and_why() {
    let mut host = open();
    let first = wanted(&["a", "b"], &["tcp/8080->198.18.0.2:80", "udp/53->a:53"]);
    let plan = host.plan(&first).unwrap();
    let words = "\
+ guest a on riklet-0 (not attached)
+ guest b on riklet-1 (not attached)
+ tcp/8080->198.18.0.2:80 (not exposed)
+ udp/53->a:53 (not exposed)
";
    assert_eq!(plan.to_string(), words);
    assert!(host.guests().unwrap().is_empty() && host.exposures().unwrap().is_empty());
    assert_eq!(host.apply(&first).unwrap().to_string(), words);
    assert_eq!(host.guests().unwrap().len(), 2);
    assert_eq!(host.exposures().unwrap().len(), 2);
    let second = wanted(&["c", "b"], &["tcp/8080->198.18.0.6:80", "tcp/81->b:80"]);
    let plan = host.plan(&second).unwrap();
    let words = "\
+ guest c on riklet-2 (not attached)
~ tcp/8080->198.18.0.2:80 to tcp/8080->198.18.0.6:80 (leads elsewhere)
- udp/53->a:53 (not wanted)
+ tcp/81->b:80 (not exposed)
- guest a on riklet-0 (not wanted)
";
    assert_eq!(plan.to_string(), words);
    assert!(matches!(&plan.changes()[1], Change::Move { .. }));
    host.commit(&plan).unwrap();
    let names: Vec<_> = host
        .guests()
        .unwrap()
        .iter()
        .map(|one| one.name().to_owned())
        .collect();
    assert_eq!(names, ["b", "c"]);
    host.apply(&Wanted::new()).unwrap();
    assert!(host.guests().unwrap().is_empty() && host.exposures().unwrap().is_empty());
    host.remove().unwrap();
}

fn second_plan_is_empty() {
    let mut host = open();
    let wanted = wanted(
        &["a", "b"],
        &[
            "tcp/8080->a:80",
            "udp/203.0.113.1:53->b:53",
            "tcp/127.0.0.1:9000-9009->b:80-89",
        ],
    );
    host.apply(&wanted).unwrap();
    let again = host.plan(&wanted).unwrap();
    assert!(again.is_empty(), "{again}");
    let other = open().plan(&wanted).unwrap();
    assert!(other.is_empty(), "{other}");
    let generation = Nft::open().unwrap().generation().unwrap();
    host.commit(&again).unwrap();
    assert_eq!(Nft::open().unwrap().generation().unwrap(), generation);
    host.remove().unwrap();
}

fn what_is_wanted_twice_is_refused_and_changes_nothing() {
    let mut host = open();
    for (guests, exposures, words) in [
        (&["a", "a"][..], &[][..], "guest \"a\" is wanted twice"),
        (
            &["a"],
            &["tcp/80->a:80", "tcp/80->a:80"],
            "exposure \"tcp/80->a:80\" is wanted twice",
        ),
        (
            &["a", "b"],
            &["tcp/80->a:80", "tcp/79-81->b:79-81"],
            "tcp/79-81->b:79-81 clashes with tcp/80->a:80",
        ),
    ] {
        let error = host.apply(&wanted(guests, exposures)).unwrap_err();
        assert_eq!(error.to_string(), words);
        assert!(host.guests().unwrap().is_empty());
    }
    host.remove().unwrap();
}

fn exposure_of_a_guest_that_is_not_wanted_is_refused() {
    let mut host = open();
    host.apply(&wanted(&["a"], &[])).unwrap();
    for exposure in ["tcp/80->a:80", "tcp/80->198.18.0.2:80"] {
        let error = host.plan(&wanted(&["b"], &[exposure])).unwrap_err();
        assert!(error.to_string().starts_with("no guest named "), "{error}");
    }
    host.remove().unwrap();
}

fn plan_says_from_where_ports_are_reachable() {
    let world = World::new();
    let mut host = world.host();
    let wanted = wanted(&["a"], &["tcp/80->a:80", "tcp/127.0.0.1:81->198.18.0.2:80"]);
    host.apply(&wanted).unwrap();
    let plan = host.plan(&wanted).unwrap();
    let words = "\
tcp/80->a:80: reachable from outside, guests and the host via 203.0.113.1, 203.0.113.2, 2001:db8::1, 2001:db8::2
tcp/127.0.0.1:81->198.18.0.2:80: reachable from the host via 127.0.0.1
";
    assert_eq!(format!("{plan:#}"), words);
    host.remove().unwrap();
}

/// New connections come through at every moment, to the one or the other.
fn exposure_that_is_moved_is_never_absent() {
    let world = World::new();
    let mut host = world.host();
    let to = |guest: &str| wanted(&["a", "b"], &[&format!("tcp/8080->{guest}:80")]);
    host.apply(&to("a")).unwrap();
    let guests = host.guests().unwrap();
    let _vms: Vec<_> = guests.iter().map(|guest| world.start(guest)).collect();
    assert!(ask(&world.outside, Protocol::Tcp, at(NODE[0], 8080), SOON).is_some());
    let end = Instant::now() + Duration::from_secs(1);
    let (answers, moves) = std::thread::scope(|scope| {
        let asker = scope.spawn(|| {
            let mut answers = Vec::new();
            while Instant::now() < end || answers.len() < 12 {
                // One attempt: a port that is closed for a moment refuses.
                let answer = world.outside.run(|| {
                    let to = at(NODE[0], 8080);
                    crate::stand_ins::client::http_get(to, "/", SOON)
                });
                answers.push(answer.unwrap().expect("at every moment it is exposed"));
            }
            answers
        });
        let mut moves = 0;
        while Instant::now() < end || moves < 12 {
            for guest in ["b", "a"] {
                let wanted = to(guest).flows(Flows::Drain);
                assert_eq!(host.apply(&wanted).unwrap().changes().len(), 1);
                moves += 1;
            }
        }
        (asker.join().unwrap(), moves)
    });
    assert!(
        answers.len() > 10 && moves > 10,
        "{} {moves}",
        answers.len()
    );
    host.remove().unwrap();
}

fn flows_of_what_goes_are_cut_or_drained() {
    let world = World::new();
    let mut host = world.host();
    let to = |guest: &str| wanted(&["a", "b"], &[&format!("tcp/8080->{guest}:80")]);
    host.apply(&to("a")).unwrap();
    let guests = host.guests().unwrap();
    let _vms: Vec<_> = guests.iter().map(|guest| world.start(guest)).collect();
    let connect = || {
        assert!(ask(&world.outside, Protocol::Tcp, at(NODE[0], 8080), SOON).is_some());
        let open = || Connection::open(at(NODE[0], 8080), NEVER).unwrap();
        let mut connection = world.outside.run(open).unwrap();
        connection.get("/").unwrap();
        connection
    };
    let mut drained = connect();
    host.apply(&to("b").flows(Flows::Drain)).unwrap();
    drained.get("/").expect("it goes on");
    let mut cut = connect();
    host.apply(&to("a")).unwrap();
    assert!(cut.get("/").is_err(), "it was cut");
    drained
        .get("/")
        .expect("it leads where the port leads again");
    host.apply(&wanted(&["a", "b"], &[])).unwrap();
    assert!(drained.get("/").is_err(), "it was cut");
    host.remove().unwrap();
}

/// It was killed when the exposure was gone and its flows were not yet.
fn flows_that_a_killed_agent_left_are_cut() {
    let world = World::new();
    let mut host = world.host();
    host.apply(&wanted(&["a"], &["tcp/8080->a:80"])).unwrap();
    let guests = host.guests().unwrap();
    let _vm = world.start(&guests[0]);
    assert!(ask(&world.outside, Protocol::Tcp, at(NODE[0], 8080), SOON).is_some());
    let open = || Connection::open(at(NODE[0], 8080), NEVER).unwrap();
    let mut connection = world.outside.run(open).unwrap();
    connection.get("/").unwrap();
    let withdrawn = wanted(&["a"], &[]);
    host.apply(&withdrawn.clone().flows(Flows::Drain)).unwrap();
    connection.get("/").expect("not cut yet");
    drop(host);
    let mut host = world.host();
    let plan = host.apply(&withdrawn).unwrap();
    assert!(plan.is_empty(), "{plan}");
    assert!(connection.get("/").is_err(), "it was cut");
    host.remove().unwrap();
}

fn plan_that_others_overtook_is_stale() {
    let mut host = open();
    let wanted = wanted(&["a"], &["tcp/80->a:80"]);
    let plan = host.plan(&wanted).unwrap();
    open().attach(&Guest::new("other").unwrap()).unwrap();
    let error = host.commit(&plan).unwrap_err();
    assert!(matches!(error, Error::Stale { .. }), "{error}");
    let plan = host.apply(&wanted).unwrap();
    let words = "\
+ guest a on riklet-1 (not attached)
+ tcp/80->a:80 (not exposed)
- guest other on riklet-0 (not wanted)
";
    assert_eq!(plan.to_string(), words);
    host.remove().unwrap();
}

fn guest_that_cannot_be_wired_is_not_attached() {
    use tapwire::sys::TapOptions;
    let mut host = open();
    let plan = host.plan(&wanted(&["a"], &["tcp/80->a:80"])).unwrap();
    // Someone holds the TAP's name, and never gives it the guest's.
    let tap = TapOptions::new("riklet-0".parse().unwrap())
        .create()
        .unwrap();
    let index = tap.index().unwrap();
    let refused = [
        host.commit(&plan).unwrap_err(),
        host.attach(&Guest::new("a").unwrap()).unwrap_err(),
    ];
    for error in refused {
        assert!(
            matches!(&error, Error::Conflict(it) if it.holder().contains("riklet-0")),
            "{error}"
        );
        assert_eq!(host.guests().unwrap(), []);
        assert_eq!(tap.index().unwrap(), index, "it is still there");
    }
    drop(tap);
    host.apply(plan.wanted()).unwrap();
    assert!(host.plan(plan.wanted()).unwrap().is_empty());
    host.remove().unwrap();
}

fn full_map_is_enlarged_in_the_same_transaction() {
    let world = World::new();
    let settings = Settings::new(Owner::new("riklet").unwrap()).exposures(2);
    let mut host = world.node.run(|| Host::with(settings).unwrap()).unwrap();
    host.apply(&wanted(&["a"], &["tcp/80->198.18.0.2:80"]))
        .unwrap();
    let _vm = world.start(&host.guests().unwrap()[0]);
    assert!(ask(&world.outside, Protocol::Tcp, at(NODE[0], 80), SOON).is_some());
    let list: Vec<String> = (80..90)
        .map(|port| format!("tcp/{port}->198.18.0.2:80"))
        .collect();
    let list: Vec<&str> = list.iter().map(String::as_str).collect();
    let more = wanted(&["a"], &list);
    assert_eq!(host.apply(&more).unwrap().changes().len(), 9);
    let exposed = host.exposures().unwrap();
    assert_eq!(exposed.len(), 10);
    assert!(exposed[0].connections() > 0, "the counter was kept");
    assert!(ask(&world.outside, Protocol::Tcp, at(NODE[0], 89), SOON).is_some());
    assert!(host.plan(&more).unwrap().is_empty());
    let mut nft = world.node.run(Nft::open).unwrap().unwrap();
    let table = nft
        .table(Family::INET, &Name::constant("riklet"))
        .unwrap()
        .unwrap();
    let map = nft
        .set(&table, &Name::constant("dnat4_any"))
        .unwrap()
        .unwrap();
    assert_eq!(map.capacity(), Some(16));
    host.remove().unwrap();
}

/// Prints the figures: how they compare is a matter of the build.
fn nothing_to_do_costs_little_more_than_the_lists() {
    let mut host = open();
    let mut wanted = wanted(&["a"], &[]);
    wanted.extend(
        (1..=10_000)
            .map(|port| -> Exposure { format!("tcp/{port}->198.18.0.2:80").parse().unwrap() }),
    );
    let plan = host.apply(&wanted).unwrap();
    assert_eq!(plan.changes().len(), 10_001);
    let mut nft = Nft::open().unwrap();
    let best = |work: &mut dyn FnMut()| {
        (0..5)
            .map(|_| {
                let start = Instant::now();
                work();
                start.elapsed()
            })
            .min()
            .unwrap()
    };
    let lists = best(&mut || {
        for family in [Family::INET, Family::ARP] {
            let table = nft
                .table(family, &Name::constant("riklet"))
                .unwrap()
                .unwrap();
            for set in nft.sets(&table).unwrap() {
                nft.elements(&set).unwrap();
            }
        }
    });
    let plan = best(&mut || assert!(host.plan(&wanted).unwrap().is_empty()));
    eprintln!("10 000 exposures: lists {lists:?}, plan with nothing to do {plan:?}");
    if !cfg!(debug_assertions) {
        assert!(plan < lists * 3, "lists {lists:?}, plan {plan:?}");
    }
    host.remove().unwrap();
}

fn what_was_taken_away_is_planned_and_comes_back() {
    let mut host = open();
    let wanted = wanted(&["a"], &["tcp/80->198.18.0.2:80"]);
    host.apply(&wanted).unwrap();
    let listing = || run("nft", &["list", "ruleset"]);
    let before = listing();
    for (what, words) in [
        (
            "nft flush ruleset",
            "+ tables (missing)\n~ guest a on riklet-0 (lacks what it may do)\n+ tcp/80->198.18.0.2:80 (not exposed)\n",
        ),
        (
            "nft delete table arp riklet",
            "+ tables (missing)\n~ guest a on riklet-0 (lacks what it may do)\n",
        ),
        (
            "nft flush table inet riklet",
            "~ tables (changed by someone)\n",
        ),
        (
            "nft flush chain inet riklet from_guest",
            "~ tables (changed by someone)\n",
        ),
        (
            "nft add rule inet riklet to_guest accept",
            "~ tables (changed by someone)\n",
        ),
        (
            "nft add chain inet riklet mine { type filter hook input priority 0 ; }",
            "~ tables (changed by someone)\n",
        ),
        (
            "nft flush set inet riklet guard6",
            "~ guest a on riklet-0 (lacks what it may do)\n",
        ),
        (
            "nft delete element inet riklet dnat4_any { tcp . 80 }",
            "+ tcp/80->198.18.0.2:80 (not exposed)\n",
        ),
        (
            "ip link del riklet-0",
            "~ guest a on riklet-0 (lacks its TAP)\n",
        ),
        (
            "ip link set riklet-0 down",
            "~ guest a on riklet-0 (lacks a TAP that is up, a gateway, a neighbour)\n",
        ),
        (
            "ip addr flush dev riklet-0",
            "~ guest a on riklet-0 (lacks a gateway, a neighbour)\n",
        ),
        (
            "ip neigh del 198.18.0.2 dev riklet-0",
            "~ guest a on riklet-0 (lacks a neighbour)\n",
        ),
    ] {
        let words_of: Vec<&str> = what.split(' ').collect();
        run(words_of[0], &words_of[1..]);
        let plan = host.plan(&wanted).unwrap();
        assert_eq!(plan.to_string(), words, "{what}");
        host.commit(&plan).unwrap();
        let again = host.plan(&wanted).unwrap();
        assert!(again.is_empty(), "{what}: {again}");
        assert_eq!(listing(), before, "{what}");
    }
    host.remove().unwrap();
}

fn elements_that_belong_to_nothing_go() {
    let mut host = open();
    let wanted = wanted(&["a"], &[]);
    host.apply(&wanted).unwrap();
    run(
        "nft",
        &[
            "add",
            "element",
            "inet",
            "riklet",
            "dnat4_any",
            "{ tcp . 80 : 192.0.2.1 . 80 }",
        ],
    );
    run(
        "nft",
        &[
            "add",
            "element",
            "inet",
            "riklet",
            "self4",
            "{ 192.0.2.1 . 192.0.2.1 }",
        ],
    );
    let plan = host.apply(&wanted).unwrap();
    let words = "\
- element 192.0.2.1 . 192.0.2.1 of self4 (belongs to nothing)
- tcp/80->192.0.2.1:80 (not wanted)
";
    assert_eq!(plan.to_string(), words);
    assert!(host.exposures().unwrap().is_empty());
    host.remove().unwrap();
}
