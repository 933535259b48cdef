//! The verbs, for each kind of object.

use crate::error::Invalid;
use crate::wire::Flags;
use crate::wire::uapi::nf_tables::{
    NFT_MSG_DELCHAIN, NFT_MSG_DELFLOWTABLE, NFT_MSG_DELOBJ, NFT_MSG_DELRULE, NFT_MSG_DELSET,
    NFT_MSG_DELSETELEM, NFT_MSG_DELTABLE, NFT_MSG_DESTROYCHAIN, NFT_MSG_DESTROYFLOWTABLE,
    NFT_MSG_DESTROYOBJ, NFT_MSG_DESTROYRULE, NFT_MSG_DESTROYSET, NFT_MSG_DESTROYTABLE,
    NFT_MSG_NEWCHAIN, NFT_MSG_NEWFLOWTABLE, NFT_MSG_NEWOBJ, NFT_MSG_NEWRULE, NFT_MSG_NEWSET,
    NFT_MSG_NEWSETELEM, NFT_MSG_NEWTABLE, NFTA_RULE_CHAIN, NFTA_RULE_TABLE, NFTA_SET_ELEM_LIST_SET,
    NFTA_SET_ELEM_LIST_TABLE,
};

use self::sealed::Verb;
use super::Batch;
use crate::nft::{Chain, Flowtable, NamedObject, Rule, Set, Table, header};

/// What a [`Batch`] adds and deletes: tables, chains, rules, sets, named
/// objects, flowtables.
pub trait Object: sealed::Sealed {}

impl<T: sealed::Sealed> Object for T {}

impl Verb {
    /// The operation among new, delete and destroy, and its flags; of a flush
    /// it is none.
    const fn operation(self, new: u16, delete: u16, destroy: u16) -> Option<(u16, Flags)> {
        match self {
            Self::Add => Some((new, Flags::CREATE)),
            Self::Create => Some((new, Flags::CREATE.union(Flags::EXCL))),
            Self::Delete | Self::DeleteByHandle => Some((delete, Flags::empty())),
            Self::Destroy => Some((destroy, Flags::empty())),
            Self::Flush => None,
        }
    }

    const fn makes(self) -> bool {
        matches!(self, Self::Add | Self::Create)
    }
}

pub(super) mod sealed {
    #[expect(
        unnameable_types,
        reason = "what cannot be named cannot be implemented elsewhere"
    )]
    pub trait Sealed {
        fn write(&self, verb: Verb, batch: &mut crate::nft::Batch);
    }

    #[expect(unnameable_types, reason = "only the batch says it")]
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    #[non_exhaustive]
    pub enum Verb {
        Add,
        Create,
        Delete,
        DeleteByHandle,
        Destroy,
        Flush,
    }
}

impl sealed::Sealed for Table {
    fn write(&self, verb: Verb, batch: &mut Batch) {
        let operation = verb.operation(NFT_MSG_NEWTABLE, NFT_MSG_DELTABLE, NFT_MSG_DESTROYTABLE);
        match operation {
            Some((operation, flags)) if verb.makes() => {
                batch.push(operation, flags, |out| self.encode(out));
            }
            Some((operation, flags)) if verb == Verb::DeleteByHandle => match self.handle() {
                Some(handle) => {
                    batch.push(operation, flags, |out| self.encode_handle(handle, out));
                }
                None => batch.refuse(Invalid::new("table", self.name(), NO_HANDLE)),
            },
            Some((operation, flags)) => batch.push(operation, flags, |out| self.encode_key(out)),
            None => batch.push(NFT_MSG_DELRULE, Flags::empty(), |out| {
                header::put(self.family(), out);
                out.put(NFTA_RULE_TABLE, self.name().as_str());
            }),
        }
    }
}

impl sealed::Sealed for Chain {
    fn write(&self, verb: Verb, batch: &mut Batch) {
        let operation = verb.operation(NFT_MSG_NEWCHAIN, NFT_MSG_DELCHAIN, NFT_MSG_DESTROYCHAIN);
        match operation {
            Some((operation, flags)) if verb.makes() => {
                let id = self.is_bound().then(|| batch.bind(self));
                batch.push(operation, flags, |out| self.encode(id, out));
            }
            Some((operation, flags)) if verb == Verb::DeleteByHandle => match self.handle() {
                Some(handle) => {
                    batch.push(operation, flags, |out| self.encode_handle(handle, out));
                }
                None => batch.refuse(Invalid::new("chain", self.name(), NO_HANDLE)),
            },
            Some((operation, flags)) => batch.push(operation, flags, |out| self.encode_key(out)),
            None => batch.push(NFT_MSG_DELRULE, Flags::empty(), |out| {
                header::put(self.family(), out);
                out.put(NFTA_RULE_TABLE, self.table().as_str());
                out.put(NFTA_RULE_CHAIN, self.name().as_str());
            }),
        }
    }
}

