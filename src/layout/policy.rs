//! What guests may do, as elements of the owner's sets.

use std::collections::HashMap;
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Subnets, Ipv6Subnets};

use super::{Layout, take_ipv4, take_ipv6, take_port};
use crate::error::Invalid;
use crate::guest::{Attachment, GuestName, Policy, Rate, Service};
use crate::nft::expr::{Limit, LimitType};
use crate::nft::{Comment, DataType, Element, Expr, L4Proto, Mark, Name, Port, Set, Table, Value};
use crate::protocol::Protocol;
use crate::types::IfName;
use crate::wire::uapi::nf_tables_expr::NFT_LIMIT_F_INV;

/// The sets of what guests may do. All are keyed by the guest's TAP first.
#[derive(Debug)]
pub(crate) struct PolicySets {
    /// TAP . number: in the comment the name of a peer that the guest asks
    /// for, which may not be attached. No rule reads it.
    pub(super) peerings: Set,
    /// TAP . TAP: guests that reach each other, both ways.
    pub(super) peers: Set,
    /// TAP . protocol . port of the host.
    pub(super) services: Set,
    /// The TAPs of guests that reach only what is in the next two.
    pub(super) closed: Set,
    /// TAP . prefix.
    pub(super) egress4: Set,
    pub(super) egress6: Set,
    /// TAP : address of the host behind which it reaches the outside.
    pub(super) snat4: Set,
    pub(super) snat6: Set,
    /// TAP, with a limit that holds while it is exceeded.
    pub(super) rate_from: Set,
    pub(super) rate_to: Set,
}

impl PolicySets {
    pub(super) fn new(table: &Table, guests: u32) -> Self {
        let (ipv4, ipv6) = (DataType::IPV4_ADDR, DataType::IPV6_ADDR);
        let (protocol, port) = (DataType::INET_PROTO, DataType::INET_SERVICE);
        let tap = DataType::IFNAME;
        let set =
            |name, key: &[DataType], size| Set::new(table, Name::constant(name), key).size(size);
        let several = guests.max(SEVERAL);
        // Elements have limits of their own; `nft` wants one to be declared.
        let rate = |name| set(name, &[tap], guests).expression(limit(1, 0));
        let snat =
            |name, address| Set::map(table, Name::constant(name), &[tap], &[address]).size(guests);
        Self {
            peerings: set("peerings", &[tap, DataType::MARK], several),
            peers: set("peers", &[tap, tap], several),
            services: set("services", &[tap, protocol, port], several),
            closed: set("closed", &[tap], guests),
            egress4: set("egress4", &[tap, ipv4], several).interval(),
            egress6: set("egress6", &[tap, ipv6], several).interval(),
            snat4: snat("snat4", ipv4),
            snat6: snat("snat6", ipv6),
            rate_from: rate("rate_from"),
            rate_to: rate("rate_to"),
        }
    }

    pub(crate) fn all(&self) -> [&Set; 10] {
        [
            &self.peerings,
            &self.peers,
            &self.services,
            &self.closed,
            &self.egress4,
            &self.egress6,
            &self.snat4,
            &self.snat6,
            &self.rate_from,
            &self.rate_to,
        ]
    }

    /// The sets that tell a policy, and how each is read. What follows from
    /// others, the pairs of peers, is not among them.
    fn readers(&self) -> [(&Set, Read); 9] {
        [
            (&self.peerings, read_peering),
            (&self.services, read_service),
            (&self.closed, |_, _, policy| {
                policy.egress_mut().close();
                Some(())
            }),
            (&self.egress4, read_egress),
            (&self.egress6, read_egress),
            (&self.snat4, read_snat),
            (&self.snat6, read_snat),
            (&self.rate_from, |_, element, policy| {
                policy.set_rate_from(read_rate(element)?);
                Some(())
            }),
            (&self.rate_to, |_, element, policy| {
                policy.set_rate_to(read_rate(element)?);
                Some(())
            }),
        ]
    }
}

/// Reads into a policy what an element says: its key behind the TAP, and all
/// of it. `None` if someone else put something else there.
type Read = fn(&[u8], &Element, &mut Policy) -> Option<()>;

