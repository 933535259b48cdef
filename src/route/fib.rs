//! Routes: `RTM_NEWROUTE` and its kin, `rtnetlink(7)`.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_core::Parseable;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteProtocol, RouteScope,
    RouteType, RouteVia,
};

use crate::IfIndex;
use crate::error::Invalid;
use crate::wire::uapi::rtnetlink::{RT_TABLE_MAIN, RTA_MULTIPATH, RTPROT_STATIC};
use crate::wire::{DecodeError, Message, Writer};

use super::codec::{emit, family_of};
use super::kinds::{RouteKind, Scope};

/// What the kernel gives an IPv6 route without a metric
/// (`IP6_RT_PRIO_USER` of `linux/ipv6_route.h`).
const IPV6_METRIC: u32 = 1024;

/// One route: packets to a destination leave by an interface, a gateway, or
/// not at all.
///
/// ```
/// use tapwire::{IfIndex, route::Route};
/// let route = Route::new("203.0.113.0/24".parse().unwrap())
///     .via("198.51.100.2".parse().unwrap())
///     .dev(IfIndex::new(7)?);
/// assert_eq!(route.to_string(), "203.0.113.0/24 via 198.51.100.2 dev 7 proto 4");
/// # Ok::<(), tapwire::error::Invalid>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Route {
    destination: IpNet,
    kind: RouteKind,
    index: Option<IfIndex>,
    gateway: Option<IpAddr>,
    table: u32,
    protocol: u8,
    source: Option<IpAddr>,
    metric: Option<u32>,
    scope: Option<Scope>,
    onlink: bool,
    partial: bool,
}

impl Route {
    /// A route to `destination` in the main table, installed by the
    /// administrator (`RTPROT_STATIC`). IPv6 routes have metric 1024, as the
    /// kernel would have it.
    pub fn new(destination: IpNet) -> Self {
        Self {
            destination,
            kind: RouteKind::UNICAST,
            index: None,
            gateway: None,
            table: RT_TABLE_MAIN,
            protocol: RTPROT_STATIC,
            source: None,
            metric: matches!(destination, IpNet::V6(_)).then_some(IPV6_METRIC),
            scope: None,
            onlink: false,
            partial: false,
        }
    }

    /// Leaves by this interface.
    #[must_use]
    pub fn dev(mut self, index: IfIndex) -> Self {
        self.index = Some(index);
        self
    }

    /// Leaves by this gateway, which must be reachable itself. An IPv4 route
    /// may have an IPv6 gateway.
    #[must_use]
    pub fn via(mut self, gateway: IpAddr) -> Self {
        self.gateway = Some(gateway);
        self
    }

    /// Takes the gateway for a neighbour on the interface, whatever its
    /// address (`RTNH_F_ONLINK`).
    #[must_use]
    pub fn onlink(mut self) -> Self {
        self.onlink = true;
        self
    }

    /// Puts it into this table.
    #[must_use]
    pub fn table(mut self, table: u32) -> Self {
        self.table = table;
        self
    }

    /// Tags it with who installed it (`RTPROT_*`; numbers above 192 are free
    /// for applications), so that it can be found again.
    #[must_use]
    pub fn protocol(mut self, protocol: u8) -> Self {
        self.protocol = protocol;
        self
    }

    /// Sets the source address of what this host sends along it.
    #[must_use]
    pub fn source(mut self, address: IpAddr) -> Self {
        self.source = Some(address);
        self
    }

    /// Sets its metric: of several routes to one destination the lowest is
    /// used.
    #[must_use]
    pub fn metric(mut self, metric: u32) -> Self {
        self.metric = Some(metric);
        self
    }

    /// Sets its scope. Left alone it is the link for an IPv4 route without a
    /// gateway, the host for a local one, else everywhere; IPv6 has none.
    #[must_use]
    pub fn scope(mut self, scope: Scope) -> Self {
        self.scope = Some(scope);
        self
    }

    /// Sets what becomes of the packets: delivered, dropped, refused.
    #[must_use]
    pub fn kind(mut self, kind: RouteKind) -> Self {
        self.kind = kind;
        self
    }

    /// The destination.
    pub fn destination(&self) -> IpNet {
        self.destination
    }

    /// What becomes of the packets.
    pub fn route_kind(&self) -> RouteKind {
        self.kind
    }

    /// The interface that it leaves by.
    pub fn index(&self) -> Option<IfIndex> {
        self.index
    }

    /// The gateway.
    pub fn gateway(&self) -> Option<IpAddr> {
        self.gateway
    }

