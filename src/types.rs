//! Small checked values that every room uses: names, indexes, addresses.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use crate::error::Invalid;

/// Longest interface name in bytes: `IFNAMSIZ` of `linux/if.h` less its NUL.
pub const IF_NAME_MAX: usize = 15;

/// The name of a network interface: 1 to 15 bytes that the kernel, `ip` and
/// `nft` all read as the same one name.
///
/// The kernel refuses `/`, `:`, white space, `.` and `..`; this type refuses
/// as well what it would silently change or what others misread: more than 15
/// bytes (`TUNSETIFF` cuts them off), `%` (a template), `*` and `"` (a pattern
/// and a quote in `nft` listings), control and non-ASCII characters.
///
/// ```
/// use tapwire::IfName;
/// let name: IfName = "riklet-0".parse()?;
/// assert_eq!(name.as_str(), "riklet-0");
/// assert!("a-name-of-16-byt".parse::<IfName>().is_err());
/// # Ok::<(), tapwire::error::Invalid>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IfName {
    bytes: [u8; IF_NAME_MAX + 1],
    length: u8,
}

impl IfName {
    /// Checks `name`.
    ///
    /// # Errors
    /// [`Invalid`] with the rule that it breaks.
    pub fn new(name: &str) -> Result<Self, Invalid> {
        let invalid = |why| Invalid::new("interface name", name, why);
        let plain = |byte: u8| byte.is_ascii_graphic() && !b"/:%*\"".contains(&byte);
        if name.is_empty() || name == "." || name == ".." {
            return Err(invalid("is not a name"));
        }
        if !name.bytes().all(plain) {
            return Err(invalid(
                "holds a character that the kernel or nft does not take as part of a name",
            ));
        }
        let mut bytes = [0; IF_NAME_MAX + 1];
        let (Some(field), Ok(length)) = (
            bytes[..IF_NAME_MAX].get_mut(..name.len()),
            u8::try_from(name.len()),
        ) else {
            return Err(invalid("is longer than 15 bytes"));
        };
        field.copy_from_slice(name.as_bytes());
        Ok(Self { bytes, length })
    }

    /// A name that is part of the program: at most 15 bytes that `new` takes.
    pub(crate) const fn constant(name: &'static str) -> Self {
        let mut bytes = [0; IF_NAME_MAX + 1];
        let (field, _) = bytes.split_at_mut(name.len());
        field.copy_from_slice(name.as_bytes());
        #[expect(
            clippy::cast_possible_truncation,
            clippy::as_conversions,
            reason = "split_at_mut limits it to 16"
        )]
        let length = name.len() as u8;
        Self { bytes, length }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        let bytes = self
            .bytes
            .get(..usize::from(self.length))
            .unwrap_or_default();
        str::from_utf8(bytes).unwrap_or_default()
    }

    /// The name as the kernel keeps it: 16 bytes, padded with NUL.
    pub fn as_bytes(&self) -> &[u8; IF_NAME_MAX + 1] {
        &self.bytes
    }
}

impl FromStr for IfName {
    type Err = Invalid;

    fn from_str(name: &str) -> Result<Self, Invalid> {
        Self::new(name)
    }
}

impl TryFrom<&str> for IfName {
    type Error = Invalid;

    fn try_from(name: &str) -> Result<Self, Invalid> {
        Self::new(name)
    }
}

impl fmt::Display for IfName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for IfName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// The index of a network interface in its namespace, never 0 and at most
/// `i32::MAX` (`ifi_index` of `linux/rtnetlink.h` is signed).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct IfIndex(NonZeroU32);

impl IfIndex {
    /// Checks `index`.
    ///
    /// # Errors
    /// [`Invalid`] if it is 0 or above `i32::MAX`.
    pub fn new(index: u32) -> Result<Self, Invalid> {
        NonZeroU32::new(index)
            .filter(|index| i32::try_from(index.get()).is_ok())
            .map(Self)
            .ok_or_else(|| {
                Invalid::new("interface index", index, "is not between 1 and 2147483647")
            })
    }

    /// An index that is part of the program: not 0.
    pub(crate) const fn constant(index: u32) -> Self {
        match NonZeroU32::new(index) {
            Some(index) => Self(index),
            None => Self(NonZeroU32::MIN),
        }
    }

