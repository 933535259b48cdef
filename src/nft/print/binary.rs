//! Operators between texts.

use super::kind::Kind;
use super::shown::Shown;

/// `left operator right`, in brackets where the operator binds more strongly
/// than those of the sides.
pub(super) fn join(left: &Shown, operator: &str, right: &str, right_binds: u8) -> Shown {
    let binds = strength(operator);
    let bracket = |text: &str, own: u8, needed: bool| {
        if own != 0 && needed {
            format!("({text})")
        } else {
            text.to_owned()
        }
    };
    let first = bracket(&left.text, left.binds, left.binds < binds);
    let second = bracket(right, right_binds, right_binds <= binds);
    Shown {
        text: format!("{first} {operator} {second}"),
        kind: left.kind,
        binds,
    }
}

/// `left operator value`, the value in brackets if it is several bits.
pub(super) fn join_value(left: &Shown, operator: &str, value: &str) -> Shown {
    let binds = u8::from(value.contains(" | "));
    join(left, operator, value, binds)
}

/// `(left & mask) ^ xor`, written with `&`, `^` and `|` as few as they may
/// be.
pub(super) fn masked(left: Shown, mask: &[u8], xor: &[u8]) -> Option<Shown> {
    let mut kind = left.kind;
    let width = u32::try_from(mask.len()).ok()?;
    if width > kind.bytes() {
        // A part of the packet that was made a number of the host.
        kind = Kind::host(super::kind::id::RAW, width.saturating_mul(8));
    }
    let (mask, xor) = (kind.number(mask)?, kind.number(xor)?);
    let all = ones(kind.bytes().saturating_mul(8));
    let set = !mask & xor;
    let mut shown = left;
    for (operator, operand, needed) in [
        ("&", mask | set, mask | set != all),
        ("^", xor & mask, xor & mask != 0),
        ("|", set, set != 0),
    ] {
        if needed {
            shown = join_value(&shown, operator, &kind.of_number(operand));
        }
    }
    Some(shown)
}

/// A number of this many ones.
pub(super) fn ones(bits: u32) -> u128 {
    match bits {
        0 => 0,
        bits => u128::MAX
            .checked_shr(128_u32.saturating_sub(bits))
            .unwrap_or_default(),
    }
}

/// How strongly an operator binds in the grammar of `nft`.
fn strength(operator: &str) -> u8 {
    match operator {
        "<<" | ">>" => 4,
        "&" => 3,
        "^" => 2,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::super::kind::id;
    use super::*;

    fn mark() -> Shown {
        Shown {
            text: "meta mark".to_owned(),
            kind: Kind::host(id::MARK, 32),
            binds: 0,
        }
    }

    #[test]
    fn mask_and_flip_read_as_nft_writes_them() {
        let text = |mask: u32, xor: u32| {
            masked(mark(), &mask.to_ne_bytes(), &xor.to_ne_bytes())
                .unwrap()
                .text
        };
        assert_eq!(
            text(0xffff_0000, 0x55),
            "meta mark & 0xffff0055 | 0x00000055"
        );
        assert_eq!(text(u32::MAX, 0xff), "meta mark ^ 0x000000ff");
        assert_eq!(text(0xff, 0), "meta mark & 0x000000ff");
    }

    #[test]
    fn weaker_operator_is_put_in_brackets() {
        let sum = join(&mark(), "|", "ct mark", 0);
        assert_eq!(
            join(&sum, "&", "0xff", 0).text,
            "(meta mark | ct mark) & 0xff"
        );
    }
}
