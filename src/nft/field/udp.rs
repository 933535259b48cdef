//! The ports of UDP.

use super::{Field, Needs};
use crate::nft::expr::PayloadBase;
use crate::nft::{DataType, L4Proto};

/// The source port.
pub const fn sport() -> Field {
    port(0)
}

/// The destination port.
pub const fn dport() -> Field {
    port(2)
}

const fn port(offset: u32) -> Field {
    Field::payload(
        PayloadBase::TRANSPORT,
        offset,
        DataType::INET_SERVICE,
        Needs::Transport(L4Proto::UDP),
    )
}
