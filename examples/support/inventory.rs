//! What is in a network namespace, as the library reads it from the kernel.

use std::net::IpAddr;

use tapwire::conn::Connection;
use tapwire::conntrack::{self, Flow, FlowFilter};
use tapwire::nft::Nft;
use tapwire::route::{Ipv4Setting, Ipv6Setting, Link, RouteFilter, Rtnl, ipv6_setting};
use tapwire::sys::NetNs;

use super::program::Failure;

/// Everything of a namespace that a guest could leave behind, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Inventory {
    kinds: Vec<(&'static str, Vec<String>)>,
}

impl Inventory {
    /// Reads it all; of the flows those from or to one of `guests`.
    pub(crate) fn take(netns: &NetNs, guests: &[IpAddr]) -> Result<Self, Failure> {
        netns.run(|| read(guests))?
    }

    /// The kinds of things, and how many there are of each.
    pub(crate) fn counts(&self) -> impl Iterator<Item = (&'static str, usize)> {
        self.kinds.iter().map(|(kind, items)| (*kind, items.len()))
    }

    /// What is here and was not there, or the other way round.
    pub(crate) fn differences(&self, before: &Self) -> Vec<String> {
        let mut differences = Vec::new();
        for ((kind, items), (_, earlier)) in self.kinds.iter().zip(&before.kinds) {
            let added = items.iter().filter(|item| !earlier.contains(item));
            differences.extend(added.map(|item| format!("left behind: {kind}: {item}")));
            let gone = earlier.iter().filter(|item| !items.contains(item));
            differences.extend(gone.map(|item| format!("gone: {kind}: {item}")));
        }
        differences
    }
}

fn read(guests: &[IpAddr]) -> Result<Inventory, Failure> {
    let mut rtnl = Rtnl::open()?;
    let mut netfilter = Connection::netfilter()?;
    let links = rtnl.links()?;
    let addresses = rtnl.addresses(None)?;
    let routes = rtnl.routes(&RouteFilter::new())?;
    let tables = Nft::open()?.tables()?;
    let mut flows = conntrack::flows(&mut netfilter, &FlowFilter::ipv4())?;
    flows.extend(conntrack::flows(&mut netfilter, &FlowFilter::ipv6())?);
    flows.retain(|flow| involves(flow, guests));
    // The kernel itself adds and completes link-local addresses and the
    // routes of its local table, in its own time, and takes them away with
    // the link.
    let of_link = |address: IpAddr| match address {
        IpAddr::V4(_) => false,
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    Ok(Inventory {
        kinds: vec![
            ("links", words(links.iter())),
            (
                "addresses",
                words(
                    addresses
                        .iter()
                        .filter(|address| !of_link(address.net().addr())),
                ),
            ),
            (
                "routes",
                words(routes.iter().filter(|route| {
                    route.table_number() != LOCAL_TABLE && !of_link(route.destination().addr())
                })),
            ),
            (
                "nf_tables tables",
                words(
                    tables
                        .iter()
                        .map(|table| format!("{} {}", table.family(), table.name())),
                ),
            ),
            ("switched to forwarding", forwarding(&links)?),
            (
                "tracked flows of guests",
                words(flows.iter().map(Flow::original)),
            ),
        ],
    })
}

/// Where packets are forwarded that come in.
fn forwarding(links: &[Link]) -> Result<Vec<String>, Failure> {
    let mut places = Vec::new();
    for link in links {
        if link.ipv4_setting(Ipv4Setting::Forwarding) == Some(1) {
            places.push(format!("{}, IPv4", link.name()));
        }
        let name = link.name().parse()?;
        // Before Linux 6.17 there is only the switch for all.
        if ipv6_setting(name, Ipv6Setting::ForceForwarding).is_ok_and(|value| value == 1) {
            places.push(format!("{}, IPv6", link.name()));
        }
    }
    if ipv6_setting("all".parse()?, Ipv6Setting::Forwarding)? == 1 {
        places.push("all, IPv6".to_owned());
    }
    Ok(places)
}

fn involves(flow: &Flow, guests: &[IpAddr]) -> bool {
    [flow.original(), flow.reply()]
        .iter()
        .any(|tuple| guests.contains(&tuple.source()) || guests.contains(&tuple.destination()))
}

fn words<T: ToString>(items: impl Iterator<Item = T>) -> Vec<String> {
    items.map(|item| item.to_string()).collect()
}

/// `RT_TABLE_LOCAL` of `linux/rtnetlink.h`.
const LOCAL_TABLE: u32 = 255;
