//! Any bytes as messages: every decoder gives a value or an error, and what it
//! reads it writes so that it reads equal.
#![no_main]

use std::hint::black_box;

use libfuzzer_sys::fuzz_target;
use tapwire::fuzzing::{self, Codec};
use tapwire::nft::{
    Batch, Chain, Content, Elements, Event, Flowtable, NamedObject, Object, Rule, Set, Table,
};
use tapwire::route::{Address, Neighbour, Route, RoutingRule};
use tapwire::wire::uapi::nf_tables::{
    NFT_MSG_NEWCHAIN, NFT_MSG_NEWFLOWTABLE, NFT_MSG_NEWOBJ, NFT_MSG_NEWRULE, NFT_MSG_NEWSET,
    NFT_MSG_NEWSETELEM, NFT_MSG_NEWTABLE, NFTA_CHAIN_HANDLE, NFTA_CHAIN_USE, NFTA_RULE_POSITION,
    NFTA_SET_HANDLE, NFTA_TABLE_HANDLE, NFTA_TABLE_OWNER, NFTA_TABLE_USE,
};
use tapwire::wire::uapi::nf_tables_obj::{
    NFTA_FLOWTABLE_HANDLE, NFTA_FLOWTABLE_USE, NFTA_OBJ_HANDLE, NFTA_OBJ_USE,
};
use tapwire::wire::uapi::nfnetlink::NFNL_SUBSYS_NFTABLES;
use tapwire::wire::uapi::rtnetlink::{
    RTM_NEWADDR, RTM_NEWLINK, RTM_NEWNEIGH, RTM_NEWROUTE, RTM_NEWRULE,
};
use tapwire::wire::{Message, Messages, push_message};

fuzz_target!(|bytes: &[u8]| {
    for message in Messages::new(bytes).flatten() {
        match message.kind().to_be_bytes() {
            [NFNL_SUBSYS_NFTABLES, operation] => nftables(&message, u16::from(operation)),
            [NFNL_SUBSYS_CTNETLINK, _] => conntrack(&message),
            _ => route(&message),
        }
    }
});

fn nftables(message: &Message<'_>, operation: u16) {
    drop(black_box(Content::decode(message)));
    drop(black_box(Event::decode(message)));
    match operation {
        NFT_MSG_NEWTABLE => print(again::<Table>(message, &TABLE_LISTED).as_ref()),
        NFT_MSG_NEWCHAIN => print(again::<Chain>(message, &CHAIN_LISTED).as_ref()),
        NFT_MSG_NEWSET => print(again::<Set>(message, &SET_LISTED).as_ref()),
        NFT_MSG_NEWOBJ => print(again::<NamedObject>(message, &OBJECT_LISTED).as_ref()),
        NFT_MSG_NEWFLOWTABLE => {
            print(again::<Flowtable>(message, &FLOWTABLE_LISTED).as_ref());
        }
        NFT_MSG_NEWRULE => print(again::<Rule>(message, &RULE_LISTED).as_ref()),
        NFT_MSG_NEWSETELEM => {
            for element in again::<Elements>(message, &[])
                .into_iter()
                .flat_map(|list| list.elements)
            {
                black_box(element.to_string());
                drop(black_box(fuzzing::read_exposure(&element)));
                black_box(fuzzing::read_guard(&element));
                black_box(fuzzing::read_uplink(&element));
            }
        }
        _ => {}
    }
}

fn route(message: &Message<'_>) {
    black_box(fuzzing::describe(message, message.header().port));
    match message.kind() {
        RTM_NEWLINK => drop(black_box(
            fuzzing::link(message).map(|link| link.to_string()),
        )),
        RTM_NEWADDR => drop(again::<Address>(message, &[])),
        RTM_NEWROUTE => drop(again::<Route>(message, &[])),
        RTM_NEWNEIGH => drop(again::<Neighbour>(message, &[])),
        RTM_NEWRULE => drop(again::<RoutingRule>(message, &[])),
        _ => {}
    }
}

fn conntrack(message: &Message<'_>) {
    if let Ok(Some(flow)) = fuzzing::flow(message) {
        black_box(flow.original().to_string() + &flow.reply().to_string());
    }
}

/// Reads, writes and reads a value; `listed` are the attributes that the
/// kernel lists and nobody sends.
fn again<T: Codec>(message: &Message<'_>, listed: &[u16]) -> Option<T> {
    let value = T::decode(message).ok()??;
    black_box(format!("{value:?}"));
    let sent = without(message, listed);
    let sent = only(&sent);
    let read = T::decode(&sent).ok()??;
    if !read.is_whole() {
        return Some(value);
    }
    let mut bytes = Vec::new();
    if push_message(&mut bytes, message.header(), |out| read.encode(out)).is_ok() {
        let again = T::decode(&only(&bytes)).expect("what was written reads");
        assert_eq!(again.as_ref(), Some(&read));
        let mut twice = Vec::new();
        push_message(&mut twice, message.header(), |out| {
            again.unwrap().encode(out);
        })
        .unwrap();
        assert_eq!(bytes, twice);
    }
    Some(value)
}

/// `message` without the attributes of these numbers.
fn without(message: &Message<'_>, kinds: &[u16]) -> Vec<u8> {
    let mut bytes = Vec::new();
    push_message(&mut bytes, message.header(), |out| {
        match message.split::<4>() {
            Ok((header, attrs)) if !kinds.is_empty() => {
                out.fixed(header);
                for attribute in attrs.flatten().filter(|own| !kinds.contains(&own.kind())) {
                    out.put_raw(attribute.kind_and_flags(), attribute.payload());
                }
            }
            _ => out.fixed(message.body()),
        }
    })
    .expect("attributes that were read fit");
    bytes
}

fn only(bytes: &[u8]) -> Message<'_> {
    let mut messages = Messages::new(bytes);
    messages.next().unwrap().unwrap()
}

/// What is read prints as a change.
fn print(object: Option<&impl Object>) {
    if let Some(object) = object {
        black_box(Batch::new().add(object).to_string());
    }
}

const TABLE_LISTED: [u16; 3] = [
    NFTA_TABLE_USE.kind(),
    NFTA_TABLE_HANDLE.kind(),
    NFTA_TABLE_OWNER.kind(),
];
const CHAIN_LISTED: [u16; 2] = [NFTA_CHAIN_HANDLE.kind(), NFTA_CHAIN_USE.kind()];
const RULE_LISTED: [u16; 1] = [NFTA_RULE_POSITION.kind()];
const SET_LISTED: [u16; 1] = [NFTA_SET_HANDLE.kind()];
const OBJECT_LISTED: [u16; 2] = [NFTA_OBJ_HANDLE.kind(), NFTA_OBJ_USE.kind()];
const FLOWTABLE_LISTED: [u16; 2] = [NFTA_FLOWTABLE_HANDLE.kind(), NFTA_FLOWTABLE_USE.kind()];

/// Of `linux/netfilter/nfnetlink.h`.
const NFNL_SUBSYS_CTNETLINK: u8 = 1;
