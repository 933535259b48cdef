//! What lies in the registers while a rule runs.
//!
//! The kernel refuses a rule that reads what the rule has not written (since
//! Linux 6.9; before, it read what another rule had left), but does not say
//! which register. Here it is found before anything is sent.

mod widths;

use crate::error::Invalid;

use self::widths::{PORT, address, ct, ct_set, fib, meta, rt, socket, tunnel, width, xfrm};
use super::expr::{Ct, Expr, Fib, Meta, Rt, Socket, Tunnel, Xfrm};
use super::{Family, Register, Value};

/// Whether the rule reads only what it has written.
///
/// # Errors
/// The first expression that does not.
pub(super) fn check(family: Family, expressions: &[Expr]) -> Result<(), Invalid> {
    let mut registers = Registers::default();
    for (index, expression) in expressions.iter().enumerate() {
        registers.run(family, expression).map_err(|why| {
            let place = format_args!("{index} ({})", expression.name()).to_string();
            Invalid::new("expression", place, why)
        })?;
    }
    Ok(())
}

/// How many bytes have been written to each slot of 4.
#[derive(Debug, Default)]
struct Registers([u32; SLOTS]);

/// Bytes that an expression reads or writes, as far as it alone says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Width {
    /// So many; what was loaded in fewer has zeros behind it.
    Padded(u32),
    /// So many, and no padding: a comparison with zeros that nobody meant.
    Exact(u32),
    /// Only the set knows, or a newer kernel.
    Open,
}

use Width::{Exact, Open, Padded};

type Checked = Result<(), &'static str>;

impl Registers {
    fn run(&mut self, family: Family, expression: &Expr) -> Checked {
        self.reads(family, expression)?;
        self.writes(family, expression)
    }

    fn reads(&self, family: Family, expression: &Expr) -> Checked {
        match expression {
            Expr::PayloadSet(set) => self.read(*set.from(), Padded(*set.length())),
            Expr::MetaSet(set) => self.read(*set.from(), meta(*set.key())),
            Expr::CtSet(set) => self.read(*set.from(), ct_set(set)),
            Expr::ExthdrSet(set) => self.read(*set.from(), Padded(*set.length())),
            Expr::Cmp(cmp) => self.read(*cmp.from(), Exact(width(cmp.data().as_bytes()))),
            Expr::Range(range) => self.read(*range.from(), Exact(width(range.low().as_bytes()))),
            Expr::Bitwise(bitwise) => {
                self.read(*bitwise.from(), Padded(*bitwise.length()))?;
                self.read_some(bitwise.second(), Padded(*bitwise.length()))
            }
            Expr::Byteorder(turn) => self.read(*turn.from(), Padded(*turn.length())),
            Expr::Hash(hash) => {
                self.read_some(hash.from(), hash.length().map_or(Open, |all| Padded(*all)))
            }
            Expr::Lookup(lookup) => self.read(*lookup.key(), Open),
            Expr::Dynset(dynset) => {
                self.read(*dynset.key(), Open)?;
                self.read_some(dynset.data(), Open)
            }
            Expr::Objref(objref) => self.read_some(objref.key(), Open),
            Expr::Nat(nat) => {
                self.read_some(nat.address(), address(*nat.family()))?;
                self.read_some(nat.address_max(), address(*nat.family()))?;
                self.read_some(nat.port(), PORT)?;
                self.read_some(nat.port_max(), PORT)
            }
            Expr::Masquerade(masquerade) => {
                self.read_some(masquerade.port(), PORT)?;
                self.read_some(masquerade.port_max(), PORT)
            }
            Expr::Redirect(redirect) => {
                self.read_some(redirect.port(), PORT)?;
                self.read_some(redirect.port_max(), PORT)
            }
            Expr::Queue(queue) => self.read_some(queue.from(), PORT),
            Expr::Tproxy(tproxy) => {
                self.read_some(tproxy.address(), address(*tproxy.family()))?;
                self.read_some(tproxy.port(), PORT)
            }
            Expr::Dup(dup) => {
                self.read_some(dup.address(), address(family))?;
                self.read_some(dup.device(), Padded(4))
            }
            Expr::Fwd(fwd) => {
                self.read(*fwd.device(), Padded(4))?;
                let family = fwd.family().copied().unwrap_or(Family::UNSPEC);
                self.read_some(fwd.address(), address(family))
            }
            _ => Ok(()),
        }
    }

