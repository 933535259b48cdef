//! What is wanted and what is there, both as elements of the layout's sets.

use std::ptr;

use super::policy::take_tap;
use super::{Layout, Side, read_claim, read_special};
use crate::exposure::{Exposure, Key, Mapping};
use crate::nft::{Element, Family, Name, Set};
use crate::types::IfName;

impl Layout {
    /// All sets, in the order in which they are made.
    pub(crate) fn sets(&self) -> Vec<&Set> {
        let mut sets: Vec<&Set> = self.exposure_sets().collect();
        sets.extend(self.guest_sets());
        sets.extend(self.kept_sets());
        sets
    }

    /// The sets whose elements follow from the guests. The key of each begins
    /// with the guest's TAP, or the comment is the guest's name.
    pub(crate) fn guest_sets(&self) -> Vec<&Set> {
        let mut sets = vec![
            &self.guard4,
            &self.guard6,
            &self.guard_mac,
            &self.self4,
            &self.self6,
            &self.guard_arp,
        ];
        sets.extend(self.clones.all());
        sets.extend(self.elsewhere.all());
        sets.extend(self.policy.all());
        sets
    }

    /// The TAP by whose name the key of an element of a guest begins.
    pub(crate) fn tap_in(element: &Element) -> Option<IfName> {
        take_tap(element.key().as_bytes()).map(|(tap, _)| tap)
    }

    /// The sets whose elements tell what was done to the host.
    pub(crate) fn kept_sets(&self) -> Vec<&Set> {
        vec![&self.uplinks4, &self.uplinks6, &self.elsewhere.localnet]
    }

    /// The exposures that are in force, by their elements, in their order.
    pub(crate) fn exposures_in(&self, listing: &Listing) -> Vec<Exposure> {
        let elements: Vec<Vec<Element>> = self
            .exposure_sets()
            .map(|set| listing.of(set).to_vec())
            .collect();
        let exposures = self.regroup(&elements).into_iter();
        exposures.map(|regrouped| regrouped.exposure).collect()
    }

    /// What an element of a set says that a port leads to.
    pub(crate) fn claim_in(&self, set: &Set, element: &Element) -> Option<Mapping> {
        let mut sides = self.sides.iter();
        let side = sides.find(|side| ptr::eq(&raw const side.dnat, set))?;
        read_claim(side, element)
    }

    /// For which port an element of a set says that there is more.
    pub(crate) fn special_in(&self, set: &Set, element: &Element) -> Option<Key> {
        let mut sides = self.sides.iter();
        let side = sides.find(|side| ptr::eq(&raw const side.special, set))?;
        read_special(side, element)
    }

    /// The side to which a set of limits belongs.
    pub(crate) fn side_of_limits(&self, set: &Set) -> Option<&Side> {
        let mut sides = self.sides.iter().map(|side| &**side);
        sides.find(|side| ptr::eq(&raw const side.limits, set))
    }
}

/// The elements of the layout's sets as the kernel lists them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Listing(Vec<(Family, Name, Vec<Element>)>);

impl Listing {
    /// Takes what was listed of a set.
    pub(crate) fn take(&mut self, set: &Set, elements: Vec<Element>) {
        self.0.push((set.family(), set.name().clone(), elements));
    }

    /// What was listed of a set.
    pub(crate) fn of(&self, set: &Set) -> &[Element] {
        let mut sets = self.0.iter();
        let found = sets.find(|(family, name, _)| *family == set.family() && name == set.name());
        found.map_or(&[], |(_, _, elements)| elements)
    }

    /// Only what was listed of these sets.
    pub(crate) fn only(&self, sets: &[&Set]) -> Self {
        let mut only = Self::default();
        for set in sets {
            only.take(set, self.of(set).to_vec());
        }
        only
    }
}
