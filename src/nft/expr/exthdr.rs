//! Expressions that read and change the options and extension headers of a
//! packet.

use super::expression;
use crate::nft::Register;
use crate::nft::carried::open;
use crate::wire::uapi::nf_tables_stmt::{
    NFT_EXTHDR_OP_DCCP, NFT_EXTHDR_OP_IPV4, NFT_EXTHDR_OP_IPV6, NFT_EXTHDR_OP_SCTP,
    NFT_EXTHDR_OP_TCPOPT, NFTA_EXTHDR_DREG, NFTA_EXTHDR_FLAGS, NFTA_EXTHDR_LEN, NFTA_EXTHDR_OFFSET,
    NFTA_EXTHDR_OP, NFTA_EXTHDR_SREG, NFTA_EXTHDR_TYPE,
};

expression! {
    /// Loads a part of an option or extension header, or whether it is there.
    Exthdr = "exthdr";
    need {
        /// Where it goes.
        to: Register = NFTA_EXTHDR_DREG;
        /// Which option or header.
        option: u8 = NFTA_EXTHDR_TYPE;
        /// First byte within it.
        offset: u32 = NFTA_EXTHDR_OFFSET;
        /// Bytes.
        length: u32 = NFTA_EXTHDR_LEN;
    }
    maybe {}
    zero {
        /// Where options are looked for.
        op / with_op: ExthdrOp = NFTA_EXTHDR_OP;
        /// `NFT_EXTHDR_F_PRESENT`: a byte that says whether it is there.
        flags / with_flags: u32 = NFTA_EXTHDR_FLAGS;
    }
}

expression! {
    /// Writes a register into an option of a TCP segment.
    ExthdrSet = "exthdr";
    need {
        /// Where the bytes come from.
        from: Register = NFTA_EXTHDR_SREG;
        /// Which option.
        option: u8 = NFTA_EXTHDR_TYPE;
        /// First byte within it.
        offset: u32 = NFTA_EXTHDR_OFFSET;
        /// Bytes.
        length: u32 = NFTA_EXTHDR_LEN;
        /// Where options are looked for.
        op: ExthdrOp = NFTA_EXTHDR_OP;
    }
    maybe {}
    zero {}
    listed {
        NFTA_EXTHDR_FLAGS;
    }
}

expression! {
    /// Takes an option out of a TCP segment.
    ExthdrReset = "exthdr";
    need {
        /// Which option.
        option: u8 = NFTA_EXTHDR_TYPE;
        /// Where options are looked for.
        op: ExthdrOp = NFTA_EXTHDR_OP;
    }
    maybe {}
    zero {}
    listed {
        NFTA_EXTHDR_OFFSET;
        NFTA_EXTHDR_LEN;
        NFTA_EXTHDR_FLAGS;
    }
}

open! {
    /// Where options are looked for (`enum nft_exthdr_op`).
    ExthdrOp: u32 as Be32 {
        /// The extension headers of IPv6.
        IPV6 = NFT_EXTHDR_OP_IPV6, "exthdr";
        /// The options of TCP.
        TCP_OPTION = NFT_EXTHDR_OP_TCPOPT, "tcp option";
        /// The options of IPv4.
        IPV4 = NFT_EXTHDR_OP_IPV4, "ip option";
        /// The chunks of SCTP.
        SCTP = NFT_EXTHDR_OP_SCTP, "sctp chunk";
        /// The options of DCCP.
        DCCP = NFT_EXTHDR_OP_DCCP, "dccp option";
    }
}

impl Default for ExthdrOp {
    fn default() -> Self {
        Self::IPV6
    }
}
