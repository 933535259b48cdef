//! The addresses of clones are rewritten.

use std::net::Ipv6Addr;

use super::{Chains, Layout};
use crate::layout::place::Place;
use crate::layout::told::{Party, Told};
use crate::nft::expr::MetaKey;
use crate::nft::{
    Batch, Chain, ChainType, Data, DataType, Family, Field, Hook, Icmpv6Type, Match, Name, Policy,
    Rule, Set, arp, ct, icmp, icmpv6, ip, ip6, meta, priority,
};

impl Layout {
    /// What a clone sends comes from the address in which it believes, as
    /// what others send. Behind the guard, and before fragments are put
    /// together by their addresses, it gets the clone's own, so that no two
    /// clones' are taken for one's. What goes to a clone is led to the address
    /// in which it believes behind all else: that one is the neighbour for
    /// which the kernel looks then. The gateway in which it believes is the
    /// host by the address that it has on the clone's TAP alone.
    pub(super) fn clone_rules(&self, chains: &Chains, batch: &mut Batch) {
        for direction in self.directions(chains) {
            direction.rules(chains, batch);
        }
    }

    /// ARP is invisible to `inet`: the same for who asks for the gateway, and
    /// for the answers. Who asks from an address that is not routed to its
    /// TAP would have none where `rp_filter` is on.
    pub(super) fn clone_arp_rules(&self, batch: &mut Batch) {
        let base = |name, hook, priority| {
            let name = Name::constant(name);
            Chain::base(&self.arp, name, ChainType::FILTER, hook, priority).policy(Policy::ACCEPT)
        };
        let clone_in = base("clone_in", Hook::ARP_INPUT, BEHIND_GUARD);
        let clone_out = base("clone_out", Hook::ARP_OUTPUT, priority::FILTER);
        let maps = &self.clones;
        let into = (MetaKey::IIFNAME, &maps.clone_arp);
        let out = (MetaKey::OIFNAME, &maps.inner_arp);
        for (chain, packets, (interface, map)) in [
            (&clone_in, self.incoming(), into),
            (&clone_out, self.outgoing(), out),
        ] {
            batch.add(chain);
            for address in [ARP_SENDER, ARP_TARGET] {
                let rule = Rule::new(chain)
                    .matching(packets.clone())
                    .matching(arp::is_ethernet())
                    .matching(arp::is_ipv4());
                let place = Place::network(address, 4);
                batch.add(&place.renamed(rule, interface, map));
            }
        }
    }

    /// Both ways of both families.
    fn directions<'l>(&'l self, chains: &'l Chains) -> [Direction<'l>; 4] {
        let maps = &self.clones;
        let into = |error, map, [guest, gateway]: [Field; 2]| Direction {
            chain: &chains.clone_in,
            error,
            packets: self.incoming(),
            interface: meta::iifname(),
            guest,
            gateway,
            party: Party::Source,
            map,
        };
        let out = |error, map, [gateway, guest]: [Field; 2]| Direction {
            chain: &chains.clone_out,
            packets: self.outgoing(),
            interface: meta::oifname(),
            party: Party::Destination,
            ..into(error, map, [guest, gateway])
        };
        let ipv4 = [ip::saddr(), ip::daddr()];
        let ipv6 = [ip6::saddr(), ip6::daddr()];
        [
            into(&chains.error_in4, &maps.clone4, ipv4),
            into(&chains.error_in6, &maps.clone6, ipv6),
            out(&chains.error_out4, &maps.inner4, ipv4),
            out(&chains.error_out6, &maps.inner6, ipv6),
        ]
    }
}

/// What clones send, or what goes to them, of one family.
struct Direction<'l> {
    chain: &'l Chain,
    /// For packets that tell of an error.
    error: &'l Chain,
    packets: Match,
    interface: Field,
    /// Where the clone's address is, and that of its gateway, if it is the
    /// host that the clone speaks with.
    guest: Field,
    gateway: Field,
    /// The guest, in a packet.
    party: Party,
    /// The interface and the address that is there : the one that is to be.
    map: &'l Set,
}

