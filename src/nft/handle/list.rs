//! Lists of what there is, and single things by their names.

use crate::error::Error;
use crate::wire::uapi::nf_tables::{
    NFT_MSG_GETCHAIN, NFT_MSG_GETFLOWTABLE, NFT_MSG_GETOBJ, NFT_MSG_GETRULE, NFT_MSG_GETSET,
    NFT_MSG_GETTABLE, NFTA_CHAIN_NAME, NFTA_CHAIN_TABLE, NFTA_RULE_CHAIN, NFTA_RULE_HANDLE,
    NFTA_RULE_TABLE, NFTA_SET_NAME, NFTA_SET_TABLE, NFTA_TABLE_NAME,
};
use crate::wire::uapi::nf_tables_obj::{
    NFTA_FLOWTABLE_NAME, NFTA_FLOWTABLE_TABLE, NFTA_OBJ_NAME, NFTA_OBJ_TABLE, NFTA_OBJ_TYPE,
};
use crate::wire::{Message, Writer};

use super::Nft;
use crate::nft::{
    Chain, Family, Flowtable, Name, NamedObject, ObjectType, Rule, Set, Table, header,
};

impl Nft {
    /// The table of this name.
    ///
    /// # Errors
    /// What [`Connection::get`](crate::conn::Connection::get) returns; that
    /// there is none is no error.
    pub fn table(&mut self, family: Family, name: &Name) -> Result<Option<Table>, Error> {
        self.single(
            &format_args!("get table {family} {name}"),
            NFT_MSG_GETTABLE,
            |out| {
                header::put(family, out);
                out.put(NFTA_TABLE_NAME, name.as_str());
            },
            |message| Ok(Table::decode(message)?),
        )
    }

    /// The chain of this name in `table`.
    ///
    /// # Errors
    /// What [`Connection::get`](crate::conn::Connection::get) returns; that
    /// there is none is no error.
    pub fn chain(&mut self, table: &Table, name: &Name) -> Result<Option<Chain>, Error> {
        self.single(
            &format_args!("get chain {} {} {name}", table.family(), table.name()),
            NFT_MSG_GETCHAIN,
            |out| {
                header::put(table.family(), out);
                out.put(NFTA_CHAIN_TABLE, table.name().as_str());
                out.put(NFTA_CHAIN_NAME, name.as_str());
            },
            |message| Ok(Chain::decode(message)?),
        )
    }

    /// The rule of this number in `chain`.
    ///
    /// # Errors
    /// What [`Connection::get`](crate::conn::Connection::get) returns; that
    /// there is none is no error.
    pub fn rule(&mut self, chain: &Chain, handle: u64) -> Result<Option<Rule>, Error> {
        let (family, table, name) = (chain.family(), chain.table(), chain.name());
        self.single(
            &format_args!("get rule {family} {table} {name} handle {handle}"),
            NFT_MSG_GETRULE,
            |out| {
                header::put(family, out);
                out.put(NFTA_RULE_TABLE, table.as_str());
                out.put(NFTA_RULE_CHAIN, name.as_str());
                out.put(NFTA_RULE_HANDLE, handle);
            },
            |message| Ok(Rule::decode(message)?),
        )
    }

    /// The set or map of this name in `table`.
    ///
    /// # Errors
    /// What [`Connection::get`](crate::conn::Connection::get) returns; that
    /// there is none is no error.
    pub fn set(&mut self, table: &Table, name: &Name) -> Result<Option<Set>, Error> {
        self.single(
            &format_args!("get set {} {} {name}", table.family(), table.name()),
            NFT_MSG_GETSET,
            |out| {
                header::put(table.family(), out);
                out.put(NFTA_SET_TABLE, table.name().as_str());
                out.put(NFTA_SET_NAME, name.as_str());
            },
            |message| Ok(Set::decode(message)?),
        )
    }

    /// The object of this kind and name in `table`.
    ///
    /// # Errors
    /// What [`Connection::get`](crate::conn::Connection::get) returns; that
    /// there is none is no error.
    pub fn object(
        &mut self,
        table: &Table,
        kind: ObjectType,
        name: &Name,
    ) -> Result<Option<NamedObject>, Error> {
        self.single(
            &format_args!("get {kind} {} {} {name}", table.family(), table.name()),
            NFT_MSG_GETOBJ,
            |out| put_object(table, kind, name, out),
            |message| Ok(NamedObject::decode(message)?),
        )
    }

