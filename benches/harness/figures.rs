//! Rounds, what they took, and the table of it.

use std::fs::OpenOptions;
use std::io::Write;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion};

use super::{Mode, Result};

/// Something that is measured together with its floor.
pub(crate) trait Case {
    /// What one round measures, in words.
    fn figures(&self) -> Vec<Figure>;

    /// Measures all figures once: ours, and the floor.
    fn round(&mut self) -> Result<Vec<[Duration; 2]>>;
}

/// One line of the table.
#[derive(Debug, Clone)]
pub(crate) struct Figure {
    pub(crate) name: String,
    /// What the ratio is to be at most.
    pub(crate) ratio_bound: Option<f64>,
    /// What it is to take at most.
    pub(crate) median_bound: Option<Duration>,
    /// What the 99th of 100 is to take at most.
    pub(crate) p99_bound: Option<Duration>,
    ours: Vec<Duration>,
    floor: Vec<Duration>,
}

impl Figure {
    pub(crate) fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            ratio_bound: None,
            median_bound: None,
            p99_bound: None,
            ours: Vec::new(),
            floor: Vec::new(),
        }
    }

    pub(crate) fn ratio(mut self, bound: f64) -> Self {
        self.ratio_bound = Some(bound);
        self
    }

    pub(crate) fn median(mut self, bound: Duration) -> Self {
        self.median_bound = Some(bound);
        self
    }

    pub(crate) fn p99(mut self, bound: Duration) -> Self {
        self.p99_bound = Some(bound);
        self
    }

    pub(crate) fn take(&mut self, [ours, floor]: [Duration; 2]) {
        self.ours.push(ours);
        self.floor.push(floor);
    }
}

/// What was measured of a figure.
#[derive(Debug, Clone)]
pub(crate) struct Measured {
    pub(crate) name: String,
    pub(crate) rounds: usize,
    pub(crate) ours: Duration,
    pub(crate) ours_p99: Duration,
    pub(crate) floor: Duration,
    pub(crate) floor_p99: Duration,
    /// Of a round, in the middle: rounds differ by more than what is in one.
    pub(crate) ratio: f64,
    missed: Vec<String>,
}

impl Measured {
    fn of(mut figure: Figure) -> Self {
        let mut ratios: Vec<f64> = figure
            .ours
            .iter()
            .zip(&figure.floor)
            .map(|(ours, floor)| ours.as_secs_f64() / floor.as_secs_f64())
            .collect();
        ratios.sort_unstable_by(f64::total_cmp);
        let ratio = quantile(&ratios, 50);
        figure.ours.sort_unstable();
        figure.floor.sort_unstable();
        let (ours, floor) = (quantile(&figure.ours, 50), quantile(&figure.floor, 50));
        let ours_p99 = quantile(&figure.ours, 99);
        let mut missed = Vec::new();
        if let Some(bound) = figure.ratio_bound.filter(|bound| ratio > *bound) {
            missed.push(format!("{}: {ratio:.2} > {bound}", figure.name));
        }
        if let Some(bound) = figure.median_bound.filter(|bound| ours > *bound) {
            missed.push(format!("{}: {ours:.1?} > {bound:?}", figure.name));
        }
        if let Some(bound) = figure.p99_bound.filter(|bound| ours_p99 > *bound) {
            missed.push(format!("{}: p99 {ours_p99:.1?} > {bound:?}", figure.name));
        }
        Self {
            rounds: figure.ours.len(),
            ours,
            ours_p99,
            floor,
            floor_p99: quantile(&figure.floor, 99),
            ratio,
            missed,
            name: figure.name,
        }
    }
}

/// So many of a hundred took less.
fn quantile<T: Copy + Default>(sorted: &[T], hundredth: usize) -> T {
    let last = sorted.len().saturating_sub(1);
    sorted
        .get(last * hundredth / 100)
        .copied()
        .unwrap_or_default()
}

/// What each of these took.
pub(crate) fn mean(times: &[Duration]) -> Duration {
    let count = u32::try_from(times.len()).unwrap_or(u32::MAX);
    times.iter().sum::<Duration>() / count.max(1)
}

