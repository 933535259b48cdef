//! Elements of sets and maps.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::wire::uapi::nf_tables::{
    NFT_SET_ELEM_CATCHALL, NFT_SET_ELEM_INTERVAL_END, NFTA_EXPR_DATA, NFTA_EXPR_NAME,
    NFTA_LIST_ELEM, NFTA_SET_ELEM_DATA, NFTA_SET_ELEM_EXPIRATION, NFTA_SET_ELEM_EXPR,
    NFTA_SET_ELEM_EXPRESSIONS, NFTA_SET_ELEM_FLAGS, NFTA_SET_ELEM_KEY, NFTA_SET_ELEM_KEY_END,
    NFTA_SET_ELEM_OBJREF, NFTA_SET_ELEM_TIMEOUT, NFTA_SET_ELEM_USERDATA,
};
use crate::wire::uapi::nf_tables_expr::{NFTA_COUNTER_BYTES, NFTA_COUNTER_PACKETS};
use crate::wire::{Attrs, DecodeError, Writer};

use super::carried::{Carried, Extra};
use super::expr::{Counter, Expr};
use super::userdata::{self, Entries};
use super::{Comment, Data, Name, Value};

/// An element of a set, or of a map if it has data.
///
/// Everything lies within the value, so that making and writing one needs no
/// allocation.
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
    key_end: Option<Data>,
    data: Option<Value>,
    object: Option<Name>,
    flags: u32,
    interval_open: bool,
    counter: Option<Counts>,
    comment: Option<Comment>,
    timeout: Option<u64>,
    expiration: Option<u64>,
    expressions: Vec<Expr>,
    userdata: Vec<u8>,
    extra: Extra,
}

/// What a counter has counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub struct Counts {
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

impl Element {
    /// The element of this key.
    pub fn new(key: impl Into<Data>) -> Self {
        Self {
            key: key.into(),
            key_end: None,
            data: None,
            object: None,
            flags: 0,
            interval_open: false,
            counter: None,
            comment: None,
            timeout: None,
            expiration: None,
            expressions: Vec::new(),
            userdata: Vec::new(),
            extra: Extra::default(),
        }
    }

    /// The element that stands for every key that has none: `*`.
    pub fn catch_all() -> Self {
        Self {
            flags: NFT_SET_ELEM_CATCHALL,
            ..Self::new(Data::EMPTY)
        }
    }

    /// The elements that hold `nets` in an interval set of one field: where
    /// each range begins, and the first address behind it. Nets that overlap
    /// are joined.
    ///
    /// ```
    /// use tapwire::nft::Element;
    /// let elements = Element::networks(["10.0.0.0/8".parse()?]);
    /// let ends: Vec<bool> = elements.iter().map(Element::is_interval_end).collect();
    /// assert_eq!(ends, [true, false, true]);
    /// # Ok::<(), ipnet::AddrParseError>(())
    /// ```
    pub fn networks(nets: impl IntoIterator<Item = IpNet>) -> Vec<Self> {
        let mut nets = IpNet::aggregate(&nets.into_iter().collect());
        nets.sort();
        let mut elements = Vec::new();
        // Below the first range, the set must be said to be empty.
        elements.extend(
            nets.first()
                .filter(|net| !net.network().is_unspecified())
                .map(|net| {
                    let lowest: IpAddr = match net {
                        IpNet::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
                        IpNet::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
                    };
                    Self::new(lowest).interval_end()
                }),
        );
        for net in nets {
            let start = Self::new(net.network());
            match behind(net) {
                Some(end) => elements.extend([start, Self::new(end).interval_end()]),
                None => elements.push(start.interval_open()),
            }
        }
        elements
    }

    /// With the last key of a range in a concatenated interval set.
    #[must_use]
    pub fn to(mut self, last: impl Into<Data>) -> Self {
        self.key_end = Some(last.into());
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
        self.data = Some(data.into());
        self
    }

