//! Expressions that compare and compute.

use super::expression;
use crate::nft::carried::{Carried, open};
use crate::nft::{Data, Name, Register, Value};
use crate::wire::Writer;
use crate::wire::uapi::nf_tables::{
    NFTA_DATA_VERDICT, NFTA_EXPR_DATA, NFTA_EXPR_NAME, NFTA_VERDICT_CHAIN_ID, NFTA_VERDICT_CODE,
};
use crate::wire::uapi::nf_tables_expr::{
    NFT_BITWISE_AND, NFT_BITWISE_LSHIFT, NFT_BITWISE_MASK_XOR, NFT_BITWISE_OR, NFT_BITWISE_RSHIFT,
    NFT_BITWISE_XOR, NFT_BYTEORDER_HTON, NFT_BYTEORDER_NTOH, NFT_CMP_EQ, NFT_CMP_GT, NFT_CMP_GTE,
    NFT_CMP_LT, NFT_CMP_LTE, NFT_CMP_NEQ, NFT_RANGE_EQ, NFT_RANGE_NEQ, NFTA_BITWISE_DATA,
    NFTA_BITWISE_DREG, NFTA_BITWISE_LEN, NFTA_BITWISE_MASK, NFTA_BITWISE_OP, NFTA_BITWISE_SREG,
    NFTA_BITWISE_SREG2, NFTA_BITWISE_XOR, NFTA_BYTEORDER_DREG, NFTA_BYTEORDER_LEN,
    NFTA_BYTEORDER_OP, NFTA_BYTEORDER_SIZE, NFTA_BYTEORDER_SREG, NFTA_CMP_DATA, NFTA_CMP_OP,
    NFTA_CMP_SREG, NFTA_IMMEDIATE_DATA, NFTA_IMMEDIATE_DREG, NFTA_RANGE_FROM_DATA, NFTA_RANGE_OP,
    NFTA_RANGE_SREG, NFTA_RANGE_TO_DATA,
};

expression! {
    /// Compares a register with a value; the rule ends if that fails.
    Cmp = "cmp";
    need {
        /// What is compared.
        from: Register = NFTA_CMP_SREG;
        /// How.
        op: CmpOp = NFTA_CMP_OP;
        /// With what; its width is the width that is compared.
        data: Data = NFTA_CMP_DATA;
    }
    maybe {}
    zero {}
}

expression! {
    /// Compares a register with two bounds, which belong to the range.
    Range = "range";
    need {
        /// What is compared.
        from: Register = NFTA_RANGE_SREG;
        /// Inside or outside.
        op: RangeOp = NFTA_RANGE_OP;
        /// The lower bound.
        low: Data = NFTA_RANGE_FROM_DATA;
        /// The upper bound.
        high: Data = NFTA_RANGE_TO_DATA;
    }
    maybe {}
    zero {}
}

expression! {
    /// Combines the bits of a register: `(from & mask) ^ xor`, a shift, or an
    /// operation of two registers.
    Bitwise = "bitwise";
    need {
        /// What is combined.
        from: Register = NFTA_BITWISE_SREG;
        /// Where the result goes.
        to: Register = NFTA_BITWISE_DREG;
        /// Bytes.
        length: u32 = NFTA_BITWISE_LEN;
    }
    maybe {
        /// The bits that are kept.
        mask / with_mask: Data = NFTA_BITWISE_MASK;
        /// The bits that are turned.
        xor / with_xor: Data = NFTA_BITWISE_XOR;
        /// The operand of a shift.
        data / with_data: Data = NFTA_BITWISE_DATA;
        /// The second register.
        second / with_second: Register = NFTA_BITWISE_SREG2;
    }
    zero {
        /// Which operation.
        op / with_op: BitwiseOp = NFTA_BITWISE_OP;
    }
}

