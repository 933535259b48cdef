//! Clones of a snapshot come and go, both ways, singly and many at once.
//!
//! The floor works in the namespace of the host itself, while the clone in
//! question is away: the names of network namespaces are the machine's, so two
//! hosts alike would be in each other's way. What it leaves is what the host
//! knows, but for the generation: the host works once before it is measured.

mod least;

use std::iter;
use std::thread;
use std::time::Duration;

use least::{Attach, Detach};
use tapwire::sys::NetNs;
use tapwire::{Attachment, Connection, Guest, Host, Owner, Snapshot};

use crate::harness::figures::{Case, Figure, Measured, mean};
use crate::harness::floor::{Floor, Proc};
use crate::harness::{Mode, Result, inside, time};

const RATIO: f64 = 1.15;
/// From 10 present to the most, apart from what the floor grows by.
const FLAT: f64 = 1.2;
/// A rewritten one takes a fifth of the time.
const REWRITTEN: f64 = 0.2;

const WAYS: &str = "attach a clone Rewritten / Namespaced";

/// So many come one by one in a row, behind the first.
pub(crate) const ROW: usize = 16;

pub(crate) const SNAPSHOT: &str = "tap0 06:00:ac:10:00:02 172.16.0.2/24 via 172.16.0.1 02:74:77:ff:ff:fe \
     fd00:ac10::2/64 via fd00:ac10::1";

pub(crate) fn rewritten(mode: Mode) -> Result<Vec<Box<dyn Case>>> {
    singly(Way::Rewritten, mode)
}

/// By themselves: namespaces that go leave the kernel more to do than one that
/// waits for it sees.
pub(crate) fn namespaced(mode: Mode) -> Result<Vec<Box<dyn Case>>> {
    singly(Way::Namespaced, mode)
}

fn singly(way: Way, mode: Mode) -> Result<Vec<Box<dyn Case>>> {
    let mut cases: Vec<Box<dyn Case>> = Vec::new();
    for present in present(mode) {
        cases.push(Box::new(Clones::new(way, present, row(mode))?));
    }
    Ok(cases)
}

/// One way next to the other, in the same rounds.
pub(crate) fn ways(mode: Mode) -> Result<Vec<Box<dyn Case>>> {
    let [few, _] = present(mode);
    let of = |way| Clones::new(way, few, row(mode));
    let ways = [of(Way::Rewritten)?, of(Way::Namespaced)?];
    Ok(vec![Box::new(Ways(ways))])
}

fn row(mode: Mode) -> impl Iterator<Item = usize> {
    let row = if mode == Mode::Test { 1 } else { ROW };
    iter::repeat_n(1, 1 + row)
}

/// Many at once: few rounds of these are enough.
pub(crate) fn bulk(mode: Mode) -> Result<Vec<Box<dyn Case>>> {
    let count = at_once(mode);
    let mut cases: Vec<Box<dyn Case>> = Vec::new();
    for way in [Way::Rewritten, Way::Namespaced] {
        cases.push(Box::new(Clones::new(way, 0, [1, count].into_iter())?));
    }
    Ok(cases)
}

fn at_once(mode: Mode) -> usize {
    match mode {
        Mode::Test => 3,
        Mode::Quick => 200,
        Mode::Full => 1_000,
    }
}

fn present(mode: Mode) -> [usize; 2] {
    match mode {
        Mode::Test => [0, 1],
        Mode::Quick => [10, 300],
        Mode::Full => [10, 1_000],
    }
}

