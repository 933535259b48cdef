//! The connection of a packet.

use super::Field;
use crate::nft::DataType;
use crate::nft::expr::CtKey;

/// Its state as this packet sees it: a [`State`].
pub const fn state() -> Field {
    Field::ct(CtKey::STATE, DataType::CT_STATE)
}

/// What has happened to it: a [`Status`].
pub const fn status() -> Field {
    Field::ct(CtKey::STATUS, DataType::CT_STATUS)
}

/// Its mark.
pub const fn mark() -> Field {
    Field::ct(CtKey::MARK, DataType::MARK)
}

/// In which [`Direction`] the packet goes.
pub const fn direction() -> Field {
    Field::ct(CtKey::DIRECTION, DataType::CT_DIR)
}

/// `ct original ip saddr`: who began it, over IPv4.
pub const fn original_saddr_ipv4() -> Field {
    Field::ct_original(CtKey::SRC_IP, DataType::IPV4_ADDR)
}

/// `ct original ip daddr`: whom it was meant for, over IPv4.
pub const fn original_daddr_ipv4() -> Field {
    Field::ct_original(CtKey::DST_IP, DataType::IPV4_ADDR)
}

/// `ct original ip6 saddr`: who began it, over IPv6.
pub const fn original_saddr_ipv6() -> Field {
    Field::ct_original(CtKey::SRC_IP6, DataType::IPV6_ADDR)
}

/// `ct original ip6 daddr`: whom it was meant for, over IPv6.
pub const fn original_daddr_ipv6() -> Field {
    Field::ct_original(CtKey::DST_IP6, DataType::IPV6_ADDR)
}

/// A direction of a connection (`enum ip_conntrack_dir` of
/// `linux/netfilter/nf_conntrack_tuple_common.h`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Direction {
    /// As its first packet goes.
    Original,
    /// Against that.
    Reply,
}

impl Direction {
    /// The kernel's number.
    pub const fn as_raw(self) -> u8 {
        match self {
            Self::Original => 0,
            Self::Reply => 1,
        }
    }
}

bitflags::bitflags! {
    /// States of a connection (`NF_CT_STATE_BIT` of
    /// `linux/netfilter/nf_conntrack_common.h`).
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    pub struct State: u32 {
        /// Belongs to none.
        const INVALID = 1;
        /// Seen in both directions.
        const ESTABLISHED = 2;
        /// New, expected by another.
        const RELATED = 4;
        /// Its first packet.
        const NEW = 8;
        /// Left without a connection.
        const UNTRACKED = 64;
    }
}

bitflags::bitflags! {
    /// What has happened to a connection (`enum ip_conntrack_status` of
    /// `linux/netfilter/nf_conntrack_common.h`).
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    pub struct Status: u32 {
        /// Expected by another.
        const EXPECTED = 1;
        /// Seen in both directions.
        const SEEN_REPLY = 2;
        /// Will not be dropped early.
        const ASSURED = 4;
        /// Its first packet has left.
        const CONFIRMED = 8;
        /// Its source is translated.
        const SNAT = 16;
        /// Its destination is translated.
        const DNAT = 32;
        /// Is being removed.
        const DYING = 512;
    }
}
