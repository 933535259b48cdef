//! IPv6 forwarding before Linux 6.17: one switch for all interfaces.
//!
//! It opens every interface, so every one is noted, and what is noted
//! forwards for the guests only.

use std::collections::BTreeMap;

use super::Host;
use crate::error::Error;
use crate::layout::read_uplink;
use crate::nft::{Comment, Element, Set};
use crate::owner::Owner;
use crate::route::{Ipv6Setting, Link, ipv6_setting, set_ipv6_setting};
use crate::types::IfName;

/// The interfaces that are noted, and whether they had `accept_ra` 1. With
/// [`ALL`] among them the switch was switched on.
type Notes = BTreeMap<IfName, bool>;

impl Host {
    /// Switches IPv6 forwarding on, unless others had it on before. Interfaces
    /// that take advertised routes only as long as they do not forward are
    /// told to go on taking them.
    pub(super) fn forward_ipv6_everywhere(&mut self) -> Result<(), Error> {
        let Some(is_on) = self.inside(|| Ok(is_on()))? else {
            return Ok(()); // no IPv6
        };
        let mut notes = self.own_notes()?;
        let others = self.notes_of_others()?;
        if is_on && !notes.contains_key(&ALL) && !others.contains_key(&ALL) {
            return Ok(());
        }
        let links = self.rtnl.links()?;
        let names: Vec<IfName> = links.iter().filter_map(opened).collect();
        let found = self.inside(|| {
            let with_ipv6 = |name| Some((name, ipv6_setting(name, Ipv6Setting::AcceptRa).ok()?));
            Ok(names.into_iter().filter_map(with_ipv6).collect::<Vec<_>>())
        })?;
        let mut new = vec![(ALL, false)];
        new.extend(found.into_iter().map(|(name, accept_ra)| {
            let had_one = accept_ra == 1 || others.get(&name) == Some(&true);
            (name, had_one)
        }));
        new.retain(|(name, _)| !notes.contains_key(name));
        // Another interface of the name of one that is gone is not that one.
        let is_gone =
            |name: &IfName| *name != ALL && links.iter().all(|link| link.name() != name.as_str());
        let gone: Vec<IfName> = notes.keys().copied().filter(is_gone).collect();
        if !new.is_empty() || !gone.is_empty() {
            self.batch.clear();
            let elements = new.iter().map(|&note| element(note));
            self.batch.add_elements(&self.layout.uplinks6, elements);
            let gone = gone.iter().map(|&name| Element::new(name));
            self.batch.destroy_elements(&self.layout.uplinks6, gone);
            self.nft.commit(&mut self.batch)?;
        }
        notes.retain(|name, _| !is_gone(name));
        notes.extend(new);
        self.inside(|| {
            change_accept_ra(&notes, 1, 2)?;
            if is_on {
                return Ok(());
            }
            set_ipv6_setting(ALL, Ipv6Setting::Forwarding, 1)
        })
    }

    /// Switches it off if it was switched on for this owner and no other
    /// needs it.
    pub(super) fn stop_forwarding_ipv6_everywhere(&mut self) -> Result<(), Error> {
        let notes = self.own_notes()?;
        if !notes.contains_key(&ALL) || self.notes_of_others()?.contains_key(&ALL) {
            return Ok(());
        }
        self.inside(|| {
            // In this order an interface is at no time one that forwards and
            // therefore takes no advertised routes.
            set_ipv6_setting(ALL, Ipv6Setting::Forwarding, 0)?;
            change_accept_ra(&notes, 2, 1)
        })
    }

    fn own_notes(&mut self) -> Result<Notes, Error> {
        Ok(notes(&self.nft.elements(&self.layout.uplinks6)?))
    }

    fn notes_of_others(&mut self) -> Result<Notes, Error> {
        let tables = self.nft.tables()?;
        let sets = |table| self.layout.uplinks_of_other(table);
        let sets: Vec<Set> = tables.iter().filter_map(sets).map(|[_, set]| set).collect();
        let mut all = Notes::new();
        for set in sets {
            match self.nft.elements(&set) {
                Err(error) if error.is_not_found() => {}
                elements => all.extend(notes(&elements?)),
            }
        }
        Ok(all)
    }
}

/// Whether it is switched on; `None` without IPv6. In the calling thread's
/// namespace.
fn is_on() -> Option<bool> {
    let value = ipv6_setting(ALL, Ipv6Setting::Forwarding).ok()?;
    Some(value != 0)
}

/// The name of a link that the switch opens to more than what it is there
/// for: not the loopback, nor the TAP of any owner's guest.
pub(super) fn opened(link: &Link) -> Option<IfName> {
    let name: IfName = link.name().parse().ok()?;
    let owner = name.as_str().split_once('-').map(|(owner, _)| owner);
    let owner = owner.and_then(|owner| Owner::new(owner).ok());
    let is_tap = super::is_end(link) && owner.is_some_and(|it| it.slot(&name).is_some());
    (name != super::forwarding::LOOPBACK && !is_tap).then_some(name)
}

/// Changes the setting of the noted interfaces that had 1, where it is as
/// expected. In the calling thread's namespace.
fn change_accept_ra(notes: &Notes, from: i32, to: i32) -> Result<(), Error> {
    for (&name, _) in notes.iter().filter(|(_, had_one)| **had_one) {
        // An interface may have gone meanwhile.
        if ipv6_setting(name, Ipv6Setting::AcceptRa).is_ok_and(|value| value == from) {
            set_ipv6_setting(name, Ipv6Setting::AcceptRa, to)?;
        }
    }
    Ok(())
}

fn notes(elements: &[Element]) -> Notes {
    let note = |element: &Element| {
        let had_one = element.current_comment() == Some(&HAD_ONE);
        Some((read_uplink(element)?, had_one))
    };
    elements.iter().filter_map(note).collect()
}

fn element((name, had_one): (IfName, bool)) -> Element {
    let element = Element::new(name);
    if had_one {
        element.comment(HAD_ONE)
    } else {
        element
    }
}

const HAD_ONE: Comment = Comment::constant("accept_ra 1");

/// What stands for all interfaces under `/proc/sys/net/ipv6/conf`, and for
/// the switch among the notes.
const ALL: IfName = IfName::constant("all");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_read_what_their_elements_say() {
        for note in [(ALL, false), (IfName::constant("eth0"), true)] {
            assert_eq!(notes(&[element(note)]), Notes::from([note]));
        }
    }
}
