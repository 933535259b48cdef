//! What a caller calls an exposure.

use std::fmt;
use std::str::FromStr;

use crate::error::Invalid;

/// Longest label in bytes: it shares a comment of 127 with the guest's name,
/// the ports and what says how it was told.
const LABEL_MAX: usize = 40;

/// What a caller calls an exposure: kept in the kernel, listed by `nft`, and
/// read back as it was.
///
/// One line of 1 to 40 bytes without quotes, backslashes and control
/// characters, and without spaces at its ends.
///
/// ```
/// use tapwire::Label;
/// let label: Label = "shop/web, port http".parse()?;
/// assert_eq!(label.as_str(), "shop/web, port http");
/// # Ok::<(), tapwire::error::Invalid>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Label(Box<str>);

impl Label {
    /// Checks `text`.
    ///
    /// # Errors
    /// [`Invalid`] with the rule that it breaks.
    pub fn new(text: &str) -> Result<Self, Invalid> {
        Self::check(text)?;
        Ok(Self(text.into()))
    }

    /// Checks a text that need not be kept.
    pub(crate) fn check(text: &str) -> Result<(), Invalid> {
        let invalid = |why| Invalid::new("label", text, why);
        if text.is_empty() {
            return Err(invalid("is empty"));
        }
        if text.len() > LABEL_MAX {
            return Err(invalid("is longer than 40 bytes"));
        }
        if text.trim() != text {
            return Err(invalid("starts or ends with a space"));
        }
        let ends_a_comment = |c: char| c.is_control() || c == '"' || c == '\\';
        if text.contains(ends_a_comment) {
            return Err(invalid("holds a quote, a backslash or a control character"));
        }
        Ok(())
    }

    /// The label as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Label {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        Self::new(text)
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_refuses_what_would_not_come_back() {
        let long = "x".repeat(41);
        for bad in ["", " web", "web ", "a\"b", "a\\b", "a\nb", &long] {
            assert!(Label::new(bad).is_err(), "{bad:?} was taken");
        }
        assert!(Label::new(&"ü".repeat(20)).is_ok());
    }
}
