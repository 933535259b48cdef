//! What is wanted is planned and committed.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use super::attach::{check_mac, networks_of};
use super::forwarding::LOOPBACK;
use super::{Flows, Host};
use crate::conntrack::{self, Flow, FlowFilter, TupleFilter};
use crate::error::{Conflict, Error};
use crate::exposure::{Mapping, Protocol};
use crate::guest::Attachment;
use crate::layout::Listing;
use crate::plan::{Change, Home, Plan, Present, Repair, SetChange, Wanted};
use crate::route::{Address, Ipv4Setting, Ipv6Setting, Link, Neighbour, Scope, ipv6_setting};

impl Host {
    /// Compares what is wanted with what the kernel has; changes nothing.
    ///
    /// A guest that is attached keeps its TAP and addresses; the others get
    /// free ones.
    ///
    /// # Errors
    /// [`Error::Invalid`] for something that is wanted twice;
    /// [`Error::Conflict`] for two exposures that want the same port, for a
    /// guest that is attached with another MAC, whose network is routed
    /// elsewhere or whose TAP's name is taken, and for tables that are another
    /// handle's or of a newer version; [`Error::Absent`] for an exposure whose
    /// guest is not wanted; [`Error::Full`] if the guests' networks are used
    /// up.
    pub fn plan(&mut self, wanted: &Wanted) -> Result<Plan, Error> {
        wanted.check()?;
        let seen = self.look()?;
        self.known = self.remember(seen.generation, &seen.listing, &seen.links);
        if seen.repair != Some(Repair::Missing) {
            self.keep(&seen.listing);
        }
        let homes = self.homes(wanted, &seen)?;
        let present = Present {
            generation: seen.generation,
            layout: &self.layout,
            listing: &seen.listing,
            repair: seen.repair,
            guests: self.known.guests().cloned().collect(),
            addresses: self.addresses_of_host(&seen),
        };
        Plan::new(wanted, homes, present)
    }

    /// Plans what is wanted and commits it, again if others change the ruleset
    /// meanwhile. Returns what was done.
    ///
    /// # Errors
    /// What [`plan`](Self::plan) and [`commit`](Self::commit) return;
    /// [`Error::Stale`] only if others went on changing the ruleset all the
    /// time.
    pub fn apply(&mut self, wanted: &Wanted) -> Result<Plan, Error> {
        let mut done: Vec<Change> = Vec::new();
        let mut attempts = 0..APPLY_ATTEMPTS;
        loop {
            let mut plan = self.plan(wanted)?;
            // What the last attempt had begun with and is not needed any more.
            done.retain(|change| !plan.changes.contains(change));
            match self.commit(&plan) {
                Err(Error::Stale { .. }) if attempts.next().is_some() => {
                    let begun = plan.changes.into_iter().filter(is_before_elements);
                    done.extend(begun);
                }
                result => {
                    result?;
                    plan.changes.splice(0..0, done);
                    return Ok(plan);
                }
            }
        }
    }

    /// Puts a plan into force, in this order: new guests are attached and
    /// others completed; all elements change in one transaction, so that an
    /// exposure that leads elsewhere is never absent; flows of what went are
    /// cut or drained as the plan's [`Wanted`] says; then the guests that are
    /// not wanted are detached. An agent that is killed on the way plans and
    /// commits again.
    ///
    /// # Errors
    /// [`Error::Stale`] if the ruleset has changed since the plan was
    /// computed: guests that were attached stay then, and the next plan goes
    /// on from there. After any other error the new guests are detached again.
    /// What [`attach`](Self::attach) returns of a TAP; [`Error::Refused`] from
    /// the kernel.
    pub fn commit(&mut self, plan: &Plan) -> Result<(), Error> {
        let committed = self.commit_steps(plan);
        let committed = self.explained(committed);
        match &committed {
            Ok(()) | Err(Error::Stale { .. } | Error::UnknownOutcome { .. }) => {}
            Err(_) => {
                let new = plan.homes.iter().filter(|home| home.is_new);
                for home in new {
                    if self.known.guest_of_name(home.place.name()).is_some() {
                        // The first error is the one to tell.
                        let _detached = self.detach(home.place.name());
                    }
                }
            }
        }
        committed
    }

