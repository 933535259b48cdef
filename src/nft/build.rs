//! The short forms of rules: they load fields into registers, write out what
//! the packet must be, and check types.

mod act;

use std::net::IpAddr;

use crate::error::Invalid;
use crate::wire::uapi::nf_tables_expr::{
    NFT_CONNLIMIT_F_INV, NFT_LOOKUP_F_INV, NFT_PAYLOAD_L4CSUM_PSEUDOHDR,
    NFT_REJECT_ICMPX_PORT_UNREACH,
};

use super::data_type::padded;
use super::expr::{
    Bitwise, ChecksumType, Cmp, CmpOp, Connlimit, Counter, Ct, CtKey, CtSet, Dynset, DynsetOp,
    Expr, Fib, Hash, Immediate, Lookup, Masquerade, Meta, MetaKey, MetaSet, Nat, NatType, Numgen,
    Payload, PayloadBase, PayloadSet, Range, RangeOp, Reject, RejectType,
};
use super::field::{Field, Load, Match, Needs, Test};
use super::rule::List;
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

    fn test(&mut self, field: Field, test: Test) {
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

    fn look_up(&mut self, fields: &[Field], set: &Set, to: Option<Register>, inverted: bool) {
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
    fn load_key(&mut self, fields: &[Field], set: &Set) {
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
    fn store(&mut self, target: Field) {
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

    /// Compares what the packet must be for a field to be there, unless the
    /// rule has done so.
    fn require(&mut self, needs: Needs) {
        let (key, wanted) = match needs {
            Needs::Nothing => return,
            Needs::Ethernet if self.family == Family::BRIDGE || self.family == Family::NETDEV => {
                return;
            }
            Needs::Ethernet => (
                MetaKey::IIFTYPE,
                Data::typed(DataType::IFACE_TYPE, &ARPHRD_ETHER.to_ne_bytes()),
            ),
            Needs::Network(family) if family == self.family => return,
            Needs::Network(family) if self.family == Family::INET => {
                (MetaKey::NFPROTO, Some(Data::from(family)))
            }
            Needs::Network(family)
                if self.family == Family::BRIDGE || self.family == Family::NETDEV =>
            {
                let frame = if family == Family::IP {
                    ETH_P_IP
                } else {
                    ETH_P_IPV6
                };
                (
                    MetaKey::PROTOCOL,
                    Data::typed(DataType::ETHER_TYPE, &frame.to_be_bytes()),
                )
            }
            Needs::Network(family) => {
                return self.refuse(Invalid::new(
                    "field of",
                    family,
                    "is not in packets of the table's family",
                ));
            }
            Needs::Transport(protocol) => (MetaKey::L4PROTO, Some(Data::from(protocol))),
        };
        let Some(wanted) = wanted else { return };
        match self.known(key) {
            Some(known) if known == wanted.as_bytes() => {}
            Some(_) => self.refuse(Invalid::new(
                "rule",
                self.chain().clone(),
                "asks for two protocols at once",
            )),
            None => {
                self.push(Meta::new(Register::FIRST, key));
                self.push(Cmp::new(Register::FIRST, CmpOp::EQ, wanted));
            }
        }
    }

    /// What the rule has compared `key` with so far.
    fn known(&self, key: MetaKey) -> Option<&[u8]> {
        self.expressions.windows(2).find_map(|pair| match pair {
            [Expr::Meta(meta), Expr::Cmp(cmp)]
                if *meta.key() == key && meta.to() == cmp.from() && *cmp.op() == CmpOp::EQ =>
            {
                Some(cmp.data().as_bytes())
            }
            _ => None,
        })
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

/// `ARPHRD_ETHER` of `linux/if_arp.h`.
const ARPHRD_ETHER: u16 = 1;

/// `ETH_P_IP` and `ETH_P_IPV6` of `linux/if_ether.h`.
const ETH_P_IP: u16 = 0x0800;
const ETH_P_IPV6: u16 = 0x86dd;

/// `ICMP_PORT_UNREACH` of `linux/icmp.h`, `ICMPV6_PORT_UNREACH` of
/// `linux/icmpv6.h`.
const ICMP_PORT_UNREACHABLE: u8 = 3;
const ICMPV6_PORT_UNREACHABLE: u8 = 4;

/// Where the checksum lies in an IPv4 header.
const IP_CHECKSUM_OFFSET: u32 = 10;
