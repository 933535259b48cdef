//! What is wanted of a host against what its kernel has.

mod change;
mod difference;
mod reach;
mod wanted;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::net::IpAddr;

pub use change::{Change, Repair};
pub(crate) use difference::SetChange;
pub use reach::Reach;
pub use wanted::{Flows, Wanted};

use crate::error::{Conflict, Error, Invalid};
use crate::exposure::{Destination, Exposure};
use crate::guest::Attachment;
use crate::layout::{Layout, Listing, Seat};
use crate::nft::{Comment, Element, Set, element_text};
use crate::types::IfName;
use difference::{Comparison, Met};

/// The difference between what is wanted of a host and what its kernel has.
///
/// Printed, it is one line for each change with its reason; with `{:#}`,
/// another one for each wanted exposure that says from where its ports are
/// going to be reachable. An empty plan prints nothing and changes nothing.
///
/// ```no_run
/// use tapwire::{Guest, Host, Owner, Wanted};
/// let mut host = Host::open(Owner::new("riklet")?)?;
/// let wanted = Wanted::new()
///     .guest(Guest::new("hello-world")?)
///     .exposure("tcp/8080->hello-world:80".parse()?);
/// let plan = host.plan(&wanted)?;
/// print!("{plan:#}");
/// host.commit(&plan)?;
/// assert!(host.plan(&wanted)?.is_empty());
/// # Ok::<(), tapwire::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Plan {
    /// The state of the ruleset that it was computed from.
    pub(crate) generation: u32,
    pub(crate) wanted: Wanted,
    pub(crate) repair: Option<Repair>,
    /// Where each wanted guest is or is going to be.
    pub(crate) homes: Vec<Home>,
    /// Elements of the guests that are going to be attached.
    pub(crate) claims: Vec<SetChange>,
    pub(crate) sets: Vec<SetChange>,
    /// Those whose guest is not wanted, with the elements that go with them.
    pub(crate) leaving: Vec<Attachment>,
    pub(crate) left: Vec<SetChange>,
    pub(crate) changes: Vec<Change>,
    addresses: Vec<IpAddr>,
}

/// Where a guest is or is going to be.
#[derive(Debug, Clone)]
pub(crate) struct Home {
    pub(crate) place: Attachment,
    pub(crate) is_new: bool,
    /// What of its TAP is missing.
    pub(crate) lacks: Vec<&'static str>,
}

/// What the kernel has.
pub(crate) struct Present<'a> {
    pub(crate) generation: u32,
    pub(crate) layout: &'a Layout,
    pub(crate) listing: &'a Listing,
    pub(crate) repair: Option<Repair>,
    /// All guests that are attached.
    pub(crate) guests: Vec<Attachment>,
    /// The host's addresses, but for loopback ones and those of TAPs.
    pub(crate) addresses: Vec<IpAddr>,
}

impl Plan {
    /// Whether nothing is to be changed.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// What is to be changed.
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// What it leads to.
    pub fn wanted(&self) -> &Wanted {
        &self.wanted
    }

    /// From where the ports of each wanted exposure are going to be
    /// reachable.
    pub fn reaches(&self) -> impl Iterator<Item = Reach<'_>> {
        let exposures = self.wanted.exposures().iter();
        exposures.map(|exposure| Reach::new(exposure, &self.addresses))
    }

    /// Compares `wanted`, whose guests have or are to have `homes`, with what
    /// is there.
    pub(crate) fn new(
        wanted: &Wanted,
        homes: Vec<Home>,
        present: Present<'_>,
    ) -> Result<Self, Error> {
        let names: HashSet<&str> = homes.iter().map(|home| home.place.name()).collect();
        let is_leaving = |guest: &Attachment| !names.contains(guest.name());
        let leaving: Vec<Attachment> = present
            .guests
            .iter()
            .filter(|it| is_leaving(it))
            .cloned()
            .collect();
        let mut changes: Vec<Change> = present.repair.map(Change::Tables).into_iter().collect();
        let exposed = exposures(wanted, &homes, &present)?;
        let guests = guests(&homes, &leaving, &present, &mut changes)?;
        changes.extend(exposed.changes);
        let detach = |guest: &Attachment| Change::Detach {
            guest: guest.name.clone(),
            tap: guest.tap,
        };
        changes.extend(leaving.iter().map(detach));
        let mut sets = exposed.sets;
        sets.extend(guests.sets);
        Ok(Self {
            generation: present.generation,
            wanted: wanted.clone(),
            repair: present.repair,
            claims: guests.claims,
            left: guests.left,
            addresses: present.addresses,
            homes,
            sets,
            leaving,
            changes,
        })
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for change in &self.changes {
            writeln!(f, "{change}")?;
        }
        if f.alternate() {
            for reach in self.reaches() {
                writeln!(f, "{reach}")?;
            }
        }
        Ok(())
    }
}

