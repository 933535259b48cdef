//! Expressions: the steps of a rule.
//!
//! Each is one table of its attributes, from which the value, its encoder and
//! its decoder follow, so that these cannot differ. Attributes that are not
//! in the table are kept and written back.

mod compare;
mod load;
mod lookup;
mod statement;
mod store;

pub use compare::{
    Bitwise, BitwiseOp, Byteorder, ByteorderOp, Cmp, CmpOp, Immediate, Range, RangeOp,
};
pub use load::{
    Ct, CtKey, Fib, FibResult, Hash, HashType, Meta, MetaKey, Numgen, NumgenType, Payload,
    PayloadBase,
};
pub use lookup::{Dynset, DynsetOp, Lookup, Objref};
pub use statement::{
    Connlimit, Counter, Limit, LimitType, Masquerade, Nat, NatType, Redirect, Reject, RejectType,
};
pub use store::{ChecksumType, CtSet, MetaSet, PayloadSet};

use crate::wire::uapi::nf_tables::{NFTA_EXPR_DATA, NFTA_EXPR_NAME, NFTA_LIST_ELEM};
use crate::wire::uapi::nf_tables_expr::{NFTA_CT_SREG, NFTA_META_SREG, NFTA_PAYLOAD_SREG};
use crate::wire::{Attr, Attribute, Attrs, DecodeError, Nest, Writer};

use super::carried::Carried;
use super::name::lossy;

