//! What the kernel said to bad requests is read as it meant it: the errno, the
//! text, and the attribute that it points at.
//!
//! `testdata/extack.jsonl` holds a request and its replies in each line, as
//! Linux 6.18 answered them with extended acknowledgements. `path` is the
//! attribute that `offset` points at, from the outside in, `KIND#INDEX` where
//! it is one of several.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use serde::Deserialize;
use tapwire::conn::{Exchange, Progress};
use tapwire::wire::{Attrs, Flags, Message, Messages, locate};

#[derive(Deserialize)]
struct Case {
    name: String,
    /// Whether it is a batch, else one request.
    batch: bool,
    /// The length of the structure before the attributes.
    header: usize,
    request: String,
    replies: Vec<Reply>,
}

#[derive(Deserialize)]
struct Reply {
    errno: i32,
    sequence: u32,
    bytes: String,
    text: Option<String>,
    offset: Option<u32>,
    path: Option<Vec<Step>>,
    missing: Option<u32>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Step {
    Kind(u16),
    Nth(String),
}

#[test]
fn replies_are_read_as_the_kernel_meant_them() {
    let cases = cases();
    for case in &cases {
        let request = bytes(&case.request);
        let messages: Vec<Message<'_>> = Messages::new(&request).map(Result::unwrap).collect();
        let mut exchange = match messages.as_slice() {
            [begin, .., _] if case.batch => {
                let operations = u32::try_from(messages.len() - 2).unwrap();
                Exchange::batch(begin.header().sequence, operations)
            }
            [one] if one.header().flags.contains(Flags::DUMP) => {
                Exchange::dump(one.header().sequence)
            }
            others => {
                let count = u32::try_from(others.len()).unwrap();
                Exchange::requests(others[0].header().sequence, count)
            }
        };
        let first = messages[0].header().sequence;
        let mut progress = Progress::Pending;
        for reply in &case.replies {
            progress = exchange.feed(&bytes(&reply.bytes), |_| Ok(())).unwrap();
        }
        let wanted: Vec<&Reply> = case
            .replies
            .iter()
            .filter(|reply| reply.errno != 0)
            .collect();
        assert_eq!(exchange.refusals().len(), wanted.len(), "{}", case.name);
        for ((place, refusal), reply) in exchange.refusals().iter().zip(&wanted) {
            let found = (
                refusal.errno(),
                refusal.message(),
                refusal.offset(),
                refusal.missing(),
            );
            let meant = (
                reply.errno,
                reply.text.as_deref(),
                reply.offset,
                reply.missing,
            );
            assert_eq!(found, meant, "{}", case.name);
            assert_eq!(
                u32::try_from(*place).unwrap(),
                reply.sequence - first,
                "{}",
                case.name
            );
        }
        if !case.batch && !case.replies.is_empty() {
            assert_eq!(progress, Progress::Complete, "{}", case.name);
        }
    }
    assert!(cases.len() > 200);
}

#[test]
fn offsets_lead_to_the_attributes() {
    let mut found = 0;
    for case in cases() {
        let request = bytes(&case.request);
        for reply in &case.replies {
            let (Some(offset), Some(path)) = (reply.offset, &reply.path) else {
                continue;
            };
            let message = Messages::new(&request)
                .map(Result::unwrap)
                .find(|message| message.header().sequence == reply.sequence)
                .unwrap();
            let fixed = case.header;
            let mut attrs = Attrs::new(&message.body()[fixed..]);
            let mut inside = Some(usize::try_from(offset).unwrap() - 16 - fixed);
            for step in path {
                let (kind, index, nested, rest) = locate(attrs, inside.unwrap()).unwrap();
                match step {
                    Step::Kind(wanted) => assert_eq!(kind, *wanted, "{}", case.name),
                    Step::Nth(wanted) => {
                        assert_eq!(format!("{kind}#{index}"), *wanted, "{}", case.name);
                    }
                }
                (attrs, inside) = (nested, rest);
            }
            assert_eq!(inside, None, "{}: the offset is behind the path", case.name);
            found += 1;
        }
    }
    assert!(found > 60, "only {found}");
}

fn cases() -> Vec<Case> {
    include_str!("testdata/extack.jsonl")
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<char> = hex.chars().collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap())
        .collect()
}
