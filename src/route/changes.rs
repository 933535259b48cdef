//! A burst of changes: what is to be done, in order, in one buffer.

use std::fmt;
use std::marker::PhantomData;
use std::os::fd::BorrowedFd;

use crate::IfIndex;
use crate::conn::Requests;
use crate::error::{Error, Invalid, Operation, Part, Refusal};
use crate::wire::uapi::if_link::IFLA_GROUP;
use crate::wire::uapi::rtnetlink::{
    RTM_DELADDR, RTM_DELLINK, RTM_DELNEIGH, RTM_DELQDISC, RTM_DELROUTE, RTM_DELRULE,
    RTM_DELTFILTER, RTM_NEWADDR, RTM_NEWLINK, RTM_NEWNEIGH, RTM_NEWQDISC, RTM_NEWROUTE,
    RTM_NEWRULE, RTM_NEWTFILTER, RTM_SETLINK,
};
use crate::wire::{Flags, Writer};

use super::address::Address;
use super::bridge::{self, BridgeOptions, BridgePort, FdbEntry, PortVlan};
use super::describe::{Described, attribute_at};
use super::devconf::Ipv4Setting;
use super::fib::Route;
use super::link_change::LinkChange;
use super::neighbour::Neighbour;
use super::new_link::NewLink;
use super::rule::RoutingRule;
use super::tc::{Filter, Qdisc};
use super::vf::VirtualFunction;

/// Changes that [`Rtnl::apply`](super::Rtnl::apply) sends together.
///
/// Queueing does not fail: a value that cannot be used is remembered, the
/// first one is reported by `apply`, and nothing is sent then. Descriptors of
/// namespaces stay borrowed (`'fd`) until everything was sent.
///
/// `Display` lists the changes in the words of `ip`, one to a line.
#[derive(Debug)]
pub struct Changes<'fd> {
    requests: Requests,
    error: Option<Error>,
    descriptors: PhantomData<BorrowedFd<'fd>>,
}

impl<'fd> Changes<'fd> {
    /// Nothing yet, in the memory of `requests`.
    pub(super) fn new(mut requests: Requests) -> Self {
        requests.clear();
        Self {
            requests,
            error: None,
            descriptors: PhantomData,
        }
    }

