//! The rule, the elements and the lists, by this crate.

use std::net::Ipv4Addr;
use std::ops::Range;

use tapwire::IfName;
use tapwire::nft::{
    Batch, Chain, Comment, Counts, DataType, Element, Family, L4Proto, Name, Port, Rule, Set,
    Table, meta, tcp,
};

pub(crate) const TABLE: &str = "riklet";
pub(crate) const CHAIN: &str = "prerouting";
pub(crate) const MAP: &str = "dnat4";
pub(crate) const UPLINK: &str = "eth0";
pub(crate) const GUEST: Ipv4Addr = Ipv4Addr::new(172, 16, 0, 2);
pub(crate) const GUEST_PORT: u16 = 80;

/// A list of the kernel comes in messages below this size.
const MESSAGE_MAX: usize = 32_768;
/// Elements of such a message.
const CHUNK: u16 = 200;

fn table() -> Table {
    Table::new(Family::INET, Name::constant(TABLE))
}

/// `iifname "eth0" tcp dport PORT dnat ip to 172.16.0.2:80`: nine expressions.
pub(crate) fn rule(port: u16) -> Rule {
    let chain = Chain::new(&table(), Name::constant(CHAIN));
    let rule = Rule::new(&chain)
        .matching(meta::iifname().equal(UPLINK.parse::<IfName>().expect("a name")))
        .matching(tcp::dport().equal(Port(port)))
        .dnat(GUEST.into(), Some(Port(GUEST_PORT)));
    assert_eq!(rule.expressions().len(), 9);
    rule
}

pub(crate) fn map() -> Set {
    let key = [
        DataType::IPV4_ADDR,
        DataType::INET_PROTO,
        DataType::INET_SERVICE,
    ];
    let data = [DataType::IPV4_ADDR, DataType::INET_SERVICE];
    Set::map(&table(), Name::constant(MAP), &key, &data)
}

/// Exposures of ports: address, protocol and port to address and port, with a
/// name.
pub(crate) fn elements(ports: Range<u16>) -> Vec<Element> {
    let comment = Comment::constant("hello-world");
    let element = |port| {
        Element::new((Ipv4Addr::new(203, 0, 113, 7), L4Proto::TCP, Port(port)))
            .data((GUEST, Port(GUEST_PORT)))
            .comment(comment)
    };
    ports.map(element).collect()
}

/// What the kernel answers to a question for all elements.
pub(crate) fn dump_of_elements(map: &Set, count: u16) -> Vec<u8> {
    let mut batch = Batch::new();
    for first in (0..count).step_by(CHUNK.into()) {
        let counted = elements(first..count.min(first + CHUNK))
            .into_iter()
            .map(|element| element.counter(Counts::new(1, 60)));
        batch.add_elements(map, counted);
    }
    bare(&mut batch)
}

/// What the kernel answers to a question for all rules.
pub(crate) fn dump_of_rules(count: u16) -> Vec<u8> {
    let mut batch = Batch::new();
    for port in 0..count {
        batch.replace(&rule(port).with_handle(port.into()));
    }
    bare(&mut batch)
}

/// The messages without the batch's frame.
fn bare(batch: &mut Batch) -> Vec<u8> {
    let bytes = batch.encode(0).expect("a batch");
    let mut messages: Vec<&[u8]> = Vec::new();
    let mut rest = bytes;
    while let Some((length, _)) = rest.split_first_chunk::<4>() {
        let length = usize::try_from(u32::from_ne_bytes(*length)).expect("a length");
        let (message, behind) = rest.split_at(length.next_multiple_of(4));
        assert!(message.len() < MESSAGE_MAX, "the kernel sends less at once");
        messages.push(message);
        rest = behind;
    }
    messages[1..messages.len() - 1].concat()
}