    fn writes(&mut self, family: Family, expression: &Expr) -> Checked {
        match expression {
            Expr::Payload(load) => self.write(*load.to(), Padded(*load.length())),
            Expr::Meta(load) => self.write(*Meta::to(load), meta(*load.key())),
            Expr::Ct(load) => self.write(*Ct::to(load), ct(*load.key(), family)),
            Expr::Fib(load) => self.write(*Fib::to(load), fib(*load.result())),
            Expr::Numgen(number) => self.write(*number.to(), Padded(4)),
            Expr::Hash(hash) => self.write(*hash.to(), Padded(4)),
            Expr::Exthdr(load) => self.write(*load.to(), Padded(*load.length())),
            Expr::Rt(load) => self.write(*Rt::to(load), rt(*load.key())),
            Expr::Socket(load) => self.write(*Socket::to(load), socket(*load.key())),
            Expr::Osf(load) => self.write(*load.to(), Padded(16)),
            Expr::Xfrm(load) => self.write(*Xfrm::to(load), xfrm(*load.key())),
            Expr::Tunnel(load) => self.write(*Tunnel::to(load), tunnel(*load.key())),
            Expr::Inner(inner) => match inner.expression().as_ref() {
                // It cannot hold another of its kind.
                Expr::Inner(_) => Ok(()),
                loads => self.writes(family, loads),
            },
            Expr::Bitwise(bitwise) => self.write(*bitwise.to(), Padded(*bitwise.length())),
            Expr::Byteorder(turn) => self.write(*turn.to(), Padded(*turn.length())),
            Expr::Immediate(immediate) => match immediate.value() {
                Value::Data(data) => self.write(*immediate.to(), Padded(width(data.as_bytes()))),
                Value::Verdict(_) if *immediate.to() == Register::VERDICT => Ok(()),
                Value::Verdict(_) => Err("writes a verdict where a value belongs"),
            },
            Expr::Lookup(lookup) => match lookup.to() {
                None => Ok(()),
                Some(to) if *to == Register::VERDICT => Ok(()),
                Some(to) => self.write(*to, Open),
            },
            // Whatever it does, it may do to any of them.
            Expr::Unknown(_) => self.write(Register::FIRST, Open),
            _ => Ok(()),
        }
    }

    fn read_some(&self, register: Option<&Register>, width: Width) -> Checked {
        register.map_or(Ok(()), |register| self.read(*register, width))
    }

    fn read(&self, register: Register, width: Width) -> Checked {
        let first = slot(register)?;
        let (length, exact) = match width {
            Padded(length) => (length, false),
            Exact(length) => (length, true),
            Open => (1, false),
        };
        let mut rest = length;
        let mut slots = self.0.iter().skip(first);
        while rest > 0 {
            match slots.next() {
                None => return Err("reads behind the last register"),
                Some(0) => return Err("reads a register that was never written"),
                Some(&written) if exact && rest < 4 && written < rest => return Err(WIDER),
                Some(&written) if exact && rest == 4 && written < 4 => return Err(WIDER),
                Some(_) => rest = rest.saturating_sub(4),
            }
        }
        Ok(())
    }

    fn write(&mut self, register: Register, width: Width) -> Checked {
        let first = slot(register)?;
        let mut slots = self.0.iter_mut().skip(first);
        let (Padded(mut rest) | Exact(mut rest)) = width else {
            slots.for_each(|slot| *slot = 4);
            return Ok(());
        };
        while rest > 0 {
            let slot = slots.next().ok_or("writes behind the last register")?;
            *slot = rest.min(4);
            rest = rest.saturating_sub(4);
        }
        Ok(())
    }
}

