//! Comments of tables, chains, rules, sets and elements.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use crate::error::Invalid;

/// Longest comment in bytes: `nft` keeps 128 with the NUL.
pub const COMMENT_MAX: usize = 127;

/// A comment as `nft` lists it: at most 127 bytes on one line, no quote.
///
/// It lies within the value, so that an element with a comment needs no
/// allocation.
///
/// ```
/// use tapwire::nft::Comment;
/// let comment: Comment = "web of vm-7".parse()?;
/// assert_eq!(comment.as_str(), "web of vm-7");
/// assert!(Comment::new("\" drop").is_err());
/// # Ok::<(), tapwire::error::Invalid>(())
/// ```
#[derive(Clone, Copy)]
pub struct Comment {
    bytes: [u8; COMMENT_MAX],
    length: u8,
}

impl Comment {
    /// Checks `text`.
    ///
    /// # Errors
    /// [`Invalid`] if it is empty or longer than 127 bytes, or holds a quote,
    /// a backslash or a control character, which would end it early in a
    /// listing.
    pub fn new(text: &str) -> Result<Self, Invalid> {
        let invalid = |why| Invalid::new("comment", text, why);
        if text.is_empty() {
            return Err(invalid("is empty"));
        }
        if text
            .chars()
            .any(|c| c.is_control() || c == '"' || c == '\\')
        {
            return Err(invalid("holds a quote, a backslash or a control character"));
        }
        Self::copy(text.as_bytes()).ok_or_else(|| invalid("is longer than 127 bytes"))
    }

    /// A comment that is part of the program.
    ///
    /// # Panics
    /// If it is not a good comment; in a `const` that stops the compilation.
    pub const fn constant(text: &'static str) -> Self {
        let mut comment = Self {
            bytes: [0; COMMENT_MAX],
            length: 0,
        };
        let mut rest = text.as_bytes();
        let mut field: &mut [u8] = &mut comment.bytes;
        assert!(
            !rest.is_empty() && rest.len() <= COMMENT_MAX,
            "not a comment that nft can read"
        );
        while let (Some((byte, tail)), Some((place, places))) =
            (rest.split_first(), field.split_first_mut())
        {
            assert!(
                *byte >= b' ' && *byte < 0x7f && *byte != b'"' && *byte != b'\\',
                "not a comment that nft can read"
            );
            *place = *byte;
            comment.length = comment.length.wrapping_add(1);
            rest = tail;
            field = places;
        }
        comment
    }

    /// A comment that the kernel listed: kept as it is up to its NUL, if it
    /// fits.
    pub(crate) fn unchecked(bytes: &[u8]) -> Option<Self> {
        Self::copy(bytes.split(|&byte| byte == 0).next().unwrap_or_default())
    }

    fn copy(text: &[u8]) -> Option<Self> {
        let mut bytes = [0; COMMENT_MAX];
        bytes.get_mut(..text.len())?.copy_from_slice(text);
        Some(Self {
            bytes,
            length: u8::try_from(text.len()).ok()?,
        })
    }

    /// The comment as text; empty if the kernel listed what is not UTF-8.
    pub fn as_str(&self) -> &str {
        str::from_utf8(self.as_bytes()).unwrap_or_default()
    }

    /// The comment as bytes, without NUL.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes
            .get(..usize::from(self.length))
            .unwrap_or_default()
    }
}

impl PartialEq for Comment {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Comment {}

impl Hash for Comment {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

impl FromStr for Comment {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        Self::new(text)
    }
}

impl TryFrom<&str> for Comment {
    type Error = Invalid;

    fn try_from(text: &str) -> Result<Self, Invalid> {
        Self::new(text)
    }
}

impl fmt::Display for Comment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for Comment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comment_takes_127_bytes_and_refuses_128() {
        assert!(Comment::new(&"c".repeat(127)).is_ok());
        assert!(Comment::new(&"c".repeat(128)).is_err());
    }

    #[test]
    fn comments_that_end_early_in_a_listing_are_refused() {
        for bad in ["", "a\"b", "a\nb", "a\0", "a\\", "\u{7f}", "\u{85}"] {
            assert!(Comment::new(bad).is_err(), "{bad:?} was taken");
        }
    }
}
