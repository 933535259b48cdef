//! One namespace is made or completed.

use std::ops::Range;
use std::thread;
use std::time::Duration;

use super::contents::{Contents, Things, check_ours};
use super::{delete_link, open_nft};
use crate::error::{Conflict, Error};
use crate::guest::{GATEWAY_MAC, Guest};
use crate::host::wire::tells_of_ipv6_that_is_off;
use crate::layout::{Inside, TAP_INDEX, UPLINK_INDEX};
use crate::nft::{Batch, Nft};
use crate::owner::Owner;
use crate::route::{
    Changes, Ipv4Setting, Ipv6Setting, Link, LinkChange, NewLink, Rtnl, set_ipv6_setting_by,
};
use crate::sys::{Journey, NetNs, OwnProc, TapOptions};
use crate::types::{IfIndex, IfName};

/// A link that was left behind goes with its namespace, soon after: it is
/// waited for, in all so many times for so long.
const PAUSES: u32 = 200;
const PAUSE: Duration = Duration::from_millis(5);

/// So many indexes are tried that may be others'.
const SALTS: u32 = 200;

/// The namespace of a clone, as it is to be.
pub(super) struct Site<'a> {
    guest: &'a Guest,
    inside: Inside<'a>,
    proc: &'a OwnProc,
}

/// What is there of a namespace's links.
#[derive(Debug, Clone, Copy)]
pub(super) struct Links {
    pub(super) tap: Option<IfIndex>,
    /// The end of the pair in the namespace.
    pub(super) uplink: Option<IfIndex>,
    /// The other one, on the host.
    pub(super) far: Option<IfIndex>,
}

impl<'a> Site<'a> {
    /// It is told of IPv6 by this `/proc`.
    pub(super) fn new(guest: &'a Guest, inside: Inside<'a>, proc: &'a OwnProc) -> Self {
        Self {
            guest,
            inside,
            proc,
        }
    }

    /// The namespace's name, which is that of the link that leads there.
    pub(super) fn name(&self) -> IfName {
        self.inside.clone.tap
    }

    /// Finds the namespace and completes it, or makes it; returns the index
    /// of the link that leads there.
    pub(super) fn settle(&self, journey: &mut Journey, host: &NetNs) -> Result<IfIndex, Error> {
        let name = self.name();
        let mut pauses = 0..PAUSES;
        let mut salt = 0;
        loop {
            match NetNs::open_named(name.as_str()) {
                Ok(netns) => {
                    let mut rtnl = open_there(journey, host)?;
                    journey.enter(&netns)?;
                    check_ours(&self.inside.owner, host.id()?, name.as_str())?;
                    return self.complete(host, &mut rtnl);
                }
                Err(error) if error.is_not_found() => {}
                Err(Error::Invalid(_)) if !pauses.is_empty() => {
                    NetNs::clear_name(name.as_str())?;
                }
                Err(error) => return Err(error),
            }
            match self.make(journey, host, salt) {
                // The index is another link's.
                Err(error) if error.is_busy() && salt < SALTS => salt = salt.saturating_add(1),
                // What is left of a namespace that goes has the name, or
                // another handle makes the same one.
                Err(error) if error.is_exists() && !pauses.is_empty() => {
                    self.await_name(open_there(journey, host)?, &mut pauses)?;
                }
                result => return result,
            }
        }
    }

    /// Waits until a link that is in the way is gone or has got its
    /// namespace's name, as long as there are `pauses` left; then it is left
    /// over, and goes.
    fn await_name(&self, mut rtnl: Rtnl, pauses: &mut Range<u32>) -> Result<(), Error> {
        let link = rtnl.link(self.name())?;
        if let Some(link) = &link {
            check_kind(link)?;
        }
        for _ in pauses {
            thread::sleep(PAUSE);
            let is_named = NetNs::open_named(self.name().as_str()).is_ok();
            if is_named || rtnl.link(self.name())?.is_none() {
                return Ok(());
            }
        }
        link.map_or(Ok(()), |link| delete_link(&mut rtnl, link.index()))
    }

