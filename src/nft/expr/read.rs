//! How expressions are read: by their names.

use super::{
    Bitwise, Byteorder, Cmp, Connlimit, Counter, Ct, CtSet, Dup, Dynset, Expr, Exthdr, ExthdrReset,
    ExthdrSet, Fib, FlowOffload, Fwd, Hash, Immediate, Inner, Last, Limit, Log, Lookup, Masquerade,
    Meta, MetaSet, NOTRACK, Nat, Numgen, Objref, Osf, Payload, PayloadSet, Queue, Quota, Range,
    Redirect, Reject, Rt, Socket, Synproxy, Tproxy, Tunnel, Unknown, Xfrm, XtMatch, XtTarget,
};
use crate::nft::name::lossy;
use crate::wire::uapi::nf_tables::{NFTA_EXPR_DATA, NFTA_EXPR_NAME};
use crate::wire::uapi::nf_tables_expr::{NFTA_CT_SREG, NFTA_META_SREG, NFTA_PAYLOAD_SREG};
use crate::wire::uapi::nf_tables_stmt::{NFTA_EXTHDR_DREG, NFTA_EXTHDR_SREG};
use crate::wire::{Attrs, DecodeError, Writer};

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
    pub(super) fn decode_inner(attrs: Attrs<'_>) -> Result<Self, DecodeError> {
        Self::read(attrs, |name, data| match name {
            Dynset::NAME | Inner::NAME => Ok(None),
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

    pub(super) fn known(name: &str, data: Attrs<'_>) -> Result<Option<Self>, DecodeError> {
        let stores = |kind: u16| {
            data.clone()
                .any(|attribute| attribute.is_ok_and(|attribute| attribute.kind() == kind))
        };
        let known = match name {
            // First, since each element of many may have one.
            Counter::NAME => Counter::decode(data)?.into(),
            Payload::NAME if stores(NFTA_PAYLOAD_SREG.kind()) => PayloadSet::decode(data)?.into(),
            Payload::NAME => Payload::decode(data)?.into(),
            Meta::NAME if stores(NFTA_META_SREG.kind()) => MetaSet::decode(data)?.into(),
            Meta::NAME => Meta::decode(data)?.into(),
            Ct::NAME if stores(NFTA_CT_SREG.kind()) => CtSet::decode(data)?.into(),
            Ct::NAME => Ct::decode(data)?.into(),
            Fib::NAME => Fib::decode(data)?.into(),
            Numgen::NAME => Numgen::decode(data)?.into(),
            Hash::NAME => Hash::decode(data)?.into(),
            Exthdr::NAME if stores(NFTA_EXTHDR_SREG.kind()) => ExthdrSet::decode(data)?.into(),
            Exthdr::NAME if stores(NFTA_EXTHDR_DREG.kind()) => Exthdr::decode(data)?.into(),
            Exthdr::NAME => ExthdrReset::decode(data)?.into(),
            Rt::NAME => Rt::decode(data)?.into(),
            Socket::NAME => Socket::decode(data)?.into(),
            Osf::NAME => Osf::decode(data)?.into(),
            Xfrm::NAME => Xfrm::decode(data)?.into(),
            Tunnel::NAME => Tunnel::decode(data)?.into(),
            Inner::NAME => Inner::decode(data)?.into(),
            Cmp::NAME => Cmp::decode(data)?.into(),
            Range::NAME => Range::decode(data)?.into(),
            Bitwise::NAME => Bitwise::decode(data)?.into(),
            Byteorder::NAME => Byteorder::decode(data)?.into(),
            Immediate::NAME => Immediate::decode(data)?.into(),
            Lookup::NAME => Lookup::decode(data)?.into(),
            Dynset::NAME => Dynset::decode(data)?.canonical().into(),
            Objref::NAME => Objref::decode(data)?.into(),
            Quota::NAME => Quota::decode(data)?.canonical().into(),
            Last::NAME => Last::decode(data)?.into(),
            Limit::NAME => Limit::decode(data)?.into(),
            Connlimit::NAME => Connlimit::decode(data)?.into(),
            Nat::NAME => Nat::decode(data)?.canonical().into(),
            Masquerade::NAME => Masquerade::decode(data)?.canonical().into(),
            Redirect::NAME => Redirect::decode(data)?.canonical().into(),
            Reject::NAME => Reject::decode(data)?.into(),
            Log::NAME => Log::decode(data)?.into(),
            Queue::NAME => Queue::decode(data)?.into(),
            Tproxy::NAME => Tproxy::decode(data)?.into(),
            Dup::NAME => Dup::decode(data)?.into(),
            Fwd::NAME => Fwd::decode(data)?.into(),
            FlowOffload::NAME => FlowOffload::decode(data)?.into(),
            Synproxy::NAME => Synproxy::decode(data)?.into(),
            XtMatch::NAME => XtMatch::decode(data)?.into(),
            XtTarget::NAME => XtTarget::decode(data)?.into(),
            NOTRACK => Self::Notrack,
            _ => return Ok(None),
        };
        Ok(Some(known))
    }
}

/// The bytes of `attrs` as they are written, all of them padded.
pub(crate) fn rewritten(attrs: Attrs<'_>) -> Result<Box<[u8]>, DecodeError> {
    let mut bytes = Vec::with_capacity(attrs.as_bytes().len());
    let mut out = Writer::new(&mut bytes);
    for attribute in attrs {
        let attribute = attribute?;
        out.put_raw(attribute.kind_and_flags(), attribute.payload());
    }
    Ok(bytes.into())
}
