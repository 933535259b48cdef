//! The elements that are wanted in a set against those that are there.

use std::hash::{Hash, Hasher};
use std::ptr;

use crate::layout::{Layout, Listing};
use crate::nft::{Data, Element, Set};

/// What changes in one of the layout's sets.
#[derive(Debug, Clone)]
pub(crate) struct SetChange {
    /// Its place among the layout's sets.
    pub(crate) set: usize,
    /// What is there and must go, also for another element of its key.
    pub(crate) remove: Vec<Element>,
    pub(crate) add: Vec<Element>,
}

/// Sets that are being compared. Whoever wants an element has a number.
pub(super) struct Comparison<'a> {
    sets: Vec<Compared<'a>>,
    last: usize,
}

struct Compared<'a> {
    set: &'a Set,
    listed: &'a [Element],
    places: foldhash::HashMap<Place<'a>, usize>,
    /// Who wants each of the listed ones, if anyone does.
    wanted_by: Vec<Option<usize>>,
    /// Whether each of the listed ones is there in another form than wanted.
    replaced: Vec<bool>,
    add: Vec<Element>,
    /// Who wants those that are not there.
    added_by: foldhash::HashMap<Owned, usize>,
}

/// What an element meets when it is put beside what is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Met {
    /// The same.
    Same,
    /// Nothing of its key.
    Nothing,
    /// Another of its key.
    Other,
    /// One that is wanted as well, by this one.
    Rival(usize),
}

impl<'a> Comparison<'a> {
    pub(super) fn new(sets: Vec<&'a Set>, listing: &'a Listing) -> Self {
        let sets = sets.into_iter().map(|set| {
            let listed = listing.of(set);
            let places = listed.iter().enumerate();
            Compared {
                set,
                listed,
                places: places.map(|(at, element)| (Place(element), at)).collect(),
                wanted_by: vec![None; listed.len()],
                replaced: vec![false; listed.len()],
                add: Vec::new(),
                added_by: foldhash::HashMap::default(),
            }
        });
        Self {
            sets: sets.collect(),
            last: 0,
        }
    }

    /// Has `who` want `element` in `set`, and says what it meets.
    pub(super) fn want(&mut self, who: usize, set: &Set, element: &Element) -> Met {
        // One element's set is mostly the last one's.
        let is_it = |compared: &Compared<'_>| ptr::eq(compared.set, set);
        if !self.sets.get(self.last).is_some_and(is_it) {
            self.last = self.sets.iter().position(is_it).unwrap_or(usize::MAX);
        }
        let Some(compared) = self.sets.get_mut(self.last) else {
            return Met::Nothing;
        };
        compared.want(who, element)
    }

    /// Whether anything differs.
    pub(super) fn differs(&self) -> bool {
        let mut sets = self.sets.iter();
        sets.any(|one| !one.add.is_empty() || one.wanted_by.iter().any(Option::is_none))
    }

    /// Whether the element of this key goes, or is replaced.
    pub(super) fn is_touched(&self, set: &Set, element: &Element) -> bool {
        let mut sets = self.sets.iter();
        let Some(compared) = sets.find(|compared| ptr::eq(compared.set, set)) else {
            return false;
        };
        let Some(&at) = compared.places.get(&Place(element)) else {
            return false;
        };
        let is_wanted = compared.wanted_by.get(at).is_some_and(Option::is_some);
        !is_wanted || compared.replaced.get(at) == Some(&true)
    }

    /// Who wants the element of this key.
    pub(super) fn wanted_by(&self, set: &Set, element: &Element) -> Option<usize> {
        let mut sets = self.sets.iter();
        let compared = sets.find(|compared| ptr::eq(compared.set, set))?;
        let at = *compared.places.get(&Place(element))?;
        *compared.wanted_by.get(at)?
    }

    /// The elements that are there and nobody wants.
    pub(super) fn unwanted(&self) -> impl Iterator<Item = (&'a Set, &'a Element)> {
        self.sets.iter().flat_map(|compared| {
            let listed = compared.listed.iter().zip(&compared.wanted_by);
            let unwanted = listed.filter(|(_, who)| who.is_none());
            unwanted.map(|(element, _)| (compared.set, element))
        })
    }

    /// The changes, without those that `leave` says to leave alone: the
    /// removal of an element that nobody wants.
    pub(super) fn changes(
        self,
        layout: &Layout,
        mut leave: impl FnMut(&Element) -> bool,
    ) -> Vec<SetChange> {
        let all = layout.sets();
        let mut changes = Vec::new();
        for compared in self.sets {
            let Some(set) = all.iter().position(|set| ptr::eq(*set, compared.set)) else {
                continue;
            };
            let listed = compared.listed.iter().zip(&compared.wanted_by);
            let unwanted = listed.filter(|(element, who)| who.is_none() && !leave(element));
            let mut remove: Vec<Element> = unwanted.map(|(one, _)| one.clone()).collect();
            let listed = compared.listed.iter().zip(&compared.replaced);
            let replaced = listed.filter(|(_, replaced)| **replaced);
            remove.extend(replaced.map(|(one, _)| one.clone()));
            let add = compared.add;
            if !add.is_empty() || !remove.is_empty() {
                changes.push(SetChange { set, remove, add });
            }
        }
        changes
    }
}

