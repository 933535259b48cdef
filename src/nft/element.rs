//! Elements of sets and maps.

mod codec;
mod counts;
mod networks;

use std::fmt;

use crate::wire::uapi::nf_tables::{NFT_SET_ELEM_CATCHALL, NFT_SET_ELEM_INTERVAL_END};

pub use counts::Counts;

use super::carried::Extra;
use super::expr::Expr;
use super::{Comment, Data, Name, Value};

/// An element of a set, or of a map if it has data.
///
/// What each has lies within the value, so that making one needs no
/// allocation; the end of a range, a timeout and expressions besides a
/// counter, which few have, lie apart, so that many can be kept.
///
/// ```
/// use std::net::Ipv4Addr;
/// use tapwire::nft::{Comment, Element, L4Proto, Port};
/// let element = Element::new((Ipv4Addr::new(203, 0, 113, 7), L4Proto::TCP, Port(8080)))
///     .data((Ipv4Addr::new(172, 16, 0, 2), Port(80)))
///     .comment(Comment::constant("web of vm-7"));
/// assert_eq!(element.current_comment().map(Comment::as_str), Some("web of vm-7"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Element {
    key: Data,
    target: Target,
    comment: Option<Comment>,
    flags: u32,
    interval_open: bool,
    counter: Option<Counts>,
    /// There only if it holds something, so that equal elements are equal.
    rare: Option<Box<Rare>>,
}

/// What a map or an object map holds for an element: the kernel knows no map
/// that is both.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Target {
    Nothing,
    Value(Value),
    Object(Name),
}

/// What few elements have.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
struct Rare {
    key_end: Option<Data>,
    timeout: Option<u64>,
    expiration: Option<u64>,
    expressions: Vec<Expr>,
    /// How many of the expressions are before the counter.
    counter_place: usize,
    userdata: Vec<u8>,
    extra: Extra,
}

impl Element {
    /// The element of this key.
    pub fn new(key: impl Into<Data>) -> Self {
        Self {
            key: key.into(),
            target: Target::Nothing,
            comment: None,
            flags: 0,
            interval_open: false,
            counter: None,
            rare: None,
        }
    }

    /// The element of a map that leads there, made in one go: it is large.
    pub(crate) const fn leading(key: Data, to: Data, comment: Option<Comment>) -> Self {
        Self {
            key,
            target: Target::Value(Value::Data(to)),
            comment,
            flags: 0,
            interval_open: false,
            counter: None,
            rare: None,
        }
    }

    /// The element that stands for every key that has none: `*`.
    pub fn catch_all() -> Self {
        Self {
            flags: NFT_SET_ELEM_CATCHALL,
            ..Self::new(Data::EMPTY)
        }
    }

    /// With the last key of a range in a concatenated interval set.
    #[must_use]
    pub fn to(mut self, last: impl Into<Data>) -> Self {
        self.rare_mut().key_end = Some(last.into());
        self
    }

    /// As the first key behind a range, in an interval set of one field.
    #[must_use]
    pub const fn interval_end(mut self) -> Self {
        self.flags |= NFT_SET_ELEM_INTERVAL_END;
        self
    }

    /// As the start of a range that runs to the highest key.
    #[must_use]
    pub const fn interval_open(mut self) -> Self {
        self.interval_open = true;
        self
    }

    /// With the data that a map holds for it: a value or a verdict.
    #[must_use]
    pub fn data(mut self, data: impl Into<Value>) -> Self {
        self.target = Target::Value(data.into());
        self
    }

    /// With the object that an object map leads to.
    #[must_use]
    pub fn object(mut self, name: Name) -> Self {
        self.target = Target::Object(name);
        self
    }

    /// With a comment.
    #[must_use]
    pub const fn comment(mut self, comment: Comment) -> Self {
        self.comment = Some(comment);
        self
    }

    /// With a counter that starts at `counts`, behind the expressions that it
    /// has. A set that was made with a counter gives one to each element by
    /// itself; of several expressions, the order must be that of the set.
    #[must_use]
    pub fn counter(mut self, counts: Counts) -> Self {
        self.set_counter(counts);
        self
    }

    /// With an end, in milliseconds from now.
    #[must_use]
    pub fn timeout(mut self, milliseconds: u64) -> Self {
        self.rare_mut().timeout = Some(milliseconds);
        self
    }

    /// With an expression that every lookup of it runs, besides a counter:
    /// a limit.
    #[must_use]
    pub fn expression(mut self, expression: impl Into<Expr>) -> Self {
        self.rare_mut().expressions.push(expression.into());
        self
    }

    /// Its key.
    pub const fn key(&self) -> &Data {
        &self.key
    }

    /// The last key of its range.
    pub fn key_end(&self) -> Option<&Data> {
        self.rare.as_ref()?.key_end.as_ref()
    }

    /// What a map holds for it.
    pub const fn value(&self) -> Option<&Value> {
        match &self.target {
            Target::Value(value) => Some(value),
            _ => None,
        }
    }

    /// The object that an object map holds for it.
    pub const fn current_object(&self) -> Option<&Name> {
        match &self.target {
            Target::Object(name) => Some(name),
            _ => None,
        }
    }

    /// Its comment.
    pub const fn current_comment(&self) -> Option<&Comment> {
        self.comment.as_ref()
    }

    /// What its counter has counted.
    pub const fn counts(&self) -> Option<Counts> {
        self.counter
    }

    /// How many of its other expressions are before the counter.
    pub(crate) fn counter_place(&self) -> usize {
        self.rare.as_ref().map_or(0, |rare| rare.counter_place)
    }

    /// After how many milliseconds it goes.
    pub fn current_timeout(&self) -> Option<u64> {
        self.rare.as_ref()?.timeout
    }

    /// In how many milliseconds from the listing it goes.
    pub fn expiration(&self) -> Option<u64> {
        self.rare.as_ref()?.expiration
    }

    /// Whether it stands for every key that has none.
    pub const fn is_catch_all(&self) -> bool {
        self.flags & NFT_SET_ELEM_CATCHALL != 0
    }

    /// Whether it ends a range.
    pub const fn is_interval_end(&self) -> bool {
        self.flags & NFT_SET_ELEM_INTERVAL_END != 0
    }

    /// The expressions that every lookup of it runs, besides a counter.
    pub fn expressions(&self) -> &[Expr] {
        self.rare
            .as_ref()
            .map_or(&[], |rare| rare.expressions.as_slice())
    }

    /// Its place among the elements of an interval set: a range ends before
    /// the next one begins.
    pub(crate) fn place(&self) -> (&[u8], bool) {
        (self.key.as_bytes(), !self.is_interval_end())
    }

    fn rare_mut(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    /// Behind the expressions that it has.
    fn set_counter(&mut self, counts: Counts) {
        self.counter = Some(counts);
        if let Some(rare) = &mut self.rare {
            rare.counter_place = rare.expressions.len();
        }
    }
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.key)?;
        if let Some(last) = self.key_end() {
            write!(f, "-{last}")?;
        }
        match &self.target {
            Target::Nothing => Ok(()),
            Target::Value(Value::Data(data)) => write!(f, " : {data}"),
            Target::Value(Value::Verdict(verdict)) => write!(f, " : {verdict}"),
            Target::Object(object) => write!(f, " : {object}"),
        }
    }
}
