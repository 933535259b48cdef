//! Any bytes as attributes: they read to attributes or an error, what was read
//! writes to bytes that read equal, and an offset leads to what lies there.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tapwire::wire::{
    Attr, Attrs, Be16, Be32, Be64, Bytes, Fields, Flag, I32, Messages, Nest, Payload, Text, U8,
    U16, U32, U64, Writer, locate,
};

fuzz_target!(|input: (u16, &[u8])| {
    let (offset, bytes) = input;
    walk(bytes);
    find(Attrs::new(bytes), usize::from(offset));
    for message in Messages::new(bytes).flatten() {
        assert!(message.body().len() <= bytes.len());
        if let Ok((_, attrs)) = message.split::<4>() {
            walk(attrs.as_bytes());
        }
    }
});

/// Reads each run of attributes, and those inside of them, breadth first: the
/// depth is the input's choice.
fn walk(bytes: &[u8]) {
    let mut runs = vec![(bytes, 0)];
    while let Some((run, depth)) = runs.pop() {
        let attrs = Attrs::new(run);
        let whole = attrs.clone().all(|attribute| attribute.is_ok());
        assert_eq!(Fields::<8>::read(attrs.clone()).is_ok(), whole);
        rewrite(attrs.clone());
        payloads(&attrs);
        let mut read = 0;
        for attribute in attrs.flatten() {
            read += 4 + attribute.payload().len();
            assert!(read <= run.len(), "attributes overlap");
            if depth < DEPTH {
                runs.push((attribute.payload(), depth + 1));
            }
        }
    }
}

fn rewrite(attrs: Attrs<'_>) {
    let mut written = Vec::new();
    let mut out = Writer::new(&mut written);
    for attribute in attrs.clone().flatten() {
        out.put_raw(attribute.kind_and_flags(), attribute.payload());
    }
    assert_eq!(out.finish(), Ok(()));
    let read: Vec<_> = attrs.flatten().collect();
    let again: Vec<_> = Attrs::new(&written).map(Result::unwrap).collect();
    assert_eq!(read, again);
}

fn payloads(attrs: &Attrs<'_>) {
    each::<U8>(attrs);
    each::<U16>(attrs);
    each::<U32>(attrs);
    each::<I32>(attrs);
    each::<U64>(attrs);
    each::<Be16>(attrs);
    each::<Be32>(attrs);
    each::<Be64>(attrs);
    each::<Bytes>(attrs);
    each::<Text>(attrs);
    each::<Flag>(attrs);
    each::<Nest>(attrs);
}

/// What a payload type reads it writes so that it reads equal.
fn each<P: Payload>(attrs: &Attrs<'_>)
where
    for<'a> P::Value<'a>: PartialEq + std::fmt::Debug,
{
    for attribute in attrs.clone().flatten() {
        let kind = Attr::<P>::new(attribute.kind());
        let Ok(value) = attribute.get(kind) else {
            continue;
        };
        let mut written = Vec::new();
        if P::write(kind.kind(), value, &mut written).is_ok() {
            assert_eq!(attribute.get(kind), P::read(kind.kind(), &written));
        }
    }
}

/// Follows `offset` down: each step leads into the attribute that spans it.
fn find(mut attrs: Attrs<'_>, mut offset: usize) {
    while let Some((kind, index, nested, inside)) = locate(attrs.clone(), offset) {
        let place = attrs.clone().nth(index).and_then(Result::ok);
        let place = place.expect("the place of what was found");
        assert_eq!((place.kind(), place.nested()), (kind, nested.clone()));
        let Some(inside) = inside else {
            return;
        };
        assert!(inside < offset, "a step inwards leaves the header behind");
        (attrs, offset) = (nested, inside);
    }
}

/// Deeper nests are read like these; the time would grow with the square.
const DEPTH: u32 = 16;
