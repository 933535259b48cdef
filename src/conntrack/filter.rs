//! Which flows are meant.

use std::fmt;
use std::net::IpAddr;

use super::{Flow, Tuple, write_family};
use crate::wire::Writer;
use crate::wire::uapi::conntrack::{
    CTA_FILTER, CTA_FILTER_ORIG_FLAGS, CTA_FILTER_REPLY_FLAGS, CTA_IP_V4_DST, CTA_IP_V4_SRC,
    CTA_IP_V6_DST, CTA_IP_V6_SRC, CTA_PROTO_DST_PORT, CTA_PROTO_NUM, CTA_PROTO_SRC_PORT,
    CTA_TUPLE_IP, CTA_TUPLE_ORIG, CTA_TUPLE_PROTO, CTA_TUPLE_REPLY,
};

/// Conditions on one direction of a flow; all that are set must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct TupleFilter {
    source: Option<IpAddr>,
    destination: Option<IpAddr>,
    protocol: Option<u8>,
    source_port: Option<u16>,
    destination_port: Option<u16>,
}

impl TupleFilter {
    /// No condition.
    pub fn new() -> Self {
        Self::default()
    }

    /// The source address.
    #[must_use]
    pub fn source(self, address: IpAddr) -> Self {
        Self {
            source: Some(address),
            ..self
        }
    }

    /// The destination address.
    #[must_use]
    pub fn destination(self, address: IpAddr) -> Self {
        Self {
            destination: Some(address),
            ..self
        }
    }

    /// The protocol by its IANA number: 6 for TCP, 17 for UDP.
    #[must_use]
    pub fn protocol(self, number: u8) -> Self {
        Self {
            protocol: Some(number),
            ..self
        }
    }

    /// The source port; the kernel wants the protocol as well.
    #[must_use]
    pub fn source_port(self, port: u16) -> Self {
        Self {
            source_port: Some(port),
            ..self
        }
    }

    /// The destination port; the kernel wants the protocol as well.
    #[must_use]
    pub fn destination_port(self, port: u16) -> Self {
        Self {
            destination_port: Some(port),
            ..self
        }
    }

    fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn matches(&self, tuple: &Tuple) -> bool {
        self.source.is_none_or(|address| address == tuple.source())
            && self
                .destination
                .is_none_or(|address| address == tuple.destination())
            && self
                .protocol
                .is_none_or(|protocol| protocol == tuple.protocol())
            && self
                .source_port
                .is_none_or(|port| Some(port) == tuple.source_port())
            && self
                .destination_port
                .is_none_or(|port| Some(port) == tuple.destination_port())
    }

    /// The conditions that the kernel checks rightly.
    fn for_kernel(&self) -> Self {
        Self {
            source: self.source.filter(IpAddr::is_ipv4),
            destination: self.destination.filter(IpAddr::is_ipv4),
            ..*self
        }
    }

    /// The `CTA_FILTER_F_*` bits of the kernel's `nf_conntrack_netlink.c`.
    fn flags(&self) -> u32 {
        let bit = |set: bool, bit: u32| if set { 1 << bit } else { 0 };
        bit(self.source.is_some(), 0)
            | bit(self.destination.is_some(), 1)
            | bit(self.protocol.is_some(), 3)
            | bit(self.source_port.is_some(), 4)
            | bit(self.destination_port.is_some(), 5)
    }

    fn write(&self, out: &mut Writer<'_>) {
        if self.source.is_some() || self.destination.is_some() {
            out.nest(CTA_TUPLE_IP, |out| {
                match self.source {
                    Some(IpAddr::V4(address)) => out.put(CTA_IP_V4_SRC, &address.octets()),
                    Some(IpAddr::V6(address)) => out.put(CTA_IP_V6_SRC, &address.octets()),
                    None => {}
                }
                match self.destination {
                    Some(IpAddr::V4(address)) => out.put(CTA_IP_V4_DST, &address.octets()),
                    Some(IpAddr::V6(address)) => out.put(CTA_IP_V6_DST, &address.octets()),
                    None => {}
                }
            });
        }
        if self.protocol.is_some() {
            out.nest(CTA_TUPLE_PROTO, |out| {
                out.put_some(CTA_PROTO_NUM, self.protocol);
                out.put_some(CTA_PROTO_SRC_PORT, self.source_port);
                out.put_some(CTA_PROTO_DST_PORT, self.destination_port);
            });
        }
    }

