//! How fast nf_tables messages are written and read, next to
//! `netlink-packet-netfilter` in the same run; no kernel takes part.
//!
//! Both write the same bytes, which is checked first. The table at the end
//! compares medians, measured in turn, in CPU time of this thread.
#![expect(
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    reason = "a bench prints what it measures"
)]

mod ours;
mod theirs;

use std::fs::OpenOptions;
use std::hint::black_box;
use std::io::{self, Write};
use std::time::Duration;

use criterion::{BatchSize, Criterion};
use rustix::time::{ClockId, clock_gettime};
use tapwire::nft::{Batch, Content};
use tapwire::wire::Messages;

/// Writing is to be so many times as fast as theirs.
const FASTER: f64 = 10.0;
/// Reading [`MANY`] elements is to take less.
const READ_BOUND: Duration = Duration::from_millis(5);
/// Each element of [`MANY`] is to take at most so many times as long as one of
/// [`FEW`] that are read one message after the other, and each of [`MOST`] as
/// one of [`MANY`] if all are kept. What is kept of [`FEW`] lies in memory that
/// the allocator has had before; more than that is fresh, which costs a fault
/// each 4 KiB, so that only what exceeds it can be compared.
const LINEAR_BOUND: f64 = 1.5;

const FEW: u16 = 1_000;
const MANY: u16 = 10_000;
const MOST: u16 = 40_000;
const RULES: u16 = 1_000;

/// Written at once, so that the clock's own time does not count.
const AT_ONCE: usize = 200;
const ROUNDS: usize = 101;

fn main() {
    let mut sides = Sides::new();
    let mut criterion = Criterion::default().configure_from_args();
    sides.measure(&mut criterion);
    criterion.final_summary();
    let arguments: Vec<String> = std::env::args().collect();
    let given = |flag: &str| arguments.iter().any(|argument| argument == flag);
    // `cargo test --benches` only wants to know that it works.
    if given("--bench")
        && !["--test", "--list", "--profile-time"]
            .into_iter()
            .any(given)
    {
        sides.compare();
    }
}

/// What both write, and what is read.
struct Sides {
    rule: tapwire::nft::Rule,
    map: tapwire::nft::Set,
    elements: Vec<tapwire::nft::Element>,
    batch: Batch,
    their_rule: theirs::Message,
    their_elements: theirs::Message,
    buffer: Vec<u8>,
    few: Vec<u8>,
    many: Vec<u8>,
    most: Vec<u8>,
    rules: Vec<u8>,
}

impl Sides {
    fn new() -> Self {
        let map = ours::map();
        let elements = ours::elements(0..100);
        let mut sides = Self {
            rule: ours::rule(8080),
            their_rule: theirs::rule(8080),
            their_elements: theirs::elements(&elements),
            few: ours::dump_of_elements(&map, FEW),
            many: ours::dump_of_elements(&map, MANY),
            most: ours::dump_of_elements(&map, MOST),
            rules: ours::dump_of_rules(RULES),
            batch: Batch::new(),
            buffer: Vec::new(),
            map,
            elements,
        };
        sides.check();
        sides
    }

    /// Both sides must write the same, and all must be read.
    fn check(&mut self) {
        self.write_rule();
        let ours = self.batch.messages().expect("a rule")[1].body().to_vec();
        self.write_their_rule();
        assert_eq!(self.buffer[16..], ours, "the rules differ");
        self.write_elements();
        let ours = self.batch.messages().expect("elements")[1].body().to_vec();
        self.write_their_elements();
        assert_eq!(self.buffer[16..], ours, "the elements differ");
        assert_eq!(read(&self.few), usize::from(FEW));
        assert_eq!(read(&self.many), usize::from(MANY));
        assert_eq!(read(&self.most), usize::from(MOST));
        assert_eq!(read(&self.rules), usize::from(RULES));
        assert!(theirs::read(&self.many) > 0, "they read nothing");
    }

    fn write_rule(&mut self) {
        self.batch.clear();
        self.batch.add(black_box(&self.rule));
    }

