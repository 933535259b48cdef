//! Names of guests.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use crate::error::Invalid;

/// Longest name of a guest in bytes, as for a host name's label (RFC 1123).
const NAME_MAX: usize = 63;

/// The name of a guest: 1 to 63 letters, digits, dots, dashes and
/// underscores, a letter or digit first, and no IPv4 address.
///
/// The kernel keeps it in the alias of the guest's TAP and in the comments of
/// its set elements, so it holds nothing that could be misread there.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GuestName(Box<str>);

impl GuestName {
    /// Checks `name`.
    ///
    /// # Errors
    /// [`Invalid`] with the rule that it breaks.
    pub fn new(name: &str) -> Result<Self, Invalid> {
        Self::check(name)?;
        Ok(Self(name.into()))
    }

    /// Checks a name that need not be kept.
    pub(crate) fn check(name: &str) -> Result<(), Invalid> {
        let invalid = |why| Invalid::new("guest name", name, why);
        if name.len() > NAME_MAX {
            return Err(invalid("is longer than 63 bytes"));
        }
        if !name.starts_with(|first: char| first.is_ascii_alphanumeric()) {
            return Err(invalid("does not start with a letter or digit"));
        }
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if !name.bytes().all(plain) {
            return Err(invalid(
                "holds something other than letters, digits, dots, dashes and underscores",
            ));
        }
        if name.parse::<Ipv4Addr>().is_ok() {
            return Err(invalid("is an address"));
        }
        Ok(())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for GuestName {
    type Err = Invalid;

    fn from_str(name: &str) -> Result<Self, Invalid> {
        Self::new(name)
    }
}

impl fmt::Display for GuestName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_refuses_what_comments_and_aliases_would_misread() {
        let long = "a".repeat(64);
        for bad in [
            "",
            "-a",
            "a b",
            "a\"b",
            "a;b",
            "a\nb",
            "é",
            "198.18.0.2",
            &long,
        ] {
            assert!(GuestName::new(bad).is_err(), "{bad:?} was taken");
        }
        assert!(GuestName::new(&long[..63]).is_ok());
    }
}
