//! What a counter has counted.

use crate::nft::expr::Counter;
use crate::wire::Writer;
use crate::wire::uapi::nf_tables::{NFTA_EXPR_DATA, NFTA_EXPR_NAME};
use crate::wire::uapi::nf_tables_expr::{NFTA_COUNTER_BYTES, NFTA_COUNTER_PACKETS};

/// What a counter has counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub struct Counts {
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

impl Counts {
    /// These counts.
    pub const fn new(packets: u64, bytes: u64) -> Self {
        Self { packets, bytes }
    }

    pub(super) fn encode(self, out: &mut Writer<'_>) {
        out.put(NFTA_EXPR_NAME, Counter::NAME);
        out.nest(NFTA_EXPR_DATA, |out| self.encode_fields(out));
    }

    pub(crate) fn encode_fields(self, out: &mut Writer<'_>) {
        out.put(NFTA_COUNTER_BYTES, self.bytes);
        out.put(NFTA_COUNTER_PACKETS, self.packets);
    }
}

impl From<&Counter> for Counts {
    fn from(counter: &Counter) -> Self {
        Self {
            packets: *counter.packets(),
            bytes: *counter.bytes(),
        }
    }
}
