//! Under whose name things are kept.

use std::fmt;
use std::str::FromStr;

use crate::error::Invalid;
use crate::nft;
use crate::types::IfName;

/// Longest owner in bytes: five digits and a dash must still fit the 15
/// bytes of a TAP's name.
const OWNER_MAX: usize = 9;

/// The short name under which one agent keeps its things in a network
/// namespace: lower-case letters and digits, at most nine, a letter first, no keyword of `nft`.
///
/// It names the agent's nf_tables table and starts the name of each of its
/// TAPs, with a dash behind it. An owner holds no dash itself, so the TAPs of
/// `rik` (`rik-0`) are never taken for those of `riklet` (`riklet-0`).
///
/// ```
/// use tapwire::Owner;
/// let owner = Owner::new("riklet")?;
/// assert_eq!(owner.tap(7)?.as_str(), "riklet-7");
/// assert!(Owner::new("Riklet-2").is_err());
/// # Ok::<(), tapwire::error::Invalid>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Owner(Box<str>);

impl Owner {
    /// Checks `name`.
    ///
    /// # Errors
    /// [`Invalid`] with the rule that it breaks.
    pub fn new(name: &str) -> Result<Self, Invalid> {
        let invalid = |why| Invalid::new("owner", name, why);
        if name.len() > OWNER_MAX {
            return Err(invalid("is longer than 9 bytes"));
        }
        if !name.starts_with(|first: char| first.is_ascii_lowercase()) {
            return Err(invalid("does not start with a lower-case letter"));
        }
        if !name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        {
            return Err(invalid(
                "holds something other than lower-case letters and digits",
            ));
        }
        nft::Name::new(name).map_err(|_| invalid("is a keyword of nft"))?;
        Ok(Self(name.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What the names of all of its TAPs start with: `riklet-`.
    pub fn tap_prefix(&self) -> String {
        format!("{}-", self.0)
    }

    /// The name of its TAP number `slot`.
    ///
    /// # Errors
    /// [`Invalid`] for a number that does not fit an interface name.
    pub fn tap(&self, slot: u32) -> Result<IfName, Invalid> {
        IfName::new(&format!("{}-{slot}", self.0))
    }

    /// The number of the TAP of this name, if the owner would give it that
    /// name.
    pub fn slot(&self, tap: &IfName) -> Option<u32> {
        let digits = tap.as_str().strip_prefix(&*self.0)?.strip_prefix('-')?;
        let slot = digits.parse().ok()?;
        (self.tap(slot).ok()? == *tap).then_some(slot)
    }
}

impl FromStr for Owner {
    type Err = Invalid;

    fn from_str(name: &str) -> Result<Self, Invalid> {
        Self::new(name)
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owner_refuses_what_nft_or_interface_names_cannot_hold() {
        for bad in [
            "",
            "Riklet",
            "rik-let",
            "rik let",
            "9lives",
            "rik\"let",
            "counter",
            "abcdefghij",
            "é",
        ] {
            assert!(Owner::new(bad).is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn only_names_that_the_owner_gives_have_a_slot() {
        let owner = Owner::new("rik").unwrap();
        let slot = |name: &str| owner.slot(&name.parse().unwrap());
        assert_eq!(slot("rik-0"), Some(0));
        assert_eq!(slot("rik-65535"), Some(65_535));
        for foreign in [
            "rik-007", "rik-+7", "rik-", "rik7", "riklet-7", "rik-7a", "eth0",
        ] {
            assert_eq!(slot(foreign), None, "{foreign}");
        }
    }
}
