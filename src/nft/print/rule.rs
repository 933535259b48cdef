//! A rule as statements: registers are followed from what loads them to what
//! uses them.

use super::elements;
use super::fields;
use super::headers::Header;
use super::kind::{Kind, id};
use super::loads;
use super::node::Node;
use super::protocols::{Dependency, Found, Protocols};
use super::scope::Scope;
use super::{compare, raw};
use crate::nft::expr::{Bitwise, BitwiseOp, CmpOp, Expr, HashType, RangeOp};
use crate::nft::{Data, KeyType, Name, Register, Rule, Value};

/// The statements of `expressions`, one behind the other.
pub(super) fn statements(expressions: &[Expr], scope: Scope<'_>) -> String {
    let mut reader = Reader::new(scope);
    let mut rest = expressions;
    while let Some((first, tail)) = rest.split_first() {
        let used = reader.step(first, tail);
        rest = tail.get(used..).unwrap_or_default();
    }
    reader.statements.retain(|statement| !statement.is_empty());
    reader.statements.join(" ")
}

/// A rule with its comment, on one line.
pub(super) fn line(rule: &Rule, scope: Scope<'_>) -> String {
    let mut text = statements(rule.expressions(), scope);
    if let Some(comment) = rule.current_comment() {
        if !text.is_empty() {
            text.push(' ');
        }
        push!(text, "comment \"{comment}\"");
    }
    text
}

/// What is known between two expressions.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    pub(super) scope: Scope<'a>,
    pub(super) protocols: Protocols,
    registers: Vec<Loaded>,
    statements: Vec<String>,
    /// Conditions that a later one may imply, and their places.
    pending: Vec<(usize, Dependency)>,
    /// The same of the packet inside of a tunnel's.
    inner_protocols: Protocols,
    inner_pending: Vec<(usize, Dependency)>,
}

/// What lies in registers from `slot` on.
#[derive(Debug)]
struct Loaded {
    slot: u32,
    slots: u32,
    /// How many statements there were when it was loaded.
    age: usize,
    node: Node,
}

impl<'a> Reader<'a> {
    fn new(scope: Scope<'a>) -> Self {
        Self {
            scope,
            protocols: Protocols::of(scope.family),
            registers: Vec::new(),
            statements: Vec::new(),
            pending: Vec::new(),
            inner_protocols: Protocols::default(),
            inner_pending: Vec::new(),
        }
    }

    /// Does `work` with what is known about the packet inside of a tunnel's,
    /// and names the tunnel in what it says.
    pub(super) fn inside<T>(
        &mut self,
        tunnel: &'static Header,
        work: impl FnOnce(&mut Self) -> Option<T>,
    ) -> Option<T> {
        if self.inner_protocols.tunnel() != Some(tunnel) {
            self.inner_protocols = Protocols::inside(tunnel);
            self.inner_pending.clear();
        }
        self.leave_out(|_, dependency| match dependency {
            Dependency::L4Proto(number) => tunnel.protocol == Some(number),
            _ => false,
        });
        let place = self.statements.len();
        self.exchange();
        let done = work(self);
        self.exchange();
        for statement in self.statements.iter_mut().skip(place) {
            *statement = named(tunnel, statement);
        }
        done
    }

    fn exchange(&mut self) {
        std::mem::swap(&mut self.protocols, &mut self.inner_protocols);
        std::mem::swap(&mut self.pending, &mut self.inner_pending);
    }

    /// Takes one expression, and as many of the `next` as it returns.
    fn step(&mut self, expression: &Expr, next: &[Expr]) -> usize {
        self.take(expression, next).unwrap_or_else(|| {
            // Where it leaves something is not known.
            self.registers.clear();
            self.act(raw::expression(expression));
            0
        })
    }

