//! A progress bar on standard error.
#![expect(clippy::print_stderr, reason = "progress is shown there")]

use std::fmt::Display;
use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

/// So many steps of so many, and what the present one is.
///
/// A terminal shows one line that changes and in the end disappears;
/// elsewhere a line is printed every two seconds.
pub(crate) struct Progress {
    total: usize,
    done: usize,
    printed: Instant,
    terminal: bool,
}

impl Progress {
    /// Nothing done yet.
    pub(crate) fn new(total: usize) -> Self {
        Self {
            total,
            done: 0,
            printed: Instant::now(),
            terminal: stderr().is_terminal(),
        }
    }

    /// Begins the next step.
    pub(crate) fn step(&mut self, what: impl Display) {
        let line = bar(self.done, self.total, &what);
        if self.terminal {
            eprint!("\r{line}\x1b[K");
        } else if self.printed.elapsed() > PATIENCE {
            eprintln!("{line}");
            self.printed = Instant::now();
        }
        self.done = self.done.saturating_add(1);
    }

    /// Takes the line away, that something else may be printed; the next step
    /// brings it back.
    pub(crate) fn hide(&self) {
        if self.terminal {
            eprint!("\r\x1b[K");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.hide();
    }
}

fn bar(done: usize, total: usize, what: &dyn Display) -> String {
    let filled = done
        .saturating_mul(WIDTH)
        .checked_div(total)
        .unwrap_or(WIDTH)
        .min(WIDTH);
    let (hashes, dots) = ("#".repeat(filled), ".".repeat(WIDTH.saturating_sub(filled)));
    format!("[{hashes}{dots}] {done}/{total} {what}")
}

const WIDTH: usize = 24;
const PATIENCE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bar_fills_from_empty_to_full_and_no_further() {
        let dots = ".".repeat(12);
        assert_eq!(
            bar(5, 10, &"half"),
            format!("[############{dots}] 5/10 half")
        );
        for (done, total) in [(0, 0), (3, 3), (9, 3)] {
            assert!(bar(done, total, &"").starts_with("[########################]"));
        }
        assert!(bar(0, 3, &"").starts_with("[........................]"));
    }
}