    fn commit_steps(&mut self, plan: &Plan) -> Result<(), Error> {
        let flows = plan.wanted.wanted_flows();
        if plan.is_empty() {
            return self.sweep_once(flows);
        }
        let generation = plan.generation;
        if self.known.generation() != generation {
            return Err(Error::Stale { generation });
        }
        if plan.repair.is_some() {
            self.rebuild(generation, None)?;
            self.known.committed();
        }
        self.attach_all(plan)?;
        let added = self.mappings_in(&plan.sets, |change| &change.add);
        let mut removed = self.mappings_in(&plan.sets, |change| &change.remove);
        self.open_loopback(&added)?;
        self.change_elements(&plan.sets)?;
        removed.retain(|mapping| !added.contains(mapping));
        for mapping in &removed {
            self.known.withdrawn(mapping);
        }
        for mapping in &added {
            self.known.exposed(mapping);
        }
        self.end_flows(&added, &removed, flows)?;
        // What is remembered is what the plan was computed from.
        self.sweep_once(flows)?;
        self.detach_all(plan)?;
        if plan.repair == Some(Repair::Missing) {
            self.forward_on_uplinks()?;
        }
        Ok(())
    }

    /// Claims the addresses of all new guests at once, makes their TAPs and
    /// completes others'.
    fn attach_all(&mut self, plan: &Plan) -> Result<(), Error> {
        if !plan.claims.is_empty() {
            self.batch.clear();
            let sets = self.layout.sets();
            for change in &plan.claims {
                if let Some(set) = sets.get(change.set) {
                    self.batch.create_elements(set, &change.add);
                }
            }
            self.commit_elements(self.known.generation())?;
            self.known.committed();
            let new = plan.homes.iter().filter(|home| home.is_new);
            new.for_each(|home| self.known.attached(home.place.clone()));
        }
        for (guest, home) in plan.wanted.guests().iter().zip(&plan.homes) {
            if home.is_new || !home.lacks.is_empty() {
                self.wire(guest, &home.place)?;
            }
        }
        Ok(())
    }

    /// Changes all elements in one transaction.
    fn change_elements(&mut self, changes: &[SetChange]) -> Result<(), Error> {
        self.batch.clear();
        let sets = self.layout.sets();
        for change in changes {
            if let Some(set) = sets.get(change.set) {
                self.batch.delete_elements(set, &change.remove);
            }
        }
        for change in changes {
            if let Some(set) = sets.get(change.set) {
                self.batch.add_elements(set, &change.add);
            }
        }
        if self.batch.is_empty() {
            return Ok(());
        }
        self.commit_elements(self.known.generation())?;
        self.known.committed();
        Ok(())
    }

    /// Takes away the guests that are not wanted: TAP and flows first, so
    /// that whoever gets their addresses next meets none of their packets.
    fn detach_all(&mut self, plan: &Plan) -> Result<(), Error> {
        for guest in &plan.leaving {
            if let Some(link) = self.rtnl.link(guest.tap)?
                && self.slot_of(&link).is_some()
            {
                self.delete_link(link.index())?;
            }
            self.cut_guest(guest)?;
        }
        self.change_elements(&plan.left)?;
        for guest in &plan.leaving {
            self.known.detached(guest);
        }
        Ok(())
    }

    fn mappings_in<'p>(
        &self,
        changes: &'p [SetChange],
        elements: impl Fn(&'p SetChange) -> &'p Vec<crate::nft::Element>,
    ) -> Vec<Mapping> {
        let sets = self.layout.sets();
        let mut mappings = Vec::new();
        for change in changes {
            if let Some(set) = sets.get(change.set) {
                let theirs = elements(change).iter();
                mappings.extend(theirs.filter_map(|one| self.layout.mapping_in(set, one)));
            }
        }
        mappings
    }

    /// Ends the flows that would not notice the change.
    pub(super) fn end_flows(
        &mut self,
        added: &[Mapping],
        removed: &[Mapping],
        flows: Flows,
    ) -> Result<(), Error> {
        if flows == Flows::Cut {
            self.cut_all(removed)?;
            return self.end_older_flows(added);
        }
        // Of what leads elsewhere now the flows are drained.
        let keys: HashSet<_> = removed.iter().map(Mapping::key).collect();
        let opened = added.iter().filter(|one| !keys.contains(&one.key()));
        self.end_older_flows(&opened.copied().collect::<Vec<_>>())
    }

