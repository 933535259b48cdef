//! Netlink messages: `struct nlmsghdr` of `linux/netlink.h` and what follows.

use std::iter::FusedIterator;

use super::{Attrs, DecodeError, EncodeError, Writer, align};

/// Length of `struct nlmsghdr` in bytes.
pub const HEADER_LENGTH: usize = 16;

bitflags::bitflags! {
    /// `nlmsg_flags`. One bit means different things in requests that get,
    /// that add and that delete, as in `linux/netlink.h`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub struct Flags: u16 {
        /// `NLM_F_REQUEST`: to the kernel.
        const REQUEST = 0x1;
        /// `NLM_F_MULTI`: one of several, ended by `NLMSG_DONE`.
        const MULTI = 0x2;
        /// `NLM_F_ACK`: answer with an acknowledgement.
        const ACK = 0x4;
        /// `NLM_F_ECHO`: send the resulting notification back as well.
        const ECHO = 0x8;
        /// `NLM_F_DUMP_INTR`: things changed while they were listed.
        const DUMP_INTR = 0x10;
        /// `NLM_F_DUMP_FILTERED`: the kernel honoured the filter.
        const DUMP_FILTERED = 0x20;
        /// `NLM_F_DUMP` of a get: list all.
        const DUMP = 0x300;
        /// `NLM_F_REPLACE` of an add: change what is there.
        const REPLACE = 0x100;
        /// `NLM_F_EXCL` of an add: refuse if it is there.
        const EXCL = 0x200;
        /// `NLM_F_CREATE` of an add: make it if it is not there.
        const CREATE = 0x400;
        /// `NLM_F_APPEND` of an add: at the end of the list.
        const APPEND = 0x800;
        /// `NLM_F_NONREC` of a delete: refuse if it has content.
        const NONREC = 0x100;
        /// `NLM_F_BULK` of a delete: all that match.
        const BULK = 0x200;
        /// `NLM_F_CAPPED` of an acknowledgement: the request is not repeated.
        const CAPPED = 0x100;
        /// `NLM_F_ACK_TLVS` of an acknowledgement: attributes follow.
        const ACK_TLVS = 0x200;
    }
}

/// A request that is to be acknowledged.
pub const ACK_REQUEST: Flags = Flags::REQUEST.union(Flags::ACK);

/// `struct nlmsghdr` without the length, which follows from the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Header {
    /// `nlmsg_type`.
    pub kind: u16,
    /// `nlmsg_flags`.
    pub flags: Flags,
    /// `nlmsg_seq`.
    pub sequence: u32,
    /// `nlmsg_pid`: the port of the socket concerned, 0 to the kernel.
    pub port: u32,
}

impl Header {
    /// The header of a message to the kernel.
    pub const fn new(kind: u16, flags: Flags, sequence: u32) -> Self {
        Self {
            kind,
            flags,
            sequence,
            port: 0,
        }
    }
}

/// Appends one message to `buffer`: the header, then what `body` writes. If
/// that fails, `buffer` is as it was.
///
/// # Errors
/// The first value that could not be written.
pub fn push_message(
    buffer: &mut Vec<u8>,
    header: Header,
    body: impl FnOnce(&mut Writer<'_>),
) -> Result<(), EncodeError> {
    let start = buffer.len();
    let [k0, k1] = header.kind.to_ne_bytes();
    let [f0, f1] = header.flags.bits().to_ne_bytes();
    let [s0, s1, s2, s3] = header.sequence.to_ne_bytes();
    let [p0, p1, p2, p3] = header.port.to_ne_bytes();
    // The length is not known yet.
    buffer.extend_from_slice(&[0, 0, 0, 0, k0, k1, f0, f1, s0, s1, s2, s3, p0, p1, p2, p3]);
    let mut out = Writer::new(buffer);
    body(&mut out);
    let written = out.finish();
    let length = buffer.len().saturating_sub(start);
    let written = written
        .and_then(|()| u32::try_from(length).map_err(|_| EncodeError::MessageTooLong { length }));
    match written {
        Ok(length) => {
            if let Some(field) = buffer
                .get_mut(start..)
                .and_then(|message| message.first_chunk_mut())
            {
                *field = length.to_ne_bytes();
            }
            Ok(())
        }
        Err(error) => {
            buffer.truncate(start);
            Err(error)
        }
    }
}

/// One message of a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message<'a> {
    header: Header,
    body: &'a [u8],
}

impl<'a> Message<'a> {
    /// Its header.
    pub const fn header(&self) -> Header {
        self.header
    }

    /// `nlmsg_type`.
    pub const fn kind(&self) -> u16 {
        self.header.kind
    }

    /// What follows the header.
    pub const fn body(&self) -> &'a [u8] {
        self.body
    }

    /// Splits the body into a family header of `N` bytes and the attributes
    /// behind it.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`] if the body is shorter.
    pub fn split<const N: usize>(&self) -> Result<(&'a [u8; N], Attrs<'a>), DecodeError> {
        let what = "message";
        let fixed = self
            .body
            .first_chunk()
            .ok_or(DecodeError::Truncated { what })?;
        let attrs = self.body.get(align(N)..).unwrap_or_default();
        Ok((fixed, Attrs::new(attrs)))
    }
}

