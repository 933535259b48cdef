//! Sets and maps.

use crate::error::Invalid;
use crate::wire::uapi::nf_tables::{
    NFT_SET_ANONYMOUS, NFT_SET_CONCAT, NFT_SET_CONSTANT, NFT_SET_EVAL, NFT_SET_EXPR,
    NFT_SET_INTERVAL, NFT_SET_MAP, NFT_SET_OBJECT, NFT_SET_POL_MEMORY, NFT_SET_POL_PERFORMANCE,
    NFT_SET_TIMEOUT, NFTA_LIST_ELEM, NFTA_SET_DATA_LEN, NFTA_SET_DATA_TYPE, NFTA_SET_DESC,
    NFTA_SET_DESC_CONCAT, NFTA_SET_DESC_SIZE, NFTA_SET_EXPR, NFTA_SET_EXPRESSIONS,
    NFTA_SET_FIELD_LEN, NFTA_SET_FLAGS, NFTA_SET_GC_INTERVAL, NFTA_SET_HANDLE, NFTA_SET_ID,
    NFTA_SET_KEY_LEN, NFTA_SET_KEY_TYPE, NFTA_SET_NAME, NFTA_SET_OBJ_TYPE, NFTA_SET_POLICY,
    NFTA_SET_TABLE, NFTA_SET_TIMEOUT, NFTA_SET_USERDATA,
};
use crate::wire::{DecodeError, Fields, Message, Writer};

