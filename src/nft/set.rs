//! Sets and maps.

mod codec;
mod make;

use crate::error::Invalid;
use crate::wire::uapi::nf_tables::{
    NFT_SET_ANONYMOUS, NFT_SET_CONCAT, NFT_SET_CONSTANT, NFT_SET_EVAL, NFT_SET_EXPR,
    NFT_SET_INTERVAL, NFT_SET_MAP, NFT_SET_OBJECT, NFT_SET_POL_MEMORY, NFT_SET_POL_PERFORMANCE,
    NFT_SET_TIMEOUT,
};

use super::carried::open;
use super::expr::{Counter, Expr};
use super::userdata;
use super::{Comment, DataType, Element, Family, KeyType, Name, ObjectType, Value};

bitflags::bitflags! {
    /// The flags of a set (`enum nft_set_flags`).
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub struct SetFlags: u32 {
        /// Belongs to one rule.
        const ANONYMOUS = NFT_SET_ANONYMOUS;
        /// Does not change once it is bound to a rule.
        const CONSTANT = NFT_SET_CONSTANT;
        /// Its keys are ranges.
        const INTERVAL = NFT_SET_INTERVAL;
        /// Its elements hold data.
        const MAP = NFT_SET_MAP;
        /// Its elements may have an end.
        const TIMEOUT = NFT_SET_TIMEOUT;
        /// Rules add to it: `dynamic`.
        const EVAL = NFT_SET_EVAL;
        /// Its elements lead to objects.
        const OBJECT = NFT_SET_OBJECT;
        /// Its ranges have several fields.
        const CONCAT = NFT_SET_CONCAT;
        /// Its elements carry its expressions.
        const EXPR = NFT_SET_EXPR;
    }
}

/// A set of keys, or a map from keys to data.
///
/// ```
/// use tapwire::nft::{DataType, Family, Name, Set, Table};
/// let table = Table::new(Family::INET, Name::constant("riklet"));
/// let dnat4 = Set::map(
///     &table,
///     Name::constant("dnat4"),
///     &[DataType::IPV4_ADDR, DataType::INET_PROTO, DataType::INET_SERVICE],
///     &[DataType::IPV4_ADDR, DataType::INET_SERVICE],
/// )
/// .size(65_536)
/// .counter();
/// assert_eq!(dnat4.key().to_string(), "ipv4_addr . inet_proto . inet_service");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set {
    family: Family,
    table: Name,
    name: Name,
    flags: SetFlags,
    key: KeyType,
    data: Option<KeyType>,
    size: Option<u32>,
    /// Widths of the fields of a concatenated interval set.
    widths: Vec<u32>,
    timeout: Option<u64>,
    gc_interval: Option<u32>,
    policy: Option<SetPolicy>,
    object_type: Option<ObjectType>,
    expressions: Vec<Expr>,
    comment: Option<Comment>,
    key_order: u32,
    data_order: u32,
    userdata: Vec<u8>,
    handle: Option<u64>,
    invalid: Option<Invalid>,
}

impl Set {
    /// With these flags besides those that it has.
    #[must_use]
    pub fn flags(mut self, flags: SetFlags) -> Self {
        self.flags |= flags;
        self
    }

    /// With ranges as keys. Of several fields, each has a range of its own.
    #[must_use]
    pub fn interval(mut self) -> Self {
        self.flags |= SetFlags::INTERVAL;
        if self.key.is_concatenated() {
            self.flags |= SetFlags::CONCAT;
            self.widths = self.key.fields().map(DataType::length).collect();
        }
        self
    }

    /// With ranges as data, each a lower and an upper bound
    /// ([`Data::range`](super::Data::range)), for translations to one of
    /// several addresses.
    #[must_use]
    pub fn interval_data(mut self) -> Self {
        if let Some(data) = self.data {
            self.data = Some(KeyType::from_raw(
                data.id(),
                data.length().saturating_mul(2),
            ));
            self.mark(userdata::SET_DATA_INTERVAL);
        }
        self
    }

    /// With room for `size` elements: a full set refuses more (`ENFILE`). A
    /// declared size makes additions faster.
    #[must_use]
    pub const fn size(mut self, size: u32) -> Self {
        self.size = Some(size);
        self
    }

    /// As one that rules add to; it should have a size.
    #[must_use]
    pub fn dynamic(self) -> Self {
        self.flags(SetFlags::EVAL)
    }

    /// With an end for its elements, in milliseconds after they were added.
    #[must_use]
    pub fn timeout(mut self, milliseconds: u64) -> Self {
        self.timeout = Some(milliseconds);
        self.flags(SetFlags::TIMEOUT)
    }

    /// With a search for elements that are over every so many milliseconds.
    #[must_use]
    pub const fn gc_interval(mut self, milliseconds: u32) -> Self {
        self.gc_interval = Some(milliseconds);
        self
    }

    /// As one that the kernel should keep fast, or small.
    #[must_use]
    pub const fn policy(mut self, policy: SetPolicy) -> Self {
        self.policy = Some(policy);
        self
    }

    /// As one whose ranges `nft` joins where they meet. The kernel knows
    /// nothing of it.
    #[must_use]
    pub fn auto_merge(mut self) -> Self {
        self.mark(userdata::SET_MERGE);
        self
    }

    /// With a counter in each element.
    #[must_use]
    pub fn counter(self) -> Self {
        self.expression(Counter::new())
    }

