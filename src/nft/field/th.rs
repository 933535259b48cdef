//! The ports of any transport protocol that has ports.

use super::{Field, Needs};
use crate::nft::DataType;
use crate::nft::expr::PayloadBase;

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
        Needs::Nothing,
    )
}
