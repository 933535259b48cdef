//! The short forms of rules: they load fields into registers, write out what
//! the packet must be, and check types.

mod act;
mod load;
mod needs;

use std::net::IpAddr;

use crate::error::Invalid;
use crate::wire::uapi::nf_tables_expr::{NFT_CONNLIMIT_F_INV, NFT_REJECT_ICMPX_PORT_UNREACH};

use super::expr::{
    Connlimit, Counter, Dynset, DynsetOp, Expr, Immediate, Masquerade, MetaKey, Nat, NatType,
    Reject, RejectType,
};
use super::field::{Field, Match, Needs};
use super::{Data, DataType, Family, KeyType, Name, Port, Register, Rule, Set, Verdict};

impl Rule {
    /// Goes on only if `condition` holds.
    pub fn matching(mut self, condition: Match) -> Self {
        match condition.test {
            Ok(test) => self.test(condition.field, test),
            Err(invalid) => self.refuse(invalid),
        }
        self
    }

    /// Goes on only if the fields are in `set`.
    pub fn lookup(mut self, fields: &[Field], set: &Set) -> Self {
        self.look_up(fields, set, None, false);
        self
    }

    /// Goes on only if the fields are not in `set`.
    pub fn lookup_not(mut self, fields: &[Field], set: &Set) -> Self {
        self.look_up(fields, set, None, true);
        self
    }

    /// Does what the verdict map holds for the fields, and goes on if they
    /// are not in it.
    pub fn vmap(mut self, fields: &[Field], map: &Set) -> Self {
        match map.data() {
            Some(data) if data.is_verdict() => {
                self.look_up(fields, map, Some(Register::VERDICT), false);
            }
            _ => self.refuse(Invalid::new("verdict map", map.name(), "holds no verdicts")),
        }
        self
    }

    /// Translates the destination to what `map` holds for the fields: an
    /// address, or an address and a port.
    pub fn dnat_from(self, fields: &[Field], map: &Set) -> Self {
        self.nat_from(NatType::DNAT, fields, map)
    }

    /// Translates the source to what `map` holds for the fields: an address,
    /// or an address and a port.
    pub fn snat_from(self, fields: &[Field], map: &Set) -> Self {
        self.nat_from(NatType::SNAT, fields, map)
    }

    /// Translates the destination.
    pub fn dnat(self, address: IpAddr, port: Option<Port>) -> Self {
        self.nat(NatType::DNAT, address, port)
    }

    /// Translates the source.
    pub fn snat(self, address: IpAddr, port: Option<Port>) -> Self {
        self.nat(NatType::SNAT, address, port)
    }

    /// Translates the source to the address of the outgoing interface.
    pub fn masquerade(self) -> Self {
        self.expression(Masquerade::new())
    }

    /// Writes an address of the IP header: what `map` holds for the fields.
    /// Checksums are corrected, connections are not told.
    pub fn set_from(mut self, target: Field, fields: &[Field], map: &Set) -> Self {
        self.require(target.needs);
        if map.data() != Some(target.kind.into()) {
            return self.refused(Invalid::new(
                "map",
                map.name(),
                "holds no values of the field's type",
            ));
        }
        self.look_up(fields, map, Some(Register::FIRST), false);
        self.store(target);
        self
    }

    /// Writes a field: an address of the IP header, or the packet's or the
    /// connection's mark.
    pub fn set(mut self, target: Field, value: impl Into<Data>) -> Self {
        let value = value.into();
        if !value.is(target.kind.into()) {
            return self.refused(Invalid::new("value", value, "is not of the field's type"));
        }
        self.require(target.needs);
        self.push(Immediate::new(Register::FIRST, value.into()));
        self.store(target);
        self
    }

    /// Adds the fields to `set`, an element that carries `expressions`; goes
    /// on if that worked and they hold.
    pub fn add_to(mut self, fields: &[Field], set: &Set, expressions: Vec<Expr>) -> Self {
        self.load_key(fields, set);
        let dynset = Dynset::new(set.name().clone(), DynsetOp::ADD, Register::FIRST);
        let mut expressions = expressions;
        let dynset = match (expressions.pop(), expressions.is_empty()) {
            (None, _) => dynset,
            (Some(one), true) => dynset.with_expression(Box::new(one)),
            (Some(last), false) => {
                expressions.push(last);
                dynset
                    .with_flags(crate::wire::uapi::nf_tables_expr::NFT_DYNSET_F_EXPR)
                    .with_expressions(expressions)
            }
        };
        self.push(dynset);
        self
    }

    /// Adds the fields to `set` and goes on only if more than `count`
    /// connections have them.
    pub fn add_to_over(self, fields: &[Field], set: &Set, count: u32) -> Self {
        self.add_to(
            fields,
            set,
            vec![Connlimit::new(count).with_flags(NFT_CONNLIMIT_F_INV).into()],
        )
    }

