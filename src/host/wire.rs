//! A guest's TAP and everything on it.

use std::net::IpAddr;
use std::thread;
use std::time::Duration;

use ipnet::IpNet;

use super::Host;
use super::attach::networks_of;
use super::removal::{GROUPED, new_group};
use crate::error::{Conflict, Error};
use crate::guest::{Attachment, Connection, Guest};
use crate::route::{
    Address, Changes, Ipv4Setting, Ipv6Setting, Link, LinkChange, Neighbour, set_ipv6_setting_by,
};
use crate::sys::{Tap, TapOptions};
use crate::types::IfIndex;

impl Host {
    /// Makes TAPs and everything on them, or completes them; for those that are
    /// in namespaces of their own these, and what leads there. Each guest
    /// comes with whether it was not attached before.
    ///
    /// A new TAP becomes persistent when it bears its guest's name: until then
    /// it goes with this process.
    ///
    /// What is done to a link that is up, its descriptor closed included, has
    /// IPv6 look through all of its routes, and so has its going up with a
    /// carrier: so it goes up after all that, without one. What is routed to
    /// it before is dead until it has a carrier, so that comes last.
    pub(super) fn wire_all(&mut self, guests: &[(&Guest, &Attachment, bool)]) -> Result<(), Error> {
        let group = (guests.len() >= GROUPED).then(new_group);
        for some in guests.chunks(AT_ONCE) {
            let mut wires = Vec::with_capacity(some.len());
            let mut inside = self.settle_namespaces(some)?;
            let here = some.iter().filter(|(_, it, _)| it.elsewhere().is_none());
            let here: Vec<_> = here.copied().collect();
            for &(guest, attachment, is_new) in &here {
                wires.push(match inside.remove(&attachment.tap) {
                    Some(index) => Wire {
                        index,
                        ipv6: self.prepare_ipv6(attachment)?,
                        made: None,
                    },
                    None => self.find_or_make(guest, attachment, is_new)?,
                });
            }
            if wires.iter().any(|wire| wire.ipv6 == Ipv6::Everywhere) {
                self.forward_ipv6_everywhere()?;
            }
            let known = &self.known;
            self.rtnl.apply(|changes| {
                for (wire, (_, attachment, _)) in wires.iter().zip(&here) {
                    let localnet = u32::from(known.serves_loopback(attachment));
                    wire.name(attachment, localnet, group, changes);
                }
            })?;
            for made in wires.iter_mut().filter_map(|wire| wire.made.take()) {
                made.set_persistent(true)?;
            }
            match self.raise_all(&wires, &here) {
                Err(error) if tells_of_ipv6_that_is_off(&error) => {
                    for (_, attachment, _) in &here {
                        self.enable_ipv6(attachment)?;
                    }
                    self.raise_all(&wires, &here)?;
                }
                result => result?,
            }
            for (_, attachment, _) in some {
                if let Some(place) = attachment.elsewhere()
                    && self.known.serves_loopback(attachment)
                {
                    self.open_loopback_elsewhere(place.link())?;
                }
            }
        }
        Ok(())
    }

    fn raise_all(
        &mut self,
        wires: &[Wire],
        guests: &[(&Guest, &Attachment, bool)],
    ) -> Result<(), Error> {
        self.rtnl.apply(|changes| {
            for (wire, (_, attachment, _)) in wires.iter().zip(guests) {
                wire.raise(attachment, changes);
            }
        })
    }

    /// The guest's TAP. One that is there is looked for first if the guest
    /// was attached, and if the kernel says that the name is taken.
    fn find_or_make(
        &mut self,
        guest: &Guest,
        attachment: &Attachment,
        is_new: bool,
    ) -> Result<Wire, Error> {
        if is_new {
            match self.make(guest, attachment) {
                Err(error) if error.is_busy() => {}
                made => return made,
            }
        }
        let alias = attachment.alias();
        let mut attempts = 0..TAP_ATTEMPTS;
        loop {
            let last = attempts.next().is_none();
            match self.rtnl.link(attachment.tap)? {
                Some(link) if link.alias() == Some(&*alias) => {
                    return Ok(Wire {
                        index: link.index(),
                        ipv6: self.prepare_ipv6(attachment)?,
                        made: None,
                    });
                }
                Some(link) if link.kind() != Some("tun") => {
                    let kind = link.kind().unwrap_or("physical");
                    let holder = format!("a link of kind {kind}");
                    let wanted = format!("TAP {}", attachment.tap);
                    return Err(Conflict::new(wanted, holder).into());
                }
                // What a killed agent was making went with it.
                Some(foreign) if last && is_new => return Err(nameless(attachment, &foreign)),
                Some(left_over) if last => self.delete_link(left_over.index())?,
                // It bears no name yet: another handle is making it.
                Some(_) => thread::sleep(TAP_PAUSE),
                None => match self.make(guest, attachment) {
                    Err(error) if error.is_busy() && !last => {}
                    made => return made,
                },
            }
        }
    }

    fn make(&mut self, guest: &Guest, attachment: &Attachment) -> Result<Wire, Error> {
        let mut options = TapOptions::new(attachment.tap).mac(attachment.gateway_mac());
        if let Some(uid) = guest.wanted_owner() {
            options = options.owner(uid);
        }
        if let Some(gid) = guest.wanted_group() {
            options = options.group(gid);
        }
        let tap = self.outpost.create(options)?;
        Ok(Wire {
            index: tap.index_in(&self.rtnl)?,
            ipv6: self.prepare_ipv6(attachment)?,
            made: Some(tap),
        })
    }