    fn take(&mut self, expression: &Expr, next: &[Expr]) -> Option<usize> {
        match expression {
            Expr::Cmp(cmp) => {
                let node = self.read(*cmp.from(), width(cmp.data()))?;
                if let (CmpOp::GTE, Some(Expr::Cmp(high))) = (*cmp.op(), next.first())
                    && *high.op() == CmpOp::LTE
                    && high.from() == cmp.from()
                {
                    compare::range(self, &node, false, cmp.data(), high.data())?;
                    return Some(1);
                }
                compare::compare(self, &node, *cmp.op(), cmp.data())?;
            }
            Expr::Range(range) => {
                let node = self.read(*range.from(), width(range.low()))?;
                let inverted = match *range.op() {
                    RangeOp::EQ => false,
                    RangeOp::NEQ => true,
                    _ => return None,
                };
                compare::range(self, &node, inverted, range.low(), range.high())?;
            }
            Expr::Bitwise(bitwise) => self.bitwise(bitwise)?,
            Expr::Byteorder(turn) => {
                let node = self.read(*turn.from(), *turn.length())?;
                let node = match node {
                    Node::Swapped(of) => *of,
                    other => other.within(Node::Swapped),
                };
                self.write(*turn.to(), *turn.length(), node);
            }
            Expr::Immediate(immediate) => match immediate.value() {
                Value::Verdict(verdict) => {
                    let text = self.scope.verdict(verdict);
                    self.act(text);
                }
                Value::Data(data) => {
                    self.write(*immediate.to(), width(data), Node::Constant(*data));
                }
            },
            Expr::Hash(hash) => {
                let mut tail = format!("mod {}", hash.modulus());
                if let Some(seed) = hash.seed() {
                    push!(tail, " seed {seed:#x}");
                }
                tail.push_str(&fields::offset(*hash.offset()));
                let node = match (*hash.kind(), hash.from(), hash.length()) {
                    (HashType::SYMMETRIC, _, _) => {
                        Node::Named(format!("symhash {tail}"), Kind::host(id::INTEGER, 32))
                    }
                    (HashType::JENKINS, Some(from), Some(length)) => Node::Hashed {
                        keys: self.read_all(*from, *length)?,
                        tail,
                    },
                    _ => return None,
                };
                self.write(*hash.to(), 4, node);
            }
            Expr::Lookup(lookup) => elements::lookup(self, lookup)?,
            other => match loads::load(other, self.scope.family) {
                Some((to, bytes, node)) => self.write(to, bytes, node),
                None => super::actions::act(self, other)?,
            },
        }
        Some(0)
    }

    fn bitwise(&mut self, bitwise: &Bitwise) -> Option<()> {
        let of = self.read(*bitwise.from(), *bitwise.length())?;
        let by = || -> Option<u32> {
            let bytes = bitwise.data()?.as_bytes().first_chunk::<4>()?;
            Some(u32::from_ne_bytes(*bytes))
        };
        let node = match *bitwise.op() {
            BitwiseOp::MASK_XOR => {
                let mask = bitwise.mask()?.as_bytes().to_vec();
                let xor = bitwise.xor()?.as_bytes().to_vec();
                of.within(|of| Node::Masked { of, mask, xor })
            }
            op @ (BitwiseOp::LSHIFT | BitwiseOp::RSHIFT) => {
                let (left, by) = (op == BitwiseOp::LSHIFT, by()?);
                of.within(|of| Node::Shifted { of, left, by })
            }
            op @ (BitwiseOp::AND | BitwiseOp::OR | BitwiseOp::XOR) => Node::Joined {
                left: Box::new(of),
                operator: match op {
                    BitwiseOp::AND => "&",
                    BitwiseOp::OR => "|",
                    _ => "^",
                },
                right: Box::new(self.read(*bitwise.second()?, *bitwise.length())?),
            },
            _ => return None,
        };
        self.write(*bitwise.to(), *bitwise.length(), node);
        Some(())
    }

    fn write(&mut self, to: Register, bytes: u32, node: Node) {
        let Some(slot) = to.first_slot() else { return };
        let slots = bytes.div_ceil(4);
        let end = slot.saturating_add(slots);
        self.registers
            .retain(|old| old.slot.saturating_add(old.slots) <= slot || old.slot >= end);
        let age = self.statements.len();
        self.registers.push(Loaded {
            slot,
            slots,
            age,
            node,
        });
    }

