//! `struct tcmsg` of `linux/rtnetlink.h`, which begins every message here.

use crate::IfIndex;
use crate::wire::{DecodeError, Fields, Message, Writer};

#[derive(Debug, Clone, Copy)]
pub(super) struct Header {
    /// `tcm_ifindex`; `None` stands for every interface.
    pub(super) index: Option<IfIndex>,
    pub(super) handle: u32,
    pub(super) parent: u32,
    pub(super) info: u32,
}

impl Header {
    /// What is asked for when things are listed.
    pub(super) fn of(index: Option<IfIndex>, parent: u32) -> Self {
        Self {
            index,
            handle: 0,
            parent,
            info: 0,
        }
    }

    pub(super) fn encode(self, out: &mut Writer<'_>) {
        let index = self.index.map_or(0, IfIndex::get);
        let mut bytes = [0; 20];
        let fields = [index, self.handle, self.parent, self.info];
        for (bytes, field) in bytes.chunks_exact_mut(4).skip(1).zip(fields) {
            bytes.copy_from_slice(&field.to_ne_bytes());
        }
        out.fixed(&bytes);
    }

    /// The header, and the attributes behind it.
    pub(super) fn decode<'a>(
        message: &Message<'a>,
    ) -> Result<(Self, IfIndex, Fields<'a, 16>), DecodeError> {
        let (header, attrs) = message.split::<20>()?;
        let [
            _,
            _,
            _,
            _,
            index @ ..,
            h0,
            h1,
            h2,
            h3,
            p0,
            p1,
            p2,
            p3,
            i0,
            i1,
            i2,
            i3,
        ] = *header;
        let index = IfIndex::new(u32::from_ne_bytes(index)).map_err(|_| DecodeError::Range {
            what: "tcm_ifindex",
        })?;
        let header = Self {
            index: Some(index),
            handle: u32::from_ne_bytes([h0, h1, h2, h3]),
            parent: u32::from_ne_bytes([p0, p1, p2, p3]),
            info: u32::from_ne_bytes([i0, i1, i2, i3]),
        };
        Ok((header, index, Fields::read(attrs)?))
    }
}