    /// Makes the namespace.
    fn make(&self, journey: &mut Journey, host: &NetNs, salt: u32) -> Result<IfIndex, Error> {
        journey.found()?;
        let nothing = Links {
            tap: None,
            uplink: None,
            far: None,
        };
        let mut rtnl = Rtnl::open()?;
        let far = self.furnish(host, nothing, salt, &mut rtnl)?;
        journey.name(self.name().as_str())?;
        Ok(far)
    }

    /// Completes the namespace that the thread is in. `rtnl` is of the host.
    fn complete(&self, host: &NetNs, rtnl: &mut Rtnl) -> Result<IfIndex, Error> {
        let mut inner = Rtnl::open()?;
        let there = Contents::read(&mut inner)?;
        let far = rtnl.link(self.name())?;
        if let Some(far) = &far {
            check_kind(far)?;
        }
        let mut links = there.links(&self.inside, far.as_ref());
        if let Links {
            far: Some(far),
            uplink: Some(_),
            ..
        } = links
        {
            if there.lacks(&self.inside, links)?.is_empty() {
                return Ok(far);
            }
        } else {
            // Of a pair one end alone is another's.
            if let Some(far) = links.far.take() {
                delete_link(rtnl, far)?;
            }
            if let Some(uplink) = links.uplink.take() {
                delete_link(&mut inner, uplink)?;
            }
        }
        let mut salt = 0;
        loop {
            match self.furnish(host, links, salt, &mut inner) {
                Err(error) if error.is_busy() && salt < SALTS => {
                    salt = salt.saturating_add(1);
                    links = Contents::read(&mut inner)?.links(&self.inside, None);
                }
                result => return result,
            }
        }
    }

    /// Makes what is missing in the namespace that the thread is in, and sets
    /// all else as it should be. `rtnl` is of that namespace.
    fn furnish(
        &self,
        host: &NetNs,
        links: Links,
        salt: u32,
        rtnl: &mut Rtnl,
    ) -> Result<IfIndex, Error> {
        let knows_ipv6 = prepare_ipv6(self.proc)?;
        let tap = match links.tap {
            Some(tap) => tap,
            None => self.create_tap()?,
        };
        let mut batch = Batch::new();
        if links.tap.is_none() && links.uplink.is_none() {
            self.inside.create(&mut batch);
            open_nft()?.commit(&mut batch)?;
        } else {
            self.inside.replace(&mut batch);
            Nft::open()?.commit(&mut batch)?;
        }
        let uplink = links.uplink.unwrap_or(UPLINK_INDEX);
        let far = links.far.unwrap_or_else(|| self.index(salt));
        let configured = rtnl.apply(|changes| {
            if links.uplink.is_none() {
                let pair = NewLink::veth(self.inside.uplink, self.name())
                    .index(uplink)
                    .mac(self.inside.clone.mac)
                    .queues(1)
                    .peer_index(far)
                    .peer_mac(GATEWAY_MAC)
                    .peer_netns(host);
                changes.add_link(&pair);
            }
            self.configure(changes, tap, uplink, knows_ipv6);
        });
        match configured {
            Err(error) if tells_of_ipv6_that_is_off(&error) => {
                set_ipv6_setting_by(self.proc, ALL, Ipv6Setting::DisableIpv6, 0)?;
                rtnl.apply(|changes| self.configure(changes, tap, uplink, knows_ipv6))?;
            }
            result => result?,
        }
        Ok(far)
    }

