//! Values: register contents, keys and data of elements.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::types::{IfIndex, IfName, Mac};
use crate::wire::uapi::nf_tables::{
    NFT_DATA_VALUE_MAXLEN, NFTA_DATA_VALUE, NFTA_DATA_VERDICT, NFTA_VERDICT_CHAIN,
    NFTA_VERDICT_CODE,
};
use crate::wire::{Attr, Attribute, DecodeError, Nest, Writer};

use super::carried::Carried;
use super::data_type::{DataType, KeyType};
use super::name::Name;
use super::verdict::Verdict;

/// A value as it lies in registers: up to 64 bytes, kept within.
///
/// It is made from typed parts, and a tuple makes a concatenation, each part
/// padded to 4 bytes:
///
/// ```
/// use std::net::Ipv4Addr;
/// use tapwire::nft::{Data, L4Proto, Port};
/// let key = Data::from((Ipv4Addr::new(203, 0, 113, 7), L4Proto::TCP, Port(80)));
/// assert_eq!(key.as_bytes(), [203, 0, 113, 7, 6, 0, 0, 0, 0, 80, 0, 0]);
/// ```
///
/// Two are equal if their bytes are.
// Packed, so that nothing but the bytes takes room in elements and expressions.
#[derive(Clone, Copy)]
#[repr(Rust, packed)]
pub struct Data {
    bytes: [u8; MAX],
    length: u8,
    /// The number of the type, 0 if it is not known.
    kind: u32,
}

impl Data {
    /// Bytes of no known type.
    ///
    /// `None` if there are more than 64.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut whole = Self::EMPTY;
        whole.bytes.get_mut(..bytes.len())?.copy_from_slice(bytes);
        whole.length = u8::try_from(bytes.len()).ok()?;
        Some(whole)
    }

    /// Bytes of type `kind`. `None` if there are more than 64.
    pub fn typed(kind: impl Into<KeyType>, bytes: &[u8]) -> Option<Self> {
        let mut whole = Self::from_bytes(bytes)?;
        whole.kind = kind.into().id();
        Some(whole)
    }

    /// The values from `low` to `high`, as the data of a map
    /// ([`Set::interval_data`](super::Set::interval_data)).
    ///
    /// ```
    /// use std::net::Ipv4Addr;
    /// use tapwire::nft::Data;
    /// let pool = Data::range(Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 9));
    /// assert_eq!(pool.as_bytes(), [192, 0, 2, 1, 192, 0, 2, 9]);
    /// ```
    pub fn range(low: impl Into<Self>, high: impl Into<Self>) -> Self {
        let (low, high) = (low.into(), high.into());
        let mut range = Self::concat(&[low, high]);
        range.kind = if low.kind == high.kind { low.kind } else { 0 };
        range
    }

    /// The bytes, padding between parts included.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes
            .get(..usize::from(self.length))
            .unwrap_or_default()
    }

    /// The type, if the value was made from typed parts.
    pub(crate) fn kind(&self) -> Option<u32> {
        (self.kind != 0).then_some(self.kind)
    }

    /// Whether this can be a value of type `kind`.
    pub(crate) fn is(&self, kind: KeyType) -> bool {
        let width = u32::try_from(self.as_bytes().len()).is_ok_and(|width| width == kind.length());
        width
            && self
                .kind()
                .is_none_or(|own| own == kind.id() || kind.id() == 0)
    }

    /// This with every part `length` bytes long cut to its first ones.
    pub(crate) fn cut(&self, length: usize) -> Self {
        let mut cut = Self::from_bytes(self.as_bytes().get(..length).unwrap_or_default())
            .unwrap_or(Self::EMPTY);
        cut.kind = self.kind;
        cut
    }

    const fn of<const N: usize>(kind: DataType, part: [u8; N]) -> Self {
        let mut whole = Self::EMPTY;
        let mut field: &mut [u8] = &mut whole.bytes;
        let mut rest: &[u8] = &part;
        while let (Some((byte, tail)), Some((place, places))) =
            (rest.split_first(), field.split_first_mut())
        {
            *place = *byte;
            whole.length = whole.length.wrapping_add(1);
            rest = tail;
            field = places;
        }
        whole.kind = kind.id();
        whole
    }

    /// Parts one behind the other. What exceeds 64 bytes is no value of any
    /// type, which the batch reports.
    fn concat(parts: &[Self]) -> Self {
        let mut whole = Self::EMPTY;
        for part in parts {
            let start = usize::from(whole.length);
            let Some(field) = whole.bytes.get_mut(start..) else {
                return Self::EMPTY;
            };
            let Some(field) = field.get_mut(..part.as_bytes().len()) else {
                return Self::EMPTY;
            };
            field.copy_from_slice(part.as_bytes());
            whole.length = whole
                .length
                .saturating_add(part.length.saturating_add(3) & !3);
            whole.kind = whole.kind << 6 | part.kind;
        }
        if parts.iter().any(|part| part.kind == 0) {
            whole.kind = 0;
        }
        whole
    }

    pub(crate) const EMPTY: Self = Self {
        bytes: [0; MAX],
        length: 0,
        kind: 0,
    };
}

