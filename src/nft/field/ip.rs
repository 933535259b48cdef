//! The IPv4 header.

use super::{Field, Needs};
use crate::nft::expr::PayloadBase;
use crate::nft::{DataType, Family};

/// The source address.
pub const fn saddr() -> Field {
    address(12)
}

/// The destination address.
pub const fn daddr() -> Field {
    address(16)
}

const fn address(offset: u32) -> Field {
    Field::payload(
        PayloadBase::NETWORK,
        offset,
        DataType::IPV4_ADDR,
        Needs::Network(Family::IP),
    )
}
