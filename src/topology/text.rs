//! Words of others, and numbers for people.

use std::fmt;

/// A text without what would move a terminal's cursor, break a line or turn
/// the direction of reading: such characters are written `\u{1b}`.
pub(super) fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for character in text.chars() {
        let turns = matches!(
            character,
            '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        );
        if character.is_control() || turns {
            plain.extend(character.escape_unicode());
        } else {
            plain.push(character);
        }
    }
    plain
}

/// A number of things, with an `s` if it is not one.
pub(super) struct Count(pub(super) u64, pub(super) &'static str);

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(number, thing) = self;
        let s = if *number == 1 { "" } else { "s" };
        write!(f, "{number} {thing}{s}")
    }
}

/// Packets, and their bytes in the largest unit of 1000 that leaves a digit
/// in front of the point.
pub(super) struct Amount(pub(super) u64, pub(super) u64);

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(packets, bytes) = *self;
        write!(f, "{} (", Count(packets, "packet"))?;
        let mut tenths = u128::from(bytes).saturating_mul(10);
        let mut units = ["B", "kB", "MB", "GB", "TB", "PB"].into_iter().peekable();
        let mut unit = units.next().unwrap_or_default();
        while tenths >= 10_000
            && let Some(larger) = units.next()
        {
            tenths = tenths.div_euclid(1000);
            unit = larger;
        }
        let (whole, tenth) = (tenths.div_euclid(10), tenths.rem_euclid(10));
        match unit {
            "B" => write!(f, "{whole} {unit})"),
            _ => write!(f, "{whole}.{tenth} {unit})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_in_the_unit_that_fits() {
        let amount = |bytes| Amount(1, bytes).to_string();
        assert_eq!(amount(0), "1 packet (0 B)");
        assert_eq!(amount(999), "1 packet (999 B)");
        assert_eq!(amount(1_000), "1 packet (1.0 kB)");
        assert_eq!(amount(999_999), "1 packet (999.9 kB)");
        assert_eq!(amount(12_345_678), "1 packet (12.3 MB)");
        assert_eq!(Amount(2, u64::MAX).to_string(), "2 packets (18446.7 PB)");
    }

    #[test]
    fn text_moves_no_cursor() {
        assert_eq!(
            plain("a\x1b[2J\nb\u{202e}é"),
            "a\\u{1b}[2J\\u{a}b\\u{202e}é"
        );
    }
}
