//! The same by `netlink-packet-netfilter`.
//!
//! It knows six expressions; `nat` it writes as attributes without meaning.

use netlink_packet_core::{
    DefaultNla, NLM_F_APPEND, NLM_F_CREATE, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage,
    NetlinkPayload,
};
use netlink_packet_netfilter::nftables::{
    Cmp, DataAttribute, Expressions, Immediate, ListAttribute, Meta, MetaKey, NfTablesMessage,
    Operator, Payload, Register, RuleAttribute, RuleMessage, SetElementAttribute, SetElementList,
    SetElementMessage,
};
use netlink_packet_netfilter::{NetfilterHeader, NetfilterMessage, NetfilterProtoFamily};
use tapwire::nft::{Element, Value};

use super::ours::{CHAIN, GUEST, GUEST_PORT, MAP, TABLE, UPLINK};

pub(crate) type Message = NetlinkMessage<NetfilterMessage>;

/// The nine expressions of [`super::ours::rule`].
pub(crate) fn rule(port: u16) -> Message {
    let mut uplink = UPLINK.as_bytes().to_vec();
    uplink.resize(16, 0);
    let expressions = vec![
        meta(MetaKey::Iifname),
        equal(uplink),
        meta(MetaKey::L4Proto),
        equal(vec![6]),
        Expressions::Payload(vec![
            Payload::DestinationRegister(Register::Reg1),
            Payload::Base(2),
            Payload::Offset(2),
            Payload::Len(2),
        ])
        .into(),
        equal(port.to_be_bytes().to_vec()),
        load(Register::Reg1, GUEST.octets().to_vec()),
        load(Register::Reg32_01, GUEST_PORT.to_be_bytes().to_vec()),
        // NFTA_NAT_TYPE, _FAMILY, _REG_ADDR_MIN and _REG_PROTO_MIN.
        Expressions::Other {
            expression_type: "nat".into(),
            attributes: [(1, 1), (2, 2), (3, 1), (5, 9)].map(number).into(),
        }
        .into(),
    ];
    message(NfTablesMessage::NewRule(RuleMessage {
        attributes: vec![
            RuleAttribute::Table(TABLE.into()),
            RuleAttribute::Chain(CHAIN.into()),
            RuleAttribute::Expressions(expressions),
        ],
    }))
}

/// The same elements in one message.
pub(crate) fn elements(elements: &[Element]) -> Message {
    let element = |element: &Element| {
        let Some(Value::Data(data)) = element.value() else {
            unreachable!("a map of values")
        };
        let comment = element.current_comment().expect("a comment").as_str();
        let length = u8::try_from(comment.len() + 1).expect("a short one");
        let userdata = [&[0, length], comment.as_bytes(), &[0]].concat();
        ListAttribute::Element(vec![
            SetElementAttribute::Key(DataAttribute::Value(element.key().as_bytes().into())),
            SetElementAttribute::Data(DataAttribute::Value(data.as_bytes().into())),
            SetElementAttribute::UserData(userdata),
        ])
    };
    message(NfTablesMessage::NewSetElement(SetElementMessage {
        attributes: vec![
            SetElementList::Table(TABLE.into()),
            SetElementList::Set(MAP.into()),
            SetElementList::Elements(elements.iter().map(element).collect()),
        ],
    }))
}

/// Writes `message` into `buffer`, whose memory is used again.
pub(crate) fn write(message: &mut Message, buffer: &mut Vec<u8>) {
    message.finalize();
    buffer.resize(message.buffer_len(), 0);
    message.serialize(buffer);
}

/// Reads a list; returns how many messages it had.
pub(crate) fn read(bytes: &[u8]) -> usize {
    let mut rest = bytes;
    let mut messages = 0;
    while !rest.is_empty() {
        let message = Message::deserialize(rest).expect("a message");
        let length = usize::try_from(message.header.length).expect("a length");
        rest = &rest[length.next_multiple_of(4)..];
        messages += 1;
    }
    messages
}

fn message(content: NfTablesMessage) -> Message {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_APPEND;
    let inner = NetfilterMessage::new(
        NetfilterHeader::new(NetfilterProtoFamily::Inet, 0, 0),
        content,
    );
    NetlinkMessage::new(header, NetlinkPayload::from(inner))
}

type Listed = ListAttribute<netlink_packet_netfilter::nftables::ExpressionAttribute>;

fn meta(key: MetaKey) -> Listed {
    // In the order in which `nft` and this crate write them.
    Expressions::Meta(vec![
        Meta::DestinationRegister(Register::Reg1),
        Meta::Key(key),
    ])
    .into()
}

fn equal(value: Vec<u8>) -> Listed {
    Expressions::Cmp(vec![
        Cmp::SourceRegister(Register::Reg1),
        Cmp::Op(Operator::Equal),
        Cmp::Data(DataAttribute::Value(value)),
    ])
    .into()
}

fn load(to: Register, value: Vec<u8>) -> Listed {
    Expressions::Immediate(vec![
        Immediate::DestinationRegister(to),
        Immediate::Data(DataAttribute::Value(value)),
    ])
    .into()
}

fn number((kind, value): (u16, u32)) -> DefaultNla {
    DefaultNla::new(kind, value.to_be_bytes().into())
}
