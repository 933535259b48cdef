//! How much memory operations take. See `benches/README.md`.
//!
//! A program of its own, since what counts the allocations replaces the
//! program's allocator.
#![expect(
    clippy::print_stdout,
    clippy::expect_used,
    reason = "a bench prints what it measures"
)]

use std::fs::OpenOptions;
use std::io::Write;
use std::net::SocketAddr;

use allocation_counter::{AllocationInfo, measure};
use tapwire::sys::{NetNs, enter_user_namespace, has_net_admin};
use tapwire::{Exposure, Flows, Guest, Host, Owner, Protocol, Settings, Wanted};

const MANY: usize = 100_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    if !has_net_admin()? && enter_user_namespace().is_err() {
        println!("footprint: SKIPPED, nothing was measured");
        return Ok(());
    }
    let quick = !std::env::args().any(|argument| argument == "--bench")
        || std::env::args().any(|argument| argument == "--quick");
    let many = if quick { MANY / 100 } else { MANY };
    let lines = NetNs::new()?.run(|| lines(many).map_err(|error| error.to_string()))??;
    println!(
        "{:<34} {:>12} {:>14}",
        "footprint", "allocations", "peak bytes"
    );
    for (name, info) in &lines {
        println!("{name:<34} {:>12} {:>14}", info.count_total, info.bytes_max);
    }
    if let Some(path) = std::env::var_os("TAPWIRE_BENCH_DATA") {
        let mut file = OpenOptions::new().create(true).append(true).open(path)?;
        for (name, info) in &lines {
            let (count, peak) = (info.count_total, info.bytes_max);
            writeln!(file, "footprint\t{name}\t{count}\t{peak}\t0\t0\t1")?;
        }
    }
    Ok(())
}

type Lines = Vec<(String, AllocationInfo)>;

fn lines(many: usize) -> Result<Lines, tapwire::Error> {
    let mut host = Host::with(Settings::new(Owner::new("bench")?).exposures(150_000))?;
    let guest = Guest::new("hello-world")?;
    let target = SocketAddr::new(host.attach(&guest)?.ipv4().into(), 80);
    let tcp = (1_001..=51_000_u16).map(|port| (Protocol::Tcp, port));
    let sctp = (1_001..=51_000_u16).map(|port| (Protocol::Sctp, port));
    let to = |(protocol, port)| Exposure::new(protocol, port, target);
    let all: Vec<Exposure> = tcp
        .chain(sctp)
        .take(many)
        .map(to)
        .collect::<Result<_, _>>()?;
    let one = to((Protocol::Tcp, 60_000))?;
    let other = to((Protocol::Tcp, 60_001))?;
    host.expose(&one)?;
    host.withdraw(&one, Flows::Drain)?;
    let mut lines = Lines::new();
    let mut take = |name: String, work: &mut dyn FnMut()| lines.push((name, measure(work)));
    take("add one".into(), &mut || {
        host.expose(&one).expect("an exposure");
    });
    take("move one".into(), &mut || {
        host.repoint(&one, &other, Flows::Drain).expect("a move");
    });
    take("withdraw one".into(), &mut || {
        host.withdraw(&other, Flows::Drain).expect("a withdrawal");
    });
    take(format!("add {many} at once"), &mut || {
        host.expose_all(&all).expect("exposures");
    });
    take(format!("list {many}"), &mut || {
        drop(host.exposures().expect("a list"));
    });
    let mut wanted = Wanted::new().guest(guest).flows(Flows::Drain);
    wanted.extend(all.iter().cloned());
    take(format!("apply {many}, nothing to do"), &mut || {
        drop(host.apply(&wanted).expect("a plan"));
    });
    let nothing = Wanted::new().flows(Flows::Drain);
    take(format!("apply nothing, {many} present"), &mut || {
        drop(host.apply(&nothing).expect("a plan"));
    });
    Ok(lines)
}
