//! Routing rules: which table a packet is looked up in, `RTM_NEWRULE` and its
//! kin, `ip-rule(8)`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::route::RouteProtocol;
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleFlags, RuleMessage};

use crate::IfName;
use crate::error::Invalid;
use crate::wire::{DecodeError, Flags, Message, Writer};

use super::codec::{emit, parse};

/// Sends the packets that it matches to a routing table.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RoutingRule {
    ipv4: bool,
    table: u32,
    priority: Option<u32>,
    from: Option<IpNet>,
    to: Option<IpNet>,
    iif: Option<Box<str>>,
    mark: Option<(u32, u32)>,
    protocol: u8,
    partial: bool,
}

impl RoutingRule {
    /// Looks up all IPv4 packets in `table`.
    pub fn ipv4(table: u32) -> Self {
        Self::new(true, table)
    }

    /// Looks up all IPv6 packets in `table`.
    pub fn ipv6(table: u32) -> Self {
        Self::new(false, table)
    }

    fn new(ipv4: bool, table: u32) -> Self {
        Self {
            ipv4,
            table,
            priority: None,
            from: None,
            to: None,
            iif: None,
            mark: None,
            protocol: 0,
            partial: false,
        }
    }

    /// Sets its place: rules are tried from the lowest number up. Left alone,
    /// the kernel puts it before all others but the first.
    #[must_use]
    pub fn priority(mut self, priority: u32) -> Self {
        self.priority = Some(priority);
        self
    }

    /// Only packets from this prefix.
    #[must_use]
    pub fn from(mut self, prefix: IpNet) -> Self {
        self.from = Some(prefix);
        self
    }

    /// Only packets to this prefix.
    #[must_use]
    pub fn to(mut self, prefix: IpNet) -> Self {
        self.to = Some(prefix);
        self
    }

    /// Only packets that came in by this interface, which need not exist yet.
    #[must_use]
    pub fn iif(mut self, name: IfName) -> Self {
        self.iif = Some(name.as_str().into());
        self
    }

    /// Only packets whose mark, under `mask`, is `mark`.
    #[must_use]
    pub fn fwmark(mut self, mark: u32, mask: u32) -> Self {
        self.mark = Some((mark, mask));
        self
    }

    /// Tags it with who installed it (`RTPROT_*`; numbers above 192 are free
    /// for applications), so that it can be found again.
    #[must_use]
    pub fn protocol(mut self, protocol: u8) -> Self {
        self.protocol = protocol;
        self
    }

    /// Whether it is about IPv4; else it is about IPv6.
    pub fn is_ipv4(&self) -> bool {
        self.ipv4
    }

    /// The table.
    pub fn table(&self) -> u32 {
        self.table
    }

    /// Its place.
    pub fn priority_number(&self) -> Option<u32> {
        self.priority
    }

    /// The prefix that packets come from.
    pub fn source(&self) -> Option<IpNet> {
        self.from
    }

    /// The prefix that packets go to.
    pub fn destination(&self) -> Option<IpNet> {
        self.to
    }

    /// The name of the interface that packets came in by.
    pub fn incoming(&self) -> Option<&str> {
        self.iif.as_deref()
    }

    /// The mark of packets, and the mask over it.
    pub fn mark(&self) -> Option<(u32, u32)> {
        self.mark
    }

    /// Who installed it (`RTPROT_*`).
    pub fn protocol_number(&self) -> u8 {
        self.protocol
    }

    /// Whether the kernel's rule has more than this value can say: another
    /// action, or selectors such as ports. It can neither be added again nor
    /// deleted by this value.
    pub fn is_partial(&self) -> bool {
        self.partial
    }

    pub(crate) fn check(&self) -> Result<(), Invalid> {
        let invalid = |what, value: &dyn fmt::Display, why| Err(Invalid::new(what, value, why));
        if self.partial {
            return invalid("routing rule", self, "has parts that are not known here");
        }
        for prefix in self.from.iter().chain(&self.to) {
            if prefix.addr().is_ipv4() != self.ipv4 {
                return invalid("prefix", prefix, "is of another family than the rule");
            }
            if *prefix != prefix.trunc() {
                return invalid("prefix", prefix, "has host bits set");
            }
        }
        match self.mark {
            Some((mark, mask)) if mark & !mask != 0 => invalid(
                "mark",
                &mark,
                "has bits outside of its mask, so nothing matches",
            ),
            _ => Ok(()),
        }
    }