    fn write_their_rule(&mut self) {
        theirs::write(black_box(&mut self.their_rule), &mut self.buffer);
    }

    fn write_elements(&mut self) {
        self.batch.clear();
        self.batch
            .add_elements(&self.map, black_box(&self.elements));
    }

    fn write_their_elements(&mut self) {
        theirs::write(black_box(&mut self.their_elements), &mut self.buffer);
    }

    fn measure(&mut self, criterion: &mut Criterion) {
        let mut group = criterion.benchmark_group("encode");
        group
            .sample_size(20)
            .warm_up_time(Duration::from_millis(300))
            .measurement_time(Duration::from_millis(700));
        group.bench_function("rule/tapwire", |bencher| bencher.iter(|| self.write_rule()));
        group.bench_function("rule/netlink-packet-netfilter", |bencher| {
            bencher.iter(|| self.write_their_rule());
        });
        group.bench_function("100 elements/tapwire", |bencher| {
            bencher.iter(|| self.write_elements());
        });
        group.bench_function("100 elements/netlink-packet-netfilter", |bencher| {
            bencher.iter(|| self.write_their_elements());
        });
        group.finish();
        let mut group = criterion.benchmark_group("decode");
        group
            .sample_size(20)
            .warm_up_time(Duration::from_millis(300))
            .measurement_time(Duration::from_secs(1));
        for (name, bytes) in [
            ("1000 elements", &self.few),
            ("10000 elements", &self.many),
            ("1000 rules", &self.rules),
        ] {
            group.bench_function(name, |bencher| {
                // What was read is dropped outside of the measurement.
                bencher.iter_batched_ref(
                    Vec::new,
                    |contents| read_into(black_box(bytes), contents),
                    BatchSize::PerIteration,
                );
            });
        }
        group.finish();
    }

    /// Measures all in turn and prints how they compare.
    fn compare(&mut self) {
        let mut taken: [Vec<Duration>; 12] = Default::default();
        for _ in 0..ROUNDS {
            let times = [
                self.each(|sides| {
                    sides.batch.add(black_box(&sides.rule));
                }),
                self.each(Self::write_their_rule),
                self.each(|sides| {
                    sides.batch.add(&ours::rule(black_box(8080)));
                }),
                self.each(|sides| {
                    theirs::write(&mut theirs::rule(black_box(8080)), &mut sides.buffer);
                }),
                self.each(Self::write_elements),
                self.each(Self::write_their_elements),
                time(|| read(&self.few)),
                time(|| read(&self.many)),
                time(|| read(&self.most)),
                time(|| read(&self.rules)),
                time(|| stream(&self.few)),
                time(|| stream(&self.many)),
            ];
            for (taken, time) in taken.iter_mut().zip(times) {
                taken.push(time);
            }
        }
        report(taken.each_mut().map(|taken| median(taken)));
    }

    /// The time of one of several runs.
    fn each(&mut self, work: impl Fn(&mut Self)) -> Duration {
        self.batch.clear();
        let all = time(|| {
            for _ in 0..AT_ONCE {
                work(self);
            }
        });
        all / u32::try_from(AT_ONCE).expect("a small number")
    }
}