    /// How many changes there are.
    pub fn len(&self) -> usize {
        self.requests.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// Makes a link; refused with `EEXIST` if its name or index is taken.
    pub fn add_link(&mut self, link: &NewLink<'fd>) {
        self.push(link.check(), RTM_NEWLINK, ADD, |out| link.encode(out));
    }

    /// Changes a link.
    pub fn set_link(&mut self, change: &LinkChange<'fd>) {
        self.push(change.check(), RTM_SETLINK, Flags::empty(), |out| {
            change.encode(out);
        });
    }

    /// Changes IPv4 settings of a link, all at once.
    pub fn set_ipv4(&mut self, index: IfIndex, settings: &[(Ipv4Setting, u32)]) {
        self.set_link(&LinkChange::new(index).ipv4(settings));
    }

    /// Changes options of a bridge; refused with `EOPNOTSUPP` for what this
    /// kernel's bridges do not have.
    pub fn set_bridge(&mut self, bridge: IfIndex, options: &BridgeOptions) {
        self.push(options.check(), RTM_NEWLINK, Flags::empty(), |out| {
            options.encode(bridge, out);
        });
    }

    /// Changes options of a port of a bridge.
    pub fn set_bridge_port(&mut self, port: IfIndex, options: &BridgePort) {
        self.push(Ok(()), RTM_NEWLINK, Flags::empty(), |out| {
            options.encode(port, out);
        });
    }

    /// Has a port of a bridge carry these VLANs too, or otherwise than before;
    /// refused with `EOPNOTSUPP` by kernels without VLAN filtering.
    pub fn add_port_vlans(&mut self, port: IfIndex, vlans: &[PortVlan]) {
        self.push(check_all(vlans), RTM_SETLINK, Flags::empty(), |out| {
            bridge::encode_vlans(port, false, vlans, out);
        });
    }

    /// As [`add_port_vlans`](Self::add_port_vlans) for the bridge itself, as
    /// an interface of the host.
    pub fn add_bridge_vlans(&mut self, bridge: IfIndex, vlans: &[PortVlan]) {
        self.push(check_all(vlans), RTM_SETLINK, Flags::empty(), |out| {
            bridge::encode_vlans(bridge, true, vlans, out);
        });
    }

    /// Has a port of a bridge carry these VLANs no more.
    pub fn delete_port_vlans(&mut self, port: IfIndex, vlans: &[PortVlan]) {
        self.push(check_all(vlans), RTM_DELLINK, Flags::empty(), |out| {
            bridge::encode_vlans(port, false, vlans, out);
        });
    }

    /// Adds an entry to a forwarding database, or changes the one that there
    /// is for its address.
    pub fn replace_fdb(&mut self, entry: &FdbEntry) {
        self.push(Ok(()), RTM_NEWNEIGH, REPLACE, |out| entry.encode(out));
    }

    /// Adds an entry to a tunnel's forwarding database beside those that there
    /// are for its address.
    pub fn append_fdb(&mut self, entry: &FdbEntry) {
        let flags = Flags::CREATE.union(Flags::APPEND);
        self.push(Ok(()), RTM_NEWNEIGH, flags, |out| entry.encode(out));
    }

    /// Deletes an entry of a forwarding database; refused with `ENOENT` if
    /// there is none.
    pub fn delete_fdb(&mut self, entry: &FdbEntry) {
        self.push(Ok(()), RTM_DELNEIGH, Flags::empty(), |out| {
            entry.encode(out);
        });
    }

    /// Sets what a card does with a virtual function, by its physical
    /// function; refused with `EOPNOTSUPP` by links without any, with `EINVAL`
    /// for a number that there is not.
    pub fn set_vf(&mut self, physical: IfIndex, function: &VirtualFunction) {
        self.push(function.check(), RTM_SETLINK, Flags::empty(), |out| {
            function.encode(physical, out);
        });
    }

    /// Deletes a link; a pair goes with either end.
    pub fn delete_link(&mut self, index: IfIndex) {
        self.push(Ok(()), RTM_DELLINK, Flags::empty(), |out| {
            link_header(Some(index), out);
        });
    }

    /// Deletes all links of a group, which the kernel does many times faster
    /// than one by one; refused with `ENODEV` if there is none. Group 0, where
    /// every link starts, is not taken.
    pub fn delete_links_of_group(&mut self, group: u32) {
        let check = match group {
            0 => Err(Invalid::new("group", group, "holds every other link")),
            _ => Ok(()),
        };
        self.push(check, RTM_DELLINK, Flags::empty(), |out| {
            link_header(None, out);
            out.put(IFLA_GROUP, group);
        });
    }

    /// Adds an address; refused with `EEXIST` if the interface has it.
    pub fn add_address(&mut self, address: &Address) {
        self.push(address.check(), RTM_NEWADDR, ADD, |out| address.encode(out));
    }

    /// Adds an address, or changes its flags if the interface has it.
    pub fn replace_address(&mut self, address: &Address) {
        self.push(address.check(), RTM_NEWADDR, REPLACE, |out| {
            address.encode(out);
        });
    }

    /// Deletes an address; refused with `EADDRNOTAVAIL` if there is none.
    pub fn delete_address(&mut self, address: &Address) {
        self.push(address.check(), RTM_DELADDR, Flags::empty(), |out| {
            address.encode(out);
        });
    }

    /// Adds a route; refused with `EEXIST` if there is one with its
    /// destination, table and metric.
    pub fn add_route(&mut self, route: &Route) {
        self.push(route.check_whole(), RTM_NEWROUTE, ADD, |out| {
            route.encode(out);
        });
    }

    /// Adds a route in the place of the one with its destination, table and
    /// metric, if there is one.
    pub fn replace_route(&mut self, route: &Route) {
        self.push(route.check_whole(), RTM_NEWROUTE, REPLACE, |out| {
            route.encode(out);
        });
    }

    /// Deletes the route that agrees in all that is set; refused with `ESRCH`
    /// if there is none.
    pub fn delete_route(&mut self, route: &Route) {
        self.push(route.check(), RTM_DELROUTE, Flags::empty(), |out| {
            route.encode(out);
        });
    }

    /// Adds a neighbour; refused with `EEXIST` if there is an entry.
    pub fn add_neighbour(&mut self, neighbour: &Neighbour) {
        self.push(Ok(()), RTM_NEWNEIGH, ADD, |out| neighbour.encode(out));
    }

    /// Adds a neighbour, or changes the entry that there is.
    pub fn replace_neighbour(&mut self, neighbour: &Neighbour) {
        self.push(Ok(()), RTM_NEWNEIGH, REPLACE, |out| neighbour.encode(out));
    }

    /// Deletes the entry of a neighbour, whatever its MAC; refused with
    /// `ENOENT` if there is none.
    pub fn delete_neighbour(&mut self, neighbour: &Neighbour) {
        self.push(Ok(()), RTM_DELNEIGH, Flags::empty(), |out| {
            neighbour.encode(out);
        });
    }

    /// Adds a routing rule; refused with `EEXIST` if there is the same one,
    /// which the kernel would otherwise double.
    pub fn add_rule(&mut self, rule: &RoutingRule) {
        self.push(rule.check(), RTM_NEWRULE, ADD, |out| rule.encode(out));
    }

    /// Deletes the first routing rule that agrees in all that is set; refused
    /// with `ENOENT` if there is none.
    pub fn delete_rule(&mut self, rule: &RoutingRule) {
        self.push(rule.check(), RTM_DELRULE, Flags::empty(), |out| {
            rule.encode(out);
        });
    }

    /// Adds a queueing discipline; refused with `EEXIST` if there is one in
    /// its place.
    pub fn add_qdisc(&mut self, qdisc: &Qdisc) {
        self.push(Ok(()), RTM_NEWQDISC, ADD, |out| qdisc.encode(out));
    }

    /// Deletes a queueing discipline with its filters; refused with `EINVAL`
    /// or `ENOENT` if there is none.
    pub fn delete_qdisc(&mut self, qdisc: &Qdisc) {
        self.push(Ok(()), RTM_DELQDISC, Flags::empty(), |out| {
            qdisc.encode(out);
        });
    }

    /// Adds a filter; refused with `ENOENT` if the kernel does not have its
    /// classifier or action, with `EINVAL` if the interface has no qdisc for
    /// it.
    pub fn add_filter(&mut self, filter: &Filter) {
        self.push(filter.check(), RTM_NEWTFILTER, ADD, |out| {
            filter.encode(out);
        });
    }

    /// Deletes a filter as it was listed, or, without a handle, all of its
    /// priority and kind; refused with `ENOENT` if there is none.
    pub fn delete_filter(&mut self, filter: &Filter) {
        self.push(Ok(()), RTM_DELTFILTER, Flags::empty(), |out| {
            filter.encode_header(out);
        });
    }

    /// The requests, or the first value that could not be used.
    pub(super) fn requests(&mut self) -> Result<&mut Requests, Error> {
        match self.error.take() {
            Some(error) => Err(error),
            None => Ok(&mut self.requests),
        }
    }

    pub(super) fn into_requests(self) -> Requests {
        self.requests
    }

    /// The error that says which change was refused, and why.
    pub(super) fn refused(&self, index: usize, refusal: Refusal) -> Error {
        let message = self.requests.message(index);
        let operation = match message {
            Some(message) => Operation::new(Described(&message)),
            None => Operation::new("change"),
        };
        let part = message
            .zip(refusal.offset())
            .and_then(|(message, offset)| attribute_at(&message, offset))
            .map(Part::Attribute);
        Error::Refused {
            operation: operation.at(index).part(part),
            source: refusal,
        }
    }

    pub(super) fn push(
        &mut self,
        check: Result<(), Invalid>,
        kind: u16,
        flags: Flags,
        body: impl FnOnce(&mut Writer<'_>),
    ) {
        if self.error.is_some() {
            return;
        }
        self.error = check.map_err(Error::from).err().or_else(|| {
            let pushed = self.requests.push(kind, flags, body);
            pushed.map_err(Error::from).err()
        });
    }
}

impl fmt::Display for Changes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (0..self.requests.len())
            .filter_map(|index| self.requests.message(index))
            .try_for_each(|message| writeln!(f, "{}", Described(&message)))
    }
}

fn check_all(vlans: &[PortVlan]) -> Result<(), Invalid> {
    vlans.iter().try_for_each(|vlan| vlan.check())
}

/// `struct ifinfomsg` with the index alone.
fn link_header(index: Option<IfIndex>, out: &mut Writer<'_>) {
    let [i0, i1, i2, i3] = index.map_or(0, IfIndex::get).to_ne_bytes();
    out.fixed(&[0, 0, 0, 0, i0, i1, i2, i3, 0, 0, 0, 0, 0, 0, 0, 0]);
}

pub(super) const ADD: Flags = Flags::CREATE.union(Flags::EXCL);
pub(super) const REPLACE: Flags = Flags::CREATE.union(Flags::REPLACE);
