//! What the kernel tells: echoes, events, traces.

use std::net::UdpSocket;
use std::time::Duration;

use libtest_mimic::Trial;
use tapwire::nft::expr::{Immediate, MetaKey, MetaSet};
use tapwire::nft::{
    Batch, Chain, ChainType, Content, Data, Element, Event, Family, Hook, Nft, Port, Register,
    Rule, TraceType, Verdict, Watch, priority, tcp,
};

use super::{addresses, begin, host, name, table};
use crate::support::{run, trials};

pub(super) fn trials() -> Vec<Trial> {
    let traces = trials![needs ["ip"]:
        traced_packet_tells_its_way,
    ];
    let alone = trials![
        echo_tells_the_handle_of_a_rule,
        events_are_decoded_and_end_with_their_commit,
        overrun_is_told_and_reading_goes_on,
    ];
    [traces, alone].into_iter().flatten().collect()
}

fn echo_tells_the_handle_of_a_rule() {
    let mut nft = begin();
    let chain = Chain::new(&table(), name("c"));
    let mut batch = Batch::new();
    batch.add(&chain);
    for port in 0..500 {
        batch.add(
            &Rule::new(&chain)
                .matching(tcp::dport().equal(Port(port)))
                .accept(),
        );
    }
    let echoes = nft.commit_echoed(&mut batch).unwrap();
    let handles: Vec<u64> = echoes
        .iter()
        .filter_map(|echo| match echo {
            Content::Rule(rule) => rule.handle(),
            _ => None,
        })
        .collect();
    let listed: Vec<u64> = nft
        .rules(&chain)
        .unwrap()
        .iter()
        .filter_map(Rule::handle)
        .collect();
    assert_eq!(handles, listed);
    assert_eq!(handles.len(), 500);
    let generation = nft.generation().unwrap();
    assert_eq!(echoes.last(), Some(&Content::Generation(generation)));
    assert!(batch.is_empty());
    batch.create(&chain);
    assert!(nft.commit_echoed(&mut batch).unwrap_err().is_exists());
}

fn events_are_decoded_and_end_with_their_commit() {
    let mut watch = Watch::ruleset().unwrap();
    let mut nft = begin();
    let mut batch = Batch::new();
    batch
        .add_elements(&addresses(), [Element::new(host(1))])
        .delete(&super::ports());
    nft.commit(&mut batch).unwrap();
    let mut told = Vec::new();
    while let Some(event) = watch.next_event(Duration::from_millis(300)).unwrap() {
        told.push(match event {
            Event::New(Content::Table(_)) => "table",
            Event::New(Content::Set(_)) => "set",
            Event::New(Content::Elements(_)) => "elements",
            Event::Gone(Content::Set(_)) => "set gone",
            Event::Committed(commit) => {
                assert!(commit.process.is_some() && commit.program.is_some());
                "commit"
            }
            _ => "else",
        });
    }
    let wanted = [
        "table", "set", "set", "commit", "elements", "set gone", "commit",
    ];
    assert_eq!(told, wanted);
}

fn overrun_is_told_and_reading_goes_on() {
    let mut watch = Watch::ruleset().unwrap();
    watch.set_buffer(4096).unwrap();
    let mut nft = begin();
    let mut batch = Batch::new();
    for round in 0..200 {
        batch.add_elements(
            &addresses(),
            (0..50).map(|number| Element::new(host(round * 50 + number))),
        );
        nft.commit(&mut batch).unwrap();
    }
    let mut overruns = 0;
    while let Some(event) = watch.next_event(Duration::from_millis(200)).unwrap() {
        overruns += u32::from(event == Event::Overrun);
    }
    assert!(overruns > 0);
    batch.add(&Chain::new(&table(), name("after")));
    nft.commit(&mut batch).unwrap();
    let event = watch.next_event(Duration::from_secs(1)).unwrap();
    assert!(
        matches!(event, Some(Event::New(Content::Chain(_)))),
        "{event:?}"
    );
}

fn traced_packet_tells_its_way() {
    run("ip", &["link", "set", "lo", "up"]);
    let mut nft = Nft::open().unwrap();
    let base = Chain::base(
        &table(),
        name("in"),
        ChainType::FILTER,
        Hook::INPUT,
        priority::FILTER,
    );
    let one = Data::from_bytes(&[1]).unwrap();
    let mut batch = Batch::new();
    batch.add(&table()).add(&base);
    batch.add(
        &Rule::new(&base)
            .expression(Immediate::new(Register::FIRST, one.into()))
            .expression(MetaSet::new(Register::FIRST, MetaKey::NFTRACE)),
    );
    batch.add(&Rule::new(&base).drop());
    nft.commit(&mut batch).unwrap();
    let mut watch = Watch::traces().unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.send_to(b"hello", "127.0.0.1:9999").unwrap();
    let mut steps = Vec::new();
    while let Some(event) = watch.next_event(Duration::from_millis(500)).unwrap() {
        if let Event::Trace(trace) = event {
            steps.push(trace);
        }
    }
    let rules = nft.rules(&base).unwrap();
    assert_eq!(steps.len(), 2, "{steps:?}");
    assert!(
        steps
            .iter()
            .all(|step| step.kind == TraceType::RULE && step.chain == "in")
    );
    assert_eq!(
        (steps[0].rule, steps[0].verdict.clone()),
        (rules[0].handle(), Some(Verdict::Continue))
    );
    assert_eq!(
        (steps[1].rule, steps[1].verdict.clone()),
        (rules[1].handle(), Some(Verdict::Drop))
    );
    assert_eq!(steps[0].id, steps[1].id);
    assert_eq!(steps[0].packet_family, Some(Family::IP));
    assert_eq!(
        steps[0].network_header.as_ref().map(|bytes| bytes[0]),
        Some(0x45)
    );
    assert_eq!(steps[0].iif, Some(1));
}
