//! What a handle remembers of the kernel's state.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::Host;
use crate::error::Error;
use crate::exposure::{Destination, Key, Mapping, Protocol};
use crate::guest::{Attachment, Guest, GuestName};
use crate::layout::{read_exposure, read_guard};
use crate::route::{Link, Neighbour};

/// Guests and exposures as they were last read or changed. The kernel
/// decides: what is remembered only saves asking.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// The ruleset's generation before it was read.
    generation: u32,
    guests: BTreeMap<u32, Attachment>,
    by_name: HashMap<Box<str>, u32>,
    by_address: HashMap<IpAddr, u32>,
    exposures: HashMap<Key, SocketAddr>,
}

impl Known {
    /// The generation that the claim of a guest should be based on.
    pub(super) fn generation(&self) -> u32 {
        self.generation
    }

    /// Notes that a batch based on the generation was committed: nobody else
    /// has changed anything in between, and the kernel counts on, past 0.
    pub(super) fn committed(&mut self) {
        self.generation = self.generation.checked_add(1).unwrap_or(1);
    }

    pub(super) fn guests(&self) -> impl Iterator<Item = &Attachment> {
        self.guests.values()
    }

    pub(super) fn guest_of_name(&self, name: &str) -> Option<&Attachment> {
        self.guests.get(self.by_name.get(name)?)
    }

    pub(super) fn guest_of_address(&self, address: IpAddr) -> Option<&Attachment> {
        self.guests.get(self.by_address.get(&address)?)
    }

    /// The address that a guest has in a family.
    pub(super) fn address_of(&self, guest: &Destination, ipv4: bool) -> Result<IpAddr, Error> {
        match guest {
            Destination::Address(address) => Ok(*address),
            Destination::Name(name) => match self.guest_of_name(name.as_str()) {
                Some(guest) if ipv4 => Ok(guest.ipv4.into()),
                Some(guest) => Ok(guest.ipv6.into()),
                None => Err(Error::Absent {
                    kind: "guest",
                    name: name.as_str().into(),
                }),
            },
        }
    }

    /// The guests that this one reaches directly.
    pub(super) fn peers_of(&self, guest: &Attachment) -> Vec<&Attachment> {
        let all = self.guests.values();
        all.filter(|other| guest.is_peer_of(other)).collect()
    }

    /// The lowest of `slots` that no guest has and that is not in `occupied`.
    pub(super) fn free_slot(&self, slots: u32, occupied: &BTreeSet<u32>) -> Option<u32> {
        (0..slots).find(|slot| !self.guests.contains_key(slot) && !occupied.contains(slot))
    }

    /// Whether an exposure on a loopback address leads to the guest.
    pub(super) fn serves_loopback(&self, guest: &Attachment) -> bool {
        let mut exposures = self.exposures.iter();
        exposures.any(|(key, target)| key.is_on_loopback() && guest.has(target.ip()))
    }

    pub(super) fn attached(&mut self, guest: Attachment) {
        self.by_name.insert(guest.name().into(), guest.slot);
        self.by_address.insert(guest.ipv4.into(), guest.slot);
        self.by_address.insert(guest.ipv6.into(), guest.slot);
        self.guests.insert(guest.slot, guest);
    }

    pub(super) fn detached(&mut self, guest: &Attachment) {
        self.guests.remove(&guest.slot);
        self.by_name.remove(guest.name());
        self.by_address.remove(&guest.ipv4.into());
        self.by_address.remove(&guest.ipv6.into());
        self.exposures.retain(|_, target| !guest.has(target.ip()));
    }

    /// Where this port of a host address leads: the exposure of the very
    /// address decides before one of all addresses.
    pub(super) fn target_at(
        &self,
        protocol: Protocol,
        address: IpAddr,
        port: u16,
    ) -> Option<SocketAddr> {
        let keys = Key::reached_at(protocol, address, port)?;
        keys.iter().find_map(|key| self.exposures.get(key).copied())
    }

    /// Remembers `exposure` unless its port is known to lead elsewhere, and
    /// says whether it did.
    pub(super) fn claim(&mut self, exposure: &Mapping) -> bool {
        let target = self.exposures.entry(exposure.key());
        *target.or_insert_with(|| exposure.guest()) == exposure.guest()
    }