    /// Ends the flows of these exposures.
    fn cut_all(&mut self, removed: &[Mapping]) -> Result<(), Error> {
        if removed.len() <= FEW {
            return removed.iter().try_for_each(|mapping| self.cut(mapping));
        }
        let gone: HashSet<Mapping> = removed.iter().copied().collect();
        self.cut_where(|_, flow| {
            let at = mapping_of(flow);
            at.is_some_and(|at| {
                let everywhere = Mapping {
                    host_address: None,
                    ..at
                };
                gone.contains(&at) || gone.contains(&everywhere)
            })
        })
    }

    /// Ends the flows that an agent that was killed had no time to end: those
    /// that reach a guest by no exposure that is in force. Once for a handle:
    /// afterwards it knows what it withdraws.
    fn sweep_once(&mut self, flows: Flows) -> Result<(), Error> {
        if self.swept || flows == Flows::Drain {
            return Ok(());
        }
        self.cut_where(|host, flow| {
            let Some(at) = mapping_of(flow) else {
                return false;
            };
            let known = &host.known;
            let is_ours = known.guest_of_address(at.guest_address).is_some();
            let leads = flow.original().destination() != at.guest_address;
            let (to, port) = (flow.original().destination(), at.host_port.get());
            is_ours && leads && known.target_at(at.protocol, to, port) != Some(at.guest())
        })?;
        self.swept = true;
        Ok(())
    }

    fn cut_where(&mut self, is_gone: impl Fn(&Self, &Flow) -> bool) -> Result<(), Error> {
        for family in [FlowFilter::ipv4(), FlowFilter::ipv6()] {
            for flow in conntrack::flows(self.nft.connection_mut(), &family)? {
                if is_gone(self, &flow) {
                    let this = family.original(TupleFilter::from(flow.original()));
                    conntrack::delete(self.nft.connection_mut(), &this)?;
                }
            }
        }
        Ok(())
    }

    /// Reads what there is, at one generation if others leave a moment.
    fn look(&mut self) -> Result<Seen, Error> {
        let mut attempts = 0..LOOK_ATTEMPTS;
        loop {
            let generation = self.nft.generation()?;
            let repair = match self.inspect(generation) {
                Err(Error::Stale { .. }) if attempts.next().is_some() => continue,
                repair => repair?,
            };
            let listing = self.list()?;
            if self.nft.generation()? == generation || attempts.next().is_none() {
                return Ok(Seen {
                    generation,
                    repair,
                    listing,
                    links: self.rtnl.links()?,
                    addresses: self.rtnl.addresses(None)?,
                    neighbours: self.rtnl.neighbours(None)?,
                    has_ipv6: self.inside(|| Ok(has_ipv6()))?,
                });
            }
        }
    }

    /// Where each wanted guest is or is going to be.
    fn homes(&mut self, wanted: &Wanted, seen: &Seen) -> Result<Vec<Home>, Error> {
        let capacity = self.networks.guests();
        let mut slots = self.known.free_slots(capacity);
        let links: HashMap<&str, &Link> = seen.links.iter().map(|one| (one.name(), one)).collect();
        let has: HashSet<_> = seen.things().collect();
        let mut homes = Vec::with_capacity(wanted.guests().len());
        for guest in wanted.guests() {
            if let Some(attached) = self.known.guest_of_name(guest.name().as_str()) {
                check_mac(guest, attached)?;
                let link = links.get(attached.tap.as_str()).copied();
                homes.push(Home {
                    lacks: lacks(attached, link, &has, seen.has_ipv6)?,
                    place: attached.clone(),
                    is_new: false,
                });
                continue;
            }
            let place = loop {
                let slot = slots.next().ok_or(Error::Full {
                    what: "guests' networks",
                    capacity,
                })?;
                let place = self.networks.attachment(&self.owner, guest, slot)?;
                let known = &self.known;
                let is_taken = |address: IpAddr| known.guest_of_address(address).is_some();
                // By a guest of other networks, which overlap with these.
                if !is_taken(place.ipv4.into()) && !is_taken(place.ipv6.into()) {
                    break place;
                }
            };
            check_kind(&place, links.get(place.tap.as_str()).copied())?;
            self.check_unrouted(&place)?;
            homes.push(Home {
                place,
                is_new: true,
                lacks: Vec::new(),
            });
        }
        Ok(homes)
    }

