//! The payload types of attributes: width and byte order, once each.

use byteorder::{BigEndian, ByteOrder, NativeEndian};

use super::{DecodeError, EncodeError, align};

/// A type of attribute payload. Sealed: the types of this module are all.
pub trait Payload: sealed::Sealed {
    /// What the caller hands over and gets back.
    type Value<'a>;

    /// Appends the bytes of `value`.
    ///
    /// # Errors
    /// [`EncodeError`] if the value cannot be written.
    fn write(kind: u16, value: Self::Value<'_>, buffer: &mut Vec<u8>) -> Result<(), EncodeError>;

    /// Appends the whole attribute, padding included, if its length is known
    /// beforehand. `false` if it is not: then nothing was appended.
    fn write_whole(_kind: u16, _value: &Self::Value<'_>, _buffer: &mut Vec<u8>) -> bool {
        false
    }

    /// Reads a value that takes up all of `bytes`.
    ///
    /// # Errors
    /// [`DecodeError`] if `bytes` are not such a value.
    fn read(kind: u16, bytes: &[u8]) -> Result<Self::Value<'_>, DecodeError>;
}

mod sealed {
    #[expect(
        unnameable_types,
        reason = "what cannot be named cannot be implemented elsewhere"
    )]
    pub trait Sealed {}
}

