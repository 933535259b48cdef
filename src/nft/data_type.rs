//! The types of values: what `nft` calls `ipv4_addr`, `ifname`.

use std::fmt;

use crate::error::Invalid;
use crate::wire::uapi::nf_tables::NFT_DATA_VERDICT;

/// The type of a value, with its width and byte order.
///
/// The kernel only stores the number; it is `nft` that reads it, and that
/// cannot list a set whose type it does not know (`enum datatypes` of
/// `nftables/datatype.h`).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct DataType {
    id: u32,
    length: u8,
    order: Order,
}

/// The byte order of a value in a register; the numbers are those that `nft`
/// keeps with a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Order {
    /// None: texts, concatenations, verdicts.
    None,
    /// That of the host.
    Host,
    /// That of the network.
    Network,
}

impl Order {
    pub(crate) const fn as_raw(self) -> u32 {
        match self {
            Self::None => 0,
            Self::Host => 1,
            Self::Network => 2,
        }
    }
}

impl DataType {
    /// A type that is not named here. `length` is its width in bytes.
    pub const fn new(id: u32, length: u8, order: Order) -> Self {
        Self { id, length, order }
    }

    /// Its number.
    pub const fn id(self) -> u32 {
        self.id
    }

    /// Its width in bytes, 0 for a verdict.
    pub const fn length(self) -> u32 {
        let [a] = [self.length];
        u32::from_le_bytes([a, 0, 0, 0])
    }

    /// Its byte order.
    pub const fn order(self) -> Order {
        self.order
    }

    fn named(self) -> Option<&'static str> {
        NAMES
            .iter()
            .find(|(known, _)| known.id == self.id)
            .map(|(_, name)| *name)
    }

    fn by_id(id: u32) -> Option<Self> {
        NAMES
            .iter()
            .find(|(known, _)| known.id == id)
            .map(|(known, _)| *known)
    }
}

impl fmt::Display for DataType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.named() {
            Some(name) => f.pad(name),
            None => write!(f, "type {}", self.id),
        }
    }
}

impl fmt::Debug for DataType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