    /// With the object that an object map leads to.
    #[must_use]
    pub fn object(mut self, name: Name) -> Self {
        self.object = Some(name);
        self
    }

    /// With a comment.
    #[must_use]
    pub const fn comment(mut self, comment: Comment) -> Self {
        self.comment = Some(comment);
        self
    }

    /// With a counter that starts at `counts`. A set that was made with a
    /// counter gives one to each element by itself.
    #[must_use]
    pub const fn counter(mut self, counts: Counts) -> Self {
        self.counter = Some(counts);
        self
    }

    /// With an end, in milliseconds from now.
    #[must_use]
    pub const fn timeout(mut self, milliseconds: u64) -> Self {
        self.timeout = Some(milliseconds);
        self
    }

    /// With an expression that every lookup of it runs, besides a counter:
    /// a limit.
    #[must_use]
    pub fn expression(mut self, expression: impl Into<Expr>) -> Self {
        self.expressions.push(expression.into());
        self
    }

    /// Its key.
    pub const fn key(&self) -> &Data {
        &self.key
    }

    /// The last key of its range.
    pub const fn key_end(&self) -> Option<&Data> {
        self.key_end.as_ref()
    }

    /// What a map holds for it.
    pub const fn value(&self) -> Option<&Value> {
        self.data.as_ref()
    }

    /// The object that an object map holds for it.
    pub const fn current_object(&self) -> Option<&Name> {
        self.object.as_ref()
    }

    /// Its comment.
    pub const fn current_comment(&self) -> Option<&Comment> {
        self.comment.as_ref()
    }

    /// What its counter has counted.
    pub const fn counts(&self) -> Option<Counts> {
        self.counter
    }

    /// After how many milliseconds it goes.
    pub const fn current_timeout(&self) -> Option<u64> {
        self.timeout
    }

    /// In how many milliseconds from the listing it goes.
    pub const fn expiration(&self) -> Option<u64> {
        self.expiration
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
        &self.expressions
    }

    /// Its place among the elements of an interval set: a range ends before
    /// the next one begins.
    pub(crate) fn place(&self) -> (&[u8], bool) {
        (self.key.as_bytes(), !self.is_interval_end())
    }

    /// What identifies it in a deletion or a question.
    pub(crate) fn encode_key(&self, out: &mut Writer<'_>) {
        if self.flags != 0 {
            out.put(NFTA_SET_ELEM_FLAGS, self.flags);
        }
        if !self.is_catch_all() {
            self.key.put(NFTA_SET_ELEM_KEY, out);
        }
        if let Some(last) = &self.key_end {
            last.put(NFTA_SET_ELEM_KEY_END, out);
        }
    }

    pub(crate) fn encode(&self, out: &mut Writer<'_>) {
        self.encode_key(out);
        if let Some(data) = &self.data {
            data.put(NFTA_SET_ELEM_DATA, out);
        }
        if let Some(object) = &self.object {
            object.put(NFTA_SET_ELEM_OBJREF, out);
        }
        out.put_some(NFTA_SET_ELEM_TIMEOUT, self.timeout);
        out.put_some(NFTA_SET_ELEM_EXPIRATION, self.expiration);
        let mut entries = Entries::new();
        entries.comment(userdata::COMMENT, self.comment.as_ref());
        if self.interval_open {
            entries.number(userdata::ELEMENT_FLAGS, 1);
        }
        entries.raw(&self.userdata);
        entries.put(NFTA_SET_ELEM_USERDATA, out);
        match (self.counter, self.expressions.as_slice()) {
            (None, []) => {}
            (Some(counts), []) => out.nest(NFTA_SET_ELEM_EXPR, |out| counts.encode(out)),
            (None, [one]) => one.put(NFTA_SET_ELEM_EXPR, out),
            (counter, several) => out.nest(NFTA_SET_ELEM_EXPRESSIONS, |out| {
                if let Some(counts) = counter {
                    out.nest(NFTA_LIST_ELEM, |out| counts.encode(out));
                }
                for one in several {
                    one.put(NFTA_LIST_ELEM, out);
                }
            }),
        }
        self.extra.put(out);
    }