expression! {
    /// Turns the bytes of a register around.
    Byteorder = "byteorder";
    need {
        /// What is turned.
        from: Register = NFTA_BYTEORDER_SREG;
        /// Where the result goes.
        to: Register = NFTA_BYTEORDER_DREG;
        /// Which way.
        op: ByteorderOp = NFTA_BYTEORDER_OP;
        /// Bytes in all.
        length: u32 = NFTA_BYTEORDER_LEN;
        /// Bytes of one number.
        size: u32 = NFTA_BYTEORDER_SIZE;
    }
    maybe {}
    zero {}
}

expression! {
    /// Loads a value, or the verdict.
    Immediate = "immediate";
    need {
        /// Where it goes.
        to: Register = NFTA_IMMEDIATE_DREG;
        /// What.
        value: Value = NFTA_IMMEDIATE_DATA;
    }
    maybe {}
    zero {}
}

impl Immediate {
    /// The chain that the verdict leads to.
    pub(crate) fn chain(&self) -> Option<&Name> {
        match &self.value {
            Value::Verdict(verdict) => verdict.chain(),
            Value::Data(_) => None,
        }
    }

    /// Writes the whole expression with the chain's number within the batch in
    /// the place of its name.
    pub(crate) fn encode_bound(&self, chain: u32, out: &mut Writer<'_>) {
        out.put(NFTA_EXPR_NAME, Self::NAME);
        out.nest(NFTA_EXPR_DATA, |out| {
            self.to.put(NFTA_IMMEDIATE_DREG, out);
            out.nest(NFTA_IMMEDIATE_DATA, |out| {
                out.nest(NFTA_DATA_VERDICT, |out| {
                    if let Value::Verdict(verdict) = &self.value {
                        out.put(NFTA_VERDICT_CODE, verdict.code());
                    }
                    out.put(NFTA_VERDICT_CHAIN_ID, chain);
                });
            });
        });
    }
}

open! {
    /// A comparison (`enum nft_cmp_ops`); order is that of the bytes.
    CmpOp: u32 as Be32 {
        /// Equal.
        EQ = NFT_CMP_EQ, "==";
        /// Not equal.
        NEQ = NFT_CMP_NEQ, "!=";
        /// Less.
        LT = NFT_CMP_LT, "<";
        /// Less or equal.
        LTE = NFT_CMP_LTE, "<=";
        /// Greater.
        GT = NFT_CMP_GT, ">";
        /// Greater or equal.
        GTE = NFT_CMP_GTE, ">=";
    }
}

open! {
    /// Inside or outside of a range (`enum nft_range_ops`).
    RangeOp: u32 as Be32 {
        /// Inside.
        EQ = NFT_RANGE_EQ, "==";
        /// Outside.
        NEQ = NFT_RANGE_NEQ, "!=";
    }
}

open! {
    /// An operation on bits (`enum nft_bitwise_ops`).
    BitwiseOp: u32 as Be32 {
        /// `(from & mask) ^ xor`.
        MASK_XOR = NFT_BITWISE_MASK_XOR, "&^";
        /// To the left.
        LSHIFT = NFT_BITWISE_LSHIFT, "<<";
        /// To the right.
        RSHIFT = NFT_BITWISE_RSHIFT, ">>";
        /// And, of two registers.
        AND = NFT_BITWISE_AND, "&";
        /// Or, of two registers.
        OR = NFT_BITWISE_OR, "|";
        /// Exclusive or, of two registers.
        XOR = NFT_BITWISE_XOR, "^";
    }
}

impl Default for BitwiseOp {
    fn default() -> Self {
        Self::MASK_XOR
    }
}

open! {
    /// A way of turning bytes (`enum nft_byteorder_ops`).
    ByteorderOp: u32 as Be32 {
        /// Network to host.
        NTOH = NFT_BYTEORDER_NTOH, "ntoh";
        /// Host to network.
        HTON = NFT_BYTEORDER_HTON, "hton";
    }
}