    /// The table that it is in.
    pub fn table_number(&self) -> u32 {
        self.table
    }

    /// Who installed it (`RTPROT_*`).
    pub fn protocol_number(&self) -> u8 {
        self.protocol
    }

    /// The source address of what this host sends along it.
    pub fn preferred_source(&self) -> Option<IpAddr> {
        self.source
    }

    /// Its metric; an IPv4 route without one has 0.
    pub fn metric_number(&self) -> Option<u32> {
        self.metric
    }

    /// Its scope.
    pub fn route_scope(&self) -> Scope {
        self.scope.unwrap_or_else(|| self.natural_scope())
    }

    /// Whether the gateway is taken for a neighbour whatever its address.
    pub fn is_onlink(&self) -> bool {
        self.onlink
    }

    /// Whether the kernel's route has more than this value can say: several
    /// next hops, a next-hop object, an encapsulation, a source prefix, a type
    /// of service or own metrics such as an MTU. It cannot be added again.
    pub fn is_partial(&self) -> bool {
        self.partial
    }

    /// A route to be added must be all there; to delete one, what is known of
    /// it is enough.
    pub(crate) fn check_whole(&self) -> Result<(), Invalid> {
        if self.partial {
            let why = "has parts that are not known here";
            return Err(Invalid::new("route", self, why));
        }
        self.check()
    }

