//! The way of answers to a proxy that connects from its clients' addresses.
//!
//! To the kernel such an answer, which comes from the guest's TAP and is for
//! an address of someone else, is one to pass on. So the connection is marked
//! when it begins; what comes from the TAP with that mark is looked up in a
//! table in which all addresses are local, and finds the proxy's socket.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::error::Error;
use crate::host::has_ipv6;
use crate::owner::Owner;
use crate::route::{Route, RouteFilter, RouteKind, RoutingRule, Rtnl};
use crate::types::{IfIndex, IfName};

/// The bit by which packets and connections are marked.
pub(super) const MARK: u32 = 0x0010_0000;

/// Makes sure that there is the way for what comes from `tap`, or that there
/// is none.
pub(super) fn settle(owner: &Owner, tap: Option<IfName>) -> Result<(), Error> {
    let mut rtnl = Rtnl::open()?;
    let found = Way::find(owner, &mut rtnl)?;
    let wanted = match tap {
        Some(tap) => Way::new(owner, tap, &mut rtnl)?,
        None => Way::default(),
    };
    if found == wanted {
        return Ok(());
    }
    rtnl.apply(|changes| {
        for rule in &found.rules {
            changes.delete_rule(rule);
        }
        for route in &found.routes {
            changes.delete_route(route);
        }
        for route in &wanted.routes {
            changes.add_route(route);
        }
        for rule in &wanted.rules {
            changes.add_rule(rule);
        }
    })
}

/// Whether that is so already.
pub(super) fn is_settled(owner: &Owner, tap: Option<IfName>) -> Result<bool, Error> {
    let mut rtnl = Rtnl::open()?;
    let found = Way::find(owner, &mut rtnl)?;
    let wanted = match tap {
        Some(tap) => Way::new(owner, tap, &mut rtnl)?,
        None => Way::default(),
    };
    Ok(found == wanted)
}

/// Rules and routes.
#[derive(Debug, Default, PartialEq, Eq)]
struct Way {
    rules: Vec<RoutingRule>,
    routes: Vec<Route>,
}

impl Way {
    fn new(owner: &Owner, tap: IfName, rtnl: &mut Rtnl) -> Result<Self, Error> {
        let table = table(owner);
        let link = rtnl.link(tap)?.map(|link| link.index());
        let families = [true, false].into_iter().filter(|v4| *v4 || has_ipv6());
        let mut way = Self::default();
        for ipv4 in families {
            let rule = if ipv4 {
                RoutingRule::ipv4(table)
            } else {
                RoutingRule::ipv6(table)
            };
            way.rules.push(
                rule.priority(PRIORITY)
                    .iif(tap)
                    .fwmark(MARK, MARK)
                    .protocol(PROTOCOL),
            );
            way.routes.extend(link.map(|link| local(ipv4, link, table)));
        }
        Ok(way)
    }

    /// What there is of it.
    fn find(owner: &Owner, rtnl: &mut Rtnl) -> Result<Self, Error> {
        let table = table(owner);
        let is_own = |rule: &RoutingRule| {
            rule.table() == table && rule.protocol_number() == PROTOCOL && !rule.is_partial()
        };
        let mut rules = rtnl.rules()?;
        rules.retain(is_own);
        rules.sort_by_key(|rule| !rule.is_ipv4());
        let mut routes = rtnl.routes(&RouteFilter::new().table(table).protocol(PROTOCOL))?;
        routes.sort_by_key(|route| !route.destination().addr().is_ipv4());
        Ok(Self { rules, routes })
    }
}

/// All addresses are local. The route is the TAP's, and goes with it.
fn local(ipv4: bool, tap: IfIndex, table: u32) -> Route {
    let all = if ipv4 {
        IpNet::V4(Ipv4Net::default())
    } else {
        IpNet::V6(Ipv6Net::default())
    };
    Route::new(all)
        .kind(RouteKind::LOCAL)
        .dev(tap)
        .table(table)
        .protocol(PROTOCOL)
}

/// The owner's table, a number made from its name (FNV-1a) above those that
/// people give.
fn table(owner: &Owner) -> u32 {
    let hash = owner.as_str().bytes().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    hash | 0x8000_0000
}

/// Behind the table of the host's own addresses, which is at 0, and before
/// all others.
const PRIORITY: u32 = 100;

/// A number of those that are free for applications, by which the kernel
/// tells whose a route or rule is.
const PROTOCOL: u8 = 213;
