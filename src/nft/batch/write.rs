//! How operations get into a batch.

use std::borrow::Borrow;

use super::{Bound, Latched};
use crate::error::Invalid;
use crate::nft::carried::Carried;
use crate::nft::{Batch, Chain, Data, Element, Set, header};
use crate::wire::uapi::netlink::NLMSG_MIN_TYPE;
use crate::wire::uapi::nf_tables::{
    NFT_MSG_DELSETELEM, NFT_MSG_NEWSETELEM, NFTA_LIST_ELEM, NFTA_SET_ELEM_KEY,
    NFTA_SET_ELEM_LIST_ELEMENTS, NFTA_SET_ELEM_LIST_SET, NFTA_SET_ELEM_LIST_SET_ID,
    NFTA_SET_ELEM_LIST_TABLE,
};
use crate::wire::uapi::nfnetlink::{NFNL_BATCH_GENID, NFNL_MSG_BATCH_BEGIN, NFNL_SUBSYS_NFTABLES};
use crate::wire::{EncodeError, Flags, Writer};

impl Batch {
    /// Appends one operation.
    pub(super) fn push(
        &mut self,
        operation: u16,
        flags: Flags,
        body: impl FnOnce(&mut Writer<'_>),
    ) {
        if self.ended {
            self.rewrite();
        }
        let begun = if self.requests.is_empty() {
            self.begin()
        } else {
            Ok(())
        };
        let pushed = begun.and_then(|()| self.requests.push(header::kind(operation), flags, body));
        if let Err(error) = pushed {
            self.error.get_or_insert(Latched::Encode(error));
        }
    }

    fn begin(&mut self) -> Result<(), EncodeError> {
        let generation = self.generation;
        self.requests
            .push(NFNL_MSG_BATCH_BEGIN, Flags::empty(), |out| {
                put_batch_header(out);
                if generation != 0 {
                    out.put(NFNL_BATCH_GENID, generation);
                }
            })
    }

    /// Appends the operations of `other`, of which none refers to another by
    /// a number within that batch.
    pub(crate) fn append(&mut self, other: &Self) {
        for place in 1..=other.len() {
            let Some(message) = other.requests.message(place) else {
                continue;
            };
            if let Some(operation) = header::operation(message.kind()) {
                let flags = message.header().flags.difference(Flags::ACK);
                self.push(operation, flags, |out| out.fixed(message.body()));
            }
        }
        if self.error.is_none() {
            self.error.clone_from(&other.error);
        }
    }

    /// Begins anew with the same operations: the frame has changed, or ended
    /// too early.
    pub(super) fn rewrite(&mut self) {
        let old = std::mem::take(&mut self.requests);
        self.ended = false;
        let mut written = self.begin();
        for message in (1..old.len()).filter_map(|place| old.message(place)) {
            if message.kind() >= NLMSG_MIN_TYPE && header::operation(message.kind()).is_some() {
                let flags = message.header().flags.difference(Flags::ACK);
                written = written.and_then(|()| {
                    self.requests
                        .push(message.kind(), flags, |out| out.fixed(message.body()))
                });
            }
        }
        if let Err(error) = written {
            self.error.get_or_insert(Latched::Encode(error));
        }
    }

    /// Appends as many messages as the elements need.
    pub(super) fn elements(
        &mut self,
        operation: u16,
        flags: Flags,
        set: &Set,
        id: Option<u32>,
        elements: impl IntoIterator<Item: Borrow<Element>>,
    ) -> &mut Self {
        let adds = operation == NFT_MSG_NEWSETELEM;
        self.each(operation, flags, set, id, elements, |element, out| {
            let element = element.borrow();
            if adds {
                if let Some(invalid) = set.check(Some(element)) {
                    return Err(invalid);
                }
                element.encode(out);
            } else {
                element.encode_key(out);
            }
            Ok(())
        })
    }

    /// Deletes the elements of `set` that have these keys, none of which is a
    /// range; they must be there (`ENOENT`).
    pub(crate) fn delete_keys(&mut self, set: &Set, keys: impl IntoIterator<Item = Data>) {
        let flags = Flags::empty();
        self.each(NFT_MSG_DELSETELEM, flags, set, None, keys, |key, out| {
            key.put(NFTA_SET_ELEM_KEY, out);
            Ok(())
        });
    }

    /// Appends as many messages as it takes to `put` each of these elements.
    fn each<T>(
        &mut self,
        operation: u16,
        flags: Flags,
        set: &Set,
        id: Option<u32>,
        elements: impl IntoIterator<Item = T>,
        put: impl Fn(&T, &mut Writer<'_>) -> Result<(), Invalid>,
    ) -> &mut Self {
        let mut elements = elements.into_iter();
        let mut next = elements.next();
        let mut invalid = next.as_ref().and_then(|_| set.check(None));
        while next.is_some() && invalid.is_none() {
            self.push(operation, flags, |out| {
                header::put(set.family(), out);
                out.put(NFTA_SET_ELEM_LIST_TABLE, set.table().as_str());
                out.put(NFTA_SET_ELEM_LIST_SET, set.name().as_str());
                out.put_some(NFTA_SET_ELEM_LIST_SET_ID, id);
                let start = out.position();
                out.nest(NFTA_SET_ELEM_LIST_ELEMENTS, |out| {
                    while out.position().saturating_sub(start) < LIST_MAX
                        && invalid.is_none()
                        && let Some(element) = &next
                    {
                        out.nest(NFTA_LIST_ELEM, |out| invalid = put(element, out).err());
                        next = elements.next();
                    }
                });
            });
        }
        if let Some(invalid) = invalid {
            self.refuse(invalid);
        }
        self
    }

    /// A number for a set or a chain, unique within the batch.
    pub(super) fn number_sets(&mut self, count: usize) -> u32 {
        let first = self.next_set.saturating_add(1);
        self.next_set = self
            .next_set
            .saturating_add(u32::try_from(count).unwrap_or(u32::MAX));
        first
    }

    /// A number for a chain that the kernel is going to name.
    pub(super) fn bind(&mut self, chain: &Chain) -> u32 {
        let id = self.number_sets(1);
        self.bound.push(Bound {
            family: chain.family(),
            table: chain.table().clone(),
            chain: chain.name().clone(),
            id,
        });
        id
    }

    pub(super) fn refuse(&mut self, invalid: Invalid) {
        self.error.get_or_insert(Latched::Invalid(invalid));
    }
}

pub(crate) fn put_batch_header(out: &mut Writer<'_>) {
    // `res_id`, in network order, names the subsystem.
    out.fixed(&[0, 0, 0, NFNL_SUBSYS_NFTABLES]);
}

/// A list of elements is ended above so many bytes: an attribute holds 65 535
/// and one element less than 5 000.
const LIST_MAX: usize = 60_000;