    /// The number.
    pub fn get(self) -> u32 {
        self.0.get()
    }
}

impl fmt::Display for IfIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An Ethernet address (IEEE 802 MAC-48), written `02:74:77:00:00:01`.
///
/// ```
/// use tapwire::Mac;
/// let mac: Mac = "02:74:77:00:00:01".parse()?;
/// assert_eq!(mac.octets(), [2, 0x74, 0x77, 0, 0, 1]);
/// # Ok::<(), tapwire::error::Invalid>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mac([u8; 6]);

impl Mac {
    /// An address that one interface can have.
    ///
    /// # Errors
    /// [`Invalid`] for a group address (lowest bit of the first byte) and for
    /// all zeros, which no interface can carry.
    pub fn new(octets: [u8; 6]) -> Result<Self, Invalid> {
        let mac = Self(octets);
        if octets[0] & 1 != 0 {
            return Err(Invalid::new("MAC address", mac, "is a group address"));
        }
        if octets == [0; 6] {
            return Err(Invalid::new("MAC address", mac, "is all zeros"));
        }
        Ok(mac)
    }

    /// An address that is known to be good.
    pub(crate) const fn known(octets: [u8; 6]) -> Self {
        Self(octets)
    }

    /// The six bytes in the order of the wire.
    pub fn octets(self) -> [u8; 6] {
        self.0
    }
}

impl FromStr for Mac {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let invalid = || {
            Invalid::new(
                "MAC address",
                text,
                "is not six pairs of hex digits with colons",
            )
        };
        let mut octets = [0; 6];
        let mut pairs = text.split(':');
        for octet in &mut octets {
            let pair = pairs
                .next()
                .filter(|pair| pair.len() == 2)
                .ok_or_else(invalid)?;
            if !pair.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return Err(invalid());
            }
            *octet = u8::from_str_radix(pair, 16).map_err(|_| invalid())?;
        }
        match pairs.next() {
            None => Self::new(octets),
            Some(_) => Err(invalid()),
        }
    }
}

/// The length of a MAC address in words: six octets, with colons between them.
const MAC_TEXT: usize = 17;

const fn hex_digit(value: u8) -> u8 {
    match value {
        0..=9 => b'0'.wrapping_add(value),
        _ => b'a'.wrapping_add(value).wrapping_sub(10),
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Of each clone's, several are written whenever it comes.
        let mut text = [b':'; MAC_TEXT];
        for (place, octet) in text.chunks_mut(3).zip(self.0) {
            if let [high, low, ..] = place {
                (*high, *low) = (hex_digit(octet >> 4), hex_digit(octet & 0xf));
            }
        }
        f.write_str(str::from_utf8(&text).unwrap_or_default())
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interface_name_takes_15_bytes_and_refuses_16() {
        let name = IfName::new("abcdefghijklmno").unwrap();
        assert_eq!(name.as_str(), "abcdefghijklmno");
        assert_eq!(name.as_bytes()[15], 0);
        let error = IfName::new("abcdefghijklmnop").unwrap_err();
        assert_eq!(
            error.to_string(),
            "interface name \"abcdefghijklmnop\" is longer than 15 bytes"
        );
    }

    #[test]
    fn interface_name_refuses_what_the_kernel_or_nft_would_misread() {
        for bad in [
            "", ".", "..", "a/b", "a:b", "a b", "tap%d", "tap*", "a\"b", "tap\0", "é",
        ] {
            assert!(IfName::new(bad).is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn mac_reads_what_it_prints() {
        let mac: Mac = "02:aB:00:00:00:01".parse().unwrap();
        assert_eq!(mac.to_string(), "02:ab:00:00:00:01");
        assert_eq!(mac.to_string().parse(), Ok(mac));
    }

    #[test]
    fn mac_refuses_groups_zeros_and_other_notations() {
        for bad in [
            "01:00:5e:00:00:01",
            "00:00:00:00:00:00",
            "02:00:00:00:00",
            "02:00:00:00:00:01:02",
            "2:0:0:0:0:1",
            "+2:00:00:00:00:01",
            "",
        ] {
            assert!(bad.parse::<Mac>().is_err(), "{bad:?} was taken");
        }
    }
}
