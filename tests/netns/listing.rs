//! What is in force is listed as it was asked for, whoever else writes.

use std::net::IpAddr;
use std::sync::Barrier;
use std::thread;

use libtest_mimic::Trial;
use tapwire::nft::{Family, Name, Nft};
use tapwire::{Exposed, Exposure, Flows, Host};

use crate::snapshot::Snapshot;
use crate::support::{feed, run, trials};
use crate::world::{NODE, SOON, World, ask, at};

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = trials![
        everything_comes_at_once_and_is_listed_as_it_was_asked_for,
        of_two_handles_that_race_one_wins_and_the_other_is_told,
        what_another_handle_did_is_found,
    ];
    trials.extend(trials![needs ["nft"]:
        full_featured_table_is_readable_and_loads_again_unchanged,
        foreign_elements_are_passed_over,
    ]);
    trials.extend(trials![needs ["nft", "ip"]: nothing_is_left_of_anything]);
    trials
}

/// One of each kind, and some that are hard to tell apart; in their order.
pub(crate) const ALL: [&str; 22] = [
    "tcp/80->one:80",
    "tcp/81->one:80 by source label single",
    "tcp/443->one:8443,two:8443,three:8443 label the shop: port https, 1-2",
    "tcp/444->two:1,one:1 by source from 0.0.0.0/0,::/0 limit 1",
    "tcp/1000-1009->one:2000-2009 limit 7",
    "tcp/1010-1019->one:2010-2019 limit 7",
    "tcp/2000-2001->three:2000-2001 from 10.0.0.0/8,192.0.2.1/32,2001:db8::/32 label a",
    "tcp/2002-2003->three:2002-2003 from 10.0.0.0/8,192.0.2.1/32,2001:db8::/32 label a",
    "tcp/20000-29999->one:20000-29999 label media",
    "tcp/40000-40200->two:40001-40201",
    "tcp/50000-51999->two:50000-51999 from 10.0.0.0/8",
    "tcp/127.0.0.1:80->two:80",
    "tcp/127.0.0.1,[2001:db8::1]:90->two:80 limit 3",
    "tcp/203.0.113.1:80->three:80 from 198.51.100.0/24",
    "tcp/203.0.113.1,203.0.113.2:91->one:80",
    "tcp/203.0.113.3,203.0.113.4:91->one:80",
    "tcp/[2001:db8::1]:80->three:80,two:80",
    "udp/53->three:53 label DNS",
    "udp/20000-29999->two:20000-29999",
    "udp/[2001:db8::1]:20000-29999->one:20000-29999 label ü",
    "sctp/36412->one:36412",
    "sctp/203.0.113.1:36412->two:36412 limit 5 label s1",
];

pub(crate) fn all() -> Vec<Exposure> {
    ALL.iter().map(|text| text.parse().unwrap()).collect()
}

pub(crate) fn host() -> Host {
    let mut host = Host::open(tapwire::Owner::new("riklet").unwrap()).unwrap();
    for name in ["one", "two", "three"] {
        host.attach(&tapwire::Guest::new(name).unwrap()).unwrap();
    }
    host
}

fn assert_lists(host: &mut Host, wanted: &[Exposure]) {
    let mut wanted: Vec<_> = wanted.iter().collect();
    wanted.sort();
    let listed = host.exposures().unwrap();
    let listed: Vec<_> = listed.iter().map(Exposed::exposure).collect();
    assert_eq!(listed, wanted);
}

fn generation() -> u32 {
    Nft::open().unwrap().generation().unwrap()
}

