//! Elements of sets and maps, and lookups of them.

use std::cmp::Ordering;

use super::binary::ones;
use super::kind::{Kind, duration, id};
use super::rule::{Reader, or_of_set};
use super::scope::Scope;
use super::stateful;
use crate::nft::expr::Lookup;
use crate::nft::{Data, Element, KeyType, Order, Register, Set, SetFlags, Value};

/// Appends a lookup, or leaves what a map holds in its register.
pub(super) fn lookup(reader: &mut Reader<'_>, lookup: &Lookup) -> Option<()> {
    let found = reader.scope.find(lookup.set());
    let nodes = match found {
        Some((set, _)) => reader.read_all(*lookup.key(), set.key().length())?,
        None => reader.read_fresh(*lookup.key())?,
    };
    match lookup.to() {
        None => {
            let (key, kinds) = reader.show_all(&nodes)?;
            let set = reader.scope.set(lookup.set(), &kinds);
            let not = match (lookup.flags() & INVERTED, key.contains(" & ")) {
                (0, false) => "",
                // An operator is not left out behind another.
                (0, true) => "== ",
                _ => "!= ",
            };
            reader.ask(format!("{key} {not}{set}"), None);
            if let (Some((_, elements)), [node], "") = (found, nodes.as_slice(), not)
                && let Some(field) = node.bits().and_then(|bits| bits.field(&reader.protocols))
            {
                let numbers: Vec<u128> = elements
                    .iter()
                    .filter_map(|element| field.field.kind.number(element.key().as_bytes()))
                    .collect();
                reader.protocols.icmp_is_one_of(field, &numbers);
            }
        }
        Some(to) if *to == Register::VERDICT => {
            let (key, kinds) = reader.show_all(&nodes)?;
            let set = reader.scope.set(lookup.set(), &kinds);
            reader.act(format!("{key} vmap {set}"));
        }
        Some(to) => {
            let data = found.and_then(|(set, _)| set.data());
            let data = data.unwrap_or(KeyType::from_raw(0, 4));
            reader.map(*to, nodes, lookup.set().clone(), data);
        }
    }
    Some(())
}

/// The texts of the elements, in the order of `nft`. `kinds` are those of the
/// key, if a rule tells them.
pub(super) fn list(
    set: &Set,
    elements: &[Element],
    kinds: &[Kind],
    scope: Scope<'_>,
) -> Vec<String> {
    let kinds = or_of_set(kinds.to_vec(), set.key());
    let interval = set.current_flags().contains(SetFlags::INTERVAL);
    let (any, some): (Vec<&Element>, Vec<&Element>) =
        elements.iter().partition(|element| element.is_catch_all());
    let mut items = match kinds.as_slice() {
        [kind] if interval => intervals(set, &some, kind.with_order(Order::Network), scope),
        _ => {
            let mut sorted = some;
            if !interval {
                sorted.sort_by(|one, other| order(one, other, &kinds));
            }
            sorted
                .into_iter()
                .map(|element| {
                    let key = concatenation(element, &kinds);
                    item(key, set, element, scope)
                })
                .collect()
        }
    };
    items.extend(
        any.into_iter()
            .map(|element| item("*".to_owned(), set, element, scope)),
    );
    items
}

/// The text of an element of a set, without what it has counted.
pub(crate) fn element_text(set: &Set, element: &Element) -> String {
    let scope = Scope::alone(set.family()).fresh();
    one(set, element, &Kind::all_of(set.key()), scope)
}

/// The text of an element by itself.
pub(super) fn one(set: &Set, element: &Element, kinds: &[Kind], scope: Scope<'_>) -> String {
    let interval = set.current_flags().contains(SetFlags::INTERVAL);
    let key = match kinds {
        _ if element.is_catch_all() => "*".to_owned(),
        [kind] if interval => concatenation(element, &[kind.with_order(Order::Network)]),
        kinds => concatenation(element, kinds),
    };
    item(key, set, element, scope)
}

