//! Copies a table of the current network namespace, with all that is in it,
//! to a new name.
//!
//! ```text
//! cargo run --example copy_table -- FAMILY TABLE NEWNAME
//! ```
#![expect(clippy::print_stderr, reason = "a program")]

use std::process::ExitCode;

use tapwire::Error;
use tapwire::nft::{Batch, Name, Nft};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [family, table, new] = arguments.as_slice() else {
        eprintln!("usage: copy_table FAMILY TABLE NEWNAME");
        return ExitCode::from(2);
    };
    match copy(family, table, new) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprint!("copy_table: {error}");
            if let Some(cause) = std::error::Error::source(&error) {
                eprint!(": {cause}");
            }
            eprintln!();
            ExitCode::FAILURE
        }
    }
}

fn copy(family: &str, table: &str, new: &str) -> Result<(), Error> {
    let absent = || Error::Absent {
        kind: "table",
        name: format!("{family} {table}").into(),
    };
    let mut nft = Nft::open()?;
    let tables = nft.tables()?;
    // By what is there: a name that only the kernel takes can be copied too.
    let found = tables
        .iter()
        .find(|one| one.family().to_string() == family && one.name().as_str() == table);
    let found = found.ok_or_else(absent)?;
    let snapshot = nft.snapshot(found.family(), found.name())?;
    let copy = snapshot.ok_or_else(absent)?.renamed(Name::new(new)?);
    let mut batch = Batch::new();
    batch.create(copy.table());
    copy.add_to(&mut batch);
    nft.commit(&mut batch)
}
