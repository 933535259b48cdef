//! Stateful objects: counters, quotas, helpers and others that have names of
//! their own, so that several rules and elements can use one.

mod conntrack;
mod tunnel;

pub use conntrack::{CtExpectation, CtHelper, CtTimeout, Secmark, Timeouts};
pub use tunnel::{TunnelInfo, TunnelIp4, TunnelIp6, TunnelOption, TunnelOptions};

use crate::wire::uapi::nf_tables_obj::{
    NFT_OBJECT_CONNLIMIT, NFT_OBJECT_COUNTER, NFT_OBJECT_CT_EXPECT, NFT_OBJECT_CT_HELPER,
    NFT_OBJECT_CT_TIMEOUT, NFT_OBJECT_LIMIT, NFT_OBJECT_QUOTA, NFT_OBJECT_SECMARK,
    NFT_OBJECT_SYNPROXY, NFT_OBJECT_TUNNEL, NFTA_OBJ_DATA, NFTA_OBJ_HANDLE, NFTA_OBJ_NAME,
    NFTA_OBJ_TABLE, NFTA_OBJ_TYPE, NFTA_OBJ_USE, NFTA_OBJ_USERDATA,
};
use crate::wire::{Attrs, DecodeError, Fields, Message, Writer};

use super::carried::open;
use super::expr::{Connlimit, Counter, Limit, Quota, Synproxy, rewritten};
use super::header;
use super::userdata::{self, Entries};
use super::{Comment, Family, Name, Table};

/// An object with a name and a state.
///
/// ```
/// use tapwire::nft::expr::Quota;
/// use tapwire::nft::{Batch, Family, Name, NamedObject, ObjectType, Table};
/// let table = Table::new(Family::INET, Name::constant("riklet"));
/// let daily = NamedObject::new(&table, Name::constant("daily"), Quota::new(10 << 30));
/// assert_eq!(daily.kind(), ObjectType::QUOTA);
/// let mut batch = Batch::new();
/// batch.add(&table).add(&daily);
/// assert_eq!(batch.to_string(), "add table inet riklet\nadd quota inet riklet daily\n");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NamedObject {
    family: Family,
    table: Name,
    name: Name,
    state: ObjectState,
    comment: Option<Comment>,
    userdata: Vec<u8>,
    handle: Option<u64>,
    uses: Option<u32>,
}

/// What an object is and what it holds.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ObjectState {
    /// Counts.
    Counter(Counter),
    /// Compares with an amount.
    Quota(Quota),
    /// Compares with a rate.
    Limit(Limit),
    /// Compares the number of connections.
    Connlimit(Connlimit),
    /// Answers in the place of the server.
    Synproxy(Synproxy),
    /// Follows the protocol of a connection.
    CtHelper(CtHelper),
    /// Says when connections are forgotten.
    CtTimeout(CtTimeout),
    /// Expects a further connection.
    CtExpectation(CtExpectation),
    /// A security mark.
    Secmark(Secmark),
    /// Where a tunnel leads.
    Tunnel(TunnelInfo),
    /// A kind that is not known here, kept as it was listed.
    Unknown(ObjectType, Box<[u8]>),
}

open! {
    /// A kind of object (`NFT_OBJECT_*`); its text is the word of `nft`.
    ObjectType: u32 as Be32 {
        /// Counts.
        COUNTER = NFT_OBJECT_COUNTER, "counter";
        /// Compares with an amount.
        QUOTA = NFT_OBJECT_QUOTA, "quota";
        /// Follows the protocol of a connection.
        CT_HELPER = NFT_OBJECT_CT_HELPER, "ct helper";
        /// Compares with a rate.
        LIMIT = NFT_OBJECT_LIMIT, "limit";
        /// Compares the number of connections.
        CONNLIMIT = NFT_OBJECT_CONNLIMIT, "ct count";
        /// Where a tunnel leads.
        TUNNEL = NFT_OBJECT_TUNNEL, "tunnel";
        /// Says when connections are forgotten.
        CT_TIMEOUT = NFT_OBJECT_CT_TIMEOUT, "ct timeout";
        /// A security mark.
        SECMARK = NFT_OBJECT_SECMARK, "secmark";
        /// Expects a further connection.
        CT_EXPECTATION = NFT_OBJECT_CT_EXPECT, "ct expectation";
        /// Answers in the place of the server.
        SYNPROXY = NFT_OBJECT_SYNPROXY, "synproxy";
    }
}

impl NamedObject {
    /// An object of `table`.
    pub fn new(table: &Table, name: Name, state: impl Into<ObjectState>) -> Self {
        Self {
            family: table.family(),
            table: table.name().clone(),
            name,
            state: state.into(),
            comment: None,
            userdata: Vec::new(),
            handle: None,
            uses: None,
        }
    }

    /// With a comment, which `nft` lists.
    #[must_use]
    pub const fn comment(mut self, comment: Comment) -> Self {
        self.comment = Some(comment);
        self
    }

    /// As the object of this number, to be deleted by it
    /// ([`Batch::delete_by_handle`](super::Batch::delete_by_handle)).
    #[must_use]
    pub const fn with_handle(mut self, handle: u64) -> Self {
        self.handle = Some(handle);
        self
    }

    /// The family of its table.
    pub const fn family(&self) -> Family {
        self.family
    }

    /// Its table.
    pub const fn table(&self) -> &Name {
        &self.table
    }

