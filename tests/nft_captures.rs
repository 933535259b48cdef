//! What the kernel listed for many rulesets is read, written and read again
//! as the same.
//!
//! `testdata/nft/NAME.bin` is what Linux 6.18 answered to `nft list ruleset`
//! (nft 1.0.6) after `nft -f NAME.nft`: the messages as they crossed the
//! socket, one after another, each with its netlink header.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

use std::collections::BTreeMap;
use std::fs;

use tapwire::nft::{Batch, Content, Elements, Expr, Rule, Set};
use tapwire::wire::Messages;

#[test]
fn listed_rulesets_survive_reading_and_writing() {
    for (name, bytes) in captures() {
        let contents = contents(&name, &bytes);
        for content in &contents {
            let written = write(content, &contents);
            assert!(
                is_same(content, &written),
                "{name}: {content:#?}\nbecame {written:#?}"
            );
        }
    }
}

#[test]
fn no_expression_of_these_rulesets_is_unknown() {
    for (name, bytes) in captures() {
        for content in contents(&name, &bytes) {
            let expressions = match &content {
                Content::Rule(rule) => rule.expressions(),
                Content::Set(set) => set.expressions(),
                _ => continue,
            };
            let unknown = expressions
                .iter()
                .find(|expression| matches!(expression, Expr::Unknown(_)));
            assert!(unknown.is_none(), "{name}: {unknown:?}");
        }
    }
}

#[test]
fn cut_off_and_altered_messages_are_values_or_errors() {
    for (_, bytes) in captures() {
        for cut in (0..bytes.len().min(2048)).step_by(7) {
            read_all(&bytes[..cut]);
            let mut altered = bytes.clone();
            altered[cut] ^= 0x41;
            read_all(&altered);
        }
    }
}

fn captures() -> BTreeMap<String, Vec<u8>> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/testdata/nft");
    let files = fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path());
    let captures: BTreeMap<_, _> = files
        .filter(|path| path.extension().is_some_and(|extension| extension == "bin"))
        .map(|path| {
            (
                path.file_stem().unwrap().to_str().unwrap().to_owned(),
                fs::read(path).unwrap(),
            )
        })
        .collect();
    assert!(captures.len() > 150, "only {} captures", captures.len());
    captures
}

fn contents(name: &str, bytes: &[u8]) -> Vec<Content> {
    Messages::new(bytes)
        .map(|message| {
            Content::decode(&message.unwrap()).unwrap_or_else(|error| panic!("{name}: {error}"))
        })
        .filter(|content| !is_empty(content))
        .collect()
}

/// Whether there is nothing to write: the end of a list, a set without
/// elements.
fn is_empty(content: &Content) -> bool {
    match content {
        Content::Elements(list) => list.elements.is_empty(),
        content => matches!(content, Content::Other | Content::Generation(_)),
    }
}

fn read_all(bytes: &[u8]) {
    for message in Messages::new(bytes).filter_map(Result::ok) {
        drop(Content::decode(&message));
    }
}

/// What is read from what a batch writes for `content`, one of `all`.
fn write(content: &Content, all: &[Content]) -> Content {
    let mut batch = Batch::new();
    match content {
        Content::Table(table) => batch.add(table),
        Content::Chain(chain) => batch.add(chain),
        Content::Rule(rule) => batch.add(rule),
        Content::Set(set) => batch.add(set),
        Content::Object(object) => batch.add(object),
        Content::Flowtable(flowtable) => batch.add(flowtable),
        Content::Elements(list) => batch.add_elements(set_of(list, all), &list.elements),
        other => panic!("{other:?}"),
    };
    let messages = batch.messages().unwrap();
    messages[1].content().unwrap()
}

fn set_of<'a>(list: &Elements, all: &'a [Content]) -> &'a Set {
    let sets = all.iter().filter_map(|content| match content {
        Content::Set(set) => Some(set),
        _ => None,
    });
    let place = |set: &&Set| {
        set.family() == list.family && *set.table() == list.table && *set.name() == list.set
    };
    sets.into_iter().find(place).unwrap()
}

fn is_same(one: &Content, other: &Content) -> bool {
    match (one, other) {
        (Content::Table(one), Content::Table(other)) => one.is_same(other),
        (Content::Chain(one), Content::Chain(other)) => one.is_same(other),
        (Content::Rule(one), Content::Rule(other)) => Rule::is_same(one, other),
        (Content::Set(one), Content::Set(other)) => one.is_same(other),
        (Content::Object(one), Content::Object(other)) => one.is_same(other),
        (one, other) => one == other,
    }
}
