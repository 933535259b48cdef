//! Bytes of netlink: attributes, message headers, the kernel's numbers.
//!
//! The contract of this room: any bytes decode to a value or an error, and
//! nothing here panics; an iterator ends after its first error; what was
//! written decodes to the same value. No I/O, no unsafe code.
#![forbid(unsafe_code)]

mod attr;
mod message;
mod payload;
mod reader;
pub mod uapi;
mod writer;

pub use attr::Attr;
pub use message::{
    ACK_REQUEST, Flags, HEADER_LENGTH, Header, Message, Messages, locate, push_message,
};
pub use payload::{
    Be16, Be32, Be64, BeI32, Bytes, Flag, I32, Nest, Payload, Text, U8, U16, U32, U64,
};
pub use reader::{Attribute, Attrs, Fields};
pub use writer::Writer;

/// Bytes that are not what they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// A header promises more bytes than there are.
    #[error("{what} is cut off")]
    Truncated {
        /// What was being read.
        what: &'static str,
    },
    /// An attribute has another length than its type.
    #[error("attribute {kind} has {length} bytes, not {expected}")]
    Length {
        /// The attribute's number.
        kind: u16,
        /// Bytes found.
        length: usize,
        /// Bytes that the type has.
        expected: usize,
    },
    /// A text attribute is not UTF-8.
    #[error("attribute {kind} is not text")]
    NotText {
        /// The attribute's number.
        kind: u16,
    },
    /// An attribute that the kernel always sends is missing.
    #[error("attribute {kind} is missing")]
    Missing {
        /// The attribute's number.
        kind: u16,
    },
    /// A part of a message breaks the message's own format.
    #[error("{what} is malformed")]
    Malformed {
        /// What was being read.
        what: &'static str,
    },
    /// A value lies outside of what its field can hold.
    #[error("{what} is out of range")]
    Range {
        /// What was being read.
        what: &'static str,
    },
}

/// A value that does not fit the encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// An attribute would exceed 65 535 bytes, header included (`nla_len` of
    /// `linux/netlink.h` has 16 bits).
    #[error("attribute {kind} would have {length} bytes, more than 65535")]
    AttributeTooLong {
        /// The attribute's number.
        kind: u16,
        /// The length it would have.
        length: usize,
    },
    /// A message would exceed 4 GiB (`nlmsg_len` has 32 bits).
    #[error("a message would have {length} bytes, more than 4294967295")]
    MessageTooLong {
        /// The length it would have.
        length: usize,
    },
    /// A text holds a NUL, at which the kernel would cut it off.
    #[error("attribute {kind} would hold a NUL inside its text")]
    NulInText {
        /// The attribute's number.
        kind: u16,
    },
}

/// `length` rounded up to the alignment of netlink (`NLMSG_ALIGN`,
/// `NLA_ALIGN`: 4 bytes). Saturates, so that a hostile length stays too large.
pub(crate) const fn align(length: usize) -> usize {
    length.saturating_add(3) & !3
}

/// Attributes byte by byte: the length that each claims, its number and
/// flags, and what follows.
#[cfg(test)]
pub(crate) fn laid_out(attributes: &[(u16, u16, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (length, kind, rest) in attributes {
        bytes.extend_from_slice(&length.to_ne_bytes());
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(rest);
    }
    bytes
}