    /// Counts packets and bytes.
    pub fn counter(self) -> Self {
        self.expression(Counter::new())
    }

    /// Lets the packet leave this base chain.
    pub fn accept(self) -> Self {
        self.verdict(Verdict::Accept)
    }

    /// Ends the packet.
    pub fn drop(self) -> Self {
        self.verdict(Verdict::Drop)
    }

    /// Goes back to where this chain was jumped to from.
    pub fn return_(self) -> Self {
        self.verdict(Verdict::Return)
    }

    /// Runs `chain`, then the next rule.
    pub fn jump(self, chain: Name) -> Self {
        self.verdict(Verdict::Jump(chain))
    }

    /// Runs `chain`, then what this chain would have returned to.
    pub fn goto(self, chain: Name) -> Self {
        self.verdict(Verdict::Goto(chain))
    }

    /// Does what `verdict` says.
    pub fn verdict(self, verdict: Verdict) -> Self {
        self.expression(Immediate::new(Register::VERDICT, verdict.into()))
    }

    /// Refuses the packet: its sender is told that the port is unreachable.
    pub fn reject(self) -> Self {
        let network = self
            .known(MetaKey::NFPROTO)
            .and_then(|bytes| bytes.first().copied())
            .map(Family::from_raw);
        let reject = match network.unwrap_or(self.family) {
            Family::IP => Reject::new(RejectType::ICMP).with_code(ICMP_PORT_UNREACHABLE),
            Family::IP6 => Reject::new(RejectType::ICMP).with_code(ICMPV6_PORT_UNREACHABLE),
            _ => Reject::new(RejectType::ICMPX).with_code(NFT_REJECT_ICMPX_PORT_UNREACH),
        };
        self.expression(reject)
    }

    fn nat_from(mut self, kind: NatType, fields: &[Field], map: &Set) -> Self {
        let data: Vec<DataType> = map.data().into_iter().flat_map(KeyType::fields).collect();
        let ranges = map.has_interval_data();
        let (family, port) = match data.as_slice() {
            [kind] if ranges && kind.id() == DataType::IPV4_ADDR.id() => (Family::IP, None),
            [kind] if ranges && kind.id() == DataType::IPV6_ADDR.id() => (Family::IP6, None),
            [DataType::IPV4_ADDR] => (Family::IP, None),
            [DataType::IPV6_ADDR] => (Family::IP6, None),
            [DataType::IPV4_ADDR, DataType::INET_SERVICE] => (Family::IP, Register::slot(1)),
            [DataType::IPV6_ADDR, DataType::INET_SERVICE] => (Family::IP6, Register::slot(4)),
            _ => {
                return self.refused(Invalid::new(
                    "map",
                    map.name(),
                    "holds no addresses and ports",
                ));
            }
        };
        self.translates(family);
        self.look_up(fields, map, Some(Register::FIRST), false);
        let mut nat = Nat::new(kind, family).with_address(Register::FIRST);
        let behind = if family == Family::IP { 1 } else { 4 };
        if let Some(max) = Register::slot(behind).filter(|_| ranges) {
            nat = nat.with_address_max(max);
        }
        self.push(match port {
            Some(port) => nat.with_port(port),
            None => nat,
        });
        self
    }

    fn nat(mut self, kind: NatType, address: IpAddr, port: Option<Port>) -> Self {
        let (family, behind) = match address {
            IpAddr::V4(_) => (Family::IP, Register::slot(1)),
            IpAddr::V6(_) => (Family::IP6, Register::slot(4)),
        };
        self.translates(family);
        self.push(Immediate::new(Register::FIRST, Data::from(address).into()));
        let mut nat = Nat::new(kind, family).with_address(Register::FIRST);
        if let (Some(port), Some(behind)) = (port, behind) {
            self.push(Immediate::new(behind, port.into()));
            nat = nat.with_port(behind);
        }
        self.push(nat);
        self
    }

    /// In a table of both families the kernel itself passes over the packets
    /// of the other; a table of one has no others.
    fn translates(&mut self, family: Family) {
        if self.family != Family::INET {
            self.require(Needs::Network(family));
        }
    }

    fn push(&mut self, expression: impl Into<Expr>) {
        self.expressions.push(expression.into());
    }

    /// Keeps the first thing that is wrong.
    fn refuse(&mut self, invalid: Invalid) {
        self.invalid.get_or_insert(invalid);
    }

    fn refused(mut self, invalid: Invalid) -> Self {
        self.refuse(invalid);
        self
    }
}

/// `ICMP_PORT_UNREACH` of `linux/icmp.h`, `ICMPV6_PORT_UNREACH` of
/// `linux/icmpv6.h`.
const ICMP_PORT_UNREACHABLE: u8 = 3;
const ICMPV6_PORT_UNREACHABLE: u8 = 4;
