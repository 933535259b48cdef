//! What a rule of `nf_tables` does with a packet of which some things are
//! known.

use std::cmp::Ordering;
use std::iter;

use super::ports::Byte;
use super::probe::{Probe, Truth};
use super::registers::Registers;
use super::walk::Action;
use super::xt;
use crate::error::Error;
use crate::nft::expr::{
    Bitwise, BitwiseOp, Byteorder, Cmp, CmpOp, Ct, CtKey, Expr, Fib, FibResult, Lookup, Meta,
    MetaKey, NatType, Payload, PayloadBase, Range, RangeOp,
};
use crate::nft::{ObjectType, Register, Rule, Value, Verdict, ct, fib};
use crate::wire::uapi::nf_tables_expr::{NFT_LOOKUP_F_INV, NFTA_FIB_F_DADDR, NFTA_FIB_F_SADDR};

/// What a lookup finds: whether it does, and the map's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) truth: Truth,
    pub(super) value: Option<Value>,
}

impl Found {
    pub(super) const UNKNOWN: Self = Self::vague(Truth::Maybe);

    /// What it finds is not known.
    pub(super) const fn vague(truth: Truth) -> Self {
        Self { truth, value: None }
    }
}

/// Whether the packet meets the rule's conditions, and what follows.
/// `look_up` asks the rule's sets.
pub(super) fn weigh(
    rule: &Rule,
    probe: &Probe,
    mut look_up: impl FnMut(&Lookup, &Registers) -> Result<Found, Error>,
) -> Result<(Truth, Action), Error> {
    let mut registers = Registers::new();
    let mut truth = Truth::Yes;
    for expression in rule.expressions() {
        let holds = match expression {
            Expr::Lookup(lookup) => {
                let found = look_up(lookup, &registers)?;
                if let Some(to) = lookup.to() {
                    match (&found.value, *to == Register::VERDICT) {
                        (Some(Value::Verdict(verdict)), _) => {
                            return Ok((truth.and(found.truth), action_of(verdict)));
                        }
                        (None, true) => {
                            let at_most = found.truth.and(Truth::Maybe);
                            return Ok((truth.and(at_most), Action::Continue));
                        }
                        (Some(Value::Data(data)), _) => {
                            registers.store_known(*to, data.as_bytes());
                        }
                        (None, false) => registers.forget(*to, 16),
                    }
                }
                let inverted = lookup.flags() & NFT_LOOKUP_F_INV != 0;
                found.truth.inverted_if(inverted)
            }
            other => match step(other, probe, &mut registers) {
                Step::Holds(holds) => holds,
                Step::Ends(action) => return Ok((truth, action)),
            },
        };
        truth = truth.and(holds);
        if truth == Truth::No {
            break;
        }
    }
    Ok((truth, Action::Continue))
}

/// What one expression comes to.
enum Step {
    Holds(Truth),
    Ends(Action),
}

fn step(expression: &Expr, probe: &Probe, registers: &mut Registers) -> Step {
    Step::Holds(match expression {
        Expr::Meta(meta) => load_meta(meta, probe, registers),
        Expr::Payload(payload) => load_payload(payload, probe, registers),
        Expr::Ct(ct) => load_ct(ct, probe, registers),
        Expr::Fib(fib) => load_fib(fib, probe, registers),
        Expr::Cmp(cmp) => compare(cmp, registers),
        Expr::Range(range) => is_within(range, registers),
        Expr::Bitwise(bitwise) => combine(bitwise, registers),
        Expr::Byteorder(order) => turn(order, registers),
        Expr::Immediate(immediate) => match immediate.value() {
            Value::Verdict(verdict) => return Step::Ends(action_of(verdict)),
            Value::Data(data) => {
                registers.store_known(*immediate.to(), data.as_bytes());
                Truth::Yes
            }
        },
        Expr::Nat(nat) if *nat.kind() == NatType::DNAT => return Step::Ends(Action::Take),
        Expr::Redirect(_) | Expr::Tproxy(_) => return Step::Ends(Action::Take),
        Expr::Reject(_) => return Step::Ends(Action::Drop),
        // A program decides.
        Expr::Queue(_) => return Step::Ends(Action::Accept),
        Expr::XtMatch(it) => xt::holds(it.extension(), *it.revision(), it.info(), probe),
        Expr::XtTarget(it) => match xt::action(it.extension()) {
            Action::Continue => Truth::Yes,
            action => return Step::Ends(action),
        },
        Expr::Objref(it) if it.kind().copied() == Some(ObjectType::COUNTER.as_raw()) => Truth::Yes,
        Expr::Counter(_)
        | Expr::Log(_)
        | Expr::Last(_)
        | Expr::MetaSet(_)
        | Expr::CtSet(_)
        | Expr::PayloadSet(_)
        | Expr::ExthdrSet(_)
        | Expr::ExthdrReset(_)
        | Expr::Notrack
        | Expr::Dup(_)
        | Expr::FlowOffload(_)
        | Expr::Nat(_)
        | Expr::Masquerade(_) => Truth::Yes,
        // They depend on what is not known, and so does what they load.
        _ => {
            *registers = Registers::new();
            Truth::Maybe
        }
    })
}

pub(super) fn action_of(verdict: &Verdict) -> Action {
    match verdict {
        Verdict::Accept => Action::Accept,
        Verdict::Drop => Action::Drop,
        Verdict::Return => Action::Return,
        Verdict::Jump(chain) => Action::Jump(chain.as_str().into()),
        Verdict::Goto(chain) => Action::Goto(chain.as_str().into()),
        _ => Action::Continue,
    }
}

