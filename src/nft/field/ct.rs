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