    /// Its name.
    pub const fn name(&self) -> &Name {
        &self.name
    }

    /// What it is.
    pub const fn kind(&self) -> ObjectType {
        self.state.kind()
    }

    /// What it is and what it holds.
    pub const fn state(&self) -> &ObjectState {
        &self.state
    }

    /// Its comment.
    pub const fn current_comment(&self) -> Option<&Comment> {
        self.comment.as_ref()
    }

    /// The kernel's number of it, if it was listed.
    pub const fn handle(&self) -> Option<u64> {
        self.handle
    }

    /// How many rules and elements use it, if it was listed.
    pub const fn uses(&self) -> Option<u32> {
        self.uses
    }

    /// Whether `other` is the same object, whatever only a listing tells: its
    /// handle, and how much uses it.
    pub fn is_same(&self, other: &Self) -> bool {
        let plain = |object: &Self| Self {
            handle: None,
            uses: None,
            state: match &object.state {
                ObjectState::Limit(limit) => ObjectState::Limit(limit.as_listed()),
                other => other.clone(),
            },
            ..object.clone()
        };
        plain(self) == plain(other)
    }

    pub(crate) fn moved(&self, table: &Name) -> Self {
        Self {
            table: table.clone(),
            ..self.clone()
        }
    }

    pub(crate) fn encode_key(&self, out: &mut Writer<'_>) {
        header::put(self.family, out);
        out.put(NFTA_OBJ_TABLE, self.table.as_str());
        out.put(NFTA_OBJ_NAME, self.name.as_str());
        out.put(NFTA_OBJ_TYPE, self.kind().as_raw());
    }

    /// Its key, and the number that counts instead of the name.
    pub(crate) fn encode_handle(&self, handle: u64, out: &mut Writer<'_>) {
        self.encode_key(out);
        out.put(NFTA_OBJ_HANDLE, handle);
    }

    pub(crate) fn encode(&self, out: &mut Writer<'_>) {
        self.encode_key(out);
        out.nest(NFTA_OBJ_DATA, |out| self.state.encode(out));
        let mut entries = Entries::new();
        entries.comment(userdata::COMMENT, self.comment.as_ref());
        entries.raw(&self.userdata);
        entries.put(NFTA_OBJ_USERDATA, out);
    }

    /// Reads `NFT_MSG_NEWOBJ`.
    ///
    /// # Errors
    /// [`DecodeError`] if the message is malformed.
    pub fn decode(message: &Message<'_>) -> Result<Self, DecodeError> {
        let (family, attrs) = header::split(message)?;
        let fields = Fields::<9>::read(attrs)?;
        let table = Table::new(family, header::name(&fields, NFTA_OBJ_TABLE)?);
        let kind = ObjectType::from_raw(fields.need(NFTA_OBJ_TYPE)?);
        let data = fields.get(NFTA_OBJ_DATA)?.unwrap_or(Attrs::new(&[]));
        let name = header::name(&fields, NFTA_OBJ_NAME)?;
        let mut object = Self::new(&table, name, ObjectState::decode(kind, data)?);
        object.handle = fields.get(NFTA_OBJ_HANDLE)?;
        object.uses = fields.get(NFTA_OBJ_USE)?;
        let bytes = fields.get(NFTA_OBJ_USERDATA)?.unwrap_or_default();
        (object.comment, object.userdata) = header::comment(bytes, userdata::COMMENT);
        Ok(object)
    }
}

macro_rules! states {
    ($($variant:ident($type:ident) = $kind:ident $(, $canonical:ident)?;)*) => {
        impl ObjectState {
            /// Its kind.
            pub const fn kind(&self) -> ObjectType {
                match self {
                    $(Self::$variant(_) => ObjectType::$kind,)*
                    Self::Unknown(kind, _) => *kind,
                }
            }

            fn encode(&self, out: &mut Writer<'_>) {
                match self {
                    $(Self::$variant(state) => state.encode(out),)*
                    Self::Unknown(_, data) => out.fixed(data),
                }
            }

            /// An object of a known kind that lacks what it must have, or of
            /// an unknown one, stays as it is.
            fn decode(kind: ObjectType, data: Attrs<'_>) -> Result<Self, DecodeError> {
                let unknown = |data| Ok(Self::Unknown(kind, rewritten(data)?));
                let known = match kind {
                    $(ObjectType::$kind => $type::decode(data.clone())$(.map($type::$canonical))?.map(Self::$variant),)*
                    _ => return unknown(data),
                };
                match known {
                    Err(DecodeError::Missing { .. }) => unknown(data),
                    known => known,
                }
            }
        }

        $(
            impl From<$type> for ObjectState {
                fn from(state: $type) -> Self {
                    Self::$variant(state)
                }
            }
        )*
    };
}

states! {
    Counter(Counter) = COUNTER;
    Quota(Quota) = QUOTA, canonical;
    Limit(Limit) = LIMIT;
    Connlimit(Connlimit) = CONNLIMIT;
    Synproxy(Synproxy) = SYNPROXY;
    CtHelper(CtHelper) = CT_HELPER;
    CtTimeout(CtTimeout) = CT_TIMEOUT;
    CtExpectation(CtExpectation) = CT_EXPECTATION;
    Secmark(Secmark) = SECMARK;
    Tunnel(TunnelInfo) = TUNNEL;
}
