//! What others on the node do to guests and exposures, and the shim.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Host;
use super::forward_all::opened;
use super::forwarding::{ALL, has_switches};
use crate::beside::{Around, Foreign, Legacy, Wanted, is_shim, shim, shim_places, survey};
use crate::conflict::Conflict;
use crate::conntrack;
use crate::diag;
use crate::error::Error;
use crate::exposure::Exposure;
use crate::guest::{Attachment, Guest};
use crate::nft::{Batch, Chain};
use crate::route::{Address, Ipv4Setting, Ipv6Setting, Link, RouteFilter, Scope, ipv6_setting};
use crate::types::{IfIndex, IfName};

impl Host {
    /// Finds what others on the node have or do that breaks guests, or these
    /// exposures, in force or not; see [`beside`](crate::beside) for what is
    /// looked at. Nothing is changed.
    ///
    /// It lists links, addresses, chains, and those rules to which packets
    /// come, never the elements of anyone's sets; so it can be asked before
    /// each change. Ports that the rules of others do not tell apart are looked
    /// at together; a rule that looks ports up in a set is asked for each.
    ///
    /// ```no_run
    /// # use tapwire::{Host, Owner};
    /// # let mut host = Host::open(Owner::new("riklet")?)?;
    /// for conflict in host.conflicts(&["tcp/8080->198.18.0.2:80".parse()?])? {
    ///     println!("{conflict}: {}", conflict.remedy());
    /// }
    /// # Ok::<(), tapwire::Error>(())
    /// ```
    ///
    /// # Errors
    /// What listing these things returns.
    pub fn conflicts(&mut self, wanted: &[Exposure]) -> Result<Vec<Conflict>, Error> {
        let wanted: Vec<Wanted> = wanted.iter().flat_map(Wanted::of).collect();
        let links = self.rtnl.links()?;
        let addresses = self.rtnl.addresses(None)?;
        let around = self.around(&links, &addresses)?;
        let legacy = self.inside(|| Ok(Legacy::read()))?;
        let mut foreign = Foreign::read(&mut self.nft, &self.layout.table)?;
        let mut conflicts = survey(&mut foreign, &legacy, &around, &wanted)?;
        conflicts.extend(self.listening(&links, &wanted)?);
        if wanted.iter().any(|wanted| wanted.ipv4) {
            conflicts.extend(self.strict_reverse_paths(&links, &addresses)?);
        }
        // Without tables nothing was switched on yet.
        if self.has_table()? {
            conflicts.extend(self.not_forwarding(&links, &addresses, &around)?);
        }
        let usage = conntrack::usage(self.nft.connection_mut())?;
        if let Some(limit) = usage.limit().filter(|_| usage.is_near_limit()) {
            let entries = usage.entries();
            conflicts.push(Conflict::ConntrackNearLimit { entries, limit });
        }
        conflicts.extend(self.bridge_netfilter(&links)?);
        Ok(conflicts)
    }

    /// Lets guests through the chains of others that drop their packets at
    /// hook `forward`: two rules at the head of each, or of Docker's
    /// `DOCKER-USER`. Why that is no hole is said in
    /// [`beside`](crate::beside). Chains that let guests through stay as they
    /// are, so the call can be repeated; [`Wanted::shim`](crate::Wanted::shim)
    /// has plans do it.
    ///
    /// Returns the [`Conflict::ForwardDrop`]s that remain: of legacy iptables,
    /// and of tables that a running program owns. [`remove`](Self::remove)
    /// takes the rules back.
    ///
    /// # Errors
    /// [`Error::Refused`] from the kernel; what listing links, addresses,
    /// chains and rules returns.
    pub fn add_shim(&mut self) -> Result<Vec<Conflict>, Error> {
        let links = self.rtnl.links()?;
        let addresses = self.rtnl.addresses(None)?;
        let around = self.around(&links, &addresses)?;
        for at_head in [false, true] {
            self.change_foreign(|host, batch| {
                let mut foreign = Foreign::read(&mut host.nft, &host.layout.table)?;
                let mut chains = shim_places(&mut foreign, &around, at_head)?;
                chains.dedup();
                for chain in &chains {
                    for old in foreign.rules_now(chain)? {
                        if is_shim(&host.owner, &old) {
                            batch.delete(&old);
                        }
                    }
                    for rule in shim(&host.owner, chain)? {
                        batch.insert(&rule);
                    }
                }
                Ok(())
            })?;
        }
        let legacy = self.inside(|| Ok(Legacy::read()))?;
        let mut foreign = Foreign::read(&mut self.nft, &self.layout.table)?;
        let mut left = survey(&mut foreign, &legacy, &around, &[])?;
        left.retain(|conflict| matches!(conflict, Conflict::ForwardDrop { .. }));
        Ok(left)
    }

