//! How fast exposures are installed, next to what the kernel itself takes.
//!
//! The floor is the same batch, byte for byte, sent over a bare socket, with
//! one `send` and one `recv` and nothing else. Both are measured in turn, in
//! the same network namespaces, so that whatever else the machine does meets
//! both alike; the table at the end compares their medians.
#![expect(
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    reason = "a bench prints what it measures"
)]

use std::error::Error;
use std::net::SocketAddr;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};
use std::{io, iter};

use criterion::{BenchmarkId, Criterion};
use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::{self, AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, sockopt};
use tapwire::nft::{Batch, Comment, DataType, Element, Family, L4Proto, Name, Port, Set, Table};
use tapwire::sys::{NetNs, enter_user_namespace, has_net_admin};
use tapwire::{Attachment, Exposure, Flows, Guest, Host, Owner, Protocol};

/// One more may cost so much more than its floor, and with 10 000 present so
/// much more than with none.
const FLOOR_BOUND: f64 = 1.15;
const FLAT_BOUND: f64 = 1.25;

/// So many exposures are present when one more is installed.
const PRESENT: [u16; 3] = [0, 1_000, 10_000];
const PRESENT_PORTS: u16 = 10_000;
const ONE_MORE: Range<u16> = 8_080..8_081;
const BULK: Range<u16> = 30_000..40_000;

/// How often each case is measured for the table. A bulk takes as long as
/// thousands of single ones, and is measured in one of so many rounds.
const FULL: usize = 6_000;
const QUICK: usize = 1_500;
const BULK_EVERY: usize = 100;

const OWNER: &str = "bench";
const GUEST_PORT: u16 = 80;

fn main() -> Result<(), Box<dyn Error>> {
    let mut cases = match set_up() {
        Ok(cases) => cases,
        Err(why) => {
            println!("install: SKIPPED, nothing was measured: {}", words(&*why));
            return Ok(());
        }
    };
    match Case::new("10000 in one batch".into(), 0, BULK) {
        Ok(bulk) => cases.push(bulk),
        // Without CAP_NET_ADMIN outside, a send buffer may be too small.
        Err(why) => println!("install: SKIPPED the bulk: {}", words(&*why)),
    }
    let mut criterion = Criterion::default().configure_from_args();
    for case in &mut cases {
        case.measure(&mut criterion);
    }
    criterion.final_summary();
    let arguments: Vec<String> = std::env::args().collect();
    let given = |flag: &str| arguments.iter().any(|argument| argument == flag);
    // `cargo test --benches` only wants to know that it works.
    if given("--bench")
        && !["--test", "--list", "--profile-time"]
            .into_iter()
            .any(given)
    {
        compare(&mut cases, if given("--quick") { QUICK } else { FULL })?;
    }
    Ok(())
}

/// Everything but the bulk.
fn set_up() -> Result<Vec<Case>, Box<dyn Error>> {
    gain_rights()?;
    let one_more = |present| Case::new(format!("one more, {present} present"), present, ONE_MORE);
    PRESENT.into_iter().map(one_more).collect()
}

/// A host in a namespace of its own, with exposures that are installed and
/// taken back again and again.
struct Case {
    name: String,
    host: Host,
    wanted: Vec<Exposure>,
    floor: Floor,
}

impl Case {
    /// With so many exposures present, and others wanted.
    fn new(name: String, present: u16, wanted: Range<u16>) -> Result<Self, Box<dyn Error>> {
        let made = NetNs::new()?.run(|| {
            let made = Self::in_this_namespace(name, present, wanted);
            made.map_err(|error| words(&*error))
        })?;
        Ok(made?)
    }

    fn in_this_namespace(
        name: String,
        present: u16,
        wanted: Range<u16>,
    ) -> Result<Self, Box<dyn Error>> {
        let mut host = Host::open(Owner::new(OWNER)?)?;
        let guest = host.attach(&Guest::new("hello-world")?)?;
        let target = SocketAddr::new(guest.ipv4().into(), GUEST_PORT);
        let exposures = |ports: Range<u16>| -> Result<Vec<_>, _> {
            ports
                .map(|port| Exposure::new(Protocol::Tcp, port, target))
                .collect()
        };
        host.expose_all(&exposures(PRESENT_PORTS..PRESENT_PORTS + present)?)?;
        let ports: Vec<u16> = wanted.clone().collect();
        let mut case = Self {
            name,
            host,
            wanted: exposures(wanted)?,
            floor: Floor::new(&mut batch(&guest, &ports)?)?,
        };
        case.check()?;
        Ok(case)
    }

    /// Both sides must leave the same in the kernel.
    fn check(&mut self) -> Result<(), Box<dyn Error>> {
        self.host.expose_all(&self.wanted)?;
        let ours = self.host.exposures()?;
        self.restore()?;
        self.floor.replay()?;
        let least = self.host.exposures()?;
        self.restore()?;
        if ours != least {
            return Err("the floor installs something else".into());
        }
        Ok(())
    }

    /// Installs and takes back, first by the host, then by the floor. Returns
    /// how long each took to install.
    fn round(&mut self) -> Result<[Duration; 2], Box<dyn Error>> {
        let start = Instant::now();
        match self.wanted.as_slice() {
            [one] => self.host.expose(one)?,
            several => self.host.expose_all(several)?,
        }
        let ours = start.elapsed();
        self.restore()?;
        let start = Instant::now();
        self.floor.replay()?;
        let floor = start.elapsed();
        self.restore()?;
        Ok([ours, floor])
    }

