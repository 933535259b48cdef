//! Queueing disciplines: `RTM_NEWQDISC` and its kin.

use std::fmt;

use crate::IfIndex;
use crate::wire::uapi::pkt_sched::TC_H_INGRESS;
use crate::wire::uapi::rtnetlink::TCA_KIND;
use crate::wire::{DecodeError, Message, Writer};

use super::header::Header;

/// What an interface's packets pass. Those of the kinds `ingress` and
/// `clsact` queue nothing, they hold filters; an interface has one of them at
/// most.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Qdisc {
    index: IfIndex,
    kind: Box<str>,
    handle: u32,
    parent: u32,
}

impl Qdisc {
    /// The place for filters on what `index` takes in.
    pub fn ingress(index: IfIndex) -> Self {
        Self::of_filters(index, "ingress")
    }

    /// The place for filters on what `index` takes in, and on what it sends.
    pub fn clsact(index: IfIndex) -> Self {
        Self::of_filters(index, "clsact")
    }

    fn of_filters(index: IfIndex, kind: &str) -> Self {
        Self {
            index,
            kind: kind.into(),
            handle: TC_H_INGRESS & 0xffff_0000,
            parent: TC_H_INGRESS,
        }
    }

    /// The interface.
    pub fn index(&self) -> IfIndex {
        self.index
    }

    /// Its kind: `ingress`, `clsact`, `noqueue`, `fq_codel`.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// Its handle, major number in the upper half; 0 for one that the kernel
    /// made by itself.
    pub fn handle(&self) -> u32 {
        self.handle
    }

    /// What it hangs on; the root is `0xffff_ffff`.
    pub fn parent(&self) -> u32 {
        self.parent
    }

    /// Whether it holds filters on what the interface takes in.
    pub fn is_ingress(&self) -> bool {
        self.parent == TC_H_INGRESS
    }

    pub(crate) fn encode(&self, out: &mut Writer<'_>) {
        let header = Header {
            handle: self.handle,
            ..Header::of(Some(self.index), self.parent)
        };
        header.encode(out);
        out.put(TCA_KIND, &self.kind);
    }

    pub(crate) fn decode(message: &Message<'_>) -> Result<Self, DecodeError> {
        let (header, index, fields) = Header::decode(message)?;
        Ok(Self {
            index,
            kind: fields.need(TCA_KIND)?.into(),
            handle: header.handle,
            parent: header.parent,
        })
    }
}

impl fmt::Display for Qdisc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} dev {}", self.kind, self.index)
    }
}

/// The body of an `RTM_GETQDISC`. The kernel lists those of all interfaces,
/// whichever is asked for.
pub(crate) fn encode_list(index: Option<IfIndex>, out: &mut Writer<'_>) {
    Header::of(index, 0).encode(out);
}
