//! Rules.

use crate::error::Invalid;
use crate::wire::uapi::nf_tables::{
    NFTA_LIST_ELEM, NFTA_RULE_CHAIN, NFTA_RULE_CHAIN_ID, NFTA_RULE_EXPRESSIONS, NFTA_RULE_HANDLE,
    NFTA_RULE_ID, NFTA_RULE_POSITION, NFTA_RULE_POSITION_ID, NFTA_RULE_TABLE, NFTA_RULE_USERDATA,
};
use crate::wire::{DecodeError, Fields, Message, Writer};

use super::batch::Bound;
use super::carried::Carried;
use super::expr::Expr;
use super::header;
use super::userdata::{self, Entries};
use super::{Chain, Comment, DataType, Element, Family, Name, tracking};

/// A rule: expressions that run one after the other, until one ends it.
///
/// The short forms ([`matching`](Self::matching), [`lookup`](Self::lookup),
/// [`dnat_from`](Self::dnat_from), …) read as in `nft`, see to registers and
/// to what the packet must be for a field to be there, and check types;
/// [`expression`](Self::expression) takes anything, but one that reads what no
/// other has written does not pass ([`check`](Self::check)). What does not fit
/// is reported when the rule is committed.
///
/// ```
/// use tapwire::nft::{Chain, Comment, DataType, Family, Name, Rule, Set, Table, ether, ip, meta};
/// let table = Table::new(Family::INET, Name::constant("riklet"));
/// let chain = Chain::new(&table, Name::constant("from_guest"));
/// let guard4 = Set::new(
///     &table,
///     Name::constant("guard4"),
///     &[DataType::IFNAME, DataType::ETHER_ADDR, DataType::IPV4_ADDR],
/// );
/// let known = Rule::new(&chain)
///     .lookup(&[meta::iifname(), ether::saddr(), ip::saddr()], &guard4)
///     .accept();
/// let spoof = Rule::new(&chain).counter().drop().comment(Comment::constant("spoof"));
/// assert!(known.fault().is_none() && spoof.fault().is_none());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Rule {
    pub(super) family: Family,
    pub(super) table: Name,
    chain: Name,
    handle: Option<u64>,
    position: Option<u64>,
    previous: Option<u64>,
    id: Option<u32>,
    position_id: Option<u32>,
    pub(super) expressions: Vec<Expr>,
    pub(super) lists: Vec<List>,
    comment: Option<Comment>,
    userdata: Vec<u8>,
    pub(super) invalid: Option<Invalid>,
}

/// The elements of an anonymous set.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct List {
    pub(super) kind: DataType,
    pub(super) interval: bool,
    pub(super) elements: Vec<Element>,
}

impl Rule {
    /// An empty rule of `chain`.
    pub fn new(chain: &Chain) -> Self {
        let mut rule = Self::of(chain.family(), chain.table().clone(), chain.name().clone());
        rule.expressions.reserve(USUAL);
        rule
    }

    fn of(family: Family, table: Name, chain: Name) -> Self {
        Self {
            family,
            table,
            chain,
            handle: None,
            position: None,
            previous: None,
            id: None,
            position_id: None,
            expressions: Vec::new(),
            lists: Vec::new(),
            comment: None,
            userdata: Vec::new(),
            invalid: None,
        }
    }

    /// With one more expression, as it is.
    pub fn expression(mut self, expression: impl Into<Expr>) -> Self {
        self.expressions.push(expression.into());
        self
    }

    /// With a comment, which `nft` lists.
    pub const fn comment(mut self, comment: Comment) -> Self {
        self.comment = Some(comment);
        self
    }

    /// As the rule of this number, to be replaced or deleted.
    pub const fn with_handle(mut self, handle: u64) -> Self {
        self.handle = Some(handle);
        self
    }

    /// Behind the rule of this number if it is added, before it if it is
    /// inserted.
    pub const fn at(mut self, position: u64) -> Self {
        self.position = Some(position);
        self
    }

    /// Under a number of the caller's within the batch that adds it, by which
    /// others are put next to it ([`at_id`](Self::at_id)), and by which the
    /// same batch can delete it.
    pub const fn with_id(mut self, id: u32) -> Self {
        self.id = Some(id);
        self
    }

