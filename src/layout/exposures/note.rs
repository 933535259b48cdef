//! What the comment of an exposure's element says beyond key and data.

use crate::exposure::{Label, Ports};
use crate::guest::GuestName;
use crate::nft::{COMMENT_MAX, Comment};

/// `[+GROUP][@]GUEST[ PORTS][: LABEL]`.
///
/// GROUP, four hexadecimal digits, is common to the elements of an exposure
/// on several host addresses; `@` says that the guest was told by name; PORTS
/// are all of the host's, if there are several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Note<'n> {
    pub(crate) group: Option<u16>,
    pub(crate) by_name: bool,
    pub(crate) guest: &'n str,
    pub(crate) ports: Option<Ports>,
    pub(crate) label: Option<&'n str>,
}

impl<'n> Note<'n> {
    /// Reads a comment; `None` if someone else wrote it.
    pub(crate) fn read(comment: &'n Comment) -> Option<Self> {
        let text = comment.as_str();
        let (text, label) = match text.split_once(": ") {
            Some((text, label)) => (text, Some(label)),
            None => (text, None),
        };
        let (group, text) = match text.strip_prefix('+') {
            Some(rest) => {
                let (digits, rest) = rest.split_at_checked(GROUP_DIGITS)?;
                let plain = digits.bytes().all(|digit| HEXADECIMAL.contains(&digit));
                let group = u16::from_str_radix(digits, 16).ok().filter(|_| plain);
                (Some(group?), rest)
            }
            None => (None, text),
        };
        let (text, ports) = match text.split_once(' ') {
            Some((text, ports)) => (text, Some(ports.parse::<Ports>().ok()?)),
            None => (text, None),
        };
        let guest = text.strip_prefix('@');
        let note = Self {
            group,
            by_name: guest.is_some(),
            guest: guest.unwrap_or(text),
            ports,
            label,
        };
        note.is_sound().then_some(note)
    }

    /// Whether the values in it are such.
    fn is_sound(&self) -> bool {
        GuestName::check(self.guest).is_ok()
            && self.label.is_none_or(|label| Label::check(label).is_ok())
            && self.ports.is_none_or(|ports| ports.count() > 1)
    }

    /// As the comment of an element. Takes no memory from the heap.
    pub(crate) fn comment(&self) -> Option<Comment> {
        let mut text = Text {
            bytes: [0; COMMENT_MAX],
            length: 0,
        };
        if let Some(group) = self.group {
            text.push(b"+");
            for shift in [12, 8, 4, 0] {
                let digit = usize::from(group >> shift & 0xf);
                text.push(HEXADECIMAL.get(digit..=digit)?);
            }
        }
        if self.by_name {
            text.push(b"@");
        }
        text.push(self.guest.as_bytes());
        if let Some(ports) = self.ports {
            text.push(b" ");
            text.number(ports.first());
            text.push(b"-");
            text.number(ports.last());
        }
        if let Some(label) = self.label {
            text.push(b": ");
            text.push(label.as_bytes());
        }
        let text = text.bytes.get(..text.length)?;
        Comment::new(str::from_utf8(text).ok()?).ok()
    }
}

/// A comment that is being written. Names, ports and labels are so short
/// that all fit; what would not is left out.
struct Text {
    bytes: [u8; COMMENT_MAX],
    length: usize,
}

impl Text {
    fn push(&mut self, part: &[u8]) {
        let end = self.length.saturating_add(part.len());
        if let Some(place) = self.bytes.get_mut(self.length..end) {
            place.copy_from_slice(part);
            self.length = end;
        }
    }

    fn number(&mut self, number: u16) {
        let mut rest = number;
        let mut digits = [0; 5];
        let mut unused = digits.len();
        for (place, digit) in digits.iter_mut().enumerate().rev() {
            let last = u8::try_from(rest % 10).unwrap_or_default();
            *digit = b'0'.saturating_add(last);
            unused = place;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        self.push(digits.get(unused..).unwrap_or_default());
    }
}

const GROUP_DIGITS: usize = 4;
const HEXADECIMAL: &[u8; 16] = b"0123456789abcdef";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn longest_note_fits_a_comment() {
        let guest = "a".repeat(63);
        let label = "ü".repeat(20);
        let note = Note {
            group: Some(0xffff),
            by_name: true,
            guest: &guest,
            ports: Some("10000-65535".parse().unwrap()),
            label: Some(&label),
        };
        let comment = note.comment().unwrap();
        assert_eq!(Note::read(&comment), Some(note));
        assert!(comment.as_str().ends_with(&label));
    }

    #[test]
    fn notes_are_written_plainly() {
        let note = |text: &str| {
            let comment = Comment::new(text).unwrap();
            let note = Note::read(&comment)?;
            assert_eq!(note.comment().unwrap().as_str(), text);
            Some((note.group, note.by_name, note.ports.is_some()))
        };
        assert_eq!(note("hello-world"), Some((None, false, false)));
        assert_eq!(note("@hello-world"), Some((None, true, false)));
        let whole = note("+00ff@hello-world 8000-8100: shop: web, 1-2");
        assert_eq!(whole, Some((Some(0xff), true, true)));
        for foreign in [
            "+ff@a",
            "+00FF@a",
            "+00g0a",
            "+00",
            "a b",
            "a 80",
            "a 90-80",
            "@",
            "@@a",
            "a: ",
            "a:  b",
            "some other text",
            "+0éa",
        ] {
            assert_eq!(note(foreign), None, "{foreign}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: if cfg!(miri) { 8 } else { 256 },
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        #[test]
        fn notes_read_what_they_say(
            group: Option<u16>,
            by_name: bool,
            guest in "[A-Za-z0-9][A-Za-z0-9._-]{0,62}",
            ports in proptest::option::of((1..60_000_u16, 1..5_000_u16)),
            label in proptest::option::of("[^\"\\\\\\p{Cc}]{1,40}"),
        ) {
            let label = label.and_then(|label| Label::new(&label).ok());
            prop_assume!(GuestName::new(&guest).is_ok());
            let note = Note {
                group,
                by_name,
                guest: &guest,
                ports: ports.map(|(first, more)| Ports::new(first, first.saturating_add(more)).unwrap()),
                label: label.as_ref().map(Label::as_str),
            };
            let comment = note.comment().unwrap();
            prop_assert_eq!(Note::read(&comment), Some(note));
        }

        #[test]
        fn any_comment_is_read_without_a_panic(text in ".{1,127}") {
            if let Ok(comment) = Comment::new(&text)
                && let Some(note) = Note::read(&comment)
            {
                prop_assert_eq!(note.comment(), Some(comment));
            }
        }
    }
}
