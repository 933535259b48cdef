//! Many copies of one snapshot on a throwaway node, made both ways: what each
//! costs, that packets reach them, and that nothing is left of them.
//!
//! Touches nothing of this machine; see `clones --help`.
#![expect(clippy::print_stderr, reason = "a program for people at a terminal")]

mod sample;
#[path = "../support/mod.rs"]
mod support;
mod times;
mod way;

use std::env;
use std::process::ExitCode;

use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::thread::{self, UnshareFlags};
use tapwire::sys::{enter_user_namespace, has_net_admin};
use tapwire::{Connection, Snapshot};

use support::network::Network;
use support::program::{Chain, Failure, say};
use support::progress::Progress;
use times::Times;
use way::Way;

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    if let ["help" | "-h" | "--help"] = *words {
        return finish(say(USAGE));
    }
    if let Some(orders) = Orders::read(&words) {
        finish(run(&orders))
    } else {
        eprintln!("error: not arguments that clones knows\n\n{USAGE}");
        ExitCode::from(2)
    }
}

fn finish(result: Result<(), Failure>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", Chain(&*error));
            ExitCode::FAILURE
        }
    }
}

/// What is to be shown.
struct Orders {
    /// So many clones, each way.
    count: usize,
    /// So many of them run.
    sample: usize,
}

impl Orders {
    fn read(words: &[&str]) -> Option<Self> {
        let mut orders = Self {
            count: 100,
            sample: 5,
        };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let number = words.next()?.parse().ok()?;
            match *word {
                "--count" if (1..=MOST).contains(&number) => orders.count = number,
                "--sample" if (1..=MOST_RUN).contains(&number) => orders.sample = number,
                _ => return None,
            }
        }
        orders.sample = orders.sample.min(orders.count);
        Some(orders)
    }
}

fn run(orders: &Orders) -> Result<(), Failure> {
    let rights = gain_rights()?;
    let snapshot: Snapshot = SNAPSHOT.parse()?;
    say(format_args!(
        "A node and a client, in network namespaces that end with this program{rights}.\n\
         {} copies of one snapshot, each of which believes:\n\n  {snapshot}\n",
        orders.count
    ))?;
    let network = Network::new()?;
    let mut progress = Progress::new(way::steps(orders).saturating_mul(2));
    let (mut times, mut wrong, mut checked) = (Times::new(), 0_usize, 0_usize);
    for (name, connection) in [
        ("rewritten", Connection::Rewritten(snapshot.clone())),
        ("in a namespace", Connection::Namespaced(snapshot)),
    ] {
        let way = Way::new(name, &connection, &network, orders)?;
        let report = way.run(&mut progress, &mut times)?;
        wrong = wrong.saturating_add(report.wrong());
        checked = checked.saturating_add(report.checked());
    }
    progress.hide();
    say(format_args!(
        "What one clone took, in microseconds:\n\n{times}"
    ))?;
    if wrong == 0 {
        say(format_args!("All {checked} checks went as they should."))
    } else {
        Err(format!("{wrong} of {checked} checks went wrong").into())
    }
}

/// Makes sure of the right to work on network namespaces, and of a place for
/// their names that is not this machine's. Before there is a second thread.
fn gain_rights() -> Result<&'static str, Failure> {
    if !has_net_admin()? {
        enter_user_namespace()?;
        return Ok(",\nboth inside a user namespace, for you are not privileged");
    }
    #[expect(deprecated, reason = "takes no descriptors away, so it is safe")]
    thread::unshare(UnshareFlags::FS | UnshareFlags::NEWNS)?;
    mount_change(
        "/",
        MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
    )?;
    mount("tmpfs", "/run", "tmpfs", MountFlags::NOSUID, None)?;
    Ok("")
}

/// What vHive's snapshots have, and IPv6.
const SNAPSHOT: &str = "tap0 06:00:ac:10:00:02 172.16.0.2/24 via 172.16.0.1 \
     02:74:77:ff:ff:fe fd00:ac10::2/64 via fd00:ac10::1";

/// As many as there is room for in the default networks, and that one machine
/// has threads and ports for.
const MOST: usize = 32_000;
const MOST_RUN: usize = 500;

const USAGE: &str = "\
usage: clones [--count <clones>] [--sample <clones>]
           makes so many copies of a snapshot (100) on a throwaway node, first
           by rewriting, then in network namespaces; runs some of them (5),
           reaches these, draws one, and removes all; needs no right but to
           open /dev/net/tun";
