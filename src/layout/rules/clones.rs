//! The addresses of clones are rewritten.

use super::{Chains, Layout};
use crate::layout::told::{Party, Told};
use crate::nft::expr::{Lookup, Meta, MetaKey, Payload, PayloadBase, PayloadSet};
use crate::nft::{
    Batch, Chain, ChainType, Data, DataType, Family, Field, Hook, Icmpv6Type, Match, Name, Policy,
    Register, Rule, Set, arp, icmp, icmpv6, ip, ip6, meta, priority,
};

impl Layout {
    /// What a clone sends comes from the address in which it believes, as
    /// what others send. Behind the guard, and before fragments are put
    /// together by their addresses, it gets the clone's own, so that no two
    /// clones' are taken for one's. What goes to a clone is led to the address
    /// in which it believes behind all else: that one is the neighbour for
    /// which the kernel looks then.
    pub(super) fn clone_rules(&self, chains: &Chains, batch: &mut Batch) {
        let Chains {
            clone_in,
            clone_out,
            error_in4,
            error_in6,
            error_out4,
            error_out6,
            ..
        } = chains;
        let maps = &self.clones;
        for (fields, map, error) in [
            ([meta::iifname(), ip::saddr()], &maps.clone4, error_in4),
            ([meta::iifname(), ip6::saddr()], &maps.clone6, error_in6),
        ] {
            rewrite(clone_in, &self.incoming(), fields, map, error, batch);
        }
        for (fields, map, error) in [
            ([meta::oifname(), ip::daddr()], &maps.inner4, error_out4),
            ([meta::oifname(), ip6::daddr()], &maps.inner6, error_out6),
        ] {
            rewrite(clone_out, &self.outgoing(), fields, map, error, batch);
        }
        // The packet that a clone got, told of by the clone; the one that it
        // sent, told of to it.
        for (family, incoming, outgoing) in [
            (Family::IP, error_in4, error_out4),
            (Family::IP6, error_in6, error_out6),
        ] {
            let told = Told::of(family);
            batch.add(&told.copy(incoming, Party::Source));
            batch.add(&told.copy(outgoing, Party::Destination));
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
        for (chain, packets, interface, address, map) in [
            (
                &clone_in,
                self.incoming(),
                MetaKey::IIFNAME,
                ARP_SENDER,
                &maps.clone_arp,
            ),
            (
                &clone_out,
                self.outgoing(),
                MetaKey::OIFNAME,
                ARP_TARGET,
                &maps.inner_arp,
            ),
        ] {
            batch.add(chain);
            let Some(behind_name) = Register::slot(4) else {
                continue;
            };
            let rule = Rule::new(chain)
                .matching(packets)
                .matching(arp::is_ethernet())
                .matching(arp::is_ipv4())
                .expression(Meta::new(Register::FIRST, interface))
                .expression(Payload::new(behind_name, NETWORK, address, 4))
                .expression(
                    Lookup::new(map.name().clone(), Register::FIRST).with_to(Register::FIRST),
                )
                .expression(PayloadSet::new(Register::FIRST, NETWORK, address, 4));
            batch.add(&rule);
        }
    }
}

/// Writes what `map` has for the two fields into the second of them; before,
/// in a packet that holds another inside, `error` does the same there.
fn rewrite(
    chain: &Chain,
    packets: &Match,
    fields: [Field; 2],
    map: &Set,
    error: &Chain,
    batch: &mut Batch,
) {
    let [_, address] = fields;
    let (family, tells_of_error) = if address.data_type() == DataType::IPV4_ADDR {
        let kinds = ICMP_ERRORS.map(|kind| Data::typed(DataType::ICMP_TYPE, &[kind]));
        let kinds = kinds.into_iter().flatten();
        (Family::IP, icmp::kind().one_of(kinds))
    } else {
        let kinds = ICMPV6_ERRORS.map(Icmpv6Type::from_raw);
        (Family::IP6, icmpv6::kind().one_of(kinds))
    };
    let rule = || {
        Rule::new(chain)
            .matching(packets.clone())
            .matching(meta::nfproto().equal(family))
    };
    batch.add(
        &rule()
            .matching(tells_of_error)
            .set_from(address, &fields, map)
            .jump(error.name().clone()),
    );
    batch.add(&rule().set_from(address, &fields, map));
}

const NETWORK: PayloadBase = PayloadBase::NETWORK;

/// Behind the chain that lets through who may send what.
const BEHIND_GUARD: i32 = priority::FILTER + 10;

/// The addresses of sender and target in an ARP packet about Ethernet and
/// IPv4 (RFC 826).
const ARP_SENDER: u32 = 14;
const ARP_TARGET: u32 = 24;

/// The messages that hold another packet: unreachable, quench, redirect, time
/// exceeded, bad parameter (RFC 792); unreachable, too big, time exceeded, bad
/// parameter (RFC 4443).
const ICMP_ERRORS: [u8; 5] = [3, 4, 5, 11, 12];
const ICMPV6_ERRORS: [u8; 4] = [1, 2, 3, 4];
