//! What becomes of flows when the ports that they came by lead elsewhere.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use ipnet::IpNet;

use super::Host;
use crate::conntrack::{self, Flow, FlowFilter, TupleFilter};
use crate::error::Error;
use crate::exposure::{Exposure, Key, Ports, Protocol};

/// Where an exposure leads the flows of one family.
#[derive(Debug, Clone)]
pub(super) struct Reach {
    ipv4: bool,
    protocol: Protocol,
    /// None are all.
    host_addresses: Vec<IpAddr>,
    host_ports: Ports,
    /// The guests with their first ports.
    guests: Vec<(IpAddr, u16)>,
    /// None is everyone.
    allowed: Option<Vec<IpNet>>,
    is_span: bool,
}

impl Reach {
    /// Whether a flow came by one of its ports.
    fn is_met_by(&self, flow: &Flow) -> bool {
        let to = flow.original();
        to.protocol() == self.protocol.number()
            && to.destination().is_ipv4() == self.ipv4
            && to
                .destination_port()
                .is_some_and(|port| self.host_ports.contains(port))
            && (self.host_addresses.is_empty() || self.host_addresses.contains(&to.destination()))
    }

    /// Whether a flow reaches one of its guests at the port that belongs to
    /// the host's.
    fn leads(&self, flow: &Flow) -> bool {
        let (to, from) = (flow.original(), flow.reply());
        let (Some(port), Some(guest_port)) = (to.destination_port(), from.source_port()) else {
            return false;
        };
        let behind = port.checked_sub(self.host_ports.first());
        let is_this = |&(address, first): &(IpAddr, u16)| {
            from.source() == address
                && behind.and_then(|behind| first.checked_add(behind)) == Some(guest_port)
        };
        self.is_met_by(flow) && self.guests.iter().any(is_this)
    }

    fn allows(&self, flow: &Flow) -> bool {
        let client = flow.original().source();
        self.allowed
            .as_ref()
            .is_none_or(|nets| nets.iter().any(|net| net.contains(&client)))
    }

    /// What the kernel finds its flows by, if that is a single question.
    fn filter(&self) -> Option<FlowFilter> {
        let (&[(guest, guest_port)], 1, 0 | 1) = (
            self.guests.as_slice(),
            self.host_ports.count(),
            self.host_addresses.len(),
        ) else {
            return None;
        };
        let protocol = self.protocol.number();
        let mut original = TupleFilter::new()
            .protocol(protocol)
            .destination_port(self.host_ports.first());
        if let Some(&address) = self.host_addresses.first() {
            original = original.destination(address);
        }
        let reply = TupleFilter::new()
            .protocol(protocol)
            .source(guest)
            .source_port(guest_port);
        Some(family(self.ipv4).original(original).reply(reply))
    }
}

impl Host {
    /// Where exposures lead, each family by itself. Guests that are not known
    /// are left out.
    pub(super) fn reaches(&self, exposures: &[Exposure]) -> Vec<Reach> {
        let mut reaches = Vec::new();
        for exposure in exposures {
            for ipv4 in [true, false] {
                if !exposure.serves(ipv4) {
                    continue;
                }
                let guests = exposure.targets().iter().filter_map(|target| {
                    let seat = self.seat_or_address(target.guest(), ipv4)?;
                    Some((seat.address, target.port()))
                });
                let nets = exposure.allowed();
                reaches.push(Reach {
                    ipv4,
                    protocol: exposure.protocol(),
                    host_addresses: exposure.addresses_of(ipv4).flatten().collect(),
                    host_ports: exposure.host_ports(),
                    guests: guests.collect(),
                    allowed: (!nets.is_empty()).then(|| nets.to_vec()),
                    is_span: exposure.is_span(),
                });
            }
        }
        reaches
    }

    /// Ends the flows that `old` led to its guests and `new` would not: one
    /// pass over the flows of a family, however many exposures there are.
    pub(super) fn cut(&mut self, old: &[Reach], new: &[Reach]) -> Result<(), Error> {
        for ipv4 in [true, false] {
            let old = Made::of(old.iter().filter(|reach| reach.ipv4 == ipv4));
            match old.all.as_slice() {
                [] => continue,
                [only] if new.is_empty() => {
                    if let Some(filter) = only.filter() {
                        conntrack::delete(self.nft.connection_mut(), &filter)?;
                        continue;
                    }
                }
                _ => {}
            }
            let new = Made::of(new.iter().filter(|reach| reach.ipv4 == ipv4));
            for flow in conntrack::flows(self.nft.connection_mut(), &old.filter(ipv4))? {
                let goes_on = || new.leading(&flow).any(|reach| reach.allows(&flow));
                if old.leading(&flow).next().is_some() && !goes_on() {
                    conntrack::delete_flow(self.nft.connection_mut(), &flow)?;
                }
            }
        }
        Ok(())
    }

    /// Ends the flows that reach guests by other exposures than these.
    pub(super) fn cut_all_but(&mut self, in_force: &[Exposure]) -> Result<(), Error> {
        let reaches = self.reaches(in_force);
        let made = Made::of(reaches.iter());
        for flow in conntrack::flows(self.nft.connection_mut(), &FlowFilter::any())? {
            let (to, from) = (flow.original(), flow.reply());
            let is_led = to.destination() != from.source()
                && self.known.guest_of_address(from.source()).is_some();
            let goes_on = to.destination_port().is_none() || made.leading(&flow).next().is_some();
            if is_led && !goes_on {
                conntrack::delete_flow(self.nft.connection_mut(), &flow)?;
            }
        }
        Ok(())
    }

