//! Arbitrary values: what the constructors take is written, read and printed
//! without becoming something else.
#![no_main]

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use tapwire::error::Invalid;
use tapwire::fuzzing::{self, Codec};
use tapwire::nft::{
    Batch, COMMENT_MAX, Comment, Counts, DataType, Element, Elements, Family, NAME_MAX, Name, Set,
    Table, Verdict,
};
use tapwire::wire::{Flags, Header, Messages, push_message};
use tapwire::{Balance, Exposure, GuestName, IfName, Label, Mac, Owner, Protocol, Target};

#[derive(Arbitrary, Debug)]
enum Input<'a> {
    /// An exposure by its parts.
    Exposure(Whole<'a>),
    /// One of the notations.
    Text(&'a str),
    /// Elements with all that they can have.
    Elements(Vec<Parts<'a>>),
}

#[derive(Arbitrary, Debug)]
struct Whole<'a> {
    protocol: u8,
    host: Vec<IpAddr>,
    port: u16,
    more_ports: u16,
    guest: Guest<'a>,
    further: Vec<Guest<'a>>,
    by_source: bool,
    allowed: Vec<(IpAddr, u8)>,
    limit: Option<u32>,
    label: &'a str,
}

#[derive(Arbitrary, Debug)]
enum Guest<'a> {
    Address(SocketAddr),
    Name(&'a str, u16),
}

#[derive(Arbitrary, Debug)]
struct Parts<'a> {
    key: Vec<u8>,
    last: Option<Vec<u8>>,
    value: Option<Mapped<'a>>,
    comment: &'a str,
    counts: Option<(u64, u64)>,
    timeout: Option<u64>,
    end: bool,
    open: bool,
}

#[derive(Arbitrary, Debug)]
enum Mapped<'a> {
    Data(Vec<u8>),
    Accept,
    Drop,
    Return,
    Jump(&'a str),
    Goto(&'a str),
}

fuzz_target!(|input: Input<'_>| {
    match input {
        Input::Exposure(whole) => {
            if let Some(exposure) = exposure(whole) {
                same_exposure(&exposure);
            }
        }
        Input::Text(text) => notations(text),
        Input::Elements(parts) => {
            let elements = parts.into_iter().filter_map(element).collect();
            same_elements(&fuzzing::elements(elements));
        }
    }
});

/// With all of its parts that can be.
fn exposure(whole: Whole<'_>) -> Option<Exposure> {
    let target = |guest: Guest<'_>| match guest {
        // An address with a scope has no notation.
        Guest::Address(address) => Some(SocketAddr::new(address.ip(), address.port()).into()),
        Guest::Name(name, port) => Some(Target::of(name.parse().ok()?, port)),
    };
    let protocols = Protocol::ALL;
    let protocol = protocols[usize::from(whole.protocol) % protocols.len()];
    let mut exposure = Exposure::new(protocol, whole.port, target(whole.guest)?).ok()?;
    let last = whole.port.saturating_add(whole.more_ports % 1500);
    exposure = or_as_before(exposure, |exposure| exposure.through(last));
    for guest in whole.further.into_iter().filter_map(target) {
        exposure = or_as_before(exposure, |exposure| exposure.also(guest));
    }
    for address in whole.host {
        exposure = or_as_before(exposure, |exposure| exposure.on(address));
    }
    for (address, length) in whole.allowed {
        if let Ok(net) = IpNet::new(address, length) {
            exposure = exposure.allow(net);
        }
    }
    if let Some(limit) = whole.limit {
        exposure = or_as_before(exposure, |exposure| exposure.limit(limit));
    }
    if let Ok(label) = Label::new(whole.label) {
        exposure = exposure.labelled(label);
    }
    Some(if whole.by_source {
        exposure.balance(Balance::Source)
    } else {
        exposure
    })
}

fn or_as_before(
    exposure: Exposure,
    change: impl FnOnce(Exposure) -> Result<Exposure, Invalid>,
) -> Exposure {
    change(exposure.clone()).unwrap_or(exposure)
}

