//! What all messages of this room begin with: `struct nfgenmsg` of
//! `linux/netfilter/nfnetlink.h`, and the reading that they share.

use crate::wire::uapi::nfnetlink::{NFNETLINK_V0, NFNL_SUBSYS_NFTABLES};
use crate::wire::{Attr, Attrs, DecodeError, Fields, Message, Text, Writer};

use super::name::lossy;
use super::userdata;
use super::{Comment, Family, Name};

/// Length of `struct nfgenmsg` in bytes.
pub(crate) const LENGTH: usize = 4;

/// `nlmsg_type` of an operation of `nf_tables`.
pub(crate) const fn kind(operation: u16) -> u16 {
    u16::from_be_bytes([NFNL_SUBSYS_NFTABLES, 0]) | operation
}

/// The operation behind `nlmsg_type`, if it is one of `nf_tables`.
pub(crate) const fn operation(kind: u16) -> Option<u16> {
    let [subsystem, operation] = kind.to_be_bytes();
    if subsystem == NFNL_SUBSYS_NFTABLES {
        Some(u16::from_be_bytes([0, operation]))
    } else {
        None
    }
}

pub(crate) fn put(family: Family, out: &mut Writer<'_>) {
    out.fixed(&[family.as_raw(), NFNETLINK_V0, 0, 0]);
}

pub(crate) fn split<'a>(message: &Message<'a>) -> Result<(Family, Attrs<'a>), DecodeError> {
    let ([family, ..], attrs) = message.split::<LENGTH>()?;
    Ok((Family::from_raw(*family), attrs))
}

/// A name, which may be any bytes.
pub(crate) fn name<const N: usize>(
    fields: &Fields<'_, N>,
    attr: Attr<Text>,
) -> Result<Name, DecodeError> {
    let bytes = fields.need(Attr::<crate::wire::Bytes>::new(attr.kind()))?;
    Ok(Name::unchecked(&lossy(bytes)))
}

/// The comment in `bytes`, and the other entries.
pub(crate) fn comment(bytes: &[u8], kind: u8) -> (Option<Comment>, Vec<u8>) {
    let mut comment = None;
    let mut rest = Vec::new();
    for (found, value) in userdata::read(bytes) {
        match Comment::unchecked(value) {
            Some(text) if found == kind => comment = Some(text),
            _ => {
                rest.push(found);
                rest.push(u8::try_from(value.len()).unwrap_or_default());
                rest.extend_from_slice(value);
            }
        }
    }
    (comment, rest)
}
