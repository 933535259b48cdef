//! What links have carried: `RTM_GETSTATS`, `linux/if_link.h`.

use crate::IfIndex;
use crate::wire::uapi::if_link::IFLA_STATS_LINK_64;
use crate::wire::{DecodeError, Message, Writer};

/// What a link has carried since it was made: `struct rtnl_link_stats64` of
/// `linux/if_link.h`.
///
/// Received is what came in by the link: for a TAP, what its guest sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct LinkStats {
    received_packets: u64,
    sent_packets: u64,
    received_bytes: u64,
    sent_bytes: u64,
    received_errors: u64,
    sent_errors: u64,
    received_dropped: u64,
    sent_dropped: u64,
}

impl LinkStats {
    /// Packets that came in.
    pub fn received_packets(&self) -> u64 {
        self.received_packets
    }

    /// Packets that went out.
    pub fn sent_packets(&self) -> u64 {
        self.sent_packets
    }

    /// Bytes that came in, link-layer headers included.
    pub fn received_bytes(&self) -> u64 {
        self.received_bytes
    }

    /// Bytes that went out, link-layer headers included.
    pub fn sent_bytes(&self) -> u64 {
        self.sent_bytes
    }

    /// Packets that came in damaged.
    pub fn received_errors(&self) -> u64 {
        self.received_errors
    }

    /// Packets that could not go out.
    pub fn sent_errors(&self) -> u64 {
        self.sent_errors
    }

    /// Packets that came in and were dropped by the driver or for want of
    /// room.
    pub fn received_dropped(&self) -> u64 {
        self.received_dropped
    }

    /// Packets that were to go out and were dropped: for a TAP, also those
    /// that no program was there to take.
    pub fn sent_dropped(&self) -> u64 {
        self.sent_dropped
    }

    /// Reads the answer: `struct if_stats_msg` and one attribute. `None` if
    /// the link has no such statistics.
    pub(super) fn decode(message: &Message<'_>) -> Result<Option<(IfIndex, Self)>, DecodeError> {
        let (&header, attrs) = message.split::<12>()?;
        let [_, _, _, _, i0, i1, i2, i3, ..] = header;
        let index = IfIndex::new(u32::from_ne_bytes([i0, i1, i2, i3]))
            .map_err(|_| DecodeError::Range { what: "ifindex" })?;
        let Some(bytes) = attrs.find(IFLA_STATS_LINK_64)? else {
            return Ok(None);
        };
        let mut numbers = bytes
            .chunks_exact(8)
            .filter_map(|bytes| Some(u64::from_ne_bytes(bytes.try_into().ok()?)));
        // In the kernel's order; what a newer one appends is not of interest.
        let mut next = || {
            numbers.next().ok_or(DecodeError::Range {
                what: "rtnl_link_stats64",
            })
        };
        let stats = Self {
            received_packets: next()?,
            sent_packets: next()?,
            received_bytes: next()?,
            sent_bytes: next()?,
            received_errors: next()?,
            sent_errors: next()?,
            received_dropped: next()?,
            sent_dropped: next()?,
        };
        Ok(Some((index, stats)))
    }
}

#[cfg(test)]
impl LinkStats {
    /// Packets and bytes that no link has carried.
    pub(crate) fn made_up(received: [u64; 2], sent: [u64; 2]) -> Self {
        let ([received_packets, received_bytes], [sent_packets, sent_bytes]) = (received, sent);
        Self {
            received_packets,
            sent_packets,
            received_bytes,
            sent_bytes,
            ..Self::default()
        }
    }
}

/// The body of an `RTM_GETSTATS` for all links: a fortieth of what a list of
/// the links with their statistics would be.
pub(super) fn encode_get(out: &mut Writer<'_>) {
    // IFLA_STATS_FILTER_BIT
    let bit = IFLA_STATS_LINK_64.kind().saturating_sub(1);
    let [f0, f1, f2, f3] = 1_u32.wrapping_shl(bit.into()).to_ne_bytes();
    out.fixed(&[0, 0, 0, 0, 0, 0, 0, 0, f0, f1, f2, f3]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Flags, Header, Messages, push_message};

    fn answer(index: u32, bytes: &[u8]) -> Vec<u8> {
        let mut message = Vec::new();
        push_message(&mut message, Header::new(92, Flags::empty(), 0), |out| {
            let [i0, i1, i2, i3] = index.to_ne_bytes();
            out.fixed(&[0, 0, 0, 0, i0, i1, i2, i3, 1, 0, 0, 0]);
            out.put(IFLA_STATS_LINK_64, bytes);
        })
        .unwrap();
        message
    }

    /// `struct rtnl_link_stats64` of `linux/if_link.h`, and what a newer
    /// kernel may append.
    #[test]
    fn each_number_is_at_its_place() {
        let bytes: Vec<u8> = (1_u64..=30).flat_map(u64::to_ne_bytes).collect();
        let answer = answer(7, &bytes);
        let message = Messages::new(&answer).next().unwrap().unwrap();
        let (index, stats) = LinkStats::decode(&message).unwrap().unwrap();
        assert_eq!(index.get(), 7);
        let numbers = [
            stats.received_packets(),
            stats.sent_packets(),
            stats.received_bytes(),
            stats.sent_bytes(),
            stats.received_errors(),
            stats.sent_errors(),
            stats.received_dropped(),
            stats.sent_dropped(),
        ];
        assert_eq!(numbers, [1, 2, 3, 4, 5, 6, 7, 8]);
    }

    #[test]
    fn statistics_that_are_cut_short_are_an_error() {
        let answer = answer(7, &[0; 63]);
        let message = Messages::new(&answer).next().unwrap().unwrap();
        assert!(LinkStats::decode(&message).is_err());
    }
}