/// Ranges, each from its start to before its end.
fn intervals(set: &Set, elements: &[&Element], kind: Kind, scope: Scope<'_>) -> Vec<String> {
    let mut sorted: Vec<(&[u8], &Element)> = elements
        .iter()
        .map(|element| (element.key().as_bytes(), *element))
        .collect();
    sorted.sort_by_key(|(key, element)| (*key, !element.is_interval_end()));
    let top = ones(kind.bytes().saturating_mul(8));
    let mut items = Vec::new();
    let mut open: Option<(u128, &Element)> = None;
    for (key, element) in sorted {
        let Some(number) = kind.number(key) else {
            items.push(item(super::kind::hex(key), set, element, scope));
            continue;
        };
        if let Some((start, first)) = open.take() {
            let key = span(start, number.saturating_sub(1), kind);
            items.push(item(key, set, first, scope));
        }
        if !element.is_interval_end() {
            open = match element
                .key_end()
                .and_then(|end| kind.number(end.as_bytes()))
            {
                // Some kernels list both ends in one element.
                Some(end) => {
                    items.push(item(span(number, end, kind), set, element, scope));
                    None
                }
                None => Some((number, element)),
            };
        }
    }
    if let Some((start, first)) = open {
        items.push(item(span(start, top, kind), set, first, scope));
    }
    items
}

/// A range of one field: a value, a prefix or two values.
fn span(low: u128, high: u128, kind: Kind) -> String {
    if low == high {
        return value(low, kind);
    }
    let width = kind.bytes().saturating_mul(8);
    let free = (low ^ high)
        .checked_add(1)
        .map_or(128, u128::trailing_zeros);
    let aligned = low & ones(free) == 0 && high & ones(free) == ones(free);
    let whole = aligned && (low ^ high) == ones(free);
    if whole && kind.is_address() {
        return format!("{}/{}", kind.of_number(low), width.saturating_sub(free));
    }
    if let (true, Some(parts)) = (kind.is_text(), wildcards(low, high)) {
        return parts.join(", ");
    }
    let end = |number| {
        if kind.is_text() {
            value(number, kind)
        } else {
            kind.plain(number)
        }
    };
    format!("{}-{}", end(low), end(high))
}

/// A range of texts as those that begin alike; `None` if they are many.
fn wildcards(mut low: u128, high: u128) -> Option<Vec<String>> {
    let mut parts = Vec::new();
    while parts.len() < WILDCARDS_MAX {
        let bytes = low.to_be_bytes();
        let zeros = bytes.iter().rev().take_while(|byte| **byte == 0).count();
        // The widest that begins here and does not reach too far.
        let free = (0..=zeros)
            .rev()
            .filter_map(|bytes| u32::try_from(bytes).ok()?.checked_mul(8))
            .find(|bits| low | ones(*bits) <= high)?;
        let name = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
        parts.push(match free {
            0 => super::kind::text(&bytes),
            _ => format!("\"{}*\"", String::from_utf8_lossy(name)),
        });
        let last = low | ones(free);
        if last == high {
            return Some(parts);
        }
        low = last.checked_add(1)?;
    }
    None
}

fn value(number: u128, kind: Kind) -> String {
    if kind.is_text() {
        super::kind::text(&number.to_be_bytes())
    } else {
        kind.of_number(number)
    }
}

/// The key of an element whose set is no plain interval.
fn concatenation(element: &Element, kinds: &[Kind]) -> String {
    let last = element.key_end().map(Data::as_bytes);
    joined(element.key().as_bytes(), last, kinds)
}

/// The fields of a concatenation, or the ranges between those of two.
fn joined(first: &[u8], last: Option<&[u8]>, kinds: &[Kind]) -> String {
    let first = fields(first, kinds).into_iter();
    let texts: Vec<String> = match last {
        None => first.map(|(kind, bytes)| kind.value(bytes)).collect(),
        Some(last) => first
            .zip(fields(last, kinds))
            .map(|((kind, low), (_, high))| ends(low, high, kind))
            .collect(),
    };
    texts.join(" . ")
}

fn ends(low: &[u8], high: &[u8], kind: Kind) -> String {
    // Ranges are of network order, whatever the type.
    let network = kind.with_order(Order::Network);
    match (network.number(low), network.number(high)) {
        _ if low == high => kind.value(low),
        (Some(low), Some(high)) => span(low, high, network),
        _ => format!("{}-{}", kind.value(low), kind.value(high)),
    }
}

