//! The fields that a set was made of, which `nft` keeps with it.

use super::fields;
use super::headers;
use super::kind::{Kind, id};
use super::options;
use crate::nft::expr::{ExthdrOp, MetaKey};
use crate::nft::userdata;
use crate::nft::{Family, Set};

/// The fields of the key, and those of the data of a map.
pub(super) fn texts(set: &Set) -> Option<(String, Option<String>)> {
    let key = entry(set, userdata::SET_KEY_TYPEOF)?;
    let data = match set.data() {
        Some(data) if data.is_verdict() => Some("verdict".to_owned()),
        Some(_) => Some(join(&entry(set, userdata::SET_DATA_TYPEOF)?)),
        None => None,
    };
    Some((join(&key), data))
}

/// The kinds of the fields of the key.
pub(super) fn kinds(set: &Set) -> Option<Vec<Kind>> {
    let key = entry(set, userdata::SET_KEY_TYPEOF)?;
    Some(key.into_iter().map(|(_, kind)| kind).collect())
}

fn join(fields: &[(String, Kind)]) -> String {
    let texts: Vec<&str> = fields.iter().map(|(text, _)| text.as_str()).collect();
    texts.join(" . ")
}

fn entry(set: &Set, wanted: u8) -> Option<Vec<(String, Kind)>> {
    let (_, bytes) = userdata::read(set.kept()).find(|(kind, _)| *kind == wanted)?;
    expression(bytes, set.family())
}

/// A list: the number of a kind of expression, and what it holds.
fn expression(bytes: &[u8], family: Family) -> Option<Vec<(String, Kind)>> {
    let number = userdata::number(value(bytes, 0)?)?;
    let data = value(bytes, 1)?;
    let part = |kind: u8| userdata::number(value(data, kind)?);
    let one = match number {
        CONCAT => {
            let mut all = Vec::new();
            for (_, field) in userdata::read(data) {
                all.extend(expression(field, family)?);
            }
            return Some(all).filter(|all| !all.is_empty());
        }
        PAYLOAD => payload(part(0)?, part(1)?)?,
        META => {
            let (text, kind) = fields::meta(MetaKey::from_raw(part(0)?))?;
            (text.to_owned(), kind)
        }
        CT => {
            let direction = part(1).and_then(|direction| u8::try_from(direction).ok());
            let direction = direction.filter(|direction| *direction < 2);
            fields::ct_key(part(0)?, direction, family)?
        }
        EXTHDR => option(part(0)?, part(1)?, part(2)?)?,
        OSF => ("osf name".to_owned(), Kind::host(id::STRING, 128)),
        NUMGEN => {
            let mode = if part(0)? == 0 { "inc" } else { "random" };
            let offset = fields::offset(part(2)?);
            let kind = Kind::host(id::INTEGER, 32);
            (format!("numgen {mode} mod {}{offset}", part(1)?), kind)
        }
        _ => return None,
    };
    Some(vec![one])
}

fn payload(header: u32, field: u32) -> Option<(String, Kind)> {
    let header = headers::described(header)?;
    let place = usize::try_from(field).ok()?;
    let field = header.described_field(place)?;
    Some((format!("{} {}", header.name, field.name), field.kind))
}

/// A field of a TCP option: its first two are the kind and the length of any.
fn option(number: u32, field: u32, op: u32) -> Option<(String, Kind)> {
    let number = u8::try_from(number).ok()?;
    let header = match ExthdrOp::from_raw(op) {
        op @ ExthdrOp::TCP_OPTION => options::find(op, number).next()?,
        _ => return None,
    };
    let place = usize::try_from(field).ok()?.checked_sub(1)?;
    let field = header.described_field(place)?;
    Some((format!("{} {}", header.name, field.name), field.kind))
}

fn value(bytes: &[u8], wanted: u8) -> Option<&[u8]> {
    userdata::read(bytes)
        .find(|(kind, _)| *kind == wanted)
        .map(|(_, value)| value)
}

/// `enum expr_types` of `nftables/expression.h`.
const PAYLOAD: u32 = 7;
const EXTHDR: u32 = 8;
const META: u32 = 9;
const OSF: u32 = 11;
const CT: u32 = 12;
const CONCAT: u32 = 13;
const NUMGEN: u32 = 23;
