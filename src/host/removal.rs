//! Guests go: what is left of them, and in which order it is taken away.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::IpAddr;

use super::Host;
use super::attach::{CLAIM_ATTEMPTS, is_passing};
use crate::conntrack::{self, FlowFilter, TupleFilter};
use crate::error::Error;
use crate::exposure::{Destination, Target};
use crate::guest::Attachment;
use crate::route::{Link, LinkChange};
use crate::types::IfIndex;

impl Host {
    /// Takes guests away: their exposures, their TAPs, their flows, their
    /// addresses, in this order, so that whoever gets the addresses next meets
    /// none of their packets.
    pub(super) fn take_away(&mut self, guests: &[Attachment]) -> Result<(), Error> {
        self.take_with(guests, Self::delete_taps)
    }

    /// Takes guests away that could not be attached. What was there before
    /// under the name of a TAP is not theirs, and stays.
    pub(super) fn take_back(&mut self, guests: &[Attachment]) -> Result<(), Error> {
        self.take_with(guests, Self::delete_made)
    }

    fn take_with(
        &mut self,
        guests: &[Attachment],
        delete: fn(&mut Self, &[Attachment]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.withdraw_all(guests)?;
        delete(self, guests)?;
        self.cut_guests(guests)?;
        self.release(guests)?;
        if guests.iter().any(|it| it.elsewhere().is_some()) {
            self.close_loopback_elsewhere()?;
        }
        Ok(())
    }

    /// Withdraws all exposures of guests; from those with others too they
    /// alone are taken.
    fn withdraw_all(&mut self, guests: &[Attachment]) -> Result<(), Error> {
        let addresses = addresses_of(guests);
        if self.withdraw_plain(&addresses)? {
            return Ok(());
        }
        let names: HashSet<&str> = guests.iter().map(Attachment::name).collect();
        let are_these = |target: &Target| match target.guest() {
            Destination::Address(address) => addresses.contains(address),
            Destination::Name(name) => names.contains(name.as_str()),
        };
        let (mut given_up, mut rest) = (Vec::new(), Vec::new());
        for exposed in self.list_exposures()? {
            let exposure = exposed.exposure;
            if exposure.targets().iter().any(are_these) {
                rest.extend(exposure.without(are_these));
                given_up.push(exposure);
            }
        }
        self.settle(&rest, &given_up).map(drop)
    }

    /// Deletes the TAPs of guests, those that are there, with the namespaces
    /// that they are in.
    pub(super) fn delete_taps(&mut self, guests: &[Attachment]) -> Result<(), Error> {
        let is_inside = |guest: &&Attachment| guest.namespace().is_some();
        let inside: Vec<&Attachment> = guests.iter().filter(is_inside).collect();
        if !inside.is_empty() {
            self.delete_namespaces(&inside)?;
        }
        if inside.len() == guests.len() {
            return Ok(());
        }
        if let [guest] = guests {
            return match self.rtnl.link(guest.tap)? {
                Some(link) if self.slot_of(&link).is_some() => self.delete_link(link.index()),
                _ => Ok(()),
            };
        }
        let taps: HashSet<&str> = guests.iter().map(|guest| guest.tap.as_str()).collect();
        self.delete_links(|link| taps.contains(link.name()))
    }

    /// Deletes of the TAPs of guests, and of what they have in namespaces,
    /// what was made for them: a link that got as far bears its guest's name,
    /// any other goes with its maker.
    fn delete_made(&mut self, guests: &[Attachment]) -> Result<(), Error> {
        let aliases: HashMap<&str, String> = guests
            .iter()
            .map(|guest| (guest.tap.as_str(), guest.alias()))
            .collect();
        self.delete_links(|link| {
            let alias = aliases.get(link.name()).map(String::as_str);
            alias.is_some() && link.alias() == alias
        })?;
        let is_inside = |guest: &&Attachment| guest.namespace().is_some();
        let inside: Vec<&Attachment> = guests.iter().filter(is_inside).collect();
        self.take_back_namespaces(&inside)
    }

    /// Deletes TAPs and namespaces under the owner's names that belong to no
    /// guest.
    pub(super) fn remove_strays(&mut self) -> Result<(), Error> {
        self.delete_links(|_| true)?;
        self.remove_stray_namespaces()
    }

    /// Deletes the owner's TAPs that are `meant`: many at once, as a group
    /// that nobody else is in. The kernel waits once for all then, instead of
    /// once for each.
    fn delete_links(&mut self, meant: impl Fn(&Link) -> bool) -> Result<(), Error> {
        let (mut ours, mut groups) = (Vec::new(), HashMap::new());
        for link in self.rtnl.links()? {
            let goes = self.slot_of(&link).is_some() && meant(&link);
            let group: &mut Group = groups.entry(link.group()).or_default();
            if goes {
                group.going = group.going.saturating_add(1);
                ours.push(link);
            } else {
                group.stays = true;
            }
        }
        if ours.len() < GROUPED {
            return ours
                .iter()
                .try_for_each(|link| self.delete_link(link.index()));
        }
        let group = gathering(&groups);
        let gathered = self.rtnl.attempt(|changes| {
            for link in ours.iter().filter(|link| link.group() != group) {
                changes.set_link(&LinkChange::new(link.index()).group(group));
            }
        })?;
        // One that went meanwhile is where it should be.
        if let Some(error) = gathered.into_iter().find(|error| !error.is_not_found()) {
            return Err(error);
        }
        let ours: HashSet<IfIndex> = ours.iter().map(Link::index).collect();
        let in_group = self.rtnl.links()?.into_iter();
        let in_group = in_group.filter(|link| link.group() == group);
        if in_group
            .map(|link| link.index())
            .all(|index| ours.contains(&index))
        {
            return match self
                .rtnl
                .apply(|changes| changes.delete_links_of_group(group))
            {
                Err(error) if error.is_not_found() => Ok(()),
                result => result,
            };
        }
        // Someone has put a link of theirs into that very group.
        ours.iter().try_for_each(|index| self.delete_link(*index))
    }

    /// Deletes a link; one that is gone is no error.
    pub(super) fn delete_link(&mut self, index: IfIndex) -> Result<(), Error> {
        match self.rtnl.apply(|changes| changes.delete_link(index)) {
            Err(error) if error.is_not_found() => Ok(()),
            result => result,
        }
    }

    /// Ends all flows from and to guests. The kernel finds those of an IPv4
    /// address by itself; all others are listed, once.
    pub(super) fn cut_guests(&mut self, guests: &[Attachment]) -> Result<(), Error> {
        let addresses = addresses_of(guests);
        let connection = self.nft.connection_mut();
        let listed = if let [guest] = guests {
            let own = TupleFilter::new().source(guest.ipv4.into());
            conntrack::delete(connection, &FlowFilter::ipv4().original(own))?;
            conntrack::delete(connection, &FlowFilter::ipv4().reply(own))?;
            FlowFilter::ipv6()
        } else {
            FlowFilter::any()
        };
        for flow in conntrack::flows(connection, &listed)? {
            let ends = [flow.original().source(), flow.reply().source()];
            if ends.iter().any(|address| addresses.contains(address)) {
                conntrack::delete_flow(connection, &flow)?;
            }
        }
        Ok(())
    }

    /// Gives up the addresses of guests and what they may do. Based on what
    /// was read, so that nothing of it is left for who gets a TAP's number.
    fn release(&mut self, guests: &[Attachment]) -> Result<(), Error> {
        let mut attempts = 0..CLAIM_ATTEMPTS;
        loop {
            self.batch.clear();
            self.batch.based_on(self.known.generation());
            self.queue_release(guests)?;
            // Where the kernel has nothing of them, it does not count on.
            let mut is_guarded = false;
            for guest in guests {
                let guard = match guest.address(true) {
                    Some(_) => self
                        .nft
                        .get_element(&self.layout.self4, (guest.ipv4, guest.ipv4)),
                    None => self
                        .nft
                        .get_element(&self.layout.self6, (guest.ipv6, guest.ipv6)),
                };
                is_guarded = matches!(guard, Ok(Some(_)));
                if is_guarded {
                    break;
                }
            }
            match self.nft.commit(&mut self.batch) {
                Ok(()) => {
                    if is_guarded {
                        self.known.committed();
                    } else {
                        self.known.outdated();
                    }
                    for guest in guests {
                        self.known.detached(guest);
                    }
                    return Ok(());
                }
                Err(error) if is_passing(&error) && attempts.next().is_some() => self.read()?,
                Err(error) => return self.explained(Err(error)),
            }
        }
    }
}

/// What there is of a link group.
#[derive(Debug, Default)]
struct Group {
    /// So many of it are to go.
    going: usize,
    /// Whether others are in it.
    stays: bool,
}

/// The group in which links are gathered to go: of those with which guests
/// were [attached together](new_group) and of which none stays the largest, or
/// else a free one.
fn gathering(groups: &HashMap<u32, Group>) -> u32 {
    let together = groups
        .iter()
        .filter(|(number, group)| *number & !GROUP_BITS == FIRST_GROUP && !group.stays);
    match together.max_by_key(|(_, group)| group.going) {
        Some((&number, _)) => number,
        None => free_group(&groups.keys().copied().collect()),
    }
}

/// A group for the TAPs of guests that are attached together: as they come,
/// so they often go, and need not be gathered then. Nobody else joins it.
pub(super) fn new_group() -> u32 {
    let random = RandomState::new().build_hasher().finish();
    FIRST_GROUP | (u32::try_from(random & u64::from(GROUP_BITS)).unwrap_or(0))
}

/// A number that says whose it is; of one that is taken, the next.
pub(super) fn free_group(taken: &HashSet<u32>) -> u32 {
    let mut group = FIRST_GROUP | (std::process::id() & GROUP_BITS);
    while taken.contains(&group) {
        group = FIRST_GROUP | (group.wrapping_add(1) & GROUP_BITS);
    }
    group
}

fn addresses_of(guests: &[Attachment]) -> HashSet<IpAddr> {
    guests.iter().flat_map(Attachment::addresses).collect()
}

/// So many links are worth a group of their own.
pub(super) const GROUPED: usize = 2;

/// Group numbers are anyone's; these begin with `t`.
const FIRST_GROUP: u32 = u32::from_be_bytes([b't', 0, 0, 0]);
const GROUP_BITS: u32 = 0x00ff_ffff;
