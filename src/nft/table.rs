//! Tables.

use crate::wire::uapi::nf_tables::{
    NFT_TABLE_F_DORMANT, NFT_TABLE_F_OWNER, NFT_TABLE_F_PERSIST, NFTA_TABLE_FLAGS,
    NFTA_TABLE_HANDLE, NFTA_TABLE_NAME, NFTA_TABLE_OWNER, NFTA_TABLE_USE, NFTA_TABLE_USERDATA,
};
use crate::wire::{DecodeError, Fields, Message, Writer};

use super::header;
use super::userdata::{self, Entries};
use super::{Comment, Family, Name};

bitflags::bitflags! {
    /// The flags of a table (`enum nft_table_flags`).
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub struct TableFlags: u32 {
        /// Its chains are not attached to their hooks.
        const DORMANT = NFT_TABLE_F_DORMANT;
        /// Only the socket that made it may change it; it goes with the
        /// socket.
        const OWNER = NFT_TABLE_F_OWNER;
        /// An owned table that stays when its socket closes (Linux 6.9).
        const PERSIST = NFT_TABLE_F_PERSIST;
    }
}

/// A table: the space of names in which chains and sets live.
///
/// ```
/// use tapwire::nft::{Batch, Comment, Family, Name, Table};
/// const OWNER: Name = Name::constant("riklet");
/// let table = Table::new(Family::INET, OWNER).comment(Comment::constant("owner=riklet"));
/// let mut batch = Batch::new();
/// batch.add(&table);
/// assert_eq!(batch.to_string(), "add table inet riklet\n");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Table {
    family: Family,
    name: Name,
    flags: TableFlags,
    comment: Option<Comment>,
    userdata: Vec<u8>,
    handle: Option<u64>,
    uses: Option<u32>,
    owner: Option<u32>,
}

impl Table {
    /// A table without flags.
    pub const fn new(family: Family, name: Name) -> Self {
        Self {
            family,
            name,
            flags: TableFlags::empty(),
            comment: None,
            userdata: Vec::new(),
            handle: None,
            uses: None,
            owner: None,
        }
    }

    /// With these flags.
    #[must_use]
    pub const fn flags(mut self, flags: TableFlags) -> Self {
        self.flags = flags;
        self
    }

    /// With a comment, which `nft` lists.
    #[must_use]
    pub const fn comment(mut self, comment: Comment) -> Self {
        self.comment = Some(comment);
        self
    }

    /// As the table of this number, to be deleted by it
    /// ([`Batch::delete_by_handle`](super::Batch::delete_by_handle)).
    #[must_use]
    pub const fn with_handle(mut self, handle: u64) -> Self {
        self.handle = Some(handle);
        self
    }

    /// Its family.
    pub const fn family(&self) -> Family {
        self.family
    }

    /// Its name.
    pub const fn name(&self) -> &Name {
        &self.name
    }

    /// Its flags.
    pub const fn current_flags(&self) -> TableFlags {
        self.flags
    }

    /// Its comment.
    pub const fn current_comment(&self) -> Option<&Comment> {
        self.comment.as_ref()
    }

    /// The kernel's number of it, if it was listed.
    pub const fn handle(&self) -> Option<u64> {
        self.handle
    }

    /// How many chains, sets and objects it has, if it was listed.
    pub const fn uses(&self) -> Option<u32> {
        self.uses
    }

    /// The port of the socket that owns it.
    pub const fn owner(&self) -> Option<u32> {
        self.owner
    }

    /// Whether `other` is the same table, whatever only a listing tells: its
    /// handle, its owner, how much is in it.
    pub fn is_same(&self, other: &Self) -> bool {
        let plain = |table: &Self| Self {
            handle: None,
            uses: None,
            owner: None,
            ..table.clone()
        };
        plain(self) == plain(other)
    }

    pub(crate) fn moved(&self, name: Name) -> Self {
        Self {
            name,
            ..self.clone()
        }
    }

    pub(crate) fn encode_key(&self, out: &mut Writer<'_>) {
        header::put(self.family, out);
        out.put(NFTA_TABLE_NAME, self.name.as_str());
    }

    /// Its key, and the number that counts instead of the name.
    pub(crate) fn encode_handle(&self, handle: u64, out: &mut Writer<'_>) {
        self.encode_key(out);
        out.put(NFTA_TABLE_HANDLE, handle);
    }

    pub(crate) fn encode(&self, out: &mut Writer<'_>) {
        self.encode_key(out);
        out.put(NFTA_TABLE_FLAGS, self.flags.bits());
        let mut entries = Entries::new();
        entries.comment(userdata::COMMENT, self.comment.as_ref());
        entries.raw(&self.userdata);
        entries.put(NFTA_TABLE_USERDATA, out);
    }

    /// Reads `NFT_MSG_NEWTABLE`.
    ///
    /// # Errors
    /// [`DecodeError`] if the message is malformed.
    pub fn decode(message: &Message<'_>) -> Result<Self, DecodeError> {
        let (family, attrs) = header::split(message)?;
        let fields = Fields::<8>::read(attrs)?;
        let mut table = Self::new(family, header::name(&fields, NFTA_TABLE_NAME)?);
        table.flags =
            TableFlags::from_bits_retain(fields.get(NFTA_TABLE_FLAGS)?.unwrap_or_default());
        table.handle = fields.get(NFTA_TABLE_HANDLE)?;
        table.uses = fields.get(NFTA_TABLE_USE)?;
        table.owner = fields.get(NFTA_TABLE_OWNER)?;
        let bytes = fields.get(NFTA_TABLE_USERDATA)?.unwrap_or_default();
        (table.comment, table.userdata) = header::comment(bytes, userdata::COMMENT);
        Ok(table)
    }
}