    /// The host's addresses that others can reach.
    fn addresses_of_host(&self, seen: &Seen) -> Vec<IpAddr> {
        let taps = seen
            .links
            .iter()
            .filter(|link| self.slot_of(link).is_some());
        let taps: HashSet<_> = taps.map(Link::index).collect();
        let reachable = seen.addresses.iter().filter(|address| {
            address.address_scope() == Scope::UNIVERSE && !taps.contains(&address.index())
        });
        let mut addresses: Vec<_> = reachable.map(|address| address.net().addr()).collect();
        addresses.sort_unstable();
        addresses.dedup();
        addresses
    }
}

/// What was read of the kernel.
struct Seen {
    generation: u32,
    repair: Option<Repair>,
    listing: Listing,
    links: Vec<Link>,
    addresses: Vec<Address>,
    neighbours: Vec<Neighbour>,
    has_ipv6: bool,
}

/// Something that an interface has, by the interface's number.
#[derive(Debug, PartialEq, Eq, Hash)]
enum Thing {
    Address(ipnet::IpNet),
    Neighbour(IpAddr, Option<crate::Mac>),
}

impl Seen {
    fn things(&self) -> impl Iterator<Item = (crate::IfIndex, Thing)> {
        let addresses = self.addresses.iter();
        let addresses = addresses.map(|one| (one.index(), Thing::Address(one.net())));
        let neighbours = self.neighbours.iter();
        addresses.chain(neighbours.map(|one| (one.index(), Thing::Neighbour(one.ip(), one.mac()))))
    }
}

/// What of a guest's TAP is missing.
fn lacks(
    guest: &Attachment,
    link: Option<&Link>,
    has: &HashSet<(crate::IfIndex, Thing)>,
    has_ipv6: bool,
) -> Result<Vec<&'static str>, Error> {
    check_kind(guest, link)?;
    let Some(link) = link else {
        return Ok(vec!["its TAP"]);
    };
    let mut lacks = Vec::new();
    if link.alias() != Some(guest.name()) {
        lacks.push("its name on the TAP");
    }
    if !link.is_up() {
        lacks.push("a TAP that is up");
    }
    if link.ipv4_setting(Ipv4Setting::Forwarding) == Some(0) {
        lacks.push("forwarding");
    }
    let families = networks_of(guest).into_iter();
    for (address, net) in families.filter(|(address, _)| address.is_ipv4() || has_ipv6) {
        let neighbour = Thing::Neighbour(address, Some(guest.mac));
        for (thing, what) in [
            (Thing::Address(net), "a gateway"),
            (neighbour, "a neighbour"),
        ] {
            if !has.contains(&(link.index(), thing)) && !lacks.contains(&what) {
                lacks.push(what);
            }
        }
    }
    Ok(lacks)
}

/// Makes sure that no link of another kind has the TAP's name.
fn check_kind(guest: &Attachment, link: Option<&Link>) -> Result<(), Error> {
    match link.filter(|link| link.kind() != Some("tun")) {
        None => Ok(()),
        Some(link) => {
            let kind = link.kind().unwrap_or("physical");
            let holder = format!("a link of kind {kind}");
            Err(Conflict::new(format_args!("TAP {}", guest.tap), holder).into())
        }
    }
}

/// What leads the flow to where it goes, if it goes by ports.
fn mapping_of(flow: &Flow) -> Option<Mapping> {
    let (original, reply) = (flow.original(), flow.reply());
    Some(Mapping {
        protocol: Protocol::from_number(original.protocol())?,
        host_address: Some(original.destination()),
        host_port: original.destination_port()?.try_into().ok()?,
        guest_address: reply.source(),
        guest_port: reply.source_port()?.try_into().ok()?,
    })
}

/// Whether the kernel has IPv6; in the calling thread's namespace.
fn has_ipv6() -> bool {
    !matches!(
        ipv6_setting(LOOPBACK, Ipv6Setting::DisableIpv6),
        Err(Error::Unsupported { .. })
    )
}

/// Whether a commit makes this change before the transaction of all elements.
fn is_before_elements(change: &Change) -> bool {
    matches!(
        change,
        Change::Tables(_) | Change::Attach { .. } | Change::Complete { .. }
    )
}

/// So often others may change the ruleset before a plan is committed.
const APPLY_ATTEMPTS: u32 = 100;

/// So often all is read while the ruleset keeps changing; then the commit
/// tells.
const LOOK_ATTEMPTS: u32 = 8;

/// So many exposures' flows are ended one by one; for more, all flows are
/// listed once.
const FEW: usize = 8;
