//! Guests come and go.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::slice;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::Host;
use crate::error::{Conflict, Error};
use crate::guest::{Attachment, Guest};

/// Others may change the ruleset before a claim is committed, so many times.
pub(super) const CLAIM_ATTEMPTS: u32 = 32;

impl Host {
    /// Attaches a guest: claims addresses for it, guards them, says what it
    /// may do, and makes a persistent TAP that leads to it, up and ready for
    /// the VMM to open.
    ///
    /// A guest that is attached keeps its TAP and addresses; what a killed
    /// agent left undone is done, and what it may do is from now on what
    /// `guest` says, changed at once in one transaction. Connections that it
    /// may no longer have end with it. So the call can be repeated.
    ///
    /// # Errors
    /// [`Error::Conflict`] if the guest is attached with another MAC or
    /// connection, or if its network is routed elsewhere already (names the
    /// route), or if a guest [elsewhere](crate::Connection::Elsewhere) has another
    /// guest's address; [`Error::Absent`] if it has an interface that is not
    /// there, or if packets are to leave behind an address that the
    /// host does not have; [`Error::Full`] if the guests' networks are used
    /// up; [`Error::System`] if the TAP cannot be made; [`Error::Refused`]
    /// from the kernel. A guest that was not attached before is not attached
    /// then.
    pub fn attach(&mut self, guest: &Guest) -> Result<Attachment, Error> {
        self.check_sources(guest.policy().egress())?;
        self.refresh()?;
        let (attached, before) = self.enlist(guest)?;
        let is_new = before.is_none();
        if let Err(error) = self.wire_all(&[(guest, &attached, is_new)]) {
            if is_new {
                // The first error tells what happened; what a failing
                // rollback leaves is found by the next attach.
                let _rolled_back = self.take_back(slice::from_ref(&attached));
            }
            return Err(error);
        }
        if let Some(before) = before {
            self.end_forbidden_flows(&before, &attached)?;
        }
        Ok(attached)
    }

    /// Detaches a guest: its exposures, its TAP, its flows, its addresses, in
    /// this order, so that whoever gets the addresses next meets none of its
    /// packets. What a killed agent left is removed by a repeated call.
    ///
    /// # Errors
    /// [`Error::Absent`] if there is no such guest; [`Error::Refused`] from
    /// the kernel.
    pub fn detach(&mut self, name: &str) -> Result<(), Error> {
        self.refresh()?;
        let absent = || Error::Absent {
            kind: "guest",
            name: name.into(),
        };
        let Some(guest) = self.known.guest_of_name(name).cloned() else {
            // An agent may have been killed behind the last step but this.
            self.close_loopback_elsewhere()?;
            return Err(absent());
        };
        self.take_away(&[guest])
    }

    /// Has the kernel know the guest as it is wanted: one that is not
    /// attached gets the addresses of a free slot, claimed in the kernel,
    /// where handles of one owner meet. The change is based on what was read,
    /// so that of two handles that attach one guest at once the second finds
    /// the first's. Returns it, and as it was before.
    pub(super) fn enlist(
        &mut self,
        guest: &Guest,
    ) -> Result<(Attachment, Option<Attachment>), Error> {
        let mut occupied = BTreeSet::new();
        for _ in 0..CLAIM_ATTEMPTS {
            let before = self.known.guest_of_name(guest.name().as_str()).cloned();
            let wanted = if let Some(attached) = &before {
                check_same(guest, attached)?;
                attached.clone().with(guest.policy())
            } else {
                self.find_free(guest, &occupied)?
            };
            self.batch.clear();
            self.batch.based_on(self.known.generation());
            self.queue_guest(&wanted, before.as_ref())?;
            match self.commit_elements(self.known.generation()) {
                Ok(()) => {
                    // Where the kernel had all of it, it does not count on.
                    if before.as_ref() != Some(&wanted) {
                        self.known.committed();
                    } else if self.nft.generation()? != self.known.generation() {
                        self.known.outdated();
                    }
                    self.known.attached(wanted.clone());
                    return Ok((wanted, before));
                }
                Err(error) if is_passing(&error) => self.read()?,
                // By a guest of other networks, which overlap with these.
                Err(error) if error.is_exists() && before.is_none() => {
                    if wanted.elsewhere().is_some() {
                        self.read()?;
                    }
                    occupied.insert(wanted.slot);
                }
                Err(error) => return Err(error),
            }
        }
        Err(Error::Full {
            what: "attempts to claim a network",
            capacity: CLAIM_ATTEMPTS,
        })
    }