/// What changes in the sets of the exposures.
struct Exposed {
    sets: Vec<SetChange>,
    changes: Vec<Change>,
}

fn exposures(wanted: &Wanted, homes: &[Home], present: &Present<'_>) -> Result<Exposed, Error> {
    let layout = present.layout;
    let places: Vec<&Attachment> = homes.iter().map(|home| &home.place).collect();
    let directory = Directory::new(&places);
    let mut comparison = Comparison::new(layout.exposure_sets().collect(), present.listing);
    let all = wanted.exposures();
    let mut differing = vec![false; all.len()];
    for (who, exposure) in all.iter().enumerate() {
        let mut rival = None;
        let mut differs = false;
        directory.elements(
            layout,
            exposure,
            false,
            &mut |set, element| match comparison.want(who, set, element) {
                Met::Same => {}
                Met::Nothing | Met::Other => differs = true,
                Met::Rival(other) => rival = rival.or(Some(other)),
            },
        )?;
        differing
            .get_mut(who)
            .into_iter()
            .for_each(|it| *it = differs);
        if let Some(other) = rival.and_then(|other| all.get(other)) {
            return Err(clash(exposure, other));
        }
    }
    if !comparison.differs() {
        return Ok(Exposed {
            sets: Vec::new(),
            changes: Vec::new(),
        });
    }
    let changes = describe(all, &differing, &comparison, present);
    Ok(Exposed {
        changes,
        sets: comparison.changes(layout, |_| false),
    })
}

fn clash(exposure: &Exposure, other: &Exposure) -> Error {
    if exposure == other {
        Invalid::new("exposure", exposure, "is wanted twice").into()
    } else {
        Conflict::new(exposure, other).into()
    }
}

/// Says what changes in terms of exposures.
fn describe(
    all: &[Exposure],
    differing: &[bool],
    comparison: &Comparison<'_>,
    present: &Present<'_>,
) -> Vec<Change> {
    let layout = present.layout;
    let guests: Vec<&Attachment> = present.guests.iter().collect();
    let directory = Directory::new(&guests);
    let mut changes = Vec::new();
    let mut moved = HashSet::new();
    let mut gone = HashSet::new();
    for exposure in layout.exposures_in(present.listing) {
        let mut is_touched = false;
        let mut heir = None;
        // A guest that is not there any more is no reason to say nothing.
        let _known = directory.elements(layout, &exposure, true, &mut |set, element| {
            if comparison.is_touched(set, element) {
                is_touched = true;
                gone.insert((set.name().clone(), *element.key()));
            }
            heir = heir.or_else(|| comparison.wanted_by(set, element));
        });
        let heir = heir.and_then(|who| Some((who, all.get(who)?)));
        match heir {
            _ if !is_touched => {}
            None => changes.push(Change::Withdraw(exposure)),
            Some((who, to)) if moved.insert(who) => {
                let to = to.clone();
                changes.push(if exposure == to {
                    Change::Repair(to)
                } else {
                    Change::Move { from: exposure, to }
                });
            }
            Some(_) => {}
        }
    }
    let rest = all.iter().zip(differing).enumerate();
    for (who, (exposure, differs)) in rest {
        if *differs && !moved.contains(&who) {
            changes.push(Change::Expose(exposure.clone()));
        }
    }
    for (set, element) in comparison.unwanted() {
        if !gone.contains(&(set.name().clone(), *element.key())) {
            changes.push(stray(set, element));
        }
    }
    changes
}

fn stray(set: &Set, element: &Element) -> Change {
    Change::Remove {
        set: set.name().as_str().into(),
        element: element_text(set, element).into(),
    }
}

/// What changes in the sets of the guests.
struct Guests {
    claims: Vec<SetChange>,
    sets: Vec<SetChange>,
    left: Vec<SetChange>,
}

