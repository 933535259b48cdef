//! What makes two expressions the same, however they were listed.

use super::{Counter, Expr, Last, Limit, LimitType};

impl Expr {
    /// The expression without what a listing changes: counts, the names and
    /// numbers of anonymous sets, what the kernel says that it took for
    /// granted, and what it ignored.
    pub(crate) fn plain(&self) -> Self {
        match self {
            Self::Counter(_) => Counter::new().into(),
            Self::Last(_) => Last::new().into(),
            Self::Quota(quota) => quota.clone().with_consumed(0).canonical().into(),
            Self::Nat(nat) => nat.clone().canonical().into(),
            Self::Masquerade(masquerade) => masquerade.clone().canonical().into(),
            Self::Redirect(redirect) => redirect.clone().canonical().into(),
            Self::Dynset(dynset) => dynset.clone().canonical().into(),
            Self::Lookup(lookup) => lookup.clone().by_name().into(),
            Self::Limit(limit) => limit.as_listed().into(),
            Self::Log(log) => log.clone().canonical().into(),
            Self::Ct(ct) => ct.clone().canonical().into(),
            Self::Socket(socket) => socket.clone().canonical().into(),
            Self::Queue(queue) if queue.number().is_some() && queue.total().is_none() => {
                queue.clone().with_total(1).into()
            }
            other => other.clone(),
        }
    }
}

impl Limit {
    /// With the burst that the kernel takes for granted.
    pub(crate) fn as_listed(&self) -> Self {
        if *self.burst() == 0 && *self.kind() == LimitType::PACKETS {
            self.clone().with_burst(BURST)
        } else {
            self.clone()
        }
    }
}

/// `NFT_LIMIT_PKT_BURST_DEFAULT` of the kernel.
const BURST: u32 = 5;
