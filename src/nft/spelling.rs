//! How `nft` spells the type of a set that names fields: `typeof` in its
//! language, entries in what it keeps with the set.
//!
//! A number without a unit, such as that of `numgen`, has a width only as
//! long as `nft` knows where it comes from.

use super::expr::{MetaKey, PayloadBase};
use super::field::{Field, Load, Needs};
use super::{DataType, Family, L4Proto};

/// The value of a `typeof` entry; `None` for a field that has none here.
pub(super) fn spell(fields: &[Field]) -> Option<Vec<u8>> {
    let fields: Vec<Vec<u8>> = fields.iter().map(field).collect::<Option<_>>()?;
    match fields.as_slice() {
        [one] => Some(one.clone()),
        several => {
            let mut list = Vec::new();
            for (place, one) in several.iter().enumerate() {
                list.extend(entry(u8::try_from(place).ok()?, one)?);
            }
            expression(CONCAT, &list)
        }
    }
}

fn field(field: &Field) -> Option<Vec<u8>> {
    match field.load {
        Load::Meta(key) => expression(META, &meta(key)?),
        Load::Numgen { kind, modulus } => {
            let numbers = [kind.as_raw(), modulus, 0];
            expression(NUMGEN, &numbers_of(&numbers)?)
        }
        Load::Payload { base, offset } => {
            expression(PAYLOAD, &numbers_of(&header_field(base, offset, field)?)?)
        }
        _ => None,
    }
}

fn meta(key: MetaKey) -> Option<Vec<u8>> {
    numbers_of(&[key.as_raw()])
}

/// The header and the field in the enumerations of `nft`.
fn header_field(base: PayloadBase, offset: u32, field: &Field) -> Option<[u32; 2]> {
    let header = match field.needs {
        Needs::Transport(L4Proto::UDP) => UDP,
        Needs::Transport(L4Proto::TCP) => TCP,
        Needs::Nothing if base == PayloadBase::TRANSPORT => TH,
        Needs::Network(Family::IP) => IP,
        Needs::Network(Family::IP6) => IP6,
        _ => return None,
    };
    let place = match (header, field.kind, offset) {
        (UDP | TCP | TH, DataType::INET_SERVICE, 0) => 1,
        (UDP | TCP | TH, DataType::INET_SERVICE, 2) => 2,
        (IP, DataType::IPV4_ADDR, 12) => 11,
        (IP, DataType::IPV4_ADDR, 16) => 12,
        (IP6, DataType::IPV6_ADDR, 8) => 8,
        (IP6, DataType::IPV6_ADDR, 24) => 9,
        _ => return None,
    };
    Some([header, place])
}

fn expression(kind: u32, data: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = entry(0, &kind.to_ne_bytes())?;
    bytes.extend(entry(1, data)?);
    Some(bytes)
}

fn numbers_of(numbers: &[u32]) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    for (place, number) in numbers.iter().enumerate() {
        bytes.extend(entry(u8::try_from(place).ok()?, &number.to_ne_bytes())?);
    }
    Some(bytes)
}

fn entry(kind: u8, value: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = vec![kind, u8::try_from(value.len()).ok()?];
    bytes.extend_from_slice(value);
    Some(bytes)
}

/// `enum expr_types` of `nftables/expression.h`.
const PAYLOAD: u32 = 7;
const META: u32 = 9;
const CONCAT: u32 = 13;
const NUMGEN: u32 = 23;

/// `enum proto_desc_id` of `nftables/proto.h`.
const UDP: u32 = 6;
const TCP: u32 = 8;
const TH: u32 = 11;
const IP: u32 = 12;
const IP6: u32 = 13;

#[cfg(test)]
mod tests {
    use super::super::{meta, numgen, tcp};
    use super::*;

    #[test]
    fn fields_are_spelled_as_nft_does() {
        // nft 1.0.6: map m { typeof meta l4proto . tcp dport . numgen inc mod 16 : … }
        let fields = [meta::l4proto(), tcp::dport(), numgen::incremental(16)];
        let wanted = [
            0, 4, 13, 0, 0, 0, 1, 66, 0, 14, 0, 4, 9, 0, 0, 0, 1, 6, 0, 4, 16, 0, 0, 0, 1, 20, 0,
            4, 7, 0, 0, 0, 1, 12, 0, 4, 8, 0, 0, 0, 1, 4, 2, 0, 0, 0, 2, 26, 0, 4, 23, 0, 0, 0, 1,
            18, 0, 4, 0, 0, 0, 0, 1, 4, 16, 0, 0, 0, 2, 4, 0, 0, 0, 0,
        ];
        if cfg!(target_endian = "little") {
            assert_eq!(spell(&fields).unwrap(), wanted);
        }
    }
}
