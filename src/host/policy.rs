//! What guests may do comes into force, and ends.

use std::collections::HashMap;
use std::collections::HashSet;
use std::net::IpAddr;
use std::ptr;

use super::Host;
use crate::conntrack::{self, Flow, FlowFilter, TupleFilter};
use crate::error::{Error, Invalid};
use crate::guest::{Attachment, Egress};
use crate::layout::Layout;
use crate::nft::{Batch, Element, Set};

impl Host {
    /// Makes sure that the host has the addresses behind which packets are to
    /// leave: nobody would answer for another.
    pub(super) fn check_sources(&mut self, egress: &Egress) -> Result<(), Error> {
        if egress.sources().next().is_none() {
            return Ok(());
        }
        let own = self.rtnl.addresses(None)?;
        for address in egress.sources() {
            if !own.iter().any(|one| one.net().addr() == address) {
                return Err(Error::Absent {
                    kind: "address of the host",
                    name: address.to_string().into(),
                });
            }
        }
        Ok(())
    }

    /// Queues what brings a guest from what is known of it to what is wanted.
    /// What should be there already is added as well, since someone may have
    /// taken it away.
    pub(super) fn queue_guest(
        &mut self,
        wanted: &Attachment,
        before: Option<&Attachment>,
    ) -> Result<(), Invalid> {
        let Self {
            layout,
            known,
            batch,
            ..
        } = self;
        let peers = known.peers_of(wanted);
        let Some(before) = before else {
            return layout.guest_elements(wanted, &peers, &mut |set, elements| {
                queue_new(layout, set, elements, batch);
            });
        };
        let mut new = BySet::of(1);
        layout.guest_elements(wanted, &peers, &mut |set, elements| new.put(set, elements))?;
        let peers = known.peers_of(before);
        layout.guest_elements(before, &peers, &mut |set, elements| {
            let there: HashSet<&Element> = new.of_set(set).iter().collect();
            let gone = elements.iter().filter(|one| !there.contains(one));
            batch.destroy_elements(set, gone);
        })?;
        for (set, elements) in &new.sets {
            batch.add_elements(set, elements);
        }
        Ok(())
    }

    /// Queues what brings guests from what was known of each to what is
    /// wanted; addresses of new ones are claimed.
    pub(super) fn queue_guests(
        &mut self,
        placed: &[(Attachment, Option<Attachment>)],
    ) -> Result<(), Invalid> {
        for (wanted, before) in placed {
            if before.is_some() {
                self.queue_guest(wanted, before.as_ref())?;
            }
        }
        let mut by_name = HashMap::new();
        let mut named: HashMap<&str, Vec<&Attachment>> = HashMap::new();
        for (wanted, _) in placed {
            by_name.insert(wanted.name(), wanted);
            for peer in wanted.policy().peers() {
                named.entry(peer.as_str()).or_default().push(wanted);
            }
        }
        let layout = &self.layout;
        let mut sets = BySet::of(placed.len());
        let new = || placed.iter().filter(|(_, before)| before.is_none());
        for (wanted, _) in new() {
            let mut peers = self.known.peers_of(wanted);
            // Of those that change now, what they are going to be.
            peers.retain(|peer| !by_name.contains_key(peer.name()));
            let asked = wanted.policy().peers().iter();
            peers.extend(asked.filter_map(|peer| by_name.get(peer.as_str()).copied()));
            peers.extend(named.get(wanted.name()).into_iter().flatten());
            peers.retain(|peer| peer.slot != wanted.slot);
            layout.guest_elements(wanted, &peers, &mut |set, elements| sets.put(set, elements))?;
        }
        for (set, elements) in sets.sets {
            queue_new(layout, set, &elements, &mut self.batch);
        }
        Ok(())
    }

