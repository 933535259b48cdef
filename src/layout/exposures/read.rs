//! The exposures that elements of the owner's sets stand for.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use foldhash::{HashMap, HashSet};
use ipnet::IpNet;

use super::note::Note;
use super::parts::{Place, read_allowed, read_claim, read_slot, read_span};
use super::sides::{SETS, Side, role};
use crate::exposure::{Balance, Exposure, Label, Mapping, Ports, Protocol, Target};
use crate::guest::GuestName;
use crate::layout::Layout;
use crate::nft::{Comment, Data, Element};

/// An exposure as the elements tell, with its guests' names and how many
/// connections they have counted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Regrouped {
    pub(crate) exposure: Exposure,
    pub(crate) guests: Vec<GuestName>,
    pub(crate) connections: u64,
}

impl Layout {
    /// The exposures in `elements`, which are those of each of the
    /// [`exposure_sets`](Self::exposure_sets) in their order. In the order of
    /// exposures; elements that someone else added are passed over.
    pub(crate) fn regroup(&self, elements: &[Vec<Element>]) -> Vec<Regrouped> {
        let mut groups = Groups::default();
        for (side, elements) in self.sides.iter().zip(elements.chunks(SETS)) {
            groups.take(side, elements);
        }
        let mut exposures: Vec<Regrouped> = groups
            .0
            .into_iter()
            .filter_map(|(identity, group)| group.finish(identity))
            .collect();
        exposures.sort_by(|one, other| one.exposure.cmp(&other.exposure));
        exposures
    }
}

impl Side {
    /// The exposure to which a claim belongs that there is no more to, on one
    /// host address or all of them.
    pub(crate) fn regroup_claim(&self, claim: Element) -> Option<Regrouped> {
        let mut elements = vec![Vec::new(); SETS];
        elements.get_mut(role::DNAT)?.push(claim);
        let mut groups = Groups::default();
        groups.take(self, &elements);
        let (identity, group) = groups.0.into_iter().next()?;
        group.finish(identity)
    }
}

/// What elements of one exposure have in common.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Identity {
    protocol: Protocol,
    host: Host,
    ports: Ports,
    /// None if the guest was told by name.
    guest_address: Option<IpAddr>,
    guest_port: u16,
    guest: Option<GuestName>,
    label: Option<Label>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Host {
    All,
    One(IpAddr),
    Several(u16),
}

#[derive(Debug, Default)]
struct Group {
    addresses: BTreeSet<IpAddr>,
    allowed: BTreeSet<IpNet>,
    limit: Option<u32>,
    balance: Balance,
    /// If there are several.
    targets: Vec<(Target, Option<GuestName>)>,
    connections: u64,
}

#[derive(Debug, Default)]
struct Groups(HashMap<Identity, Group>);

impl Groups {
    fn take(&mut self, side: &Side, elements: &[Vec<Element>]) {
        let [
            dnat,
            special,
            restricted,
            allow,
            limits,
            turns,
            sources,
            ranges,
        ] = elements
        else {
            return;
        };
        let special: HashSet<&Data> = special.iter().map(Element::key).collect();
        let restricted: HashSet<&Data> = restricted.iter().map(Element::key).collect();
        let limit = |element| Some((Element::key(element), side.limit_of(element)?));
        let limits: HashMap<&Data, u32> = limits.iter().filter_map(limit).collect();
        let mut allowed: HashMap<_, Vec<(Ports, IpNet)>> = HashMap::default();
        for (place, net) in allow.iter().filter_map(|one| read_allowed(side, one)) {
            let nets = allowed.entry((place.host_address, place.protocol));
            nets.or_default().push((place.ports, net));
        }
        let mut slots: HashMap<Data, (Balance, Slots<'_>)> = HashMap::default();
        for (set, balance) in [(turns, Balance::RoundRobin), (sources, Balance::Source)] {
            for element in set {
                if let Some((key, slot, guest)) = read_slot(side, element) {
                    let place = slots.entry(key).or_default();
                    place.0 = balance;
                    place.1.insert(slot, (guest, element));
                }
            }
        }
        for element in dnat {
            let Some(mapping) = read_claim(side, element) else {
                continue;
            };
            let identity = claimed(&mapping, element.current_comment());
            let group = self.0.entry(identity).or_default();
            group.addresses.extend(mapping.host_address);
            group.count(element);
            let key = element.key();
            if !special.contains(key) {
                continue;
            }
            if restricted.contains(key)
                && let Some(nets) = allowed.get(&(mapping.host_address, mapping.protocol))
            {
                let port = mapping.host_port.get();
                let ours = nets.iter().filter(|(ports, _)| ports.contains(port));
                group.allowed.extend(ours.map(|(_, net)| net));
            }
            group.limit = group.limit.or_else(|| limits.get(key).copied());
            if let Some((balance, slots)) = slots.get(key) {
                group.balance = *balance;
                group.take_slots(slots);
            }
        }
        for element in ranges {
            let Some(span) = read_span(side, element) else {
                continue;
            };
            let Some(mapping) = first_of(span.place, span.guest_address) else {
                continue;
            };
            let identity = Identity {
                ports: span.place.ports,
                ..claimed(&mapping, element.current_comment())
            };
            let group = self.0.entry(identity).or_default();
            group.addresses.extend(span.place.host_address);
            group.count(element);
        }
    }
}

type Slots<'e> = BTreeMap<u32, ((IpAddr, u16), &'e Element)>;