/// Defines an expression as the table of its attributes: those that must be
/// there, those that may, and those that count as their default if absent.
macro_rules! expression {
    ($(#[$doc:meta])* $name:ident = $kernel:literal;
     need { $($(#[$need_doc:meta])* $need:ident: $need_type:ty = $need_attr:ident;)* }
     maybe { $($(#[$maybe_doc:meta])* $maybe:ident / $with_maybe:ident: $maybe_type:ty = $maybe_attr:ident;)* }
     zero { $($(#[$zero_doc:meta])* $zero:ident / $with_zero:ident: $zero_type:ty = $zero_attr:ident;)* }
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash)]
        pub struct $name {
            $($need: $need_type,)*
            $($maybe: Option<$maybe_type>,)*
            $($zero: $zero_type,)*
            extra: $crate::nft::carried::Extra,
        }

        impl $name {
            /// The kernel's name of the expression.
            pub const NAME: &'static str = $kernel;

            /// With what it must have.
            #[expect(clippy::allow_attributes, reason = "depends on the table")]
            #[allow(clippy::new_without_default, reason = "an expression without attributes is still a choice")]
            pub fn new($($need: $need_type),*) -> Self {
                Self {
                    $($need,)*
                    $($maybe: None,)*
                    $($zero: Default::default(),)*
                    extra: Default::default(),
                }
            }

            $(
                $(#[$need_doc])*
                pub fn $need(&self) -> &$need_type {
                    &self.$need
                }
            )*
            $(
                $(#[$maybe_doc])*
                pub fn $maybe(&self) -> Option<&$maybe_type> {
                    self.$maybe.as_ref()
                }

                $(#[$maybe_doc])*
                #[must_use]
                pub fn $with_maybe(mut self, value: $maybe_type) -> Self {
                    self.$maybe = Some(value);
                    self
                }
            )*
            $(
                $(#[$zero_doc])*
                pub fn $zero(&self) -> &$zero_type {
                    &self.$zero
                }

                $(#[$zero_doc])*
                #[must_use]
                pub fn $with_zero(mut self, value: $zero_type) -> Self {
                    self.$zero = value;
                    self
                }
            )*

            pub(crate) fn encode(&self, out: &mut $crate::wire::Writer<'_>) {
                $($crate::nft::carried::Carried::put(&self.$need, $need_attr, out);)*
                $(
                    if let Some(value) = &self.$maybe {
                        $crate::nft::carried::Carried::put(value, $maybe_attr, out);
                    }
                )*
                $(
                    if self.$zero != <$zero_type>::default() {
                        $crate::nft::carried::Carried::put(&self.$zero, $zero_attr, out);
                    }
                )*
                self.extra.put(out);
            }

            pub(crate) fn decode(attrs: $crate::wire::Attrs<'_>) -> Result<Self, $crate::wire::DecodeError> {
                $(let mut $need = None;)*
                $(let mut $maybe = None;)*
                $(let mut $zero = None;)*
                let mut extra = $crate::nft::carried::Extra::default();
                for attribute in attrs {
                    let attribute = attribute?;
                    $(
                        if attribute.kind() == $need_attr {
                            $need = Some($crate::nft::carried::Carried::get($need_attr, &attribute)?);
                            continue;
                        }
                    )*
                    $(
                        if attribute.kind() == $maybe_attr {
                            $maybe = Some($crate::nft::carried::Carried::get($maybe_attr, &attribute)?);
                            continue;
                        }
                    )*
                    $(
                        if attribute.kind() == $zero_attr {
                            $zero = Some($crate::nft::carried::Carried::get($zero_attr, &attribute)?);
                            continue;
                        }
                    )*
                    extra.keep(&attribute);
                }
                Ok(Self {
                    $($need: $need.ok_or($crate::wire::DecodeError::Missing { kind: $need_attr.kind() })?,)*
                    $($maybe,)*
                    $($zero: $zero.unwrap_or_default(),)*
                    extra,
                })
            }
        }

        impl From<$name> for $crate::nft::expr::Expr {
            fn from(expression: $name) -> Self {
                Self::$name(expression)
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
    /// Compares with a value.
    Cmp(Cmp),
    /// Compares with two bounds.
    Range(Range),
    /// Combines bits.
    Bitwise(Bitwise),
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
                out.put(NFTA_EXPR_NAME, self.name());
                match self {
                    $(Self::$variant(expression) => out.nest(NFTA_EXPR_DATA, |out| expression.encode(out)),)*
                    Self::Notrack => {}
                    Self::Unknown(unknown) => {
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
    Payload, PayloadSet, Meta, MetaSet, Ct, CtSet, Fib, Numgen, Hash, Cmp, Range, Bitwise,
    Byteorder, Immediate, Lookup, Dynset, Objref, Counter, Limit, Connlimit, Nat, Masquerade,
    Redirect, Reject
);

impl Expr {
    /// Reads `NFTA_EXPR_NAME` and `NFTA_EXPR_DATA`.
    ///
    /// # Errors
    /// [`DecodeError`] if they are malformed. An expression that is not known
    /// here, also in a form that is not known, is none.
    pub(crate) fn decode(attrs: Attrs<'_>) -> Result<Self, DecodeError> {
        Self::read(attrs, Self::known)
    }

    /// Reads an expression that another runs. The kernel takes none there
    /// that runs others itself; such a one is not known here, so that no
    /// bytes nest without end.
    fn decode_inner(attrs: Attrs<'_>) -> Result<Self, DecodeError> {
        Self::read(attrs, |name, data| match name {
            Dynset::NAME => Ok(None),
            _ => Self::known(name, data),
        })
    }

    fn read(
        attrs: Attrs<'_>,
        known: impl FnOnce(&str, Attrs<'_>) -> Result<Option<Self>, DecodeError>,
    ) -> Result<Self, DecodeError> {
        let mut name = None;
        let mut data = None;
        for attribute in attrs {
            let attribute = attribute?;
            if attribute.kind() == NFTA_EXPR_NAME {
                name = Some(lossy(attribute.payload()));
            } else if attribute.kind() == NFTA_EXPR_DATA {
                data = Some(attribute.nested());
            }
        }
        let name = name.ok_or(DecodeError::Missing {
            kind: NFTA_EXPR_NAME.kind(),
        })?;
        let unknown = || {
            let data = data.clone().map(rewritten).transpose()?;
            Ok(Self::Unknown(Unknown {
                name: name.as_ref().into(),
                data,
            }))
        };
        let known = known(&name, data.clone().unwrap_or(Attrs::new(&[])));
        match known {
            Ok(Some(known)) => Ok(known),
            Ok(None) | Err(DecodeError::Missing { .. }) => unknown(),
            Err(error) => Err(error),
        }
    }

    fn known(name: &str, data: Attrs<'_>) -> Result<Option<Self>, DecodeError> {
        let stores = |kind: u16| {
            data.clone()
                .any(|attribute| attribute.is_ok_and(|attribute| attribute.kind() == kind))
        };
        let known = match name {
            Payload::NAME if stores(NFTA_PAYLOAD_SREG.kind()) => PayloadSet::decode(data)?.into(),
            Payload::NAME => Payload::decode(data)?.into(),
            Meta::NAME if stores(NFTA_META_SREG.kind()) => MetaSet::decode(data)?.into(),
            Meta::NAME => Meta::decode(data)?.into(),
            Ct::NAME if stores(NFTA_CT_SREG.kind()) => CtSet::decode(data)?.into(),
            Ct::NAME => Ct::decode(data)?.into(),
            Fib::NAME => Fib::decode(data)?.into(),
            Numgen::NAME => Numgen::decode(data)?.into(),
            Hash::NAME => Hash::decode(data)?.into(),
            Cmp::NAME => Cmp::decode(data)?.into(),
            Range::NAME => Range::decode(data)?.into(),
            Bitwise::NAME => Bitwise::decode(data)?.into(),
            Byteorder::NAME => Byteorder::decode(data)?.into(),
            Immediate::NAME => Immediate::decode(data)?.into(),
            Lookup::NAME => Lookup::decode(data)?.into(),
            Dynset::NAME => Dynset::decode(data)?.into(),
            Objref::NAME => Objref::decode(data)?.into(),
            Counter::NAME => Counter::decode(data)?.into(),
            Limit::NAME => Limit::decode(data)?.into(),
            Connlimit::NAME => Connlimit::decode(data)?.into(),
            Nat::NAME => Nat::decode(data)?.canonical().into(),
            Masquerade::NAME => Masquerade::decode(data)?.into(),
            Redirect::NAME => Redirect::decode(data)?.canonical().into(),
            Reject::NAME => Reject::decode(data)?.into(),
            NOTRACK => Self::Notrack,
            _ => return Ok(None),
        };
        Ok(Some(known))
    }
}

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

    fn get(attr: Attr<Nest>, from: &Attribute<'_>) -> Result<Self, DecodeError> {
        Expr::get(attr, from).map(Self::new)
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

/// The bytes of `attrs` as they are written, all of them padded.
fn rewritten(attrs: Attrs<'_>) -> Result<Box<[u8]>, DecodeError> {
    let mut bytes = Vec::with_capacity(attrs.as_bytes().len());
    let mut out = Writer::new(&mut bytes);
    for attribute in attrs {
        let attribute = attribute?;
        out.put_raw(attribute.kind_and_flags(), attribute.payload());
    }
    Ok(bytes.into())
}

const NOTRACK: &str = "notrack";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Bytes;
    use crate::wire::uapi::nf_tables_expr::NFTA_DYNSET_EXPR;

    fn rewritten(expression: &Expr) -> Expr {
        let mut bytes = Vec::new();
        let mut out = Writer::new(&mut bytes);
        expression.encode(&mut out);
        out.finish().unwrap();
        Expr::decode(Attrs::new(&bytes)).unwrap()
    }

    #[test]
    fn expressions_nested_as_deep_as_bytes_go_do_not_exhaust_the_stack() {
        let mut bytes = Vec::new();
        loop {
            let mut next = Vec::new();
            let mut out = Writer::new(&mut next);
            out.put(NFTA_EXPR_NAME, "dynset");
            out.nest(NFTA_EXPR_DATA, |out| {
                out.nest(NFTA_DYNSET_EXPR, |out| out.fixed(&bytes));
            });
            if out.finish().is_err() {
                break;
            }
            bytes = next;
        }
        assert!(bytes.len() > 60_000);
        assert!(Expr::decode(Attrs::new(&bytes)).is_ok());
    }

    #[test]
    fn unknown_expression_without_its_last_padding_reads_equal_when_written() {
        let mut bytes = Vec::new();
        let mut out = Writer::new(&mut bytes);
        out.put(NFTA_EXPR_NAME, "exthdr");
        let data = Attr::<Bytes>::new(NFTA_EXPR_DATA.kind());
        out.put(data, &[8, 0, 1, 0, 0, 0, 0, 1, 6, 0, 2, 0, 7, 7]);
        out.finish().unwrap();
        let read = Expr::decode(Attrs::new(&bytes)).unwrap();
        assert!(matches!(read, Expr::Unknown(_)));
        assert_eq!(rewritten(&read), read);
    }
}
