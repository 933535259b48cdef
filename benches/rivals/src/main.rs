//! One exposure more with 10 000 present: tapwire, the bare kernel, and what
//! others offer, in turn in one run. See `../README.md`.
//!
//! Libraries that know elements add one to a set of 10 000; those that know
//! rules, and the programs, append a rule to a chain of 10 000. What is added
//! is taken away again, which is not measured.

mod elements;
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
const ROUNDS: u32 = 500;

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

fn main() -> Result<()> {
    if !has_net_admin()? {
        enter_user_namespace()?;
    }
    let mut rivals = Vec::new();
    let mut absent = Vec::new();
    type Join = fn() -> Result<Vec<Rival>>;
    let all: [(&str, Join); 10] = [
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
    for (name, join) in all {
        match join() {
            Ok(joined) => rivals.extend(joined),
            Err(why) => absent.push(format!("{name}: absent, {why}")),
        }
    }
    for round in 0..ROUNDS {
        for rival in rivals.iter_mut().filter(|rival| round % rival.every == 0) {
            let taken = (rival.run)().map_err(|why| format!("{}: {why}", rival.name))?;
            rival.taken.push(taken);
        }
    }
    report(&mut rivals, &absent)
}

fn report(rivals: &mut [Rival], absent: &[String]) -> Result<()> {
    let medians: Vec<Duration> = rivals
        .iter_mut()
        .map(|rival| {
            rival.taken.sort_unstable();
            rival.taken[rival.taken.len() / 2]
        })
        .collect();
    let ours = medians[0].as_secs_f64();
    println!(
        "{:<46} {:>10} {:>11} {:>6}",
        "one more, 10 000 present", "median", "/ tapwire", "rounds"
    );
    for (rival, median) in rivals.iter().zip(&medians) {
        let ratio = median.as_secs_f64() / ours;
        println!(
            "{:<46} {median:>10.2?} {ratio:>11.2} {:>6}",
            rival.name,
            rival.taken.len()
        );
    }
    for line in absent {
        println!("{line}");
    }
    let Some(path) = std::env::var_os("TAPWIRE_BENCH_DATA") else {
        return Ok(());
    };
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    for (rival, median) in rivals.iter().zip(&medians) {
        let p99 = rival.taken[(rival.taken.len() - 1) * 99 / 100];
        writeln!(
            file,
            "rivals\t{}\t{}\t{}\t0\t0\t{}",
            rival.name,
            median.as_nanos(),
            p99.as_nanos(),
            rival.taken.len()
        )?;
    }
    Ok(())
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