    fn describe(&self, direction: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        condition(f, direction, "src", self.source)?;
        condition(f, direction, "dst", self.destination)?;
        condition(f, direction, "protocol", self.protocol)?;
        condition(f, direction, "sport", self.source_port)?;
        condition(f, direction, "dport", self.destination_port)
    }
}

impl From<&Tuple> for TupleFilter {
    /// The conditions that hold for this direction of a flow only.
    fn from(tuple: &Tuple) -> Self {
        Self {
            source: Some(tuple.source()),
            destination: Some(tuple.destination()),
            protocol: Some(tuple.protocol()),
            source_port: tuple.source_port(),
            destination_port: tuple.destination_port(),
        }
    }
}

fn condition(
    f: &mut fmt::Formatter<'_>,
    direction: &str,
    field: &str,
    value: Option<impl fmt::Display>,
) -> fmt::Result {
    match value {
        Some(value) => write!(f, " {direction} {field} {value}"),
        None => Ok(()),
    }
}

/// Which flows are meant: those of one address family whose two directions
/// meet the conditions.
///
/// ```
/// use tapwire::conntrack::{FlowFilter, TupleFilter};
/// // The flows that reached UDP port 53 of the host, whoever answers them.
/// let filter = FlowFilter::ipv4().original(TupleFilter::new().protocol(17).destination_port(53));
/// assert_eq!(filter.to_string(), "ipv4 original protocol 17 original dport 53");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FlowFilter {
    family: u8,
    original: TupleFilter,
    reply: TupleFilter,
}

impl FlowFilter {
    /// All IPv4 flows, to be narrowed down.
    pub fn ipv4() -> Self {
        Self::of(2)
    }

    /// All IPv6 flows, to be narrowed down.
    pub fn ipv6() -> Self {
        Self::of(10)
    }

    /// All flows of the family of `address`, to be narrowed down.
    pub fn family_of(address: IpAddr) -> Self {
        if address.is_ipv4() {
            Self::ipv4()
        } else {
            Self::ipv6()
        }
    }

    /// All flows of both families.
    pub(crate) fn any() -> Self {
        Self::of(0)
    }

    /// Conditions on the direction of the first packet, as it came in: before
    /// any translation.
    #[must_use]
    pub fn original(self, original: TupleFilter) -> Self {
        Self { original, ..self }
    }

    /// Conditions on the direction of the answers, as they come in: the
    /// source is the guest that really answers.
    #[must_use]
    pub fn reply(self, reply: TupleFilter) -> Self {
        Self { reply, ..self }
    }

    fn of(family: u8) -> Self {
        Self {
            family,
            original: TupleFilter::new(),
            reply: TupleFilter::new(),
        }
    }

    pub(super) fn family(&self) -> u8 {
        self.family
    }

    pub(super) fn is_empty(&self) -> bool {
        self.original.is_empty() && self.reply.is_empty()
    }

    pub(super) fn matches(&self, flow: &Flow) -> bool {
        self.original.matches(flow.original()) && self.reply.matches(flow.reply())
    }

    /// Whether the kernel's own filter does what this one says.
    ///
    /// It compares IPv6 addresses the wrong way round (seen on Linux 6.18:
    /// it finds the flows that do *not* have the address), so those are
    /// compared here.
    pub(super) fn is_exact_in_kernel(&self) -> bool {
        *self == self.for_kernel()
    }

    pub(super) fn write(&self, out: &mut Writer<'_>) {
        let Self {
            family,
            original,
            reply,
        } = self.for_kernel();
        write_family(out, family);
        if !original.is_empty() {
            out.nest(CTA_TUPLE_ORIG, |out| original.write(out));
        }
        if !reply.is_empty() {
            out.nest(CTA_TUPLE_REPLY, |out| reply.write(out));
        }
        if !(original.is_empty() && reply.is_empty()) {
            out.nest(CTA_FILTER, |out| {
                out.put(CTA_FILTER_ORIG_FLAGS, original.flags());
                out.put(CTA_FILTER_REPLY_FLAGS, reply.flags());
            });
        }
    }

    fn for_kernel(&self) -> Self {
        Self {
            original: self.original.for_kernel(),
            reply: self.reply.for_kernel(),
            ..*self
        }
    }
}

impl fmt::Display for FlowFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.family {
            2 => "ipv4",
            10 => "ipv6",
            _ => "of both families",
        })?;
        self.original.describe("original", f)?;
        self.reply.describe("reply", f)
    }
}
