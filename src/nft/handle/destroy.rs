//! `destroy` on kernels that do not know it (before Linux 6.3).

use std::collections::HashSet;

use crate::conn::Requests;
use crate::error::Error;
use crate::wire::uapi::nf_tables::{
    NFT_MSG_DELCHAIN, NFT_MSG_DELFLOWTABLE, NFT_MSG_DELOBJ, NFT_MSG_DELRULE, NFT_MSG_DELSET,
    NFT_MSG_DELSETELEM, NFT_MSG_DELTABLE, NFT_MSG_DESTROYCHAIN, NFT_MSG_DESTROYFLOWTABLE,
    NFT_MSG_DESTROYOBJ, NFT_MSG_DESTROYRULE, NFT_MSG_DESTROYSET, NFT_MSG_DESTROYSETELEM,
    NFT_MSG_DESTROYTABLE, NFT_MSG_GETFLOWTABLE, NFT_MSG_GETOBJ, NFT_MSG_GETRULE, NFT_MSG_GETSET,
    NFT_MSG_GETSETELEM, NFT_MSG_NEWCHAIN, NFT_MSG_NEWTABLE, NFTA_SET_ELEM_LIST_ELEMENTS,
};
use crate::wire::uapi::nfnetlink::{NFNL_BATCH_GENID, NFNL_MSG_BATCH_BEGIN, NFNL_MSG_BATCH_END};
use crate::wire::{Attribute, Flags, Message, Writer};

use super::Nft;
use crate::nft::batch::put_batch_header;
use crate::nft::header;

/// A batch without `destroy`, and the place in the original that each of its
/// messages comes from.
pub(super) struct Emulated {
    pub(super) requests: Requests,
    pub(super) places: Vec<usize>,
}

/// How a thing is destroyed without `destroy`.
enum Way {
    /// Added first, which is no error if it is there, then deleted.
    AddAndDelete(u16, u16),
    /// Looked for first, then deleted if it is there.
    LookAndDelete(u16, u16),
    /// The same for each element.
    Elements,
}

impl Nft {
    /// Does without `destroy` messages from now on, as it does by itself on
    /// kernels before 6.3, which refuse them.
    ///
    /// Tables and chains are then added and deleted; other things are looked
    /// for before the batch is sent, which is refused if the ruleset changes in
    /// between and then tried again. What a batch itself adds before it
    /// destroys it is not found there.
    pub fn without_destroy(&mut self) {
        self.destroys = false;
    }

    /// The same changes as `requests`, without `destroy`.
    pub(super) fn emulate(
        &mut self,
        requests: &Requests,
        before: Option<u32>,
    ) -> Result<Emulated, Error> {
        let generation = match before {
            Some(generation) => generation,
            None => self.generation()?,
        };
        let mut emulated = Emulated {
            requests: Requests::new(),
            places: Vec::new(),
        };
        emulated.push(0, NFNL_MSG_BATCH_BEGIN, Flags::empty(), |out| {
            put_batch_header(out);
            out.put(NFNL_BATCH_GENID, generation);
        })?;
        for place in 1..requests.len().saturating_sub(1) {
            if let Some(message) = requests.message(place) {
                self.rewrite(place, &message, &mut emulated)?;
            }
        }
        let end = requests.len().saturating_sub(1);
        emulated.push(end, NFNL_MSG_BATCH_END, Flags::empty(), put_batch_header)?;
        Ok(emulated)
    }

    fn rewrite(
        &mut self,
        place: usize,
        message: &Message<'_>,
        into: &mut Emulated,
    ) -> Result<(), Error> {
        let copy = |out: &mut Writer<'_>| out.fixed(message.body());
        let flags = message.header().flags;
        match way(message) {
            None => into.push(place, message.kind(), flags.difference(Flags::ACK), copy),
            Some(Way::AddAndDelete(add, delete)) => {
                into.push(place, header::kind(add), Flags::CREATE, copy)?;
                into.push(place, header::kind(delete), Flags::empty(), copy)
            }
            Some(Way::LookAndDelete(look, delete)) => {
                let there = self.single(&"look for what is to go", look, copy, |_| Ok(()))?;
                if there.is_some() {
                    into.push(place, header::kind(delete), Flags::empty(), copy)?;
                }
                Ok(())
            }
            Some(Way::Elements) => self.rewrite_elements(place, message, into),
        }
    }

    fn rewrite_elements(
        &mut self,
        place: usize,
        message: &Message<'_>,
        into: &mut Emulated,
    ) -> Result<(), Error> {
        let (family, attrs) = header::split(message)?;
        let list = attrs.clone().find(NFTA_SET_ELEM_LIST_ELEMENTS)?;
        let others: Vec<Attribute<'_>> = attrs
            .filter_map(Result::ok)
            .filter(|attribute| attribute.kind() != NFTA_SET_ELEM_LIST_ELEMENTS)
            .collect();
        let put = |elements: &[Attribute<'_>], out: &mut Writer<'_>| {
            header::put(family, out);
            for attribute in &others {
                out.put_raw(attribute.kind_and_flags(), attribute.payload());
            }
            out.nest(NFTA_SET_ELEM_LIST_ELEMENTS, |out| {
                for element in elements {
                    out.put_raw(element.kind_and_flags(), element.payload());
                }
            });
        };
        let mut there: Vec<Attribute<'_>> = Vec::new();
        // The second time an element is gone already.
        let mut seen = HashSet::new();
        for element in list.into_iter().flatten() {
            let element = element?;
            if !seen.insert(element.payload()) {
                continue;
            }
            let body = |out: &mut Writer<'_>| put(&[element], out);
            let what = "look for an element that is to go";
            let found = self.single(&what, NFT_MSG_GETSETELEM, body, |_| Ok(()))?;
            there.extend(found.map(|()| element));
        }
        if there.is_empty() {
            return Ok(());
        }
        let delete = header::kind(NFT_MSG_DELSETELEM);
        into.push(place, delete, Flags::empty(), |out| put(&there, out))
    }
}

impl Emulated {
    fn push(
        &mut self,
        place: usize,
        kind: u16,
        flags: Flags,
        body: impl FnOnce(&mut Writer<'_>),
    ) -> Result<(), Error> {
        self.requests.push(kind, flags, body)?;
        self.places.push(place);
        Ok(())
    }
}

/// Whether `message` is one that kernels before 6.3 refuse.
pub(super) fn is_destroy(message: &Message<'_>) -> bool {
    way(message).is_some()
}

fn way(message: &Message<'_>) -> Option<Way> {
    Some(match header::operation(message.kind())? {
        NFT_MSG_DESTROYTABLE => Way::AddAndDelete(NFT_MSG_NEWTABLE, NFT_MSG_DELTABLE),
        NFT_MSG_DESTROYCHAIN => Way::AddAndDelete(NFT_MSG_NEWCHAIN, NFT_MSG_DELCHAIN),
        NFT_MSG_DESTROYRULE => Way::LookAndDelete(NFT_MSG_GETRULE, NFT_MSG_DELRULE),
        NFT_MSG_DESTROYSET => Way::LookAndDelete(NFT_MSG_GETSET, NFT_MSG_DELSET),
        NFT_MSG_DESTROYOBJ => Way::LookAndDelete(NFT_MSG_GETOBJ, NFT_MSG_DELOBJ),
        NFT_MSG_DESTROYFLOWTABLE => Way::LookAndDelete(NFT_MSG_GETFLOWTABLE, NFT_MSG_DELFLOWTABLE),
        NFT_MSG_DESTROYSETELEM => Way::Elements,
        _ => return None,
    })
}