/// Measures all cases in turn, round by round, after one round that warms up.
pub(crate) fn compare(cases: &mut [Box<dyn Case>], rounds: usize) -> Result<Vec<Measured>> {
    let mut taken: Vec<Vec<Figure>> = cases.iter().map(|case| case.figures()).collect();
    for case in cases.iter_mut() {
        case.round()?;
    }
    for _ in 0..rounds {
        for (case, figures) in cases.iter_mut().zip(&mut taken) {
            for (figure, took) in figures.iter_mut().zip(case.round()?) {
                figure.take(took);
            }
        }
    }
    Ok(taken.into_iter().flatten().map(Measured::of).collect())
}

/// Has criterion measure both sides of each figure; it, too, sees them in
/// turn.
pub(crate) fn criterion(criterion: &mut Criterion, group: &str, cases: &mut [Box<dyn Case>]) {
    let mut group = criterion.benchmark_group(group);
    group
        .sample_size(10)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(500));
    for case in cases {
        for (place, figure) in case.figures().into_iter().enumerate() {
            for (side, what) in ["tapwire", "floor"].into_iter().enumerate() {
                group.bench_function(BenchmarkId::new(&figure.name, what), |bencher| {
                    bencher.iter_custom(|iterations| {
                        let mut sum = Duration::ZERO;
                        for _ in 0..iterations {
                            sum += case.round().expect("a round")[place][side];
                        }
                        sum
                    });
                });
            }
        }
    }
    group.finish();
}

/// Measures as the mode wants: by criterion, and for the table.
pub(crate) fn run(
    criterion_: &mut Criterion,
    mode: Mode,
    group: &str,
    mut cases: Vec<Box<dyn Case>>,
    rounds: usize,
) -> Result<Vec<Measured>> {
    // What takes seconds is not left to criterion, which asks for ten of it.
    if mode != Mode::Quick && rounds >= CRITERIONS {
        criterion(criterion_, group, &mut cases);
    }
    match mode {
        Mode::Test => Ok(Vec::new()),
        _ => compare(&mut cases, mode.rounds(rounds)),
    }
}

/// Prints a table, appends the data to the file that `TAPWIRE_BENCH_DATA`
/// names, and says which bounds were missed.
pub(crate) fn report(bench: &str, all: &[Measured], more: &[String]) -> Result<()> {
    println!(
        "\n{:<44} {:>10} {:>10} {:>10} {:>10} {:>6} {:>6}",
        bench, "tapwire", "p99", "floor", "p99", "ratio", "rounds"
    );
    for line in all {
        println!(
            "{:<44} {:>10.2?} {:>10.1?} {:>10.2?} {:>10.1?} {:>6.2} {:>6}",
            line.name,
            line.ours,
            line.ours_p99,
            line.floor,
            line.floor_p99,
            line.ratio,
            line.rounds
        );
    }
    let missed: Vec<&str> = all
        .iter()
        .flat_map(|line| &line.missed)
        .chain(more)
        .map(String::as_str)
        .collect();
    match missed.as_slice() {
        [] => println!("{bench}: all bounds are met"),
        missed => println!("{bench}: BOUNDS NOT MET: {}", missed.join("; ")),
    }
    store(bench, all)
}

fn store(bench: &str, all: &[Measured]) -> Result<()> {
    let Some(path) = std::env::var_os("TAPWIRE_BENCH_DATA") else {
        return Ok(());
    };
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    for line in all {
        let nanos = [line.ours, line.ours_p99, line.floor, line.floor_p99].map(|it| it.as_nanos());
        let [ours, ours_p99, floor, floor_p99] = nanos;
        writeln!(
            file,
            "{bench}\t{}\t{ours}\t{ours_p99}\t{floor}\t{floor_p99}\t{}\t{:.0}",
            line.name,
            line.rounds,
            line.ratio * 1_000.0
        )?;
    }
    Ok(())
}

/// So many rounds at least has what criterion runs as well.
const CRITERIONS: usize = 10;