impl Layout {
    /// The elements that say what a guest may do, while `peers` are those
    /// that it reaches directly.
    pub(super) fn policy_elements<'l>(
        &'l self,
        guest: &Attachment,
        own: Comment,
        peers: &[&Attachment],
        put: &mut impl FnMut(&'l Set, &[Element]),
    ) -> Result<(), Invalid> {
        let PolicySets {
            peerings,
            peers: pairs,
            services,
            closed,
            egress4,
            egress6,
            snat4,
            snat6,
            rate_from,
            rate_to,
        } = self.policy.as_ref();
        let (tap, policy) = (guest.tap, guest.policy());
        let asked = (0..).zip(policy.peers()).map(|(number, peer)| {
            let name = Comment::new(peer.as_str())?;
            Ok(Element::new((tap, Mark(number))).comment(name))
        });
        put(peerings, &asked.collect::<Result<Vec<_>, Invalid>>()?);
        let mut both = Vec::new();
        for peer in peers {
            let name = Comment::new(peer.name())?;
            both.push(Element::new((tap, peer.tap)).comment(own));
            both.push(Element::new((peer.tap, tap)).comment(name));
        }
        put(pairs, &both);
        let allowed = policy.services().iter().map(|service| {
            let protocol = L4Proto::from_raw(service.protocol().number());
            Element::new((tap, protocol, Port(service.port()))).comment(own)
        });
        put(services, &allowed.collect::<Vec<_>>());
        let egress = policy.egress();
        if let Some(prefixes) = egress.prefixes() {
            put(closed, &[Element::new(tap).comment(own)]);
            for (set, ipv4) in [(egress4, true), (egress6, false)] {
                let of_family = prefixes.iter().filter(|net| net.addr().is_ipv4() == ipv4);
                let open = of_family.map(|net| prefix_element(tap, *net).comment(own));
                put(set, &open.collect::<Vec<_>>());
            }
        }
        for (map, ipv4) in [(snat4, true), (snat6, false)] {
            let of_family = egress.sources().filter(|one| one.is_ipv4() == ipv4);
            let behind =
                of_family.map(|address| Element::leading(tap.into(), address.into(), Some(own)));
            put(map, &behind.collect::<Vec<_>>());
        }
        for (set, rate) in [(rate_from, policy.rate_from()), (rate_to, policy.rate_to())] {
            if let Some(rate) = rate {
                let limit = limit(rate.bytes_per_second(), rate.current_burst());
                put(set, &[Element::new(tap).expression(limit).comment(own)]);
            }
        }
        Ok(())
    }

    /// Reads what guests may do, by their TAPs, from the elements that
    /// `list` gives for a set.
    pub(crate) fn read_policies<E>(
        &self,
        mut list: impl FnMut(&Set) -> Result<Vec<Element>, E>,
    ) -> Result<HashMap<IfName, Policy>, E> {
        let mut policies: HashMap<IfName, Policy> = HashMap::new();
        for (set, read) in self.policy.readers() {
            for element in list(set)? {
                if let Some((tap, rest)) = take_tap(element.key().as_bytes()) {
                    // What someone else put there is no part of a policy.
                    let _: Option<()> = read(rest, &element, policies.entry(tap).or_default());
                }
            }
        }
        for policy in policies.values_mut() {
            policy.egress_mut().normalise();
        }
        Ok(policies)
    }
}

/// The name of an interface at the beginning of a key.
pub(super) fn take_tap(key: &[u8]) -> Option<(IfName, &[u8])> {
    let (name, rest) = key.split_first_chunk::<16>()?;
    let name = str::from_utf8(name).ok()?.trim_end_matches('\0');
    Some((IfName::new(name).ok()?, rest))
}

fn prefix_element(tap: IfName, net: IpNet) -> Element {
    Element::new((tap, net.network())).to((tap, net.broadcast()))
}

/// Lets the lookup of its element succeed while more than this passes.
fn limit(bytes_per_second: u64, burst: u32) -> Limit {
    Limit::new(bytes_per_second, 1)
        .with_burst(burst)
        .with_kind(LimitType::BYTES)
        .with_flags(NFT_LIMIT_F_INV)
}

fn read_peering(_: &[u8], element: &Element, policy: &mut Policy) -> Option<()> {
    let name = element.current_comment()?.as_str();
    policy.add_peer(GuestName::new(name).ok()?);
    Some(())
}

fn read_service(key: &[u8], _: &Element, policy: &mut Policy) -> Option<()> {
    let (&[protocol, _, _, _], rest) = key.split_first_chunk()?;
    let (port, _) = take_port(rest)?;
    let protocol = Protocol::from_number(protocol)?;
    policy.add_service(Service::new(protocol, port).ok()?);
    Some(())
}

