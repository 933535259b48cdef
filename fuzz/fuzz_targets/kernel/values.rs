//! Tables with all that is in them, within bounds.

use std::net::Ipv4Addr;

use ipnet::{IpNet, Ipv4Net};
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use tapwire::IfName;
use tapwire::nft::expr::{Connlimit, Counter, Expr, Last, Limit, LimitType, Quota};
use tapwire::nft::{
    Chain, ChainType, Comment, Data, DataType, Element, Family, Hook, KeyType, Name, NamedObject,
    Policy, Rule, Set, SetFlags, SetPolicy, Table, TableFlags,
};

use super::expressions::{self, Step, pick};

#[derive(Arbitrary, Debug)]
pub(crate) struct Input {
    family: u8,
    dormant: bool,
    comment: Option<Text>,
    chains: [ChainParts; 2],
    objects: Vec<ObjectParts>,
    sets: Vec<SetParts>,
    rules: Vec<RuleParts>,
}

#[derive(Arbitrary, Debug)]
struct ChainParts {
    base: Option<(u8, u8, i16)>,
    policy: Option<bool>,
    comment: Option<Text>,
}

#[derive(Arbitrary, Debug)]
struct ObjectParts {
    kind: u8,
    amount: u32,
    unit: u8,
    burst: u16,
    inverted: bool,
    comment: Option<Text>,
}

#[derive(Arbitrary, Debug)]
struct SetParts {
    key: u8,
    data: Option<u8>,
    kind: u8,
    merged: bool,
    size: Option<u16>,
    seconds: Option<(u16, Option<u16>)>,
    policy: Option<bool>,
    statements: Vec<u8>,
    comment: Option<Text>,
    elements: Vec<ElementParts>,
}

impl SetParts {
    /// Hardly ever with `dynamic`: the kernel knows no such set.
    fn is_interval(&self) -> bool {
        matches!(self.kind % 16, 1..=6 | 8)
    }
}

#[derive(Arbitrary, Debug)]
struct ElementParts {
    key: u32,
    width: u8,
    data: u16,
    comment: Option<Text>,
    all: bool,
}

#[derive(Arbitrary, Debug)]
struct RuleParts {
    chain: bool,
    comment: Option<Text>,
    steps: Vec<Step>,
}

/// Short, and mostly of letters.
#[derive(Arbitrary, Debug)]
struct Text([u8; 3]);

/// What is to be in a table.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) table: Table,
    pub(crate) chains: Vec<Chain>,
    pub(crate) objects: Vec<NamedObject>,
    pub(crate) sets: Vec<(Set, Vec<Element>)>,
    pub(crate) rules: Vec<Rule>,
}

impl Wanted {
    pub(crate) fn empty(table: &Table) -> Self {
        Self {
            table: table.clone(),
            chains: Vec::new(),
            objects: Vec::new(),
            sets: Vec::new(),
            rules: Vec::new(),
        }
    }
}

impl Input {
    pub(crate) fn wanted(&self, name: &Name) -> Wanted {
        let family = pick(&FAMILIES, self.family);
        let mut table = Table::new(family, name.clone());
        if self.dormant {
            table = table.flags(TableFlags::DORMANT);
        }
        if let Some(comment) = comment(self.comment.as_ref()) {
            table = table.comment(comment);
        }
        let mut wanted = Wanted::empty(&table);
        let chains = self.chains.iter().zip(&expressions::CHAINS);
        wanted.chains = chains
            .map(|(parts, name)| chain(&table, name, parts))
            .collect();
        let objects = self.objects.iter().zip(&expressions::OBJECTS);
        wanted.objects = objects
            .map(|(parts, name)| object(&table, name, parts))
            .collect();
        let sets = self.sets.iter().zip(&expressions::SETS);
        wanted.sets = sets.map(|(parts, name)| set(&table, name, parts)).collect();
        let chain = |parts: &RuleParts| &wanted.chains[usize::from(parts.chain)];
        let rules = self.rules.iter().take(4);
        wanted.rules = rules.map(|parts| rule(chain(parts), parts)).collect();
        wanted
    }
}

fn chain(table: &Table, name: &Name, parts: &ChainParts) -> Chain {
    let mut chain = match parts.base {
        None => Chain::new(table, name.clone()),
        Some((kind, hook, priority)) => {
            let kind = pick(&[ChainType::FILTER, ChainType::NAT, ChainType::ROUTE], kind);
            let hook = Hook::from_raw(u32::from(hook % 6));
            let base = Chain::base(table, name.clone(), kind, hook, priority.into());
            match parts.policy {
                Some(true) => base.policy(Policy::DROP),
                Some(false) => base.policy(Policy::ACCEPT),
                None => base,
            }
        }
    };
    if parts.base.is_some() && table.family() == Family::NETDEV {
        chain = chain.device(IfName::new("lo").unwrap());
    }
    match comment(parts.comment.as_ref()) {
        Some(comment) => chain.comment(comment),
        None => chain,
    }
}

fn object(table: &Table, name: &Name, parts: &ObjectParts) -> NamedObject {
    let flags = u32::from(parts.inverted);
    let amount = u64::from(parts.amount);
    let object = match parts.kind % 5 {
        0 => NamedObject::new(table, name.clone(), Counter::new().with_packets(amount)),
        1 => NamedObject::new(table, name.clone(), Quota::new(amount).with_flags(flags)),
        2 => {
            let bytes = Limit::new(amount, parts.unit.into()).with_kind(LimitType::BYTES);
            NamedObject::new(table, name.clone(), bytes.with_flags(flags))
        }
        3 => {
            let limit = Limit::new(amount, parts.unit.into()).with_burst(parts.burst.into());
            NamedObject::new(table, name.clone(), limit.with_flags(flags))
        }
        _ => {
            let limit = Connlimit::new(parts.amount).with_flags(flags);
            NamedObject::new(table, name.clone(), limit)
        }
    };
    match comment(parts.comment.as_ref()) {
        Some(comment) => object.comment(comment),
        None => object,
    }
}

