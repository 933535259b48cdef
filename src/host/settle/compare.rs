//! What is to change so that exposures are in force and others not.

use std::collections::HashSet;

use super::{Keyed, Listing};
use crate::exposure::Ports;
use crate::layout::{
    Layout, Note, Place, SETS, Side, read_allowed, read_claim, read_slot, read_span, role,
};
use crate::nft::{Comment, Data, Element, Value};

/// The elements of exposures.
pub(super) struct Forms {
    /// That are to be in force.
    pub(super) wanted: Listing,
    /// Those, as they may be in force already.
    pub(super) alike: Listing,
    /// That are to go.
    pub(super) given_up: Listing,
}

/// What is to change in each of the sets.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) sets: Vec<Part>,
    /// Whether any of what is given up is in force.
    pub(super) gives_up: bool,
}

/// What is to change in a set.
#[derive(Debug, Default)]
pub(super) struct Part {
    pub(super) removed: Vec<Element>,
    pub(super) added: Vec<Element>,
    /// What is wanted and there.
    pub(super) kept: Vec<Element>,
}

impl Part {
    pub(super) fn is_empty(&self) -> bool {
        self.removed.is_empty() && self.added.is_empty()
    }
}

impl Change {
    pub(super) fn is_empty(&self) -> bool {
        self.sets.iter().all(Part::is_empty)
    }

    /// What is to change of limits, by side.
    pub(super) fn limits(&self) -> impl Iterator<Item = &Part> {
        let sides = self.sets.chunks(SETS);
        sides.filter_map(|sets| sets.get(role::LIMITS))
    }
}

/// A port that is wanted leads elsewhere.
#[derive(Debug)]
pub(super) struct Clash {
    pub(super) ipv4: bool,
    pub(super) place: Place,
    /// Whether a large range is in the way of another.
    pub(super) is_span: bool,
}

/// Finds out what is to change in `current`, which the kernel has at the
/// ports of `forms`.
pub(super) fn compare(layout: &Layout, forms: &Forms, current: &Listing) -> Result<Change, Clash> {
    let mut change = Change {
        sets: Vec::new(),
        gives_up: false,
    };
    let mut clash = None;
    let sides = layout.sides.iter().zip(current.sides());
    let wanted = forms.wanted.sides();
    let known = forms.alike.sides().zip(forms.given_up.sides());
    for (((side, current), wanted), (alike, given_up)) in sides.zip(wanted).zip(known) {
        let sets = Sets {
            side,
            current,
            wanted,
            alike,
            given_up,
        };
        let others = sets.others(&mut change.gives_up, &mut clash);
        for role in 0..SETS {
            change.sets.push(sets.part(role, &others));
        }
    }
    match clash {
        Some(clash) => Err(clash),
        None => Ok(change),
    }
}

/// The sets of one side.
struct Sets<'c> {
    side: &'c Side,
    current: &'c [Keyed],
    wanted: &'c [Keyed],
    alike: &'c [Keyed],
    given_up: &'c [Keyed],
}

/// The keys that belong to other exposures: of claims, and of large ranges.
type Others = [HashSet<Data>; 2];