fn load_meta(meta: &Meta, probe: &Probe, registers: &mut Registers) -> Truth {
    let to = *meta.to();
    let number = |number: Option<u32>| number.map(|number| number.to_ne_bytes().to_vec());
    let (known, length) = match *meta.key() {
        MetaKey::IIFNAME => (probe.incoming.name().map(Vec::from), 16),
        MetaKey::OIFNAME => (probe.outgoing.name().map(Vec::from), 16),
        MetaKey::IIF => (number(probe.incoming.index()), 4),
        MetaKey::OIF => (number(probe.outgoing.index()), 4),
        MetaKey::L4PROTO => (probe.protocol.map(|number| vec![number]), 1),
        MetaKey::NFPROTO => (Some(vec![if probe.ipv4 { 2 } else { 10 }]), 1),
        MetaKey::PROTOCOL => {
            let kind: u16 = if probe.ipv4 { 0x0800 } else { 0x86dd };
            (Some(kind.to_be_bytes().to_vec()), 2)
        }
        _ => (None, 16),
    };
    match known {
        Some(bytes) => registers.store_known(to, &bytes),
        None => registers.forget(to, length),
    }
    Truth::Yes
}

fn load_payload(payload: &Payload, probe: &Probe, registers: &mut Registers) -> Truth {
    let offset = usize::try_from(*payload.offset()).unwrap_or(usize::MAX);
    let length = usize::try_from(*payload.length())
        .unwrap_or_default()
        .min(64);
    let base = *payload.base();
    let bytes = (0..length).map(|place| {
        let place = offset.saturating_add(place);
        match base {
            PayloadBase::NETWORK => probe.network(place).map(Byte::of),
            PayloadBase::TRANSPORT => probe.transport(place),
            _ => None,
        }
    });
    registers.store(*payload.to(), bytes);
    Truth::Yes
}

fn load_ct(ct: &Ct, probe: &Probe, registers: &mut Registers) -> Truth {
    let to = *ct.to();
    match *ct.key() {
        CtKey::STATE => registers.store_known(to, &probe.state.bits().to_ne_bytes()),
        CtKey::STATUS => {
            // Only this bit of it is known.
            let known = ct::Status::DNAT.bits().to_ne_bytes();
            let of_translated = if probe.translated { u8::MAX } else { 0 };
            let bytes = known.map(|bits| (bits != 0).then_some(Byte::of(bits & of_translated)));
            registers.store(to, bytes);
        }
        CtKey::DIRECTION => registers.store_known(to, &[u8::from(probe.state != ct::State::NEW)]),
        _ => registers.forget(to, 16),
    }
    Truth::Yes
}

fn load_fib(fib: &Fib, probe: &Probe, registers: &mut Registers) -> Truth {
    let to = *fib.to();
    let of_destination = fib.flags() & (NFTA_FIB_F_DADDR | NFTA_FIB_F_SADDR) == NFTA_FIB_F_DADDR;
    if *fib.result() == FibResult::ADDRTYPE && of_destination {
        let kind = if probe.local {
            fib::AddrType::LOCAL
        } else {
            fib::AddrType::UNICAST
        };
        registers.store_known(to, &kind.as_raw().to_ne_bytes());
    } else {
        registers.forget(to, 16);
    }
    Truth::Yes
}

fn compare(cmp: &Cmp, registers: &Registers) -> Truth {
    let (from, data) = (*cmp.from(), cmp.data().as_bytes());
    let order = |holds: fn(Ordering) -> bool| registers.order(from, data, holds);
    match *cmp.op() {
        CmpOp::EQ => registers.is(from, data),
        CmpOp::NEQ => registers.is(from, data).inverted_if(true),
        CmpOp::LT => order(Ordering::is_lt),
        CmpOp::LTE => order(Ordering::is_le),
        CmpOp::GT => order(Ordering::is_gt),
        CmpOp::GTE => order(Ordering::is_ge),
        _ => Truth::Maybe,
    }
}

fn is_within(range: &Range, registers: &Registers) -> Truth {
    let from = *range.from();
    let low = registers.order(from, range.low().as_bytes(), Ordering::is_ge);
    let high = registers.order(from, range.high().as_bytes(), Ordering::is_le);
    low.and(high).inverted_if(*range.op() == RangeOp::NEQ)
}

fn combine(bitwise: &Bitwise, registers: &mut Registers) -> Truth {
    let length = usize::try_from(*bitwise.length()).unwrap_or_default();
    let (mask, xor) = (bitwise.mask(), bitwise.xor());
    let bytes: Vec<Option<Byte>> = match (*bitwise.op(), mask, xor) {
        (BitwiseOp::MASK_XOR, Some(mask), Some(xor)) => {
            let bits = mask.as_bytes().iter().zip(xor.as_bytes());
            let from = registers.load(*bitwise.from(), length);
            from.iter()
                .zip(bits)
                .map(|(byte, (mask, xor))| match byte {
                    _ if *mask == 0 => Some(Byte::of(*xor)),
                    byte => byte.map(|byte| byte.masked(*mask, *xor)),
                })
                .collect()
        }
        _ => iter::repeat_n(None, length).collect(),
    };
    registers.store(*bitwise.to(), bytes);
    Truth::Yes
}

fn turn(order: &Byteorder, registers: &mut Registers) -> Truth {
    let length = usize::try_from(*order.length()).unwrap_or_default();
    let size = usize::try_from(*order.size()).unwrap_or_default().max(1);
    let mut bytes = registers.load(*order.from(), length).to_vec();
    if cfg!(target_endian = "little") {
        bytes.chunks_mut(size).for_each(<[Option<Byte>]>::reverse);
    }
    registers.store(*order.to(), bytes);
    Truth::Yes
}
