//! What is wanted is planned and committed.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use super::attach::check_same;
use super::forwarding::LOOPBACK;
use super::settle::check_apart;
use super::wire::{gateways_of, neighbours_of};
use super::{Exposed, Flows, Host};
use crate::error::{Conflict, Error};
use crate::exposure::{Destination, Exposure, Target};
use crate::guest::{Attachment, Guest};
use crate::layout::{Listing, is_part};
use crate::nft::{Chain, Element, Name, Rule};
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
    /// guest that is attached with another MAC or connection, whose network is routed
    /// elsewhere or whose TAP's name is taken, and for tables that are another
    /// handle's or of a newer version; [`Error::Absent`] for an exposure whose
    /// guest is not wanted; [`Error::Full`] if the guests' networks are used
    /// up.
    pub fn plan(&mut self, wanted: &Wanted) -> Result<Plan, Error> {
        wanted.check()?;
        let seen = self.look()?;
        self.known = self.recall(seen.generation, &seen.listing, &seen.links);
        if seen.repair != Some(Repair::Missing) {
            self.keep(&seen.listing);
        }
        let wanted = &self.with_pools(wanted, &seen.listing);
        check_apart(wanted.exposures().iter().filter(|one| one.is_span()))?;
        let homes = self.homes(wanted, &seen)?;
        let present = Present {
            generation: seen.generation,
            layout: &self.layout,
            listing: &seen.listing,
            repair: seen.repair,
            guests: self.known.guests().cloned().collect(),
            addresses: self.addresses_of_host(&seen),
        };
        let mut plan = Plan::new(wanted, homes, present)?;
        if wanted.wants_shim() {
            let chains = self.chains_without_shim()?;
            plan.changes.extend(chains.iter().map(shim_in));
        }
        Ok(plan)
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
    /// not wanted are detached; last comes the shim, if it is wanted and
    /// missing: what of others it cannot help with, [`conflicts`](Self::conflicts)
    /// tells. An agent that is killed on the way plans and
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
                let there = |home: &&Home| self.known.guest_of_name(home.place.name()).is_some();
                let new: Vec<_> = new.filter(there).map(|home| home.place.clone()).collect();
                if !new.is_empty() {
                    // The first error is the one to tell.
                    let _detached = self.take_back(&new);
                }
            }
        }
        committed
    }

    fn commit_steps(&mut self, plan: &Plan) -> Result<(), Error> {
        let flows = plan.wanted.wanted_flows();
        if plan.is_empty() {
            return self.sweep_once(plan.wanted.exposures(), flows);
        }
        let generation = plan.generation;
        if self.known.generation() != generation {
            return Err(Error::Stale { generation });
        }
        if plan.repair.is_some() {
            self.rebuild(generation, None)?;
            self.known.committed();
        }
        self.attach_new(plan)?;
        let (mut gone, mut come) = (Vec::new(), Vec::new());
        for change in &plan.changes {
            match change {
                Change::Expose(to) | Change::Repair(to) => come.push(to.clone()),
                Change::Withdraw(from) => gone.push(from.clone()),
                Change::Move { from, to } => {
                    gone.push(from.clone());
                    come.push(to.clone());
                }
                _ => {}
            }
        }
        self.open_loopback(&come)?;
        if self.known.generation() == 0 {
            return Err(Error::Stale { generation });
        }
        let old = self.reaches(&gone);
        self.change_elements(&plan.sets)?;
        if flows == Flows::Cut {
            let new = self.reaches(&come);
            self.cut(&old, &new)?;
        }
        // Of what leads elsewhere now, flows that are drained go on.
        let drained = if flows == Flows::Drain { &*old } else { &[] };
        self.end_older_flows(&come, drained)?;
        self.sweep_once(plan.wanted.exposures(), flows)?;
        for home in plan.homes.iter().filter(|home| !home.is_new) {
            let known = self.known.guest_of_name(home.place.name());
            if let Some(before) = known.filter(|known| **known != home.place).cloned() {
                self.end_forbidden_flows(&before, &home.place)?;
                self.known.attached(home.place.clone());
            }
        }
        self.detach_leaving(plan)?;
        if plan.repair == Some(Repair::Missing) {
            self.forward_on_uplinks()?;
        }
        // Last: the owner's own rules are what makes it no hole.
        if plan
            .changes
            .iter()
            .any(|it| matches!(it, Change::Shim { .. }))
        {
            let _left = self.add_shim()?;
        }
        Ok(())
    }

    /// Claims the addresses of all new guests at once, makes their TAPs and
    /// completes others'.
    fn attach_new(&mut self, plan: &Plan) -> Result<(), Error> {
        if !plan.claims.is_empty() {
            self.batch.clear();
            self.batch.based_on(self.known.generation());
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
        let homes = plan.wanted.guests().iter().zip(&plan.homes);
        let unfinished = homes.filter(|(_, home)| home.is_new || !home.lacks.is_empty());
        let unfinished: Vec<_> = unfinished
            .map(|(guest, home)| (guest, &home.place, home.is_new))
            .collect();
        self.wire_all(&unfinished)
    }

    /// Changes all elements in one transaction, with the chains of limits that
    /// come with their first elements and go with their last.
    fn change_elements(&mut self, changes: &[SetChange]) -> Result<(), Error> {
        self.batch.clear();
        self.batch.based_on(self.known.generation());
        let (needed, unused) = self.limit_chains(changes)?;
        let sets = self.layout.sets();
        for change in changes {
            let Some(set) = sets.get(change.set) else {
                continue;
            };
            self.batch.delete_elements(set, &change.remove);
            if let Some(side) = self.layout.side_of_limits(set) {
                let keys = change.remove.iter().map(|one| Element::new(*one.key()));
                self.batch.destroy_elements(&side.live, keys);
            }
        }
        for (chain, rule) in &needed {
            self.batch.create(chain).add(rule);
        }
        for change in changes {
            if let Some(set) = sets.get(change.set) {
                self.batch.add_elements(set, &change.add);
            }
        }
        for chain in &unused {
            self.batch.delete(chain);
        }
        if self.batch.is_empty() {
            return Ok(());
        }
        self.commit_elements(self.known.generation())?;
        self.known.committed();
        let sets = self.layout.sets();
        for change in changes {
            let Some(set) = sets.get(change.set) else {
                continue;
            };
            let claim = |element| self.layout.claim_in(set, element);
            for claim in change.remove.iter().filter_map(claim) {
                self.known.withdrawn(&claim);
            }
            for claim in change.add.iter().filter_map(claim) {
                self.known.exposed(&claim);
            }
            let parts = change.add.iter().filter(|element| is_part(element));
            for claim in parts.filter_map(claim) {
                self.known.set_special(claim.key(), true);
            }
            let special = |element| self.layout.special_in(set, element);
            for key in change.remove.iter().filter_map(special) {
                self.known.set_special(key, false);
            }
            for key in change.add.iter().filter_map(special) {
                self.known.set_special(key, true);
            }
        }
        Ok(())
    }

    /// The chains of limits that have to be made for these changes, and those
    /// that nothing leads to after them.
    fn limit_chains(&mut self, changes: &[SetChange]) -> Result<LimitChains, Error> {
        let sets = self.layout.sets();
        let of_limits = changes.iter().filter_map(|change| {
            let side = self.layout.side_of_limits(sets.get(change.set)?)?;
            Some((change, side))
        });
        let of_limits: Vec<_> = of_limits.collect();
        let (mut needed, mut unused) = (Vec::new(), Vec::new());
        if of_limits.is_empty() {
            return Ok((needed, unused));
        }
        let chains = self.nft.chains(&self.layout.table)?;
        let mut there: HashSet<Name> = chains.iter().map(|chain| chain.name().clone()).collect();
        for (change, side) in of_limits {
            let made = change.add.iter().filter_map(|one| side.limit_chain(one));
            for (chain, rule) in made {
                if there.insert(chain.name().clone()) {
                    needed.push((chain, rule));
                }
            }
            let mut after = self.nft.elements(&side.limits)?;
            after.retain(|one| !change.remove.iter().any(|gone| gone.key() == one.key()));
            after.extend(change.add.iter().cloned());
            let in_use: HashSet<Option<u32>> = after.iter().map(|one| side.limit_of(one)).collect();
            for gone in &change.remove {
                if !in_use.contains(&side.limit_of(gone))
                    && let Some((chain, _)) = side.limit_chain(gone)
                    && there.remove(chain.name())
                {
                    unused.push(chain);
                }
            }
        }
        Ok((needed, unused))
    }

    /// Takes away the guests that are not wanted: TAP and flows first, so
    /// that whoever gets their addresses next meets none of their packets.
    fn detach_leaving(&mut self, plan: &Plan) -> Result<(), Error> {
        if !plan.leaving.is_empty() {
            self.delete_taps(&plan.leaving)?;
            self.cut_guests(&plan.leaving)?;
        }
        self.change_elements(&plan.left)?;
        for guest in &plan.leaving {
            self.known.detached(guest);
        }
        if plan.leaving.iter().any(|it| it.elsewhere().is_some()) {
            self.close_loopback_elsewhere()?;
        }
        Ok(())
    }

    /// Ends the flows that an agent that was killed had no time to end: those
    /// that reach a guest by no exposure that is in force. Once for a handle:
    /// afterwards it knows what it withdraws.
    fn sweep_once(&mut self, in_force: &[Exposure], flows: Flows) -> Result<(), Error> {
        if self.swept || flows == Flows::Drain {
            return Ok(());
        }
        self.cut_all_but(in_force)?;
        self.close_loopback_elsewhere()?;
        self.swept = true;
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

    /// What is wanted, with what its pools have as if it was wanted.
    fn with_pools(&self, wanted: &Wanted, listing: &Listing) -> Wanted {
        let mut all = wanted.clone();
        if wanted.pools().is_empty() {
            return all;
        }
        let named: HashSet<_> = wanted.guests().iter().map(Guest::name).collect();
        let theirs = self
            .known
            .guests()
            .filter(|guest| wanted.is_of_pool(guest.name()) && !named.contains(&guest.name));
        let theirs: Vec<&Attachment> = theirs.collect();
        all.extend(theirs.iter().map(|guest| Guest::of(guest)));
        let leads_there = |target: &Target| match target.guest() {
            Destination::Address(address) => theirs.iter().any(|guest| guest.has(*address)),
            Destination::Name(name) => theirs.iter().any(|guest| guest.name == *name),
        };
        let sets = self.layout.exposure_sets();
        let elements: Vec<_> = sets.map(|set| listing.of(set).to_vec()).collect();
        let exposures = self
            .layout
            .regroup(&elements)
            .into_iter()
            .map(Exposed::from);
        let exposures = exposures
            .map(|exposed| exposed.exposure)
            .filter(|exposure| {
                exposure.targets().iter().all(leads_there) && !wanted.exposures().contains(exposure)
            });
        all.extend(exposures);
        all
    }

    /// Where each wanted guest is or is going to be.
    fn homes(&mut self, wanted: &Wanted, seen: &Seen) -> Result<Vec<Home>, Error> {
        let capacity = self.networks.guests();
        let mut slots = self.known.free_slots(capacity);
        let links: HashMap<&str, &Link> = seen.links.iter().map(|one| (one.name(), one)).collect();
        let has: HashSet<_> = seen.things().collect();
        let mut homes = Vec::with_capacity(wanted.guests().len());
        let names = wanted.guests().iter().map(|guest| guest.name().as_str());
        let attached: Vec<_> = names
            .filter_map(|name| self.known.guest_of_name(name))
            .collect();
        let mut inside = self.lacking_namespaced(&attached)?;
        let mut checked = HashSet::new();
        for guest in wanted.guests() {
            self.check_sources(guest.policy().egress())?;
            if let Some(attached) = self.known.guest_of_name(guest.name().as_str()) {
                check_same(guest, attached)?;
                let link = links.get(attached.tap.as_str()).copied();
                let mut lacks = lacks(attached, link, &has, seen.has_ipv6)?;
                lacks.extend(inside.remove(guest.name()).into_iter().flatten());
                if wanted.is_of_pool(attached.name()) {
                    // The pool may be making it right now.
                    lacks.clear();
                }
                homes.push(Home {
                    lacks,
                    place: attached.clone().with(guest.policy()),
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
                if place.elsewhere().is_some() || !place.addresses().any(is_taken) {
                    break place;
                }
            };
            check_kind(&place, links.get(place.tap.as_str()).copied())?;
            self.check_place(&place, &mut checked)?;
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

/// Chains of limits that have to be made, with their rules, and those that
/// have to go.
type LimitChains = (Vec<(Chain, Rule)>, Vec<Chain>);

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
    if guest.elsewhere().is_some() {
        return Ok(Vec::new());
    }
    let Some(link) = link else {
        return Ok(vec!["its TAP"]);
    };
    let mut lacks = Vec::new();
    if link.alias() != Some(&*guest.alias()) {
        lacks.push("its name on the TAP");
    }
    if !link.is_up() {
        lacks.push("a TAP that is up");
    }
    if link.ipv4_setting(Ipv4Setting::Forwarding) == Some(0) {
        lacks.push("forwarding");
    }
    let gateways = gateways_of(guest).into_iter();
    let gateways = gateways.filter(|net| net.addr().is_ipv4() || has_ipv6);
    let neighbours = neighbours_of(guest).filter(|one| one.is_ipv4() || has_ipv6);
    let gateways = gateways.map(|net| (Thing::Address(net), "a gateway"));
    let mac = Some(guest.mac);
    let neighbours = neighbours.map(|one| (Thing::Neighbour(one, mac), "a neighbour"));
    for (thing, what) in gateways.chain(neighbours) {
        if !has.contains(&(link.index(), thing)) && !lacks.contains(&what) {
            lacks.push(what);
        }
    }
    Ok(lacks)
}

/// Makes sure that no link of another kind has the TAP's name.
fn check_kind(guest: &Attachment, link: Option<&Link>) -> Result<(), Error> {
    let wanted = match guest.namespace() {
        Some(_) => "veth",
        None => "tun",
    };
    match link.filter(|link| link.kind() != Some(wanted)) {
        None => Ok(()),
        Some(link) => {
            let kind = link.kind().unwrap_or("physical");
            let holder = format!("a link of kind {kind}");
            Err(Conflict::new(format_args!("TAP {}", guest.tap), holder).into())
        }
    }
}

/// Whether the kernel has IPv6; in the calling thread's namespace.
pub(crate) fn has_ipv6() -> bool {
    !matches!(
        ipv6_setting(LOOPBACK, Ipv6Setting::DisableIpv6),
        Err(Error::Unsupported { .. })
    )
}

/// That a shim is put into a chain of others.
fn shim_in(chain: &Chain) -> Change {
    let (family, table, name) = (chain.family(), chain.table(), chain.name());
    Change::Shim {
        chain: format!("{family} {table} {name}").into(),
    }
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
