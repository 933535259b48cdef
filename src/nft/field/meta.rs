//! What is known about a packet besides its bytes: `meta` in `nft`.

use super::Field;
use crate::nft::DataType;
use crate::nft::expr::MetaKey;

/// The name of the interface that the packet came in by.
pub const fn iifname() -> Field {
    Field::meta(MetaKey::IIFNAME, DataType::IFNAME)
}

/// The name of the interface that the packet leaves by.
pub const fn oifname() -> Field {
    Field::meta(MetaKey::OIFNAME, DataType::IFNAME)
}

/// The index of the interface that the packet came in by.
pub const fn iif() -> Field {
    Field::meta(MetaKey::IIF, DataType::IFACE_INDEX)
}

/// The index of the interface that the packet leaves by.
pub const fn oif() -> Field {
    Field::meta(MetaKey::OIF, DataType::IFACE_INDEX)
}

/// The family of the packet.
pub const fn nfproto() -> Field {
    Field::meta(MetaKey::NFPROTO, DataType::NF_PROTO)
}

/// The transport protocol of the packet.
pub const fn l4proto() -> Field {
    Field::meta(MetaKey::L4PROTO, DataType::INET_PROTO)
}

/// The mark of the packet.
pub const fn mark() -> Field {
    Field::meta(MetaKey::MARK, DataType::MARK)
}
