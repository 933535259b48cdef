//! What a handle remembers of the kernel's state.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::Host;
use super::attach::is_tap;
use crate::error::Error;
use crate::exposure::{Exposure, Key, read_exposure, read_guard};
use crate::guest::{Attachment, Guest, GuestName};

/// Guests and exposures as they were last read or changed. The kernel
/// decides: what is remembered only saves asking.
#[derive(Debug, Default)]
pub(super) struct Known {
    guests: BTreeMap<u32, Attachment>,
    by_name: HashMap<Box<str>, u32>,
    by_address: HashMap<IpAddr, u32>,
    exposures: HashMap<Key, SocketAddr>,
}

impl Known {
    pub(super) fn guests(&self) -> impl Iterator<Item = &Attachment> {
        self.guests.values()
    }

    pub(super) fn guest_of_name(&self, name: &str) -> Option<&Attachment> {
        self.guests.get(self.by_name.get(name)?)
    }

    pub(super) fn guest_of_address(&self, address: IpAddr) -> Option<&Attachment> {
        self.guests.get(self.by_address.get(&address)?)
    }

    /// The lowest of `slots` that no guest has.
    pub(super) fn free_slot(&self, slots: u32) -> Option<u32> {
        let taken = self.guests.keys().copied();
        let free = taken
            .zip(0..)
            .find(|(taken, slot)| taken != slot)
            .map(|(_, slot)| slot);
        let free = free.or_else(|| u32::try_from(self.guests.len()).ok());
        free.filter(|&slot| slot < slots)
    }

    pub(super) fn target_of(&self, exposure: &Exposure) -> Option<SocketAddr> {
        self.exposures.get(&exposure.key()).copied()
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

    pub(super) fn exposed(&mut self, exposure: &Exposure) {
        self.exposures.insert(exposure.key(), exposure.guest());
    }

    pub(super) fn withdrawn(&mut self, exposure: &Exposure) {
        self.exposures.remove(&exposure.key());
    }
}

impl Host {
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
        let mut known = Known::default();
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
                });
            }
        }
        for link in self.rtnl.links()?.iter().filter(|link| is_tap(link)) {
            let slot = link
                .name()
                .parse()
                .ok()
                .and_then(|name| self.owner.slot(&name));
            let name = link.alias().and_then(|alias| GuestName::new(alias).ok());
            if let (Some(slot), Some(name)) = (slot, name)
                && !known.guests.contains_key(&slot)
                && known.guest_of_name(name.as_str()).is_none()
                && let Ok(guest) =
                    self.networks
                        .attachment(&self.owner, &Guest::new(name.as_str())?, slot)
            {
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
}

/// The gateway of a guest has the address before the guest's.
fn before_ipv4(address: Ipv4Addr) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(address).wrapping_sub(1))
}

fn before_ipv6(address: Ipv6Addr) -> Ipv6Addr {
    Ipv6Addr::from(u128::from(address).wrapping_sub(1))
}
