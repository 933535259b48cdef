//! Operations in the words of `nft`, from their bytes.

use std::borrow::Cow;
use std::fmt;

use crate::error::Part;
use crate::wire::uapi::nf_tables::{
    NFT_MSG_DELCHAIN, NFT_MSG_DELFLOWTABLE, NFT_MSG_DELOBJ, NFT_MSG_DELRULE, NFT_MSG_DELSET,
    NFT_MSG_DELSETELEM, NFT_MSG_DELTABLE, NFT_MSG_DESTROYCHAIN, NFT_MSG_DESTROYFLOWTABLE,
    NFT_MSG_DESTROYOBJ, NFT_MSG_DESTROYRULE, NFT_MSG_DESTROYSET, NFT_MSG_DESTROYSETELEM,
    NFT_MSG_DESTROYTABLE, NFT_MSG_NEWCHAIN, NFT_MSG_NEWFLOWTABLE, NFT_MSG_NEWOBJ, NFT_MSG_NEWRULE,
    NFT_MSG_NEWSET, NFT_MSG_NEWSETELEM, NFT_MSG_NEWTABLE, NFTA_CHAIN_HANDLE, NFTA_CHAIN_NAME,
    NFTA_CHAIN_TABLE, NFTA_RULE_CHAIN, NFTA_RULE_EXPRESSIONS, NFTA_RULE_HANDLE, NFTA_RULE_ID,
    NFTA_RULE_TABLE, NFTA_SET_ELEM_LIST_ELEMENTS, NFTA_SET_ELEM_LIST_SET, NFTA_SET_ELEM_LIST_TABLE,
    NFTA_SET_HANDLE, NFTA_SET_NAME, NFTA_SET_TABLE, NFTA_TABLE_HANDLE, NFTA_TABLE_NAME,
};
use crate::wire::uapi::nf_tables_obj::{
    NFTA_FLOWTABLE_HANDLE, NFTA_FLOWTABLE_NAME, NFTA_FLOWTABLE_TABLE, NFTA_OBJ_HANDLE,
    NFTA_OBJ_NAME, NFTA_OBJ_TABLE, NFTA_OBJ_TYPE,
};
use crate::wire::{Attr, Attrs, Flags, HEADER_LENGTH, Message, Text, locate};

use super::Batch;
use crate::nft::name::lossy;
use crate::nft::{Family, ObjectType, header};

impl fmt::Display for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for message in (1..=self.len()).filter_map(|place| self.requests.message(place)) {
            let line = describe(&message);
            match line.elements {
                Some(count) => writeln!(f, "{line} # {count}")?,
                None => writeln!(f, "{line}")?,
            }
        }
        Ok(())
    }
}

/// One operation: `add rule inet riklet forward`.
pub(super) struct Line<'a> {
    verb: &'static str,
    noun: Cow<'static, str>,
    family: Family,
    table: Cow<'a, str>,
    name: Option<Cow<'a, str>>,
    handle: Option<u64>,
    elements: Option<usize>,
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {} {} {}",
            self.verb, self.noun, self.family, self.table
        )?;
        if let Some(name) = &self.name {
            write!(f, " {name}")?;
        }
        match self.handle {
            Some(handle) => write!(f, " handle {handle}"),
            None => Ok(()),
        }
    }
}

