//! How many bytes expressions read and write.

use super::Width::{self, Open, Padded};
use crate::nft::Family;
use crate::nft::expr::{CtKey, CtSet, FibResult, MetaKey, RtKey, SocketKey, TunnelKey, XfrmKey};

pub(super) fn width(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

pub(super) const fn address(family: Family) -> Width {
    match family {
        Family::IP => Padded(4),
        Family::IP6 => Padded(16),
        _ => Open,
    }
}

/// As `nft_meta_get_init` and `nft_meta_set_init` of the kernel have it.
pub(super) const fn meta(key: MetaKey) -> Width {
    match key {
        MetaKey::NFPROTO
        | MetaKey::L4PROTO
        | MetaKey::PKTTYPE
        | MetaKey::NFTRACE
        | MetaKey::SECPATH
        | MetaKey::TIME_DAY
        | MetaKey::BRI_BROUTE => Padded(1),
        MetaKey::PROTOCOL
        | MetaKey::IIFTYPE
        | MetaKey::OIFTYPE
        | MetaKey::BRI_IIFPVID
        | MetaKey::BRI_IIFVPROTO => Padded(2),
        MetaKey::LEN
        | MetaKey::MARK
        | MetaKey::IIF
        | MetaKey::OIF
        | MetaKey::PRIORITY
        | MetaKey::SKUID
        | MetaKey::SKGID
        | MetaKey::RTCLASSID
        | MetaKey::SECMARK
        | MetaKey::CPU
        | MetaKey::IIFGROUP
        | MetaKey::OIFGROUP
        | MetaKey::CGROUP
        | MetaKey::PRANDOM
        | MetaKey::TIME_HOUR
        | MetaKey::SDIF => Padded(4),
        MetaKey::BRI_IIFHWADDR => Padded(6),
        MetaKey::TIME_NS => Padded(8),
        MetaKey::IIFNAME
        | MetaKey::OIFNAME
        | MetaKey::BRI_IIFNAME
        | MetaKey::BRI_OIFNAME
        | MetaKey::IIFKIND
        | MetaKey::OIFKIND
        | MetaKey::SDIFNAME => Padded(16),
        _ => Open,
    }
}

/// As `nft_ct_get_init` of the kernel has it.
pub(super) const fn ct(key: CtKey, family: Family) -> Width {
    match key {
        CtKey::DIRECTION | CtKey::L3PROTOCOL | CtKey::PROTOCOL => Padded(1),
        CtKey::PROTO_SRC | CtKey::PROTO_DST | CtKey::ZONE => Padded(2),
        CtKey::STATE
        | CtKey::STATUS
        | CtKey::MARK
        | CtKey::SECMARK
        | CtKey::EXPIRATION
        | CtKey::EVENTMASK
        | CtKey::ID
        | CtKey::SRC_IP
        | CtKey::DST_IP => Padded(4),
        CtKey::PKTS | CtKey::BYTES | CtKey::AVGPKT => Padded(8),
        CtKey::HELPER | CtKey::LABELS | CtKey::SRC_IP6 | CtKey::DST_IP6 => Padded(16),
        CtKey::SRC | CtKey::DST => match family {
            Family::IP => Padded(4),
            Family::IP6 | Family::INET => Padded(16),
            _ => Open,
        },
        _ => Open,
    }
}

pub(super) fn ct_set(set: &CtSet) -> Width {
    ct(*set.key(), Family::UNSPEC)
}

pub(super) const fn fib(result: FibResult) -> Width {
    match result {
        FibResult::OIF | FibResult::ADDRTYPE => Padded(4),
        FibResult::OIFNAME => Padded(16),
        _ => Open,
    }
}

pub(super) const fn rt(key: RtKey) -> Width {
    match key {
        RtKey::XFRM => Padded(1),
        RtKey::TCP_MSS => Padded(2),
        RtKey::CLASSID | RtKey::NEXTHOP4 => Padded(4),
        RtKey::NEXTHOP6 => Padded(16),
        _ => Open,
    }
}

pub(super) const fn socket(key: SocketKey) -> Width {
    match key {
        SocketKey::TRANSPARENT | SocketKey::WILDCARD => Padded(1),
        SocketKey::MARK => Padded(4),
        SocketKey::CGROUPV2 => Padded(8),
        _ => Open,
    }
}

pub(super) const fn xfrm(key: XfrmKey) -> Width {
    match key {
        XfrmKey::DADDR_IP4 | XfrmKey::SADDR_IP4 | XfrmKey::REQID | XfrmKey::SPI => Padded(4),
        XfrmKey::DADDR_IP6 | XfrmKey::SADDR_IP6 => Padded(16),
        _ => Open,
    }
}

pub(super) const fn tunnel(key: TunnelKey) -> Width {
    match key {
        TunnelKey::PATH => Padded(1),
        TunnelKey::ID => Padded(4),
        _ => Open,
    }
}

pub(super) const PORT: Width = Padded(2);
