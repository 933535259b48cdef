//! The `ICMPv6` header.

use super::{Field, Needs};
use crate::nft::expr::PayloadBase;
use crate::nft::{DataType, L4Proto};

/// The kind of message.
pub const fn kind() -> Field {
    Field::payload(
        PayloadBase::TRANSPORT,
        0,
        DataType::ICMPV6_TYPE,
        Needs::Transport(L4Proto::ICMPV6),
    )
}