    fn create_tap(&self) -> Result<IfIndex, Error> {
        let snapshot = self.inside.snapshot;
        let mut options = TapOptions::new(snapshot.tap())
            .index(TAP_INDEX)
            .mac(snapshot.current_gateway_mac())
            .persistent();
        if let Some(uid) = self.guest.wanted_owner() {
            options = options.owner(uid);
        }
        if let Some(gid) = self.guest.wanted_group() {
            options = options.group(gid);
        }
        options.create()?;
        Ok(TAP_INDEX)
    }

    /// Addresses, neighbours and routes, and the links up.
    fn configure(
        &self,
        changes: &mut Changes<'_>,
        tap: IfIndex,
        uplink: IfIndex,
        knows_ipv6: bool,
    ) {
        let settings = [
            (Ipv4Setting::Forwarding, 1),
            (Ipv4Setting::AcceptSourceRoute, 0),
        ];
        let has_ipv6 = knows_ipv6 && self.inside.snapshot.ipv6_net().is_some();
        let things = Things::of(&self.inside, tap, uplink, has_ipv6);
        for link in [tap, uplink] {
            let mut link = LinkChange::new(link).ipv4(&settings);
            if knows_ipv6 {
                // Not a word on links that nobody asked for.
                link = link.no_own_ipv6();
            }
            changes.set_link(&link);
        }
        for address in &things.addresses {
            changes.replace_address(address);
        }
        for neighbour in &things.neighbours {
            changes.replace_neighbour(neighbour);
        }
        changes.set_link(&LinkChange::new(tap).up());
        changes.set_link(&LinkChange::new(uplink).up());
        for route in &things.routes {
            changes.replace_route(route);
        }
    }

    fn index(&self, salt: u32) -> IfIndex {
        index_of(&self.inside.owner, self.inside.clone.slot, salt)
    }
}

/// Goes to a namespace and opens its links.
fn open_there(journey: &mut Journey, netns: &NetNs) -> Result<Rtnl, Error> {
    journey.enter(netns)?;
    Rtnl::open()
}

/// The index of the link that leads to a namespace, by owner and number: far
/// from those that the kernel gives, and close together.
pub(super) fn index_of(owner: &Owner, slot: u32, salt: u32) -> IfIndex {
    let bytes = owner.as_str().bytes();
    let hash = bytes.fold(FNV_BASIS ^ salt, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(FNV_PRIME)
    });
    let block = hash >> BLOCK_SHIFT << SLOT_BITS;
    IfIndex::new(HIGH | block | (slot & SLOT_MASK)).unwrap_or(UPLINK_INDEX)
}

/// Has IPv6 route in a new namespace. `false` if the kernel has none at all.
fn prepare_ipv6(proc: &OwnProc) -> Result<bool, Error> {
    match set_ipv6_setting_by(proc, ALL, Ipv6Setting::Forwarding, 1) {
        Err(Error::Unsupported { .. }) => Ok(false),
        result => result.map(|()| true),
    }
}

/// Makes sure that a link under the name of one that leads to a clone is one:
/// a pair whose end has a number of those that are given here.
fn check_kind(link: &Link) -> Result<(), Error> {
    let holder = match link.kind() {
        Some("veth") if link.index().get() & HIGH != 0 => return Ok(()),
        Some("veth") => format!("a pair of somebody else's ({link})"),
        kind => format!("a link of kind {}", kind.unwrap_or("physical")),
    };
    Err(Conflict::new(format!("veth {}", link.name()), holder).into())
}

/// What stands for all interfaces under `/proc/sys/net/ipv6/conf`, those to come
/// included.
const ALL: IfName = IfName::constant("all");

/// 13 bits tell the owner, 17 the number, and the highest is set.
const HIGH: u32 = 1 << 30;
const SLOT_BITS: u32 = 17;
const SLOT_MASK: u32 = (1 << SLOT_BITS) - 1;
const BLOCK_SHIFT: u32 = 32 - 13;

/// FNV-1a of 32 bits (RFC 9923).
const FNV_BASIS: u32 = 0x811c_9dc5;
const FNV_PRIME: u32 = 0x0100_0193;