fn guests(
    homes: &[Home],
    leaving: &[Attachment],
    present: &Present<'_>,
    changes: &mut Vec<Change>,
) -> Result<Guests, Error> {
    let layout = present.layout;
    let mut comparison = Comparison::new(layout.guest_sets(), present.listing);
    let nothing = Listing::default();
    let mut claims = Comparison::new(layout.guest_sets(), &nothing);
    let mut lacking = HashMap::new();
    let have_peers = |home: &Home| !home.place.policy().peers().is_empty();
    let have_peers = homes.iter().any(have_peers);
    for (who, home) in homes.iter().enumerate() {
        let place = &home.place;
        let others = homes.iter().map(|home| &home.place).filter(|_| have_peers);
        let peers: Vec<&Attachment> = others.filter(|other| place.is_peer_of(other)).collect();
        if home.is_new {
            layout.guest_elements(place, &peers, &mut |set, elements| {
                for element in elements {
                    claims.want(who, set, element);
                }
            })?;
            let (guest, tap) = (place.name.clone(), place.tap);
            changes.push(Change::Attach { guest, tap });
            continue;
        }
        let mut lacks = home.lacks.clone();
        layout.guest_elements(place, &peers, &mut |set, elements| {
            for element in elements {
                // Two guests may want the same for each other.
                let met = comparison.want(who, set, element);
                if matches!(met, Met::Nothing | Met::Other) && !lacks.contains(&GUARDS) {
                    lacks.push(GUARDS);
                }
            }
        })?;
        lacking.insert(place.name(), (place, lacks));
    }
    // What belongs to a guest that leaves goes with its TAP, so that nobody
    // gets its addresses before.
    let leaving: HashSet<&str> = leaving.iter().map(Attachment::name).collect();
    let taps = present.guests.iter().map(|guest| (guest.tap, guest.name()));
    let taps: HashMap<IfName, &str> = taps.collect();
    let owner_of = |element: &Element| -> String {
        let tap = Layout::tap_in(element).and_then(|tap| taps.get(&tap).copied());
        let name = tap.or_else(|| element.current_comment().map(Comment::as_str));
        name.unwrap_or_default().to_owned()
    };
    let stays_a_while = |element: &Element| leaving.contains(&*owner_of(element));
    let all = layout.sets();
    let mut left: Vec<SetChange> = Vec::new();
    for (set, element) in comparison.unwanted() {
        if stays_a_while(element) {
            let Some(place) = all.iter().position(|one| std::ptr::eq(*one, set)) else {
                continue;
            };
            match left.last_mut().filter(|last| last.set == place) {
                Some(last) => last.remove.push(element.clone()),
                None => left.push(SetChange {
                    set: place,
                    remove: vec![element.clone()],
                    add: Vec::new(),
                }),
            }
            continue;
        }
        match lacking.get_mut(&*owner_of(element)) {
            Some((_, lacks)) if lacks.contains(&GUARDS) => {}
            Some((_, lacks)) => lacks.push(GUARDS),
            None => changes.push(stray(set, element)),
        }
    }
    for home in homes {
        if let Some((place, lacks)) = lacking.remove(home.place.name())
            && !lacks.is_empty()
        {
            changes.push(Change::Complete {
                guest: place.name.clone(),
                tap: place.tap,
                lacks,
            });
        }
    }
    Ok(Guests {
        claims: claims.changes(layout, |_| false),
        sets: comparison.changes(layout, stays_a_while),
        left,
    })
}

/// What a guest lacks whose elements are not as they should be.
const GUARDS: &str = "what it may do";

/// Guests by name and address.
struct Directory<'a> {
    by_name: foldhash::HashMap<&'a str, &'a Attachment>,
    by_address: foldhash::HashMap<IpAddr, &'a Attachment>,
}

impl<'a> Directory<'a> {
    fn new(guests: &[&'a Attachment]) -> Self {
        let named = guests.iter().map(|guest| (guest.name(), *guest));
        let addresses = guests
            .iter()
            .flat_map(|guest| guest.addresses().map(|address| (address, *guest)));
        Self {
            by_name: named.collect(),
            by_address: addresses.collect(),
        }
    }

    /// The elements of an exposure. Of `anyone`, also if it leads to an
    /// address that no guest has.
    fn elements<'l>(
        &self,
        layout: &'l Layout,
        exposure: &Exposure,
        anyone: bool,
        put: &mut impl FnMut(&'l Set, &Element),
    ) -> Result<(), Error> {
        let seat_of = |guest: &Destination, ipv4: bool| {
            let (address, attached) = match guest {
                Destination::Address(address) => (Some(*address), self.by_address.get(address)),
                Destination::Name(name) => (None, self.by_name.get(name.as_str())),
            };
            let Some(attached) = attached else {
                let address = address.filter(|_| anyone).ok_or_else(|| absent(guest))?;
                return Ok(Seat { address, guest: "" });
            };
            Seat::of(guest, attached, ipv4)
        };
        layout.exposure_elements(exposure, seat_of, put)
    }
}

fn absent(guest: impl fmt::Display) -> Error {
    Error::Absent {
        kind: "guest",
        name: guest.to_string().into(),
    }
}