fn report(times: [Duration; 12]) {
    let [
        rule,
        their_rule,
        made,
        their_made,
        elements,
        their_elements,
        few,
        many,
        most,
        rules,
        few_passing,
        many_passing,
    ] = times;
    println!(
        "\n{:<34} {:>12} {:>26} {:>7}",
        "median of CPU time", "tapwire", "netlink-packet-netfilter", "ratio"
    );
    let mut missed = Vec::new();
    let mut lines = Vec::new();
    for (what, ours, theirs, bound) in [
        ("write a DNAT rule", rule, their_rule, FASTER),
        ("make and write it", made, their_made, 0.0),
        (
            "write a map element",
            elements / 100,
            their_elements / 100,
            FASTER,
        ),
    ] {
        let ratio = theirs.as_secs_f64() / ours.as_secs_f64();
        println!("{what:<34} {ours:>12.2?} {theirs:>26.2?} {ratio:>7.1}");
        lines.push((what.to_owned(), ours, theirs));
        if ratio < bound {
            missed.push(format!("{what}: only {ratio:.1} times as fast"));
        }
    }
    let each = |(many, of): (Duration, u16), (few, among): (Duration, u16)| {
        many.as_secs_f64() / few.as_secs_f64() / (f64::from(of) / f64::from(among))
    };
    let grown = each((many_passing, MANY), (few_passing, FEW));
    let kept = each((most, MOST), (many, MANY));
    for (what, time) in [
        (format!("read and keep {FEW} elements"), few),
        (format!("read and keep {MANY} elements"), many),
        (format!("read and keep {MOST} elements"), most),
        (format!("read {FEW} elements"), few_passing),
        (format!("read {MANY} elements"), many_passing),
        (format!("read and keep {RULES} rules"), rules),
    ] {
        println!("{what:<34} {time:>12.2?}");
        lines.push((what, time, Duration::ZERO));
    }
    store(&lines).expect("a file for the data");
    println!("each of {MANY} elements / each of {FEW}: {grown:.2}");
    println!("each of {MOST} elements kept / each of {MANY}: {kept:.2}");
    if many > READ_BOUND {
        missed.push(format!("{MANY} elements in {many:.2?}"));
    }
    for (what, ratio) in [("reading", grown), ("keeping", kept)] {
        if ratio > LINEAR_BOUND {
            missed.push(format!("{what} is not linear: {ratio:.2}"));
        }
    }
    println!(
        "bounds: writing {FASTER} times as fast, {MANY} elements read in {READ_BOUND:?}, \
         each of more at most {LINEAR_BOUND} times as long"
    );
    match missed.as_slice() {
        [] => println!("all bounds are met"),
        missed => println!("BOUNDS NOT MET: {}", missed.join("; ")),
    }
}

/// Appends the data to the file that `TAPWIRE_BENCH_DATA` names.
fn store(lines: &[(String, Duration, Duration)]) -> io::Result<()> {
    let Some(path) = std::env::var_os("TAPWIRE_BENCH_DATA") else {
        return Ok(());
    };
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    for (what, ours, theirs) in lines {
        let (ours, theirs) = (ours.as_nanos(), theirs.as_nanos());
        writeln!(file, "codec\t{what}\t{ours}\t0\t{theirs}\t0\t{ROUNDS}")?;
    }
    Ok(())
}

/// Reads a list and frees it; returns how many things were in it.
fn read(bytes: &[u8]) -> usize {
    let mut contents = Vec::new();
    read_into(black_box(bytes), &mut contents);
    let count = contents.iter().map(|content| match content {
        Content::Elements(list) => list.elements.len(),
        _ => 1,
    });
    count.sum()
}

/// Reads a list and frees each message before the next.
fn stream(bytes: &[u8]) -> usize {
    let contents = Messages::new(black_box(bytes)).map(|message| {
        let content = Content::decode(&message.expect("a message"));
        usize::from(black_box(content).is_ok())
    });
    contents.sum()
}

fn read_into(bytes: &[u8], contents: &mut Vec<Content>) {
    contents.extend(Messages::new(bytes).map(|message| {
        let message = message.expect("a message");
        Content::decode(&message).expect("what was written")
    }));
}

/// CPU time of this thread.
fn time<T>(work: impl FnOnce() -> T) -> Duration {
    let start = clock_gettime(ClockId::ThreadCPUTime);
    let result = work();
    let end = clock_gettime(ClockId::ThreadCPUTime);
    drop(black_box(result));
    let start = Duration::try_from(start).expect("a time");
    Duration::try_from(end)
        .expect("a time")
        .saturating_sub(start)
}

fn median(taken: &mut [Duration]) -> Duration {
    taken.sort_unstable();
    taken[taken.len() / 2]
}