    fn restore(&mut self) -> Result<(), Box<dyn Error>> {
        for exposure in &self.wanted {
            self.host.withdraw(exposure, Flows::Drain)?;
        }
        Ok(())
    }

    /// Has criterion measure both sides; it, too, sees them in turn.
    fn measure(&mut self, criterion: &mut Criterion) {
        let mut group = criterion.benchmark_group("install");
        group
            .sample_size(10)
            .warm_up_time(Duration::from_millis(500));
        group.measurement_time(Duration::from_millis(500));
        for (side, what) in ["expose", "floor"].into_iter().enumerate() {
            group.bench_function(BenchmarkId::new(what, &self.name), |bencher| {
                bencher.iter_custom(|iterations| {
                    (0..iterations)
                        .map(|_| self.round().expect("a round")[side])
                        .sum()
                });
            });
        }
    }
}

/// A batch and a bare socket.
struct Floor {
    bytes: Vec<u8>,
    socket: OwnedFd,
    answer: Vec<u8>,
}

impl Floor {
    /// Opens a socket in the calling thread's namespace.
    fn new(batch: &mut Batch) -> Result<Self, Box<dyn Error>> {
        let bytes = batch.encode(0)?.to_vec();
        let socket = net::socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            Some(netlink::NETFILTER),
        )?;
        net::bind(&socket, &SocketAddrNetlink::new(0, 0))?;
        net::connect(&socket, &SocketAddrNetlink::new(0, 0))?;
        if sockopt::socket_send_buffer_size(&socket)? < bytes.len() {
            sockopt::set_socket_send_buffer_size_force(&socket, bytes.len())?;
        }
        let answer = vec![0; 4096];
        Ok(Self {
            bytes,
            socket,
            answer,
        })
    }

    /// Sends the batch and waits for its acknowledgement.
    fn replay(&mut self) -> io::Result<()> {
        net::send(&self.socket, &self.bytes, SendFlags::empty())?;
        net::recv(&self.socket, self.answer.as_mut_slice(), RecvFlags::empty())?;
        // Behind the header of 16 bytes, the errno.
        match self.answer[16..20] {
            [0, 0, 0, 0] => Ok(()),
            _ => Err(io::Error::other("the kernel refused the floor's batch")),
        }
    }
}

/// The batch that a host sends to install these ports: TCP on all addresses.
fn batch(guest: &Attachment, ports: &[u16]) -> Result<Batch, Box<dyn Error>> {
    let table = Table::new(Family::INET, Name::constant(OWNER));
    let key = [DataType::INET_PROTO, DataType::INET_SERVICE];
    let data = [DataType::IPV4_ADDR, DataType::INET_SERVICE];
    let map = Set::map(&table, Name::constant("dnat4_any"), &key, &data);
    let comment = Comment::new(guest.name())?;
    let elements = ports.iter().map(|&port| {
        Element::new((L4Proto::TCP, Port(port)))
            .data((guest.ipv4(), Port(GUEST_PORT)))
            .comment(comment)
    });
    let mut batch = Batch::new();
    batch.add_elements(&map, elements);
    Ok(batch)
}

/// Measures all cases in turn and prints how they compare.
fn compare(cases: &mut [Case], rounds: usize) -> Result<(), Box<dyn Error>> {
    let mut taken = vec![[Vec::new(), Vec::new()]; cases.len()];
    for round in 0..rounds {
        for (case, taken) in cases.iter_mut().zip(&mut taken) {
            if round % case.wanted.len().min(BULK_EVERY) == 0 {
                let [ours, floor] = case.round()?;
                taken[0].push(ours);
                taken[1].push(floor);
            }
        }
    }
    println!(
        "\n{:<24} {:>12} {:>12} {:>7}",
        "median of rounds", "expose", "floor", "ratio"
    );
    let mut missed = Vec::new();
    let mut medians = Vec::new();
    for (case, taken) in cases.iter().zip(&mut taken) {
        let [ours, floor] = taken.each_mut().map(|side| median(side));
        let ratio = ours.as_secs_f64() / floor.as_secs_f64();
        println!(
            "{:<24} {ours:>12.2?} {floor:>12.2?} {ratio:>7.3}",
            case.name
        );
        if ratio > FLOOR_BOUND {
            missed.push(format!("{}: {ratio:.3} times the floor", case.name));
        }
        medians.push(ours);
    }
    let flat = medians[PRESENT.len() - 1].as_secs_f64() / medians[0].as_secs_f64();
    println!("10 000 present / 0 present: {flat:.3}");
    if flat > FLAT_BOUND {
        missed.push(format!("not flat: {flat:.3}"));
    }
    println!("bounds: {FLOOR_BOUND} times the floor, {FLAT_BOUND} from 0 to 10 000 present");
    match missed.as_slice() {
        [] => println!("all bounds are met"),
        missed => println!("BOUNDS NOT MET: {}", missed.join("; ")),
    }
    Ok(())
}

fn median(taken: &mut [Duration]) -> Duration {
    taken.sort_unstable();
    taken[taken.len() / 2]
}

/// An error with what lies below it.
fn words(error: &dyn Error) -> String {
    let levels = iter::successors(Some(error), |&error| error.source());
    let levels: Vec<String> = levels.map(ToString::to_string).collect();
    levels.join(": ")
}

/// Makes sure of `CAP_NET_ADMIN`, by a user namespace if need be.
fn gain_rights() -> Result<(), tapwire::Error> {
    if has_net_admin()? {
        return Ok(());
    }
    enter_user_namespace()
}
