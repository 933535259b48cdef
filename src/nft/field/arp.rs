//! The ARP header, in tables of family `arp`.
//!
//! The addresses lie where they are for IPv4 over Ethernet, so a rule that
//! uses them should compare [`htype`] and [`ptype`] first.

use super::{Field, Needs};
use crate::nft::expr::PayloadBase;
use crate::nft::{Data, DataType, Match, Order};

/// The kind of the hardware addresses.
pub const fn htype() -> Field {
    Field::payload(PayloadBase::NETWORK, 0, HTYPE, Needs::Nothing)
}

/// The kind of the network addresses.
pub const fn ptype() -> Field {
    Field::payload(
        PayloadBase::NETWORK,
        2,
        DataType::ETHER_TYPE,
        Needs::Nothing,
    )
}

/// The sender's Ethernet address.
pub const fn saddr_ether() -> Field {
    Field::payload(
        PayloadBase::NETWORK,
        8,
        DataType::ETHER_ADDR,
        Needs::Nothing,
    )
}

/// The sender's IPv4 address.
pub const fn saddr_ip() -> Field {
    Field::payload(
        PayloadBase::NETWORK,
        14,
        DataType::IPV4_ADDR,
        Needs::Nothing,
    )
}

/// The target's IPv4 address.
pub const fn daddr_ip() -> Field {
    Field::payload(
        PayloadBase::NETWORK,
        24,
        DataType::IPV4_ADDR,
        Needs::Nothing,
    )
}

/// Whether the packet is about Ethernet: `arp htype 1`.
pub fn is_ethernet() -> Match {
    htype().equal(number(HTYPE, 1))
}

/// Whether the packet is about IPv4: `arp ptype ip`.
pub fn is_ipv4() -> Match {
    ptype().equal(number(DataType::ETHER_TYPE, 0x0800))
}

fn number(kind: DataType, number: u16) -> Data {
    Data::typed(kind, &number.to_be_bytes()).unwrap_or(Data::EMPTY)
}

/// `arphrd` of `nft`, in the packet and thus in network order.
const HTYPE: DataType = DataType::new(DataType::IFACE_TYPE.id(), 2, Order::Network);