impl sealed::Sealed for Set {
    fn write(&self, verb: Verb, batch: &mut Batch) {
        if let Some(invalid) = self.check(None) {
            return batch.refuse(invalid);
        }
        let operation = verb.operation(NFT_MSG_NEWSET, NFT_MSG_DELSET, NFT_MSG_DESTROYSET);
        match operation {
            Some((operation, flags)) if verb.makes() => {
                let id = batch.number_sets(1);
                batch.push(operation, flags, |out| self.encode(id, out));
            }
            Some((operation, flags)) if verb == Verb::DeleteByHandle => match self.handle() {
                Some(handle) => {
                    batch.push(operation, flags, |out| self.encode_handle(handle, out));
                }
                None => batch.refuse(Invalid::new("set", self.name(), NO_HANDLE)),
            },
            Some((operation, flags)) => batch.push(operation, flags, |out| self.encode_key(out)),
            None => batch.push(NFT_MSG_DELSETELEM, Flags::empty(), |out| {
                header::put(self.family(), out);
                out.put(NFTA_SET_ELEM_LIST_TABLE, self.table().as_str());
                out.put(NFTA_SET_ELEM_LIST_SET, self.name().as_str());
            }),
        }
    }
}

impl sealed::Sealed for NamedObject {
    fn write(&self, verb: Verb, batch: &mut Batch) {
        match verb.operation(NFT_MSG_NEWOBJ, NFT_MSG_DELOBJ, NFT_MSG_DESTROYOBJ) {
            Some((operation, flags)) if verb.makes() => {
                batch.push(operation, flags, |out| self.encode(out));
            }
            Some((operation, flags)) if verb == Verb::DeleteByHandle => match self.handle() {
                Some(handle) => {
                    batch.push(operation, flags, |out| self.encode_handle(handle, out));
                }
                None => batch.refuse(Invalid::new("object", self.name(), NO_HANDLE)),
            },
            Some((operation, flags)) => batch.push(operation, flags, |out| self.encode_key(out)),
            None => batch.refuse(Invalid::new("object", self.name(), "cannot be flushed")),
        }
    }
}

impl sealed::Sealed for Flowtable {
    fn write(&self, verb: Verb, batch: &mut Batch) {
        let operation = verb.operation(
            NFT_MSG_NEWFLOWTABLE,
            NFT_MSG_DELFLOWTABLE,
            NFT_MSG_DESTROYFLOWTABLE,
        );
        match operation {
            Some((operation, flags)) if verb.makes() => {
                batch.push(operation, flags, |out| self.encode(out));
            }
            Some((operation, flags)) if verb == Verb::DeleteByHandle => match self.handle() {
                Some(handle) => {
                    batch.push(operation, flags, |out| self.encode_handle(handle, out));
                }
                None => batch.refuse(Invalid::new("flowtable", self.name(), NO_HANDLE)),
            },
            Some((operation, flags)) => batch.push(operation, flags, |out| self.encode_key(out)),
            None => batch.refuse(Invalid::new("flowtable", self.name(), "cannot be flushed")),
        }
    }
}

impl sealed::Sealed for Rule {
    fn write(&self, verb: Verb, batch: &mut Batch) {
        let operation = verb.operation(NFT_MSG_NEWRULE, NFT_MSG_DELRULE, NFT_MSG_DESTROYRULE);
        match operation {
            Some((_, flags)) if verb.makes() => self.write_as(flags | Flags::APPEND, batch),
            Some((operation, flags)) if self.is_numbered() => {
                batch.push(operation, flags, |out| self.encode_key(out));
            }
            // Without a number the kernel would empty the chain.
            _ => batch.refuse(Invalid::new("rule of", self.chain(), NO_HANDLE)),
        }
    }
}

impl Rule {
    /// Adds the rule, behind the anonymous sets that it uses.
    pub(super) fn write_as(&self, flags: Flags, batch: &mut Batch) {
        if let Err(invalid) = self.check() {
            return batch.refuse(invalid);
        }
        let first = batch.number_sets(self.lists.len());
        let mut id = first;
        for list in &self.lists {
            let set = Set::anonymous(self.family(), self.table(), list.kind, list.elements.len());
            let set = if list.interval { set.interval() } else { set };
            batch.push(NFT_MSG_NEWSET, Flags::CREATE, |out| set.encode(id, out));
            batch.elements(
                NFT_MSG_NEWSETELEM,
                Flags::CREATE,
                &set,
                Some(id),
                &list.elements,
            );
            id = id.saturating_add(1);
        }
        let replaces = flags.contains(Flags::REPLACE);
        let bound = std::mem::take(&mut batch.bound);
        batch.push(NFT_MSG_NEWRULE, flags, |out| {
            self.encode(first, replaces, &bound, out);
        });
        batch.bound = bound;
    }
}

const NO_HANDLE: &str = "has no handle";