impl Sets<'_> {
    /// What belongs to others; says whether what is given up is in force, and
    /// which port that is wanted belongs to others, the lowest of several.
    fn others(&self, gives_up: &mut bool, clash: &mut Option<Clash>) -> Others {
        let mut others = Others::default();
        let [claims, ranges] = &mut others;
        let mut note = |place: Option<Place>, is_span| {
            let before = clash.as_ref().map(|clash| clash.place.ports);
            if let Some(place) = place
                && before.is_none_or(|before| place.ports < before)
            {
                *clash = Some(Clash {
                    ipv4: self.side.ipv4,
                    place,
                    is_span,
                });
            }
        };
        for (key, _) in set(self.current, role::DNAT).keys() {
            let lead = lead_at(self.current, key);
            let ours = lead_at(self.given_up, key) == lead;
            *gives_up |= ours;
            if ours || lead_at(self.alike, key) == lead {
                continue;
            }
            claims.insert(*key);
            let wanted = set(self.wanted, role::DNAT).contains_key(&(*key, None));
            let element = set(self.current, role::DNAT).get(&(*key, None));
            if wanted {
                note(
                    element.and_then(|element| claimed(self.side, element)),
                    false,
                );
            }
        }
        for (key, element) in set(self.current, role::RANGES) {
            let same = |sets: &[Keyed]| {
                let other = set(sets, role::RANGES).get(key);
                other.is_some_and(|other| target(other) == target(element))
            };
            let ours = same(self.given_up);
            *gives_up |= ours;
            if ours || same(self.alike) {
                continue;
            }
            ranges.insert(key.0);
            let place = read_span(self.side, element).map(|span| span.place);
            let meets = |wanted: &Element| {
                let wanted = read_span(self.side, wanted).map(|span| span.place);
                wanted
                    .zip(place)
                    .is_some_and(|(one, other)| one.overlaps(&other))
            };
            let wanted = set(self.wanted, role::RANGES).values().any(meets);
            if wanted {
                note(place, true);
            }
        }
        others
    }

    fn part(&self, role: usize, [claims, ranges]: &Others) -> Part {
        let mut part = Part::default();
        let wanted = set(self.wanted, role);
        let current = set(self.current, role);
        for (key, element) in current {
            let is_others = match role {
                role::RANGES => ranges.contains(&key.0),
                _ => self
                    .owner(role, element)
                    .is_some_and(|key| claims.contains(&key)),
            };
            if is_others {
                continue;
            }
            match wanted.get(key) {
                Some(wanted) if is_same(wanted, element) => part.kept.push(element.clone()),
                _ => part.removed.push(element.clone()),
            }
        }
        for (key, element) in wanted {
            let before = current.get(key);
            if before.is_some_and(|before| is_same(element, before)) {
                continue;
            }
            let counts = before
                .filter(|before| before.value() == element.value())
                .and_then(Element::counts);
            part.added.push(match counts {
                Some(counts) => element.clone().counter(counts),
                None => element.clone(),
            });
        }
        part
    }

    /// The key of the claim that an element belongs to.
    fn owner(&self, role: usize, element: &Element) -> Option<Data> {
        match role {
            role::ALLOW => Some(read_allowed(self.side, element)?.0.key()),
            role::TURNS | role::SOURCES => Some(read_slot(self.side, element)?.0),
            _ => Some(*element.key()),
        }
    }
}

fn set(sets: &[Keyed], role: usize) -> &Keyed {
    static NONE: std::sync::LazyLock<Keyed> = std::sync::LazyLock::new(Keyed::new);
    sets.get(role).unwrap_or(&NONE)
}

fn claimed(side: &Side, element: &Element) -> Option<Place> {
    let claim = read_claim(side, element)?;
    Some(Place {
        host_address: claim.host_address,
        protocol: claim.protocol,
        ports: Ports::from(claim.host_port),
    })
}

/// Where a port leads.
#[derive(Debug, PartialEq, Eq)]
struct Lead<'e> {
    target: Target<'e>,
    /// If there are several, by slot.
    guests: Vec<Target<'e>>,
}

/// A guest and its port, and how the whole exposure and the guest were told,
/// if that is known.
type Target<'e> = (Option<&'e Value>, Option<Note<'e>>);

fn target(element: &Element) -> Target<'_> {
    let note = element.current_comment().and_then(read_note);
    (element.value(), note)
}

/// A note, but for the label, and for the name of a guest that was told by
/// its address.
fn read_note(comment: &Comment) -> Option<Note<'_>> {
    let note = Note::read(comment)?;
    Some(Note {
        guest: if note.by_name { note.guest } else { "" },
        label: None,
        ..note
    })
}

fn lead_at<'e>(sets: &'e [Keyed], key: &Data) -> Option<Lead<'e>> {
    let claim = set(sets, role::DNAT).get(&(*key, None))?;
    let [turns, sources] = [role::TURNS, role::SOURCES].map(|role| set(sets, role));
    let mut guests = Vec::new();
    if !(turns.is_empty() && sources.is_empty()) {
        let slots = (0..Side::SLOTS).map(|slot| (Side::slot_key(key, slot), None));
        guests.extend(slots.filter_map(|slot| {
            let element = turns.get(&slot).or_else(|| sources.get(&slot));
            element.map(target)
        }));
    }
    if guests.len() < 2 {
        guests.clear();
    }
    Some(Lead {
        target: target(claim),
        guests,
    })
}

/// Whether the two elements say the same, whatever was counted.
fn is_same(one: &Element, other: &Element) -> bool {
    one.value() == other.value() && one.current_comment() == other.current_comment()
}
