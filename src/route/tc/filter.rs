//! Filters: `RTM_NEWTFILTER` and its kin.

use std::fmt;

use crate::IfIndex;
use crate::error::Invalid;
use crate::wire::uapi::pkt_cls::{TC_U32_TERMINAL, TCA_MATCHALL_ACT, TCA_U32_ACT, TCA_U32_SEL};
use crate::wire::uapi::pkt_sched::{TC_H_INGRESS, TC_H_MIN_EGRESS, TC_H_MIN_INGRESS};
use crate::wire::uapi::rtnetlink::{TCA_CHAIN, TCA_KIND, TCA_OPTIONS};
use crate::wire::{Attrs, DecodeError, Message, Writer};

use super::action::Action;
use super::header::Header;

/// A filter on the packets of an interface that has an ingress or clsact
/// [`Qdisc`](super::Qdisc).
///
/// One that was made here matches every packet, of any protocol. One that is
/// listed may be anything; what this type has no word for is left out, so to
/// add it again would add another filter.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Filter {
    index: IfIndex,
    hook: Hook,
    priority: u16,
    protocol: u16,
    handle: u32,
    chain: u32,
    classifier: Classifier,
    action: Option<Action>,
    cookie: Option<Box<[u8]>>,
}

/// Which packets a filter looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Hook {
    /// Those that the interface takes in.
    Ingress,
    /// Those that it sends, which wants a clsact qdisc.
    Egress,
}

impl Hook {
    fn parent(self) -> u32 {
        let minor = match self {
            Self::Ingress => TC_H_MIN_INGRESS,
            Self::Egress => TC_H_MIN_EGRESS,
        };
        (TC_H_INGRESS & 0xffff_0000) | minor
    }
}

/// What decides whether a packet matches.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Classifier {
    /// Every packet, by a 32-bit match with an empty mask: `tc-u32(8)`. Every
    /// kernel with traffic control has it.
    U32,
    /// Every packet: `tc-matchall(8)`, `CONFIG_NET_CLS_MATCHALL`.
    Matchall,
    /// Someone else's, by its kind: `flower`, `bpf`, or `u32` with a match.
    Other(Box<str>),
}

impl Filter {
    /// Does this to every packet, with priority 1, by [`Classifier::U32`].
    pub fn new(index: IfIndex, hook: Hook, action: Action) -> Self {
        Self {
            index,
            hook,
            priority: 1,
            protocol: ETH_P_ALL,
            handle: 0,
            chain: 0,
            classifier: Classifier::U32,
            action: Some(action),
            cookie: None,
        }
    }

    /// Matches by `matchall`.
    #[must_use]
    pub fn matchall(mut self) -> Self {
        self.classifier = Classifier::Matchall;
        self
    }

    /// Filters are asked from the lowest number on. All of one priority are
    /// of one kind; 0 has the kernel choose one.
    #[must_use]
    pub fn priority(mut self, priority: u16) -> Self {
        self.priority = priority;
        self
    }

    /// Has its action carry these bytes, at most 16, which the kernel keeps and
    /// shows: whose it is, for example.
    #[must_use]
    pub fn cookie(mut self, cookie: &[u8]) -> Self {
        self.cookie = Some(cookie.into());
        self
    }

    /// The interface.
    pub fn index(&self) -> IfIndex {
        self.index
    }

    /// Which of its packets it looks at.
    pub fn hook(&self) -> Hook {
        self.hook
    }

    /// Its place among the filters.
    pub fn priority_number(&self) -> u16 {
        self.priority
    }

    /// Its number among those of its priority, which the kernel gives.
    pub fn handle(&self) -> u32 {
        self.handle
    }

    /// What decides whether a packet matches.
    pub fn classifier(&self) -> &Classifier {
        &self.classifier
    }

    /// What becomes of packets; `None` for what this type has no word for.
    pub fn action(&self) -> Option<Action> {
        self.action
    }

    /// The bytes that its action carries.
    pub fn cookie_bytes(&self) -> Option<&[u8]> {
        self.cookie.as_deref()
    }

    /// Whether it does this to every packet, by whatever classifier.
    pub fn does(&self, action: Action) -> bool {
        let every = !matches!(self.classifier, Classifier::Other(_)) && self.chain == 0;
        every && self.protocol == ETH_P_ALL && self.action == Some(action)
    }

