//! One exposure more with 10 000 present: tapwire, the bare kernel, and what
//! others offer, in turn in one run; and one rule as a message. See
//! `../README.md`.
//!
//! Libraries that know elements add one to a set of 10 000; those that know
//! rules, and the programs, append a rule to a chain of 10 000. What is added
//! is taken away again, which is not measured.

mod elements;
mod encode;
#[path = "../../harness/floor.rs"]
#[allow(dead_code)]
mod floor;
mod ours;
mod programs;
mod rules;

use std::error::Error;
use std::fs::OpenOptions;
use std::io::Write;
use std::time::{Duration, Instant};

use tapwire::sys::{NetNs, enter_user_namespace, has_net_admin};

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

const PRESENT: u16 = 10_000;
const FIRST: u16 = 20_000;
/// What comes and goes.
const PORT: u16 = 9_999;
/// Rounds of each, and with `--quick`.
const ROUNDS: u32 = 500;
const QUICK_ROUNDS: u32 = 100;

/// One exposure more, next to one element more by nlink, is to take at most so
/// many times as long.
const NEXT_TO_NLINK: f64 = 0.75;
/// A forked iptables is to take at least so many times as long.
const FORKED: f64 = 1_000.0;
/// To write a rule is to take at most so many times as long as the best rival
/// takes.
const ENCODING: f64 = 0.2;

/// Someone who adds one more.
struct Rival {
    name: &'static str,
    /// In one round of so many: who takes long is measured less often.
    every: u32,
    run: Box<dyn FnMut() -> Result<Duration>>,
    taken: Vec<Duration>,
}

impl Rival {
    fn new(
        name: &'static str,
        every: u32,
        run: impl FnMut() -> Result<Duration> + 'static,
    ) -> Self {
        Self {
            name,
            every,
            run: Box::new(run),
            taken: Vec::new(),
        }
    }
}

/// What was measured of one of them.
struct Line {
    name: &'static str,
    median: Duration,
    p99: Duration,
    rounds: usize,
}

type Join = fn() -> Result<Vec<Rival>>;

fn main() -> Result<()> {
    if !has_net_admin()? {
        enter_user_namespace()?;
    }
    let quick = std::env::args().any(|argument| argument == "--quick");
    let rounds = if quick { QUICK_ROUNDS } else { ROUNDS };
    let more: [(&str, Join); 10] = [
        ("tapwire", ours::join),
        ("nlink", elements::nlink),
        ("netlink-bindings", elements::netlink_bindings),
        ("rtnetlink", elements::rtnetlink),
        ("nftnl", rules::nftnl),
        ("rustables", rules::rustables),
        ("nft", programs::nft),
        ("nftables", programs::nftables),
        ("iptables-nft", programs::iptables_nft),
        ("iptables-legacy", programs::iptables_legacy),
    ];
    let encoding: [(&str, Join); 5] = [
        ("tapwire", encode::ours),
        ("nlink", encode::nlink),
        ("netlink-bindings", encode::netlink_bindings),
        ("nftnl", encode::nftnl),
        ("rustables", encode::rustables),
    ];
    let more = compare(&more, rounds)?;
    report("rivals", "one more, 10 000 present", &more)?;
    let encoding = compare(&encoding, rounds)?;
    report("encoding", "one DNAT rule as a message", &encoding)?;
    bounds(&more.0, &encoding.0);
    Ok(())
}

/// Measures all in turn. Returns besides who is absent.
fn compare(all: &[(&str, Join)], rounds: u32) -> Result<(Vec<Line>, Vec<String>)> {
    let (mut rivals, mut absent) = (Vec::new(), Vec::new());
    for (name, join) in all {
        match join() {
            Ok(joined) => rivals.extend(joined),
            Err(why) => absent.push(format!("{name}: absent, {why}")),
        }
    }
    for round in 0..rounds {
        for rival in rivals.iter_mut().filter(|it| round % it.every == 0) {
            let taken = (rival.run)().map_err(|why| format!("{}: {why}", rival.name))?;
            rival.taken.push(taken);
        }
    }
    let lines = rivals.into_iter().map(|mut rival| {
        rival.taken.sort_unstable();
        let last = rival.taken.len() - 1;
        Line {
            name: rival.name,
            median: rival.taken[last / 2],
            p99: rival.taken[last * 99 / 100],
            rounds: rival.taken.len(),
        }
    });
    Ok((lines.collect(), absent))
}

fn report(bench: &str, title: &str, (lines, absent): &(Vec<Line>, Vec<String>)) -> Result<()> {
    let ours = lines[0].median.as_secs_f64();
    println!(
        "\n{title:<46} {:>10} {:>10} {:>11} {:>6}",
        "median", "p99", "/ tapwire", "rounds"
    );
    for line in lines {
        println!(
            "{:<46} {:>10.2?} {:>10.2?} {:>11.2} {:>6}",
            line.name,
            line.median,
            line.p99,
            line.median.as_secs_f64() / ours,
            line.rounds
        );
    }
    for line in absent {
        println!("{line}");
    }
    let Some(path) = std::env::var_os("TAPWIRE_BENCH_DATA") else {
        return Ok(());
    };
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    for Line {
        name,
        median,
        p99,
        rounds,
    } in lines
    {
        let (median, p99) = (median.as_nanos(), p99.as_nanos());
        writeln!(file, "{bench}\t{name}\t{median}\t{p99}\t0\t0\t{rounds}")?;
    }
    for line in absent {
        writeln!(file, "# absent\t{line}")?;
    }
    Ok(())
}

/// Says which bounds are missed.
fn bounds(more: &[Line], encoding: &[Line]) {
    let mut missed = Vec::new();
    let mut say = |what: String, ratio: f64, is_met: bool| {
        println!("{what}: {ratio:.2}");
        if !is_met {
            missed.push(format!("{what}: {ratio:.2}"));
        }
    };
    let ours = more[0].median.as_secs_f64();
    for line in more {
        let theirs = line.median.as_secs_f64();
        if line.name.starts_with("nlink") {
            let ratio = ours / theirs;
            say(
                format!("an exposure / {}", line.name),
                ratio,
                ratio <= NEXT_TO_NLINK,
            );
        } else if line.name.starts_with("iptables") {
            let ratio = theirs / ours;
            say(
                format!("{} / an exposure", line.name),
                ratio,
                ratio >= FORKED,
            );
        }
    }
    let rivals = encoding.iter().filter(|it| !it.name.starts_with("tapwire"));
    if let Some(best) = rivals.min_by_key(|line| line.median) {
        let ratio = encoding[0].median.as_secs_f64() / best.median.as_secs_f64();
        say(
            format!("{} / {}", encoding[0].name, best.name),
            ratio,
            ratio <= ENCODING,
        );
    }
    match missed.as_slice() {
        [] => println!("rivals: all bounds are met"),
        missed => println!("rivals: BOUNDS NOT MET: {}", missed.join("; ")),
    }
}

/// A namespace that lasts, and what `work` makes in it.
fn in_new_namespace<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<(NetNs, T)> {
    let netns = NetNs::new()?;
    let made = inside(&netns, work)?;
    Ok((netns, made))
}

fn inside<T: Send>(netns: &NetNs, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    Ok(netns.run(|| work().map_err(|error| error.to_string()))??)
}

fn time<T>(work: impl FnOnce() -> Result<T>) -> Result<Duration> {
    let start = Instant::now();
    work()?;
    Ok(start.elapsed())
}
