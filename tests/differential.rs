//! The expressions that `netlink-packet-netfilter` knows are written to the
//! same bytes by it and by this crate.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::too_many_lines,
    reason = "a test that cannot go on has failed; each expression is spelled out"
)]

use netlink_packet_core::Emitable;
use netlink_packet_netfilter::nftables as theirs;
use netlink_packet_netfilter::nftables::{
    DataAttribute, Expressions, NfTablesMessage, RuleAttribute, RuleMessage, VerdictAttribute,
};
use proptest::prelude::*;
use tapwire::nft::expr::{
    Bitwise, BitwiseOp, ChecksumType, Cmp, CmpOp, Expr, Immediate, Lookup, Meta, MetaKey, MetaSet,
    Payload, PayloadBase, PayloadSet,
};
use tapwire::nft::{Batch, Chain, Data, Family, Name, Register, Rule, Table, Verdict};

const TABLE: &str = "t";
const CHAIN: &str = "c";

/// An expression by its parts, which either side takes.
#[derive(Debug, Clone)]
enum Parts {
    Bitwise {
        from: u32,
        to: u32,
        mask: Vec<u8>,
        xor: Vec<u8>,
    },
    Shift {
        from: u32,
        to: u32,
        op: u32,
        by: u32,
    },
    BitwiseOfTwo {
        from: u32,
        second: u32,
        to: u32,
        length: u32,
        op: u32,
    },
    Cmp {
        from: u32,
        op: u32,
        data: Vec<u8>,
    },
    Value {
        to: u32,
        data: Vec<u8>,
    },
    Verdict {
        code: u32,
        chain: String,
    },
    Lookup {
        set: String,
        key: u32,
        to: Option<u32>,
        inverted: bool,
    },
    Meta {
        to: u32,
        key: u32,
    },
    MetaSet {
        from: u32,
        key: u32,
    },
    Payload {
        to: u32,
        base: u32,
        offset: u32,
        length: u32,
    },
    PayloadSet {
        from: u32,
        base: u32,
        offset: u32,
        length: u32,
        checksum: u32,
        checksum_offset: u32,
        pseudo: bool,
    },
}

use Parts as P;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn rules_are_written_to_the_same_bytes(all in prop::collection::vec(parts(), 1..12)) {
        let here = write_here(all.iter().map(here).collect());
        let there = write_there(all.iter().map(there).collect());
        prop_assert_eq!(here, there);
    }
}

fn write_here(expressions: Vec<Expr>) -> Vec<u8> {
    let table = Table::new(Family::INET, Name::constant(TABLE));
    let chain = Chain::new(&table, Name::constant(CHAIN));
    // All registers hold something, so that any may be read.
    let rule = (0..16).fold(Rule::new(&chain), |rule, slot| {
        let to = Register::slot(slot).unwrap();
        rule.expression(Immediate::new(
            to,
            Data::from_bytes(&[0; 4]).unwrap().into(),
        ))
    });
    let rule = expressions.into_iter().fold(rule, Rule::expression);
    let messages = Batch::new().add(&rule).messages().unwrap();
    // Behind the header of nfnetlink.
    messages[1].body()[4..].to_vec()
}

fn write_there(expressions: Vec<Expressions>) -> Vec<u8> {
    let loads = (8..24).map(|register| {
        Expressions::Immediate(vec![
            theirs::Immediate::DestinationRegister(canonical(register)),
            theirs::Immediate::Data(DataAttribute::Value(vec![0; 4])),
        ])
    });
    let message = NfTablesMessage::NewRule(RuleMessage {
        attributes: vec![
            RuleAttribute::Table(TABLE.into()),
            RuleAttribute::Chain(CHAIN.into()),
            RuleAttribute::Expressions(loads.chain(expressions).map(Into::into).collect()),
        ],
    });
    let mut bytes = vec![0; message.buffer_len()];
    message.emit(&mut bytes);
    bytes
}

