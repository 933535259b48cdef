//! Clones in network namespaces of their own.

mod contents;
mod site;

use std::collections::{HashMap, HashSet};
use std::num::NonZeroUsize;
use std::thread;

use super::Host;
use super::removal::free_group;
use crate::error::Error;
use crate::guest::{Attachment, Connection, Guest, GuestName};
use crate::layout::Inside;
use crate::nft::{Nft, Rule};
use crate::owner::Owner;
use crate::route::{LinkChange, Rtnl};
use crate::sys::{Journey, NetNs};
use crate::types::{IfIndex, IfName};

use contents::check_ours;
use site::Site;

impl Host {
    /// Makes the namespaces of those of the guests that have one, with all
    /// that is in them, or completes them: of many by several threads, of which
    /// each goes on to its end if another fails. Returns the indexes of the links
    /// that lead there, which are not set up yet, by their names.
    ///
    /// A namespace gets its name last. So one that has a name was complete,
    /// and one that was not goes with the thread that made it, however that
    /// ends.
    pub(super) fn settle_namespaces(
        &mut self,
        guests: &[(&Guest, &Attachment, bool)],
    ) -> Result<HashMap<IfName, IfIndex>, Error> {
        let mut insides = Vec::new();
        for &(guest, clone, _) in guests {
            insides.extend(self.inside_of(clone)?.map(|inside| (guest, inside)));
        }
        if insides.is_empty() {
            return Ok(HashMap::new());
        }
        self.proc.expect(insides.len());
        let sites = insides.into_iter();
        let sites = sites.map(|(guest, inside)| Site::new(guest, inside, &self.proc));
        let sites: Vec<Site<'_>> = sites.collect();
        let netns = &self.netns;
        let parts = sites.chunks(sites.len().div_ceil(workers(sites.len())));
        let parts = NetNs::journeys(parts, |journey, sites| {
            let mut settle = |site: &Site<'_>| {
                let far = site.settle(journey, netns)?;
                Ok((site.name(), far))
            };
            sites
                .iter()
                .map(&mut settle)
                .collect::<Result<Vec<_>, Error>>()
        })?;
        let parts: Result<Vec<_>, Error> = parts.into_iter().collect();
        Ok(parts?.into_iter().flatten().collect())
    }

    /// What of the namespaces of attached clones is missing, by their names.
    pub(super) fn lacking_namespaced(
        &self,
        clones: &[&Attachment],
    ) -> Result<HashMap<GuestName, Vec<&'static str>>, Error> {
        let mut insides = Vec::new();
        for &clone in clones {
            insides.extend(self.inside_of(clone)?);
        }
        if insides.is_empty() {
            return Ok(HashMap::new());
        }
        let host = self.netns.id()?;
        NetNs::journey(|journey| {
            let lacks = |inside: &Inside<'_>| {
                let lacks = contents::lacks(journey, inside, host)?;
                Ok((inside.clone.name.clone(), lacks))
            };
            insides.iter().map(lacks).collect()
        })?
    }

    /// Deletes the links that lead to clones, and takes the names from their
    /// namespaces: a few at once, for the kernel waits as long for one as for
    /// several, and lets others wait meanwhile. A namespace goes with its last
    /// user, who is on its own as soon as the link there is gone.
    pub(super) fn delete_namespaces(&mut self, clones: &[&Attachment]) -> Result<(), Error> {
        let (mut ours, mut groups) = (HashMap::new(), HashSet::new());
        // Of one, which goes without a group, the others need not be listed.
        let links = match clones {
            [clone] => self.rtnl.link(clone.tap)?.into_iter().collect(),
            _ => self.rtnl.links()?,
        };
        for link in links {
            groups.insert(link.group());
            if let Some(slot) = self.slot_of(&link) {
                ours.insert(slot, link.index());
            }
        }
        let group = free_group(&groups);
        let (netns, rtnl, owner) = (&self.netns, &mut self.rtnl, &self.owner);
        NetNs::journey(|journey| {
            for slice in clones.chunks(SLICE) {
                let links = slice.iter().filter_map(|clone| ours.get(&clone.slot));
                let links: Vec<IfIndex> = links.copied().collect();
                delete_links(rtnl, &links, group)?;
                for clone in slice {
                    // A link of ours led to a namespace of ours.
                    if ours.contains_key(&clone.slot) {
                        remove_name(clone.tap.as_str())?;
                    } else {
                        remove_our_name(journey, owner, netns, clone.tap.as_str())?;
                    }
                }
            }
            Ok(())
        })?
    }

    /// Takes away the namespaces of clones that could not be attached, if they
    /// are the owner's, with the pairs that lead there.
    pub(super) fn take_back_namespaces(&self, clones: &[&Attachment]) -> Result<(), Error> {
        let mut insides = Vec::new();
        for &clone in clones {
            insides.extend(self.inside_of(clone)?);
        }
        if insides.is_empty() {
            return Ok(());
        }
        let (netns, owner) = (&self.netns, &self.owner);
        NetNs::journey(|journey| {
            let mut insides = insides.iter();
            insides.try_for_each(|inside| {
                let name = inside.clone.tap.as_str();
                if enter_ours(journey, owner, netns, name)? {
                    let mut rtnl = Rtnl::open()?;
                    if let Some(uplink) = rtnl.link(inside.uplink)? {
                        delete_link(&mut rtnl, uplink.index())?;
                    }
                    remove_name(name)?;
                }
                Ok(())
            })
        })?
    }

    /// Takes away namespaces under the owner's names that belong to no guest.
    pub(super) fn remove_stray_namespaces(&mut self) -> Result<(), Error> {
        let names = NetNs::names()?;
        let known = |slot| self.known.guests().any(|guest| guest.slot == slot);
        let is_stray = |name: &&str| {
            let name = name.parse().ok();
            let slot = name.and_then(|name| self.owner.slot(&name));
            slot.is_some_and(|slot| !known(slot))
        };
        let strays = names
            .iter()
            .filter_map(|name| name.to_str())
            .filter(is_stray);
        let strays: Vec<&str> = strays.collect();
        if strays.is_empty() {
            return Ok(());
        }
        let (netns, owner) = (&self.netns, &self.owner);
        NetNs::journey(|journey| {
            let mut names = strays.into_iter();
            names.try_for_each(|name| remove_our_name(journey, owner, netns, name))
        })?
    }

    /// The rules in the namespaces of all clones, with what they have counted.
    pub(super) fn rules_inside(&self) -> Result<Vec<Rule>, Error> {
        let mut insides = Vec::new();
        for clone in self.known.guests() {
            insides.extend(self.inside_of(clone)?);
        }
        if insides.is_empty() {
            return Ok(Vec::new());
        }
        NetNs::journey(|journey| {
            let mut rules = Vec::new();
            for inside in &insides {
                match NetNs::open_named(inside.clone.tap.as_str()) {
                    Ok(netns) => journey.enter(&netns)?,
                    // It is going to be completed.
                    Err(error) if error.is_not_found() => continue,
                    Err(error) => return Err(error),
                }
                let mut nft = open_nft()?;
                for table in inside.tables() {
                    match nft.all_rules(table) {
                        Err(error) if error.is_not_found() => {}
                        of_table => rules.extend(of_table?),
                    }
                }
            }
            Ok(rules)
        })?
    }

    /// What is in the namespace of a guest, if it has one.
    fn inside_of<'a>(&self, clone: &'a Attachment) -> Result<Option<Inside<'a>>, Error> {
        match clone.connection() {
            Connection::Namespaced(snapshot) => {
                let host = self.netns.id()?;
                Ok(Some(Inside::new(&self.owner, host, clone, snapshot)?))
            }
            _ => Ok(None),
        }
    }
}