    /// What lies at the start of `from`.
    pub(super) fn read(&self, from: Register, bytes: u32) -> Option<Node> {
        let slot = from.first_slot()?;
        let loaded = self.registers.iter().find(|loaded| loaded.slot == slot)?;
        (loaded.slots >= bytes.div_ceil(4)).then(|| loaded.node.clone())
    }

    /// The node at `from`, and whether it reaches over `other`.
    pub(super) fn read_with(&self, from: Register, other: Register) -> Option<(Node, bool)> {
        let slot = from.first_slot()?;
        let loaded = self.registers.iter().find(|loaded| loaded.slot == slot)?;
        let place = other.first_slot()?;
        let within = place > slot && place < slot.saturating_add(loaded.slots);
        Some((loaded.node.clone(), within))
    }

    /// What lies in `bytes` from `from` on, one behind the other.
    pub(super) fn read_all(&self, from: Register, bytes: u32) -> Option<Vec<Node>> {
        let mut slot = from.first_slot()?;
        let end = slot.checked_add(bytes.div_ceil(4))?;
        let mut nodes = Vec::new();
        while slot < end {
            let loaded = self.registers.iter().find(|loaded| loaded.slot == slot)?;
            if loaded.slots == 0 {
                return None;
            }
            slot = slot.checked_add(loaded.slots)?;
            nodes.push(loaded.node.clone());
        }
        (slot == end && !nodes.is_empty()).then_some(nodes)
    }

    /// What lies one behind the other from `from` on and was loaded since the
    /// last statement: the key of a set that is not known.
    pub(super) fn read_fresh(&self, from: Register) -> Option<Vec<Node>> {
        let mut slot = from.first_slot()?;
        let mut nodes = Vec::new();
        while let Some(loaded) = self
            .registers
            .iter()
            .find(|loaded| loaded.slot == slot && loaded.age == self.statements.len())
        {
            slot = slot.checked_add(loaded.slots.max(1))?;
            nodes.push(loaded.node.clone());
        }
        Some(nodes).filter(|nodes| !nodes.is_empty())
    }

    /// Leaves in `to` what `map` holds for `keys`.
    pub(super) fn map(&mut self, to: Register, keys: Vec<Node>, map: Name, data: KeyType) {
        self.write(to, data.length(), Node::Mapped { keys, map, data });
    }

    /// Appends a statement that does something: what was asked before it
    /// stays before it.
    pub(super) fn act(&mut self, text: String) {
        self.pending.clear();
        self.inner_pending.clear();
        self.statements.push(text);
    }

    /// Appends a condition.
    pub(super) fn ask(&mut self, text: String, dependency: Option<Dependency>) {
        if let Some(dependency) = dependency {
            self.pending.push((self.statements.len(), dependency));
        }
        self.statements.push(text);
    }

    /// Leaves out the conditions that `implied` holds for.
    pub(super) fn leave_out(&mut self, implied: impl Fn(&Protocols, Dependency) -> bool) {
        for (place, _) in self
            .pending
            .iter()
            .filter(|(_, dependency)| implied(&self.protocols, *dependency))
        {
            if let Some(statement) = self.statements.get_mut(*place) {
                statement.clear();
            }
        }
        let protocols = &self.protocols;
        self.pending
            .retain(|(_, dependency)| !implied(protocols, *dependency));
    }

    /// A field was read: what it implies is left out.
    pub(super) fn used(&mut self, found: Found) {
        self.protocols.reads(found);
        self.leave_out(|protocols, dependency| protocols.implies(found, dependency));
    }
}

/// A text about what is inside of a tunnel; its own header has its name.
pub(super) fn named(tunnel: &Header, text: &str) -> String {
    match text.strip_prefix(tunnel.name) {
        Some(rest) if rest.starts_with(' ') => text.to_owned(),
        _ if text.is_empty() => String::new(),
        _ => format!("{} {text}", tunnel.name),
    }
}

/// The kinds of a key, or those of a set if they are not known.
pub(super) fn or_of_set(kinds: Vec<Kind>, key: KeyType) -> Vec<Kind> {
    if kinds.is_empty() {
        Kind::all_of(key)
    } else {
        kinds
    }
}

pub(super) fn width(data: &Data) -> u32 {
    u32::try_from(data.as_bytes().len()).unwrap_or_default()
}
