//! Packets are forwarded between guests and the outside, and nothing else is
//! that was not before.

use std::collections::BTreeSet;

use super::Host;
use crate::error::Error;
use crate::layout::read_uplink;
use crate::nft::Element;
use crate::route::{Ipv4Setting, Ipv6Setting, Link, Scope, ipv6_setting, set_ipv6_setting};
use crate::types::{IfIndex, IfName};

impl Host {
    /// Switches forwarding on where it is off, on each interface of others
    /// that has an address that the outside can reach. The interface is noted
    /// in the kernel first: the note is what keeps other packets from being
    /// forwarded there, and what tells where to switch it off again.
    pub(super) fn forward_on_uplinks(&mut self) -> Result<(), Error> {
        let [others4, others6] = self.uplinks_of_others()?;
        let (reach4, reach6) = self.reachable()?;
        let links = self.rtnl.links()?;
        let uplinks = || links.iter().filter_map(|link| self.uplink(link));
        let off = |link: &Link| link.ipv4_setting(Ipv4Setting::Forwarding) == Some(0);
        let ipv4: Vec<(IfName, IfIndex)> = uplinks()
            .filter(|(name, link)| {
                reach4.contains(&link.index()) && (off(link) || others4.contains(name))
            })
            .map(|(name, link)| (name, link.index()))
            .collect();
        // Before Linux 6.17 there is one switch for all interfaces.
        let has_switches = self.inside(|| Ok(has_switches()))?;
        let ipv6 = uplinks()
            .filter(|(_, link)| has_switches && reach6.contains(&link.index()))
            .map(|(name, _)| name);
        let ipv6: Vec<IfName> = ipv6.collect();
        let ipv6 = self.inside(|| {
            let wanted = |name: &IfName| is_off_ipv6(*name) || others6.contains(name);
            Ok(ipv6.into_iter().filter(wanted).collect::<Vec<_>>())
        })?;
        if !has_switches {
            self.forward_ipv6_everywhere()?;
        }
        if ipv4.is_empty() && ipv6.is_empty() {
            return Ok(());
        }
        self.batch.clear();
        let noted4 = ipv4.iter().map(|&(name, _)| Element::new(name));
        self.batch.add_elements(&self.layout.uplinks4, noted4);
        self.batch.add_elements(
            &self.layout.uplinks6,
            ipv6.iter().copied().map(Element::new),
        );
        self.nft.commit(&mut self.batch)?;
        self.set_ipv4_forwarding(ipv4.iter().map(|&(_, index)| index), 1)?;
        self.inside(|| {
            let on = |name| set_ipv6_setting(name, Ipv6Setting::ForceForwarding, 1);
            ipv6.into_iter().try_for_each(on)
        })
    }

    /// Switches forwarding off where it was switched on for this owner, but
    /// for what another owner has noted as well.
    pub(super) fn stop_forwarding_on_uplinks(&mut self) -> Result<(), Error> {
        let [others4, others6] = self.uplinks_of_others()?;
        let mut ipv4 = uplink_names(&self.nft.elements(&self.layout.uplinks4)?);
        let mut ipv6 = uplink_names(&self.nft.elements(&self.layout.uplinks6)?);
        ipv4.retain(|name| !others4.contains(name));
        ipv6.retain(|name| !others6.contains(name));
        let mut indexes = Vec::new();
        for name in ipv4 {
            indexes.extend(self.rtnl.link(name)?.map(|link| link.index()));
        }
        self.set_ipv4_forwarding(indexes.into_iter(), 0)?;
        self.stop_forwarding_ipv6_everywhere()?;
        self.inside(|| ipv6.into_iter().try_for_each(stop_forwarding_ipv6_from))
    }

    /// The interfaces on which other owners have switched forwarding on, for
    /// IPv4 and for IPv6.
    fn uplinks_of_others(&mut self) -> Result<[BTreeSet<IfName>; 2], Error> {
        let mut names = [BTreeSet::new(), BTreeSet::new()];
        for table in self.nft.tables()? {
            let Some(sets) = self.layout.uplinks_of_other(&table) else {
                continue;
            };
            for (names, set) in names.iter_mut().zip(sets) {
                match self.nft.elements(&set) {
                    Err(error) if error.is_not_found() => {}
                    elements => names.extend(uplink_names(&elements?)),
                }
            }
        }
        Ok(names)
    }

    /// The indexes of interfaces that have an address for more than
    /// themselves and their link.
    fn reachable(&mut self) -> Result<(BTreeSet<IfIndex>, BTreeSet<IfIndex>), Error> {
        let addresses = self.rtnl.addresses(None)?;
        let reach = |ipv4: bool| {
            addresses
                .iter()
                .filter(|address| address.net().addr().is_ipv4() == ipv4)
                .filter(|address| address.address_scope() == Scope::UNIVERSE)
                .map(crate::route::Address::index)
                .collect()
        };
        Ok((reach(true), reach(false)))
    }

    /// The link with its name if it can be an uplink: no loopback, none of
    /// our TAPs.
    fn uplink<'l>(&self, link: &'l Link) -> Option<(IfName, &'l Link)> {
        let name: IfName = link.name().parse().ok()?;
        let ours = name.as_str().starts_with(&self.owner.tap_prefix());
        (name != LOOPBACK && !ours).then_some((name, link))
    }

    fn set_ipv4_forwarding(
        &mut self,
        links: impl Iterator<Item = IfIndex>,
        value: u32,
    ) -> Result<(), Error> {
        self.rtnl.apply(|changes| {
            for index in links {
                changes.set_ipv4(index, &[(Ipv4Setting::Forwarding, value)]);
            }
        })
    }
}

fn uplink_names(elements: &[Element]) -> BTreeSet<IfName> {
    elements.iter().filter_map(read_uplink).collect()
}

/// Whether each interface has a switch of its own for IPv6; in the calling
/// thread's namespace.
pub(super) fn has_switches() -> bool {
    ipv6_setting(LOOPBACK, Ipv6Setting::ForceForwarding).is_ok()
}

/// Whether IPv6 packets that come in by this interface are not forwarded;
/// in the calling thread's namespace.
fn is_off_ipv6(name: IfName) -> bool {
    let is = |setting, of| ipv6_setting(of, setting).ok();
    is(Ipv6Setting::Forwarding, ALL) == Some(0) && is(Ipv6Setting::ForceForwarding, name) == Some(0)
}

fn stop_forwarding_ipv6_from(name: IfName) -> Result<(), Error> {
    match set_ipv6_setting(name, Ipv6Setting::ForceForwarding, 0) {
        Err(Error::Unsupported { .. }) => Ok(()),
        Err(error) if error.is_not_found() => Ok(()),
        result => result,
    }
}

pub(super) const LOOPBACK: IfName = IfName::constant("lo");

/// What stands for all interfaces under `/proc/sys/net/ipv6/conf`.
pub(super) const ALL: IfName = IfName::constant("all");
