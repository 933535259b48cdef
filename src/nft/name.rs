//! Names of tables, chains, sets and objects.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;
use std::sync::Arc;

use crate::error::Invalid;
use crate::wire::{Attr, Attribute, DecodeError, Text, Writer};

use super::carried::Carried;

/// Longest name in bytes: `NFT_NAME_MAXLEN` of
/// `linux/netfilter/nf_tables.h` less its NUL.
pub const NAME_MAX: usize = 255;

/// The name of a table, chain, set or object.
///
/// The kernel takes any bytes, `nft` does not: a name with a space, `;` or
/// `}` writes into the listing, and one that is an `nft` keyword makes the
/// listing unreadable. So a name that is made here is a letter or `_`
/// followed by letters, digits and `_`, `.`, `/`, `-`, at most 255 bytes, and
/// no keyword. Names that the kernel lists are kept as they are.
///
/// ```
/// use tapwire::nft::Name;
/// const DNAT4: Name = Name::constant("dnat4");
/// let name: Name = "riklet".parse()?;
/// assert_eq!((DNAT4.as_str(), name.as_str()), ("dnat4", "riklet"));
/// assert!(Name::new("a; flush ruleset").is_err());
/// assert!(Name::new("counter").is_err());
/// # Ok::<(), tapwire::error::Invalid>(())
/// ```
#[derive(Clone)]
pub struct Name(Repr);

#[derive(Clone)]
enum Repr {
    Constant(&'static str),
    Shared(Arc<str>),
}

impl Name {
    /// Checks `name`.
    ///
    /// # Errors
    /// [`Invalid`] with the rule that it breaks.
    pub fn new(name: &str) -> Result<Self, Invalid> {
        match fault(name) {
            None => Ok(Self(Repr::Shared(name.into()))),
            Some(why) => Err(Invalid::new("nft name", name, why)),
        }
    }

    /// A name that is part of the program.
    ///
    /// # Panics
    /// If it is not a good name; in a `const` that stops the compilation.
    pub const fn constant(name: &'static str) -> Self {
        assert!(fault(name).is_none(), "not a name that nft can read");
        Self(Repr::Constant(name))
    }

    /// A name that the kernel or this crate made, kept as it is.
    pub(crate) fn unchecked(name: &str) -> Self {
        Self(Repr::Shared(name.into()))
    }

    /// The template of an anonymous set, which the kernel numbers.
    pub(crate) const fn template(name: &'static str) -> Self {
        Self(Repr::Constant(name))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Repr::Constant(name) => name,
            Repr::Shared(name) => name,
        }
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Name {}

impl PartialEq<str> for Name {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for Name {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

impl Hash for Name {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl PartialOrd for Name {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Name {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl FromStr for Name {
    type Err = Invalid;

    fn from_str(name: &str) -> Result<Self, Invalid> {
        Self::new(name)
    }
}

impl TryFrom<&str> for Name {
    type Error = Invalid;

