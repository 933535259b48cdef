//! Arbitrary values: what the constructors take is written, read and printed
//! without becoming something else.
#![no_main]

use std::net::{IpAddr, SocketAddr};

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use tapwire::fuzzing::{self, Codec};
use tapwire::nft::{
    Batch, COMMENT_MAX, Comment, Counts, DataType, Element, Elements, Family, NAME_MAX, Name, Set,
    Table, Verdict,
};
use tapwire::wire::{Flags, Header, Messages, push_message};
use tapwire::{Exposure, GuestName, IfName, Mac, Owner, Protocol};

#[derive(Arbitrary, Debug)]
enum Input<'a> {
    /// An exposure by its parts.
    Exposure {
        udp: bool,
        host: Option<IpAddr>,
        host_port: u16,
        guest: SocketAddr,
        label: &'a str,
    },
    /// One of the notations.
    Text(&'a str),
    /// Elements with all that they can have.
    Elements(Vec<Parts<'a>>),
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
        Input::Exposure {
            udp,
            host,
            host_port,
            guest,
            label,
        } => {
            let protocol = if udp { Protocol::Udp } else { Protocol::Tcp };
            let exposure = Exposure::new(protocol, host_port, guest);
            let exposure = exposure.and_then(|exposure| match host {
                Some(host) => exposure.on(host),
                None => Ok(exposure),
            });
            if let Ok(exposure) = exposure {
                same_mapping(exposure, label);
            }
        }
        Input::Text(text) => notations(text),
        Input::Elements(parts) => {
            let elements = parts.into_iter().filter_map(element).collect();
            same_elements(&fuzzing::elements(elements));
        }
    }
});

/// An exposure of one port and one address at most.
fn same_mapping(exposure: Exposure, label: &str) {
    assert_eq!(exposure.to_string().parse().as_ref(), Ok(&exposure));
    let elements = fuzzing::exposure_elements(&exposure, Comment::new(label).ok());
    assert_eq!(elements.len(), 1);
    let read = same_elements(&fuzzing::elements(elements.clone()));
    for element in read.into_iter().flat_map(|list| list.elements).chain(elements) {
        assert_eq!(fuzzing::read_exposure(&element).as_ref(), Some(&exposure));
    }
}

fn notations(text: &str) {
    if let Ok(exposure) = text.parse::<Exposure>() {
        assert_eq!(exposure.to_string().parse(), Ok(exposure));
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