use super::carried::{Carried, open};
use super::expr::{Counter, Expr};
use super::field::Field;
use super::header;
use super::spelling::spell;
use super::userdata::{self, Entries};
use super::{Comment, DataType, Element, Family, KeyType, Name, ObjectType, Order, Table, Value};

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
    /// A set whose keys have these fields. A key type that cannot be is
    /// reported when the set is committed.
    pub fn new(table: &Table, name: Name, key: &[DataType]) -> Self {
        let (key, invalid) = split(KeyType::new(key));
        Self {
            family: table.family(),
            table: table.name().clone(),
            name,
            flags: SetFlags::empty(),
            key,
            data: None,
            size: None,
            widths: Vec::new(),
            timeout: None,
            gc_interval: None,
            policy: None,
            object_type: None,
            expressions: Vec::new(),
            comment: None,
            key_order: key.order().as_raw(),
            data_order: 0,
            userdata: Vec::new(),
            handle: None,
            invalid,
        }
    }

    /// A map from keys with these fields to data with these.
    pub fn map(table: &Table, name: Name, key: &[DataType], data: &[DataType]) -> Self {
        let (data, invalid) = split(KeyType::new(data));
        let mut map = Self::new(table, name, key);
        map.flags |= SetFlags::MAP;
        map.data_order = data.order().as_raw();
        map.data = Some(data);
        map.invalid = map.invalid.or(invalid);
        map
    }

    /// A map from keys with these fields to verdicts.
    pub fn verdict_map(table: &Table, name: Name, key: &[DataType]) -> Self {
        Self::map(table, name, key, &[DataType::VERDICT])
    }

    /// A map from keys with these fields to objects of one kind.
    ///
    /// ```
    /// use tapwire::nft::{DataType, Element, Family, Name, ObjectType, Port, Set, Table};
    /// let table = Table::new(Family::INET, Name::constant("riklet"));
    /// let key = [DataType::INET_SERVICE];
    /// let quotas = Set::object_map(&table, Name::constant("quotas"), &key, ObjectType::QUOTA);
    /// let element = Element::new(Port(80)).object(Name::constant("web"));
    /// assert_eq!(quotas.objects(), Some(ObjectType::QUOTA));
    /// # drop(element);
    /// ```
    pub fn object_map(table: &Table, name: Name, key: &[DataType], kind: ObjectType) -> Self {
        let mut map = Self::new(table, name, key);
        map.flags |= SetFlags::OBJECT;
        map.object_type = Some(kind);
        map
    }

    /// A set whose keys are these fields, listed by `nft` with the fields
    /// themselves (`typeof`).
    pub fn of(table: &Table, name: Name, key: &[Field]) -> Self {
        let kinds: Vec<DataType> = key.iter().map(Field::data_type).collect();
        let mut set = Self::new(table, name, &kinds);
        set.spell(userdata::SET_KEY_TYPEOF, key);
        set
    }

    /// A map from keys with these fields to data with these, listed by `nft`
    /// with the fields themselves (`typeof`). It is the way to number slots: a
    /// number without a unit has no type that `nft` could list otherwise.
    ///
    /// ```
    /// use tapwire::nft::{Family, Name, Set, Table, ip, meta, numgen, tcp};
    /// let table = Table::new(Family::INET, Name::constant("riklet"));
    /// let key = [meta::l4proto(), tcp::dport(), numgen::incremental(16)];
    /// let slots = Set::map_of(&table, Name::constant("lb4"), &key, &[ip::daddr(), tcp::dport()]);
    /// assert_eq!(slots.key().to_string(), "inet_proto . inet_service . integer");
    /// ```
    pub fn map_of(table: &Table, name: Name, key: &[Field], data: &[Field]) -> Self {
        let kinds =
            |fields: &[Field]| -> Vec<DataType> { fields.iter().map(Field::data_type).collect() };
        let mut map = Self::map(table, name, &kinds(key), &kinds(data));
        map.spell(userdata::SET_KEY_TYPEOF, key);
        map.spell(userdata::SET_DATA_TYPEOF, data);
        map
    }

    /// Says yes to an entry of what `nft` keeps.
    fn mark(&mut self, entry: u8) {
        self.userdata.extend([entry, 4]);
        self.userdata.extend(1_u32.to_ne_bytes());
    }

    fn is_marked(&self, entry: u8) -> bool {
        userdata::read(&self.userdata)
            .any(|(kind, value)| kind == entry && userdata::number(value).is_some_and(|on| on != 0))
    }

    fn spell(&mut self, entry: u8, fields: &[Field]) {
        let spelling = spell(fields)
            .and_then(|value| u8::try_from(value.len()).ok().map(|length| (length, value)));
        if let Some((length, value)) = spelling {
            self.userdata.extend([entry, length]);
            self.userdata.extend(value);
        } else {
            self.invalid.get_or_insert_with(|| {
                Invalid::new("field of", &self.name, "cannot be spelled for nft")
            });
        }
    }

    /// A set that belongs to one rule; the kernel completes its name.
    pub(crate) fn anonymous(family: Family, table: &Name, key: DataType, size: usize) -> Self {
        let table = Table::new(family, table.clone());
        Self::new(&table, Name::template("__set%d"), &[key])
            .flags(SetFlags::ANONYMOUS | SetFlags::CONSTANT)
            .size(u32::try_from(size).unwrap_or(u32::MAX))
    }

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

    pub(crate) fn encode_key(&self, out: &mut Writer<'_>) {
        header::put(self.family, out);
        out.put(NFTA_SET_TABLE, self.table.as_str());
        out.put(NFTA_SET_NAME, self.name.as_str());
    }

    /// Its key, and the number that counts instead of the name.
    pub(crate) fn encode_handle(&self, handle: u64, out: &mut Writer<'_>) {
        self.encode_key(out);
        out.put(NFTA_SET_HANDLE, handle);
    }

    /// `id` is its number within the batch, which the kernel wants even where
    /// nothing refers to it.
    pub(crate) fn encode(&self, id: u32, out: &mut Writer<'_>) {
        self.encode_key(out);
        out.put(NFTA_SET_FLAGS, self.flags.bits());
        out.put(NFTA_SET_KEY_TYPE, self.key.id());
        out.put(NFTA_SET_KEY_LEN, self.key.length());
        if let Some(data) = self.data {
            out.put(NFTA_SET_DATA_TYPE, data.id());
            out.put(NFTA_SET_DATA_LEN, data.length());
        }
        out.put_some(NFTA_SET_OBJ_TYPE, self.object_type.map(ObjectType::as_raw));
        out.put(NFTA_SET_ID, id);
        out.put_some(NFTA_SET_POLICY, self.policy.map(SetPolicy::as_raw));
        if self.size.is_some() || !self.widths.is_empty() {
            out.nest(NFTA_SET_DESC, |out| {
                out.put_some(NFTA_SET_DESC_SIZE, self.size);
                if !self.widths.is_empty() {
                    out.nest(NFTA_SET_DESC_CONCAT, |out| {
                        for width in &self.widths {
                            out.nest(NFTA_LIST_ELEM, |out| out.put(NFTA_SET_FIELD_LEN, *width));
                        }
                    });
                }
            });
        }
        out.put_some(NFTA_SET_TIMEOUT, self.timeout);
        out.put_some(NFTA_SET_GC_INTERVAL, self.gc_interval);
        self.encode_userdata(out);
        match self.expressions.as_slice() {
            [] => {}
            [one] => one.put(NFTA_SET_EXPR, out),
            _ => self.expressions.put(NFTA_SET_EXPRESSIONS, out),
        }
    }

    fn encode_userdata(&self, out: &mut Writer<'_>) {
        let mut entries = Entries::new();
        entries.number(userdata::SET_KEY_ORDER, self.key_order);
        if self.is_map() || self.data_order != 0 {
            entries.number(userdata::SET_DATA_ORDER, self.data_order);
        }
        entries.comment(userdata::SET_COMMENT, self.comment.as_ref());
        entries.raw(&self.userdata);
        entries.put(NFTA_SET_USERDATA, out);
    }

    /// Reads `NFT_MSG_NEWSET`.
    ///
    /// # Errors
    /// [`DecodeError`] if the message is malformed.
    pub fn decode(message: &Message<'_>) -> Result<Self, DecodeError> {
        let (family, attrs) = header::split(message)?;
        let fields = Fields::<19>::read(attrs)?;
        let table = Table::new(family, header::name(&fields, NFTA_SET_TABLE)?);
        let mut set = Self::new(
            &table,
            header::name(&fields, NFTA_SET_NAME)?,
            &[DataType::MARK],
        );
        set.flags = SetFlags::from_bits_retain(fields.get(NFTA_SET_FLAGS)?.unwrap_or_default());
        // Of a set that was deleted, newer kernels tell the name alone.
        set.key = KeyType::from_raw(
            fields.get(NFTA_SET_KEY_TYPE)?.unwrap_or_default(),
            fields.get(NFTA_SET_KEY_LEN)?.unwrap_or_default(),
        );
        if let Some(id) = fields.get(NFTA_SET_DATA_TYPE)? {
            let length = fields.get(NFTA_SET_DATA_LEN)?.unwrap_or_default();
            set.data = Some(KeyType::from_raw(id, length));
        }
        if let Some(desc) = fields.get(NFTA_SET_DESC)? {
            let desc = Fields::<3>::read(desc)?;
            set.size = desc.get(NFTA_SET_DESC_SIZE)?;
            for field in desc.get(NFTA_SET_DESC_CONCAT)?.into_iter().flatten() {
                set.widths.extend(field?.nested().find(NFTA_SET_FIELD_LEN)?);
            }
        }
        set.timeout = fields.get(NFTA_SET_TIMEOUT)?;
        set.gc_interval = fields.get(NFTA_SET_GC_INTERVAL)?;
        set.policy = fields.get(NFTA_SET_POLICY)?.map(SetPolicy::from_raw);
        set.object_type = fields.get(NFTA_SET_OBJ_TYPE)?.map(ObjectType::from_raw);
        if let Some(one) = fields.get(NFTA_SET_EXPR)? {
            set.expressions.push(Expr::decode(one)?);
        }
        for one in fields.get(NFTA_SET_EXPRESSIONS)?.into_iter().flatten() {
            set.expressions.push(Expr::decode(one?.nested())?);
        }
        set.handle = fields.get(NFTA_SET_HANDLE)?;
        set.read_userdata(fields.get(NFTA_SET_USERDATA)?.unwrap_or_default());
        Ok(set)
    }

    fn read_userdata(&mut self, bytes: &[u8]) {
        (self.key_order, self.data_order) = (Order::None.as_raw(), Order::None.as_raw());
        let (comment, rest) = header::comment(bytes, userdata::SET_COMMENT);
        self.comment = comment;
        for (kind, value) in userdata::read(&rest) {
            match (kind, userdata::number(value)) {
                (userdata::SET_KEY_ORDER, Some(order)) => self.key_order = order,
                (userdata::SET_DATA_ORDER, Some(order)) => self.data_order = order,
                _ => {
                    self.userdata
                        .extend([kind, u8::try_from(value.len()).unwrap_or_default()]);
                    self.userdata.extend_from_slice(value);
                }
            }
        }
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

fn split(kind: Result<KeyType, Invalid>) -> (KeyType, Option<Invalid>) {
    match kind {
        Ok(kind) => (kind, None),
        Err(invalid) => (KeyType::from_raw(0, 0), Some(invalid)),
    }
}
