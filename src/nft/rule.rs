//! Rules.

use crate::error::Invalid;
use crate::wire::uapi::nf_tables::{
    NFTA_LIST_ELEM, NFTA_RULE_CHAIN, NFTA_RULE_CHAIN_ID, NFTA_RULE_EXPRESSIONS, NFTA_RULE_HANDLE,
    NFTA_RULE_POSITION, NFTA_RULE_TABLE, NFTA_RULE_USERDATA,
};
use crate::wire::{DecodeError, Fields, Message, Writer};

use super::batch::Bound;
use super::carried::Carried;
use super::expr::{Counter, Expr, Last};
use super::header;
use super::userdata::{self, Entries};
use super::{Chain, Comment, DataType, Element, Family, Name};

/// A rule: expressions that run one after the other, until one ends it.
///
/// The short forms ([`matching`](Self::matching), [`lookup`](Self::lookup),
/// [`dnat_from`](Self::dnat_from), …) read as in `nft`, see to registers and
/// to what the packet must be for a field to be there, and check types;
/// [`expression`](Self::expression) takes anything. What does not fit is
/// reported when the rule is committed.
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
        Self::of(chain.family(), chain.table().clone(), chain.name().clone())
    }

    fn of(family: Family, table: Name, chain: Name) -> Self {
        Self {
            family,
            table,
            chain,
            handle: None,
            position: None,
            previous: None,
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

    /// What is wrong with it, if anything.
    pub const fn fault(&self) -> Option<&Invalid> {
        self.invalid.as_ref()
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
                .all(|(one, another)| plain(one) == plain(another))
    }

    pub(crate) fn moved(&self, table: &Name) -> Self {
        Self {
            table: table.clone(),
            ..self.clone()
        }
    }

    pub(crate) fn encode_key(&self, out: &mut Writer<'_>) {
        self.encode_chain(None, out);
        out.put_some(NFTA_RULE_HANDLE, self.handle);
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
        for expression in fields.get(NFTA_RULE_EXPRESSIONS)?.into_iter().flatten() {
            rule.expressions.push(Expr::decode(expression?.nested())?);
        }
        let bytes = fields.get(NFTA_RULE_USERDATA)?.unwrap_or_default();
        (rule.comment, rule.userdata) = header::comment(bytes, userdata::COMMENT);
        Ok(rule)
    }
}

/// The expression without what a listing changes: counts, and the names and
/// numbers of anonymous sets.
fn plain(expression: &Expr) -> Expr {
    match expression {
        Expr::Counter(_) => Counter::new().into(),
        Expr::Last(_) => Last::new().into(),
        Expr::Quota(quota) => quota.clone().with_consumed(0).into(),
        Expr::Lookup(lookup) => lookup.clone().by_name().into(),
        other => other.clone(),
    }
}