    pub(super) fn check(&self) -> Result<(), Invalid> {
        let invalid = |what, value: &dyn fmt::Display, why| Err(Invalid::new(what, value, why));
        let other_family = |address: IpAddr| address.is_ipv4() != self.is_ipv4();
        if self.destination != self.destination.trunc() {
            return invalid("destination", &self.destination, "has host bits set");
        }
        match self.source {
            Some(source) if other_family(source) => {
                return invalid(
                    "source address",
                    &source,
                    "is of another family than the route",
                );
            }
            _ => {}
        }
        match self.gateway {
            Some(gateway) if other_family(gateway) && !self.is_ipv4() => {
                invalid("gateway", &gateway, "is of another family than the route")
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn encode(&self, out: &mut Writer<'_>) {
        let mut message = RouteMessage::default();
        let address = self.destination.addr();
        message.header.address_family = family_of(address);
        message.header.destination_prefix_length = self.destination.prefix_len();
        message.header.table = short_table(self.table);
        message.header.protocol = RouteProtocol::from(self.protocol);
        message.header.scope = RouteScope::from(self.route_scope().number());
        message.header.kind = RouteType::from(self.kind.number());
        message.header.flags.set(RouteFlags::Onlink, self.onlink);
        let attributes = &mut message.attributes;
        if self.destination.prefix_len() > 0 {
            attributes.push(RouteAttribute::Destination(address.into()));
        }
        if message.header.table == 0 {
            attributes.push(RouteAttribute::Table(self.table));
        }
        attributes.extend(self.gateway.map(|gateway| match gateway {
            IpAddr::V6(gateway) if self.is_ipv4() => RouteAttribute::Via(RouteVia::Inet6(gateway)),
            gateway => RouteAttribute::Gateway(gateway.into()),
        }));
        attributes.extend(self.index.map(|index| RouteAttribute::Oif(index.get())));
        attributes.extend(
            self.source
                .map(|source| RouteAttribute::PrefSource(source.into())),
        );
        attributes.extend(self.metric.map(RouteAttribute::Priority));
        emit(out, &message);
    }

    /// Reads a route; `None` for one that is not IPv4 or IPv6.
    pub(crate) fn decode(message: &Message<'_>) -> Result<Option<Self>, DecodeError> {
        let malformed = DecodeError::Malformed { what: "route" };
        let header = RouteHeader::parse(message.body()).map_err(|_| malformed)?;
        let Some(any) = any_address(header.address_family) else {
            return Ok(None);
        };
        let (body, several) = without_next_hops(message)?;
        let message = RouteMessage::parse(&body).map_err(|_| malformed)?;
        let length = header.destination_prefix_length;
        let mut route = Self::new(any);
        let mut destination = any.addr();
        route.kind = RouteKind::from_number(header.kind.into());
        route.table = header.table.into();
        route.protocol = header.protocol.into();
        route.metric = None;
        route.onlink = header.flags.contains(RouteFlags::Onlink);
        route.partial = several || header.source_prefix_length > 0 || header.tos > 0;
        for attribute in message.attributes {
            match attribute {
                RouteAttribute::Destination(address) => {
                    destination = ip(&address).ok_or(malformed)?;
                }
                RouteAttribute::Table(table) => route.table = table,
                RouteAttribute::Gateway(address) => route.gateway = ip(&address),
                RouteAttribute::Via(RouteVia::Inet(gateway)) => {
                    route.gateway = Some(gateway.into());
                }
                RouteAttribute::Via(RouteVia::Inet6(gateway)) => {
                    route.gateway = Some(gateway.into());
                }
                RouteAttribute::Oif(index) => route.index = IfIndex::new(index).ok(),
                RouteAttribute::PrefSource(address) => route.source = ip(&address),
                RouteAttribute::Priority(metric) => route.metric = Some(metric),
                RouteAttribute::CacheInfo(_) | RouteAttribute::Preference(_) => {}
                _ => route.partial = true,
            }
        }
        route.destination = IpNet::new(destination, length).map_err(|_| DecodeError::Range {
            what: "prefix length",
        })?;
        // The kernel says of IPv6 routes that lead nowhere that they leave by
        // the loopback interface.
        if !route.is_ipv4() && route.kind.leads_nowhere() {
            route.index = None;
        }
        let scope = Scope::from_number(header.scope.into());
        route.scope = (scope != route.natural_scope()).then_some(scope);
        Ok(Some(route))
    }

    fn is_ipv4(&self) -> bool {
        self.destination.addr().is_ipv4()
    }

    /// What `ip` takes for granted, and the kernel insists on.
    fn natural_scope(&self) -> Scope {
        match self.kind {
            _ if !self.is_ipv4() => Scope::UNIVERSE,
            RouteKind::LOCAL => Scope::HOST,
            RouteKind::UNICAST if self.gateway.is_none() => Scope::LINK,
            _ => Scope::UNIVERSE,
        }
    }
}

impl fmt::Display for Route {
    /// In the words of `ip route`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.kind != RouteKind::UNICAST {
            write!(f, "{} ", self.kind)?;
        }
        match self.destination.prefix_len() {
            0 => f.write_str("default")?,
            _ => write!(f, "{}", self.destination)?,
        }
        match self.gateway {
            Some(gateway) if gateway.is_ipv4() == self.is_ipv4() => write!(f, " via {gateway}")?,
            Some(gateway) => write!(f, " via inet6 {gateway}")?,
            None => {}
        }
        if let Some(index) = self.index {
            write!(f, " dev {index}")?;
        }
        if self.table != RT_TABLE_MAIN {
            write!(f, " table {}", self.table)?;
        }
        write!(f, " proto {}", self.protocol)?;
        if let Some(scope) = self.scope {
            write!(f, " scope {scope}")?;
        }
        if let Some(source) = self.source {
            write!(f, " src {source}")?;
        }
        match self.metric {
            Some(metric) if self.is_ipv4() || metric != IPV6_METRIC => {
                write!(f, " metric {metric}")?;
            }
            _ => {}
        }
        if self.onlink {
            f.write_str(" onlink")?;
        }
        Ok(())
    }
}

/// `rtm_table` has 8 bits; what does not fit is 0 there and stands in
/// `RTA_TABLE`.
fn short_table(table: u32) -> u8 {
    u8::try_from(table).unwrap_or_default()
}

/// The body of `message` without several next hops, and whether there are
/// any. The parser calls itself for next hops inside of next hops, as deep as
/// the bytes say.
fn without_next_hops<'a>(message: &Message<'a>) -> Result<(Cow<'a, [u8]>, bool), DecodeError> {
    let (header, attrs) = message.split::<12>()?;
    let mut several = false;
    for attribute in attrs.clone() {
        several |= attribute?.kind() == RTA_MULTIPATH;
    }
    if !several {
        return Ok((message.body().into(), false));
    }
    let mut body = Vec::with_capacity(message.body().len());
    let mut out = Writer::new(&mut body);
    out.fixed(header);
    for attribute in attrs.flatten() {
        if attribute.kind() != RTA_MULTIPATH {
            out.put_raw(attribute.kind_and_flags(), attribute.payload());
        }
    }
    Ok((body.into(), true))
}

fn any_address(family: AddressFamily) -> Option<IpNet> {
    match family {
        AddressFamily::Inet => Some(IpNet::V4(ipnet::Ipv4Net::default())),
        AddressFamily::Inet6 => Some(IpNet::V6(ipnet::Ipv6Net::default())),
        _ => None,
    }
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match *address {
        RouteAddress::Inet(address) => Some(address.into()),
        RouteAddress::Inet6(address) => Some(address.into()),
        _ => None,
    }
}