/// What is written is read, as text and as elements.
fn same_exposure(exposure: &Exposure) {
    assert_eq!(exposure.to_string().parse().as_ref(), Ok(exposure));
    let Ok(elements) = fuzzing::exposure_elements(exposure) else {
        return;
    };
    let read = elements.iter().map(|set| {
        let read = same_elements(&fuzzing::elements(set.clone()));
        read.map_or_else(|| set.clone(), |list| list.elements)
    });
    let read: Vec<Vec<Element>> = read.collect();
    for elements in [&elements, &read] {
        let read = fuzzing::read_exposures(elements).unwrap();
        assert_eq!(read.iter().collect::<Vec<_>>(), [exposure]);
    }
}

fn notations(text: &str) {
    if let Ok(exposure) = text.parse::<Exposure>() {
        same_exposure(&exposure);
    }
    if let Ok(name) = Name::new(text) {
        assert!(name.as_str() == text && text.len() <= NAME_MAX);
        assert!(!text.bytes().any(|byte| b" \t\n;{}\"\\#\0".contains(&byte)));
        same_table(&Table::new(Family::INET, name));
    }
    if let Ok(comment) = Comment::new(text) {
        assert!(comment.as_str() == text && text.len() <= COMMENT_MAX);
        assert!(
            !text
                .bytes()
                .any(|byte| byte < b' ' || byte == b'"' || byte == 0x7f)
        );
        same_table(&Table::new(Family::IP6, Name::constant("fuzz")).comment(comment));
    }
    if let Ok(name) = text.parse::<IfName>() {
        assert_eq!(name.as_str(), text);
        assert!(text.len() < 16 && !text.contains('/'));
    }
    if let Ok(mac) = text.parse::<Mac>() {
        assert_eq!(mac.to_string().parse(), Ok(mac));
    }
    if let Ok(name) = text.parse::<GuestName>() {
        assert_eq!(name.as_str(), text);
        assert!(Comment::new(text).is_ok(), "guests are named in comments");
    }
    if let Ok(owner) = text.parse::<Owner>() {
        assert_eq!(owner.to_string(), text);
        assert!(Name::new(text).is_ok(), "the owner names a table");
    }
}

fn element(parts: Parts<'_>) -> Option<Element> {
    let data = |bytes: Vec<u8>| tapwire::nft::Data::from_bytes(&bytes);
    let mut element = Element::new(data(parts.key)?);
    if let Some(last) = parts.last {
        element = element.to(data(last)?);
    }
    element = match parts.value {
        None => element,
        Some(Mapped::Data(bytes)) => element.data(data(bytes)?),
        Some(Mapped::Accept) => element.data(Verdict::Accept),
        Some(Mapped::Drop) => element.data(Verdict::Drop),
        Some(Mapped::Return) => element.data(Verdict::Return),
        Some(Mapped::Jump(chain)) => element.data(Verdict::Jump(Name::new(chain).ok()?)),
        Some(Mapped::Goto(chain)) => element.data(Verdict::Goto(Name::new(chain).ok()?)),
    };
    if let Ok(comment) = Comment::new(parts.comment) {
        element = element.comment(comment);
    }
    if let Some((packets, bytes)) = parts.counts {
        element = element.counter(Counts::new(packets, bytes));
    }
    // The end of a range has no end of its own in time.
    if let Some(timeout) = parts.timeout.filter(|_| !parts.end) {
        element = element.timeout(timeout);
    }
    if parts.end {
        element = element.interval_end();
    }
    Some(if parts.open {
        element.interval_open()
    } else {
        element
    })
}

fn same_elements(elements: &Elements) -> Option<Elements> {
    let read = same(elements)?;
    let table = Table::new(Family::INET, Name::constant("fuzz"));
    let set = Set::new(&table, Name::constant("any"), &[DataType::MARK]);
    let mut batch = Batch::new();
    batch
        .add_elements(&set, &elements.elements)
        .delete_elements(&set, &elements.elements);
    drop(batch.to_string());
    Some(read)
}

fn same_table(table: &Table) {
    assert!(same(table).is_some());
    let printed = Batch::new().add(table).to_string();
    assert_eq!(printed.lines().count(), 1);
}

/// Writes, reads and compares; `None` if the value does not fit a message.
fn same<T: Codec>(value: &T) -> Option<T> {
    let mut bytes = Vec::new();
    push_message(&mut bytes, Header::new(0, Flags::empty(), 0), |out| {
        value.encode(out);
    })
    .ok()?;
    let message = Messages::new(&bytes).next().unwrap().unwrap();
    let read = T::decode(&message).unwrap();
    assert_eq!(read.as_ref(), Some(value));
    read
}