fn everything_comes_at_once_and_is_listed_as_it_was_asked_for() {
    let mut host = host();
    let mut all = all();
    let [one, two] = [&host.guests().unwrap()[0], &host.guests().unwrap()[1]].map(Clone::clone);
    for text in [
        format!("tcp/8080->{}:80,{}:81 by source", one.ipv4(), two.ipv4()),
        format!("tcp/8080->[{}]:80,[{}]:81", two.ipv6(), one.ipv6()),
        format!("udp/8080->{}:80 label x", one.ipv4()),
        format!("udp/60000-62000->[{}]:60000-62000", one.ipv6()),
    ] {
        all.push(text.parse().unwrap());
    }
    let before = generation();
    host.expose_all(&all).unwrap();
    assert_eq!(generation(), before + 1, "one change");
    assert_lists(&mut host, &all);
    host.expose_all(&all).unwrap();
    let mut other = Host::open(tapwire::Owner::new("riklet").unwrap()).unwrap();
    for exposure in &all {
        other.expose(exposure).unwrap();
    }
    assert_eq!(generation(), before + 1, "all was in force");
    // One after the other they go, and leave the rest as it is.
    while let Some(exposure) = all.pop() {
        let before = generation();
        host.withdraw(&exposure, Flows::Drain).unwrap();
        assert_eq!(generation(), before + 1, "{exposure}");
        assert_lists(&mut host, &all);
    }
}

fn full_featured_table_is_readable_and_loads_again_unchanged() {
    let mut host = host();
    let all = all();
    host.expose_all(&all).unwrap();
    let listing = run("nft", &["list", "ruleset"]);
    run("nft", &["flush", "ruleset"]);
    feed("nft", &["-f", "-"], &listing);
    assert_eq!(sorted(&run("nft", &["list", "ruleset"])), sorted(&listing));
    assert_lists(&mut host, &all);
    for exposure in &all {
        host.withdraw(exposure, Flows::Cut).unwrap();
    }
    assert_lists(&mut host, &[]);
}

/// A listing without the order of elements, which hash sets change.
fn sorted(listing: &str) -> Vec<String> {
    let mut words: Vec<_> = listing
        .split([',', '\n', '{', '}'])
        .map(|word| word.trim().to_owned())
        .collect();
    words.sort();
    words
}

