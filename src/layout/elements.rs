//! What is wanted and what is there, both as elements of the layout's sets.

use std::net::IpAddr;
use std::ptr;

use super::{Layout, exposure_element, guests, read_exposure};
use crate::error::Invalid;
use crate::exposure::{Destination, Exposure, Mapping};
use crate::guest::{Attachment, Guest};
use crate::nft::{Comment, Element, Family, Name, Set};

impl Layout {
    /// All sets, in the order in which they are made.
    pub(crate) fn sets(&self) -> Vec<&Set> {
        let mut sets = self.exposure_sets();
        sets.extend(self.guest_sets());
        sets.extend(self.kept_sets());
        sets
    }

    /// The sets whose elements follow from the exposures.
    pub(crate) fn exposure_sets(&self) -> Vec<&Set> {
        self.exposure_maps().to_vec()
    }

    /// The sets whose elements follow from the guests. The comment of each
    /// element is the name of its guest.
    pub(crate) fn guest_sets(&self) -> Vec<&Set> {
        vec![
            &self.guard4,
            &self.guard6,
            &self.guard_mac,
            &self.self4,
            &self.self6,
            &self.guard_arp,
        ]
    }

    /// The sets whose elements tell what was done to the host.
    pub(crate) fn kept_sets(&self) -> Vec<&Set> {
        vec![&self.uplinks4, &self.uplinks6]
    }

    /// The elements of an attached guest, by their sets. `guest` is what it
    /// is wanted to be.
    pub(crate) fn guest_elements<'l>(
        &'l self,
        attached: &Attachment,
        _guest: &Guest,
        put: &mut impl FnMut(&'l Set, Element),
    ) -> Result<(), Invalid> {
        let [self4, self6] = guests::self_elements(attached)?;
        let [guard4, guard6, arp] = guests::guard_elements(attached)?;
        put(&self.guard_mac, guests::mac_element(attached)?);
        put(&self.self4, self4);
        put(&self.self6, self6);
        put(&self.guard4, guard4);
        put(&self.guard6, guard6);
        put(&self.guard_arp, arp);
        Ok(())
    }

    /// The elements of an exposure, by their sets. `address_of` tells the
    /// address of a guest in a family, `name_of` what the guest of an address
    /// is called. `mappings` is memory to work in.
    pub(crate) fn exposure_elements<'l, E>(
        &'l self,
        exposure: &Exposure,
        mut address_of: impl FnMut(&Destination, bool) -> Result<IpAddr, E>,
        name_of: impl Fn(IpAddr) -> Option<Comment>,
        mappings: &mut Vec<Mapping>,
        put: &mut impl FnMut(&'l Set, Element),
    ) -> Result<(), E> {
        for target in exposure.targets() {
            mappings.clear();
            exposure.map_to(target, &mut address_of, mappings)?;
            let mut last = None;
            for mapping in mappings.iter() {
                let address = mapping.guest_address;
                let (_, name) = last
                    .filter(|&(known, _)| known == address)
                    .unwrap_or_else(|| (address, name_of(address)));
                last = Some((address, name));
                put(self.map_of(mapping), exposure_element(mapping, name));
            }
        }
        Ok(())
    }

    /// The exposures that are in force, by their elements, in their order.
    pub(crate) fn exposures_in(&self, listing: &Listing) -> Vec<Exposure> {
        let maps = self.exposure_maps().into_iter();
        let mappings = maps.flat_map(|map| listing.of(map).iter().filter_map(read_exposure));
        let mut exposures: Vec<Exposure> = mappings
            .filter_map(|mapping| Exposure::try_from(mapping).ok())
            .collect();
        exposures.sort_unstable();
        exposures
    }

    /// What an element of a set says that a port leads to.
    pub(crate) fn mapping_in(&self, set: &Set, element: &Element) -> Option<Mapping> {
        let maps = self.exposure_maps();
        let is_map = maps.iter().any(|map| ptr::eq(*map, set));
        read_exposure(element).filter(|_| is_map)
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