/// What is slower than it is to be next to others of these.
pub(crate) fn compared(mode: Mode, lines: &[Measured]) -> Vec<String> {
    let [few, most] = present(mode);
    let of = |way: Way, present| {
        let name = way.attach(present, 1);
        lines.iter().find(move |line| line.name == name)
    };
    let mut missed = Vec::new();
    for way in [Way::Rewritten, Way::Namespaced] {
        if let (Some(few), Some(most)) = (of(way, few), of(way, most)) {
            let growth = |from: Duration, to: Duration| to.as_secs_f64() / from.as_secs_f64();
            let (ours, floor) = (growth(few.ours, most.ours), growth(few.floor, most.floor));
            println!("{way:?}, most present next to few: {ours:.2}, the floor {floor:.2}");
            if ours / floor > FLAT {
                missed.push(format!(
                    "{way:?}: grows {ours:.2} times, the floor {floor:.2}"
                ));
            }
        }
    }
    let count = at_once(mode);
    for way in [Way::Rewritten, Way::Namespaced] {
        if let Some(line) = lines.iter().find(|line| line.name == way.attach(0, count)) {
            let each = line.ours / u32::try_from(count).unwrap_or(u32::MAX);
            println!("{way:?}, {count} at once: {each:?} each");
        }
    }
    if let Some(line) = lines.iter().find(|line| line.name == WAYS) {
        let times = line.ratio.recip();
        println!("a rewritten clone: {times:.1} times faster than one in a namespace");
    }
    missed
}

/// How a clone is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Rewritten,
    Namespaced,
}

impl Way {
    fn clone(self, name: &str) -> Result<Guest> {
        let snapshot: Snapshot = SNAPSHOT.parse()?;
        let connection = match self {
            Self::Rewritten => Connection::Rewritten(snapshot),
            Self::Namespaced => Connection::Namespaced(snapshot),
        };
        Ok(Guest::new(name)?.connection(connection))
    }

    fn attach(self, present: usize, count: usize) -> String {
        match count {
            1 => format!("attach a clone {self:?}, {present} present"),
            _ => format!("attach {count} clones {self:?}"),
        }
    }

    fn detach(self, present: usize, count: usize) -> String {
        self.attach(present, count).replace("attach", "detach")
    }
}

struct Clones {
    way: Way,
    present: usize,
    netns: NetNs,
    host: Host,
    floor: Floor,
    proc: Proc,
    /// What is attached by one call each. The first comes after a pause, in
    /// which the processor's caches get cold, and is not counted.
    calls: Vec<Vec<Guest>>,
    /// What the floor of each is.
    attach: Vec<Attach>,
    /// Of the last of them to go, and then of all others.
    detach: [Detach; 2],
    /// Whether the host went first.
    turn: bool,
}

impl Clones {
    /// With so many guests attached by each call.
    fn new(way: Way, present: usize, calls: impl Iterator<Item = usize>) -> Result<Self> {
        let netns = NetNs::new()?;
        let call = |(call, count)| -> Result<Vec<Guest>> {
            let names = (0..count).map(|place| format!("more-{call}-{place}"));
            names.map(|name| way.clone(&name)).collect()
        };
        let calls = calls.enumerate().map(call).collect::<Result<Vec<_>>>()?;
        let (host, floor, attach, detach) = inside(&netns, || {
            // Names of namespaces are made of it.
            let owner = format!("b{}x{present}", u8::from(way == Way::Namespaced));
            let mut host = Host::open(Owner::new(&owner)?)?;
            let others = (0..present).map(|place| way.clone(&format!("other-{place}")));
            host.attach_all(&others.collect::<Result<Vec<_>>>()?)?;
            let attach = calls
                .iter()
                .map(|guests| Attach::record(&mut host, way, guests))
                .collect::<Result<Vec<_>>>()?;
            let (rest, last) = attach.split_at(attach.len() - 1);
            let last = Detach::record(&mut host, last)?;
            let rest = Detach::record(&mut host, rest)?;
            Ok((host, Floor::open()?, attach, [last, rest]))
        })?;
        let mut clones = Self {
            way,
            present,
            netns,
            host,
            floor,
            proc: Proc::default(),
            calls,
            attach,
            detach,
            turn: false,
        };
        clones.round()?;
        Ok(clones)
    }

