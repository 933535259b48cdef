//! Comparisons as conditions.

use super::binary;
use super::kind::{self, Kind, id};
use super::names;
use super::node::{Bits, Node, Run, Source, is_zero};
use super::protocols::Found;
use super::rule::Reader;
use super::shown::Shown;
use crate::nft::Data;
use crate::nft::expr::CmpOp;

/// Appends `node op data`; `None` if it has no text.
pub(super) fn compare(reader: &mut Reader<'_>, node: &Node, op: CmpOp, data: &Data) -> Option<()> {
    word(op)?;
    match node {
        Node::Packet(bits) => packet(reader, *bits, op, data.as_bytes()),
        Node::Masked { of, mask, xor } if is_zero(xor) => {
            masked(reader, of, mask, op, data.as_bytes())
        }
        Node::Inside(tunnel, inner) => {
            reader.inside(tunnel, |reader| compare(reader, inner, op, data))
        }
        other => plain(reader, other, op, data.as_bytes()),
    }
}

/// Appends `node low-high`.
pub(super) fn range(
    reader: &mut Reader<'_>,
    node: &Node,
    inverted: bool,
    low: &Data,
    high: &Data,
) -> Option<()> {
    let shown = reader.show_key(node)?;
    let value = |data: &Data| {
        let number = shown.kind.number(data.as_bytes())?;
        Some(shown.kind.plain(number))
    };
    let not = if inverted { "!= " } else { "" };
    let text = format!("{} {not}{}-{}", shown.text, value(low)?, value(high)?);
    reader.ask(text, None);
    Some(())
}

fn plain(reader: &mut Reader<'_>, node: &Node, op: CmpOp, bytes: &[u8]) -> Option<()> {
    let shown = reader.show(node)?;
    let kind = shown.kind;
    let value = if kind.is_text() && bytes.len() < 16 && !bytes.contains(&0) {
        format!("\"{}*\"", String::from_utf8_lossy(bytes))
    } else {
        kind.value(bytes)
    };
    let dependency = match (node, op) {
        (Node::Meta(key, ..), CmpOp::EQ) => {
            let number = kind.number(bytes)?;
            reader.protocols.meta_is(*key, number)
        }
        _ => None,
    };
    let text = format!("{} {}{value}", shown.text, operator(&shown, op)?);
    reader.ask(text, dependency);
    Some(())
}

fn packet(reader: &mut Reader<'_>, bits: Bits, op: CmpOp, bytes: &[u8]) -> Option<()> {
    let fields = reader
        .protocols
        .fields(bits.source, bits.offset, bits.width)
        .filter(|found| found.len() == 1 || op == CmpOp::EQ && !is_any(found));
    if let Some(fields) = fields {
        return each(reader, bits, &fields, op, bytes);
    }
    let whole = reader
        .protocols
        .beginning(bits.source, bits.offset, bits.width)
        .filter(|found| found.field.kind.is_address());
    if let (Some(found), CmpOp::EQ | CmpOp::NEQ) = (whole, op) {
        let missing = found.field.kind.bits.checked_sub(bits.width)?;
        let number = Kind::network(id::RAW, 0)
            .number(bytes)?
            .checked_shl(missing)?;
        return prefix(reader, found, op, number, bits.width);
    }
    let value = match bits.source {
        Source::Header(_) => kind::hex_number(bytes),
        Source::Option(..) => Kind::network(id::INTEGER, bits.width).value(bytes),
    };
    let text = format!("{} {}{value}", bits.raw(), word(op)?);
    reader.ask(text, None);
    Some(())
}

/// Whether the fields are those of any transport protocol, which `nft` does
/// not put together.
fn is_any(found: &[Found]) -> bool {
    found.iter().any(|found| found.header.name == "th")
}

/// Several fields that were compared at once.
fn each(
    reader: &mut Reader<'_>,
    bits: Bits,
    fields: &[Found],
    op: CmpOp,
    bytes: &[u8],
) -> Option<()> {
    let parts: Vec<(Found, u128)> = fields
        .iter()
        .map(|found| {
            let from = found.field.offset.checked_sub(bits.offset)?;
            Some((*found, cut(bytes, from, found.field.kind.bits)?))
        })
        .collect::<Option<_>>()?;
    for (found, number) in parts {
        field(reader, found, op, number)?;
    }
    Some(())
}

fn field(reader: &mut Reader<'_>, found: Found, op: CmpOp, number: u128) -> Option<()> {
    reader.used(found);
    let shown = Shown {
        text: found.text(),
        kind: found.field.kind,
        binds: 0,
    };
    let value = shown.kind.of_number(number);
    let dependency = match op {
        CmpOp::EQ => reader.protocols.field_is(found, number),
        _ => None,
    };
    let text = format!("{} {}{value}", shown.text, operator(&shown, op)?);
    reader.ask(text, dependency);
    Some(())
}