    /// Ends UDP flows to the ports of these exposures that do not reach their
    /// guests, but for those that `old` led to its own. Flows to other hosts'
    /// ports of that number pass through and are left alone.
    pub(super) fn end_older_flows(
        &mut self,
        exposures: &[Exposure],
        old: &[Reach],
    ) -> Result<(), Error> {
        let is_udp = |exposure: &Exposure| exposure.protocol() == Protocol::Udp;
        if !exposures.iter().any(is_udp) {
            return Ok(());
        }
        let old = Made::of(old.iter());
        let mut made = self.reaches(exposures);
        made.retain(|reach| reach.protocol == Protocol::Udp);
        for ipv4 in [true, false] {
            let made = Made::of(made.iter().filter(|reach| reach.ipv4 == ipv4));
            let mut original = TupleFilter::new().protocol(Protocol::Udp.number());
            match made.all.as_slice() {
                [] => continue,
                [only] if only.host_ports.count() == 1 => {
                    original = original.destination_port(only.host_ports.first());
                }
                _ => {}
            }
            let filter = family(ipv4).original(original);
            let mut flows = conntrack::flows(self.nft.connection_mut(), &filter)?;
            flows.retain(|flow| {
                self.reach_of(&made, flow)
                    .is_some_and(|reach| !reach.leads(flow))
                    && old.leading(flow).next().is_none()
            });
            if flows.is_empty() {
                continue;
            }
            let addresses = self.rtnl.addresses(None)?;
            let local: HashSet<IpAddr> = addresses
                .iter()
                .map(|address| address.net().addr())
                .collect();
            for flow in flows {
                if local.contains(&flow.original().destination()) {
                    conntrack::delete_flow(self.nft.connection_mut(), &flow)?;
                }
            }
        }
        Ok(())
    }

    /// Of the exposures that were made now, the one that decides about a
    /// flow's first packet; none if another does.
    fn reach_of<'m>(&self, made: &Made<'m>, flow: &Flow) -> Option<&'m Reach> {
        let to = flow.original();
        let port = to.destination_port()?;
        let keys = Key::reached_at(Protocol::Udp, to.destination(), port)?;
        for (key, exact) in keys.iter().zip([true, false]) {
            let mut meant = made
                .at(port)
                .filter(|reach| reach.host_addresses.is_empty() != exact && reach.is_met_by(flow));
            match meant.next() {
                Some(reach) => return Some(reach),
                None if self.known.has(key) => return None,
                None => {}
            }
        }
        let mut spans = made.spans.iter().copied();
        spans.find(|reach| reach.is_met_by(flow))
    }
}

/// Where several exposures lead, by port.
struct Made<'m> {
    all: Vec<&'m Reach>,
    singles: HashMap<u16, Vec<&'m Reach>>,
    ranges: Vec<&'m Reach>,
    /// Large ranges.
    spans: Vec<&'m Reach>,
}

impl<'m> Made<'m> {
    fn of(reaches: impl Iterator<Item = &'m Reach>) -> Self {
        let mut made = Self {
            all: reaches.collect(),
            singles: HashMap::new(),
            ranges: Vec::new(),
            spans: Vec::new(),
        };
        for reach in &made.all {
            if reach.is_span {
                made.spans.push(reach);
            } else if reach.host_ports.count() == 1 {
                let port = made.singles.entry(reach.host_ports.first());
                port.or_default().push(reach);
            } else {
                made.ranges.push(reach);
            }
        }
        made
    }

    /// Those that may have `port`, but for large ranges.
    fn at(&self, port: u16) -> impl Iterator<Item = &'m Reach> {
        let singles = self.singles.get(&port).into_iter().flatten();
        singles.chain(&self.ranges).copied()
    }

    /// Those that lead a flow to where it goes.
    fn leading(&self, flow: &Flow) -> impl Iterator<Item = &'m Reach> {
        let port = flow.original().destination_port();
        let at_port = port.map(|port| self.at(port)).into_iter().flatten();
        let all = at_port.chain(self.spans.iter().copied());
        all.filter(|reach| reach.leads(flow))
    }

    /// The flows of a family among which theirs are, as few as the kernel can
    /// tell.
    fn filter(&self, ipv4: bool) -> FlowFilter {
        let first = self.all.first();
        let (mut original, mut reply) = (TupleFilter::new(), TupleFilter::new());
        if let Some(first) = first
            && self.all.iter().all(|one| one.protocol == first.protocol)
        {
            original = original.protocol(first.protocol.number());
        }
        let mut guests = self.all.iter().flat_map(|reach| &reach.guests);
        if let Some((guest, _)) = guests.next()
            && guests.all(|(one, _)| one == guest)
        {
            reply = reply.source(*guest);
        }
        family(ipv4).original(original).reply(reply)
    }
}

/// All flows of a family.
fn family(ipv4: bool) -> FlowFilter {
    if ipv4 {
        FlowFilter::ipv4()
    } else {
        FlowFilter::ipv6()
    }
}