    fn round_of_host(&mut self) -> Result<[Duration; 2]> {
        let Self { host, calls, .. } = self;
        inside(&self.netns, || {
            let mut attached = Vec::new();
            for guests in calls.iter() {
                attached.push(time(|| attach(host, guests))?);
            }
            let (last, rest) = calls.split_last().ok_or("no calls")?;
            let detached = time(|| detach(host, &names(last)))?;
            detach(host, &names(&rest.concat()))?;
            thread::sleep(GONE);
            Ok([mean(counted(&attached)), detached])
        })
    }

    fn round_of_floor(&mut self) -> Result<[Duration; 2]> {
        let Self {
            host,
            floor,
            proc,
            calls,
            attach,
            detach: [last, rest],
            ..
        } = self;
        inside(&self.netns, || {
            let mut attached = Vec::new();
            for call in attach {
                attached.push(call.replay(floor, proc)?);
            }
            let there = host.guests()?.len();
            let detached = last.replay(floor)?;
            rest.replay(floor)?;
            let gone = there - host.guests()?.len();
            thread::sleep(GONE);
            if gone != calls.concat().len() {
                return Err("the floor does something else than what it is the floor of".into());
            }
            Ok([mean(counted(&attached)), detached])
        })
    }
}

/// The names of namespaces outlive the host's.
impl Drop for Clones {
    fn drop(&mut self) {
        let left = self.host.guests().unwrap_or_default();
        let names: Vec<&str> = left.iter().map(Attachment::name).collect();
        if let Err(error) = self.host.detach_all(&names) {
            println!("clones are left: {error}");
        }
    }
}

/// Both, which take turns.
struct Ways([Clones; 2]);

impl Case for Ways {
    fn figures(&self) -> Vec<Figure> {
        vec![Figure::new(WAYS).ratio(REWRITTEN)]
    }

    fn round(&mut self) -> Result<Vec<[Duration; 2]>> {
        let [rewritten, namespaced] = &mut self.0;
        let [one, _] = rewritten.round_of_host()?;
        let [other, _] = namespaced.round_of_host()?;
        Ok(vec![[one, other]])
    }
}

impl Case for Clones {
    fn figures(&self) -> Vec<Figure> {
        let count = self.calls.last().map_or(0, Vec::len);
        let attach = Figure::new(self.way.attach(self.present, count));
        let detach = Figure::new(self.way.detach(self.present, count));
        let detach = match count {
            // One waits once in the kernel, from 7 to 30 ms.
            1 => detach,
            _ => detach.ratio(RATIO),
        };
        vec![attach.ratio(RATIO), detach]
    }

    /// Who goes first takes turns, for both leave the kernel something to do.
    fn round(&mut self) -> Result<Vec<[Duration; 2]>> {
        self.turn = !self.turn;
        let [host, floor] = if self.turn {
            [self.round_of_host()?, self.round_of_floor()?]
        } else {
            let floor = self.round_of_floor()?;
            [self.round_of_host()?, floor]
        };
        Ok(host.into_iter().zip(floor).map(<[_; 2]>::from).collect())
    }
}

/// All but the first, which comes after a pause.
pub(crate) fn counted<T>(calls: &[T]) -> &[T] {
    calls.get(1..).unwrap_or_default()
}

fn attach(host: &mut Host, guests: &[Guest]) -> Result<Vec<Attachment>> {
    Ok(match guests {
        [one] => vec![host.attach(one)?],
        several => host.attach_all(several)?,
    })
}

fn detach(host: &mut Host, names: &[&str]) -> Result<()> {
    match names {
        [one] => host.detach(one)?,
        several => host.detach_all(several)?,
    }
    Ok(())
}

fn names(guests: &[Guest]) -> Vec<&str> {
    guests.iter().map(|guest| guest.name().as_str()).collect()
}

/// The kernel takes a namespace apart when nobody waits for it any more, and
/// keeps its lock on links meanwhile: what is made then would wait for that.
pub(crate) const GONE: Duration = Duration::from_millis(200);