    pub(crate) fn check(&self) -> Result<(), Invalid> {
        match &self.cookie {
            Some(cookie) if !(1..=COOKIE_MAX).contains(&cookie.len()) => {
                let why = "does not have 1 to 16 bytes";
                return Err(Invalid::new("cookie", cookie.escape_ascii(), why));
            }
            _ => {}
        }
        match (&self.classifier, self.action) {
            (Classifier::Other(kind), _) => {
                let why = "is of a kind that can be deleted but not added";
                Err(Invalid::new("filter", kind, why))
            }
            (_, None) => {
                let why = "has no action that can be added";
                Err(Invalid::new("filter", self, why))
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn encode(&self, out: &mut Writer<'_>) {
        self.encode_header(out);
        let Some(action) = self.action else {
            return;
        };
        out.nest(TCA_OPTIONS, |out| match self.classifier {
            Classifier::U32 => {
                action.encode(self.cookie.as_deref(), TCA_U32_ACT, out);
                out.put(TCA_U32_SEL, &EVERY);
            }
            Classifier::Matchall => {
                action.encode(self.cookie.as_deref(), TCA_MATCHALL_ACT, out);
            }
            Classifier::Other(_) => {}
        });
    }

    /// What the kernel needs to find it.
    pub(crate) fn encode_header(&self, out: &mut Writer<'_>) {
        let header = Header {
            handle: self.handle,
            info: (u32::from(self.priority) << 16) | u32::from(self.protocol.to_be()),
            ..Header::of(Some(self.index), self.hook.parent())
        };
        header.encode(out);
        out.put(TCA_KIND, self.classifier.kind());
        if self.chain != 0 {
            out.put(TCA_CHAIN, self.chain);
        }
    }

    /// Reads a filter; `None` for what the kernel lists besides: the priority
    /// itself, before its filters, and hash tables of `u32`.
    pub(crate) fn decode(message: &Message<'_>) -> Result<Option<Self>, DecodeError> {
        let (header, _, fields) = Header::decode(message)?;
        let is_table = fields.need(TCA_KIND)? == "u32" && header.handle & U32_NODE == 0;
        if is_table || header.handle == 0 || fields.get(TCA_OPTIONS)?.is_none() {
            return Ok(None);
        }
        Self::describe(message).map(Some)
    }

    /// Reads whatever is said about a filter.
    pub(crate) fn describe(message: &Message<'_>) -> Result<Self, DecodeError> {
        let (header, index, fields) = Header::decode(message)?;
        let kind = fields.need(TCA_KIND)?;
        let options = fields.get(TCA_OPTIONS)?.unwrap_or(Attrs::new(&[]));
        let (mut selector, mut actions) = (None, None);
        for attribute in options {
            let attribute = attribute?;
            match (kind, attribute.kind()) {
                ("u32", it) if it == TCA_U32_SEL => selector = Some(attribute.payload()),
                ("u32", it) if it == TCA_U32_ACT => actions = Some(attribute.nested()),
                ("matchall", it) if it == TCA_MATCHALL_ACT => actions = Some(attribute.nested()),
                _ => {}
            }
        }
        let classifier = match kind {
            "u32" if selector.is_some_and(|selector| selector.starts_with(&EVERY)) => {
                Classifier::U32
            }
            "matchall" => Classifier::Matchall,
            other => Classifier::Other(other.into()),
        };
        let (action, cookie) = match actions {
            Some(actions) => Action::decode(actions)?,
            None => (None, None),
        };
        let [priority_1, priority_0, protocol @ ..] = header.info.to_be_bytes();
        let egress = header.parent == Hook::Egress.parent();
        Ok(Self {
            index,
            hook: if egress { Hook::Egress } else { Hook::Ingress },
            priority: u16::from_be_bytes([priority_1, priority_0]),
            protocol: u16::from_be(u16::from_be_bytes(protocol)),
            handle: header.handle,
            chain: fields.get(TCA_CHAIN)?.unwrap_or(0),
            classifier,
            action,
            cookie: cookie.map(Into::into),
        })
    }
}

impl Classifier {
    fn kind(&self) -> &str {
        match self {
            Self::U32 => "u32",
            Self::Matchall => "matchall",
            Self::Other(kind) => kind,
        }
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hook = match self.hook {
            Hook::Ingress => "ingress",
            Hook::Egress => "egress",
        };
        let (index, priority, kind) = (self.index, self.priority, self.classifier.kind());
        write!(f, "{kind} dev {index} {hook} pref {priority}")?;
        match self.action {
            Some(action) => write!(f, " {action}"),
            None => Ok(()),
        }
    }
}

/// The body of an `RTM_GETTFILTER`.
pub(crate) fn encode_list(index: IfIndex, hook: Hook, out: &mut Writer<'_>) {
    Header::of(Some(index), hook.parent()).encode(out);
}

/// `struct tc_u32_sel` with one key whose mask is empty: a match that ends
/// the search, for every packet.
const EVERY: [u8; 32] = {
    let mut bytes = [0; 32];
    bytes[0] = TC_U32_TERMINAL;
    bytes[2] = 1;
    bytes
};

/// `TC_COOKIE_MAX_SIZE` of `linux/pkt_cls.h`.
const COOKIE_MAX: usize = 16;

/// `TC_U32_UNODE` and `TC_U32_UHASH` of `linux/pkt_cls.h`: the part of a
/// handle of `u32` that is zero for a hash table.
const U32_NODE: u32 = 0xf_ffff;

/// `ETH_P_ALL` of `linux/if_ether.h`.
const ETH_P_ALL: u16 = 3;