fn read_egress(first: &[u8], element: &Element, policy: &mut Policy) -> Option<()> {
    let (_, last) = take_tap(element.key_end()?.as_bytes())?;
    match (take_address(first)?, take_address(last)?) {
        (IpAddr::V4(first), IpAddr::V4(last)) => {
            let nets = Ipv4Subnets::new(first, last, 0);
            policy.egress_mut().allow(nets.map(IpNet::from));
        }
        (IpAddr::V6(first), IpAddr::V6(last)) => {
            let nets = Ipv6Subnets::new(first, last, 0);
            policy.egress_mut().allow(nets.map(IpNet::from));
        }
        _ => return None,
    }
    Some(())
}

fn read_snat(_: &[u8], element: &Element, policy: &mut Policy) -> Option<()> {
    let Some(Value::Data(address)) = element.value() else {
        return None;
    };
    let egress = std::mem::take(policy.egress_mut());
    // An address that we would not have put there is left alone.
    let behind = egress.clone().behind(take_address(address.as_bytes())?);
    policy.set_egress(behind.unwrap_or(egress));
    Some(())
}

fn read_rate(element: &Element) -> Option<Rate> {
    let mut limits = element.expressions().iter();
    let limit = limits.find_map(|expression| match expression {
        Expr::Limit(limit) => Some(limit),
        _ => None,
    })?;
    let rate = Rate::new(*limit.rate()).ok()?;
    Some(rate.burst(*limit.burst()))
}

fn take_address(bytes: &[u8]) -> Option<IpAddr> {
    let (address, _) = if bytes.len() == 4 {
        take_ipv4(bytes)?
    } else {
        take_ipv6(bytes)?
    };
    address
}

/// Room for what a guest may have several of, if there are few guests.
const SEVERAL: u32 = 4096;

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;
    use crate::guest::{Egress, Guest, Networks};
    use crate::nft::Data;
    use crate::owner::Owner;

    fn net(net: &str) -> IpNet {
        net.parse().unwrap()
    }

    fn elements_of<'l>(
        layout: &'l Layout,
        guest: &Attachment,
        peers: &[&Attachment],
    ) -> Vec<(&'l Set, Element)> {
        let mut all = Vec::new();
        let mut put = |set, elements: &[Element]| {
            all.extend(elements.iter().map(|element| (set, element.clone())));
        };
        let name = Comment::new(guest.name()).unwrap();
        layout
            .policy_elements(guest, name, peers, &mut put)
            .unwrap();
        all
    }

    #[test]
    fn policies_read_what_their_elements_say() {
        let owner = Owner::new("riklet").unwrap();
        let layout = Layout::new(&owner, 16, 16).unwrap();
        let guest = Guest::new("hello-world")
            .unwrap()
            .peer(&GuestName::new("database").unwrap())
            .peer(&GuestName::new("cache").unwrap())
            .service("udp/53".parse().unwrap())
            .service("tcp/53".parse().unwrap())
            .egress(Egress::snat("203.0.113.2".parse().unwrap()).unwrap().only([
                net("0.0.0.0/0"),
                net("2001:db8::/33"),
                net("fd00::7/128"),
            ]))
            .rate_from(Rate::new(1000).unwrap())
            .rate_to(Rate::new(10_000_000_000).unwrap().burst(0));
        let guest = Networks::default().attachment(&owner, &guest, 7).unwrap();
        let all = elements_of(&layout, &guest, &[]);
        let listed = |set: &Set| {
            let of_set = all.iter().filter(|(one, _)| one.name() == set.name());
            Ok::<_, Infallible>(of_set.map(|(_, element)| element.clone()).collect())
        };
        let read = layout.read_policies(listed).unwrap();
        assert_eq!(read.get(&guest.tap), Some(guest.policy()));
        assert_eq!(read.len(), 1);
    }

    #[test]
    fn peers_are_paired_both_ways_and_defaults_need_nothing() {
        let owner = Owner::new("riklet").unwrap();
        let layout = Layout::new(&owner, 16, 16).unwrap();
        let guest = |name, slot| {
            let guest = Guest::new(name).unwrap();
            Networks::default()
                .attachment(&owner, &guest, slot)
                .unwrap()
        };
        let (one, other) = (guest("one", 0), guest("other", 1));
        assert_eq!(elements_of(&layout, &one, &[]), []);
        let pairs: Vec<Data> = elements_of(&layout, &one, &[&other])
            .into_iter()
            .map(|(_, element)| *element.key())
            .collect();
        let both = [(one.tap, other.tap), (other.tap, one.tap)];
        assert_eq!(pairs, both.map(Data::from));
    }
}