fn set(table: &Table, name: &Name, parts: &SetParts) -> (Set, Vec<Element>) {
    let key = pick(&KEYS, parts.key);
    let data = parts.data.map(|data| pick(&DATA, data));
    let mut set = match data {
        None => Set::new(table, name.clone(), key),
        Some(data) => Set::map(table, name.clone(), key, data),
    };
    if parts.is_interval() {
        set = set.interval();
    }
    if matches!(parts.kind % 16, 8..) {
        set = set.dynamic();
    }
    if matches!(parts.kind % 4, 2) {
        set = set.flags(SetFlags::CONSTANT);
    }
    if parts.merged {
        set = set.auto_merge();
    }
    if let Some(size) = parts.size {
        set = set.size(u32::from(size) + 1);
    }
    if let Some((seconds, gc_interval)) = parts.seconds {
        // A multiple of whatever the kernel's clock ticks at; 0 is none.
        set = set.timeout((u64::from(seconds) + 60) * 1000);
        if let Some(interval) = gc_interval {
            set = set.gc_interval(u32::from(interval) + 1);
        }
    }
    if let Some(memory) = parts.policy {
        set = set.policy(if memory {
            SetPolicy::MEMORY
        } else {
            SetPolicy::PERFORMANCE
        });
    }
    for statement in parts.statements.iter().take(2) {
        set = set.expression(stateful(*statement));
    }
    if let Some(comment) = comment(parts.comment.as_ref()) {
        set = set.comment(comment);
    }
    let elements = elements(&set, key, data, parts);
    (set, elements)
}

fn elements(
    set: &Set,
    key: &[DataType],
    data: Option<&[DataType]>,
    parts: &SetParts,
) -> Vec<Element> {
    let given = parts.elements.iter().take(6);
    if parts.is_interval() && key == [DataType::IPV4_ADDR] && data.is_none() {
        let nets = given.filter_map(|one| {
            let net = Ipv4Net::new(Ipv4Addr::from(one.key), one.width % 33).ok()?;
            Some(IpNet::V4(net.trunc()))
        });
        return Element::networks(nets);
    }
    let mut all: Vec<Element> = Vec::new();
    for one in given {
        let bytes = filled(one.key, set.key().length());
        let mut element = if one.all {
            Element::catch_all()
        } else {
            Element::new(bytes)
        };
        if all.iter().any(|other| other.key() == element.key()) {
            continue;
        }
        if parts.is_interval() && !one.all {
            element = element.to(bytes);
        }
        element = match data {
            None => element,
            Some([DataType::VERDICT]) => element.data(expressions::verdict(one.width)),
            Some(_) => {
                let length = set.data().map_or(0, KeyType::length);
                element.data(filled(one.data.into(), length))
            }
        };
        if let Some(comment) = comment(one.comment.as_ref()) {
            element = element.comment(comment);
        }
        all.push(element);
    }
    all
}

fn rule(chain: &Chain, parts: &RuleParts) -> Rule {
    let mut rule = Rule::new(chain);
    for expression in expressions::full() {
        rule = rule.expression(expression);
    }
    for step in parts.steps.iter().take(6) {
        rule = rule.expression(step.expression());
    }
    match comment(parts.comment.as_ref()) {
        Some(comment) => rule.comment(comment),
        None => rule,
    }
}

/// What elements can carry.
fn stateful(kind: u8) -> Expr {
    match kind % 4 {
        0 => Counter::new().into(),
        1 => Quota::new(u64::from(kind) + 1).into(),
        2 => Limit::new(u64::from(kind) + 1, 1).with_burst(1).into(),
        _ => Last::new().into(),
    }
}

/// Bytes of a value that differ where the number does.
fn filled(number: u32, length: u32) -> Data {
    let length = usize::try_from(length).unwrap();
    let bytes: Vec<u8> = number
        .to_be_bytes()
        .into_iter()
        .cycle()
        .take(length)
        .collect();
    Data::from_bytes(&bytes).unwrap()
}

fn comment(text: Option<&Text>) -> Option<Comment> {
    let letters: String = text?
        .0
        .iter()
        .map(|byte| char::from(b' ' + byte % 95))
        .collect();
    Comment::new(&letters).ok()
}

const FAMILIES: [Family; 6] = [
    Family::INET,
    Family::IP,
    Family::IP6,
    Family::ARP,
    Family::BRIDGE,
    Family::NETDEV,
];

const KEYS: [&[DataType]; 7] = [
    &[DataType::IPV4_ADDR],
    &[DataType::IPV6_ADDR],
    &[DataType::INET_SERVICE],
    &[DataType::MARK],
    &[DataType::IFNAME],
    &[DataType::IPV4_ADDR, DataType::INET_SERVICE],
    &[
        DataType::ETHER_ADDR,
        DataType::IPV4_ADDR,
        DataType::INET_PROTO,
    ],
];

const DATA: [&[DataType]; 5] = [
    &[DataType::VERDICT],
    &[DataType::IPV4_ADDR],
    &[DataType::MARK],
    &[DataType::IPV4_ADDR, DataType::INET_SERVICE],
    &[DataType::IPV6_ADDR],
];
