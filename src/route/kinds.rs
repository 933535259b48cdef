//! The kernel's numbers about routes that have names.

use std::fmt;

use crate::wire::uapi::rtnetlink::{
    RT_SCOPE_HOST, RT_SCOPE_LINK, RT_SCOPE_NOWHERE, RT_SCOPE_SITE, RT_SCOPE_UNIVERSE,
    RTN_BLACKHOLE, RTN_LOCAL, RTN_PROHIBIT, RTN_THROW, RTN_UNICAST, RTN_UNREACHABLE,
};

/// How far away a destination is, or an address valid: `rtm_scope` of
/// `linux/rtnetlink.h`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Scope(u8);

impl Scope {
    /// Anywhere: behind a gateway; printed `global` by `ip`.
    pub const UNIVERSE: Self = Self(RT_SCOPE_UNIVERSE);
    /// Within the site; IPv6 only, deprecated.
    pub const SITE: Self = Self(RT_SCOPE_SITE);
    /// On the interface's own link.
    pub const LINK: Self = Self(RT_SCOPE_LINK);
    /// On this host.
    pub const HOST: Self = Self(RT_SCOPE_HOST);
    /// Nowhere: a destination that does not exist; as a wish to delete, any.
    pub const NOWHERE: Self = Self(RT_SCOPE_NOWHERE);

    /// The scope of this number.
    pub const fn from_number(number: u8) -> Self {
        Self(number)
    }

    /// The kernel's number.
    pub const fn number(self) -> u8 {
        self.0
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::UNIVERSE => f.write_str("global"),
            Self::SITE => f.write_str("site"),
            Self::LINK => f.write_str("link"),
            Self::HOST => f.write_str("host"),
            Self::NOWHERE => f.write_str("nowhere"),
            Self(number) => write!(f, "{number}"),
        }
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What becomes of the packets of a route: `rtm_type` of
/// `linux/rtnetlink.h`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RouteKind(u8);

impl RouteKind {
    /// They leave by an interface or a gateway.
    pub const UNICAST: Self = Self(RTN_UNICAST);
    /// They are delivered on this host.
    pub const LOCAL: Self = Self(RTN_LOCAL);
    /// They are dropped.
    pub const BLACKHOLE: Self = Self(RTN_BLACKHOLE);
    /// They are answered with "host unreachable".
    pub const UNREACHABLE: Self = Self(RTN_UNREACHABLE);
    /// They are answered with "administratively prohibited".
    pub const PROHIBIT: Self = Self(RTN_PROHIBIT);
    /// They are looked up in the next table.
    pub const THROW: Self = Self(RTN_THROW);

    /// The kind of this number.
    pub const fn from_number(number: u8) -> Self {
        Self(number)
    }

    pub(super) const fn leads_nowhere(self) -> bool {
        matches!(
            self,
            Self::BLACKHOLE | Self::UNREACHABLE | Self::PROHIBIT | Self::THROW
        )
    }

    /// The kernel's number.
    pub const fn number(self) -> u8 {
        self.0
    }
}

impl fmt::Display for RouteKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::UNICAST => f.write_str("unicast"),
            Self::LOCAL => f.write_str("local"),
            Self::BLACKHOLE => f.write_str("blackhole"),
            Self::UNREACHABLE => f.write_str("unreachable"),
            Self::PROHIBIT => f.write_str("prohibit"),
            Self::THROW => f.write_str("throw"),
            Self(number) => write!(f, "type {number}"),
        }
    }
}

impl fmt::Debug for RouteKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
