//! What `nft` keeps with objects: a list of type, length, value, each one
//! byte (`libnftnl/udata.h`). The kernel stores it unread.

use std::iter;

use crate::wire::{Attr, Bytes, Writer};

use super::comment::Comment;

/// Kinds of entries of tables, chains, rules and elements.
pub(crate) const COMMENT: u8 = 0;
/// Of an element: its flags.
pub(crate) const ELEMENT_FLAGS: u8 = 1;
/// Of a set: the byte order of its key.
pub(crate) const SET_KEY_ORDER: u8 = 0;
/// Of a map: the byte order of its data.
pub(crate) const SET_DATA_ORDER: u8 = 1;
/// Of a set: whether `nft` joins ranges that meet.
pub(crate) const SET_MERGE: u8 = 2;
/// Of a set: the fields that its key is.
pub(crate) const SET_KEY_TYPEOF: u8 = 3;
/// Of a map: the fields that its data are.
pub(crate) const SET_DATA_TYPEOF: u8 = 4;
/// Of a set: its comment.
pub(crate) const SET_COMMENT: u8 = 7;

/// Entries that are written one after the other, without allocation.
#[derive(Debug)]
pub(crate) struct Entries {
    bytes: [u8; ROOM],
    length: usize,
}

impl Entries {
    pub(crate) const fn new() -> Self {
        Self {
            bytes: [0; ROOM],
            length: 0,
        }
    }

    /// Appends an entry; leaves it out if it does not fit.
    pub(crate) fn push(&mut self, kind: u8, value: &[u8], end: &[u8]) {
        let total = value.len().saturating_add(end.len());
        let Ok(length) = u8::try_from(total) else {
            return;
        };
        let next = self.length.saturating_add(total).saturating_add(2);
        let Some(field) = self.bytes.get_mut(self.length..next) else {
            return;
        };
        let entry = iter::once(&kind)
            .chain(iter::once(&length))
            .chain(value)
            .chain(end);
        for (place, byte) in field.iter_mut().zip(entry) {
            *place = *byte;
        }
        self.length = next;
    }

    pub(crate) fn comment(&mut self, kind: u8, comment: Option<&Comment>) {
        if let Some(comment) = comment {
            self.push(kind, comment.as_bytes(), &[0]);
        }
    }

    pub(crate) fn number(&mut self, kind: u8, number: u32) {
        self.push(kind, &number.to_ne_bytes(), &[]);
    }

    /// Appends entries as they were read.
    pub(crate) fn raw(&mut self, entries: &[u8]) {
        for (kind, value) in read(entries) {
            self.push(kind, value, &[]);
        }
    }

    /// Writes the attribute, if there is any entry.
    pub(crate) fn put(&self, attr: Attr<Bytes>, out: &mut Writer<'_>) {
        if let Some(bytes @ [_, ..]) = self.bytes.get(..self.length) {
            out.put(attr, bytes);
        }
    }
}

/// The entries in `bytes`, up to the first that is cut off or that the kernel
/// would not have stored.
pub(crate) fn read(bytes: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    let mut bytes = bytes.get(..MAX).unwrap_or(bytes);
    iter::from_fn(move || {
        let (&[kind, length], rest) = bytes.split_first_chunk()?;
        let (value, rest) = rest.split_at_checked(usize::from(length))?;
        bytes = rest;
        Some((kind, value))
    })
}

/// The number in an entry.
pub(crate) fn number(value: &[u8]) -> Option<u32> {
    value.try_into().ok().map(u32::from_ne_bytes)
}

/// `NFT_USERDATA_MAXLEN`.
const MAX: usize = 256;

/// Room for all that can be read, and a comment, orders and flags besides:
/// what is too much for the kernel it refuses, nothing is lost in silence.
const ROOM: usize = MAX + 160;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_read_what_was_written() {
        let mut entries = Entries::new();
        entries.comment(COMMENT, Some(&Comment::new("web").unwrap()));
        entries.number(ELEMENT_FLAGS, 1);
        let bytes = &entries.bytes[..entries.length];
        assert_eq!(bytes[..6], [0, 4, b'w', b'e', b'b', 0]);
        let read: Vec<_> = read(bytes).collect();
        assert_eq!(read, [(0, &b"web\0"[..]), (1, &1_u32.to_ne_bytes()[..])]);
    }

    #[test]
    fn whatever_is_read_is_written() {
        let mut bytes = Vec::new();
        for _ in 0..40 {
            bytes.extend([9, 5, 1, 2, 3, 4, 5]);
        }
        let mut entries = Entries::new();
        entries.comment(COMMENT, Some(&Comment::new(&"c".repeat(127)).unwrap()));
        entries.number(ELEMENT_FLAGS, 1);
        entries.raw(&bytes);
        let written: Vec<_> = read(&bytes).collect();
        assert_eq!(written.len(), 256 / 7);
        assert_eq!(entries.length, 130 + 6 + 7 * written.len());
    }

    #[test]
    fn cut_off_entry_ends_the_list() {
        assert_eq!(read(&[0, 3, 1, 2]).count(), 0);
        assert_eq!(read(&[0]).count(), 0);
    }
}
