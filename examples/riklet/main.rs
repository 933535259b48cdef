//! Riklet's functions on a host: each microVM on a TAP of its own, its ports
//! on the node's addresses.
//!
//! Without arguments it is a demo that touches nothing of this machine; see
//! `riklet help`.
#![expect(clippy::print_stderr, reason = "a program for people at a terminal")]

mod check;
mod demo;
mod function;
mod manage;
mod reach;
#[path = "../support/mod.rs"]
mod support;

use std::env;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use support::program::{Chain, Failure, say};
use support::workload::Workload;

fn main() -> ExitCode {
    let arguments: Vec<_> = env::args_os().skip(1).collect();
    let words: Vec<&str> = arguments
        .iter()
        .map(|argument| argument.to_str().unwrap_or_default())
        .collect();
    let result = match *words.as_slice() {
        ["help" | "-h" | "--help"] => say(USAGE),
        ["demo", ..] => demo::main(&paths(&arguments, 1)),
        ["up", _, ..] => load(&paths(&arguments, 1)).and_then(|workloads| manage::up(&workloads)),
        ["list"] => manage::list(),
        ["down", "--all"] => manage::down_all(),
        ["down", name] if !name.starts_with('-') => manage::down(name),
        ["up" | "list" | "down" | "help", ..] => Err(Usage.into()),
        // A file has a dot or a slash; anything else is a command misspelt.
        [word, ..] if word.starts_with('-') || !word.contains(['.', '/']) => Err(Usage.into()),
        _ => demo::main(&paths(&arguments, 0)),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<Usage>() => {
            eprintln!("error: {error}\n\n{USAGE}");
            ExitCode::from(2)
        }
        Err(error) => {
            eprintln!("error: {}", Chain(&*error));
            ExitCode::FAILURE
        }
    }
}

/// Reads all definitions, or none.
fn load(paths: &[PathBuf]) -> Result<Vec<Workload>, Failure> {
    let mut workloads: Vec<Workload> = Vec::new();
    for path in paths {
        let workload = Workload::load(path)?;
        if workloads
            .iter()
            .any(|other| other.name() == workload.name())
        {
            return Err(format!("two workloads are called {}", workload.name()).into());
        }
        workloads.push(workload);
    }
    Ok(workloads)
}

fn paths(arguments: &[impl AsRef<Path>], skip: usize) -> Vec<PathBuf> {
    arguments
        .iter()
        .skip(skip)
        .map(|argument| argument.as_ref().to_owned())
        .collect()
}

/// The command line is not one that we know.
#[derive(Debug, thiserror::Error)]
#[error("not a command that riklet knows, or not with these arguments")]
struct Usage;

const USAGE: &str = "\
usage: riklet [demo] [<workload.json>...]
           three functions, or those given, on a throwaway node: deployed,
           reached, drawn and removed; needs no right but to open /dev/net/tun
       riklet up <workload.json>...
           prepare this machine's network for functions; print what a VMM needs
       riklet list
           show the functions, their ports and connections
       riklet down <name> | --all
           take away one function, or all and every trace";