/// The fields of a concatenation, each padded to 4 bytes.
fn fields<'b>(mut bytes: &'b [u8], kinds: &[Kind]) -> Vec<(Kind, &'b [u8])> {
    let mut all = Vec::new();
    for kind in kinds {
        let width = usize::try_from(kind.bytes()).unwrap_or_default();
        let padded = width.next_multiple_of(4).min(bytes.len());
        let (field, rest) = bytes.split_at(padded);
        all.push((*kind, field.get(..width).unwrap_or(field)));
        bytes = rest;
    }
    all
}

/// The order of `nft`: numbers by size, texts and concatenations as if they
/// were numbers whose last byte weighs most.
fn order(one: &Element, other: &Element, kinds: &[Kind]) -> Ordering {
    let (left, right) = (one.key().as_bytes(), other.key().as_bytes());
    if let [kind] = kinds
        && !kind.is_text()
    {
        return kind.number(left).cmp(&kind.number(right));
    }
    let packed = |bytes| -> Vec<u8> {
        fields(bytes, kinds)
            .into_iter()
            .flat_map(|(_, field)| field.iter().copied())
            .collect()
    };
    packed(left).iter().rev().cmp(packed(right).iter().rev())
}

/// An element with what belongs to it.
fn item(key: String, set: &Set, element: &Element, scope: Scope<'_>) -> String {
    let mut text = key;
    let mut carried: Vec<String> = element
        .expressions()
        .iter()
        .map(|expression| stateful::text(expression, scope))
        .collect();
    if let Some(counts) = element.counts() {
        let place = element.counter_place().min(carried.len());
        carried.insert(
            place,
            stateful::counter(counts.packets, counts.bytes, scope),
        );
    }
    for one in carried {
        push!(text, " {one}");
    }
    if let Some(timeout) = element.current_timeout() {
        text.push_str(" timeout ");
        text.push_str(&duration(timeout));
    }
    if let (Some(expires), false) = (element.expiration(), scope.stateless) {
        text.push_str(" expires ");
        text.push_str(&duration(expires));
    }
    if let Some(comment) = element.current_comment() {
        push!(text, " comment \"{comment}\"");
    }
    if let Some(object) = element.current_object() {
        push!(text, " : \"{object}\"");
    }
    match element.value() {
        None => {}
        Some(Value::Verdict(verdict)) => {
            push!(text, " : {}", scope.verdict(verdict));
        }
        Some(Value::Data(data)) => {
            let kinds = data_kinds(set);
            text.push_str(" : ");
            text.push_str(&data_text(data.as_bytes(), &kinds));
        }
    }
    text
}

/// The kinds of what a map holds.
pub(super) fn data_kinds(set: &Set) -> Vec<Kind> {
    set.data().map(Kind::all_of).unwrap_or_default()
}

fn data_text(bytes: &[u8], kinds: &[Kind]) -> String {
    let own: u32 = kinds
        .iter()
        .map(|kind| kind.bytes().next_multiple_of(4))
        .fold(0, u32::saturating_add);
    let own = usize::try_from(own).unwrap_or_default();
    if bytes.len() == own.saturating_mul(2) {
        let (first, last) = bytes.split_at(own);
        return joined(first, Some(last), kinds);
    }
    joined(bytes, None, kinds)
}

/// How many elements `nft` puts on a line.
pub(super) fn on_a_line(kinds: &[Kind]) -> usize {
    match kinds {
        [kind] => match kind.id {
            id::NF_PROTO
            | id::INTEGER
            | id::ARP_OP
            | id::INET_PROTO
            | id::INET_SERVICE
            | id::TCP_FLAG
            | id::DCCP_TYPE
            | id::MARK
            | id::IFACE_INDEX
            | id::CLASSID
            | id::UID
            | id::GID
            | id::CT_DIR => 5,
            id::IPV4_ADDR | id::CT_STATE | id::CT_STATUS | id::PKT_TYPE => 2,
            _ => 1,
        },
        _ => 1,
    }
}

/// A range of texts that `nft` made is one or two of them.
const WILDCARDS_MAX: usize = 16;

/// `NFT_LOOKUP_F_INV` of `linux/netfilter/nf_tables.h`.
const INVERTED: u32 = 1;