    /// Reads `NFTA_SET_ELEM_*`.
    pub(crate) fn decode(attrs: Attrs<'_>) -> Result<Self, DecodeError> {
        let mut element = Self::new(Data::EMPTY);
        for attribute in attrs {
            let attribute = attribute?;
            let kind = attribute.kind();
            if kind == NFTA_SET_ELEM_KEY {
                element.key = Data::get(NFTA_SET_ELEM_KEY, &attribute)?;
            } else if kind == NFTA_SET_ELEM_KEY_END {
                element.key_end = Some(Data::get(NFTA_SET_ELEM_KEY_END, &attribute)?);
            } else if kind == NFTA_SET_ELEM_DATA {
                element.data = Some(Value::get(NFTA_SET_ELEM_DATA, &attribute)?);
            } else if kind == NFTA_SET_ELEM_OBJREF {
                element.object = Some(Name::get(NFTA_SET_ELEM_OBJREF, &attribute)?);
            } else if kind == NFTA_SET_ELEM_FLAGS {
                element.flags = attribute.get(NFTA_SET_ELEM_FLAGS)?;
            } else if kind == NFTA_SET_ELEM_TIMEOUT {
                element.timeout = Some(attribute.get(NFTA_SET_ELEM_TIMEOUT)?);
            } else if kind == NFTA_SET_ELEM_EXPIRATION {
                element.expiration = Some(attribute.get(NFTA_SET_ELEM_EXPIRATION)?);
            } else if kind == NFTA_SET_ELEM_USERDATA {
                element.read_userdata(attribute.payload());
            } else if kind == NFTA_SET_ELEM_EXPR {
                element.take(Expr::decode(attribute.nested())?);
            } else if kind == NFTA_SET_ELEM_EXPRESSIONS {
                for one in attribute.nested() {
                    element.take(Expr::decode(one?.nested())?);
                }
            } else {
                element.extra.keep(&attribute);
            }
        }
        if element.is_interval_end() {
            // The kernel lists the set's timeout with it, and takes none back.
            (element.timeout, element.expiration) = (None, None);
        }
        if element.is_catch_all() && element.key != Data::EMPTY {
            return Err(DecodeError::Malformed {
                what: "element for every key that has one",
            });
        }
        Ok(element)
    }

    fn take(&mut self, expression: Expr) {
        match expression {
            Expr::Counter(counter) if self.counter.is_none() => {
                self.counter = Some(Counts::from(&counter));
            }
            other => self.expressions.push(other),
        }
    }

    fn read_userdata(&mut self, bytes: &[u8]) {
        let (comment, rest) = super::header::comment(bytes, userdata::COMMENT);
        self.comment = comment;
        for (kind, value) in userdata::read(&rest) {
            if kind == userdata::ELEMENT_FLAGS && userdata::number(value) == Some(1) {
                self.interval_open = true;
            } else {
                self.userdata
                    .extend([kind, u8::try_from(value.len()).unwrap_or_default()]);
                self.userdata.extend_from_slice(value);
            }
        }
    }
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.key)?;
        if let Some(last) = &self.key_end {
            write!(f, "-{last}")?;
        }
        match &self.data {
            Some(Value::Data(data)) => write!(f, " : {data}"),
            Some(Value::Verdict(verdict)) => write!(f, " : {verdict}"),
            None => match &self.object {
                Some(object) => write!(f, " : {object}"),
                None => Ok(()),
            },
        }
    }
}

impl Counts {
    /// These counts.
    pub const fn new(packets: u64, bytes: u64) -> Self {
        Self { packets, bytes }
    }