    /// The chains in which a shim is needed and is not there.
    pub(super) fn chains_without_shim(&mut self) -> Result<Vec<Chain>, Error> {
        let links = self.rtnl.links()?;
        let addresses = self.rtnl.addresses(None)?;
        let around = self.around(&links, &addresses)?;
        let mut attempts = 0..ATTEMPTS;
        loop {
            let mut foreign = Foreign::read(&mut self.nft, &self.layout.table)?;
            match shim_places(&mut foreign, &around, false) {
                // Others change their tables at this moment.
                Err(error) if error.is_not_found() && attempts.next().is_some() => {}
                places => {
                    let mut places = places?;
                    places.dedup();
                    return Ok(places);
                }
            }
        }
    }

    /// Takes the rules of [`add_shim`](Self::add_shim) back, wherever they
    /// are. None is no error.
    ///
    /// # Errors
    /// [`Error::Refused`] from the kernel.
    pub fn remove_shim(&mut self) -> Result<(), Error> {
        self.change_foreign(|host, batch| {
            let mut foreign = Foreign::read(&mut host.nft, &host.layout.table)?;
            let chains: Vec<Chain> = foreign.shim_chains();
            for chain in &chains {
                for rule in foreign.rules_now(chain)? {
                    if is_shim(&host.owner, &rule) {
                        batch.delete(&rule);
                    }
                }
            }
            Ok(())
        })
    }

    /// Commits what `fill` makes of the ruleset as it is, again if someone
    /// changes it meanwhile.
    fn change_foreign(
        &mut self,
        mut fill: impl FnMut(&mut Self, &mut Batch) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut attempts = 0..ATTEMPTS;
        loop {
            let generation = self.nft.generation()?;
            let mut batch = Batch::new();
            fill(self, &mut batch)?;
            batch.based_on(generation);
            match self.nft.commit(&mut batch) {
                Err(Error::Stale { .. }) if attempts.next().is_some() => {}
                result => return result,
            }
        }
    }

    /// The sockets of processes on the ports of these exposures.
    pub(crate) fn listening_on(&mut self, wanted: &[Exposure]) -> Result<Vec<Conflict>, Error> {
        let wanted: Vec<Wanted> = wanted.iter().flat_map(Wanted::of).collect();
        let links = self.rtnl.links()?;
        self.listening(&links, &wanted)
    }

    /// The interfaces that lead outside, for IPv4 and for IPv6.
    pub(crate) fn uplinks(&mut self) -> Result<[Vec<(IfName, IfIndex)>; 2], Error> {
        let links = self.rtnl.links()?;
        let addresses = self.rtnl.addresses(None)?;
        Ok(self.around(&links, &addresses)?.uplinks)
    }

