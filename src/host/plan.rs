//! What is wanted is planned.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use super::attach::check_same;
use super::forwarding::LOOPBACK;
use super::settle::check_apart;
use super::wire::{gateways_of, neighbours_of};
use super::{Exposed, Host};
use crate::error::{Conflict, Error};
use crate::exposure::{Destination, Target};
use crate::guest::{Attachment, Guest};
use crate::layout::Listing;
use crate::nft::Chain;
use crate::plan::{Change, Home, Plan, Present, Repair, Wanted};
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
        // What is not wanted goes: so the guests are those of this very listing.
        // Else, at its generation, what is remembered is what it says.
        let recalled = self.recall_guests(seen.generation, &seen.listing, &seen.links);
        if seen.generation != self.known.generation() || !recalled.has_guests_of(&self.known) {
            self.known = self.recall_exposures(recalled, &seen.listing);
        }
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
            self.check_place(&place)?;
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