pub(super) fn describe<'a>(message: &Message<'a>) -> Line<'a> {
    let empty = (Family::UNSPEC, Attrs::new(&[]));
    let (family, attrs) = header::split(message).unwrap_or(empty);
    let operation = header::operation(message.kind()).unwrap_or(u16::MAX);
    let flags = message.header().flags;
    let (noun, table, name, handle) = match operation {
        NFT_MSG_NEWTABLE | NFT_MSG_DELTABLE | NFT_MSG_DESTROYTABLE => {
            ("table", NFTA_TABLE_NAME, None, Some(NFTA_TABLE_HANDLE))
        }
        NFT_MSG_NEWCHAIN | NFT_MSG_DELCHAIN | NFT_MSG_DESTROYCHAIN => {
            let name = Some(NFTA_CHAIN_NAME);
            ("chain", NFTA_CHAIN_TABLE, name, Some(NFTA_CHAIN_HANDLE))
        }
        NFT_MSG_NEWRULE | NFT_MSG_DELRULE | NFT_MSG_DESTROYRULE => {
            let name = Some(NFTA_RULE_CHAIN);
            ("rule", NFTA_RULE_TABLE, name, Some(NFTA_RULE_HANDLE))
        }
        NFT_MSG_NEWSET | NFT_MSG_DELSET | NFT_MSG_DESTROYSET => {
            let name = Some(NFTA_SET_NAME);
            ("set", NFTA_SET_TABLE, name, Some(NFTA_SET_HANDLE))
        }
        NFT_MSG_NEWOBJ | NFT_MSG_DELOBJ | NFT_MSG_DESTROYOBJ => {
            let name = Some(NFTA_OBJ_NAME);
            ("object", NFTA_OBJ_TABLE, name, Some(NFTA_OBJ_HANDLE))
        }
        NFT_MSG_NEWFLOWTABLE | NFT_MSG_DELFLOWTABLE | NFT_MSG_DESTROYFLOWTABLE => {
            let (table, name) = (NFTA_FLOWTABLE_TABLE, NFTA_FLOWTABLE_NAME);
            ("flowtable", table, Some(name), Some(NFTA_FLOWTABLE_HANDLE))
        }
        _ => {
            let name = Some(NFTA_SET_ELEM_LIST_SET);
            ("element", NFTA_SET_ELEM_LIST_TABLE, name, None)
        }
    };
    let mut line = Line {
        verb: verb(operation, flags),
        noun: noun.into(),
        family,
        table: text(&attrs, table).unwrap_or_default(),
        name: name.and_then(|name| text(&attrs, name)),
        handle: handle.and_then(|handle| attrs.clone().find(handle).ok().flatten()),
        elements: None,
    };
    match noun {
        "rule" => {
            let one = line.handle.is_some() || matches!(attrs.find(NFTA_RULE_ID), Ok(Some(_)));
            if operation == NFT_MSG_DELRULE && !one {
                line.verb = "flush";
                line.noun = if line.name.is_some() {
                    "chain".into()
                } else {
                    "table".into()
                };
            }
        }
        "object" => {
            let kind = attrs.find(NFTA_OBJ_TYPE).ok().flatten();
            if let Some(kind) = kind.map(ObjectType::from_raw) {
                line.noun = kind.to_string().into();
            }
        }
        "element" => {
            let list = attrs.find(NFTA_SET_ELEM_LIST_ELEMENTS).ok().flatten();
            line.elements = list.map(Iterator::count);
            if line.elements.is_none() {
                (line.verb, line.noun) = ("flush", "set".into());
            }
        }
        _ => {}
    }
    line
}

/// The expression, element or attribute that begins `offset` bytes behind the
/// start of `message`.
pub(super) fn part(message: &Message<'_>, offset: usize) -> Option<Part> {
    let (_, attrs) = header::split(message).ok()?;
    let offset = offset
        .checked_sub(HEADER_LENGTH)?
        .checked_sub(header::LENGTH)?;
    let (kind, _, nested, inside) = locate(attrs, offset)?;
    let index = inside
        .and_then(|inside| locate(nested, inside))
        .map(|(_, index, _, _)| index);
    let operation = header::operation(message.kind())?;
    Some(match (operation, index) {
        (NFT_MSG_NEWRULE, Some(index)) if kind == NFTA_RULE_EXPRESSIONS.kind() => {
            Part::Expression(index)
        }
        (NFT_MSG_NEWSETELEM | NFT_MSG_DELSETELEM | NFT_MSG_DESTROYSETELEM, Some(index))
            if kind == NFTA_SET_ELEM_LIST_ELEMENTS.kind() =>
        {
            Part::Element(index)
        }
        _ => Part::Attribute(kind),
    })
}

const fn verb(operation: u16, flags: Flags) -> &'static str {
    match operation {
        NFT_MSG_NEWRULE if flags.contains(Flags::REPLACE) => "replace",
        NFT_MSG_NEWRULE if !flags.contains(Flags::APPEND) => "insert",
        NFT_MSG_NEWTABLE | NFT_MSG_NEWCHAIN | NFT_MSG_NEWRULE | NFT_MSG_NEWSET
        | NFT_MSG_NEWSETELEM | NFT_MSG_NEWOBJ | NFT_MSG_NEWFLOWTABLE => {
            if flags.contains(Flags::EXCL) {
                "create"
            } else {
                "add"
            }
        }
        NFT_MSG_DELTABLE | NFT_MSG_DELCHAIN | NFT_MSG_DELRULE | NFT_MSG_DELSET
        | NFT_MSG_DELSETELEM | NFT_MSG_DELOBJ | NFT_MSG_DELFLOWTABLE => "delete",
        _ => "destroy",
    }
}

fn text<'a>(attrs: &Attrs<'a>, attr: Attr<Text>) -> Option<Cow<'a, str>> {
    let bytes = attrs
        .clone()
        .find(Attr::<crate::wire::Bytes>::new(attr.kind()))
        .ok()??;
    Some(lossy(bytes))
}
