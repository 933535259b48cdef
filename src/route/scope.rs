//! How far an address or a route reaches.

use std::fmt;

use crate::wire::uapi::rtnetlink::{
    RT_SCOPE_HOST, RT_SCOPE_LINK, RT_SCOPE_NOWHERE, RT_SCOPE_SITE, RT_SCOPE_UNIVERSE,
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
