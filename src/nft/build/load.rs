//! What conditions and lookups load, and what is written back.

use crate::error::Invalid;
use crate::nft::data_type::padded;
use crate::nft::expr::{
    Bitwise, ChecksumType, Cmp, CmpOp, Ct, CtKey, CtSet, Fib, Hash, Lookup, Meta, MetaKey, MetaSet,
    Numgen, Payload, PayloadBase, PayloadSet, Range, RangeOp,
};
use crate::nft::field::ct::Direction;
use crate::nft::field::{Field, Load, Needs, Test};
use crate::nft::rule::List;
use crate::nft::{Data, DataType, KeyType, Name, Register, Rule, Set};
use crate::wire::uapi::nf_tables_expr::{NFT_LOOKUP_F_INV, NFT_PAYLOAD_L4CSUM_PSEUDOHDR};

impl Rule {
    pub(super) fn test(&mut self, field: Field, test: Test) {
        self.require(field.needs);
        let first = Register::FIRST;
        let width = field.kind.length();
        match test {
            Test::Compare(op, data) => {
                let width = u32::try_from(data.as_bytes().len()).unwrap_or(width);
                self.load(field, width, 0, 1);
                self.push(Cmp::new(first, op, data));
            }
            Test::Masked(op, mask, data) => {
                self.load(field, width, 0, 1);
                self.push(mask_of(width, mask));
                self.push(Cmp::new(first, op, data));
            }
            Test::Between(low, high) => {
                self.load(field, width, 0, 1);
                self.push(Range::new(first, RangeOp::EQ, low, high));
            }
            Test::AnyBit(mask) => {
                self.load(field, width, 0, 1);
                self.push(mask_of(width, mask));
                self.push(Cmp::new(first, CmpOp::NEQ, zeros(width)));
            }
            Test::Listed {
                inverted,
                interval,
                elements,
            } => {
                self.load(field, width, 0, 1);
                let id = u32::try_from(self.lists.len()).unwrap_or(u32::MAX);
                self.lists.push(List {
                    kind: field.kind,
                    interval,
                    elements,
                });
                let lookup = Lookup::new(Name::template(ANONYMOUS), first).with_set_id(id);
                self.push(lookup.with_flags(if inverted { NFT_LOOKUP_F_INV } else { 0 }));
            }
        }
    }

    pub(super) fn look_up(
        &mut self,
        fields: &[Field],
        set: &Set,
        to: Option<Register>,
        inverted: bool,
    ) {
        if set.is_map() != to.is_some() {
            let why = if set.is_map() {
                "is a map, not a set"
            } else {
                "is a set, not a map"
            };
            return self.refuse(Invalid::new("lookup in", set.name(), why));
        }
        self.load_key(fields, set);
        let lookup = Lookup::new(set.name().clone(), Register::FIRST).with_flags(if inverted {
            NFT_LOOKUP_F_INV
        } else {
            0
        });
        self.push(match to {
            Some(to) => lookup.with_to(to),
            None => lookup,
        });
    }

    /// Loads `fields` one behind the other, as the key of `set` has them.
    pub(super) fn load_key(&mut self, fields: &[Field], set: &Set) {
        let kinds: Vec<DataType> = fields.iter().map(Field::data_type).collect();
        let key = match KeyType::new(&kinds) {
            Ok(key) => key,
            Err(invalid) => return self.refuse(invalid),
        };
        if key != set.key() {
            let wanted = format_args!("{key} in {} of {}", set.name(), set.key()).to_string();
            return self.refuse(Invalid::new("lookup of", wanted, "is of another type"));
        }
        if *set.table() != self.table || set.family() != self.family {
            return self.refuse(Invalid::new(
                "set",
                set.name(),
                "is of another table than the rule",
            ));
        }
        for field in fields {
            self.require(field.needs);
        }
        let mut slot = 0;
        let behind = slots(key.length());
        for field in fields {
            self.load(*field, field.kind.length(), slot, behind);
            slot = slot.saturating_add(slots(field.kind.length()));
        }
    }

    /// Loads the first `width` bytes of `field` from `slot` on; `scratch` and
    /// what follows is free.
    fn load(&mut self, field: Field, width: u32, slot: u32, scratch: u32) {
        let (Some(to), Some(scratch)) = (Register::slot(slot), Register::slot(scratch)) else {
            return self.refuse(Invalid::new("fields", field.kind, "exceed the registers"));
        };
        match field.load {
            Load::Payload { base, offset } => self.push(Payload::new(to, base, offset, width)),
            Load::Meta(key) => self.push(Meta::new(to, key)),
            Load::Ct(key) => self.push(Ct::new(to, key)),
            Load::CtOriginal(key) => {
                self.push(Ct::new(to, key).with_direction(Direction::Original.as_raw()));
            }
            Load::Fib(result, flags) => self.push(Fib::new(to, result, flags)),
            Load::Numgen { kind, modulus } => self.push(Numgen::new(to, modulus, kind)),
            Load::Hash {
                base,
                offset,
                length,
                modulus,
                seed,
            } => {
                self.push(Payload::new(scratch, base, offset, length));
                let hash = Hash::new(to, modulus)
                    .with_from(scratch)
                    .with_length(length);
                self.push(match seed {
                    Some(seed) => hash.with_seed(seed),
                    None => hash,
                });
            }
        }
    }

    /// Writes the first register to `target`.
    pub(super) fn store(&mut self, target: Field) {
        let (kind, checksum_offset) = match target.kind {
            DataType::IPV4_ADDR => (ChecksumType::INET, IP_CHECKSUM_OFFSET),
            _ => (ChecksumType::NONE, 0),
        };
        match target.load {
            Load::Payload {
                base: base @ PayloadBase::NETWORK,
                offset,
            } if matches!(target.needs, Needs::Network(_)) => {
                self.push(
                    PayloadSet::new(Register::FIRST, base, offset, target.kind.length())
                        .with_checksum(kind)
                        .with_checksum_offset(checksum_offset)
                        .with_checksum_flags(NFT_PAYLOAD_L4CSUM_PSEUDOHDR),
                );
            }
            Load::Meta(MetaKey::MARK) => self.push(MetaSet::new(Register::FIRST, MetaKey::MARK)),
            Load::Ct(CtKey::MARK) => self.push(CtSet::new(Register::FIRST, CtKey::MARK)),
            _ => self.refuse(Invalid::new(
                "field",
                target.kind,
                "cannot be written by this short form",
            )),
        }
    }
}

fn mask_of(width: u32, mask: Data) -> Bitwise {
    Bitwise::new(Register::FIRST, Register::FIRST, width)
        .with_mask(mask)
        .with_xor(zeros(width))
}

fn zeros(width: u32) -> Data {
    let width = usize::try_from(width).unwrap_or_default();
    [0; 64]
        .get(..width)
        .and_then(Data::from_bytes)
        .unwrap_or(Data::EMPTY)
}

/// Registers of 4 bytes that `length` bytes take up.
const fn slots(length: u32) -> u32 {
    padded(length) / 4
}

/// The name of an anonymous set, which the kernel completes.
const ANONYMOUS: &str = "__set%d";

/// Where the checksum lies in an IPv4 header.
const IP_CHECKSUM_OFFSET: u32 = 10;