    pub(crate) fn encode(&self, out: &mut Writer<'_>) {
        let mut message = RuleMessage::default();
        message.header.family = if self.ipv4 {
            AddressFamily::Inet
        } else {
            AddressFamily::Inet6
        };
        message.header.action = RuleAction::ToTable;
        message.header.table = u8::try_from(self.table).unwrap_or_default();
        message.header.src_len = self.from.map_or(0, |prefix| prefix.prefix_len());
        message.header.dst_len = self.to.map_or(0, |prefix| prefix.prefix_len());
        let attributes = &mut message.attributes;
        attributes.extend(self.priority.map(RuleAttribute::Priority));
        attributes.extend(self.from.map(|prefix| RuleAttribute::Source(prefix.addr())));
        attributes.extend(
            self.to
                .map(|prefix| RuleAttribute::Destination(prefix.addr())),
        );
        attributes.extend(
            self.iif
                .as_deref()
                .map(|name| RuleAttribute::Iifname(name.into())),
        );
        if let Some((mark, mask)) = self.mark {
            attributes.extend([RuleAttribute::FwMark(mark), RuleAttribute::FwMask(mask)]);
        }
        if message.header.table == 0 {
            attributes.push(RuleAttribute::Table(self.table));
        }
        if self.protocol != 0 {
            attributes.push(RuleAttribute::Protocol(RouteProtocol::from(self.protocol)));
        }
        emit(out, &message);
    }

    /// Reads a rule; `None` for one that is not of IPv4 or IPv6.
    pub(crate) fn decode(message: &Message<'_>) -> Result<Option<Self>, DecodeError> {
        let flags = message.header().flags;
        let message: RuleMessage = parse(message, "routing rule")?;
        let header = message.header;
        let mut rule = match header.family {
            AddressFamily::Inet => Self::ipv4(header.table.into()),
            AddressFamily::Inet6 => Self::ipv6(header.table.into()),
            _ => return Ok(None),
        };
        rule.partial = header.action != RuleAction::ToTable
            || header.tos != 0
            || header.flags.contains(RuleFlags::Invert);
        let (mut from, mut to) = (None, None);
        let (mut mark, mut mask) = (None, None);
        for attribute in message.attributes {
            match attribute {
                RuleAttribute::Priority(priority) => rule.priority = Some(priority),
                RuleAttribute::Source(address) => from = Some(address),
                RuleAttribute::Destination(address) => to = Some(address),
                RuleAttribute::Iifname(name) => rule.iif = Some(name.into()),
                RuleAttribute::FwMark(number) => mark = Some(number),
                RuleAttribute::FwMask(number) => mask = Some(number),
                RuleAttribute::Table(table) => rule.table = table,
                RuleAttribute::Protocol(protocol) => rule.protocol = protocol.into(),
                RuleAttribute::SuppressPrefixLen(u32::MAX) => {}
                _ => rule.partial = true,
            }
        }
        // The kernel leaves out a priority of 0; in a request that means that
        // the kernel is to choose.
        if !flags.contains(Flags::REQUEST) {
            rule.priority.get_or_insert(0);
        }
        rule.from = rule.prefix(from, header.src_len)?;
        rule.to = rule.prefix(to, header.dst_len)?;
        rule.mark = match (mark, mask) {
            (None, None) => None,
            (mark, mask) => Some((mark.unwrap_or(0), mask.unwrap_or(u32::MAX))),
        };
        Ok(Some(rule))
    }

    fn prefix(&self, address: Option<IpAddr>, length: u8) -> Result<Option<IpNet>, DecodeError> {
        let any = if self.ipv4 {
            IpAddr::V4(Ipv4Addr::UNSPECIFIED)
        } else {
            IpAddr::V6(Ipv6Addr::UNSPECIFIED)
        };
        if address.is_none() && length == 0 {
            return Ok(None);
        }
        IpNet::new(address.unwrap_or(any), length)
            .map(Some)
            .map_err(|_| DecodeError::Range {
                what: "prefix length",
            })
    }
}

impl fmt::Display for RoutingRule {
    /// In the words of `ip rule`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(priority) = self.priority {
            write!(f, "priority {priority} ")?;
        }
        match self.from {
            Some(prefix) => write!(f, "from {prefix}")?,
            None => f.write_str("from all")?,
        }
        if let Some(prefix) = self.to {
            write!(f, " to {prefix}")?;
        }
        if let Some(name) = &self.iif {
            write!(f, " iif {name}")?;
        }
        if let Some((mark, mask)) = self.mark {
            write!(f, " fwmark {mark:#x}/{mask:#x}")?;
        }
        write!(f, " lookup {}", self.table)?;
        if self.protocol != 0 {
            write!(f, " proto {}", self.protocol)?;
        }
        Ok(())
    }
}

/// Lists the rules of both families.
pub(super) fn encode_list(out: &mut Writer<'_>) {
    emit(out, &RuleMessage::default());
}
