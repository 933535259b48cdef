//! Lists that set to zero what they list: counters and the like begin anew,
//! and nothing that is counted in between is lost.

use crate::error::Error;
use crate::wire::uapi::nf_tables::{
    NFT_MSG_GETOBJ_RESET, NFT_MSG_GETRULE_RESET, NFT_MSG_GETSETELEM_RESET, NFTA_LIST_ELEM,
    NFTA_RULE_CHAIN, NFTA_RULE_TABLE, NFTA_SET_ELEM_LIST_ELEMENTS,
};

use super::list::put_object;
use super::{Nft, put_set};
use crate::nft::{
    Chain, Data, Element, Elements, Name, NamedObject, ObjectType, Rule, Set, Table, header,
};

impl Nft {
    /// The rules of `chain` with what they had counted, which is zero from now
    /// on. Linux 6.2 and later.
    ///
    /// A list that is interrupted by a change is repeated; what was set to
    /// zero before the interruption is not told again.
    ///
    /// # Errors
    /// What [`Connection::dump`](crate::conn::Connection::dump) returns.
    pub fn reset_rules(&mut self, chain: &Chain) -> Result<Vec<Rule>, Error> {
        let (family, table, name) = (chain.family(), chain.table(), chain.name());
        let ours =
            |rule: &Rule| rule.family() == family && rule.table() == table && rule.chain() == name;
        self.connection.dump(
            format_args!("reset rules {family} {table} {name}"),
            header::kind(NFT_MSG_GETRULE_RESET),
            |out| {
                header::put(family, out);
                out.put(NFTA_RULE_TABLE, table.as_str());
                out.put(NFTA_RULE_CHAIN, name.as_str());
            },
            |message| Ok(Some(Rule::decode(message)?).filter(ours)),
        )
    }

    /// The object with what it had counted, which is zero from now on: a
    /// counter or a quota.
    ///
    /// # Errors
    /// What [`Connection::get`](crate::conn::Connection::get) returns; that
    /// there is none is no error.
    pub fn reset_object(
        &mut self,
        table: &Table,
        kind: ObjectType,
        name: &Name,
    ) -> Result<Option<NamedObject>, Error> {
        self.single(
            &format_args!("reset {kind} {} {} {name}", table.family(), table.name()),
            NFT_MSG_GETOBJ_RESET,
            |out| put_object(table, kind, name, out),
            |message| Ok(NamedObject::decode(message)?),
        )
    }

    /// The objects of `table` with what they had counted, which is zero from
    /// now on; of one kind only if it is given.
    ///
    /// # Errors
    /// What [`Connection::dump`](crate::conn::Connection::dump) returns.
    pub fn reset_objects(
        &mut self,
        table: &Table,
        kind: Option<ObjectType>,
    ) -> Result<Vec<NamedObject>, Error> {
        self.dump_objects(NFT_MSG_GETOBJ_RESET, table, kind)
    }

    /// The elements of `set` with what they had counted, which is zero from
    /// now on. Linux 6.5 and later.
    ///
    /// # Errors
    /// What [`Connection::dump`](crate::conn::Connection::dump) returns.
    pub fn reset_elements(&mut self, set: &Set) -> Result<Vec<Element>, Error> {
        self.connection.dump_all(
            format_args!("reset set {} {} {}", set.family(), set.table(), set.name()),
            header::kind(NFT_MSG_GETSETELEM_RESET),
            |out| put_set(set, out),
            |message, all| Ok(Elements::decode_into(message, all)?),
        )
    }

    /// The element of `set` that has this key with what it had counted, which
    /// is zero from now on. Linux 6.5 and later.
    ///
    /// # Errors
    /// What [`Connection::get`](crate::conn::Connection::get) returns; that
    /// there is none is no error.
    pub fn reset_element(
        &mut self,
        set: &Set,
        key: impl Into<Data>,
    ) -> Result<Option<Element>, Error> {
        let wanted = Element::new(key);
        let list = self.single(
            &format_args!(
                "reset element {} {} {} {wanted}",
                set.family(),
                set.table(),
                set.name()
            ),
            NFT_MSG_GETSETELEM_RESET,
            |out| {
                put_set(set, out);
                out.nest(NFTA_SET_ELEM_LIST_ELEMENTS, |out| {
                    out.nest(NFTA_LIST_ELEM, |out| wanted.encode_key(out));
                });
            },
            |message| Ok(Elements::decode(message)?.elements),
        )?;
        Ok(list.and_then(|list| list.into_iter().next()))
    }
}
