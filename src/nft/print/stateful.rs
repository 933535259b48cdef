//! Statements that keep a state: rules, elements and objects have them.

use super::kind::duration;
use super::scope::Scope;
use crate::nft::expr::{Connlimit, Expr, Last, Limit, LimitType, Quota};

/// The text of `expression`.
pub(super) fn text(expression: &Expr, scope: Scope<'_>) -> String {
    match expression {
        Expr::Counter(one) => counter(*one.packets(), *one.bytes(), scope),
        Expr::Quota(one) => quota(one, scope),
        Expr::Last(one) => last(one, scope),
        Expr::Limit(one) => limit(one).unwrap_or_else(|| super::raw::expression(expression)),
        Expr::Connlimit(one) => connections(one),
        other => super::raw::expression(other),
    }
}

pub(super) fn counter(packets: u64, bytes: u64, scope: Scope<'_>) -> String {
    if scope.stateless {
        "counter".to_owned()
    } else {
        format!("counter packets {packets} bytes {bytes}")
    }
}

fn quota(quota: &Quota, scope: Scope<'_>) -> String {
    let over = if quota.flags() & INVERTED == 0 {
        ""
    } else {
        "over "
    };
    let used = match *quota.consumed() {
        0 => String::new(),
        _ if scope.stateless => String::new(),
        used => format!(" used {}", amount(used)),
    };
    format!("quota {over}{}{used}", amount(*quota.bytes()))
}

fn last(last: &Last, scope: Scope<'_>) -> String {
    match (scope.stateless, *last.seen()) {
        (true, _) => "last".to_owned(),
        (false, 0) => "last used never".to_owned(),
        (false, _) => format!("last used {}", duration(*last.ago())),
    }
}

fn connections(limit: &Connlimit) -> String {
    let over = if limit.flags() & INVERTED == 0 {
        ""
    } else {
        "over "
    };
    format!("ct count {over}{}", limit.count())
}

fn limit(limit: &Limit) -> Option<String> {
    let unit = match *limit.unit() {
        1 => "second",
        60 => "minute",
        3600 => "hour",
        86_400 => "day",
        604_800 => "week",
        _ => return None,
    };
    let over = if limit.flags() & INVERTED == 0 {
        ""
    } else {
        "over "
    };
    let (rate, burst) = match *limit.kind() {
        LimitType::PACKETS => (
            limit.rate().to_string(),
            match *limit.burst() {
                0 | DEFAULT_BURST => String::new(),
                burst => format!(" burst {burst} packets"),
            },
        ),
        LimitType::BYTES => (
            format!("{} ", amount(*limit.rate())).trim_end().to_owned(),
            match *limit.burst() {
                0 => String::new(),
                burst => format!(" burst {}", amount(burst.into())),
            },
        ),
        _ => return None,
    };
    Some(format!("limit rate {over}{rate}/{unit}{burst}"))
}

/// Bytes in the largest unit that they are whole in.
pub(super) fn amount(bytes: u64) -> String {
    let whole = |unit: u64| bytes > 0 && bytes.is_multiple_of(unit);
    match bytes {
        bytes if whole(1 << 20) => format!("{} mbytes", bytes >> 20),
        bytes if whole(1 << 10) => format!("{} kbytes", bytes >> 10),
        bytes => format!("{bytes} bytes"),
    }
}

/// `NFT_QUOTA_F_INV`, `NFT_LIMIT_F_INV`, `NFT_CONNLIMIT_F_INV` of
/// `linux/netfilter/nf_tables.h`.
const INVERTED: u32 = 1;

/// The burst that `nft` gives a limit of packets.
const DEFAULT_BURST: u32 = 5;