/// Deletes links in one go, several as a group in which nobody else is. Those
/// that are gone are no error.
fn delete_links(rtnl: &mut Rtnl, links: &[IfIndex], group: u32) -> Result<(), Error> {
    if let [index] = links {
        return delete_link(rtnl, *index);
    }
    let refused = rtnl.attempt(|changes| {
        for &index in links {
            changes.set_link(&LinkChange::new(index).group(group));
        }
        if !changes.is_empty() {
            changes.delete_links_of_group(group);
        }
    })?;
    let kept = refused.into_iter().find(|error| !error.is_not_found());
    kept.map_or(Ok(()), Err)
}

/// A handle on the tables of the namespace that the thread is in, for who only
/// reads them or makes new ones. Nothing is left to be freed there then, so
/// closing it waits for nothing, and need not be left to another thread.
fn open_nft() -> Result<Nft, Error> {
    let mut nft = Nft::open()?;
    nft.connection_mut().socket_mut().close_in_place();
    Ok(nft)
}

/// Takes a name from a namespace if it is one of ours.
fn remove_our_name(
    journey: &mut Journey,
    owner: &Owner,
    host: &NetNs,
    name: &str,
) -> Result<(), Error> {
    if enter_ours(journey, owner, host, name)? {
        remove_name(name)?;
    }
    Ok(())
}

/// Goes into the namespace of a name if it is one of ours, and removes the
/// file of a name that never was one.
fn enter_ours(
    journey: &mut Journey,
    owner: &Owner,
    host: &NetNs,
    name: &str,
) -> Result<bool, Error> {
    match NetNs::open_named(name) {
        Ok(netns) => {
            journey.enter(&netns)?;
            match check_ours(owner, host.id()?, name) {
                Err(Error::Conflict(_)) => Ok(false),
                checked => checked.map(|()| true),
            }
        }
        Err(error) if error.is_not_found() => Ok(false),
        Err(Error::Invalid(_)) => NetNs::clear_name(name).map(|_| false),
        Err(error) => Err(error),
    }
}

/// Takes a name away; one that is gone is no error.
fn remove_name(name: &str) -> Result<(), Error> {
    match NetNs::remove_named(name) {
        Err(error) if error.is_not_found() => Ok(()),
        result => result,
    }
}

/// How many threads are to make so many namespaces: one alone spends most of
/// its time in parts of the kernel that do not wait for each other.
fn workers(namespaces: usize) -> usize {
    let wanted = (namespaces / EACH).clamp(1, WORKERS);
    if wanted == 1 {
        // Asking takes a dozen system calls.
        return wanted;
    }
    wanted.min(thread::available_parallelism().map_or(1, NonZeroUsize::get))
}

/// A thread is worth its start for so many.
const EACH: usize = 4;

/// More threads would wait for the kernel's one lock on links.
const WORKERS: usize = 4;

/// So many namespaces are taken away at once: with more the kernel keeps its
/// one lock on links from others for longer, with fewer it takes longer itself.
const SLICE: usize = 28;

/// Deletes a link; one that is gone is no error.
fn delete_link(rtnl: &mut Rtnl, index: IfIndex) -> Result<(), Error> {
    match rtnl.apply(|changes| changes.delete_link(index)) {
        Err(error) if error.is_not_found() => Ok(()),
        result => result,
    }
}
