//! Reading attributes from a shrinking slice.

use std::iter::FusedIterator;

use super::writer::NLA_F_NESTED;
use super::{Attr, DecodeError, Payload, align};

/// The flags in the upper bits of `nla_type`: `NLA_F_NESTED` and
/// `NLA_F_NET_BYTEORDER`.
const NLA_FLAGS: u16 = NLA_F_NESTED | 1 << 14;

/// The attributes in a run of bytes, in their order. Ends after the first
/// error.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Attrs<'a> {
    rest: &'a [u8],
}

impl<'a> Attrs<'a> {
    /// The attributes that `bytes` hold.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The bytes that were not read yet.
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.rest
    }

    /// Finds the first attribute of this number.
    ///
    /// # Errors
    /// [`DecodeError`] if the bytes up to it, or its payload, are malformed.
    pub fn find<T: Payload>(self, attr: Attr<T>) -> Result<Option<T::Value<'a>>, DecodeError> {
        for attribute in self {
            let attribute = attribute?;
            if attribute.kind() == attr {
                return attribute.get(attr).map(Some);
            }
        }
        Ok(None)
    }

    fn take(&mut self) -> Result<Attribute<'a>, DecodeError> {
        let truncated = DecodeError::Truncated { what: "attribute" };
        let Some((&[l0, l1, k0, k1], _)) = self.rest.split_first_chunk() else {
            return Err(truncated);
        };
        let length = usize::from(u16::from_ne_bytes([l0, l1]));
        let payload = self.rest.get(4..length).ok_or(truncated)?;
        self.rest = self.rest.get(align(length)..).unwrap_or_default();
        Ok(Attribute {
            kind_and_flags: u16::from_ne_bytes([k0, k1]),
            payload,
        })
    }
}

impl<'a> Iterator for Attrs<'a> {
    type Item = Result<Attribute<'a>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let attribute = self.take();
        if attribute.is_err() {
            self.rest = &[];
        }
        Some(attribute)
    }
}

impl FusedIterator for Attrs<'_> {}

/// One attribute as it was read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Attribute<'a> {
    kind_and_flags: u16,
    payload: &'a [u8],
}

impl<'a> Attribute<'a> {
    /// Its number, without flags.
    pub const fn kind(&self) -> u16 {
        self.kind_and_flags & !NLA_FLAGS
    }

    /// Its number with the flags, as [`put_raw`](super::Writer::put_raw)
    /// takes it.
    pub const fn kind_and_flags(&self) -> u16 {
        self.kind_and_flags
    }

    /// Its payload without padding.
    pub const fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// Its payload as the type of `attr`.
    ///
    /// # Errors
    /// [`DecodeError`] if the payload is not of that type.
    pub fn get<T: Payload>(&self, attr: Attr<T>) -> Result<T::Value<'a>, DecodeError> {
        T::read(attr.kind(), self.payload)
    }

    /// Its payload as attributes.
    pub const fn nested(&self) -> Attrs<'a> {
        Attrs::new(self.payload)
    }
}

/// A run of attributes sorted by number, as the kernel's `nla_parse` does it:
/// of several with one number the last counts. `N` is one more than the
/// highest number of interest.
#[derive(Debug, Clone)]
pub struct Fields<'a, const N: usize> {
    table: [Option<Attribute<'a>>; N],
    all: Attrs<'a>,
}

impl<'a, const N: usize> Fields<'a, N> {
    /// Reads all of `attrs`.
    ///
    /// # Errors
    /// [`DecodeError`] if one is malformed.
    pub fn read(attrs: Attrs<'a>) -> Result<Self, DecodeError> {
        let mut table = [None; N];
        for attribute in attrs.clone() {
            let attribute = attribute?;
            if let Some(entry) = table.get_mut(usize::from(attribute.kind())) {
                *entry = Some(attribute);
            }
        }
        Ok(Self { table, all: attrs })
    }

    /// The value of `attr`, if present.
    ///
    /// # Errors
    /// [`DecodeError`] if its payload is not of the type of `attr`.
    pub fn get<T: Payload>(&self, attr: Attr<T>) -> Result<Option<T::Value<'a>>, DecodeError> {
        match self.table.get(usize::from(attr.kind())) {
            Some(Some(attribute)) => attribute.get(attr).map(Some),
            _ => Ok(None),
        }
    }

    /// The value of `attr`, which must be present.
    ///
    /// # Errors
    /// [`DecodeError`] if it is absent or not of the type of `attr`.
    pub fn need<T: Payload>(&self, attr: Attr<T>) -> Result<T::Value<'a>, DecodeError> {
        self.get(attr)?
            .ok_or_else(|| DecodeError::Missing { kind: attr.kind() })
    }

    /// The attributes whose numbers lie beyond the table: those of a newer
    /// kernel.
    pub fn beyond(&self) -> impl Iterator<Item = Attribute<'a>> + use<'a, N> {
        self.all
            .clone()
            .filter_map(Result::ok)
            .filter(|attribute| usize::from(attribute.kind()) >= N)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Be32, Text, laid_out};

    const NAME: Attr<Text> = Attr::new(1);
    const FLAGS: Attr<Be32> = Attr::new(2);

    #[test]
    fn iterator_ends_after_its_first_error() {
        let bytes = laid_out(&[(8, 1, b"a\0\0\0"), (3, 2, &[9; 4])]);
        let mut attrs = Attrs::new(&bytes);
        assert_eq!(attrs.next().unwrap().unwrap().get(NAME), Ok("a"));
        assert!(attrs.next().unwrap().is_err());
        assert!(attrs.next().is_none());
    }

    #[test]
    fn lengths_that_lie_are_errors() {
        for bytes in [
            laid_out(&[(8, 1, &[])]),
            laid_out(&[(3, 1, &[])]),
            laid_out(&[(0, 0, &[])]),
            vec![1],
            laid_out(&[(u16::MAX, 1, &[0])]),
        ] {
            assert!(Attrs::new(&bytes).next().unwrap().is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn last_attribute_may_lack_its_padding() {
        let bytes = laid_out(&[(6, 1, b"ab")]);
        let mut attrs = Attrs::new(&bytes);
        assert_eq!(attrs.next().unwrap().unwrap().get(NAME), Ok("ab"));
        assert!(attrs.next().is_none());
    }

    #[test]
    fn flags_do_not_hide_the_number_and_unknown_ones_are_kept() {
        let bytes = laid_out(&[(8, 0x8002, &[0, 0, 0, 5]), (4, 0x404d, &[])]);
        let fields = Fields::<3>::read(Attrs::new(&bytes)).unwrap();
        assert_eq!(fields.need(FLAGS), Ok(5));
        assert_eq!(fields.get(NAME), Ok(None));
        assert_eq!(fields.need(NAME), Err(DecodeError::Missing { kind: 1 }));
        let beyond: Vec<_> = fields
            .beyond()
            .map(|attribute| attribute.kind_and_flags())
            .collect();
        assert_eq!(beyond, [0x4000 | 0x4d]);
    }

    #[test]
    fn wrong_width_is_an_error() {
        let bytes = laid_out(&[(6, 2, &[1, 2, 0, 0])]);
        let attribute = Attrs::new(&bytes).next().unwrap().unwrap();
        let error = DecodeError::Length {
            kind: 2,
            length: 2,
            expected: 4,
        };
        assert_eq!(attribute.get(FLAGS), Err(error));
    }
}
