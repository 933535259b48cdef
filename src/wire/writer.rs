//! The single-pass writer of attributes.

use super::{Attr, EncodeError, Nest, Payload};

/// `NLA_F_NESTED` of `linux/netlink.h`.
pub(super) const NLA_F_NESTED: u16 = 1 << 15;

/// The length of an attribute that is still being written. The kernel refuses
/// it in any message that can be sent, so a half-written one is never taken
/// for a whole.
const UNFINISHED: [u8; 2] = [0xff; 2];

/// Appends attributes to a buffer that the caller keeps for the next message.
///
/// Values are checked as they are written, the first error is kept and
/// reported by [`finish`](Self::finish).
#[derive(Debug)]
pub struct Writer<'b> {
    buffer: &'b mut Vec<u8>,
    error: Option<EncodeError>,
}

impl<'b> Writer<'b> {
    /// Appends to `buffer`, whose length should be a multiple of 4.
    pub fn new(buffer: &'b mut Vec<u8>) -> Self {
        Self {
            buffer,
            error: None,
        }
    }

    /// Appends one attribute.
    #[inline]
    pub fn put<T: Payload>(&mut self, attr: Attr<T>, value: T::Value<'_>) {
        if T::write_whole(attr.kind(), &value, self.buffer) {
            return;
        }
        self.attribute(attr.kind(), attr.kind(), |out| {
            if let Err(error) = T::write(attr.kind(), value, out.buffer) {
                out.fail(error);
            }
        });
    }

    /// Appends one attribute if there is a value.
    pub fn put_some<T: Payload>(&mut self, attr: Attr<T>, value: Option<T::Value<'_>>) {
        if let Some(value) = value {
            self.put(attr, value);
        }
    }

    /// Appends an attribute that holds what `body` writes, `NLA_F_NESTED` set.
    pub fn nest(&mut self, attr: Attr<Nest>, body: impl FnOnce(&mut Self)) {
        self.attribute(attr.kind(), attr.kind() | NLA_F_NESTED, body);
    }

    /// Appends an attribute as it was read, with its flags.
    pub fn put_raw(&mut self, kind_and_flags: u16, payload: &[u8]) {
        // Not `fixed`, whose padding would count as payload.
        self.attribute(kind_and_flags, kind_and_flags, |out| {
            out.buffer.extend_from_slice(payload);
        });
    }

    /// Appends a fixed structure as bytes: a family header such as
    /// `ifinfomsg`. Padded to 4 bytes.
    pub fn fixed(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
        self.pad();
    }

    /// Appends `length` zeros and has `fill` write over them: the way in for
    /// types that serialise into a slice. Padded to 4 bytes.
    pub fn fill(&mut self, length: usize, fill: impl FnOnce(&mut [u8])) {
        let start = self.buffer.len();
        self.buffer.resize(start.saturating_add(length), 0);
        if let Some(bytes) = self.buffer.get_mut(start..) {
            fill(bytes);
        }
        self.pad();
    }

    /// Bytes in the buffer, with what was there before.
    pub fn position(&self) -> usize {
        self.buffer.len()
    }

    /// Ends the writing.
    ///
    /// # Errors
    /// The first value that could not be written.
    pub fn finish(self) -> Result<(), EncodeError> {
        self.error.map_or(Ok(()), Err)
    }

    fn attribute(&mut self, kind: u16, kind_and_flags: u16, body: impl FnOnce(&mut Self)) {
        let start = self.buffer.len();
        let [low, high] = kind_and_flags.to_ne_bytes();
        let [unfinished, _] = UNFINISHED;
        self.buffer
            .extend_from_slice(&[unfinished, unfinished, low, high]);
        body(self);
        let length = self.buffer.len().saturating_sub(start);
        match u16::try_from(length) {
            Ok(length) => self.patch(start, length.to_ne_bytes()),
            Err(_) => self.fail(EncodeError::AttributeTooLong { kind, length }),
        }
        self.pad();
    }

    fn patch(&mut self, at: usize, bytes: [u8; 2]) {
        if let Some(field) = self
            .buffer
            .get_mut(at..)
            .and_then(|rest| rest.first_chunk_mut())
        {
            *field = bytes;
        }
    }

    fn pad(&mut self) {
        let padding = super::align(self.buffer.len()).saturating_sub(self.buffer.len());
        if let Some(zeros @ [_, ..]) = [0; 3].get(..padding) {
            self.buffer.extend_from_slice(zeros);
        }
    }

    fn fail(&mut self, error: EncodeError) {
        self.error.get_or_insert(error);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Be16, Bytes, Flag, Text, laid_out};

    const OUTER: Attr<Nest> = Attr::new(1);
    const PORT: Attr<Be16> = Attr::new(2);
    const NAME: Attr<Text> = Attr::new(3);
    const BLOB: Attr<Bytes> = Attr::new(4);
    const MARK: Attr<Flag> = Attr::new(5);

    fn write(body: impl FnOnce(&mut Writer<'_>)) -> Result<Vec<u8>, EncodeError> {
        let mut bytes = Vec::new();
        let mut out = Writer::new(&mut bytes);
        body(&mut out);
        out.finish()?;
        Ok(bytes)
    }

    #[test]
    fn nests_carry_their_length_and_flag() {
        let bytes = write(|out| out.nest(OUTER, |out| out.put(PORT, 80))).unwrap();
        let [low, high] = (1 | NLA_F_NESTED).to_ne_bytes();
        assert_eq!(bytes[2..4], [low, high]);
        assert_eq!(bytes[..2], 12_u16.to_ne_bytes());
        assert_eq!(bytes[8..], [0, 80, 0, 0]);
    }

    #[test]
    fn half_written_attribute_is_never_valid() {
        write(|out| {
            out.nest(OUTER, |out| {
                assert_eq!(out.buffer[..2], UNFINISHED);
                out.put(MARK, ());
            });
        })
        .unwrap();
    }

    #[test]
    fn attribute_of_65535_bytes_fits_and_one_more_is_an_error() {
        let payload = vec![7; 65_532];
        assert!(write(|out| out.put(BLOB, &payload[..65_531])).is_ok());
        let error = write(|out| out.nest(OUTER, |out| out.put(BLOB, &payload))).unwrap_err();
        assert_eq!(
            error,
            EncodeError::AttributeTooLong {
                kind: 4,
                length: 65_536
            }
        );
    }

    #[test]
    fn text_ends_with_nul_and_refuses_one_inside() {
        assert_eq!(write(|out| out.put(NAME, "abc")).unwrap()[4..], *b"abc\0");
        assert_eq!(
            write(|out| out.put(NAME, "a\0c")),
            Err(EncodeError::NulInText { kind: 3 })
        );
    }

    #[test]
    fn raw_attribute_keeps_its_length() {
        let mut bytes = Vec::new();
        let mut out = Writer::new(&mut bytes);
        out.put_raw(NLA_F_NESTED | 2, &[7]);
        out.finish().unwrap();
        assert_eq!(bytes, laid_out(&[(5, NLA_F_NESTED | 2, &[7, 0, 0, 0])]));
    }
}
