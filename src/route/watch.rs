//! Events: what changes in the network namespace.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use crate::conn::{Events, Report};
use crate::error::Error;
use crate::sys::Protocol;
use crate::wire::uapi::rtnetlink::{
    RTM_DELADDR, RTM_DELLINK, RTM_DELROUTE, RTM_NEWADDR, RTM_NEWLINK, RTM_NEWROUTE,
    RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_IFADDR, RTNLGRP_IPV6_ROUTE, RTNLGRP_LINK,
};
use crate::wire::{DecodeError, Message};

use super::address::Address;
use super::fib::Route;
use super::link::Link;

/// A change that the kernel reports.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A link was made, or something about it changed.
    Link(Link),
    /// A link was deleted, or left the network namespace.
    LinkGone(Link),
    /// An address was added, or something about it changed.
    Address(Address),
    /// An address was deleted.
    AddressGone(Address),
    /// A route was added or replaced.
    Route(Route),
    /// A route was deleted. Routes that go with their interface or address
    /// are not all reported.
    RouteGone(Route),
    /// Events were lost, for they were not read fast enough: list again what
    /// is to be known.
    Overrun,
}

/// A reader of [`Event`]s.
#[derive(Debug)]
pub struct Watch {
    events: Events<Event>,
}

impl Watch {
    pub(super) fn open() -> Result<Self, Error> {
        Ok(Self {
            events: Events::open(Protocol::Route, &GROUPS)?,
        })
    }

    /// Sets the memory for events that were not read yet, in bytes of the
    /// kernel's accounting, which is several times the events' own size.
    ///
    /// # Errors
    /// [`Error::System`] from `setsockopt(SO_RCVBUF)`.
    pub fn set_buffer(&mut self, bytes: usize) -> Result<(), Error> {
        self.events.set_buffer(bytes)
    }

    /// Waits for the next event for at most about `timeout`; `None` if none
    /// came.
    ///
    /// # Errors
    /// [`Error::System`] if the socket fails, [`Error::Decode`] if an event
    /// cannot be read; the next call goes on behind it.
    pub fn next_event(&mut self, timeout: Duration) -> Result<Option<Event>, Error> {
        self.events.next(timeout)
    }
}

impl AsFd for Watch {
    /// Readable when an event, or the news of a loss, has come.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.events.as_fd()
    }
}

impl Report for Event {
    const SOURCE: &'static str = "rtnetlink events";
    const OVERRUN: Self = Self::Overrun;

    fn read(message: &Message<'_>) -> Result<Option<Self>, DecodeError> {
        Ok(match message.kind() {
            RTM_NEWLINK if is_plain(message) => Some(Self::Link(Link::decode(message)?)),
            RTM_DELLINK if is_plain(message) => Some(Self::LinkGone(Link::decode(message)?)),
            RTM_NEWADDR => Some(Self::Address(Address::decode(message)?)),
            RTM_DELADDR => Some(Self::AddressGone(Address::decode(message)?)),
            RTM_NEWROUTE => Route::decode(message)?.map(Self::Route),
            RTM_DELROUTE => Route::decode(message)?.map(Self::RouteGone),
            _ => None,
        })
    }
}

/// A bridge reports its ports in link messages of its own family
/// (`AF_BRIDGE`), in which most of the link is missing.
fn is_plain(message: &Message<'_>) -> bool {
    message.body().first() == Some(&0)
}

const GROUPS: [u32; 5] = [
    RTNLGRP_LINK,
    RTNLGRP_IPV4_IFADDR,
    RTNLGRP_IPV6_IFADDR,
    RTNLGRP_IPV4_ROUTE,
    RTNLGRP_IPV6_ROUTE,
];