    /// Behind the rule that the same batch added under this number if it is
    /// added, before it if it is inserted.
    pub const fn at_id(mut self, id: u32) -> Self {
        self.position_id = Some(id);
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

    /// Its chain.
    pub const fn chain(&self) -> &Name {
        &self.chain
    }

    /// The kernel's number of it, if it was listed.
    pub const fn handle(&self) -> Option<u64> {
        self.handle
    }

    /// The number of the rule before it, if it was listed.
    pub const fn previous(&self) -> Option<u64> {
        self.previous
    }

    /// Its expressions.
    pub fn expressions(&self) -> &[Expr] {
        &self.expressions
    }

    /// Its comment.
    pub const fn current_comment(&self) -> Option<&Comment> {
        self.comment.as_ref()
    }

    /// What is wrong with its short forms, if anything.
    pub const fn fault(&self) -> Option<&Invalid> {
        self.invalid.as_ref()
    }

    /// Whether it can be committed: nothing is wrong with its short forms, and
    /// each expression reads only registers that one before it has written, as
    /// wide as they were written. Committing a rule checks this too.
    ///
    /// How much a lookup takes from the registers, and how much a map puts
    /// there, only the set knows: of these, the first register is checked.
    ///
    /// # Errors
    /// [`Invalid`] names the first expression at fault, counted from 0.
    pub fn check(&self) -> Result<(), Invalid> {
        match &self.invalid {
            Some(invalid) => Err(invalid.clone()),
            None => tracking::check(self.family, &self.expressions),
        }
    }

    /// Whether `other` does the same: the same expressions and comment in the
    /// same chain, whatever was counted and however the rules are numbered.
    ///
    /// Rules with anonymous sets are the same to it if they look up at the
    /// same places: what the sets hold is not part of a listed rule.
    pub fn is_same(&self, other: &Self) -> bool {
        let place = |rule: &Self| {
            (
                rule.family,
                rule.table.clone(),
                rule.chain.clone(),
                rule.comment,
            )
        };
        place(self) == place(other)
            && self.expressions.len() == other.expressions.len()
            && self
                .expressions
                .iter()
                .zip(&other.expressions)
                .all(|(one, another)| one.plain() == another.plain())
    }

    pub(crate) fn moved(&self, table: &Name) -> Self {
        Self {
            table: table.clone(),
            ..self.clone()
        }
    }

    pub(crate) fn encode_key(&self, out: &mut Writer<'_>) {
        self.encode_chain(None, out);
        match self.handle {
            None => out.put_some(NFTA_RULE_ID, self.id),
            handle => out.put_some(NFTA_RULE_HANDLE, handle),
        }
    }

    /// Whether the kernel can tell it from the others of its chain.
    pub(crate) const fn is_numbered(&self) -> bool {
        self.handle.is_some() || self.id.is_some()
    }

    fn encode_chain(&self, id: Option<u32>, out: &mut Writer<'_>) {
        header::put(self.family, out);
        out.put(NFTA_RULE_TABLE, self.table.as_str());
        match id {
            None => out.put(NFTA_RULE_CHAIN, self.chain.as_str()),
            Some(id) => out.put(NFTA_RULE_CHAIN_ID, id),
        }
    }

    /// `first_set` is the number within the batch of its first anonymous set;
    /// only a rule that replaces another is written with its handle. `bound`
    /// are the batch's chains without names.
    pub(crate) fn encode(
        &self,
        first_set: u32,
        replaces: bool,
        bound: &[Bound],
        out: &mut Writer<'_>,
    ) {
        let id = |chain: &Name| Bound::find(bound, self.family, &self.table, chain);
        self.encode_chain(id(&self.chain), out);
        out.put_some(NFTA_RULE_HANDLE, self.handle.filter(|_| replaces));
        out.put_some(NFTA_RULE_POSITION, self.position);
        out.put_some(NFTA_RULE_ID, self.id);
        out.put_some(NFTA_RULE_POSITION_ID, self.position_id);
        out.nest(NFTA_RULE_EXPRESSIONS, |out| {
            for expression in &self.expressions {
                match expression {
                    Expr::Lookup(lookup) if lookup.set_id().is_some() => {
                        Expr::from(lookup.in_batch(first_set)).put(NFTA_LIST_ELEM, out);
                    }
                    Expr::Immediate(immediate) => match immediate.chain().and_then(id) {
                        Some(id) => out.nest(NFTA_LIST_ELEM, |out| immediate.encode_bound(id, out)),
                        None => expression.put(NFTA_LIST_ELEM, out),
                    },
                    other => other.put(NFTA_LIST_ELEM, out),
                }
            }
        });
        let mut entries = Entries::new();
        entries.comment(userdata::COMMENT, self.comment.as_ref());
        entries.raw(&self.userdata);
        entries.put(NFTA_RULE_USERDATA, out);
    }

    /// Reads `NFT_MSG_NEWRULE`.
    ///
    /// # Errors
    /// [`DecodeError`] if the message is malformed.
    pub fn decode(message: &Message<'_>) -> Result<Self, DecodeError> {
        let (family, attrs) = header::split(message)?;
        let fields = Fields::<12>::read(attrs)?;
        let table = header::name(&fields, NFTA_RULE_TABLE)?;
        let mut rule = Self::of(family, table, header::name(&fields, NFTA_RULE_CHAIN)?);
        rule.handle = fields.get(NFTA_RULE_HANDLE)?;
        rule.previous = fields.get(NFTA_RULE_POSITION)?;
        rule.id = fields.get(NFTA_RULE_ID)?;
        rule.position_id = fields.get(NFTA_RULE_POSITION_ID)?;
        let list = fields.get(NFTA_RULE_EXPRESSIONS)?;
        let count = list.clone().map_or(0, Iterator::count);
        rule.expressions.reserve_exact(count);
        for expression in list.into_iter().flatten() {
            rule.expressions.push(Expr::decode(expression?.nested())?);
        }
        let bytes = fields.get(NFTA_RULE_USERDATA)?.unwrap_or_default();
        (rule.comment, rule.userdata) = header::comment(bytes, userdata::COMMENT);
        Ok(rule)
    }
}

/// Room for the expressions of most rules that are made.
const USUAL: usize = 10;
