//! The handle: verbs over one connection.

use std::mem;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};

use netlink_packet_route::address::AddressMessage;

use crate::conn::{Connection, Requests};
use crate::error::{Error, Refusal};
use crate::wire::uapi::rtnetlink::{
    RTM_GETADDR, RTM_GETLINK, RTM_GETNEIGH, RTM_GETQDISC, RTM_GETROUTE, RTM_GETRULE, RTM_GETSTATS,
    RTM_GETTFILTER,
};
use crate::{IfIndex, IfName};

use super::address::Address;
use super::bridge::{self, BridgePort, FdbEntry, PortVlan};
use super::changes::Changes;
use super::codec::emit;
use super::fib::Route;
use super::fib_filter::{self, RouteFilter};
use super::link::{self, Link};
use super::neighbour::{self, Neighbour};
use super::rule::{self, RoutingRule};
use super::stats::{self, LinkStats};
use super::tc::{self, Filter, Hook, Qdisc};
use super::vf::{self, VirtualFunction};
use super::watch::Watch;

/// A handle on the links, addresses, routes, neighbours and routing rules of
/// one network namespace.
///
/// ```no_run
/// use tapwire::route::{Address, LinkChange, Rtnl};
/// let mut rtnl = Rtnl::open()?;
/// if let Some(link) = rtnl.link("tap0".parse()?)? {
///     let address = "198.51.100.1/30".parse().unwrap();
///     rtnl.apply(|changes| {
///         changes.add_address(&Address::new(link.index(), address));
///         changes.set_link(&LinkChange::new(link.index()).up());
///     })?;
/// }
/// # Ok::<(), tapwire::Error>(())
/// ```
#[derive(Debug)]
pub struct Rtnl {
    connection: Connection,
    requests: Requests,
}

impl Rtnl {
    /// Opens the calling thread's network namespace.
    ///
    /// # Errors
    /// [`Error::System`] if the socket cannot be opened.
    pub fn open() -> Result<Self, Error> {
        Ok(Self {
            connection: Connection::route()?,
            requests: Requests::new(),
        })
    }

