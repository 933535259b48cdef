//! The IPv6 header.

use super::{Field, Needs};
use crate::nft::expr::PayloadBase;
use crate::nft::{DataType, Family};

/// The source address.
pub const fn saddr() -> Field {
    address(8)
}

/// The destination address.
pub const fn daddr() -> Field {
    address(24)
}

const fn address(offset: u32) -> Field {
    Field::payload(
        PayloadBase::NETWORK,
        offset,
        DataType::IPV6_ADDR,
        Needs::Network(Family::IP6),
    )
}
