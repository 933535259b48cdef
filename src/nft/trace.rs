//! The ways of traced packets.

use crate::wire::uapi::nf_tables::{NFTA_VERDICT_CHAIN, NFTA_VERDICT_CODE};
use crate::wire::uapi::nf_tables_obj::{
    NFT_TRACETYPE_POLICY, NFT_TRACETYPE_RETURN, NFT_TRACETYPE_RULE, NFTA_TRACE_CHAIN,
    NFTA_TRACE_CT_DIRECTION, NFTA_TRACE_CT_ID, NFTA_TRACE_CT_STATE, NFTA_TRACE_CT_STATUS,
    NFTA_TRACE_ID, NFTA_TRACE_IIF, NFTA_TRACE_IIFTYPE, NFTA_TRACE_LL_HEADER, NFTA_TRACE_MARK,
    NFTA_TRACE_NETWORK_HEADER, NFTA_TRACE_NFPROTO, NFTA_TRACE_OIF, NFTA_TRACE_OIFTYPE,
    NFTA_TRACE_POLICY, NFTA_TRACE_RULE_HANDLE, NFTA_TRACE_TABLE, NFTA_TRACE_TRANSPORT_HEADER,
    NFTA_TRACE_TYPE, NFTA_TRACE_VERDICT,
};
use crate::wire::{Attr, Attrs, Bytes, DecodeError, Fields, Message};

use super::carried::open;
use super::name::lossy;
use super::{Family, Mark, Name, Policy, Verdict, header};

open! {
    /// Why a trace was written (`enum nft_trace_types`).
    TraceType: u32 as Be32 {
        /// The end of a base chain.
        POLICY = NFT_TRACETYPE_POLICY, "policy";
        /// The end of a chain, without a verdict.
        RETURN = NFT_TRACETYPE_RETURN, "return";
        /// A rule that decided, or that switched the trace on.
        RULE = NFT_TRACETYPE_RULE, "rule";
    }
}

/// One step of a traced packet. Its bytes and interfaces come with the first
/// step in a hook.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Trace {
    /// The same for all steps of one packet.
    pub id: u32,
    /// Why it was written.
    pub kind: TraceType,
    /// The family of the table.
    pub family: Family,
    /// The table.
    pub table: Name,
    /// The chain.
    pub chain: Name,
    /// The number of the rule.
    pub rule: Option<u64>,
    /// What was decided.
    pub verdict: Option<Verdict>,
    /// What the policy decided.
    pub policy: Option<Policy>,
    /// The packet's mark.
    pub mark: Option<Mark>,
    /// The packet's own family.
    pub packet_family: Option<Family>,
    /// The index of the interface that it came in by.
    pub iif: Option<u32>,
    /// The hardware kind of that interface (`ARPHRD_*`).
    pub iiftype: Option<u16>,
    /// The index of the interface that it leaves by.
    pub oif: Option<u32>,
    /// The hardware kind of that interface (`ARPHRD_*`).
    pub oiftype: Option<u16>,
    /// The beginning of its link header.
    pub link_header: Option<Box<[u8]>>,
    /// The beginning of its network header.
    pub network_header: Option<Box<[u8]>>,
    /// The beginning of its transport header.
    pub transport_header: Option<Box<[u8]>>,
    /// Its connection, from newer kernels.
    pub connection: Option<TracedConnection>,
}

/// What a trace tells of the packet's connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct TracedConnection {
    /// Its number.
    pub id: u32,
    /// 0 in the direction in which it was opened, 1 back.
    pub direction: Option<u8>,
    /// What has happened to it.
    pub status: Option<u32>,
    /// Its state as seen by this packet.
    pub state: Option<u32>,
}

impl Trace {
    /// Reads `NFT_MSG_TRACE`.
    ///
    /// # Errors
    /// [`DecodeError`] if the message is malformed.
    pub fn decode(message: &Message<'_>) -> Result<Self, DecodeError> {
        let (family, attrs) = header::split(message)?;
        let fields = Fields::<22>::read(attrs)?;
        let bytes = |attr| -> Result<Option<Box<[u8]>>, DecodeError> {
            Ok(fields.get(attr)?.map(Into::into))
        };
        let packet_family = fields.get(NFTA_TRACE_NFPROTO)?;
        Ok(Self {
            id: fields.need(NFTA_TRACE_ID)?,
            kind: TraceType::from_raw(fields.need(NFTA_TRACE_TYPE)?),
            family,
            table: header::name(&fields, NFTA_TRACE_TABLE)?,
            chain: header::name(&fields, NFTA_TRACE_CHAIN)?,
            rule: fields.get(NFTA_TRACE_RULE_HANDLE)?,
            verdict: fields.get(NFTA_TRACE_VERDICT)?.map(verdict).transpose()?,
            policy: fields.get(NFTA_TRACE_POLICY)?.map(Policy::from_raw),
            mark: fields.get(NFTA_TRACE_MARK)?.map(Mark),
            packet_family: packet_family
                .and_then(|family| u8::try_from(family).ok())
                .map(Family::from_raw),
            iif: fields.get(NFTA_TRACE_IIF)?,
            iiftype: fields.get(NFTA_TRACE_IIFTYPE)?,
            oif: fields.get(NFTA_TRACE_OIF)?,
            oiftype: fields.get(NFTA_TRACE_OIFTYPE)?,
            link_header: bytes(NFTA_TRACE_LL_HEADER)?,
            network_header: bytes(NFTA_TRACE_NETWORK_HEADER)?,
            transport_header: bytes(NFTA_TRACE_TRANSPORT_HEADER)?,
            connection: connection(&fields)?,
        })
    }
}

fn connection<const N: usize>(
    fields: &Fields<'_, N>,
) -> Result<Option<TracedConnection>, DecodeError> {
    let Some(id) = fields.get(NFTA_TRACE_CT_ID)? else {
        return Ok(None);
    };
    Ok(Some(TracedConnection {
        id,
        direction: fields.get(NFTA_TRACE_CT_DIRECTION)?,
        status: fields.get(NFTA_TRACE_CT_STATUS)?,
        state: fields.get(NFTA_TRACE_CT_STATE)?,
    }))
}

fn verdict(attrs: Attrs<'_>) -> Result<Verdict, DecodeError> {
    let fields = Fields::<3>::read(attrs)?;
    let chain = fields.get(Attr::<Bytes>::new(NFTA_VERDICT_CHAIN.kind()))?;
    let chain = chain.map(|name| Name::unchecked(&lossy(name)));
    Ok(Verdict::from_raw(fields.need(NFTA_VERDICT_CODE)?, chain))
}
