//! How a guest meets the host.

use std::fmt;

use super::{Elsewhere, Snapshot};

/// How a guest meets the host.
///
/// Whichever it is, the guest has an address of its own on the host to which
/// its exposures lead: of the owner's [`Networks`](crate::Networks), unless
/// somebody else gave it one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Connection {
    /// By a TAP with the host's address; the guest has its own address
    /// itself.
    #[default]
    Routed,
    /// A copy of a snapshot, many of which have the same addresses: the
    /// address of its own is written into its packets where they enter the
    /// host, and the one that it believes in where they leave to it. So is the
    /// host's for that of the gateway in which it believes, which may be
    /// somebody else's elsewhere. Neither a namespace nor a second connection
    /// to be tracked. An ICMP error about a packet to that gateway names the
    /// host's own address if connections are not tracked (`notrack`).
    Rewritten(Snapshot),
    /// A copy of a snapshot in a network namespace of its own, where the TAP
    /// has the snapshot's name, and whose far end is a veth pair.
    Namespaced(Snapshot),
    /// By a link of somebody else's, such as a pod's. Nothing of it is made,
    /// guarded or limited; exposures lead to it, from the host's loopback
    /// addresses too, and from itself and its neighbours on that link.
    Elsewhere(Elsewhere),
}

impl Connection {
    /// The snapshot of which the guest is a copy, if it is one.
    pub fn snapshot(&self) -> Option<&Snapshot> {
        match self {
            Self::Routed | Self::Elsewhere(_) => None,
            Self::Rewritten(snapshot) | Self::Namespaced(snapshot) => Some(snapshot),
        }
    }

    /// Where the guest is, if its link is somebody else's.
    pub fn elsewhere(&self) -> Option<&Elsewhere> {
        match self {
            Self::Elsewhere(place) => Some(place),
            _ => None,
        }
    }
}

/// `routed`, or how and of which snapshot, or where.
impl fmt::Display for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Routed => f.write_str("routed"),
            Self::Rewritten(snapshot) => write!(f, "rewritten from {snapshot}"),
            Self::Namespaced(snapshot) => write!(f, "in a namespace from {snapshot}"),
            Self::Elsewhere(place) => write!(f, "{place}"),
        }
    }
}