    /// With an expression in each element.
    #[must_use]
    pub fn expression(mut self, expression: impl Into<Expr>) -> Self {
        self.expressions.push(expression.into());
        self.flags(SetFlags::EXPR)
    }

    /// With a comment.
    #[must_use]
    pub const fn comment(mut self, comment: Comment) -> Self {
        self.comment = Some(comment);
        self
    }

    /// As the set of this number, to be deleted by it
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

    /// Its flags.
    pub const fn current_flags(&self) -> SetFlags {
        self.flags
    }

    /// Whether its elements hold data.
    pub const fn is_map(&self) -> bool {
        self.flags.contains(SetFlags::MAP)
    }

    /// The type of its keys.
    pub const fn key(&self) -> KeyType {
        self.key
    }

    /// The type of its data, if it is a map.
    pub const fn data(&self) -> Option<KeyType> {
        self.data
    }

    /// The kind of objects that its elements lead to, if it is an object map.
    pub const fn objects(&self) -> Option<ObjectType> {
        self.object_type
    }

    /// After how many milliseconds its elements are over, if that was
    /// declared.
    pub const fn current_timeout(&self) -> Option<u64> {
        self.timeout
    }

    /// Every how many milliseconds elements that are over are searched for, if
    /// that was declared.
    pub const fn current_gc_interval(&self) -> Option<u32> {
        self.gc_interval
    }

    /// Whether it is to be fast or small, if that was declared.
    pub const fn current_policy(&self) -> Option<SetPolicy> {
        self.policy
    }

    /// The widths in bytes of the fields of a concatenated interval set.
    pub fn field_widths(&self) -> &[u32] {
        &self.widths
    }

    /// Whether `nft` joins its ranges where they meet.
    pub fn is_auto_merged(&self) -> bool {
        self.is_marked(userdata::SET_MERGE)
    }

    /// Whether its data are ranges.
    pub fn has_interval_data(&self) -> bool {
        self.is_marked(userdata::SET_DATA_INTERVAL)
    }

    /// What `nft` keeps with it besides byte orders and comment.
    pub(crate) fn kept(&self) -> &[u8] {
        &self.userdata
    }

    /// How many elements it has room for, if that was declared.
    pub const fn capacity(&self) -> Option<u32> {
        self.size
    }

    /// The expressions that its elements carry.
    pub fn expressions(&self) -> &[Expr] {
        &self.expressions
    }

    /// Its comment.
    pub const fn current_comment(&self) -> Option<&Comment> {
        self.comment.as_ref()
    }

    /// The kernel's number of it, if it was listed.
    pub const fn handle(&self) -> Option<u64> {
        self.handle
    }

    /// Whether `other` is the same set, whatever only a listing tells: its
    /// handle.
    pub fn is_same(&self, other: &Self) -> bool {
        let plain = |set: &Self| Self {
            handle: None,
            // The kernel does not list what it does anyway.
            policy: set
                .policy
                .filter(|policy| *policy != SetPolicy::PERFORMANCE),
            expressions: set.expressions.iter().map(Expr::plain).collect(),
            ..set.clone()
        };
        plain(self) == plain(other)
    }

    /// What is wrong with it, or with `element` as one of its elements.
    pub(crate) fn check(&self, element: Option<&Element>) -> Option<Invalid> {
        if self.invalid.is_some() {
            return self.invalid.clone();
        }
        let element = element?;
        let fault = |why| {
            Some(Invalid::new(
                "element",
                format_args!("{element} of {}", self.name),
                why,
            ))
        };
        let keys = [Some(element.key()), element.key_end()];
        if !element.is_catch_all() && keys.iter().flatten().any(|key| !key.is(self.key)) {
            return fault("has a key of another type");
        }
        let leads = self.flags.contains(SetFlags::OBJECT) && !element.is_interval_end();
        match (leads, element.current_object()) {
            (true, None) => return fault("leads to no object"),
            (false, Some(_)) => return fault("leads to an object, but the set is no object map"),
            _ => {}
        }
        match (self.data, element.value()) {
            (None, Some(_)) => fault("has data, but the set is no map"),
            (Some(_), None) if !element.is_interval_end() => fault("has no data"),
            (Some(kind), Some(Value::Data(data))) if kind.is_verdict() || !data.is(kind) => {
                fault("has data of another type")
            }
            (Some(kind), Some(Value::Verdict(_))) if !kind.is_verdict() => {
                fault("has a verdict as data")
            }
            _ => None,
        }
    }

    pub(crate) fn moved(&self, table: &Name) -> Self {
        Self {
            table: table.clone(),
            ..self.clone()
        }
    }

    /// As it was before the kernel bounded it: a set without a size gets one
    /// when a rule that adds to it is made. With that size it would be made as
    /// a set of fixed size, to which no rule can add.
    pub(crate) fn as_declared(&self) -> Self {
        let mut set = self.clone();
        if set.size == Some(DYNAMIC_SIZE) && !set.flags.contains(SetFlags::EVAL) {
            set.size = None;
        }
        set
    }
}

open! {
    /// What counts for a set (`enum nft_set_policies`).
    SetPolicy: u32 as Be32 {
        /// To be fast.
        PERFORMANCE = NFT_SET_POL_PERFORMANCE, "performance";
        /// To be small.
        MEMORY = NFT_SET_POL_MEMORY, "memory";
    }
}

/// What `nft_dynset_init` of the kernel gives a set without a size.
const DYNAMIC_SIZE: u32 = 0xffff;