fn here(parts: &Parts) -> Expr {
    let register = |number: &u32| Register::from_raw(*number);
    let data = |bytes: &[u8]| Data::from_bytes(bytes).unwrap();
    match parts {
        P::Bitwise {
            from,
            to,
            mask,
            xor,
        } => Bitwise::new(register(from), register(to), length(mask))
            .with_mask(data(mask))
            .with_xor(data(xor))
            .into(),
        P::Shift { from, to, op, by } => Bitwise::new(register(from), register(to), 4)
            .with_op(BitwiseOp::from_raw(*op))
            .with_data(data(&by.to_ne_bytes()))
            .into(),
        P::BitwiseOfTwo {
            from,
            second,
            to,
            length,
            op,
        } => Bitwise::new(register(from), register(to), *length)
            .with_op(BitwiseOp::from_raw(*op))
            .with_second(register(second))
            .into(),
        P::Cmp { from, op, data: to } => {
            Cmp::new(register(from), CmpOp::from_raw(*op), data(to)).into()
        }
        P::Value { to, data: value } => Immediate::new(register(to), data(value).into()).into(),
        P::Verdict { code, chain } => {
            let chain = Name::new(chain).unwrap();
            let verdict = match code.cast_signed() {
                0 => Verdict::Drop,
                1 => Verdict::Accept,
                -1 => Verdict::Continue,
                -2 => Verdict::Break,
                -3 => Verdict::Jump(chain),
                -4 => Verdict::Goto(chain),
                -5 => Verdict::Return,
                other => Verdict::Other(other),
            };
            Immediate::new(Register::VERDICT, verdict.into()).into()
        }
        P::Lookup {
            set,
            key,
            to,
            inverted,
        } => {
            let lookup = Lookup::new(Name::new(set).unwrap(), register(key));
            let lookup = lookup.with_flags(u32::from(*inverted));
            match to {
                Some(to) => lookup.with_to(register(to)),
                None => lookup,
            }
            .into()
        }
        P::Meta { to, key } => Meta::new(register(to), MetaKey::from_raw(*key)).into(),
        P::MetaSet { from, key } => MetaSet::new(register(from), MetaKey::from_raw(*key)).into(),
        P::Payload {
            to,
            base,
            offset,
            length,
        } => Payload::new(register(to), PayloadBase::from_raw(*base), *offset, *length).into(),
        P::PayloadSet {
            from,
            base,
            offset,
            length,
            checksum,
            checksum_offset,
            pseudo,
        } => PayloadSet::new(
            register(from),
            PayloadBase::from_raw(*base),
            *offset,
            *length,
        )
        .with_checksum(ChecksumType::from_raw(*checksum))
        .with_checksum_offset(*checksum_offset)
        .with_checksum_flags(u32::from(*pseudo))
        .into(),
    }
}

/// The attributes in the order of this crate; it leaves out those that are
/// zero, which the kernel takes for the same.
fn there(parts: &Parts) -> Expressions {
    let data = |bytes: &[u8]| DataAttribute::Value(bytes.to_vec());
    match parts.clone() {
        P::Bitwise {
            from,
            to,
            mask,
            xor,
        } => Expressions::Bitwise(vec![
            theirs::Bitwise::SourceRegister(canonical(from)),
            theirs::Bitwise::DestinationRegister(canonical(to)),
            theirs::Bitwise::Length(length(&mask)),
            theirs::Bitwise::Mask(data(&mask)),
            theirs::Bitwise::Xor(data(&xor)),
        ]),
        P::Shift { from, to, op, by } => Expressions::Bitwise(vec![
            theirs::Bitwise::SourceRegister(canonical(from)),
            theirs::Bitwise::DestinationRegister(canonical(to)),
            theirs::Bitwise::Length(4),
            theirs::Bitwise::Data(data(&by.to_ne_bytes())),
            theirs::Bitwise::Op(op),
        ]),
        P::BitwiseOfTwo {
            from,
            second,
            to,
            length,
            op,
        } => Expressions::Bitwise(vec![
            theirs::Bitwise::SourceRegister(canonical(from)),
            theirs::Bitwise::DestinationRegister(canonical(to)),
            theirs::Bitwise::Length(length),
            theirs::Bitwise::SourceRegister2(canonical(second)),
            theirs::Bitwise::Op(op),
        ]),
        P::Cmp { from, op, data: to } => Expressions::Cmp(vec![
            theirs::Cmp::SourceRegister(canonical(from)),
            theirs::Cmp::Op(op.into()),
            theirs::Cmp::Data(data(&to)),
        ]),
        P::Value { to, data: value } => Expressions::Immediate(vec![
            theirs::Immediate::DestinationRegister(canonical(to)),
            theirs::Immediate::Data(data(&value)),
        ]),
        P::Verdict { code, chain } => {
            let mut verdict = vec![VerdictAttribute::Code(code.into())];
            verdict.extend(leads_on(code).then_some(VerdictAttribute::Chain(chain)));
            Expressions::Immediate(vec![
                theirs::Immediate::DestinationRegister(theirs::Register::Verdict),
                theirs::Immediate::Data(DataAttribute::Verdict(verdict)),
            ])
        }
        P::Lookup {
            set,
            key,
            to,
            inverted,
        } => {
            let mut lookup = vec![
                theirs::Lookup::Set(set),
                theirs::Lookup::SourceRegister(canonical(key)),
            ];
            lookup.extend(to.map(|to| theirs::Lookup::DestinationRegister(canonical(to))));
            lookup.extend(inverted.then_some(theirs::Lookup::Flags(1)));
            Expressions::Lookup(lookup)
        }
        P::Meta { to, key } => Expressions::Meta(vec![
            theirs::Meta::DestinationRegister(canonical(to)),
            theirs::Meta::Key(key.into()),
        ]),
        P::MetaSet { from, key } => Expressions::Meta(vec![
            theirs::Meta::SourceRegister(canonical(from)),
            theirs::Meta::Key(key.into()),
        ]),
        P::Payload {
            to,
            base,
            offset,
            length,
        } => Expressions::Payload(vec![
            theirs::Payload::DestinationRegister(canonical(to)),
            theirs::Payload::Base(base),
            theirs::Payload::Offset(offset),
            theirs::Payload::Len(length),
        ]),
        P::PayloadSet {
            from,
            base,
            offset,
            length,
            checksum,
            checksum_offset,
            pseudo,
        } => {
            let mut set = vec![
                theirs::Payload::SourceRegister(canonical(from)),
                theirs::Payload::Base(base),
                theirs::Payload::Offset(offset),
                theirs::Payload::Len(length),
            ];
            if checksum != 0 {
                set.push(theirs::Payload::CsumType(checksum.into()));
            }
            if checksum_offset != 0 {
                set.push(theirs::Payload::CsumOffset(checksum_offset));
            }
            if pseudo {
                set.push(theirs::Payload::CsumFlags(
                    theirs::ChecksumFlags::from_bits_retain(1),
                ));
            }
            Expressions::Payload(set)
        }
    }
}

