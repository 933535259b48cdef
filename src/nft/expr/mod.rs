//! Expressions: the steps of a rule.
//!
//! Each is one table of its attributes, from which the value, its encoder and
//! its decoder follow, so that these cannot differ. Attributes that are not
//! in the table are kept and written back.

mod compare;
mod compat;
mod context;
mod divert;
mod exthdr;
mod load;
mod lookup;
mod plain;
mod read;
mod statement;
mod store;

pub use compare::{
    Bitwise, BitwiseOp, Byteorder, ByteorderOp, Cmp, CmpOp, Immediate, Range, RangeOp,
};
pub use compat::{XtMatch, XtTarget};
pub use context::{
    Inner, InnerType, Osf, Rt, RtKey, Socket, SocketKey, Tunnel, TunnelKey, TunnelMode, Xfrm,
    XfrmKey,
};
pub use divert::{Dup, FlowOffload, Fwd, Log, LogLevel, Queue, Synproxy, Tproxy};
pub use exthdr::{Exthdr, ExthdrOp, ExthdrReset, ExthdrSet};
pub use load::{
    Ct, CtKey, Fib, FibResult, Hash, HashType, Meta, MetaKey, Numgen, NumgenType, Payload,
    PayloadBase,
};
pub use lookup::{Dynset, DynsetOp, Lookup, Objref};
pub(crate) use read::rewritten;
pub use statement::{
    Connlimit, Counter, Last, Limit, LimitType, Masquerade, Nat, NatType, Quota, Redirect, Reject,
    RejectType,
};
pub use store::{ChecksumType, CtSet, MetaSet, PayloadSet};

use crate::wire::uapi::nf_tables::{NFTA_EXPR_DATA, NFTA_EXPR_NAME, NFTA_LIST_ELEM};
use crate::wire::{Attr, Attribute, DecodeError, Nest, Writer};

use super::carried::Carried;