    /// What packets of guests are like here.
    fn around(&mut self, links: &[Link], addresses: &[Address]) -> Result<Around, Error> {
        let here = |guest: &&Attachment| guest.elsewhere().is_none();
        let guest = self.known.guests().find(here).cloned();
        let guest = if let Some(guest) = guest {
            guest
        } else {
            let sample = Guest::new("sample")?;
            self.networks.attachment(&self.owner, &sample, 0)?
        };
        let index_of = |name: &IfName| {
            let link = links.iter().find(|link| link.name() == name.as_str());
            link.map(Link::index)
        };
        let mut uplinks = [Vec::new(), Vec::new()];
        for (uplinks, far) in uplinks.iter_mut().zip([FAR4, FAR6]) {
            let outside = self.way_to(far)?;
            let all = facing_outside(links, addresses, far.is_ipv4());
            let leads = |&(_, index): &(IfName, IfIndex)| Some(index) == outside;
            let outside = all.iter().copied().find(leads);
            *uplinks = outside.map_or(all, |only| vec![only]);
        }
        let on_others = |address: &&Address| {
            let link = links.iter().find(|link| link.index() == address.index());
            link.is_some_and(|link| opened(link).is_some())
        };
        let local = addresses.iter().filter(on_others);
        Ok(Around {
            tap: (guest.tap, index_of(&guest.tap)),
            guest: [guest.ipv4.into(), guest.ipv6.into()],
            uplinks,
            local: local.map(|address| address.net().addr()).collect(),
        })
    }

