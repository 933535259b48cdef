//! What a proxy has done.

use std::fmt;

use crate::relay::Count;

/// What a [`Proxied`](crate::Proxied) has done since it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct ProxiedCounters {
    connections: u64,
    open: u64,
    flows: u64,
    refused: u64,
    denied: u64,
    spoofed: u64,
    malformed: u64,
    lost: u64,
    bytes_from_guest: u64,
    bytes_to_guest: u64,
}

impl ProxiedCounters {
    /// TCP connections that both sides took, whoever began them.
    pub fn connections(&self) -> u64 {
        self.connections
    }

    /// TCP connections that there are now, those under way to a side included.
    pub fn open(&self) -> u64 {
        self.open
    }

    /// Exchanges of datagrams and echoes that are remembered now.
    pub fn flows(&self) -> u64 {
        self.flows
    }

    /// What the other side did not take, what a limit or an allow list turned
    /// away, and what found no descriptor: connections, and datagrams that
    /// would have begun an exchange.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// What the guest was not allowed to reach.
    pub fn denied(&self) -> u64 {
        self.denied
    }

    /// Frames in which the guest pretended to be another: with a foreign MAC
    /// or IP address, in ARP and neighbour discovery as well.
    pub fn spoofed(&self) -> u64 {
        self.spoofed
    }

    /// Frames that were not understood: cut off, with a wrong checksum, IP
    /// fragments, other protocols.
    pub fn malformed(&self) -> u64 {
        self.malformed
    }

    /// Datagrams, either way, and frames to the guest that could not be passed
    /// on.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Bytes that the guest sent and the other side's socket took, without
    /// headers.
    pub fn bytes_from_guest(&self) -> u64 {
        self.bytes_from_guest
    }

    /// Bytes taken from sockets for the guest.
    pub fn bytes_to_guest(&self) -> u64 {
        self.bytes_to_guest
    }
}

impl fmt::Display for ProxiedCounters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} connections ({} open, {} refused), {} denied, {} spoofed, {} bytes from the guest, {} to it",
            self.connections,
            self.open,
            self.refused,
            self.denied,
            self.spoofed,
            self.bytes_from_guest,
            self.bytes_to_guest,
        )
    }
}

/// The counters as the proxy's thread counts them. Nothing else is
/// synchronised by them.
#[derive(Debug, Default)]
pub(super) struct Shared {
    pub(super) connections: Count,
    pub(super) open: Count,
    pub(super) flows: Count,
    pub(super) refused: Count,
    pub(super) denied: Count,
    pub(super) spoofed: Count,
    pub(super) malformed: Count,
    pub(super) lost: Count,
    pub(super) bytes_from_guest: Count,
    pub(super) bytes_to_guest: Count,
}

impl Shared {
    pub(super) fn read(&self) -> ProxiedCounters {
        ProxiedCounters {
            connections: self.connections.read(),
            open: self.open.read(),
            flows: self.flows.read(),
            refused: self.refused.read(),
            denied: self.denied.read(),
            spoofed: self.spoofed.read(),
            malformed: self.malformed.read(),
            lost: self.lost.read(),
            bytes_from_guest: self.bytes_from_guest.read(),
            bytes_to_guest: self.bytes_to_guest.read(),
        }
    }
}