impl PartialEq for Data {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Data {}

impl Hash for Data {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

impl fmt::Debug for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.length == 0 {
            return f.write_str("*");
        }
        f.write_str("0x")?;
        for byte in self.as_bytes() {
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

/// A transport port, `inet_service` in `nft`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(
    clippy::exhaustive_structs,
    reason = "a port is 16 bits and nothing else"
)]
pub struct Port(pub u16);

/// A packet or connection mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(
    clippy::exhaustive_structs,
    reason = "a mark is 32 bits and nothing else"
)]
pub struct Mark(pub u32);

super::carried::open! {
    /// A transport protocol (IANA protocol numbers).
    L4Proto: u8 as U8 {
        /// ICMP.
        ICMP = 1, "icmp";
        /// TCP.
        TCP = 6, "tcp";
        /// UDP.
        UDP = 17, "udp";
        /// `ICMPv6`.
        ICMPV6 = 58, "ipv6-icmp";
        /// SCTP.
        SCTP = 132, "sctp";
    }
}

super::carried::open! {
    /// The kind of an `ICMPv6` message (IANA parameters).
    Icmpv6Type: u8 as U8 {
        /// A router is asked for.
        ND_ROUTER_SOLICIT = 133, "nd-router-solicit";
        /// A router announces itself.
        ND_ROUTER_ADVERT = 134, "nd-router-advert";
        /// A neighbour is asked for.
        ND_NEIGHBOR_SOLICIT = 135, "nd-neighbor-solicit";
        /// A neighbour announces itself.
        ND_NEIGHBOR_ADVERT = 136, "nd-neighbor-advert";
    }
}

macro_rules! parts {
    ($($type:ty: $kind:ident, |$value:ident| $bytes:expr;)*) => {$(
        impl From<$type> for Data {
            fn from($value: $type) -> Self {
                Self::of(DataType::$kind, $bytes)
            }
        }
    )*};
}

parts! {
    Ipv4Addr: IPV4_ADDR, |address| address.octets();
    Ipv6Addr: IPV6_ADDR, |address| address.octets();
    Mac: ETHER_ADDR, |mac| mac.octets();
    IfName: IFNAME, |name| *name.as_bytes();
    IfIndex: IFACE_INDEX, |index| index.get().to_ne_bytes();
    L4Proto: INET_PROTO, |protocol| [protocol.as_raw()];
    Icmpv6Type: ICMPV6_TYPE, |kind| [kind.as_raw()];
    super::Family: NF_PROTO, |family| [family.as_raw()];
    Port: INET_SERVICE, |port| port.0.to_be_bytes();
    Mark: MARK, |mark| mark.0.to_ne_bytes();
    super::ct::Direction: CT_DIR, |direction| [direction.as_raw()];
    super::ct::State: CT_STATE, |state| state.bits().to_ne_bytes();
    super::ct::Status: CT_STATUS, |status| status.bits().to_ne_bytes();
    super::fib::AddrType: FIB_ADDRTYPE, |kind| kind.as_raw().to_ne_bytes();
}

impl From<IpAddr> for Data {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => address.into(),
            IpAddr::V6(address) => address.into(),
        }
    }
}

