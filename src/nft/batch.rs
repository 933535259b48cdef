//! Changes that are committed as a whole.

mod describe;
mod object;
mod write;

use std::borrow::Borrow;

use crate::conn::Requests;
use crate::error::{Error, Invalid, Operation, Part, Refusal};
use crate::wire::uapi::nf_tables::{
    NFT_MSG_DELSETELEM, NFT_MSG_DESTROYSETELEM, NFT_MSG_NEWSETELEM,
};
use crate::wire::uapi::nfnetlink::NFNL_MSG_BATCH_END;
use crate::wire::{EncodeError, Flags};

pub use object::Object;
pub(crate) use write::put_batch_header;

use self::object::sealed::Verb;
use super::{Element, Family, Message, Name, Rule, Set};

/// Operations that the kernel commits as a whole or not at all.
///
/// The verbs take values and write them into a buffer at once; what cannot be
/// written is kept and reported by [`Nft::commit`](super::Nft::commit), which
/// then sends nothing. Printed, a batch says what it is going to do in the
/// words of `nft`.
///
/// ```
/// use std::net::Ipv4Addr;
/// use tapwire::nft::{Batch, DataType, Element, Family, Name, Set, Table};
/// let table = Table::new(Family::INET, Name::constant("riklet"));
/// let rx4 = Set::new(&table, Name::constant("rx4"), &[DataType::IPV4_ADDR]).counter();
/// let mut batch = Batch::new();
/// batch.add(&table).add(&rx4);
/// batch.add_elements(&rx4, (1..=3).map(|host| Element::new(Ipv4Addr::new(172, 16, 0, host))));
/// assert_eq!(
///     batch.to_string(),
///     "add table inet riklet\nadd set inet riklet rx4\nadd element inet riklet rx4 # 3\n",
/// );
/// ```
#[derive(Debug, Clone, Default)]
pub struct Batch {
    requests: Requests,
    generation: u32,
    ended: bool,
    next_set: u32,
    bound: Vec<Bound>,
    error: Option<Latched>,
}

/// The first thing that could not be written.
#[derive(Debug, Clone)]
enum Latched {
    Invalid(Invalid),
    Encode(EncodeError),
}

/// A chain that the kernel names: within the batch it has a number.
#[derive(Debug, Clone)]
pub(crate) struct Bound {
    family: Family,
    table: Name,
    chain: Name,
    id: u32,
}

impl Bound {
    /// The number of `chain`, if it is one of `all`.
    pub(crate) fn find(all: &[Self], family: Family, table: &Name, chain: &Name) -> Option<u32> {
        let found = all
            .iter()
            .find(|one| one.chain == *chain && one.table == *table && one.family == family);
        found.map(|one| one.id)
    }
}

impl Batch {
    /// No operation yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets everything but the memory, which serves the next operations.
    pub fn clear(&mut self) {
        self.requests.clear();
        self.generation = 0;
        self.ended = false;
        self.next_set = 0;
        self.bound.clear();
        self.error = None;
    }

    /// Number of operations. Elements of one call may be several.
    pub fn len(&self) -> usize {
        self.requests
            .len()
            .saturating_sub(1)
            .saturating_sub(usize::from(self.ended))
    }

    /// Whether there is no operation.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Is committed only if the ruleset is still at this generation, else
    /// refused as [`Error::Stale`].
    pub fn based_on(&mut self, generation: u32) -> &mut Self {
        if self.generation != generation {
            self.generation = generation;
            if !self.requests.is_empty() {
                self.rewrite();
            }
        }
        self
    }

    /// Adds `object`; of a table, chain or set that is there already, nothing
    /// changes. A rule is added behind the others of its chain.
    pub fn add(&mut self, object: &impl Object) -> &mut Self {
        object.write(Verb::Add, self);
        self
    }

    /// Adds `object`, which must not be there (`EEXIST`).
    pub fn create(&mut self, object: &impl Object) -> &mut Self {
        object.write(Verb::Create, self);
        self
    }

    /// Deletes `object`, which must be there (`ENOENT`), with all that is in
    /// it.
    pub fn delete(&mut self, object: &impl Object) -> &mut Self {
        object.write(Verb::Delete, self);
        self
    }

    /// Deletes `object` if it is there. Kernels before 6.3 do not know this;
    /// [`Nft`](super::Nft) then does it in another way.
    pub fn destroy(&mut self, object: &impl Object) -> &mut Self {
        object.write(Verb::Destroy, self);
        self
    }

    /// Deletes the very `object` that has this number
    /// ([`with_handle`](super::Chain::with_handle), or as it was listed), not another
    /// that has its name by now. It must be there (`ENOENT`).
    pub fn delete_by_handle(&mut self, object: &impl Object) -> &mut Self {
        object.write(Verb::DeleteByHandle, self);
        self
    }

    /// Empties `object`: a table or a chain of its rules, a set of its
    /// elements.
    pub fn flush(&mut self, object: &impl Object) -> &mut Self {
        object.write(Verb::Flush, self);
        self
    }

