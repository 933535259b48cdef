//! The ICMP header.

use super::{Field, Needs};
use crate::nft::expr::PayloadBase;
use crate::nft::{DataType, L4Proto};

/// The kind of message.
pub const fn kind() -> Field {
    Field::payload(
        PayloadBase::TRANSPORT,
        0,
        DataType::ICMP_TYPE,
        Needs::Transport(L4Proto::ICMP),
    )
}
