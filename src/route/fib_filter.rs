//! Which routes to ask the kernel for.

use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_route::route::{RouteAttribute, RouteFlags, RouteMessage, RouteProtocol};

use crate::IfIndex;
use crate::wire::Writer;

use super::codec::{emit, family_of};
use super::fib::Route;

/// Which routes to list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct RouteFilter {
    table: Option<u32>,
    protocol: Option<u8>,
    index: Option<IfIndex>,
}

impl RouteFilter {
    /// All routes of both families in all tables.
    pub fn new() -> Self {
        Self::default()
    }

    /// Only those in this table.
    #[must_use]
    pub fn table(mut self, table: u32) -> Self {
        self.table = Some(table);
        self
    }

    /// Only those with this tag (`RTPROT_*`).
    #[must_use]
    pub fn protocol(mut self, protocol: u8) -> Self {
        self.protocol = Some(protocol);
        self
    }

    /// Only those that leave by this interface.
    #[must_use]
    pub fn dev(mut self, index: IfIndex) -> Self {
        self.index = Some(index);
        self
    }

    /// Whether `route` is wanted. The kernel filters as well; a table or an
    /// interface that it does not know it answers with an error, though.
    pub(super) fn matches(&self, route: &Route) -> bool {
        self.table.is_none_or(|table| table == route.table_number())
            && self
                .protocol
                .is_none_or(|protocol| protocol == route.protocol_number())
            && self.index.is_none_or(|index| Some(index) == route.index())
    }

    pub(super) fn encode(&self, out: &mut Writer<'_>) {
        let mut message = RouteMessage::default();
        message.header.protocol = RouteProtocol::from(self.protocol.unwrap_or_default());
        let attributes = &mut message.attributes;
        attributes.extend(self.table.map(RouteAttribute::Table));
        attributes.extend(self.index.map(|index| RouteAttribute::Oif(index.get())));
        emit(out, &message);
    }
}

/// Asks for the entry that packets to `address` would take.
pub(super) fn encode_lookup(address: IpAddr, out: &mut Writer<'_>) {
    let mut message = RouteMessage::default();
    message.header.address_family = family_of(address);
    message.header.destination_prefix_length = IpNet::from(address).prefix_len();
    message.header.flags = RouteFlags::FibMatch;
    message
        .attributes
        .push(RouteAttribute::Destination(address.into()));
    emit(out, &message);
}
