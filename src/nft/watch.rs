//! Events: what changes in the ruleset, and the ways of traced packets.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use crate::conn::{Events, Report};
use crate::error::Error;
use crate::sys::Protocol;
use crate::wire::uapi::nf_tables::{
    NFT_MSG_DELCHAIN, NFT_MSG_DELFLOWTABLE, NFT_MSG_DELOBJ, NFT_MSG_DELRULE, NFT_MSG_DELSET,
    NFT_MSG_DELSETELEM, NFT_MSG_DELTABLE, NFT_MSG_NEWGEN, NFT_MSG_TRACE, NFTA_GEN_ID,
    NFTA_GEN_PROC_NAME, NFTA_GEN_PROC_PID,
};
use crate::wire::uapi::nfnetlink::{NFNLGRP_NFTABLES, NFNLGRP_NFTRACE};
use crate::wire::{DecodeError, Fields, Message};

use super::name::lossy;
use super::{Content, Trace, header};

/// Something that the kernel reports.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// Something was added or changed.
    New(Content),
    /// Something was deleted.
    Gone(Content),
    /// The events since the last of this kind were one commit.
    Committed(Commit),
    /// A packet under `meta nftrace set 1` came to a rule or to an end.
    Trace(Trace),
    /// Events were lost, for they were not read fast enough: read again what
    /// is to be known.
    Overrun,
}

/// A commit.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Commit {
    /// The number of the ruleset's state since then.
    pub generation: u32,
    /// The process that did it, in the process namespace of the reader.
    pub process: Option<u32>,
    /// The name of that process.
    pub program: Option<Box<str>>,
}

/// A reader of [`Event`]s of one network namespace.
///
/// ```no_run
/// use std::time::Duration;
/// use tapwire::nft::{Event, Watch};
/// let mut watch = Watch::ruleset()?;
/// while let Some(event) = watch.next_event(Duration::from_secs(1))? {
///     if event == Event::Overrun {
///         // List again: something was missed.
///     }
/// }
/// # Ok::<(), tapwire::Error>(())
/// ```
#[derive(Debug)]
pub struct Watch {
    events: Events<Event>,
}

impl Watch {
    /// Watches what changes in the ruleset of the calling thread's network
    /// namespace.
    ///
    /// # Errors
    /// [`Error::System`] if the socket cannot be opened.
    pub fn ruleset() -> Result<Self, Error> {
        Self::open(NFNLGRP_NFTABLES)
    }

    /// Watches the ways of traced packets.
    ///
    /// # Errors
    /// [`Error::System`] if the socket cannot be opened.
    pub fn traces() -> Result<Self, Error> {
        Self::open(NFNLGRP_NFTRACE)
    }

    fn open(group: u32) -> Result<Self, Error> {
        Ok(Self {
            events: Events::open(Protocol::Netfilter, &[group])?,
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
    const SOURCE: &'static str = "nf_tables events";
    const OVERRUN: Self = Self::Overrun;

    fn read(message: &Message<'_>) -> Result<Option<Self>, DecodeError> {
        Self::decode(message)
    }
}

impl Event {
    /// What `message` reports; `None` if it is none of `nf_tables`, or of a
    /// kind that is not known here.
    ///
    /// # Errors
    /// [`DecodeError`] if it is malformed.
    pub fn decode(message: &Message<'_>) -> Result<Option<Self>, DecodeError> {
        let Some(operation) = header::operation(message.kind()) else {
            return Ok(None);
        };
        Ok(match operation {
            NFT_MSG_NEWGEN => Some(Self::Committed(Commit::decode(message)?)),
            NFT_MSG_TRACE => Some(Self::Trace(Trace::decode(message)?)),
            NFT_MSG_DELTABLE | NFT_MSG_DELCHAIN | NFT_MSG_DELRULE | NFT_MSG_DELSET
            | NFT_MSG_DELSETELEM | NFT_MSG_DELOBJ | NFT_MSG_DELFLOWTABLE => {
                known(message)?.map(Self::Gone)
            }
            _ => known(message)?.map(Self::New),
        })
    }
}

impl Commit {
    fn decode(message: &Message<'_>) -> Result<Self, DecodeError> {
        let (_, attrs) = header::split(message)?;
        let fields = Fields::<4>::read(attrs)?;
        let name = crate::wire::Attr::<crate::wire::Bytes>::new(NFTA_GEN_PROC_NAME.kind());
        Ok(Self {
            generation: fields.need(NFTA_GEN_ID)?,
            process: fields.get(NFTA_GEN_PROC_PID)?,
            program: fields.get(name)?.map(|bytes| lossy(bytes).into()),
        })
    }
}

fn known(message: &Message<'_>) -> Result<Option<Content>, DecodeError> {
    let content = Content::decode(message)?;
    Ok((content != Content::Other).then_some(content))
}