    /// Adds a rule before the others of its chain.
    pub fn insert(&mut self, rule: &Rule) -> &mut Self {
        rule.write_as(Flags::CREATE, self);
        self
    }

    /// Puts `rule` in the place of the rule that has its handle.
    pub fn replace(&mut self, rule: &Rule) -> &mut Self {
        if rule.handle().is_none() {
            self.refuse(Invalid::new(
                "rule of",
                rule.chain(),
                "has no handle to replace",
            ));
        }
        rule.write_as(Flags::REPLACE, self);
        self
    }

    /// Adds elements to `set`. One that is there with the same data is no
    /// error; with other data it is (`EEXIST`).
    pub fn add_elements(
        &mut self,
        set: &Set,
        elements: impl IntoIterator<Item: Borrow<Element>>,
    ) -> &mut Self {
        self.elements(NFT_MSG_NEWSETELEM, Flags::CREATE, set, None, elements)
    }

    /// Adds elements to `set`, which must not be there (`EEXIST`).
    pub fn create_elements(
        &mut self,
        set: &Set,
        elements: impl IntoIterator<Item: Borrow<Element>>,
    ) -> &mut Self {
        self.elements(
            NFT_MSG_NEWSETELEM,
            Flags::CREATE | Flags::EXCL,
            set,
            None,
            elements,
        )
    }

    /// Deletes elements of `set`, by their keys; they must be there
    /// (`ENOENT`).
    pub fn delete_elements(
        &mut self,
        set: &Set,
        elements: impl IntoIterator<Item: Borrow<Element>>,
    ) -> &mut Self {
        self.elements(NFT_MSG_DELSETELEM, Flags::empty(), set, None, elements)
    }

    /// Deletes those of the elements that are in `set`, by their keys. Kernels
    /// before 6.3 do not know this; [`Nft`](super::Nft) then does it in another
    /// way.
    pub fn destroy_elements(
        &mut self,
        set: &Set,
        elements: impl IntoIterator<Item: Borrow<Element>>,
    ) -> &mut Self {
        self.elements(NFT_MSG_DESTROYSETELEM, Flags::empty(), set, None, elements)
    }

    /// The operation at this place, counted from 0, in the words of `nft`:
    /// `add element inet riklet dnat4`.
    pub fn describe(&self, index: usize) -> Option<String> {
        let message = self.requests.message(index.checked_add(1)?)?;
        (index < self.len()).then(|| describe::describe(&message).to_string())
    }

    /// The messages of the batch with its frame, for a connection of one's
    /// own.
    ///
    /// # Errors
    /// [`Error::Invalid`] and [`Error::Encode`] for what could not be written.
    pub fn messages(&mut self) -> Result<Vec<Message>, Error> {
        let requests = self.finish()?;
        let all = (0..requests.len()).filter_map(|place| requests.message(place));
        Ok(all.map(|message| Message::of(&message)).collect())
    }

    /// The batch as it is sent when its first message is numbered `sequence`:
    /// for other transports, and for [`Exchange::batch`] to read the answer.
    /// The last operation is to be acknowledged.
    ///
    /// # Errors
    /// [`Error::Invalid`] and [`Error::Encode`] for what could not be written.
    ///
    /// [`Exchange::batch`]: crate::conn::Exchange::batch
    pub fn encode(&mut self, sequence: u32) -> Result<&[u8], Error> {
        let requests = self.finish()?;
        requests.prepare(sequence, requests.len().saturating_sub(2));
        Ok(requests.as_bytes())
    }

    /// The batch, or what could not be written.
    pub(crate) fn finish(&mut self) -> Result<&mut Requests, Error> {
        match &self.error {
            Some(Latched::Invalid(invalid)) => return Err(invalid.clone().into()),
            Some(Latched::Encode(error)) => return Err((*error).into()),
            None => {}
        }
        if !self.ended && !self.requests.is_empty() {
            let ended = self
                .requests
                .push(NFNL_MSG_BATCH_END, Flags::empty(), put_batch_header);
            ended?;
            self.ended = true;
        }
        Ok(&mut self.requests)
    }

    /// The generation that it is based on, if any.
    pub(crate) fn generation(&self) -> Option<u32> {
        (self.generation != 0).then_some(self.generation)
    }

    /// The error for a refusal at `place`, counted from `BATCH_BEGIN`.
    pub(crate) fn refused(&self, place: usize, refusal: Refusal) -> Error {
        let Some(index) = place.checked_sub(1) else {
            if let (libc::ERESTART, generation) = (refusal.errno(), self.generation) {
                return Error::Stale { generation };
            }
            return Error::Refused {
                operation: Operation::new("commit"),
                source: refusal,
            };
        };
        let what = self.describe(index).unwrap_or_default();
        let part = refusal.offset().and_then(|offset| self.part(place, offset));
        Error::Refused {
            operation: Operation::new(what).at(index).part(part),
            source: refusal,
        }
    }

    fn part(&self, place: usize, offset: u32) -> Option<Part> {
        describe::part(
            &self.requests.message(place)?,
            usize::try_from(offset).ok()?,
        )
    }
}
