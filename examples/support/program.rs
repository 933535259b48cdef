//! What programs for people at a terminal have in common.

use std::error::Error;
use std::fmt;
use std::io::{self, Write};

/// Why a program failed.
pub(crate) type Failure = Box<dyn Error + Send + Sync>;

/// Prints a line. A reader who has seen enough (`head`) is no reason to panic,
/// as `println!` would.
pub(crate) fn say(line: impl fmt::Display) -> Result<(), Failure> {
    writeln!(io::stdout(), "{line}").map_err(|error| format!("standard output: {error}").into())
}

/// An error and what led to it, on one line.
pub(crate) struct Chain<'a>(pub(crate) &'a (dyn Error + 'a));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut next = self.0.source();
        while let Some(error) = next {
            write!(f, ": {error}")?;
            next = error.source();
        }
        Ok(())
    }
}