impl Direction<'_> {
    fn family(&self) -> Family {
        if self.guest.data_type() == DataType::IPV4_ADDR {
            Family::IP
        } else {
            Family::IP6
        }
    }

    fn rule(&self) -> Rule {
        Rule::new(self.chain)
            .matching(self.packets.clone())
            .matching(meta::nfproto().equal(self.family()))
    }

    /// Writes into `field` what the map has for what is in `old`.
    fn renamed(&self, rule: Rule, field: Field, old: Field) -> Rule {
        rule.set_from(field, &[self.interface, old], self.map)
    }

    /// Writes what the map has into the packet; in one that tells of another
    /// the same there.
    fn rules(&self, chains: &Chains, batch: &mut Batch) {
        let Self { guest, gateway, .. } = *self;
        if self.family() == Family::IP6 {
            self.discovery_rules(chains, batch);
        }
        batch.add(&self.renamed(self.rule(), gateway, gateway));
        let tells_of_error = if self.family() == Family::IP {
            let kinds = ICMP_ERRORS.map(|kind| Data::typed(DataType::ICMP_TYPE, &[kind]));
            icmp::kind().one_of(kinds.into_iter().flatten())
        } else {
            icmpv6::kind().one_of(ICMPV6_ERRORS.map(Icmpv6Type::from_raw))
        };
        let rule = self.rule().matching(tells_of_error);
        let rule = self.renamed(rule, guest, guest);
        batch.add(&rule.jump(self.error.name().clone()));
        batch.add(&self.renamed(self.rule(), guest, guest));
        self.error_rules(chains, batch);
    }

    /// What is sent to the gateway to find it asks for it, and what is sent
    /// from it then is about it.
    fn discovery_rules(&self, chains: &Chains, batch: &mut Batch) {
        let (kind, chain) = match self.party {
            Party::Source => (Icmpv6Type::ND_NEIGHBOR_SOLICIT, &chains.gateway_asked),
            Party::Destination => (Icmpv6Type::ND_NEIGHBOR_ADVERT, &chains.gateway_found),
        };
        let rule = self.rule().matching(icmpv6::kind().equal(kind));
        let rule = self.renamed(rule, self.gateway, self.gateway);
        batch.add(&rule.jump(chain.name().clone()));
        let gateway = Told::of(self.family()).outer(self.party.other());
        batch.add(&gateway.copied(Rule::new(chain), DISCOVERED));
        if self.party == Party::Source {
            // Who is asked alone does not say where it is.
            batch.add(&Rule::new(chain).set(self.gateway, ALL_NODES));
        }
    }

    /// The packet that a clone got, told of by the clone; the one that it
    /// sent, told of to it.
    fn error_rules(&self, chains: &Chains, batch: &mut Batch) {
        let told = Told::of(self.family());
        batch.add(&told.copy(self.error, self.party));
        if self.party == Party::Source {
            // An error goes to who sent the packet.
            batch.add(&told.copy(self.error, Party::Destination));
            return;
        }
        // One about what was sent to the gateway comes from there, whoever is
        // behind it.
        let (chain, began, answers) = match self.family() {
            Family::IP => (
                &chains.gateway_told4,
                ct::original_saddr_ipv4(),
                ct::original_daddr_ipv4(),
            ),
            _ => (
                &chains.gateway_told6,
                ct::original_saddr_ipv6(),
                ct::original_daddr_ipv6(),
            ),
        };
        for (direction, addressed) in [
            (ct::Direction::Original, began),
            (ct::Direction::Reply, answers),
        ] {
            let rule = Rule::new(self.error).matching(ct::direction().equal(direction));
            let rule = self.renamed(rule, self.gateway, addressed);
            batch.add(&rule.jump(chain.name().clone()));
        }
        batch.add(&told.copy(chain, Party::Source));
    }
}

/// Behind the chain that lets through who may send what.
const BEHIND_GUARD: i32 = priority::FILTER + 10;

/// The addresses of sender and target in an ARP packet about Ethernet and
/// IPv4 (RFC 826).
const ARP_SENDER: u32 = 14;
const ARP_TARGET: u32 = 24;

const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// The address of which neighbour discovery speaks (RFC 4861), behind the type,
/// the checksum and the flags.
const DISCOVERED: Place = Place::transport(8, 16, 2);

/// The messages that hold another packet: unreachable, quench, redirect, time
/// exceeded, bad parameter (RFC 792); unreachable, too big, time exceeded, bad
/// parameter (RFC 4443).
const ICMP_ERRORS: [u8; 5] = [3, 4, 5, 11, 12];
const ICMPV6_ERRORS: [u8; 4] = [1, 2, 3, 4];
