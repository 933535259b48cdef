//! Prints the ruleset of the current network namespace as `nft list ruleset`
//! does, without `nft`.
//!
//! ```text
//! cargo run --example ruleset -- [-s]
//! ```
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program")]

use std::process::ExitCode;

use tapwire::Error;
use tapwire::nft::Nft;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let stateless = match arguments.as_slice() {
        [] => false,
        [one] if one == "-s" || one == "--stateless" => true,
        _ => {
            eprintln!("usage: ruleset [-s]\n  -s  without counts and times");
            return ExitCode::from(2);
        }
    };
    match print(stateless) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprint!("ruleset: {error}");
            if let Some(cause) = std::error::Error::source(&error) {
                eprint!(": {cause}");
            }
            eprintln!();
            ExitCode::FAILURE
        }
    }
}

fn print(stateless: bool) -> Result<(), Error> {
    let ruleset = Nft::open()?.ruleset()?;
    if stateless {
        print!("{}", ruleset.stateless());
    } else {
        print!("{ruleset}");
    }
    Ok(())
}
