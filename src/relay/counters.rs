//! What a relay has done.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// What a [`Relay`](crate::Relay) has done since it was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct RelayCounters {
    connections: u64,
    open: u64,
    refused: u64,
    bytes_to_guest: u64,
    bytes_to_client: u64,
    lost: u64,
}

impl RelayCounters {
    /// Connections that the guest took (of UDP: clients that it was sent
    /// something from).
    pub fn connections(&self) -> u64 {
        self.connections
    }

    /// Those that there are now, and those that the guest has not taken yet.
    pub fn open(&self) -> u64 {
        self.open
    }

    /// Clients that were turned away: there were too many, no descriptor was
    /// left, or the guest did not take them (of UDP: datagrams of new
    /// clients).
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// Bytes taken from clients, without headers.
    pub fn bytes_to_guest(&self) -> u64 {
        self.bytes_to_guest
    }

    /// Bytes taken from the guest.
    pub fn bytes_to_client(&self) -> u64 {
        self.bytes_to_client
    }

    /// Datagrams, either way, that were taken and could not be passed on.
    pub fn lost(&self) -> u64 {
        self.lost
    }
}

impl fmt::Display for RelayCounters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} connections ({} open, {} refused), {} bytes to the guest, {} to clients",
            self.connections, self.open, self.refused, self.bytes_to_guest, self.bytes_to_client,
        )
    }
}

/// The counters as the relay's thread counts them. Nothing else is
/// synchronised by them.
#[derive(Debug, Default)]
pub(super) struct Shared {
    pub(super) connections: Count,
    pub(super) open: Count,
    pub(super) refused: Count,
    pub(super) bytes_to_guest: Count,
    pub(super) bytes_to_client: Count,
    pub(super) lost: Count,
}

impl Shared {
    pub(super) fn read(&self) -> RelayCounters {
        RelayCounters {
            connections: self.connections.read(),
            open: self.open.read(),
            refused: self.refused.read(),
            bytes_to_guest: self.bytes_to_guest.read(),
            bytes_to_client: self.bytes_to_client.read(),
            lost: self.lost.read(),
        }
    }
}

/// One of them, which one thread writes.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn one(&self) {
        self.add(1);
    }

    pub(crate) fn add(&self, number: usize) {
        let number = u64::try_from(number).unwrap_or(u64::MAX);
        self.0.fetch_add(number, Ordering::Relaxed);
    }

    pub(crate) fn set(&self, number: usize) {
        let number = u64::try_from(number).unwrap_or(u64::MAX);
        self.0.store(number, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
