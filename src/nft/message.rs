//! Messages of `nf_tables` for those who have a connection of their own.

use netlink_packet_core::{
    NetlinkDeserializable, NetlinkHeader, NetlinkPayload, NetlinkSerializable,
};

use crate::wire::uapi::nf_tables::{
    NFT_MSG_DELCHAIN, NFT_MSG_DELFLOWTABLE, NFT_MSG_DELOBJ, NFT_MSG_DELRULE, NFT_MSG_DELSET,
    NFT_MSG_DELSETELEM, NFT_MSG_DELTABLE, NFT_MSG_NEWCHAIN, NFT_MSG_NEWFLOWTABLE, NFT_MSG_NEWGEN,
    NFT_MSG_NEWOBJ, NFT_MSG_NEWRULE, NFT_MSG_NEWSET, NFT_MSG_NEWSETELEM, NFT_MSG_NEWTABLE,
    NFTA_GEN_ID, NFTA_SET_ELEM_LIST_ELEMENTS, NFTA_SET_ELEM_LIST_SET, NFTA_SET_ELEM_LIST_TABLE,
};
use crate::wire::{
    self, DecodeError, Fields, Flags, HEADER_LENGTH, Header, Messages, push_message,
};

use super::{Chain, Data, Element, Family, Flowtable, Name, NamedObject, Rule, Set, Table, header};

/// One message, encoded: an operation of a [`Batch`](super::Batch), or what
/// the kernel sent.
///
/// It implements the traits of `netlink-packet-core`, so that a batch can be
/// sent over a connection of `rust-netlink`:
///
/// ```
/// use netlink_packet_core::{NetlinkHeader, NetlinkMessage};
/// use tapwire::nft::{Batch, Family, Name, Table};
/// let mut batch = Batch::new();
/// batch.add(&Table::new(Family::INET, Name::constant("riklet")));
/// for message in batch.messages()? {
///     let mut header = NetlinkHeader::default();
///     header.flags = message.flags();
///     let mut message = NetlinkMessage::new(header, message.into());
///     message.finalize();
///     let mut bytes = vec![0; message.buffer_len()];
///     message.serialize(&mut bytes);
/// }
/// # Ok::<(), tapwire::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Message {
    kind: u16,
    flags: Flags,
    body: Box<[u8]>,
}

impl Message {
    pub(crate) fn of(message: &wire::Message<'_>) -> Self {
        Self {
            kind: message.kind(),
            flags: message.header().flags,
            body: message.body().into(),
        }
    }

    /// `nlmsg_type`.
    pub fn kind(&self) -> u16 {
        self.kind
    }

    /// `nlmsg_flags`, which belong into the header that is put before it.
    pub fn flags(&self) -> u16 {
        self.flags.bits()
    }

    /// What follows the header.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// What it says.
    ///
    /// # Errors
    /// [`DecodeError`] if it is malformed.
    pub fn content(&self) -> Result<Content, DecodeError> {
        let mut bytes = Vec::with_capacity(self.body.len().saturating_add(HEADER_LENGTH));
        let truncated = DecodeError::Truncated { what: "message" };
        let header = Header::new(self.kind, self.flags, 0);
        push_message(&mut bytes, header, |out| out.fixed(&self.body)).map_err(|_| truncated)?;
        let message = Messages::new(&bytes).next().ok_or(truncated)??;
        Content::decode(&message)
    }
}

impl NetlinkSerializable for Message {
    fn message_type(&self) -> u16 {
        self.kind
    }

    fn buffer_len(&self) -> usize {
        self.body.len()
    }

    fn serialize(&self, buffer: &mut [u8]) {
        for (place, byte) in buffer.iter_mut().zip(&self.body) {
            *place = *byte;
        }
    }
}

impl NetlinkDeserializable for Message {
    type Error = DecodeError;

    fn deserialize(header: &NetlinkHeader, payload: &[u8]) -> Result<Self, DecodeError> {
        Ok(Self {
            kind: header.message_type,
            flags: Flags::from_bits_retain(header.flags),
            body: payload.into(),
        })
    }
}