fn parts() -> impl Strategy<Value = Parts> {
    let op = 0_u32..6;
    // Registers with 16 bytes from them on, or 4.
    let wide = prop_oneof![1_u32..5, 8_u32..21];
    let every = prop_oneof![1_u32..5, 8_u32..24];
    let bytes = |longest| prop::collection::vec(any::<u8>(), 1..=longest);
    let name = "x_[a-z_][a-z0-9_]{0,30}";
    prop_oneof![
        (
            every.clone(),
            every.clone(),
            any::<[u8; 4]>(),
            any::<[u8; 4]>()
        )
            .prop_map(|(from, to, mask, xor)| P::Bitwise {
                from,
                to,
                mask: mask.into(),
                xor: xor.into()
            }),
        (
            wide.clone(),
            wide.clone(),
            any::<[u8; 16]>(),
            any::<[u8; 16]>()
        )
            .prop_map(|(from, to, mask, xor)| P::Bitwise {
                from,
                to,
                mask: mask.into(),
                xor: xor.into()
            }),
        (every.clone(), every.clone(), 1_u32..3, 0_u32..32)
            .prop_map(|(from, to, op, by)| { P::Shift { from, to, op, by } }),
        (
            wide.clone(),
            wide.clone(),
            wide.clone(),
            1_u32..=16,
            3_u32..6
        )
            .prop_map(|(from, second, to, length, op)| P::BitwiseOfTwo {
                from,
                second,
                to,
                // Whole slots, so that comparisons behind it fit.
                length: length.next_multiple_of(4),
                op
            }),
        (every.clone(), op.clone(), bytes(4)).prop_map(|(from, op, data)| P::Cmp {
            from,
            op,
            data
        }),
        (wide.clone(), op, bytes(16)).prop_map(|(from, op, data)| P::Cmp { from, op, data }),
        (wide.clone(), any::<[u8; 16]>()).prop_map(|(to, data)| P::Value {
            to,
            data: data.into()
        }),
        (
            prop_oneof![
                0_u32..2,
                (1_u32..6).prop_map(u32::wrapping_neg),
                any::<u32>()
            ],
            name
        )
            .prop_map(|(code, chain)| P::Verdict { code, chain }),
        (
            name,
            every.clone(),
            prop::option::of(wide.clone()),
            any::<bool>()
        )
            .prop_map(|(set, key, to, inverted)| P::Lookup {
                set,
                key,
                to,
                inverted
            }),
        // All that write whole slots.
        (
            wide.clone(),
            prop_oneof![Just(2_u32), Just(3), 4_u32..8, 10_u32..12]
        )
            .prop_map(|(to, key)| P::Meta { to, key }),
        (every, prop_oneof![2_u32..4, Just(12_u32), Just(19)])
            .prop_map(|(from, key)| P::MetaSet { from, key }),
        (wide.clone(), any::<u32>(), any::<u32>(), 1_u32..=4).prop_map(
            |(to, base, offset, slots)| P::Payload {
                to,
                base,
                offset,
                length: slots * 4
            }
        ),
        (
            wide,
            any::<u32>(),
            any::<u32>(),
            1_u32..=16,
            0_u32..4,
            0_u32..40,
            any::<bool>()
        )
            .prop_map(
                |(from, base, offset, length, checksum, checksum_offset, pseudo)| P::PayloadSet {
                    from,
                    base,
                    offset,
                    length,
                    checksum,
                    checksum_offset,
                    pseudo,
                }
            ),
    ]
}

/// Of the two numbers of a register, the one that the kernel lists.
fn canonical(register: u32) -> theirs::Register {
    match register {
        8 | 12 | 16 | 20 => (register / 4 - 1).into(),
        other => other.into(),
    }
}

/// `NFT_JUMP` and `NFT_GOTO`, the verdicts that have a chain.
fn leads_on(code: u32) -> bool {
    [-3_i32, -4].map(i32::cast_unsigned).contains(&code)
}

fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap()
}