    /// What the guest gets in the first free slot that is not `occupied`.
    fn find_free(&mut self, guest: &Guest, occupied: &BTreeSet<u32>) -> Result<Attachment, Error> {
        let capacity = self.networks.guests();
        let slot = self.known.free_slot(capacity, occupied);
        let slot = slot.ok_or(Error::Full {
            what: "guests' networks",
            capacity,
        })?;
        let claim = self.networks.attachment(&self.owner, guest, slot)?;
        self.check_place(&claim)?;
        Ok(claim)
    }

    /// Makes sure that nothing of what a new guest needs is somebody else's.
    pub(super) fn check_place(&mut self, guest: &Attachment) -> Result<(), Error> {
        if let Some(place) = guest.elsewhere() {
            return self.check_elsewhere(guest, place);
        }
        self.check_unrouted(guest)
    }

    /// Makes sure that nobody routes the guest's network elsewhere: ours
    /// would hide theirs. A default route covers everything and does not
    /// count, nor does the TAP's own.
    fn check_unrouted(&mut self, guest: &Attachment) -> Result<(), Error> {
        for (address, prefix) in networks_of(guest) {
            let Some(route) = self.rtnl.route_to(address)? else {
                continue;
            };
            if route.destination().prefix_len() == 0 {
                continue;
            }
            let link = match route.index() {
                Some(index) => self.rtnl.link_at(index)?,
                None => None,
            };
            let dev = link.as_ref().map_or("none", |link| link.name());
            if dev != guest.tap.as_str() {
                let holder = format!("the route {} dev {dev}", route.destination());
                let wanted = format!("guest network {}", prefix.trunc());
                return Err(Conflict::new(wanted, holder).into());
            }
        }
        Ok(())
    }

    /// Does `work` in the handle's namespace: what it opens, and
    /// `/proc/sys/net`, are the thread's.
    pub(super) fn inside<T: Send>(
        &self,
        work: impl FnOnce() -> Result<T, Error> + Send,
    ) -> Result<T, Error> {
        self.netns.inside(work)
    }
}

/// Whether another has changed something, or taken a table away.
pub(super) fn is_passing(error: &Error) -> bool {
    matches!(error, Error::Stale { .. }) || error.is_not_found()
}

/// The gateway's addresses with their prefixes; each address of a guest.
pub(super) fn networks_of(guest: &Attachment) -> [(IpAddr, IpNet); 2] {
    let ipv4 = Ipv4Net::new_assert(guest.gateway_ipv4, guest.prefix_ipv4());
    let ipv6 = Ipv6Net::new_assert(guest.gateway_ipv6, guest.prefix_ipv6());
    [
        (guest.ipv4.into(), ipv4.into()),
        (guest.ipv6.into(), ipv6.into()),
    ]
}

/// Makes sure that an attached guest is wanted with the MAC and the
/// connection that it has: its VM could not follow.
pub(super) fn check_same(guest: &Guest, attached: &Attachment) -> Result<(), Error> {
    let name = guest.name();
    let fixed = guest.fixed_mac()?;
    let (wanted, present) = (guest.wanted_connection(), attached.connection());
    if wanted != present {
        let wanted = format!("guest {name} {wanted}");
        let holder = format!("the attached guest, {present}");
        return Err(Conflict::new(wanted, holder).into());
    }
    match fixed {
        Some(wanted) if wanted != attached.mac => {
            let wanted = format!("guest {name} with MAC {wanted}");
            let holder = format!("the attached guest with MAC {}", attached.mac);
            Err(Conflict::new(wanted, holder).into())
        }
        _ => Ok(()),
    }
}
