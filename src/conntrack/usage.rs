//! How full the table of flows is.

use super::{CTNETLINK, NFGENMSG, write_family};
use crate::conn::Connection;
use crate::error::Error;
use crate::wire::uapi::conntrack::{
    CTA_STATS_GLOBAL_ENTRIES, CTA_STATS_GLOBAL_MAX_ENTRIES, IPCTNL_MSG_CT_GET_STATS,
};
use crate::wire::{DecodeError, Fields, Flags};

/// How many flows the kernel tracks, and how many it would.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Usage {
    entries: u32,
    limit: Option<u32>,
}

impl Usage {
    /// The flows that are tracked in this network namespace.
    pub fn entries(&self) -> u32 {
        self.entries
    }

    /// How many can be (`net.netfilter.nf_conntrack_max`): above it the first
    /// packet of a flow is dropped. `None` before Linux 5.9, and if there is
    /// no limit.
    pub fn limit(&self) -> Option<u32> {
        self.limit
    }

    /// Whether nine of ten places are taken.
    pub fn is_near_limit(&self) -> bool {
        let near = |limit: u32| limit.saturating_sub(limit.div_ceil(10));
        self.limit.is_some_and(|limit| self.entries >= near(limit))
    }
}

/// Asks how full the table of flows is. `connection` speaks netfilter.
///
/// # Errors
/// [`Error::Refused`] (`EPERM` without `CAP_NET_ADMIN`).
pub fn usage(connection: &mut Connection) -> Result<Usage, Error> {
    let missing = DecodeError::Missing {
        kind: CTA_STATS_GLOBAL_ENTRIES.kind(),
    };
    let answer = connection.get(
        "get the statistics of connection tracking",
        CTNETLINK | IPCTNL_MSG_CT_GET_STATS,
        Flags::ACK,
        |out| write_family(out, 0),
        |message| {
            let (_, attrs) = message.split::<NFGENMSG>()?;
            let fields = Fields::<3>::read(attrs)?;
            Ok(Usage {
                entries: fields.need(CTA_STATS_GLOBAL_ENTRIES)?,
                limit: fields
                    .get(CTA_STATS_GLOBAL_MAX_ENTRIES)?
                    .filter(|&limit| limit > 0),
            })
        },
    )?;
    answer.ok_or_else(|| missing.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nine_of_ten_is_near_the_limit() {
        for (entries, limit, near) in [
            (0, Some(262_144), false),
            (89, Some(100), false),
            (90, Some(100), true),
            (100, Some(100), true),
            (8, Some(9), true),
            (7, Some(9), false),
            (1, None, false),
        ] {
            let usage = Usage { entries, limit };
            assert_eq!(usage.is_near_limit(), near, "{usage:?}");
        }
    }
}
