//! Events: what changes in the network namespace.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::sys::{Protocol, Socket};
use crate::wire::uapi::rtnetlink::{
    RTM_DELADDR, RTM_DELLINK, RTM_DELROUTE, RTM_NEWADDR, RTM_NEWLINK, RTM_NEWROUTE,
    RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_IFADDR, RTNLGRP_IPV6_ROUTE, RTNLGRP_LINK,
};
use crate::wire::{DecodeError, Message, Messages};

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
    socket: Socket,
    datagram: Vec<u8>,
    events: VecDeque<Event>,
}

impl Watch {
    pub(super) fn open() -> Result<Self, Error> {
        let mut socket = Socket::open(Protocol::Route)?;
        for group in GROUPS {
            socket.subscribe(group)?;
        }
        Ok(Self {
            socket,
            datagram: Vec::new(),
            events: VecDeque::new(),
        })
    }

    /// Sets the memory for events that were not read yet, in bytes of the
    /// kernel's accounting, which is several times the events' own size.
    ///
    /// # Errors
    /// [`Error::System`] from `setsockopt(SO_RCVBUF)`.
    pub fn set_buffer(&mut self, bytes: usize) -> Result<(), Error> {
        self.socket.set_receive_buffer(bytes)
    }

    /// Waits for the next event for at most about `timeout`; `None` if none
    /// came.
    ///
    /// # Errors
    /// [`Error::System`] if the socket fails, [`Error::Decode`] if an event
    /// cannot be read; the next call goes on behind it.
    pub fn next_event(&mut self, timeout: Duration) -> Result<Option<Event>, Error> {
        let start = Instant::now();
        loop {
            if let Some(event) = self.events.pop_front() {
                return Ok(Some(event));
            }
            self.socket
                .set_timeout(timeout.saturating_sub(start.elapsed()))?;
            match self.socket.receive(&mut self.datagram) {
                Ok(()) => {}
                Err(error) => {
                    return match error.raw_os_error() {
                        Some(libc::EAGAIN) => Ok(None),
                        Some(libc::ENOBUFS) => Ok(Some(Event::Overrun)),
                        _ => Err(Error::system("recv", "rtnetlink events", error)),
                    };
                }
            }
            for message in Messages::new(&self.datagram) {
                self.events.extend(decode(&message?)?);
            }
        }
    }
}

impl AsFd for Watch {
    /// Readable when an event, or the news of a loss, has come.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn decode(message: &Message<'_>) -> Result<Option<Event>, DecodeError> {
    Ok(match message.kind() {
        RTM_NEWLINK if is_plain(message) => Some(Event::Link(Link::decode(message)?)),
        RTM_DELLINK if is_plain(message) => Some(Event::LinkGone(Link::decode(message)?)),
        RTM_NEWADDR => Some(Event::Address(Address::decode(message)?)),
        RTM_DELADDR => Some(Event::AddressGone(Address::decode(message)?)),
        RTM_NEWROUTE => Route::decode(message)?.map(Event::Route),
        RTM_DELROUTE => Route::decode(message)?.map(Event::RouteGone),
        _ => None,
    })
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