fn foreign_elements_are_passed_over() {
    let mut host = host();
    let all = all();
    host.expose_all(&all).unwrap();
    let add = "
        add element inet riklet dnat4_any { 99 . 80 : 192.0.2.1 . 80 }
        add element inet riklet dnat4_any { tcp . 0 : 192.0.2.1 . 80 }
        add element inet riklet dnat6 { ::1 . tcp . 1 comment \"one\" : fd00::1 . 80 }
        add element inet riklet dnat6_any { tcp . 2 : :: . 0 }
        add element inet riklet special4_any { udp . 53, tcp . 7, 9 . 9 }
        add element inet riklet restricted4_any { tcp . 7, tcp . 80 }
        add element inet riklet allow4_any { tcp . 7-9 . 10.0.0.1-10.0.0.9, 99 . 1 . 10.0.0.0/8 }
        add element inet riklet limits4_any { tcp . 7 : drop, tcp . 8 : accept }
        add element inet riklet turns4_any { tcp . 7 . 3 : 192.0.2.1 . 80, tcp . 443 . 99 : 192.0.2.1 . 1 }
        add element inet riklet sources4_any { 99 . 7 . 3 : 192.0.2.1 . 80 }
        add element inet riklet ranges4_any { tcp . 0-5 : 192.0.2.1, 99 . 1-2 : 192.0.2.1 }
    ";
    for line in add.lines().map(str::trim) {
        feed("nft", &["-f", "-"], line);
    }
    assert_lists(&mut host, &all);
    for exposure in &all {
        host.expose(exposure).unwrap();
        host.withdraw(exposure, Flows::Drain).unwrap();
    }
    assert_lists(&mut host, &[]);
    // A claim of someone else's is a claim.
    feed(
        "nft",
        &["-f", "-"],
        "add element inet riklet dnat4_any { tcp . 3 comment \"not, ours\" : 192.0.2.1 . 80 }",
    );
    let error = host.expose(&"tcp/3->one:80".parse().unwrap()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "tcp/3->one:80 clashes with tcp/3->192.0.2.1:80 of guest unknown"
    );
}

fn nothing_is_left_of_anything() {
    let before = Snapshot::take();
    let mut host = host();
    let attached = Snapshot::take();
    let mut all = all();
    all.retain(|exposure| !exposure.host_addresses().iter().any(IpAddr::is_loopback));
    host.expose_all(&all).unwrap();
    for exposure in &all {
        host.withdraw(exposure, Flows::Cut).unwrap();
    }
    attached.assert_same(&Snapshot::take(), "all was withdrawn");
    host.expose_all(&all).unwrap();
    host.remove().unwrap();
    before.assert_same(&Snapshot::take(), "all was removed");
}

fn of_two_handles_that_race_one_wins_and_the_other_is_told() {
    let world = World::new();
    let mut handles = [world.host(), world.host()];
    for name in ["one", "two"] {
        handles[0]
            .attach(&tapwire::Guest::new(name).unwrap())
            .unwrap();
    }
    let pairs = [
        ["tcp/80->one:80", "tcp/80->two:80 label b"],
        ["tcp/80->one:80 label a", "tcp/80->one:80,two:80"],
        ["tcp/79-81->one:79-81", "tcp/80->two:80 limit 3 label b"],
        [
            "udp/20000-29999->one:20000-29999",
            "udp/25000-35000->two:25000-35000",
        ],
        [
            "tcp/80->one:80 from 10.0.0.0/8",
            "tcp/80->two:80 from 11.0.0.0/8",
        ],
        [
            "tcp/203.0.113.1:80->one:80",
            "tcp/203.0.113.1,[2001:db8::1]:80->one:80",
        ],
    ];
    for round in 0..60 {
        let pair = pairs[round % pairs.len()].map(|text| text.parse::<Exposure>().unwrap());
        let start = &Barrier::new(2);
        let results: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = handles
                .iter_mut()
                .zip(&pair)
                .map(|(host, exposure)| {
                    scope.spawn(move || {
                        start.wait();
                        host.expose(exposure)
                    })
                })
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect()
        });
        let winner = results.iter().position(Result::is_ok);
        let winner = winner.unwrap_or_else(|| panic!("nobody won: {results:?}"));
        let (won, lost) = (&pair[winner], &pair[1 - winner]);
        let error = results[1 - winner].as_ref().expect_err("both won");
        let words = format!("{lost} clashes with {won} of guest ");
        assert!(error.to_string().starts_with(&words), "{error}");
        assert_lists(&mut handles[round % 2], std::slice::from_ref(won));
        handles[(round / 2) % 2]
            .withdraw(won, Flows::Drain)
            .unwrap();
        assert_lists(&mut handles[round % 2], &[]);
    }
}

fn what_another_handle_did_is_found() {
    let world = World::new();
    let (mut first, mut second) = (world.host(), world.host());
    let (_, _one) = world.boot(&mut first, "one");
    let (_, _two) = world.boot(&mut second, "two");
    let plain: Exposure = "tcp/80->one:80".parse().unwrap();
    let closed: Exposure = "tcp/80->one:80 from 192.0.2.0/24".parse().unwrap();
    first.expose(&plain).unwrap();
    second.expose(&closed).unwrap();
    // What the first remembers is still as it was.
    first.expose(&plain).unwrap();
    assert_lists(&mut second, std::slice::from_ref(&plain));
    assert!(
        ask(
            &world.outside,
            tapwire::Protocol::Tcp,
            at(NODE[0], 80),
            SOON
        )
        .is_some()
    );
    second.withdraw(&closed, Flows::Cut).unwrap();
    let moved: Exposure = "tcp/80->two:80".parse().unwrap();
    second.expose(&moved).unwrap();
    let error = first.expose(&plain).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("{plain} clashes with {moved} of guest two")
    );
    second.withdraw(&moved, Flows::Cut).unwrap();
    first.expose(&plain).unwrap();
    let name = Name::constant("riklet");
    let table = world
        .node
        .run(|| Nft::open().unwrap().snapshot(Family::INET, &name).unwrap());
    let table = table.unwrap().unwrap();
    let elements = |wanted: &str| {
        let mut sets = table.sets();
        sets.find(|(set, _)| set.name().as_str() == wanted)
            .unwrap()
            .1
            .len()
    };
    assert_eq!((elements("special4_any"), elements("allow4_any")), (0, 0));
}
