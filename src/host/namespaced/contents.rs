//! What is in a namespace, and what should be.

use std::collections::HashMap;
use std::net::IpAddr;

use ipnet::IpNet;

use super::open_nft;
use super::site::Links;
use crate::error::{Conflict, Error};
use crate::guest::GATEWAY_MAC;
use crate::host::rebuild::Own;
use crate::layout::Inside;
use crate::nft::Table;
use crate::owner::Owner;
use crate::route::{
    Address, Ipv4Setting, Ipv6Setting, Link, Neighbour, Route, RouteFilter, Rtnl, ipv6_setting,
};
use crate::sys::{Journey, NetNs, NetNsId};
use crate::types::{IfIndex, IfName};

/// What should be there besides links and tables.
pub(super) struct Things {
    pub(super) addresses: Vec<Address>,
    pub(super) neighbours: Vec<Neighbour>,
    pub(super) routes: Vec<Route>,
}

impl Things {
    pub(super) fn of(inside: &Inside<'_>, tap: IfIndex, uplink: IfIndex, has_ipv6: bool) -> Self {
        let snapshot = inside.snapshot;
        let ipv4 = (
            IpAddr::from(snapshot.ipv4_net().addr()),
            IpAddr::from(snapshot.gateway_ipv4()),
            IpAddr::from(inside.next_ipv4),
        );
        let own6 = snapshot.ipv6_net().zip(snapshot.gateway_ipv6());
        let ipv6 = own6.filter(|_| has_ipv6).map(|(net, gateway)| {
            let (guest, next) = (net.addr(), inside.next_ipv6);
            (guest.into(), gateway.into(), next.into())
        });
        let mut things = Self {
            addresses: Vec::new(),
            neighbours: Vec::new(),
            routes: Vec::new(),
        };
        for (guest, gateway, next) in [Some(ipv4), ipv6].into_iter().flatten() {
            // That of the gateway alone, and the guest on the other side:
            // what else the guest takes for its link is not there. Of IPv6
            // the kernel would make the way to the other side some time
            // later, or, while the link is down, never.
            let address = Address::new(tap, IpNet::from(gateway));
            if guest.is_ipv4() {
                things.addresses.push(address.peer(guest));
            } else {
                things.addresses.push(address.without_dad());
                let beside = Route::new(IpNet::from(guest)).dev(tap);
                things.routes.push(beside);
            }
            let guest = Neighbour::new(tap, guest, snapshot.mac());
            things.neighbours.push(guest);
            let host = Neighbour::new(uplink, next, GATEWAY_MAC);
            things.neighbours.push(host);
            let everywhere = Route::new(everywhere(next)).via(next).onlink();
            things.routes.push(everywhere.dev(uplink));
        }
        things
    }
}

/// What there is in the namespace that the thread is in.
pub(super) struct Contents {
    links: Vec<Link>,
    addresses: Vec<Address>,
    neighbours: Vec<Neighbour>,
    routes: Vec<Route>,
}

impl Contents {
    pub(super) fn read(rtnl: &mut Rtnl) -> Result<Self, Error> {
        Ok(Self {
            links: rtnl.links()?,
            addresses: rtnl.addresses(None)?,
            neighbours: rtnl.neighbours(None)?,
            routes: rtnl.routes(&RouteFilter::new())?,
        })
    }

    /// The links that are as they should be; `far` has the name of the
    /// host's.
    pub(super) fn links(&self, inside: &Inside<'_>, far: Option<&Link>) -> Links {
        let of = |name: IfName, kind| {
            let is_it = |link: &&Link| link.name() == name.as_str() && link.kind() == Some(kind);
            self.links.iter().find(is_it)
        };
        let uplink = of(inside.uplink, "veth").map(Link::index);
        Links {
            tap: of(inside.snapshot.tap(), "tun").map(Link::index),
            uplink,
            far: far.map(Link::index),
        }
    }