    fn encode(self, out: &mut Writer<'_>) {
        out.put(NFTA_EXPR_NAME, Counter::NAME);
        out.nest(NFTA_EXPR_DATA, |out| self.encode_fields(out));
    }

    pub(crate) fn encode_fields(self, out: &mut Writer<'_>) {
        out.put(NFTA_COUNTER_BYTES, self.bytes);
        out.put(NFTA_COUNTER_PACKETS, self.packets);
    }
}

impl From<&Counter> for Counts {
    fn from(counter: &Counter) -> Self {
        Self {
            packets: *counter.packets(),
            bytes: *counter.bytes(),
        }
    }
}

/// The first address behind `net`.
fn behind(net: IpNet) -> Option<IpAddr> {
    match net.broadcast() {
        IpAddr::V4(last) => Some(Ipv4Addr::from(u32::from(last).checked_add(1)?).into()),
        IpAddr::V6(last) => Some(Ipv6Addr::from(u128::from(last).checked_add(1)?).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nft::{L4Proto, Port};

    fn encode(element: &Element) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut out = Writer::new(&mut bytes);
        element.encode(&mut out);
        out.finish().unwrap();
        bytes
    }

    // The element's attributes as nft 1.0.6 sends them for
    //   nft add element inet t m '{ tcp . 8080 comment "web" : 172.16.0.2 . 80 }'
    // (strace -e trace=sendmsg -e write=3).
    #[cfg(target_endian = "little")]
    #[test]
    fn element_is_written_as_nft_writes_it() {
        let element = Element::new((L4Proto::TCP, Port(8080)))
            .data((Ipv4Addr::new(172, 16, 0, 2), Port(80)))
            .comment(Comment::constant("web"));
        let wanted = [
            16, 0, 1, 0x80, 12, 0, 1, 0, 6, 0, 0, 0, 0x1f, 0x90, 0, 0, // key
            16, 0, 2, 0x80, 12, 0, 1, 0, 172, 16, 0, 2, 0, 80, 0, 0, // data
            10, 0, 6, 0, 0, 4, b'w', b'e', b'b', 0, 0, 0, // userdata
        ];
        assert_eq!(encode(&element), wanted);
    }

    #[test]
    fn all_parts_of_an_element_are_read_back() {
        let element = Element::new(Ipv4Addr::LOCALHOST)
            .comment(Comment::constant("here"))
            .counter(Counts::new(1, 2))
            .expression(crate::nft::expr::Limit::new(1, 1))
            .timeout(1000)
            .interval_open();
        let bytes = encode(&element);
        assert_eq!(Element::decode(Attrs::new(&bytes)).unwrap(), element);
        let all = Element::catch_all();
        let bytes = encode(&all);
        assert_eq!(Element::decode(Attrs::new(&bytes)).unwrap(), all);
    }

    #[test]
    fn unknown_attributes_are_kept() {
        let bytes = [8, 0, 99, 0, 1, 2, 3, 4];
        let element = Element::decode(Attrs::new(&bytes)).unwrap();
        assert!(encode(&element).ends_with(&bytes));
    }

    #[test]
    fn nets_that_reach_an_end_have_no_element_behind_it() {
        let nets = |net: &str| Element::networks([net.parse().unwrap()]);
        assert_eq!(nets("0.0.0.0/0").len(), 1);
        assert_eq!(nets("0.0.0.0/8").len(), 2);
        assert_eq!(nets("255.0.0.0/8").len(), 2);
        assert_eq!(nets("10.0.0.0/8").len(), 3);
    }

    #[test]
    fn element_for_every_key_that_has_a_key_is_malformed() {
        let mut bytes = encode(&Element::catch_all());
        assert_eq!(
            Element::decode(Attrs::new(&bytes)),
            Ok(Element::catch_all())
        );
        bytes.extend(encode(&Element::new(Port(80))));
        assert!(Element::decode(Attrs::new(&bytes)).is_err());
    }
}