    /// Applies the changes that `queue` asks for, in their order, sent as
    /// one.
    ///
    /// The kernel has no transaction here: it attempts every change, also
    /// those behind one that it refuses, and those that it did not refuse
    /// stay.
    ///
    /// # Errors
    /// [`Error::Refused`] with the first change that was refused and its
    /// place; [`attempt`](Self::attempt) tells all. [`Error::Invalid`] and
    /// [`Error::Encode`] for a value that cannot be used,
    /// [`Error::TooLarge`] for more than the socket takes: nothing was sent
    /// then. [`Error::System`] if the kernel's answer is lost: the changes may
    /// or may not be in force.
    pub fn apply<'fd>(&mut self, queue: impl FnOnce(&mut Changes<'fd>)) -> Result<(), Error> {
        self.send(queue, |changes, refusals| {
            match refusals.into_iter().min_by_key(|&(index, _)| index) {
                Some((index, refusal)) => Err(changes.refused(index, refusal)),
                None => Ok(()),
            }
        })
    }

    /// As [`apply`](Self::apply), for changes of which some may be refused,
    /// such as deletes: returns one [`Error::Refused`] for each that was, at
    /// most 64.
    ///
    /// # Errors
    /// Those of [`apply`](Self::apply) but `Error::Refused`.
    pub fn attempt<'fd>(
        &mut self,
        queue: impl FnOnce(&mut Changes<'fd>),
    ) -> Result<Vec<Error>, Error> {
        self.send(queue, |changes, refusals| {
            let refusals = refusals.into_iter();
            Ok(refusals
                .map(|(index, refusal)| changes.refused(index, refusal))
                .collect())
        })
    }

    /// Lists the links.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::System`], [`Error::Decode`] or
    /// [`Error::Interrupted`] if they cannot be listed.
    pub fn links(&mut self) -> Result<Vec<Link>, Error> {
        self.connection.dump(
            "list links",
            RTM_GETLINK,
            |out| link::encode_get(None, None, out),
            |message| Ok(Some(Link::decode(message)?)),
        )
    }

    /// Looks up a link by its name; `None` if there is none.
    ///
    /// # Errors
    /// As [`links`](Self::links).
    pub fn link(&mut self, name: IfName) -> Result<Option<Link>, Error> {
        self.get_link(format_args!("get link {name}"), None, Some(name))
    }

    /// Looks up a link by its index; `None` if there is none.
    ///
    /// # Errors
    /// As [`links`](Self::links).
    pub fn link_at(&mut self, index: IfIndex) -> Result<Option<Link>, Error> {
        self.get_link(format_args!("get link {index}"), Some(index), None)
    }

    /// Lists what the links have carried.
    ///
    /// # Errors
    /// As [`links`](Self::links).
    pub fn stats(&mut self) -> Result<Vec<(IfIndex, LinkStats)>, Error> {
        self.connection.dump(
            "list statistics of links",
            RTM_GETSTATS,
            stats::encode_get,
            |message| Ok(LinkStats::decode(message)?),
        )
    }

    /// Lists the addresses of an interface, or of all.
    ///
    /// # Errors
    /// As [`links`](Self::links).
    pub fn addresses(&mut self, index: Option<IfIndex>) -> Result<Vec<Address>, Error> {
        let list = self.connection.dump(
            "list addresses",
            RTM_GETADDR,
            |out| {
                let mut message = AddressMessage::default();
                message.header.index = index.map_or(0, IfIndex::get);
                emit(out, &message);
            },
            |message| {
                let address = Address::decode(message)?;
                let wanted = index.is_none_or(|index| index == address.index());
                Ok(wanted.then_some(address))
            },
        );
        none_if(list, libc::ENODEV)
    }

    /// Lists the routes of both families that `filter` lets through.
    ///
    /// # Errors
    /// As [`links`](Self::links).
    pub fn routes(&mut self, filter: &RouteFilter) -> Result<Vec<Route>, Error> {
        let list = self.connection.dump(
            "list routes",
            RTM_GETROUTE,
            |out| filter.encode(out),
            |message| Ok(Route::decode(message)?.filter(|route| filter.matches(route))),
        );
        none_if(list, libc::ENODEV)
    }

    /// Finds the route that packets from this host to `address` take; `None`
    /// if the network is unreachable (`ENETUNREACH`), as all are of a family
    /// that the kernel does not have.
    ///
    /// # Errors
    /// As [`links`](Self::links). A route that refuses the packets is
    /// [`Error::Refused`] with its reason (`EHOSTUNREACH`, `EACCES`, `EINVAL`).
    pub fn route_to(&mut self, address: IpAddr) -> Result<Option<Route>, Error> {
        let found = self.connection.ask(
            format_args!("get route to {address}"),
            RTM_GETROUTE,
            |out| fib_filter::encode_lookup(address, out),
            |message| Ok(Route::decode(message)?),
        );
        let found = none_if(found, libc::ENETUNREACH);
        // Without IPv6 (`ipv6.disable=1`) nobody is there to ask.
        Ok(none_if(found, libc::EOPNOTSUPP)?.flatten())
    }

    /// Lists the neighbours on an interface, or on all.
    ///
    /// # Errors
    /// As [`links`](Self::links).
    pub fn neighbours(&mut self, index: Option<IfIndex>) -> Result<Vec<Neighbour>, Error> {
        let list = self.connection.dump(
            "list neighbours",
            RTM_GETNEIGH,
            |out| neighbour::encode_filter(index, out),
            |message| {
                let wanted = |entry: &Neighbour| index.is_none_or(|index| index == entry.index());
                Ok(Neighbour::decode(message)?.filter(wanted))
            },
        );
        none_if(list, libc::ENODEV)
    }

    /// Lists the routing rules of both families.
    ///
    /// # Errors
    /// As [`links`](Self::links).
    pub fn rules(&mut self) -> Result<Vec<RoutingRule>, Error> {
        self.connection
            .dump("list rules", RTM_GETRULE, rule::encode_list, |message| {
                Ok(RoutingRule::decode(message)?)
            })
    }

    /// Looks up the options of a port; `None` if it is not a port of a bridge,
    /// or not there.
    ///
    /// # Errors
    /// As [`links`](Self::links).
    pub fn bridge_port(&mut self, port: IfIndex) -> Result<Option<BridgePort>, Error> {
        let found = self.connection.ask(
            format_args!("get port {port}"),
            RTM_GETLINK,
            |out| link::encode_get(Some(port), None, out),
            |message| Ok(BridgePort::decode(message)?),
        );
        Ok(none_if(found, libc::ENODEV)?.flatten())
    }

    /// Lists the VLANs that the ports of all bridges carry, and the bridges
    /// themselves; none where the kernel has no VLAN filtering.
    ///
    /// # Errors
    /// As [`links`](Self::links).
    pub fn port_vlans(&mut self) -> Result<Vec<(IfIndex, Vec<PortVlan>)>, Error> {
        let encode = bridge::encode_vlan_list;
        self.connection
            .dump("list VLANs of ports", RTM_GETLINK, encode, |message| {
                Ok(bridge::decode_vlans(message)?)
            })
    }

    /// Lists the forwarding database of a port or of a tunnel.
    ///
    /// # Errors
    /// As [`links`](Self::links).
    pub fn fdb(&mut self, index: IfIndex) -> Result<Vec<FdbEntry>, Error> {
        let list = self.connection.dump(
            format_args!("list forwarding database of {index}"),
            RTM_GETNEIGH,
            |out| bridge::encode_fdb_list(index, out),
            |message| {
                let wanted = |entry: &FdbEntry| entry.index() == index;
                Ok(FdbEntry::decode(message)?.filter(wanted))
            },
        );
        none_if(list, libc::ENODEV)
    }

    /// Lists the virtual functions of a card, by its physical function; none
    /// if it has none.
    ///
    /// # Errors
    /// As [`links`](Self::links), and `ENODEV` if there is no such link.
    pub fn virtual_functions(&mut self, physical: IfIndex) -> Result<Vec<VirtualFunction>, Error> {
        let found = self.connection.ask(
            format_args!("get virtual functions of {physical}"),
            RTM_GETLINK,
            |out| vf::encode_get(physical, out),
            |message| Ok(VirtualFunction::decode_all(message)?),
        )?;
        Ok(found.unwrap_or_default())
    }

    /// Lists the queueing disciplines of an interface, or of all.
    ///
    /// # Errors
    /// As [`links`](Self::links).
    pub fn qdiscs(&mut self, index: Option<IfIndex>) -> Result<Vec<Qdisc>, Error> {
        let list = self.connection.dump(
            "list qdiscs",
            RTM_GETQDISC,
            |out| tc::encode_qdisc_list(index, out),
            |message| {
                let qdisc = Qdisc::decode(message)?;
                let wanted = index.is_none_or(|index| index == qdisc.index());
                Ok(wanted.then_some(qdisc))
            },
        );
        none_if(list, libc::ENODEV)
    }

    /// Lists the filters on what an interface takes in or sends; none where
    /// it has no qdisc for them.
    ///
    /// # Errors
    /// As [`links`](Self::links).
    pub fn filters(&mut self, index: IfIndex, hook: Hook) -> Result<Vec<Filter>, Error> {
        let list = self.connection.dump(
            format_args!("list filters dev {index}"),
            RTM_GETTFILTER,
            |out| tc::encode_filter_list(index, hook, out),
            |message| Ok(Filter::decode(message)?),
        );
        none_if(list, libc::ENODEV)
    }

    /// Watches links, addresses and routes change, in the calling thread's
    /// network namespace, on a socket of its own.
    ///
    /// # Errors
    /// [`Error::System`] if the socket cannot be opened.
    pub fn watch() -> Result<Watch, Error> {
        Watch::open()
    }

    fn get_link(
        &mut self,
        what: impl std::fmt::Display,
        index: Option<IfIndex>,
        name: Option<IfName>,
    ) -> Result<Option<Link>, Error> {
        let found = self.connection.ask(
            what,
            RTM_GETLINK,
            |out| link::encode_get(index, name, out),
            |message| Ok(Link::decode(message)?),
        );
        none_if(found, libc::ENODEV)
    }

    fn send<'fd, T>(
        &mut self,
        queue: impl FnOnce(&mut Changes<'fd>),
        judge: impl FnOnce(&Changes<'fd>, Vec<(usize, Refusal)>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut changes = Changes::new(mem::take(&mut self.requests));
        queue(&mut changes);
        log::debug!("{changes}");
        let connection = &mut self.connection;
        let sent = changes
            .requests()
            .and_then(|requests| match requests.len() {
                0 => Ok(Vec::new()),
                _ => connection.change(requests),
            });
        let outcome = sent.and_then(|refusals| judge(&changes, refusals));
        self.requests = changes.into_requests();
        outcome
    }
}

impl AsFd for Rtnl {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.connection.as_fd()
    }
}

/// Takes a refusal with this error for the answer that there is nothing.
fn none_if<T: Default>(answer: Result<T, Error>, absent: i32) -> Result<T, Error> {
    match answer {
        Err(Error::Refused { source, .. }) if source.errno() == absent => Ok(T::default()),
        answer => answer,
    }
}