macro_rules! types {
    ($($(#[$doc:meta])* $constant:ident = $id:literal, $name:literal, $length:literal, $order:ident;)*) => {
        impl DataType {
            $($(#[$doc])* pub const $constant: Self = Self::new($id, $length, Order::$order);)*
            /// What is to happen with a packet.
            pub const VERDICT: Self = Self::new(NFT_DATA_VERDICT, 0, Order::None);
        }

        const NAMES: &[(DataType, &str)] = &[
            $((DataType::$constant, $name),)*
            (DataType::VERDICT, "verdict"),
        ];
    };
}

types! {
    /// The family of a packet.
    NF_PROTO = 2, "nf_proto", 1, Host;
    /// A number without a unit; its width depends on where it comes from.
    INTEGER = 4, "integer", 4, Host;
    /// A hardware address of any kind.
    LL_ADDR = 6, "ll_addr", 6, Network;
    /// An IPv4 address.
    IPV4_ADDR = 7, "ipv4_addr", 4, Network;
    /// An IPv6 address.
    IPV6_ADDR = 8, "ipv6_addr", 16, Network;
    /// An Ethernet address.
    ETHER_ADDR = 9, "ether_addr", 6, Network;
    /// The protocol in an Ethernet frame.
    ETHER_TYPE = 10, "ether_type", 2, Network;
    /// What an ARP packet wants.
    ARP_OP = 11, "arp_op", 2, Network;
    /// The transport protocol.
    INET_PROTO = 12, "inet_proto", 1, Network;
    /// A port.
    INET_SERVICE = 13, "inet_service", 2, Network;
    /// The kind of an ICMP message.
    ICMP_TYPE = 14, "icmp_type", 1, Network;
    /// The flags of a TCP segment.
    TCP_FLAG = 15, "tcp_flag", 1, Host;
    /// A packet or connection mark.
    MARK = 19, "mark", 4, Host;
    /// The index of an interface.
    IFACE_INDEX = 20, "iface_index", 4, Host;
    /// The hardware kind of an interface.
    IFACE_TYPE = 21, "iface_type", 2, Host;
    /// The state of a connection.
    CT_STATE = 26, "ct_state", 4, Host;
    /// The direction of a packet within its connection.
    CT_DIR = 27, "ct_dir", 1, Host;
    /// What has happened to a connection.
    CT_STATUS = 28, "ct_status", 4, Host;
    /// The kind of an `ICMPv6` message.
    ICMPV6_TYPE = 29, "icmpv6_type", 1, Network;
    /// For whom a frame was on the wire.
    PKT_TYPE = 31, "pkt_type", 1, Host;
    /// The group of an interface.
    DEVGROUP = 35, "devgroup", 4, Host;
    /// The kind of an address in the routing tables.
    FIB_ADDRTYPE = 38, "fib_addrtype", 4, Host;
    /// Yes or no.
    BOOLEAN = 39, "boolean", 1, Host;
    /// The name of an interface: 16 bytes padded with NUL.
    IFNAME = 41, "ifname", 16, Host;
}

/// The type of a set's key or of a map's data: one type, or several one
/// behind the other, each padded to 4 bytes.
///
/// ```
/// use tapwire::nft::{DataType, KeyType};
/// let key = KeyType::new(&[DataType::INET_PROTO, DataType::INET_SERVICE])?;
/// assert_eq!((key.id(), key.length()), (0x30d, 8));
/// assert_eq!(key.to_string(), "inet_proto . inet_service");
/// # Ok::<(), tapwire::error::Invalid>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyType {
    id: u32,
    length: u32,
}

impl KeyType {
    /// A verdict, the data of a verdict map.
    pub const VERDICT: Self = Self {
        id: NFT_DATA_VERDICT,
        length: 0,
    };

    /// One type or the concatenation of several.
    ///
    /// # Errors
    /// [`Invalid`] if there are none or more than five, or if together they
    /// exceed 64 bytes.
    pub fn new(fields: &[DataType]) -> Result<Self, Invalid> {
        let invalid = |why| Invalid::new("key type", format_args!("{fields:?}"), why);
        if let [field] = fields {
            return Ok(Self {
                id: field.id(),
                length: field.length(),
            });
        }
        if fields.is_empty() || fields.len() > FIELDS_MAX {
            return Err(invalid("does not have one to five fields"));
        }
        let mut whole = Self { id: 0, length: 0 };
        for field in fields {
            if field.id() > FIELD_MASK || field.length() == 0 {
                return Err(invalid("cannot be concatenated"));
            }
            whole.id = whole.id << FIELD_BITS | field.id();
            whole.length = whole.length.saturating_add(padded(field.length()));
        }
        if whole.length > crate::wire::uapi::nf_tables::NFT_DATA_VALUE_MAXLEN {
            return Err(invalid("exceeds 64 bytes"));
        }
        Ok(whole)
    }

    /// A type as the kernel lists it; for the width of a verdict it lists that
    /// of its own structure.
    pub(crate) const fn from_raw(id: u32, length: u32) -> Self {
        match id {
            NFT_DATA_VERDICT => Self::VERDICT,
            id => Self { id, length },
        }
    }

    /// Its number: 6 bits for each field, the first highest.
    pub const fn id(self) -> u32 {
        self.id
    }

    /// Its width in bytes, padding between fields included.
    pub const fn length(self) -> u32 {
        self.length
    }

    /// Whether it has several fields.
    pub const fn is_concatenated(self) -> bool {
        self.id > FIELD_MASK && self.id != NFT_DATA_VERDICT
    }

    /// Whether it is a verdict.
    pub const fn is_verdict(self) -> bool {
        self.id == NFT_DATA_VERDICT
    }

    /// Its fields in their order. Of a type that is not known here the width
    /// is known only if it stands alone.
    pub fn fields(self) -> impl Iterator<Item = DataType> {
        let single = !self.is_concatenated();
        let alone = single.then(|| {
            let length = u8::try_from(self.length).unwrap_or_default();
            match DataType::by_id(self.id) {
                Some(known) => DataType::new(self.id, length, known.order()),
                None => DataType::new(self.id, length, Order::None),
            }
        });
        let fields = (0..FIELDS_MAX)
            .rev()
            .filter_map(|place| u32::try_from(place).ok()?.checked_mul(FIELD_BITS))
            .map(move |shift| self.id.checked_shr(shift).unwrap_or_default() & FIELD_MASK)
            .filter(move |id| !single && *id != 0)
            .map(|id| DataType::by_id(id).unwrap_or_else(|| DataType::new(id, 0, Order::None)));
        alone.into_iter().chain(fields)
    }

    /// The byte order that `nft` is told.
    pub(crate) fn order(self) -> Order {
        if self.is_concatenated() {
            return Order::None;
        }
        DataType::by_id(self.id).map_or(Order::None, DataType::order)
    }
}

impl From<DataType> for KeyType {
    fn from(one: DataType) -> Self {
        Self {
            id: one.id(),
            length: one.length(),
        }
    }
}

impl fmt::Display for KeyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, field) in self.fields().enumerate() {
            let dot = if place == 0 { "" } else { " . " };
            write!(f, "{dot}{field}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for KeyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// `length` rounded up to the width of the smallest register.
pub(crate) const fn padded(length: u32) -> u32 {
    length.saturating_add(3) & !3
}

/// Bits of one type's number in a concatenation, and how many fit (`TYPE_BITS`
/// and `NFT_REG32_COUNT` of `nft`; five times six bits fit a number).
const FIELD_BITS: u32 = 6;
const FIELD_MASK: u32 = 0x3f;
const FIELDS_MAX: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn concatenation_is_numbered_as_nft_does_it() {
        let key =
            KeyType::new(&[DataType::IFNAME, DataType::ETHER_ADDR, DataType::IPV4_ADDR]).unwrap();
        assert_eq!((key.id(), key.length()), (0x2_9247, 28));
        let fields: Vec<_> = key.fields().collect();
        assert_eq!(
            fields,
            [DataType::IFNAME, DataType::ETHER_ADDR, DataType::IPV4_ADDR]
        );
    }

    #[test]
    fn verdict_is_one_field_without_width() {
        assert_eq!(KeyType::from(DataType::VERDICT), KeyType::VERDICT);
        assert_eq!(KeyType::VERDICT.to_string(), "verdict");
    }

    #[test]
    fn verdict_is_listed_with_a_width_that_means_nothing() {
        assert_eq!(KeyType::from_raw(NFT_DATA_VERDICT, 16), KeyType::VERDICT);
    }

    #[test]
    fn too_many_fields_are_refused() {
        assert!(KeyType::new(&[DataType::MARK; 6]).is_err());
        assert!(KeyType::new(&[DataType::IPV6_ADDR; 5]).is_err());
        assert!(KeyType::new(&[]).is_err());
        assert!(KeyType::new(&[DataType::MARK, DataType::VERDICT]).is_err());
    }
}