fn slot(register: Register) -> Result<usize, &'static str> {
    register
        .first_slot()
        .and_then(|slot| usize::try_from(slot).ok())
        .ok_or("uses what is no register for values")
}

const WIDER: &str = "compares more bytes than were written";

const SLOTS: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nft::expr::{Cmp, CmpOp, Immediate, Lookup, Nat, NatType, Payload, PayloadBase};
    use crate::nft::{Batch, Chain, Data, Name, Rule, Table};

    const FIRST: Register = Register::FIRST;

    fn rule(expressions: Vec<Expr>) -> Rule {
        let table = Table::new(Family::INET, Name::constant("t"));
        let rule = Rule::new(&Chain::new(&table, Name::constant("c")));
        expressions.into_iter().fold(rule, Rule::expression)
    }

    fn load(slot: u32, length: u32) -> Expr {
        let to = Register::slot(slot).unwrap();
        Payload::new(to, PayloadBase::TRANSPORT, 2, length).into()
    }

    fn compare(slot: u32, length: usize) -> Expr {
        let data = Data::from_bytes(&[1; 64][..length]).unwrap();
        Cmp::new(Register::slot(slot).unwrap(), CmpOp::EQ, data).into()
    }

    fn fault(expressions: Vec<Expr>) -> String {
        rule(expressions).check().unwrap_err().to_string()
    }

    #[test]
    fn register_that_was_never_written_is_named() {
        let fault = fault(vec![load(0, 4), compare(0, 4), compare(1, 4)]);
        assert_eq!(
            fault,
            r#"expression "2 (cmp)" reads a register that was never written"#
        );
    }

    #[test]
    fn commit_refuses_before_anything_is_sent() {
        let error = Batch::new().add(&rule(vec![compare(0, 4)])).messages();
        assert!(matches!(error, Err(crate::Error::Invalid(_))), "{error:?}");
    }

    #[test]
    fn comparison_of_more_than_was_loaded_is_refused() {
        assert!(fault(vec![load(0, 2), compare(0, 4)]).contains(WIDER));
        assert!(fault(vec![load(0, 6), compare(0, 8)]).contains(WIDER));
        assert!(fault(vec![load(0, 1), compare(0, 2)]).contains(WIDER));
        let fits = rule(vec![
            load(0, 16),
            compare(0, 16),
            compare(0, 3),
            compare(3, 4),
        ]);
        assert_eq!(fits.check(), Ok(()));
    }

    #[test]
    fn values_end_with_the_last_register() {
        assert!(fault(vec![load(15, 5)]).contains("behind"));
        assert!(fault(vec![load(15, 4), compare(15, 8)]).contains("behind"));
        assert_eq!(rule(vec![load(15, 4), compare(15, 4)]).check(), Ok(()));
    }

    #[test]
    fn half_an_address_cannot_be_translated_to() {
        let nat = |family| Nat::new(NatType::DNAT, family).with_address(FIRST).into();
        let half = Immediate::new(FIRST, Data::from_bytes(&[10; 8]).unwrap().into());
        assert_eq!(
            rule(vec![half.clone().into(), nat(Family::IP)]).check(),
            Ok(())
        );
        assert!(fault(vec![half.into(), nat(Family::IP6)]).contains("1 (nat)"));
    }

    #[test]
    fn what_a_map_holds_may_be_of_any_width() {
        let map = Lookup::new(Name::constant("m"), FIRST);
        let found = map.clone().with_to(Register::slot(1).unwrap());
        let expressions = vec![load(0, 4), found.into(), compare(2, 16)];
        assert_eq!(rule(expressions).check(), Ok(()));
        assert!(fault(vec![map.into()]).contains("0 (lookup)"));
    }

    #[test]
    fn verdict_register_holds_no_value() {
        let data = Immediate::new(Register::VERDICT, Data::from_bytes(&[0; 4]).unwrap().into());
        assert!(fault(vec![data.into()]).contains("no register"));
    }
}