    pub(super) fn exposed(&mut self, exposure: &Mapping) {
        self.exposures.insert(exposure.key(), exposure.guest());
    }

    pub(super) fn withdrawn(&mut self, exposure: &Mapping) {
        self.exposures.remove(&exposure.key());
    }
}

impl Host {
    /// Reads guests and exposures from the kernel unless nothing has changed
    /// there.
    pub(super) fn refresh(&mut self) -> Result<(), Error> {
        if self.nft.generation()? == self.known.generation {
            return Ok(());
        }
        self.read()
    }

    /// Reads guests and exposures from the kernel, and makes the tables again
    /// that someone took away.
    ///
    /// A guest is what the guards name. A TAP that bears a guest's name in
    /// its alias without one has lost it to someone who emptied our table;
    /// it is remembered as well, so that attaching that guest again finds its
    /// TAP and addresses.
    pub(super) fn read(&mut self) -> Result<(), Error> {
        if self.install()? {
            self.forward_on_uplinks()?;
        }
        let mut known = Known {
            generation: self.nft.generation()?,
            ..Known::default()
        };
        let mut policies = self.layout.read_policies(|set| self.nft.elements(set))?;
        let addresses6: HashMap<_, _> = self
            .elements(|layout| &layout.guard6)?
            .iter()
            .filter_map(read_guard)
            .filter_map(|(tap, _, address, _)| match address {
                IpAddr::V6(address) => Some((tap, address)),
                IpAddr::V4(_) => None,
            })
            .collect();
        for element in self.elements(|layout| &layout.guard4)? {
            let Some((tap, mac, IpAddr::V4(ipv4), name)) = read_guard(&element) else {
                continue;
            };
            if let (Some(slot), Some(&ipv6)) = (self.owner.slot(&tap), addresses6.get(&tap)) {
                let (gateway_ipv4, gateway_ipv6) = (before_ipv4(ipv4), before_ipv6(ipv6));
                known.attached(Attachment {
                    name,
                    slot,
                    tap,
                    mac,
                    ipv4,
                    gateway_ipv4,
                    ipv6,
                    gateway_ipv6,
                    policy: policies.remove(&tap).unwrap_or_default(),
                });
            }
        }
        for link in self.rtnl.links()? {
            let name = link.alias().and_then(|alias| GuestName::new(alias).ok());
            if let (Some(slot), Some(name)) = (self.slot_of(&link), name)
                && !known.guests.contains_key(&slot)
                && known.guest_of_name(name.as_str()).is_none()
                && let Ok(mut guest) = self.unguarded(&link, slot, &name)
            {
                guest.policy = policies.remove(&guest.tap).unwrap_or_default();
                known.attached(guest);
            }
        }
        for map in self.layout.exposure_maps() {
            for exposure in self.nft.elements(map)?.iter().filter_map(read_exposure) {
                known.exposed(&exposure);
            }
        }
        self.known = known;
        Ok(())
    }

    /// A guest without guards as its TAP tells: the name is in the alias, the
    /// addresses follow from the number, the MAC is the permanent neighbour's.
    fn unguarded(&mut self, link: &Link, slot: u32, name: &GuestName) -> Result<Attachment, Error> {
        let derived = self
            .networks
            .attachment(&self.owner, &Guest::new(name.as_str())?, slot)?;
        let neighbours = self.rtnl.neighbours(Some(link.index()))?;
        let neighbour = neighbours
            .iter()
            .find(|neighbour| neighbour.ip() == derived.ipv4);
        let mac = neighbour.and_then(Neighbour::mac).unwrap_or(derived.mac);
        Ok(Attachment { mac, ..derived })
    }
}

/// The gateway of a guest has the address before the guest's.
fn before_ipv4(address: Ipv4Addr) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(address).wrapping_sub(1))
}

fn before_ipv6(address: Ipv6Addr) -> Ipv6Addr {
    Ipv6Addr::from(u128::from(address).wrapping_sub(1))
}