macro_rules! integers {
    ($($(#[$doc:meta])* $name:ident: $int:ty, $bytes:literal, $write:expr, $read:expr;)+) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        #[non_exhaustive]
        pub struct $name;

        impl sealed::Sealed for $name {}

        impl Payload for $name {
            type Value<'a> = $int;

            fn write(_: u16, value: $int, buffer: &mut Vec<u8>) -> Result<(), EncodeError> {
                let mut bytes = [0; $bytes];
                $write(&mut bytes, value);
                buffer.extend_from_slice(&bytes);
                Ok(())
            }

            // Numbers are most of what is written: one append for each.
            #[inline]
            fn write_whole(kind: u16, value: &$int, buffer: &mut Vec<u8>) -> bool {
                const LENGTH: u16 = 4 + $bytes;
                let mut whole = [0; 4 + 4 * usize::div_ceil($bytes, 4)];
                if let Some((header, rest)) = whole.split_first_chunk_mut::<4>()
                    && let Some(bytes) = rest.first_chunk_mut::<$bytes>()
                {
                    let [[l0, l1], [k0, k1]] = [LENGTH.to_ne_bytes(), kind.to_ne_bytes()];
                    *header = [l0, l1, k0, k1];
                    $write(bytes, *value);
                }
                buffer.extend_from_slice(&whole);
                true
            }

            fn read(kind: u16, bytes: &[u8]) -> Result<$int, DecodeError> {
                if bytes.len() != $bytes {
                    return Err(DecodeError::Length { kind, length: bytes.len(), expected: $bytes });
                }
                Ok($read(bytes))
            }
        }
    )+};
}

integers! {
    /// One byte.
    U8: u8, 1, |bytes: &mut [u8; 1], value| *bytes = [value], |bytes: &[u8]| bytes.first().copied().unwrap_or_default();
    /// 16 bits in host order (rtnetlink).
    U16: u16, 2, |bytes: &mut [u8; 2], value| NativeEndian::write_u16(bytes, value), NativeEndian::read_u16;
    /// 32 bits in host order (rtnetlink).
    U32: u32, 4, |bytes: &mut [u8; 4], value| NativeEndian::write_u32(bytes, value), NativeEndian::read_u32;
    /// 32 bits with sign in host order (rtnetlink).
    I32: i32, 4, |bytes: &mut [u8; 4], value| NativeEndian::write_i32(bytes, value), NativeEndian::read_i32;
    /// 64 bits in host order (rtnetlink).
    U64: u64, 8, |bytes: &mut [u8; 8], value| NativeEndian::write_u64(bytes, value), NativeEndian::read_u64;
    /// 16 bits in network order (nfnetlink).
    Be16: u16, 2, |bytes: &mut [u8; 2], value| BigEndian::write_u16(bytes, value), BigEndian::read_u16;
    /// 32 bits in network order (nfnetlink).
    Be32: u32, 4, |bytes: &mut [u8; 4], value| BigEndian::write_u32(bytes, value), BigEndian::read_u32;
    /// 32 bits with sign in network order (chain priorities, verdicts).
    BeI32: i32, 4, |bytes: &mut [u8; 4], value| BigEndian::write_i32(bytes, value), BigEndian::read_i32;
    /// 64 bits in network order (nfnetlink).
    Be64: u64, 8, |bytes: &mut [u8; 8], value| BigEndian::write_u64(bytes, value), BigEndian::read_u64;
}

/// Bytes as they are.
#[derive(Debug)]
#[non_exhaustive]
pub struct Bytes;

impl sealed::Sealed for Bytes {}

impl Payload for Bytes {
    type Value<'a> = &'a [u8];

    fn write(_: u16, value: &[u8], buffer: &mut Vec<u8>) -> Result<(), EncodeError> {
        buffer.extend_from_slice(value);
        Ok(())
    }

    fn read(_: u16, bytes: &[u8]) -> Result<&[u8], DecodeError> {
        Ok(bytes)
    }
}

/// So many bytes a text has that is written in one go.
const SHORT: usize = 31;

/// A text: written with a NUL at its end, read with or without one.
#[derive(Debug)]
#[non_exhaustive]
pub struct Text;

impl sealed::Sealed for Text {}

impl Payload for Text {
    type Value<'a> = &'a str;

    // Most are short names, which the compiler knows where this is inlined.
    #[inline]
    fn write_whole(kind: u16, value: &&str, buffer: &mut Vec<u8>) -> bool {
        let text = value.as_bytes();
        if text.len() > SHORT || text.contains(&0) {
            return false;
        }
        let length = text.len().saturating_add(5);
        let mut whole = [0; 4 + (SHORT + 1).next_multiple_of(4)];
        if let Some((header, rest)) = whole.split_first_chunk_mut::<4>()
            && let Some(place) = rest.get_mut(..text.len())
            && let Ok(length) = u16::try_from(length)
        {
            let [[l0, l1], [k0, k1]] = [length.to_ne_bytes(), kind.to_ne_bytes()];
            *header = [l0, l1, k0, k1];
            place.copy_from_slice(text);
        }
        buffer.extend_from_slice(whole.get(..align(length)).unwrap_or_default());
        true
    }

    fn write(kind: u16, value: &str, buffer: &mut Vec<u8>) -> Result<(), EncodeError> {
        if value.bytes().any(|byte| byte == 0) {
            return Err(EncodeError::NulInText { kind });
        }
        buffer.extend_from_slice(value.as_bytes());
        buffer.push(0);
        Ok(())
    }

    fn read(kind: u16, bytes: &[u8]) -> Result<&str, DecodeError> {
        let text = bytes.split(|&byte| byte == 0).next().unwrap_or_default();
        str::from_utf8(text).map_err(|_| DecodeError::NotText { kind })
    }
}

/// No payload: the attribute's presence is the value.
#[derive(Debug)]
#[non_exhaustive]
pub struct Flag;

impl sealed::Sealed for Flag {}

impl Payload for Flag {
    type Value<'a> = ();

    fn write(_: u16, (): (), _: &mut Vec<u8>) -> Result<(), EncodeError> {
        Ok(())
    }

    fn read(_: u16, _: &[u8]) -> Result<(), DecodeError> {
        Ok(())
    }
}

/// Attributes inside an attribute: written with
/// [`Writer::nest`](super::Writer::nest), read as [`Attrs`](super::Attrs).
#[derive(Debug)]
#[non_exhaustive]
pub struct Nest;

impl sealed::Sealed for Nest {}

impl Payload for Nest {
    /// The nested attributes, encoded.
    type Value<'a> = super::Attrs<'a>;

    fn write(_: u16, value: super::Attrs<'_>, buffer: &mut Vec<u8>) -> Result<(), EncodeError> {
        buffer.extend_from_slice(value.as_bytes());
        Ok(())
    }

    fn read(_: u16, bytes: &[u8]) -> Result<super::Attrs<'_>, DecodeError> {
        Ok(super::Attrs::new(bytes))
    }
}