/// Defines an expression: its name, and the table of its attributes.
macro_rules! expression {
    ($(#[$doc:meta])* $name:ident = $kernel:literal; $($table:tt)*) => {
        $crate::nft::record::record! { $(#[$doc])* $name; $($table)* }

        impl $name {
            /// The kernel's name of the expression.
            pub const NAME: &'static str = $kernel;
        }

        impl From<$name> for $crate::nft::expr::Expr {
            fn from(expression: $name) -> Self {
                // Some are boxed, which is the same word.
                #[expect(clippy::allow_attributes, reason = "depends on the expression")]
                #[allow(clippy::useless_conversion, reason = "not where it is boxed")]
                Self::$name(expression.into())
            }
        }
    };
}

use expression;

/// One step of a rule.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Expr {
    /// Loads a part of the packet.
    Payload(Payload),
    /// Writes a part of the packet.
    PayloadSet(PayloadSet),
    /// Loads what is known about the packet.
    Meta(Meta),
    /// Changes what is known about the packet.
    MetaSet(MetaSet),
    /// Loads what is known about the connection.
    Ct(Ct),
    /// Changes what is known about the connection.
    CtSet(CtSet),
    /// Asks the routing tables.
    Fib(Fib),
    /// Makes a number.
    Numgen(Numgen),
    /// Hashes.
    Hash(Hash),
    /// Loads a part of an option or extension header.
    Exthdr(Exthdr),
    /// Writes a part of an option.
    ExthdrSet(ExthdrSet),
    /// Takes an option out.
    ExthdrReset(ExthdrReset),
    /// Loads what the route says.
    Rt(Rt),
    /// Loads what is known about the socket.
    Socket(Socket),
    /// Loads the sender's operating system.
    Osf(Osf),
    /// Loads what is known about the `IPsec` transformation.
    Xfrm(Xfrm),
    /// Loads what is known about the tunnel.
    Tunnel(Tunnel),
    /// Loads from inside of a tunnel.
    Inner(Inner),
    /// Compares with a value.
    Cmp(Cmp),
    /// Compares with two bounds.
    Range(Box<Range>),
    /// Combines bits.
    Bitwise(Box<Bitwise>),
    /// Turns bytes around.
    Byteorder(Byteorder),
    /// Loads a value or a verdict.
    Immediate(Immediate),
    /// Looks up in a set or map.
    Lookup(Lookup),
    /// Adds to a set, or takes from it.
    Dynset(Dynset),
    /// Uses a named object.
    Objref(Objref),
    /// Counts.
    Counter(Counter),
    /// Compares with an amount.
    Quota(Quota),
    /// Remembers when a packet came by.
    Last(Last),
    /// Compares with a rate.
    Limit(Limit),
    /// Compares the number of connections.
    Connlimit(Connlimit),
    /// Translates addresses.
    Nat(Nat),
    /// Translates to the address of the outgoing interface.
    Masquerade(Masquerade),
    /// Translates to the host itself.
    Redirect(Redirect),
    /// Refuses with an answer.
    Reject(Reject),
    /// Logs.
    Log(Log),
    /// Hands to a program.
    Queue(Queue),
    /// Hands to a socket.
    Tproxy(Tproxy),
    /// Sends a copy.
    Dup(Dup),
    /// Sends out by another device.
    Fwd(Fwd),
    /// Takes the short way from now on.
    FlowOffload(FlowOffload),
    /// Answers in the place of the server.
    Synproxy(Synproxy),
    /// A condition of `xtables`.
    XtMatch(XtMatch),
    /// A target of `xtables`.
    XtTarget(XtTarget),
    /// Leaves the packet without a connection.
    Notrack,
    /// An expression that is not known here, kept as it was listed.
    Unknown(Unknown),
}

/// An expression that this crate does not know: it survives reading and
/// writing.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Unknown {
    name: Box<str>,
    data: Option<Box<[u8]>>,
}

impl Unknown {
    /// The kernel's name of it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its attributes, encoded.
    pub fn attributes(&self) -> Option<&[u8]> {
        self.data.as_deref()
    }
}

macro_rules! dispatch {
    ($($variant:ident),*) => {
        impl Expr {
            /// The kernel's name of it.
            pub fn name(&self) -> &str {
                match self {
                    $(Self::$variant(_) => $variant::NAME,)*
                    Self::Notrack => NOTRACK,
                    Self::Unknown(unknown) => &unknown.name,
                }
            }

            /// Appends `NFTA_EXPR_NAME` and `NFTA_EXPR_DATA`.
            pub(crate) fn encode(&self, out: &mut Writer<'_>) {
                match self {
                    $(Self::$variant(expression) => {
                        out.put(NFTA_EXPR_NAME, $variant::NAME);
                        out.nest(NFTA_EXPR_DATA, |out| expression.encode(out));
                    })*
                    Self::Notrack => out.put(NFTA_EXPR_NAME, NOTRACK),
                    Self::Unknown(unknown) => {
                        out.put(NFTA_EXPR_NAME, &unknown.name);
                        if let Some(data) = &unknown.data {
                            out.nest(NFTA_EXPR_DATA, |out| out.fixed(data));
                        }
                    }
                }
            }
        }
    };
}

dispatch!(
    Payload,
    PayloadSet,
    Meta,
    MetaSet,
    Ct,
    CtSet,
    Fib,
    Numgen,
    Hash,
    Exthdr,
    ExthdrSet,
    ExthdrReset,
    Rt,
    Socket,
    Osf,
    Xfrm,
    Tunnel,
    Inner,
    Cmp,
    Range,
    Bitwise,
    Byteorder,
    Immediate,
    Lookup,
    Dynset,
    Objref,
    Counter,
    Quota,
    Last,
    Limit,
    Connlimit,
    Nat,
    Masquerade,
    Redirect,
    Reject,
    Log,
    Queue,
    Tproxy,
    Dup,
    Fwd,
    FlowOffload,
    Synproxy,
    XtMatch,
    XtTarget
);

impl Expr {}

impl Carried<Nest> for Expr {
    fn put(&self, attr: Attr<Nest>, out: &mut Writer<'_>) {
        out.nest(attr, |out| self.encode(out));
    }

    fn get(_: Attr<Nest>, from: &Attribute<'_>) -> Result<Self, DecodeError> {
        Self::decode_inner(from.nested())
    }
}

impl Carried<Nest> for Box<Expr> {
    fn put(&self, attr: Attr<Nest>, out: &mut Writer<'_>) {
        self.as_ref().put(attr, out);
    }

    fn get(_: Attr<Nest>, from: &Attribute<'_>) -> Result<Self, DecodeError> {
        Expr::decode_inner(from.nested()).map(Self::new)
    }
}

impl Carried<Nest> for Vec<Expr> {
    fn put(&self, attr: Attr<Nest>, out: &mut Writer<'_>) {
        super::carried::put_list(attr, NFTA_LIST_ELEM, self, out);
    }

    fn get(_: Attr<Nest>, from: &Attribute<'_>) -> Result<Self, DecodeError> {
        from.nested()
            .map(|attribute| Expr::decode_inner(attribute?.nested()))
            .collect()
    }
}

const NOTRACK: &str = "notrack";

#[cfg(test)]
mod tests;
