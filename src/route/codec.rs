//! Where the messages of `netlink-packet-route` meet ours.

use std::net::IpAddr;

use netlink_packet_core::{Emitable, Parseable};
use netlink_packet_route::AddressFamily;

use crate::wire::{DecodeError, Message, Writer};

/// Appends a message's body.
pub(super) fn emit(out: &mut Writer<'_>, message: &impl Emitable) {
    out.fill(message.buffer_len(), |bytes| message.emit(bytes));
}

/// Reads a message's body.
pub(super) fn parse<T: Parseable<[u8]>>(
    message: &Message<'_>,
    what: &'static str,
) -> Result<T, DecodeError> {
    T::parse(message.body()).map_err(|_| DecodeError::Malformed { what })
}

pub(super) fn family_of(address: IpAddr) -> AddressFamily {
    match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}