    /// Has IPv6 be forwarded from the TAP.
    fn prepare_ipv6(&self, guest: &Attachment) -> Result<Ipv6, Error> {
        let (tap, conf) = (guest.tap, &self.outpost);
        // A guest is nobody's router, also while our table is gone.
        match set_ipv6_setting_by(conf, tap, Ipv6Setting::AcceptRa, 0) {
            Err(Error::Unsupported { .. }) => return Ok(Ipv6::Absent),
            result => result?,
        }
        match set_ipv6_setting_by(conf, tap, Ipv6Setting::ForceForwarding, 1) {
            Err(Error::Unsupported { .. }) => Ok(Ipv6::Everywhere),
            result => result.map(|()| Ipv6::Forwarded),
        }
    }

    /// Has IPv6 work on the TAP.
    fn enable_ipv6(&self, guest: &Attachment) -> Result<(), Error> {
        match set_ipv6_setting_by(&self.outpost, guest.tap, Ipv6Setting::DisableIpv6, 0) {
            Err(Error::Unsupported { .. }) => Ok(()),
            result => result,
        }
    }
}

/// A TAP of the guest's that bears no guest's name.
fn nameless(attachment: &Attachment, link: &Link) -> Error {
    let wanted = format!("TAP {}", attachment.tap);
    let holder = match link.alias() {
        None => format!("a TAP of that name ({link}) with no alias"),
        Some(alias) => format!("a TAP of that name ({link}) with alias {alias:?}"),
    };
    Conflict::new(wanted, holder).into()
}

/// A TAP that is there but not as it should be yet.
struct Wire {
    index: IfIndex,
    ipv6: Ipv6,
    /// If it was made now; it goes with this.
    made: Option<Tap>,
}

/// How IPv6 works on a TAP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ipv6 {
    /// The kernel has none.
    Absent,
    /// It is forwarded from there.
    Forwarded,
    /// The kernel has one switch for all interfaces.
    Everywhere,
}

impl Wire {
    /// Its settings, and whose it is; a new one is put into `group`.
    fn name(
        &self,
        guest: &Attachment,
        localnet: u32,
        group: Option<u32>,
        changes: &mut Changes<'_>,
    ) {
        let settings = [
            (Ipv4Setting::Forwarding, 1),
            (Ipv4Setting::RouteLocalnet, localnet),
            (Ipv4Setting::AcceptSourceRoute, 0),
        ];
        let mut link = LinkChange::new(self.index).alias(&guest.alias());
        if self.ipv6 != Ipv6::Absent && speaks_by_its_gateway(guest) {
            link = link.no_own_ipv6();
        }
        if let Some(group) = group.filter(|_| self.made.is_some()) {
            link = link.group(group);
        }
        changes.set_link(&link.ipv4(&settings));
    }

    /// Up, with its addresses and neighbours.
    fn raise(&self, guest: &Attachment, changes: &mut Changes<'_>) {
        let index = self.index;
        changes.set_link(&LinkChange::new(index).up());
        let works = |address: IpAddr| address.is_ipv4() || self.ipv6 != Ipv6::Absent;
        for net in gateways_of(guest) {
            let address = Address::new(index, net);
            match net {
                IpNet::V4(_) => changes.replace_address(&address),
                IpNet::V6(_) if !works(net.addr()) => {}
                IpNet::V6(net) if net.prefix_len() == net.max_prefix_len() => {
                    changes.replace_address(&address.without_dad().without_prefix_route());
                }
                IpNet::V6(_) => changes.replace_address(&address.without_dad()),
            }
        }
        for address in neighbours_of(guest) {
            if works(address) {
                changes.replace_neighbour(&Neighbour::new(index, address, guest.mac));
            }
        }
    }
}

/// Whether an address was refused because the administrator has IPv6 off for
/// new interfaces (`disable_ipv6`): asking before would cost everyone.
pub(super) fn tells_of_ipv6_that_is_off(error: &Error) -> bool {
    error.raw_os_error() == Some(libc::EACCES)
}

/// Whether a link-local address of the host's would be there for nobody: a
/// clone knows the gateway of its snapshot only. It would cost each change of
/// any link three routes more to look through.
fn speaks_by_its_gateway(guest: &Attachment) -> bool {
    match guest.connection() {
        Connection::Routed | Connection::Elsewhere(_) => false,
        Connection::Namespaced(_) => true,
        Connection::Rewritten(snapshot) => snapshot.link_local_gateway().is_none(),
    }
}

/// The addresses of a guest's TAP with their prefixes. A clone whose gateway is
/// link-local looks for that one as well.
pub(super) fn gateways_of(guest: &Attachment) -> Vec<IpNet> {
    let [(_, ipv4), (_, ipv6)] = networks_of(guest);
    let mut gateways = vec![ipv4, ipv6];
    if let Connection::Rewritten(snapshot) = guest.connection() {
        let gateway = snapshot.link_local_gateway().map(IpAddr::V6);
        gateways.extend(gateway.map(IpNet::from));
    }
    gateways
}

/// The addresses by which the kernel looks for a guest on its TAP.
pub(super) fn neighbours_of(guest: &Attachment) -> impl Iterator<Item = IpAddr> {
    let (ipv4, ipv6) = guest.own_addresses();
    std::iter::once(ipv4.into()).chain(ipv6.map(IpAddr::from))
}

/// A TAP under its name but without its guest's is waited for, so many times
/// for so long, before it counts as left over.
const TAP_ATTEMPTS: u32 = 200;
const TAP_PAUSE: Duration = Duration::from_millis(5);

/// So many TAPs are configured in one burst.
const AT_ONCE: usize = 128;