/// The messages of a datagram, in their order. Ends after the first error.
#[derive(Debug, Clone)]
pub struct Messages<'a> {
    rest: &'a [u8],
}

impl<'a> Messages<'a> {
    /// The messages that `datagram` holds.
    pub const fn new(datagram: &'a [u8]) -> Self {
        Self { rest: datagram }
    }

    fn take(&mut self) -> Result<Message<'a>, DecodeError> {
        let truncated = DecodeError::Truncated { what: "message" };
        let header: &[u8; HEADER_LENGTH] = self.rest.first_chunk().ok_or(truncated)?;
        let [
            l0,
            l1,
            l2,
            l3,
            k0,
            k1,
            f0,
            f1,
            s0,
            s1,
            s2,
            s3,
            p0,
            p1,
            p2,
            p3,
        ] = *header;
        let length =
            usize::try_from(u32::from_ne_bytes([l0, l1, l2, l3])).map_err(|_| truncated)?;
        let body = self.rest.get(HEADER_LENGTH..length).ok_or(truncated)?;
        self.rest = self.rest.get(align(length)..).unwrap_or_default();
        let header = Header {
            kind: u16::from_ne_bytes([k0, k1]),
            flags: Flags::from_bits_retain(u16::from_ne_bytes([f0, f1])),
            sequence: u32::from_ne_bytes([s0, s1, s2, s3]),
            port: u32::from_ne_bytes([p0, p1, p2, p3]),
        };
        Ok(Message { header, body })
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = Result<Message<'a>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let message = self.take();
        if message.is_err() {
            self.rest = &[];
        }
        Some(message)
    }
}

impl FusedIterator for Messages<'_> {}

/// Where in `attrs` the attribute lies that starts `offset` bytes behind
/// their beginning: its number, its place among its siblings, and the
/// attributes inside it with the offset behind their beginning.
///
/// The kernel's `NLMSGERR_ATTR_OFFS` points at an attribute's header.
pub fn locate(attrs: Attrs<'_>, offset: usize) -> Option<(u16, usize, Attrs<'_>, Option<usize>)> {
    let total = attrs.as_bytes().len();
    let mut iterator = attrs;
    let mut index = 0_usize;
    loop {
        let start = total.checked_sub(iterator.as_bytes().len())?;
        let attribute = iterator.next()?.ok()?;
        let end = total.checked_sub(iterator.as_bytes().len())?;
        if (start..end).contains(&offset) {
            let inside = offset.checked_sub(start)?.checked_sub(4);
            return Some((attribute.kind(), index, attribute.nested(), inside));
        }
        index = index.checked_add(1)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Attr, Be32, Nest};

    #[test]
    fn messages_read_what_was_pushed() {
        let mut buffer = Vec::new();
        let header = Header::new(77, ACK_REQUEST, 3);
        push_message(&mut buffer, header, |out| out.fixed(&[1, 2, 3, 4, 5])).unwrap();
        push_message(&mut buffer, Header::new(78, Flags::MULTI, 4), |_| ()).unwrap();
        let messages: Vec<_> = Messages::new(&buffer).map(Result::unwrap).collect();
        assert_eq!(messages.len(), 2);
        assert_eq!(messages[0].header(), header);
        assert_eq!(messages[0].body(), [1, 2, 3, 4, 5, 0, 0, 0]);
        assert!(messages[1].body().is_empty());
    }

    #[test]
    fn failed_message_leaves_the_buffer_as_it_was() {
        const BLOB: Attr<crate::wire::Bytes> = Attr::new(1);
        let mut buffer = vec![9; 4];
        let result = push_message(&mut buffer, Header::default(), |out| {
            out.put(BLOB, &vec![0; 70_000]);
        });
        assert!(result.is_err());
        assert_eq!(buffer, [9; 4]);
    }

    #[test]
    fn unaligned_length_is_read() {
        let mut datagram = vec![0; 20];
        datagram[..4].copy_from_slice(&17_u32.to_ne_bytes());
        let mut messages = Messages::new(&datagram);
        assert_eq!(messages.next().unwrap().unwrap().body(), [0]);
        assert!(messages.next().is_none());
    }

    #[test]
    fn lengths_that_lie_are_errors() {
        for length in [0_u32, 15, 21, u32::MAX] {
            let mut datagram = vec![0; 20];
            datagram[..4].copy_from_slice(&length.to_ne_bytes());
            let mut messages = Messages::new(&datagram);
            assert!(messages.next().unwrap().is_err(), "{length}");
            assert!(messages.next().is_none());
        }
    }

    #[test]
    fn locate_walks_down_to_the_offset() {
        const LIST: Attr<Nest> = Attr::new(4);
        const ITEM: Attr<Be32> = Attr::new(1);
        let mut bytes = Vec::new();
        let mut out = Writer::new(&mut bytes);
        out.put(ITEM, 1);
        out.nest(LIST, |out| {
            out.put(ITEM, 1);
            out.put(ITEM, 2);
        });
        out.finish().unwrap();
        let (kind, index, nested, inside) = locate(Attrs::new(&bytes), 20).unwrap();
        assert_eq!((kind, index, inside), (4, 1, Some(8)));
        let (kind, index, _, inside) = locate(nested, 8).unwrap();
        assert_eq!((kind, index, inside), (1, 1, None));
        assert_eq!(locate(Attrs::new(&bytes), 28), None);
    }
}
