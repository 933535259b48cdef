//! What becomes of a packet that a filter matches: `tc-mirred(8)`,
//! `linux/tc_act/tc_mirred.h`.

use std::fmt;

use crate::IfIndex;
use crate::wire::uapi::pkt_cls::{
    TC_ACT_PIPE, TC_ACT_STOLEN, TCA_ACT_COOKIE, TCA_ACT_KIND, TCA_ACT_OPTIONS,
};
use crate::wire::uapi::tc_mirred::{TCA_EGRESS_MIRROR, TCA_EGRESS_REDIR, TCA_MIRRED_PARMS};
use crate::wire::{Attr, Attrs, DecodeError, Fields, Nest, Writer};

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Action {
    /// It leaves by this interface instead.
    Redirect(IfIndex),
    /// A copy leaves by this interface.
    Mirror(IfIndex),
}

impl Action {
    /// As the one action of a filter, in its attribute `list`.
    pub(super) fn encode(self, cookie: Option<&[u8]>, list: Attr<Nest>, out: &mut Writer<'_>) {
        out.nest(list, |out| {
            out.nest(FIRST, |out| {
                out.put(TCA_ACT_KIND, MIRRED);
                out.nest(TCA_ACT_OPTIONS, |out| {
                    out.put(TCA_MIRRED_PARMS, &self.parameters());
                });
                out.put_some(TCA_ACT_COOKIE, cookie);
            });
        });
    }

    /// `struct tc_mirred`: index, capabilities, what comes next, two counts,
    /// what is done, and the interface.
    fn parameters(self) -> [u8; 28] {
        let (next, done, to) = match self {
            Self::Redirect(to) => (TC_ACT_STOLEN, TCA_EGRESS_REDIR, to),
            Self::Mirror(to) => (TC_ACT_PIPE, TCA_EGRESS_MIRROR, to),
        };
        let mut bytes = [0; 28];
        let fields = [
            [0; 4],
            [0; 4],
            next.to_ne_bytes(),
            [0; 4],
            [0; 4],
            done.to_ne_bytes(),
            to.get().to_ne_bytes(),
        ];
        for (bytes, field) in bytes.chunks_exact_mut(4).zip(fields) {
            bytes.copy_from_slice(&field);
        }
        bytes
    }

    /// The action of a filter, if it has one only and that is one of these,
    /// and its cookie.
    pub(super) fn decode(list: Attrs<'_>) -> Result<(Option<Self>, Option<&[u8]>), DecodeError> {
        let mut actions = list;
        let (Some(first), None) = (actions.next().transpose()?, actions.next()) else {
            return Ok((None, None));
        };
        let first = Fields::<7>::read(first.nested())?;
        let parameters = match first.get(TCA_ACT_OPTIONS)? {
            Some(options) if first.get(TCA_ACT_KIND)? == Some(MIRRED) => {
                options.find(TCA_MIRRED_PARMS)?
            }
            _ => None,
        };
        Ok((parameters.and_then(Self::of), first.get(TCA_ACT_COOKIE)?))
    }

    fn of(parameters: &[u8]) -> Option<Self> {
        let field = |number| parameters.chunks_exact(4).nth(number)?.try_into().ok();
        let to = IfIndex::new(u32::from_ne_bytes(field(6)?)).ok()?;
        match (i32::from_ne_bytes(field(2)?), i32::from_ne_bytes(field(5)?)) {
            (TC_ACT_STOLEN, TCA_EGRESS_REDIR) => Some(Self::Redirect(to)),
            (TC_ACT_PIPE, TCA_EGRESS_MIRROR) => Some(Self::Mirror(to)),
            _ => None,
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Redirect(to) => write!(f, "redirect to {to}"),
            Self::Mirror(to) => write!(f, "mirror to {to}"),
        }
    }
}

/// Actions are numbered by their order.
const FIRST: Attr<Nest> = Attr::new(1);

const MIRRED: &str = "mirred";