impl Compared<'_> {
    fn want(&mut self, who: usize, element: &Element) -> Met {
        let at = self.places.get(&Place(element)).copied();
        let there = at.and_then(|at| Some((at, self.listed.get(at)?, self.wanted_by.get_mut(at)?)));
        let Some((at, listed, wanted_by)) = there else {
            if let Some(rival) = self.added_by.get(&Place(element).owned()) {
                return Met::Rival(*rival);
            }
            self.added_by.insert(Place(element).owned(), who);
            self.add.push(element.clone());
            return Met::Nothing;
        };
        if let Some(rival) = *wanted_by {
            return Met::Rival(rival);
        }
        *wanted_by = Some(who);
        if is_same(listed, element) {
            return Met::Same;
        }
        self.replaced
            .get_mut(at)
            .into_iter()
            .for_each(|it| *it = true);
        // What leads where it led goes on counting.
        let element = element.clone();
        self.add.push(match listed.counts() {
            Some(counts) if listed.value() == element.value() => element.counter(counts),
            _ => element,
        });
        Met::Other
    }
}

/// An element as what identifies it in its set: two are equal if the set has
/// room for one of them only.
#[derive(Debug, Clone, Copy)]
struct Place<'a>(&'a Element);

impl<'a> Place<'a> {
    fn parts(self) -> (&'a [u8], Option<&'a [u8]>, bool) {
        let Self(element) = self;
        let key = element.key();
        // A range of one key is listed with and without its end.
        let last = element.key_end().filter(|last| *last != key);
        let last = last.map(Data::as_bytes);
        (key.as_bytes(), last, element.is_interval_end())
    }

    fn owned(self) -> Owned {
        let (key, last, is_end) = self.parts();
        (key.into(), last.map(Into::into), is_end)
    }
}

impl PartialEq for Place<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.parts() == other.parts()
    }
}

impl Eq for Place<'_> {}

impl Hash for Place<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.parts().hash(state);
    }
}

/// The same of an element that is kept elsewhere.
type Owned = (Box<[u8]>, Option<Box<[u8]>>, bool);

/// Whether a listed element is what is wanted, whatever it has counted.
fn is_same(listed: &Element, wanted: &Element) -> bool {
    let (one, other) = (listed.expressions(), wanted.expressions());
    listed.value() == wanted.value()
        && listed.current_comment() == wanted.current_comment()
        && one.len() == other.len()
        && one
            .iter()
            .zip(other)
            .all(|(one, other)| one.plain() == other.plain())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nft::{Comment, Counts, L4Proto, Port};
    use crate::owner::Owner;

    fn element(port: u16, guest: u8, comment: &'static str) -> Element {
        Element::new((L4Proto::TCP, Port(port)))
            .data((std::net::Ipv4Addr::new(198, 18, 0, guest), Port(80)))
            .comment(Comment::constant(comment))
    }

    #[test]
    fn what_leads_where_it_led_goes_on_counting() {
        let layout = Layout::new(&Owner::new("riklet").unwrap(), 8, 8).unwrap();
        let sets: Vec<&Set> = layout.exposure_sets().collect();
        let map = *sets
            .iter()
            .find(|set| set.name().as_str() == "dnat4_any")
            .unwrap();
        let mut listing = Listing::default();
        let counted = |element: Element| element.counter(Counts::new(7, 700));
        listing.take(
            map,
            vec![
                counted(element(1, 2, "a")),
                counted(element(2, 2, "a")),
                counted(element(3, 2, "a")),
                counted(element(4, 2, "a")),
            ],
        );
        let mut comparison = Comparison::new(layout.exposure_sets().collect(), &listing);
        assert_eq!(comparison.want(0, map, &element(1, 2, "a")), Met::Same);
        assert_eq!(comparison.want(1, map, &element(2, 2, "b")), Met::Other);
        assert_eq!(comparison.want(2, map, &element(3, 6, "b")), Met::Other);
        assert_eq!(comparison.want(3, map, &element(5, 2, "a")), Met::Nothing);
        assert_eq!(comparison.want(4, map, &element(1, 6, "b")), Met::Rival(0));
        assert_eq!(comparison.want(5, map, &element(5, 6, "b")), Met::Rival(3));
        assert!(comparison.differs());
        assert!(!comparison.is_touched(map, &element(1, 2, "a")));
        for port in 2..=4 {
            assert!(comparison.is_touched(map, &element(port, 2, "a")));
        }
        let changes = comparison.changes(&layout, |_| false);
        let [change] = changes.as_slice() else {
            panic!("{changes:?}");
        };
        // The one that nobody wants first.
        let removed: Vec<u8> = change
            .remove
            .iter()
            .map(|one| one.key().as_bytes()[5])
            .collect();
        assert_eq!(removed, [4, 2, 3]);
        let added: Vec<_> = change.add.iter().map(Element::counts).collect();
        assert_eq!(added, [Some(Counts::new(7, 700)), None, None]);
    }

    #[test]
    fn range_of_one_key_is_the_key() {
        let one = Element::new(Port(80));
        assert_eq!(Place(&one), Place(&one.clone().to(Port(80))));
        assert_ne!(Place(&one), Place(&one.clone().to(Port(81))));
        assert_ne!(Place(&one), Place(&one.clone().interval_end()));
    }
}