    fn try_from(name: &str) -> Result<Self, Invalid> {
        Self::new(name)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl Carried<Text> for Name {
    fn put(&self, attr: Attr<Text>, out: &mut Writer<'_>) {
        out.put(attr, self.as_str());
    }

    fn get(_: Attr<Text>, from: &Attribute<'_>) -> Result<Self, DecodeError> {
        Ok(Self::unchecked(&lossy(from.payload())))
    }
}

/// Bytes up to the first NUL as text; what is not UTF-8 becomes U+FFFD, so
/// that one odd name does not hide the rest of a listing.
pub(crate) fn lossy(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    let text = bytes.split(|&byte| byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text)
}

const fn fault(name: &str) -> Option<&'static str> {
    let Some((first, mut rest)) = name.as_bytes().split_first() else {
        return Some("is empty");
    };
    if name.len() > NAME_MAX {
        return Some("is longer than 255 bytes");
    }
    if !first.is_ascii_alphabetic() && *first != b'_' {
        return Some("does not begin with a letter or _");
    }
    while let Some((byte, tail)) = rest.split_first() {
        if !byte.is_ascii_alphanumeric() && !matches!(byte, b'_' | b'.' | b'/' | b'-') {
            return Some("holds a character other than letters, digits and _ . / -");
        }
        rest = tail;
    }
    if is_keyword(name.as_bytes()) {
        return Some("is a keyword of nft");
    }
    None
}

const fn is_keyword(name: &[u8]) -> bool {
    let mut keywords = KEYWORDS;
    // Names are made with rules and elements: the words are not all compared.
    while !keywords.is_empty() {
        let (below, rest) = keywords.split_at(keywords.len() / 2);
        let Some((middle, above)) = rest.split_first() else {
            return false;
        };
        keywords = match order(name, middle.as_bytes()) {
            Ordering::Equal => return true,
            Ordering::Less => below,
            Ordering::Greater => above,
        };
    }
    false
}

/// `Ord::cmp`, which is not `const`.
const fn order(mut left: &[u8], mut right: &[u8]) -> Ordering {
    loop {
        match (left.split_first(), right.split_first()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some((a, _)), Some((b, _))) if *a < *b => return Ordering::Less,
            (Some((a, _)), Some((b, _))) if *a > *b => return Ordering::Greater,
            (Some((_, left_rest)), Some((_, right_rest))) => {
                left = left_rest;
                right = right_rest;
            }
        }
    }
}

/// The names that `nft` 1.0.6 does not take for a table, a chain and a set:
/// each of the words of its grammar was tried. `destroy` came with 1.0.7.
/// In order, to be searched.
#[rustfmt::skip]
const KEYWORDS: &[&str] = &[
    "accept", "add", "ah", "all", "and", "arp", "auto-merge", "bridge", "cgroup", "chain",
    "comment", "comp", "constant", "continue", "counter", "cpu", "create", "ct", "day", "dccp",
    "define", "delete", "describe", "destroy", "device", "devices", "dnat", "drop", "dst",
    "dup", "dynamic", "ecn", "element", "elements", "eq", "esp", "ether", "exists", "expires",
    "export", "exthdr", "fib", "flags", "flow", "flowtable", "flush", "frag", "fwd",
    "gc-interval", "ge", "get", "goto", "gt", "handle", "hbh", "hook", "hour", "ibriport",
    "ibrname", "icmp", "icmpv6", "igmp", "iif", "iifgroup", "iifname", "iiftype", "import",
    "include", "index", "inet", "insert", "interval", "ip", "ip6", "ipsec", "jhash", "jump",
    "last", "le", "limit", "list", "ll", "log", "lshift", "lt", "map", "mark", "masquerade",
    "meta", "meter", "mh", "missing", "monitor", "ne", "netdev", "nftrace", "nh", "not",
    "notrack", "numgen", "obriport", "obrname", "offload", "oif", "oifgroup", "oifname",
    "oiftype", "or", "osf", "pkttype", "policy", "position", "priority", "queue", "quota",
    "random", "redefine", "redirect", "reject", "rename", "replace", "reset", "return",
    "rshift", "rt", "rt0", "rt2", "rtclassid", "rule", "ruleset", "sctp", "secmark", "set",
    "size", "skgid", "skuid", "snat", "socket", "srh", "symhash", "synproxy", "table", "tcp",
    "th", "time", "timeout", "tproxy", "type", "typeof", "udp", "udplite", "undefine", "update",
    "vlan", "vmap", "xor", "xt",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_nft_reads_are_taken() {
        let longest = "x".repeat(NAME_MAX);
        for good in ["riklet", "_a", "a.b/c-d", "DOCKER-USER", "x1", &longest] {
            assert_eq!(Name::new(good).unwrap().as_str(), good);
        }
    }

    #[test]
    fn each_keyword_is_refused() {
        assert!(KEYWORDS.is_sorted());
        for keyword in KEYWORDS {
            assert!(Name::new(keyword).is_err(), "{keyword} was taken");
            assert!(Name::new(&format!("{keyword}x")).is_ok());
        }
    }

    #[test]
    fn names_that_write_into_a_listing_are_refused() {
        let long = "x".repeat(NAME_MAX + 1);
        for bad in [
            "", "a b", "a;b", "a}", "a\"b", "1a", "-a", "a\n", "a\0", "é", "fwd", "ct", "last",
            "counter", &long,
        ] {
            assert!(Name::new(bad).is_err(), "{bad:?} was taken");
        }
    }
}
