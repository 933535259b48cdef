//! Port numbers, one or several in a row.

use std::fmt;
use std::num::NonZeroU16;
use std::ops::RangeInclusive;
use std::str::FromStr;

use crate::error::Invalid;

/// A port or several in a row: `8080`, `8000-8100`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ports {
    first: NonZeroU16,
    last: NonZeroU16,
}

impl Ports {
    /// The ports from `first` to `last`.
    ///
    /// # Errors
    /// [`Invalid`] for port 0 and if the last comes before the first.
    pub fn new(first: u16, last: u16) -> Result<Self, Invalid> {
        Self::of("port", first, last)
    }

    fn of(what: &'static str, first: u16, last: u16) -> Result<Self, Invalid> {
        let ports = Self {
            first: port(what, first)?,
            last: port(what, last)?,
        };
        if last < first {
            return Err(Invalid::new("ports", ports, "end before they begin"));
        }
        Ok(ports)
    }

    /// The first port.
    pub fn first(self) -> u16 {
        self.first.get()
    }

    /// The last port; of a single one itself.
    pub fn last(self) -> u16 {
        self.last.get()
    }

    /// How many ports there are.
    pub fn count(self) -> u32 {
        let behind = u32::from(self.last()).saturating_sub(self.first().into());
        behind.saturating_add(1)
    }

    /// Whether `port` is one of them.
    pub fn contains(self, port: u16) -> bool {
        self.range().contains(&port)
    }

    /// All of them.
    pub fn range(self) -> RangeInclusive<u16> {
        self.first()..=self.last()
    }

    /// Reads the ports of this kind: `host port`.
    pub(super) fn read(what: &'static str, text: &str) -> Result<Self, Invalid> {
        let number = |digits: &str| {
            let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
            let number = digits.parse().ok().filter(|_| plain);
            number.ok_or_else(|| Invalid::new(what, digits, "is not between 1 and 65535"))
        };
        match text.split_once('-') {
            Some((first, last)) => Self::of(what, number(first)?, number(last)?),
            None => number(text).and_then(|port| Self::of(what, port, port)),
        }
    }

    /// As many ports from `first` on.
    pub(super) fn moved_to(self, first: NonZeroU16) -> Result<Self, Invalid> {
        let behind = self.last().saturating_sub(self.first());
        let last = first
            .checked_add(behind)
            .ok_or_else(|| Invalid::new("guest port", first, "has too few ports behind it"))?;
        Ok(Self { first, last })
    }
}

impl From<NonZeroU16> for Ports {
    fn from(port: NonZeroU16) -> Self {
        Self {
            first: port,
            last: port,
        }
    }
}

impl FromStr for Ports {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        Self::read("port", text)
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.first)?;
        if self.last == self.first {
            return Ok(());
        }
        write!(f, "-{}", self.last)
    }
}

/// A port number of this kind.
pub(super) fn port(what: &'static str, number: u16) -> Result<NonZeroU16, Invalid> {
    NonZeroU16::new(number).ok_or_else(|| Invalid::new(what, number, "is not between 1 and 65535"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_read_what_they_print() {
        for text in ["1", "8080", "8000-8100", "1-65535"] {
            assert_eq!(text.parse::<Ports>().unwrap().to_string(), text);
        }
        for bad in ["", "0", "0-5", "8100-8000", "1-65536", "+1", "1-", "-1"] {
            assert!(bad.parse::<Ports>().is_err(), "{bad} was taken");
        }
    }

    #[test]
    fn ports_move_as_a_whole_or_not_at_all() {
        let ports: Ports = "8000-8100".parse().unwrap();
        let to = |first| ports.moved_to(NonZeroU16::new(first).unwrap());
        assert_eq!(to(9000).unwrap().to_string(), "9000-9100");
        assert_eq!(to(65_435).unwrap().last(), 65_535);
        assert!(to(65_436).is_err());
    }
}
