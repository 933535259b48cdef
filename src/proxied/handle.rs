//! What others can know of a proxy, and do to it.

use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::counters::{ProxiedCounters, Shared};
use crate::relay::socket as streams;

/// What another thread can know of a [`Proxied`](crate::Proxied), and do to it.
#[derive(Debug, Clone)]
pub struct ProxiedHandle {
    pub(super) counters: Arc<Shared>,
    pub(super) stop: Arc<OwnedFd>,
}

impl ProxiedHandle {
    /// What it has done so far.
    pub fn counters(&self) -> ProxiedCounters {
        self.counters.read()
    }

    /// Has [`Proxied::run`](crate::Proxied::run) return.
    pub fn stop(&self) {
        streams::signal(&self.stop);
    }
}

/// Something that a proxy cannot do on this host; everything else works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ProxiedNotice {
    /// The system lets the process send no echoes over IPv4
    /// (`net.ipv4.ping_group_range`): the gateway alone answers them.
    NoEchoV4,
    /// Likewise over IPv6.
    NoEchoV6,
}

impl fmt::Display for ProxiedNotice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoEchoV4 => "no echoes over IPv4 but the gateway's (net.ipv4.ping_group_range)",
            Self::NoEchoV6 => "no echoes over IPv6 but the gateway's (net.ipv4.ping_group_range)",
        })
    }
}