impl From<Message> for NetlinkPayload<Message> {
    fn from(message: Message) -> Self {
        Self::InnerMessage(message)
    }
}

/// What a message says, whether it adds, deletes, or answers a question.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Content {
    /// A table.
    Table(Table),
    /// A chain.
    Chain(Chain),
    /// A rule.
    Rule(Rule),
    /// A set or map.
    Set(Set),
    /// Elements of a set or map.
    Elements(Elements),
    /// A named object.
    Object(NamedObject),
    /// A flowtable.
    Flowtable(Flowtable),
    /// A generation of the ruleset.
    Generation(u32),
    /// Something else.
    Other,
}

/// Elements of one set or map.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Elements {
    /// The family of the set's table.
    pub family: Family,
    /// The set's table.
    pub table: Name,
    /// The set's name.
    pub set: Name,
    /// The elements.
    pub elements: Vec<Element>,
}

impl Content {
    /// What `message` says.
    ///
    /// # Errors
    /// [`DecodeError`] if it is malformed.
    pub fn decode(message: &wire::Message<'_>) -> Result<Self, DecodeError> {
        Ok(match header::operation(message.kind()) {
            Some(NFT_MSG_NEWTABLE | NFT_MSG_DELTABLE) => Self::Table(Table::decode(message)?),
            Some(NFT_MSG_NEWCHAIN | NFT_MSG_DELCHAIN) => Self::Chain(Chain::decode(message)?),
            Some(NFT_MSG_NEWRULE | NFT_MSG_DELRULE) => Self::Rule(Rule::decode(message)?),
            Some(NFT_MSG_NEWSET | NFT_MSG_DELSET) => Self::Set(Set::decode(message)?),
            Some(NFT_MSG_NEWSETELEM | NFT_MSG_DELSETELEM) => {
                Self::Elements(Elements::decode(message)?)
            }
            Some(NFT_MSG_NEWOBJ | NFT_MSG_DELOBJ) => Self::Object(NamedObject::decode(message)?),
            Some(NFT_MSG_NEWFLOWTABLE | NFT_MSG_DELFLOWTABLE) => {
                Self::Flowtable(Flowtable::decode(message)?)
            }
            Some(NFT_MSG_NEWGEN) => {
                let (_, attrs) = header::split(message)?;
                let missing = DecodeError::Missing {
                    kind: NFTA_GEN_ID.kind(),
                };
                Self::Generation(attrs.find(NFTA_GEN_ID)?.ok_or(missing)?)
            }
            _ => Self::Other,
        })
    }
}

impl Elements {
    pub(crate) fn decode(message: &wire::Message<'_>) -> Result<Self, DecodeError> {
        let mut elements = Vec::new();
        let (family, fields) = Self::read(message, &mut elements)?;
        Ok(Self {
            family,
            table: header::name(&fields, NFTA_SET_ELEM_LIST_TABLE)?,
            set: header::name(&fields, NFTA_SET_ELEM_LIST_SET)?,
            elements,
        })
    }

    /// The elements alone, behind those that are there.
    pub(crate) fn decode_into(
        message: &wire::Message<'_>,
        elements: &mut Vec<Element>,
    ) -> Result<(), DecodeError> {
        Self::read(message, elements).map(drop)
    }

    fn read<'m>(
        message: &wire::Message<'m>,
        elements: &mut Vec<Element>,
    ) -> Result<(Family, Fields<'m, 5>), DecodeError> {
        let (family, attrs) = header::split(message)?;
        let fields = Fields::<5>::read(attrs)?;
        let list = fields.get(NFTA_SET_ELEM_LIST_ELEMENTS)?;
        // Counted first: elements are large, and growing would copy them.
        elements.reserve(list.clone().map_or(0, Iterator::count));
        for element in list.into_iter().flatten() {
            elements.push(Element::new(Data::EMPTY));
            if let Some(place) = elements.last_mut() {
                place.read(element?.nested())?;
            }
        }
        Ok((family, fields))
    }
}
