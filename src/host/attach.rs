//! Guests come and go.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::thread;
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::Host;
use crate::conntrack::{self, FlowFilter, TupleFilter};
use crate::error::{Conflict, Error};
use crate::exposure::{Destination, Target};
use crate::guest::{Attachment, GATEWAY_MAC, Guest};
use crate::route::{
    Address, Ipv4Setting, Ipv6Setting, LinkChange, Neighbour, ipv6_setting, set_ipv6_setting,
};
use crate::sys::{Tap, TapOptions};
use crate::types::{IfIndex, IfName};

/// Others may change the ruleset before a claim is committed, so many times.
const CLAIM_ATTEMPTS: u32 = 32;

/// A TAP under its name but without its guest's is waited for, so many times
/// for so long, before it counts as left over.
const TAP_ATTEMPTS: u32 = 200;
const TAP_PAUSE: Duration = Duration::from_millis(5);

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
    /// [`Error::Conflict`] if the guest is attached with another MAC, or if
    /// its network is routed elsewhere already (names the route);
    /// [`Error::Absent`] if packets are to leave behind an address that the
    /// host does not have; [`Error::Full`] if the guests' networks are used
    /// up, or the room for what guests may do; [`Error::System`] if the TAP
    /// cannot be made; [`Error::Refused`] from the kernel. A guest that was
    /// not attached before is not attached then.
    pub fn attach(&mut self, guest: &Guest) -> Result<Attachment, Error> {
        self.check_sources(guest.policy().egress())?;
        self.refresh()?;
        let (attached, before) = self.enlist(guest)?;
        if let Err(error) = self.wire(guest, &attached) {
            if before.is_none() {
                // The first error tells what happened; what a failing
                // rollback leaves is found by the next attach.
                let _rolled_back = self.detach(attached.name());
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
        let guest = self.known.guest_of_name(name).cloned().ok_or_else(absent)?;
        self.withdraw_all(&guest)?;
        if let Some(link) = self.rtnl.link(guest.tap)?
            && self.slot_of(&link).is_some()
        {
            self.delete_link(link.index())?;
        }
        self.cut_guest(&guest)?;
        self.release(&guest)
    }

    /// Gives up the addresses of a guest and what it may do. Based on what
    /// was read, so that nothing of it is left for who gets its TAP's number.
    fn release(&mut self, guest: &Attachment) -> Result<(), Error> {
        let mut attempts = 0..CLAIM_ATTEMPTS;
        loop {
            self.batch.clear();
            self.batch.based_on(self.known.generation());
            self.queue_release(guest)?;
            // Where the kernel has nothing of it, it does not count on.
            let own = (guest.ipv4, guest.ipv4);
            let guard = self.nft.get_element(&self.layout.self4, own);
            let is_guarded = matches!(guard, Ok(Some(_)));
            match self.nft.commit(&mut self.batch) {
                Ok(()) => {
                    if is_guarded {
                        self.known.committed();
                    } else {
                        self.known.outdated();
                    }
                    self.known.detached(guest);
                    return Ok(());
                }
                Err(error) if is_passing(&error) && attempts.next().is_some() => self.read()?,
                Err(error) => return self.explained(Err(error)),
            }
        }
    }

    /// Has the kernel know the guest as it is wanted: one that is not
    /// attached gets the addresses of a free slot, claimed in the kernel,
    /// where handles of one owner meet. The change is based on what was read,
    /// so that of two handles that attach one guest at once the second finds
    /// the first's. Returns it, and as it was before.
    fn enlist(&mut self, guest: &Guest) -> Result<(Attachment, Option<Attachment>), Error> {
        let capacity = self.networks.guests();
        let mut occupied = BTreeSet::new();
        for _ in 0..CLAIM_ATTEMPTS {
            let before = self.known.guest_of_name(guest.name().as_str()).cloned();
            let wanted = if let Some(attached) = &before {
                check_mac(guest, attached)?;
                attached.clone().with(guest.policy())
            } else {
                self.find_free(guest, &occupied)?
            };
            self.batch.clear();
            self.batch.based_on(self.known.generation());
            if before.is_none() {
                self.layout.claim(&wanted, &mut self.batch)?;
            }
            self.queue_guest(&wanted, before.as_ref())?;
            match self.nft.commit(&mut self.batch) {
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
                    occupied.insert(wanted.slot);
                }
                Err(error) if error.raw_os_error() == Some(libc::ENFILE) => {
                    return Err(Error::Full {
                        what: "elements for guests in the owner's table",
                        capacity,
                    });
                }
                Err(error) => return self.explained(Err(error)),
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
        self.check_unrouted(&claim)?;
        Ok(claim)
    }

    /// Makes sure that nobody routes the guest's network elsewhere: ours
    /// would hide theirs. A default route covers everything and does not
    /// count, nor does the TAP's own.
    pub(super) fn check_unrouted(&mut self, guest: &Attachment) -> Result<(), Error> {
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

    /// Makes the TAP and everything on it, or completes it.
    ///
    /// A new TAP becomes persistent last: until then it goes with this
    /// process, so a TAP that nobody holds is always complete and bears its
    /// guest's name.
    pub(super) fn wire(&mut self, guest: &Guest, attachment: &Attachment) -> Result<(), Error> {
        let (index, created) = self.find_or_create_tap(guest, attachment)?;
        let has_ipv6 = self.prepare_ipv6(attachment.tap)?;
        let localnet = u32::from(self.known.serves_loopback(attachment));
        self.rtnl.apply(|changes| {
            let settings = [
                (Ipv4Setting::Forwarding, 1),
                (Ipv4Setting::RouteLocalnet, localnet),
                (Ipv4Setting::AcceptSourceRoute, 0),
            ];
            changes.set_ipv4(index, &settings);
            let [(_, ipv4), (_, ipv6)] = networks_of(attachment);
            changes.replace_address(&Address::new(index, ipv4));
            changes.replace_neighbour(&Neighbour::new(
                index,
                attachment.ipv4.into(),
                attachment.mac,
            ));
            if has_ipv6 {
                changes.replace_address(&Address::new(index, ipv6).without_dad());
                changes.replace_neighbour(&Neighbour::new(
                    index,
                    attachment.ipv6.into(),
                    attachment.mac,
                ));
            }
            changes.set_link(&LinkChange::new(index).alias(attachment.name()).up());
        })?;
        match created {
            Some(tap) => tap.set_persistent(true),
            None => Ok(()),
        }
    }

    /// The guest's TAP, and its descriptor if it was made now. One that bears
    /// no name yet is being made by another handle, which is waited for.
    fn find_or_create_tap(
        &mut self,
        guest: &Guest,
        attachment: &Attachment,
    ) -> Result<(IfIndex, Option<Tap>), Error> {
        let mut attempts = 0..TAP_ATTEMPTS;
        loop {
            let last = attempts.next().is_none();
            match self.rtnl.link(attachment.tap)? {
                Some(link) if link.alias() == Some(attachment.name()) => {
                    return Ok((link.index(), None));
                }
                Some(link) if link.kind() != Some("tun") => {
                    let kind = link.kind().unwrap_or("physical");
                    let holder = format!("a link of kind {kind}");
                    let wanted = format!("TAP {}", attachment.tap);
                    return Err(Conflict::new(wanted, holder).into());
                }
                Some(left_over) if last => self.delete_link(left_over.index())?,
                Some(_) => thread::sleep(TAP_PAUSE),
                None => match self.create_tap(guest, attachment) {
                    Err(error) if error.is_busy() && !last => {}
                    created => {
                        let tap = created?;
                        return Ok((tap.index()?, Some(tap)));
                    }
                },
            }
        }
    }

    fn create_tap(&mut self, guest: &Guest, attachment: &Attachment) -> Result<Tap, Error> {
        let mut options = TapOptions::new(attachment.tap).mac(GATEWAY_MAC);
        if let Some(uid) = guest.wanted_owner() {
            options = options.owner(uid);
        }
        if let Some(gid) = guest.wanted_group() {
            options = options.group(gid);
        }
        self.inside(|| options.create())
    }

    /// Has IPv6 work on the TAP, also where the administrator has it off for
    /// new interfaces. `false` if the kernel has no IPv6 at all.
    fn prepare_ipv6(&mut self, tap: IfName) -> Result<bool, Error> {
        let has_ipv6 = self.inside(|| {
            match ipv6_setting(tap, Ipv6Setting::DisableIpv6) {
                Err(Error::Unsupported { .. }) => return Ok(false),
                Ok(0) => {}
                Ok(_) => set_ipv6_setting(tap, Ipv6Setting::DisableIpv6, 0)?,
                Err(error) => return Err(error),
            }
            // A guest is nobody's router, also while our table is gone.
            set_ipv6_setting(tap, Ipv6Setting::AcceptRa, 0)?;
            Ok(true)
        })?;
        if has_ipv6 {
            self.forward_ipv6_from(tap)?;
        }
        Ok(has_ipv6)
    }

    /// Withdraws all exposures of a guest; from those with other guests too
    /// it alone is taken.
    fn withdraw_all(&mut self, guest: &Attachment) -> Result<(), Error> {
        let is_this = |target: &Target| match target.guest() {
            Destination::Address(address) => guest.has(*address),
            Destination::Name(name) => *name == guest.name,
        };
        let (mut given_up, mut rest) = (Vec::new(), Vec::new());
        for exposed in self.list_exposures()? {
            let exposure = exposed.exposure;
            if exposure.targets().iter().any(is_this) {
                rest.extend(exposure.without(is_this));
                given_up.push(exposure);
            }
        }
        self.settle(&rest, &given_up).map(drop)
    }

    /// Ends all flows from and to a guest.
    pub(super) fn cut_guest(&mut self, guest: &Attachment) -> Result<(), Error> {
        for address in [IpAddr::from(guest.ipv4), IpAddr::from(guest.ipv6)] {
            let tuple = TupleFilter::new().source(address);
            let all = FlowFilter::family_of(address);
            conntrack::delete(self.nft.connection_mut(), &all.original(tuple))?;
            conntrack::delete(self.nft.connection_mut(), &all.reply(tuple))?;
        }
        Ok(())
    }

    /// Deletes TAPs under the owner's names that belong to no guest.
    pub(super) fn remove_stray_taps(&mut self) -> Result<(), Error> {
        for link in self.rtnl.links()? {
            if self.slot_of(&link).is_some() {
                self.delete_link(link.index())?;
            }
        }
        Ok(())
    }

    /// Deletes a link; one that is gone is no error.
    pub(super) fn delete_link(&mut self, index: IfIndex) -> Result<(), Error> {
        match self.rtnl.apply(|changes| changes.delete_link(index)) {
            Err(error) if error.is_not_found() => Ok(()),
            result => result,
        }
    }

    /// Does `work` in the handle's namespace: TAPs and `/proc/sys/net` belong
    /// to the thread's.
    pub(super) fn inside<T: Send>(
        &self,
        work: impl FnOnce() -> Result<T, Error> + Send,
    ) -> Result<T, Error> {
        if self.netns.is_current()? {
            work()
        } else {
            self.netns.run(work)?
        }
    }
}

/// Whether another has changed something, or taken a table away.
fn is_passing(error: &Error) -> bool {
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

pub(super) fn check_mac(guest: &Guest, attached: &Attachment) -> Result<(), Error> {
    match guest.wanted_mac() {
        Some(wanted) if wanted != attached.mac => {
            let wanted = format!("guest {} with MAC {wanted}", guest.name());
            let holder = format!("the attached guest with MAC {}", attached.mac);
            Err(Conflict::new(wanted, holder).into())
        }
        _ => Ok(()),
    }
}
