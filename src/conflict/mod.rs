//! What stands in the way: the one type for it.

mod place;
mod words;

use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;

pub use place::{ForeignChain, ForeignRule, HostPort};

use crate::types::IfName;

/// Something that others on the node have or do, and that clashes with what is
/// wanted or breaks it.
///
/// `Display` says it in one sentence; [`breaks`](Self::breaks) what does not
/// work because of it, [`remedy`](Self::remedy) what to do. The table in
/// [`beside`](crate::beside) shows all of them.
///
/// ```
/// # fn show(conflict: &tapwire::Conflict) {
/// println!("{conflict}\n  breaks: {}\n  remedy: {}", conflict.breaks(), conflict.remedy());
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Conflict {
    /// Something that only one can have is held by another.
    Held {
        /// What was wanted.
        wanted: Box<str>,
        /// What holds it.
        holder: Box<str>,
    },
    /// A chain of someone else, entered at hook `forward`, drops packets of
    /// guests. No accept elsewhere can prevent that.
    ForwardDrop {
        /// The base chain.
        chain: Box<ForeignChain>,
        /// The rule that drops; `None` if it is the chain's policy.
        rule: Option<Box<ForeignRule>>,
        /// Whether it stops connections to exposed ports, or their answers.
        exposures: bool,
        /// Whether it stops connections that guests open.
        egress: bool,
    },
    /// Someone else translates the destination of what is for a wanted port.
    Translated {
        /// The wanted port.
        port: HostPort,
        /// The base chain in which that happens.
        chain: Box<ForeignChain>,
        /// The rule that translates.
        rule: Box<ForeignRule>,
        /// Who decides: the foreign chain if it comes earlier, else the
        /// exposure, which then takes the port away.
        wins: Winner,
        /// Whether the rule is certain to match; some rules also depend on
        /// what only a packet shows, its source for example.
        certain: bool,
    },
    /// A process of the host has a socket on a wanted port.
    Listening {
        /// The wanted port.
        port: HostPort,
        /// The address and port of the socket; an unspecified address stands
        /// for all of the host.
        socket: SocketAddr,
        /// The user who made the socket.
        uid: u32,
        /// The number of the socket, by which `/proc/PID/fd` tells the
        /// process.
        inode: u32,
    },
    /// Strict reverse path filtering on an interface from which the outside
    /// comes, while the way back leads through another.
    StrictReversePath {
        /// The interface.
        interface: IfName,
        /// The interface by which the kernel would answer; `None` if by none.
        answers_by: Option<IfName>,
    },
    /// Packets that come in by an interface are not forwarded.
    NotForwarding {
        /// The interface: one with an address of the host, or a guest's TAP;
        /// `all` for IPv6 before Linux 6.17, which has one switch for all.
        interface: IfName,
        /// Whether IPv6 is concerned, else IPv4.
        ipv6: bool,
    },
    /// The table of tracked connections is almost full; when it is, the kernel
    /// drops the first packet of each new connection.
    ConntrackNearLimit {
        /// How many connections are tracked in this namespace.
        entries: u32,
        /// How many can be.
        limit: u32,
    },
    /// Frames that a bridge passes on go through the rules for routed packets.
    BridgeNetfilter {
        /// A bridge that has ports.
        bridge: IfName,
        /// Whether IPv6 is concerned, else IPv4.
        ipv6: bool,
    },
    /// A mesh has rules that redirect the TCP connections of this namespace to
    /// its proxy, and the guest's go past them.
    PastMesh {
        /// The base chain.
        chain: Box<ForeignChain>,
        /// The rule that redirects.
        rule: Box<ForeignRule>,
        /// What leads them past it.
        by: Passing,
    },
    /// A mesh has a rule that hands the TCP connections which the guest opens
    /// to a process (`TPROXY`) as if they were for the pod, wherever they are
    /// led to.
    Intercepted {
        /// The base chain.
        chain: Box<ForeignChain>,
        /// The rule that hands them over.
        rule: Box<ForeignRule>,
    },
    /// TCP ports that the guest is to have are those of the mesh itself.
    Reserved {
        /// The first of them.
        first: u16,
        /// The last of them.
        last: u16,
    },
    /// There are tables of legacy iptables that could not be read.
    LegacyUnreadable {
        /// The tables: `filter`.
        table: Box<str>,
        /// Whether they are those of `ip6tables-legacy`, else of
        /// `iptables-legacy`.
        ipv6: bool,
        /// Why, an errno (see `errno(3)`).
        errno: i32,
    },
}

/// Which of two translations of one port decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Winner {
    /// The foreign one: its chain comes earlier.
    Foreign,
    /// The exposure: the foreign chain comes later.
    Exposure,
    /// The chain that was made first: both have one priority.
    Older,
}

/// What leads a guest's connections past a mesh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Passing {
    /// A bridge: its frames meet no rules for routed packets.
    Bridge,
    /// Filters that redirect frames before any rule sees them.
    Filters,
    /// Exposures, which translate first.
    Exposures,
}

impl Conflict {
    pub(crate) fn new(wanted: impl fmt::Display, holder: impl fmt::Display) -> Self {
        Self::Held {
            wanted: wanted.to_string().into(),
            holder: holder.to_string().into(),
        }
    }

    /// What was wanted, or what is touched.
    pub fn wanted(&self) -> Cow<'_, str> {
        match self {
            Self::Held { wanted, .. } => wanted.as_ref().into(),
            Self::Translated { port, .. } | Self::Listening { port, .. } => port.to_string().into(),
            Self::Reserved { first, last } => words::tcp_ports(*first, *last).into(),
            _ => self.breaks(),
        }
    }

    /// What stands in its way.
    pub fn holder(&self) -> Cow<'_, str> {
        match self {
            Self::Held { holder, .. } => holder.as_ref().into(),
            Self::ForwardDrop { chain, rule, .. } => words::source(chain, rule.as_deref()).into(),
            Self::Translated { chain, rule, .. }
            | Self::PastMesh { chain, rule, .. }
            | Self::Intercepted { chain, rule } => words::source(chain, Some(rule)).into(),
            Self::Listening { socket, .. } => format!("a socket on {socket}").into(),
            Self::StrictReversePath { interface, .. } => {
                format!("net.ipv4.conf.{interface}.rp_filter").into()
            }
            Self::NotForwarding { interface, ipv6 } => words::forwarding(*interface, *ipv6).into(),
            Self::ConntrackNearLimit { .. } => "net.netfilter.nf_conntrack_max".into(),
            Self::BridgeNetfilter { ipv6, .. } => words::bridge_setting(*ipv6).into(),
            Self::Reserved { .. } => "the mesh".into(),
            Self::LegacyUnreadable { table, ipv6, .. } => {
                format!("table {table} of {}", words::legacy(*ipv6)).into()
            }
        }
    }
}

impl std::error::Error for Conflict {}