impl Group {
    fn count(&mut self, element: &Element) {
        let packets = element.counts().map_or(0, |counts| counts.packets);
        self.connections = self.connections.saturating_add(packets);
    }

    /// Takes the guests in the order of the slots: the first ones are each
    /// of them once.
    fn take_slots(&mut self, slots: &Slots<'_>) {
        let fresh = self.targets.is_empty();
        for &((address, port), element) in slots.values() {
            self.count(element);
            let note = element.current_comment().and_then(Note::read);
            let name = note.and_then(|note| GuestName::new(note.guest).ok());
            let target = match (&name, note) {
                (Some(name), Some(note)) if note.by_name => Target::of(name.clone(), port),
                _ => SocketAddr::new(address, port).into(),
            };
            if fresh && self.targets.iter().all(|(other, _)| *other != target) {
                self.targets.push((target, name));
            }
        }
    }

    fn finish(self, identity: Identity) -> Option<Regrouped> {
        let Identity { ports, guest, .. } = identity;
        let mut targets = self.targets;
        if targets.is_empty() {
            let target = match (identity.guest_address, &guest) {
                (Some(address), _) => SocketAddr::new(address, identity.guest_port).into(),
                (None, guest) => Target::of(guest.clone()?, identity.guest_port),
            };
            targets.push((target, guest));
        }
        let mut rest = targets.iter().map(|(target, _)| target.clone());
        let mut exposure = Exposure::new(identity.protocol, ports.first(), rest.next()?).ok()?;
        if ports.count() > 1 {
            exposure = exposure.through(ports.last()).ok()?;
        }
        for target in rest {
            exposure = exposure.also(target).ok()?;
        }
        for address in self.addresses {
            exposure = exposure.on(address).ok()?;
        }
        exposure = exposure.balance(self.balance).allow_all(self.allowed);
        if let Some(limit) = self.limit {
            exposure = exposure.limit(limit).ok()?;
        }
        if let Some(label) = identity.label {
            exposure = exposure.labelled(label);
        }
        Some(Regrouped {
            exposure,
            guests: targets.into_iter().filter_map(|(_, name)| name).collect(),
            connections: self.connections,
        })
    }
}

/// What a claim and its comment say of the whole.
fn claimed(mapping: &Mapping, comment: Option<&Comment>) -> Identity {
    let port = mapping.host_port.get();
    let single = Ports::from(mapping.host_port);
    let alone = Identity {
        protocol: mapping.protocol,
        host: mapping.host_address.map_or(Host::All, Host::One),
        ports: single,
        guest_address: Some(mapping.guest_address),
        guest_port: mapping.guest_port.get(),
        guest: None,
        label: None,
    };
    let noted = || {
        let note = Note::read(comment?)?;
        let ports = note.ports.unwrap_or(single);
        let behind = port.checked_sub(ports.first())?;
        let host = match (mapping.host_address, note.group) {
            (Some(_), Some(group)) => Host::Several(group),
            (None, Some(_)) => return None,
            (_, None) => alone.host.clone(),
        };
        ports.contains(port).then_some(())?;
        Some(Identity {
            host,
            ports,
            guest_address: alone.guest_address.filter(|_| !note.by_name),
            guest_port: alone
                .guest_port
                .checked_sub(behind)
                .filter(|&port| port > 0)?,
            guest: Some(GuestName::new(note.guest).ok()?),
            label: note.label.and_then(|label| Label::new(label).ok()),
            ..alone.clone()
        })
    };
    noted().unwrap_or(alone)
}

/// The first port of a large range, as a claim.
fn first_of(place: Place, guest_address: IpAddr) -> Option<Mapping> {
    let port = place.ports.first().try_into().ok()?;
    Some(Mapping {
        protocol: place.protocol,
        host_address: place.host_address,
        host_port: port,
        guest_address,
        guest_port: port,
    })
}

#[cfg(test)]
mod tests;
