//! How long things took.

use std::fmt;
use std::time::{Duration, Instant};

use crate::support::table::Table;

/// What was measured, one line for each kind.
pub(crate) struct Times(Table);

impl Times {
    pub(crate) fn new() -> Self {
        let headers = [
            "connected",
            "what",
            "clones",
            "median",
            "90 %",
            "99 %",
            "longest",
            "all, in ms",
        ];
        let table = Table::new(&headers).indent(2);
        Self((2..headers.len()).fold(table, Table::right))
    }

    /// Adds what each of some works took, and of how many clones each was.
    pub(crate) fn add(&mut self, connected: &str, what: &str, mut works: Vec<(Duration, usize)>) {
        let clones: usize = works.iter().map(|(_, clones)| clones).sum();
        let all: Duration = works.iter().map(|(took, _)| *took).sum();
        let each = |&(took, clones): &(Duration, usize)| {
            took.checked_div(u32::try_from(clones).unwrap_or(u32::MAX))
                .unwrap_or(took)
        };
        works.sort_by_key(each);
        let rank = |percent: usize| {
            let last = works.len().saturating_sub(1);
            let place = last.saturating_mul(percent).div_ceil(100);
            works.get(place).map_or(Duration::ZERO, each)
        };
        let [median, ninety, most, longest] = [50, 90, 99, 100].map(|it| micros(rank(it)));
        let all = format!("{:.1}", all.as_secs_f64() * 1e3);
        self.0.row([
            &connected, &what, &clones, &median, &ninety, &most, &longest, &all,
        ]);
    }
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Does something, and says how long it took.
pub(crate) fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let result = work();
    (result, start.elapsed())
}

fn micros(duration: Duration) -> String {
    let micros = duration.as_secs_f64() * 1e6;
    if micros < 10.0 {
        format!("{micros:.1}")
    } else {
        format!("{micros:.0}")
    }
}
