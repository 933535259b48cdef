//! Expressions that use sets and objects.

use super::{Expr, expression};
use crate::nft::carried::open;
use crate::nft::{Name, Register};
use crate::wire::uapi::nf_tables_expr::{
    NFT_DYNSET_F_EXPR, NFT_DYNSET_OP_ADD, NFT_DYNSET_OP_DELETE, NFT_DYNSET_OP_UPDATE,
    NFTA_DYNSET_EXPR, NFTA_DYNSET_EXPRESSIONS, NFTA_DYNSET_FLAGS, NFTA_DYNSET_OP,
    NFTA_DYNSET_SET_ID, NFTA_DYNSET_SET_NAME, NFTA_DYNSET_SREG_DATA, NFTA_DYNSET_SREG_KEY,
    NFTA_DYNSET_TIMEOUT, NFTA_LOOKUP_DREG, NFTA_LOOKUP_FLAGS, NFTA_LOOKUP_SET, NFTA_LOOKUP_SET_ID,
    NFTA_LOOKUP_SREG, NFTA_OBJREF_IMM_NAME, NFTA_OBJREF_IMM_TYPE, NFTA_OBJREF_SET_ID,
    NFTA_OBJREF_SET_NAME, NFTA_OBJREF_SET_SREG,
};

expression! {
    /// Looks a register up in a set or map; the rule ends if it is not there.
    Lookup = "lookup";
    need {
        /// The set.
        set: Name = NFTA_LOOKUP_SET;
        /// The key.
        key: Register = NFTA_LOOKUP_SREG;
    }
    maybe {
        /// Where a map's data goes; the verdict of a verdict map.
        to / with_to: Register = NFTA_LOOKUP_DREG;
        /// The set's number within the batch.
        set_id / with_set_id: u32 = NFTA_LOOKUP_SET_ID;
    }
    zero {
        /// `NFT_LOOKUP_F_INV`: the rule ends if it is there.
        flags / with_flags: u32 = NFTA_LOOKUP_FLAGS;
    }
}

impl Lookup {
    /// The same lookup in the set that has this number within the batch.
    pub(crate) fn in_batch(&self, first: u32) -> Self {
        let mut lookup = self.clone();
        lookup.set_id = self.set_id.map(|id| first.wrapping_add(id));
        lookup
    }

    /// The same lookup by name alone, as the kernel lists it.
    pub(crate) fn by_name(mut self) -> Self {
        self.set_id = None;
        self
    }
}

expression! {
    /// Adds a register to a set, or takes it out; the rule ends if the set is
    /// full, or if an expression of the element ends it.
    Dynset = "dynset";
    need {
        /// The set.
        set: Name = NFTA_DYNSET_SET_NAME;
        /// What is done.
        op: DynsetOp = NFTA_DYNSET_OP;
        /// The key.
        key: Register = NFTA_DYNSET_SREG_KEY;
    }
    maybe {
        /// The data of a map's element.
        data / with_data: Register = NFTA_DYNSET_SREG_DATA;
        /// The set's number within the batch.
        set_id / with_set_id: u32 = NFTA_DYNSET_SET_ID;
        /// The expression that each element carries.
        expression / with_expression: Box<Expr> = NFTA_DYNSET_EXPR;
    }
    zero {
        /// How long an element stays, in milliseconds.
        timeout / with_timeout: u64 = NFTA_DYNSET_TIMEOUT;
        /// `NFT_DYNSET_F_*`.
        flags / with_flags: u32 = NFTA_DYNSET_FLAGS;
        /// The expressions that each element carries, if there are several;
        /// needs the flag `NFT_DYNSET_F_EXPR`.
        expressions / with_expressions: Vec<Expr> = NFTA_DYNSET_EXPRESSIONS;
    }
}

impl Dynset {
    /// With the flag that several expressions need and the kernel does not
    /// list.
    pub(crate) fn canonical(mut self) -> Self {
        if !self.expressions.is_empty() {
            self.flags |= NFT_DYNSET_F_EXPR;
        }
        self
    }
}

expression! {
    /// Uses a named object, or the one that a map leads to.
    Objref = "objref";
    need {}
    maybe {
        /// The kind of object.
        kind / with_kind: u32 = NFTA_OBJREF_IMM_TYPE;
        /// Its name.
        object / with_object: Name = NFTA_OBJREF_IMM_NAME;
        /// The key of the map.
        key / with_key: Register = NFTA_OBJREF_SET_SREG;
        /// The map.
        map / with_map: Name = NFTA_OBJREF_SET_NAME;
        /// The map's number within the batch.
        map_id / with_map_id: u32 = NFTA_OBJREF_SET_ID;
    }
    zero {}
}

open! {
    /// What is done with a set (`enum nft_dynset_ops`).
    DynsetOp: u32 as Be32 {
        /// Added, if it is not there.
        ADD = NFT_DYNSET_OP_ADD, "add";
        /// Added, or its timeout started again.
        UPDATE = NFT_DYNSET_OP_UPDATE, "update";
        /// Taken out.
        DELETE = NFT_DYNSET_OP_DELETE, "delete";
    }
}