    /// What is missing.
    pub(super) fn lacks(
        &self,
        inside: &Inside<'_>,
        links: Links,
    ) -> Result<Vec<&'static str>, Error> {
        let Some(tap) = links.tap else {
            return Ok(vec!["the TAP in its namespace"]);
        };
        let Some(uplink) = links.uplink else {
            return Ok(vec!["the way out of its namespace"]);
        };
        let mut lacks = Vec::new();
        let both = self
            .links
            .iter()
            .filter(|link| [tap, uplink].contains(&link.index()));
        for link in both {
            if !link.is_up() {
                lacks.push("a link that is up in its namespace");
            }
            if link.ipv4_setting(Ipv4Setting::Forwarding) == Some(0) {
                lacks.push("forwarding in its namespace");
            }
        }
        let forwards = ipv6_setting(ALL, Ipv6Setting::Forwarding);
        let has_ipv6 = forwards.is_ok() && inside.snapshot.ipv6_net().is_some();
        if has_ipv6 && forwards? == 0 {
            lacks.push("forwarding in its namespace");
        }
        let things = Things::of(inside, tap, uplink, has_ipv6);
        let mac = self.links.iter().find(|link| link.index() == tap);
        if mac.and_then(Link::mac) != Some(inside.snapshot.current_gateway_mac()) {
            lacks.push("the MAC address of its gateway");
        }
        let has_address = |one: &Address| {
            let same = |other: &Address| {
                other.index() == one.index()
                    && other.net().addr() == one.net().addr()
                    && other.peer_address() == one.peer_address()
            };
            self.addresses.iter().any(same)
        };
        if !things.addresses.iter().all(has_address) {
            lacks.push("a gateway in its namespace");
        }
        if !things
            .neighbours
            .iter()
            .all(|one| self.neighbours.contains(one))
        {
            lacks.push("a neighbour in its namespace");
        }
        let has_route = |one: &Route| {
            let same = |other: &Route| {
                other.destination() == one.destination()
                    && other.gateway() == one.gateway()
                    && other.index() == one.index()
            };
            self.routes.iter().any(same)
        };
        if !things.routes.iter().all(has_route) {
            lacks.push("a route in its namespace");
        }
        if !has_rules(inside)? {
            lacks.push("the rules in its namespace");
        }
        lacks.dedup();
        Ok(lacks)
    }
}

/// What is missing of the namespace of an attached clone.
pub(super) fn lacks(
    journey: &mut Journey,
    inside: &Inside<'_>,
    host: NetNsId,
) -> Result<Vec<&'static str>, Error> {
    let name = inside.clone.tap;
    match NetNs::open_named(name.as_str()) {
        Ok(netns) => journey.enter(&netns)?,
        Err(error) if error.is_not_found() => return Ok(vec!["its namespace"]),
        Err(Error::Invalid(_)) => return Ok(vec!["its namespace"]),
        Err(error) => return Err(error),
    }
    check_ours(&inside.owner, host, name.as_str())?;
    let there = Contents::read(&mut Rtnl::open()?)?;
    let links = there.links(inside, None);
    there.lacks(inside, links)
}

/// Makes sure that the namespace that the thread is in, whose name is `name`,
/// is one that was made here: the tables say so.
pub(super) fn check_ours(owner: &Owner, host: NetNsId, name: &str) -> Result<(), Error> {
    let mark = Inside::mark(owner, host);
    let is_ours = |table: &Table| {
        let comment = table.current_comment();
        comment.is_some_and(|comment| comment.as_str().ends_with(&mark))
    };
    if open_nft()?.tables()?.iter().any(is_ours) {
        return Ok(());
    }
    let wanted = format!("namespace {name}");
    let holder = "one of that name that is not of this owner and host";
    Err(Conflict::new(wanted, holder).into())
}

/// Whether the tables are as they should be.
fn has_rules(inside: &Inside<'_>) -> Result<bool, Error> {
    let mut nft = open_nft()?;
    let listed = nft.tables()?;
    let (mut chains, mut rules) = (Vec::new(), Vec::new());
    for own in inside.tables() {
        if !listed.iter().any(|table| table.is_same(own)) {
            return Ok(false);
        }
        chains.extend(nft.chains(own)?);
        rules.extend(nft.all_rules(own)?);
    }
    let own = Own::of(|batch| inside.create(batch))?;
    Ok(own.are_chains(&chains) && own.are_rules(&rules, &HashMap::new()))
}

/// The destination of a default route.
fn everywhere(next: IpAddr) -> IpNet {
    let unspecified = match next {
        IpAddr::V4(_) => IpAddr::from([0; 4]),
        IpAddr::V6(_) => IpAddr::from([0_u8; 16]),
    };
    IpNet::new_assert(unspecified, 0)
}

/// What stands for all interfaces under `/proc/sys/net/ipv6/conf`.
const ALL: IfName = IfName::constant("all");
