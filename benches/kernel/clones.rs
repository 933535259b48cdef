//! Clones of a snapshot come and go, both ways, singly and many at once.
//!
//! The floor works in the namespace of the host itself, while the clone in
//! question is away: the names of network namespaces are the machine's, so two
//! hosts alike would be in each other's way. What it leaves is what the host
//! knows, but for the generation: the host works once before it is measured.

use std::fs;
use std::slice;
use std::thread;
use std::time::{Duration, Instant};

use tapwire::route::{LinkChange, Rtnl};
use tapwire::sys::{NetNs, Protocol, TapOptions};
use tapwire::{Attachment, Connection, Guest, Host, IfIndex, Mac, Owner, Snapshot};

use crate::harness::figures::{Case, Figure, Measured};
use crate::harness::floor::{Floor, Replay};
use crate::harness::{Mode, Result, inside, time};

const RATIO: f64 = 1.15;
/// From 10 present to the most, apart from what the floor grows by.
const FLAT: f64 = 1.2;
/// So many times longer one in a namespace of its own takes.
const REWRITTEN: f64 = 5.0;

const NAME: &str = "one-more";
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
        cases.push(Box::new(Clones::new(way, present, 1)?));
    }
    Ok(cases)
}

/// Many at once: few rounds of these are enough.
pub(crate) fn bulk(mode: Mode) -> Result<Vec<Box<dyn Case>>> {
    let count = at_once(mode);
    let mut cases: Vec<Box<dyn Case>> = Vec::new();
    for way in [Way::Rewritten, Way::Namespaced] {
        cases.push(Box::new(Clones::new(way, 0, count)?));
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
    if let (Some(one), Some(other)) = (of(Way::Rewritten, few), of(Way::Namespaced, few)) {
        let ratio = other.ours.as_secs_f64() / one.ours.as_secs_f64();
        println!("in a namespace next to rewritten: {ratio:.1}");
        if ratio < REWRITTEN {
            missed.push(format!(
                "in a namespace next to rewritten: {ratio:.1} < {REWRITTEN}"
            ));
        }
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
    guests: Vec<Guest>,
    floor: Floor,
    least: Least,
    /// One that comes before a single one and goes after it, so that this does
    /// not come after a pause, in which the processor's caches get cold.
    first: Guest,
    least_first: Least,
    /// Whether the host went first.
    turn: bool,
}

/// What is sent, and the links with the numbers that they had then.
struct Least {
    links: Vec<(Attachment, IfIndex, Mac)>,
    /// The group in which they are made, if any.
    group: Option<u32>,
    /// Before anything is made.
    claim: Vec<Replay>,
    /// Of each that is in a namespace: what is sent there.
    inside: Vec<Vec<Replay>>,
    /// Of so many that are configured at once: their names, and all else.
    bursts: Vec<[Replay; 2]>,
    release: Replay,
}

impl Clones {
    fn new(way: Way, present: usize, count: usize) -> Result<Self> {
        let netns = NetNs::new()?;
        let guests = (0..count).map(|place| way.clone(&format!("{NAME}-{place}")));
        let guests = guests.collect::<Result<Vec<_>>>()?;
        let first = way.clone("first")?;
        let (host, floor, least, least_first) = inside(&netns, || {
            // Names of namespaces are made of it.
            let owner = format!("b{}x{present}x{count}", u8::from(way == Way::Namespaced));
            let mut host = Host::open(Owner::new(&owner)?)?;
            let others = (0..present).map(|place| way.clone(&format!("other-{place}")));
            host.attach_all(&others.collect::<Result<Vec<_>>>()?)?;
            let record = |host: &mut Host| Least::record(host, way, &guests, |_| Ok(()));
            let (least_first, (least, ())) =
                Least::record(&mut host, way, slice::from_ref(&first), record)?;
            Ok((host, Floor::open()?, least, least_first))
        })?;
        let mut clones = Self {
            way,
            present,
            netns,
            host,
            guests,
            floor,
            least,
            first,
            least_first,
            turn: false,
        };
        clones.round()?;
        Ok(clones)
    }

    fn round_of_host(&mut self) -> Result<[Duration; 2]> {
        let Self {
            host,
            guests,
            first,
            ..
        } = self;
        let first = slice::from_ref(first);
        inside(&self.netns, || {
            // What someone else changed is looked at once.
            attach(host, first)?;
            let attached = time(|| attach(host, guests))?;
            let detached = time(|| detach(host, guests))?;
            detach(host, first)?;
            thread::sleep(GONE);
            Ok([attached, detached])
        })
    }

    fn round_of_floor(&mut self) -> Result<[Duration; 2]> {
        let Self {
            host,
            floor,
            least,
            least_first,
            ..
        } = self;
        let count = self.guests.len();
        inside(&self.netns, || {
            least_first.attach(floor)?;
            let attached = least.attach(floor)?;
            let there = host.guests()?.len();
            let detached = least.detach(floor)?;
            let gone = there - host.guests()?.len();
            least_first.detach(floor)?;
            thread::sleep(GONE);
            if gone != count {
                return Err("the floor does something else than what it is the floor of".into());
            }
            Ok([attached, detached])
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

impl Case for Clones {
    fn figures(&self) -> Vec<Figure> {
        let count = self.guests.len();
        let attach = Figure::new(self.way.attach(self.present, count));
        let detach = Figure::new(self.way.detach(self.present, count));
        vec![attach.ratio(RATIO), detach.ratio(RATIO)]
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

fn attach(host: &mut Host, guests: &[Guest]) -> Result<Vec<Attachment>> {
    Ok(match guests {
        [one] => vec![host.attach(one)?],
        several => host.attach_all(several)?,
    })
}

fn detach(host: &mut Host, guests: &[Guest]) -> Result<()> {
    let names: Vec<&str> = guests.iter().map(|guest| guest.name().as_str()).collect();
    match names.as_slice() {
        [one] => host.detach(one)?,
        several => host.detach_all(several)?,
    }
    Ok(())
}

impl Least {
    /// Records what is sent for these to come, and, after `between`, to go.
    fn record<T>(
        host: &mut Host,
        way: Way,
        guests: &[Guest],
        between: impl FnOnce(&mut Host) -> Result<T>,
    ) -> Result<(Self, T)> {
        let (attached, sent) = Replay::record(|| attach(host, guests))?;
        let mut rtnl = Rtnl::open()?;
        let mut links = Vec::new();
        let mut group = None;
        for clone in attached {
            let link = rtnl.link(clone.tap())?.ok_or("no link")?;
            group = Some(link.group()).filter(|&group| group != 0);
            let mac = link.mac().ok_or("no MAC")?;
            links.push((clone, link.index(), mac));
        }
        let done = between(host)?;
        let ((), release) = Replay::record(|| detach(host, guests))?;
        let (_, release) = release.part_before_last(Protocol::Netfilter);
        let each = if way == Way::Namespaced { 2 } else { 0 };
        let mut rest = sent.steps();
        let made = guests.len() * each + guests.len().div_ceil(AT_ONCE) * 2;
        let claim: Vec<Replay> = rest.drain(..rest.len() - made).collect();
        let (mut inside, mut bursts) = (Vec::new(), Vec::new());
        for some in guests.chunks(AT_ONCE) {
            for _ in some.iter().filter(|_| each > 0) {
                inside.push(rest.drain(..each).collect());
            }
            let mut burst = rest.drain(..2);
            bursts.extend(burst.next().zip(burst.next()).map(|(one, two)| [one, two]));
        }
        let least = Self {
            links,
            group,
            claim,
            inside,
            bursts,
            release,
        };
        Ok((least, done))
    }

    /// The system calls between the messages are those that make TAPs and
    /// namespaces.
    fn attach(&mut self, floor: &mut Floor) -> Result<Duration> {
        let start = Instant::now();
        for claim in &mut self.claim {
            floor.replay(claim)?;
        }
        let mut inside = self.inside.chunks_mut(AT_ONCE);
        for (links, [name, raise]) in self.links.chunks(AT_ONCE).zip(&mut self.bursts) {
            let mut taps = Vec::new();
            if let Some(inside) = inside.next() {
                make_namespaces(links, inside)?;
            } else {
                for (clone, index, mac) in links {
                    let tap = TapOptions::new(clone.tap()).index(*index).mac(*mac);
                    taps.push(tap.create()?);
                }
            }
            for (clone, ..) in links {
                let settings = format!("/proc/sys/net/ipv6/conf/{}", clone.tap());
                fs::write(format!("{settings}/accept_ra"), "0")?;
                fs::write(format!("{settings}/force_forwarding"), "1")?;
            }
            floor.replay(name)?;
            for tap in taps {
                tap.set_persistent(true)?;
            }
            floor.replay(raise)?;
        }
        Ok(start.elapsed())
    }

    /// The best that is known: links go as a group, for the kernel waits once
    /// then, in which they were made, or those that lead to namespaces by few
    /// for the sake of others; elements in one batch.
    fn detach(&mut self, floor: &mut Floor) -> Result<Duration> {
        let mut rtnl = Rtnl::open()?;
        let start = Instant::now();
        let slice = if self.inside.is_empty() {
            self.links.len()
        } else {
            SLICE
        };
        for links in self.links.chunks(slice) {
            rtnl.apply(|changes| {
                if let Some(group) = self.group {
                    return changes.delete_links_of_group(group);
                }
                for (_, index, _) in links {
                    changes.set_link(&LinkChange::new(*index).group(GROUP));
                }
                changes.delete_links_of_group(GROUP);
            })?;
            for (clone, ..) in links.iter().filter(|_| !self.inside.is_empty()) {
                NetNs::remove_named(clone.tap().as_str())?;
            }
        }
        floor.replay(&mut self.release)?;
        Ok(start.elapsed())
    }
}

/// Namespaces with a TAP each, and what is sent in them.
fn make_namespaces(links: &[(Attachment, IfIndex, Mac)], inside: &mut [Vec<Replay>]) -> Result<()> {
    let made = NetNs::journey(|journey| {
        let mut make = |clone: &Attachment, sent: &mut [Replay]| -> Result<()> {
            journey.found()?;
            fs::write("/proc/sys/net/ipv6/conf/all/forwarding", "1")?;
            let snapshot = clone.connection().snapshot().ok_or("no clone")?;
            TapOptions::new(clone.vmm_tap())
                .index(IfIndex::new(2)?)
                .mac(snapshot.current_gateway_mac())
                .persistent()
                .create()?;
            let mut floor = Floor::open()?;
            for sent in sent {
                floor.replay(sent)?;
            }
            Ok(journey.name(clone.tap().as_str())?)
        };
        let mut all = links.iter().zip(inside);
        all.try_for_each(|((clone, ..), sent)| make(clone, sent))
            .map_err(|error| crate::harness::words(&*error))
    })?;
    Ok(made?)
}

/// The kernel takes a namespace apart when nobody waits for it any more, and
/// keeps its lock on links meanwhile: what is made then would wait for that.
pub(crate) const GONE: Duration = Duration::from_millis(200);

/// So many are configured in one burst.
const AT_ONCE: usize = 128;
/// So many namespaces are taken away at once: with more, others would wait for
/// links longer than they are to.
const SLICE: usize = 28;
const GROUP: u32 = 77;
