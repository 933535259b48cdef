//! The Ethernet header.

use super::{Field, Needs};
use crate::nft::DataType;
use crate::nft::expr::PayloadBase;

/// The source address.
pub const fn saddr() -> Field {
    Field::payload(PayloadBase::LINK, 6, DataType::ETHER_ADDR, Needs::Ethernet)
}

/// The destination address.
pub const fn daddr() -> Field {
    Field::payload(PayloadBase::LINK, 0, DataType::ETHER_ADDR, Needs::Ethernet)
}