    /// Queues the end of all that is known of guests.
    pub(super) fn queue_release(&mut self, guests: &[Attachment]) -> Result<(), Invalid> {
        let mut sets = BySet::of(guests.len());
        for guest in guests {
            let known = self.known.guest_of_name(guest.name()).unwrap_or(guest);
            let peers = self.known.peers_of(known);
            self.layout
                .guest_elements(known, &peers, &mut |set, elements| sets.put(set, elements))?;
        }
        for (set, elements) in sets.sets {
            self.batch.destroy_elements(set, &elements);
        }
        Ok(())
    }

    /// Ends the connections that a guest had and may no longer have: the
    /// rules look at the first packet of each only.
    pub(super) fn end_forbidden_flows(
        &mut self,
        before: &Attachment,
        now: &Attachment,
    ) -> Result<(), Error> {
        let (old, new) = (before.policy(), now.policy());
        let prefixes = new.egress().prefixes();
        let reaches_less = prefixes.is_some() && prefixes != old.egress().prefixes();
        let services = old.services().iter();
        let services: HashSet<(u8, Option<u16>)> = services
            .filter(|service| !new.services().contains(service))
            .map(|service| (service.protocol().number(), Some(service.port())))
            .collect();
        let peers = self.known.peers_of(before).into_iter();
        let peers: HashSet<IpAddr> = peers
            .filter(|peer| !now.is_peer_of(peer))
            .flat_map(Attachment::addresses)
            .collect();
        let begun_by_guest = |flow: &Flow| {
            let to = flow.original();
            let service = (to.protocol(), to.destination_port());
            reaches_less || services.contains(&service) || peers.contains(&to.destination())
        };
        let begun_by_peer = |flow: &Flow| peers.contains(&flow.original().source());
        for own in now.addresses() {
            let all = FlowFilter::family_of(own);
            if reaches_less || !services.is_empty() || !peers.is_empty() {
                let from = all.original(TupleFilter::new().source(own));
                self.end_flows(&from, begun_by_guest)?;
            }
            if !peers.is_empty() {
                let to = all.original(TupleFilter::new().destination(own));
                self.end_flows(&to, begun_by_peer)?;
            }
        }
        Ok(())
    }

    /// Ends those of some flows that are `meant`, in one pass.
    fn end_flows(
        &mut self,
        among: &FlowFilter,
        meant: impl Fn(&Flow) -> bool,
    ) -> Result<(), Error> {
        for flow in conntrack::flows(self.nft.connection_mut(), among)? {
            if meant(&flow) {
                conntrack::delete_flow(self.nft.connection_mut(), &flow)?;
            }
        }
        Ok(())
    }
}

/// Elements, those of one set together.
struct BySet<'l> {
    sets: Vec<(&'l Set, Vec<Element>)>,
    /// Of so many guests, each of which has one in a set as a rule.
    guests: usize,
}

impl<'l> BySet<'l> {
    fn of(guests: usize) -> Self {
        Self {
            sets: Vec::with_capacity(USUAL),
            guests,
        }
    }

    fn put(&mut self, set: &'l Set, more: &[Element]) {
        if more.is_empty() {
            return;
        }
        let mut sets = self.sets.iter_mut();
        if let Some((_, elements)) = sets.find(|(one, _)| ptr::eq(*one, set)) {
            elements.extend_from_slice(more);
        } else {
            let mut elements = Vec::with_capacity(self.guests.max(more.len()));
            elements.extend_from_slice(more);
            self.sets.push((set, elements));
        }
    }

    fn of_set(&self, set: &Set) -> &[Element] {
        let found = self.sets.iter().find(|(one, _)| ptr::eq(*one, set));
        found.map_or(&[], |(_, elements)| elements)
    }
}

/// So many sets have elements of a guest, at most as a rule.
const USUAL: usize = 16;

/// Queues elements of guests that are not attached yet, those of one set in
/// one message: the kernel answers each that it refuses, and one for each
/// element would be too many answers.
fn queue_new(layout: &Layout, set: &Set, elements: &[Element], batch: &mut Batch) {
    if layout.is_claimed(set) {
        batch.create_elements(set, elements);
    } else {
        batch.add_elements(set, elements);
    }
}
