//! Expressions that write a register into the packet or what belongs to it.

use super::{CtKey, MetaKey, PayloadBase, expression};
use crate::nft::Register;
use crate::nft::carried::open;
use crate::wire::uapi::nf_tables_expr::{
    NFT_PAYLOAD_CSUM_INET, NFT_PAYLOAD_CSUM_NONE, NFT_PAYLOAD_CSUM_SCTP, NFTA_CT_DIRECTION,
    NFTA_CT_KEY, NFTA_CT_SREG, NFTA_META_KEY, NFTA_META_SREG, NFTA_PAYLOAD_BASE,
    NFTA_PAYLOAD_CSUM_FLAGS, NFTA_PAYLOAD_CSUM_OFFSET, NFTA_PAYLOAD_CSUM_TYPE, NFTA_PAYLOAD_LEN,
    NFTA_PAYLOAD_OFFSET, NFTA_PAYLOAD_SREG,
};

expression! {
    /// Writes a register into the packet and corrects its checksums.
    PayloadSet = "payload";
    need {
        /// Where the bytes come from.
        from: Register = NFTA_PAYLOAD_SREG;
        /// The header that the offset counts from.
        base: PayloadBase = NFTA_PAYLOAD_BASE;
        /// First byte.
        offset: u32 = NFTA_PAYLOAD_OFFSET;
        /// Bytes.
        length: u32 = NFTA_PAYLOAD_LEN;
    }
    maybe {}
    zero {
        /// The checksum of the header that is written to.
        checksum / with_checksum: ChecksumType = NFTA_PAYLOAD_CSUM_TYPE;
        /// Where that checksum lies in its header.
        checksum_offset / with_checksum_offset: u32 = NFTA_PAYLOAD_CSUM_OFFSET;
        /// Further checksums: `NFT_PAYLOAD_L4CSUM_PSEUDOHDR`.
        checksum_flags / with_checksum_flags: u32 = NFTA_PAYLOAD_CSUM_FLAGS;
    }
}

expression! {
    /// Changes what is known about the packet.
    MetaSet = "meta";
    need {
        /// Where the value comes from.
        from: Register = NFTA_META_SREG;
        /// What is changed.
        key: MetaKey = NFTA_META_KEY;
    }
    maybe {}
    zero {}
}

expression! {
    /// Changes what is known about the connection.
    CtSet = "ct";
    need {
        /// Where the value comes from.
        from: Register = NFTA_CT_SREG;
        /// What is changed.
        key: CtKey = NFTA_CT_KEY;
    }
    maybe {
        /// Of which direction: 0 original, 1 reply.
        direction / with_direction: u8 = NFTA_CT_DIRECTION;
    }
    zero {}
}

open! {
    /// A kind of checksum (`enum nft_payload_csum_types`).
    ChecksumType: u32 as Be32 {
        /// None.
        NONE = NFT_PAYLOAD_CSUM_NONE, "none";
        /// That of IPv4, TCP and UDP.
        INET = NFT_PAYLOAD_CSUM_INET, "inet";
        /// That of SCTP.
        SCTP = NFT_PAYLOAD_CSUM_SCTP, "sctp";
    }
}

impl Default for ChecksumType {
    fn default() -> Self {
        Self::NONE
    }
}