macro_rules! tuples {
    ($(($($name:ident: $type:ident),+);)*) => {$(
        impl<$($type: Into<Data>),+> From<($($type,)+)> for Data {
            fn from(($($name,)+): ($($type,)+)) -> Self {
                Self::concat(&[$($name.into()),+])
            }
        }
    )*};
}

tuples! {
    (a: A, b: B);
    (a: A, b: B, c: C);
    (a: A, b: B, c: C, d: D);
    (a: A, b: B, c: C, d: D, e: E);
}

impl Carried<Nest> for Data {
    fn put(&self, attr: Attr<Nest>, out: &mut Writer<'_>) {
        out.nest(attr, |out| out.put(NFTA_DATA_VALUE, self.as_bytes()));
    }

    fn get(_: Attr<Nest>, from: &Attribute<'_>) -> Result<Self, DecodeError> {
        let bytes = from.nested().find(NFTA_DATA_VALUE)?;
        let bytes = bytes.ok_or(DecodeError::Missing {
            kind: NFTA_DATA_VALUE.kind(),
        })?;
        Self::from_bytes(bytes).ok_or(DecodeError::Range { what: "value" })
    }
}

/// A value or a verdict: what an immediate loads and what a map holds.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Value {
    /// Bytes.
    Data(Data),
    /// What is to happen with the packet.
    Verdict(Verdict),
}

impl<T: Into<Data>> From<T> for Value {
    fn from(data: T) -> Self {
        Self::Data(data.into())
    }
}

impl From<Verdict> for Value {
    fn from(verdict: Verdict) -> Self {
        Self::Verdict(verdict)
    }
}

impl Carried<Nest> for Value {
    fn put(&self, attr: Attr<Nest>, out: &mut Writer<'_>) {
        match self {
            Self::Data(data) => data.put(attr, out),
            Self::Verdict(verdict) => out.nest(attr, |out| {
                out.nest(NFTA_DATA_VERDICT, |out| {
                    out.put(NFTA_VERDICT_CODE, verdict.code());
                    out.put_some(NFTA_VERDICT_CHAIN, verdict.chain().map(Name::as_str));
                });
            }),
        }
    }

    fn get(attr: Attr<Nest>, from: &Attribute<'_>) -> Result<Self, DecodeError> {
        match from.nested().find(NFTA_DATA_VERDICT)? {
            None => Data::get(attr, from).map(Self::Data),
            Some(verdict) => {
                let code = verdict.clone().find(NFTA_VERDICT_CODE)?;
                let code = code.ok_or(DecodeError::Missing {
                    kind: NFTA_VERDICT_CODE.kind(),
                })?;
                let mut chain = None;
                for attribute in verdict {
                    let attribute = attribute?;
                    if attribute.kind() == NFTA_VERDICT_CHAIN {
                        chain = Some(Name::get(NFTA_VERDICT_CHAIN, &attribute)?);
                    }
                }
                Ok(Self::Verdict(Verdict::from_raw(code, chain)))
            }
        }
    }
}

/// `NFT_DATA_VALUE_MAXLEN`, the width of all registers.
const MAX: usize = 64;
const _: () = assert!(NFT_DATA_VALUE_MAXLEN == 64, "the width of all registers");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_padded_and_typed() {
        let data = Data::from((L4Proto::TCP, Port(443)));
        assert_eq!(data.as_bytes(), [6, 0, 0, 0, 1, 187, 0, 0]);
        let kind = KeyType::new(&[DataType::INET_PROTO, DataType::INET_SERVICE]).unwrap();
        assert!(data.is(kind));
        let swapped = KeyType::new(&[DataType::INET_SERVICE, DataType::INET_PROTO]).unwrap();
        assert!(!data.is(swapped), "same width, other type");
    }

    #[test]
    fn value_over_64_bytes_is_of_no_type() {
        let six = Ipv6Addr::LOCALHOST;
        let data = Data::from((six, six, six, six, six));
        assert!(data.as_bytes().is_empty());
        assert_eq!(Data::from((six, six, six, six)).as_bytes().len(), 64);
    }
}