fn prefix(
    reader: &mut Reader<'_>,
    found: Found,
    op: CmpOp,
    number: u128,
    length: u32,
) -> Option<()> {
    reader.used(found);
    let value = found.field.kind.of_number(number);
    let text = format!("{} {}{value}/{length}", found.text(), word(op)?);
    reader.ask(text, None);
    Some(())
}

fn masked(reader: &mut Reader<'_>, of: &Node, mask: &[u8], op: CmpOp, bytes: &[u8]) -> Option<()> {
    if mask.len() != bytes.len() {
        return None;
    }
    let outside = mask.iter().zip(bytes).any(|(mask, byte)| !mask & byte != 0);
    if let (Node::Packet(bits), Some(run), false) = (of, Run::of(mask), outside) {
        let under = bits.under(run);
        let fields = reader
            .protocols
            .fields(under.source, under.offset, under.width)
            .filter(|found| found.len() == 1 || op == CmpOp::EQ);
        if let Some(fields) = fields {
            let number = Kind::network(id::RAW, 0).number(bytes)?;
            let shifted = number.checked_shr(run.behind)?.to_be_bytes();
            let start = 128_u32.checked_sub(run.ones)?;
            let parts: Vec<(Found, u128)> = fields
                .iter()
                .map(|found| {
                    let from = found.field.offset.checked_sub(under.offset)?;
                    let from = start.checked_add(from)?;
                    Some((*found, cut(&shifted, from, found.field.kind.bits)?))
                })
                .collect::<Option<_>>()?;
            for (found, number) in parts {
                field(reader, found, op, number)?;
            }
            return Some(());
        }
        if let (Some(found), 0, CmpOp::EQ | CmpOp::NEQ) =
            (bits.field(&reader.protocols), run.before, op)
            && found.field.kind.is_address()
        {
            let number = found.field.kind.number(bytes)?;
            return prefix(reader, found, op, number, run.ones);
        }
    }
    let shown = reader.show(of)?;
    let (mask_number, value) = (shown.kind.number(mask)?, shown.kind.number(bytes)?);
    let text = if let Some(text) = flags(&shown, mask_number, op, value) {
        text
    } else {
        let kind = shown.kind;
        let left = binary::join(&shown, "&", &kind.of_number(mask_number), 0);
        let word = if op == CmpOp::EQ { "== " } else { word(op)? };
        format!("{} {word}{}", left.text, kind.of_number(value))
    };
    reader.ask(text, None);
    Some(())
}

/// Bits that are asked for by name.
fn flags(shown: &Shown, mask: u128, op: CmpOp, value: u128) -> Option<String> {
    if !shown.kind.is_bits() {
        return None;
    }
    let list = |number: u128| match names::bits(shown.kind.id) {
        Some(names) => Some(kind::bits(number, names, ",")),
        None => number
            .is_power_of_two()
            .then(|| shown.kind.of_number(number)),
    };
    let text = &shown.text;
    Some(match (op, value) {
        (CmpOp::NEQ, 0) => format!("{text} {}", list(mask)?),
        (CmpOp::EQ, 0) => format!("{text} ! {}", list(mask)?),
        (CmpOp::EQ, value) if !mask.is_power_of_two() => {
            format!("{text} {} / {}", list(value)?, list(mask)?)
        }
        (CmpOp::NEQ, value) if !mask.is_power_of_two() => {
            format!("{text} != {} / {}", list(value)?, list(mask)?)
        }
        _ => return None,
    })
}

/// `bits` bits of `bytes`, `from` bits behind their start.
fn cut(bytes: &[u8], from: u32, bits: u32) -> Option<u128> {
    let first = usize::try_from(from.checked_div(8)?).ok()?;
    let end = from.checked_add(bits)?;
    let last = usize::try_from(end.div_ceil(8)).ok()?;
    let number = Kind::network(id::RAW, 0).number(bytes.get(first..last)?)?;
    let behind = u32::try_from(last).ok()?.checked_mul(8)?.checked_sub(end)?;
    Some(number.checked_shr(behind)? & binary::ones(bits))
}

/// The operator, which may be left out before plain values.
fn operator(shown: &Shown, op: CmpOp) -> Option<&'static str> {
    match op {
        // Of bits, what is left out means: any of them.
        CmpOp::EQ if shown.kind.is_bits() || shown.binds != 0 => Some("== "),
        op => word(op),
    }
}

fn word(op: CmpOp) -> Option<&'static str> {
    Some(match op {
        CmpOp::EQ => "",
        CmpOp::NEQ => "!= ",
        CmpOp::LT => "< ",
        CmpOp::LTE => "<= ",
        CmpOp::GT => "> ",
        CmpOp::GTE => ">= ",
        _ => return None,
    })
}