    /// The flowtable of this name in `table`.
    ///
    /// # Errors
    /// What [`Connection::get`](crate::conn::Connection::get) returns; that
    /// there is none is no error.
    pub fn flowtable(&mut self, table: &Table, name: &Name) -> Result<Option<Flowtable>, Error> {
        self.single(
            &format_args!("get flowtable {} {} {name}", table.family(), table.name()),
            NFT_MSG_GETFLOWTABLE,
            |out| {
                header::put(table.family(), out);
                out.put(NFTA_FLOWTABLE_TABLE, table.name().as_str());
                out.put(NFTA_FLOWTABLE_NAME, name.as_str());
            },
            |message| Ok(Flowtable::decode(message)?),
        )
    }

    /// The rules of all chains of `table`, those of one chain in their order.
    ///
    /// # Errors
    /// What [`Connection::dump`](crate::conn::Connection::dump) returns.
    pub fn all_rules(&mut self, table: &Table) -> Result<Vec<Rule>, Error> {
        let ours = |rule: &Rule| rule.family() == table.family() && rule.table() == table.name();
        self.connection.dump(
            format_args!("list table {} {}", table.family(), table.name()),
            header::kind(NFT_MSG_GETRULE),
            |out| {
                header::put(table.family(), out);
                out.put(NFTA_RULE_TABLE, table.name().as_str());
            },
            |message| Ok(Some(Rule::decode(message)?).filter(ours)),
        )
    }

    /// The objects of `table`; of one kind only if it is given.
    ///
    /// # Errors
    /// What [`Connection::dump`](crate::conn::Connection::dump) returns.
    pub fn objects(
        &mut self,
        table: &Table,
        kind: Option<ObjectType>,
    ) -> Result<Vec<NamedObject>, Error> {
        self.dump_objects(NFT_MSG_GETOBJ, table, kind)
    }

    /// The flowtables of `table`. A kernel without flowtables lists none.
    ///
    /// # Errors
    /// What [`Connection::dump`](crate::conn::Connection::dump) returns.
    pub fn flowtables(&mut self, table: &Table) -> Result<Vec<Flowtable>, Error> {
        let ours = |flowtable: &Flowtable| {
            flowtable.family() == table.family() && flowtable.table() == table.name()
        };
        self.connection.dump(
            format_args!("list flowtables {} {}", table.family(), table.name()),
            header::kind(NFT_MSG_GETFLOWTABLE),
            |out| {
                header::put(table.family(), out);
                out.put(NFTA_FLOWTABLE_TABLE, table.name().as_str());
            },
            |message| Ok(Some(Flowtable::decode(message)?).filter(ours)),
        )
    }

    pub(super) fn dump_objects(
        &mut self,
        operation: u16,
        table: &Table,
        kind: Option<ObjectType>,
    ) -> Result<Vec<NamedObject>, Error> {
        let ours = |object: &NamedObject| {
            object.family() == table.family()
                && object.table() == table.name()
                && kind.is_none_or(|kind| kind == object.kind())
        };
        self.connection.dump(
            format_args!("list objects {} {}", table.family(), table.name()),
            header::kind(operation),
            |out| {
                header::put(table.family(), out);
                out.put(NFTA_OBJ_TABLE, table.name().as_str());
                out.put_some(NFTA_OBJ_TYPE, kind.map(ObjectType::as_raw));
            },
            |message| Ok(Some(NamedObject::decode(message)?).filter(ours)),
        )
    }

    /// One answer, or none where there is nothing of that name.
    pub(super) fn single<T>(
        &mut self,
        what: &dyn std::fmt::Display,
        operation: u16,
        body: impl FnOnce(&mut Writer<'_>),
        decode: impl FnMut(&Message<'_>) -> Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        let kind = header::kind(operation);
        match self.connection.ask(what, kind, body, decode) {
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
            other => other,
        }
    }
}

pub(super) fn put_object(table: &Table, kind: ObjectType, name: &Name, out: &mut Writer<'_>) {
    header::put(table.family(), out);
    out.put(NFTA_OBJ_TABLE, table.name().as_str());
    out.put(NFTA_OBJ_NAME, name.as_str());
    out.put(NFTA_OBJ_TYPE, kind.as_raw());
}
