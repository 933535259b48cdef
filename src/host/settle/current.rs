//! What the kernel has where exposures are to come or to go.

use std::collections::{BTreeMap, HashSet};

use super::compare::Forms;
use super::{Keyed, Listing};
use crate::error::Error;
use crate::host::Host;
use crate::layout::{Place, SETS, read_allowed, read_slot, read_span, role};
use crate::nft::{Data, Element};

/// What the kernel has where exposures are to come or to go.
pub(super) struct Current {
    pub(super) listing: Listing,
    /// How many elements there are by place of the set and limit.
    pub(super) limits: BTreeMap<(usize, u32), usize>,
}

impl Host {
    /// What the kernel has at the ports of `forms`. What few exposures have is
    /// asked for where one of them has it or may have it.
    pub(super) fn current(&mut self, forms: &Forms) -> Result<Current, Error> {
        let mut current = Current {
            listing: Listing::new(&self.layout),
            limits: BTreeMap::new(),
        };
        let nft = &mut self.nft;
        let all = [&forms.alike, &forms.given_up];
        for (index, side) in self.layout.sides.iter().enumerate() {
            let at = |role: usize| index.saturating_mul(SETS).saturating_add(role);
            let of_forms = |role: usize| all.iter().filter_map(move |form| form.0.get(at(role)));
            let keys: HashSet<Data> = of_forms(role::DNAT)
                .flat_map(|set| set.keys().map(|(key, _)| *key))
                .collect();
            if keys.is_empty() {
                continue;
            }
            let listing = &mut current.listing;
            let ours = |element: &Element| keys.contains(element.key());
            if keys.len() <= SINGLY {
                for key in &keys {
                    listing.put_all(at(role::DNAT), nft.get_element(&side.dnat, *key)?);
                }
            } else {
                let mut claims = nft.elements(&side.dnat)?;
                claims.retain(ours);
                listing.put_all(at(role::DNAT), claims);
            }
            let mut special = nft.elements(&side.special)?;
            special.retain(ours);
            if !special.is_empty() || of_forms(role::SPECIAL).any(|set| !set.is_empty()) {
                listing.put_all(at(role::SPECIAL), special);
                let restricted = nft.elements(&side.restricted)?;
                listing.put_all(at(role::RESTRICTED), restricted.into_iter().filter(ours));
                for element in nft.elements(&side.limits)? {
                    if let Some(limit) = side.limit_of(&element) {
                        let count = current.limits.entry((index, limit)).or_default();
                        *count = count.saturating_add(1);
                    }
                    if ours(&element) {
                        listing.put(at(role::LIMITS), element);
                    }
                }
                let of_ours = |element: &Element| {
                    read_slot(side, element).is_some_and(|(key, _, _)| keys.contains(&key))
                };
                let turns = nft.elements(&side.turns)?;
                listing.put_all(at(role::TURNS), turns.into_iter().filter(of_ours));
                let sources = nft.elements(&side.sources)?;
                listing.put_all(at(role::SOURCES), sources.into_iter().filter(of_ours));
                let to_ours = |element: &Element| {
                    read_allowed(side, element)
                        .is_some_and(|(place, _)| keys.contains(&place.key()))
                };
                let allow = nft.elements(&side.allow)?;
                listing.put_all(at(role::ALLOW), allow.into_iter().filter(to_ours));
            }
            let spans = of_forms(role::RANGES).flat_map(Keyed::values);
            let places: Vec<Place> = spans
                .filter_map(|element| Some(read_span(side, element)?.place))
                .collect();
            if !places.is_empty() {
                let meets = |element: &Element| {
                    read_span(side, element)
                        .is_some_and(|span| places.iter().any(|place| place.overlaps(&span.place)))
                };
                let ranges = nft.elements(&side.ranges)?;
                listing.put_all(at(role::RANGES), ranges.into_iter().filter(meets));
            }
        }
        Ok(current)
    }
}

/// So many claims are asked for one by one; of more, the set is listed.
const SINGLY: usize = 16;
