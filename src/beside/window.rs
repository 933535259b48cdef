//! The ports that a rule can be about, found once for each rule: rules about
//! others are passed over without a look at the rest of them.

use super::ports::Ports;
use super::probe::Truth;
use super::xt;
use crate::nft::expr::{CmpOp, Expr, PayloadBase, RangeOp};
use crate::nft::{Data, Register, Rule};

/// The only destination ports that a rule's conditions let through, perhaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Window {
    low: u16,
    high: u16,
}

impl Window {
    pub(super) const ALL: Self = Self {
        low: 0,
        high: u16::MAX,
    };

    /// Of a rule of `nf_tables`.
    pub(super) fn of(rule: &Rule) -> Self {
        let mut window = Self::ALL;
        let mut holds_port = None;
        for expression in rule.expressions() {
            match expression {
                Expr::Payload(it) => {
                    let place = (*it.base(), *it.offset(), *it.length());
                    let is_port = place == (PayloadBase::TRANSPORT, 2, 2);
                    holds_port = is_port.then_some(*it.to());
                }
                Expr::Cmp(it) if holds_port == Some(*it.from()) && *it.op() == CmpOp::EQ => {
                    window = window.narrowed(port(it.data()).map(|port| (port, port)));
                }
                Expr::Range(it) if holds_port == Some(*it.from()) && *it.op() == RangeOp::EQ => {
                    window = window.narrowed(port(it.low()).zip(port(it.high())));
                }
                Expr::XtMatch(it) => {
                    let ports = xt::ports_of(it.extension(), *it.revision(), it.info());
                    window = window.narrowed(ports);
                }
                Expr::Cmp(_) | Expr::Range(_) | Expr::Counter(_) => {}
                // It may write registers.
                _ => holds_port = None::<Register>,
            }
        }
        window
    }

    /// With the bounds of one more condition.
    pub(super) fn narrowed(self, bounds: Option<(u16, u16)>) -> Self {
        let (low, high) = bounds.unwrap_or((0, u16::MAX));
        Self {
            low: self.low.max(low),
            high: self.high.min(high),
        }
    }

    /// Whether the rule is certain not to be about these ports.
    pub(super) fn excludes(self, ports: Option<Ports>) -> bool {
        ports.is_some_and(|ports| ports.within(self.low, self.high) == Truth::No)
    }
}

fn port(data: &Data) -> Option<u16> {
    Some(u16::from_be_bytes(*data.as_bytes().first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nft::{Chain, Family, Name, Port, Table, ip, tcp};

    #[test]
    fn conditions_on_the_port_narrow_the_window() {
        let table = Table::new(Family::IP, Name::constant("t"));
        let rule = || Rule::new(&Chain::new(&table, Name::constant("c")));
        let window = |low, high| Window { low, high };
        let port = tcp::dport().equal(Port(80));
        assert_eq!(Window::of(&rule().matching(port)), window(80, 80));
        let ports = tcp::dport().between(Port(80), Port(90));
        let from = ip::saddr().within("10.0.0.0/8".parse().unwrap());
        assert_eq!(
            Window::of(&rule().matching(ports).matching(from)),
            window(80, 90)
        );
        for other in [
            tcp::sport().equal(Port(80)),
            tcp::dport().not_equal(Port(80)),
            tcp::dport().one_of([Port(80)]),
        ] {
            assert_eq!(Window::of(&rule().matching(other)), Window::ALL);
        }
        let excludes = |low, high| window(80, 90).excludes(Some(Ports::new(low, high)));
        assert!(excludes(91, 91) && excludes(91, 99) && excludes(0, 79));
        assert!(!excludes(80, 80) && !excludes(0, 80) && !window(80, 90).excludes(None));
    }
}