    /// The interface by which packets to `address` leave.
    fn way_to(&mut self, address: IpAddr) -> Result<Option<IfIndex>, Error> {
        match self.rtnl.route_to(address) {
            Ok(route) => Ok(route.and_then(|route| route.index())),
            // A route that says that there is no way.
            Err(Error::Refused { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The sockets of processes on the ports.
    fn listening(&self, links: &[Link], wanted: &[Wanted]) -> Result<Vec<Conflict>, Error> {
        let protocols: BTreeSet<u8> = wanted.iter().map(|wanted| wanted.protocol).collect();
        let listeners = self.inside(|| diag::listeners_of(protocols))?;
        let on_tap = |index: IfIndex| {
            let link = links.iter().find(|link| link.index() == index);
            link.is_some_and(|link| self.slot_of(link).is_some())
        };
        let mut conflicts = Vec::new();
        for wanted in wanted {
            for listener in &listeners {
                let (socket, dual) = (listener.local(), listener.takes_ipv4());
                let port = wanted.port_at(socket.port());
                let port = port.filter(|port| port.is_served_by(socket, dual));
                let is_ours = listener.interface().is_some_and(on_tap);
                if let Some(port) = port
                    && listener.protocol() == wanted.protocol
                    && !is_ours
                {
                    conflicts.push(Conflict::Listening {
                        port,
                        socket,
                        uid: listener.uid(),
                        inode: listener.inode(),
                    });
                }
            }
        }
        Ok(conflicts)
    }

    /// Interfaces with a default route and strict reverse path filtering that
    /// are not the way to the outside: behind the translation the filter asks
    /// for the way from the guest's address to the client's, so that no
    /// routing rule for the host's own addresses helps.
    fn strict_reverse_paths(
        &mut self,
        links: &[Link],
        addresses: &[Address],
    ) -> Result<Vec<Conflict>, Error> {
        let all = self.inside(|| Ok(number_in("/proc/sys/net/ipv4/conf/all/rp_filter")))?;
        let strict = |link: &Link| {
            let own = link.ipv4_setting(Ipv4Setting::RpFilter);
            own.max(all) == Some(STRICT)
        };
        let mut conflicts = Vec::new();
        for (interface, index) in facing_outside(links, addresses, true) {
            let link = links.iter().find(|link| link.index() == index);
            if !link.is_some_and(strict) {
                continue;
            }
            let back = self.way_to(FAR4)?;
            let routes = self.rtnl.routes(&RouteFilter::new().dev(index))?;
            let is_default = |net: ipnet::IpNet| net.addr().is_ipv4() && net.prefix_len() == 0;
            let leads_outside = routes.iter().any(|route| is_default(route.destination()));
            if leads_outside && back != Some(index) {
                let answers_by = links.iter().find(|link| Some(link.index()) == back);
                let answers_by = answers_by.and_then(|link| link.name().parse().ok());
                conflicts.push(Conflict::StrictReversePath {
                    interface,
                    answers_by,
                });
            }
        }
        Ok(conflicts)
    }

    /// Interfaces to the outside and TAPs that do not forward.
    fn not_forwarding(
        &self,
        links: &[Link],
        addresses: &[Address],
        around: &Around,
    ) -> Result<Vec<Conflict>, Error> {
        let is_off = |link: &Link| link.ipv4_setting(Ipv4Setting::Forwarding) == Some(0);
        let outside4 = facing_outside(links, addresses, true);
        let ipv4 = links.iter().filter(|link| {
            let concerned = self.slot_of(link).is_some()
                || outside4.iter().any(|(_, index)| *index == link.index());
            concerned && is_off(link)
        });
        let ipv4 = ipv4.filter_map(|link| link.name().parse().ok());
        let outside6 = facing_outside(links, addresses, false);
        let outside6 = outside6.into_iter().map(|(name, _)| name);
        // One TAP stands for all: what switches them off does so at once.
        let (tap, index) = around.tap;
        let names: Vec<IfName> = outside6.chain(index.map(|_| tap)).collect();
        let ipv6 = self.inside(|| Ok(not_forwarding_ipv6(names)))?;
        let conflict = |ipv6| move |interface| Conflict::NotForwarding { interface, ipv6 };
        let ipv4 = ipv4.map(conflict(false));
        Ok(ipv4.chain(ipv6.into_iter().map(conflict(true))).collect())
    }

    /// Whether frames between ports of a bridge go through rules.
    fn bridge_netfilter(&self, links: &[Link]) -> Result<Vec<Conflict>, Error> {
        let has_ports = |bridge: &&Link| {
            bridge.kind() == Some("bridge")
                && links
                    .iter()
                    .any(|port| port.master() == Some(bridge.index()))
        };
        let bridge = links.iter().find(has_ports);
        let Some(bridge) = bridge.and_then(|bridge| bridge.name().parse().ok()) else {
            return Ok(Vec::new());
        };
        let on = self.inside(|| {
            let settings = [(false, BRIDGE4), (true, BRIDGE6)];
            let on = settings
                .into_iter()
                .filter(|(_, path)| number_in(path).is_some_and(|value| value != 0));
            Ok(on.map(|(ipv6, _)| ipv6).collect::<Vec<bool>>())
        })?;
        let conflict = |ipv6| Conflict::BridgeNetfilter { bridge, ipv6 };
        Ok(on.into_iter().map(conflict).collect())
    }
}

/// The interfaces of others with addresses of a family that others can
/// reach.
fn facing_outside(links: &[Link], addresses: &[Address], ipv4: bool) -> Vec<(IfName, IfIndex)> {
    let universal: BTreeSet<IfIndex> = addresses
        .iter()
        .filter(|address| address.net().addr().is_ipv4() == ipv4)
        .filter(|address| address.address_scope() == Scope::UNIVERSE)
        .map(Address::index)
        .collect();
    links
        .iter()
        .filter(|link| universal.contains(&link.index()))
        .filter_map(|link| Some((opened(link)?, link.index())))
        .collect()
}

/// The interfaces among these that do not forward IPv6, or `all` where the
/// kernel has one switch for all; none without IPv6. In the calling thread's
/// namespace.
fn not_forwarding_ipv6(mut names: Vec<IfName>) -> Vec<IfName> {
    if ipv6_setting(ALL, Ipv6Setting::Forwarding).ok() != Some(0) {
        return Vec::new();
    }
    if !has_switches() {
        return vec![ALL];
    }
    let is_off = |name: &IfName| {
        let value = ipv6_setting(*name, Ipv6Setting::ForceForwarding);
        value.ok() == Some(0)
    };
    names.retain(is_off);
    names
}

/// The number in a file of the calling thread's network namespace.
fn number_in(path: &str) -> Option<u32> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// Addresses far away (TEST-NET-1 of RFC 5737; RFC 9637): the way there is
/// the way to the outside.
const FAR4: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const FAR6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 1));

/// `rp_filter` that drops what would be answered by another interface.
const STRICT: u32 = 1;

const BRIDGE4: &str = "/proc/sys/net/bridge/bridge-nf-call-iptables";
const BRIDGE6: &str = "/proc/sys/net/bridge/bridge-nf-call-ip6tables";

/// Others may change the ruleset while the shim is put in place, so many
/// times.
const ATTEMPTS: u32 = 32;
