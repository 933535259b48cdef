//! Who a packet says it is from.

use std::net::Ipv6Addr;

use super::{Chains, LINK_LOCAL, LOOPBACK, LOOPBACK_IPV4, Layout};
use crate::nft::{
    Batch, Chain, ChainType, Comment, Hook, Icmpv6Type, Name, Policy, Rule, arp, ether, icmpv6, ip,
    ip6, meta, priority,
};

impl Layout {
    /// Before connection tracking: who a packet says it is from, and the
    /// host's loopback addresses, which `route_localnet` would open to
    /// neighbours.
    pub(super) fn guard_rules(&self, chains: &Chains, batch: &mut Batch) {
        let Chains {
            raw_pre,
            from_guest,
            ..
        } = chains;
        batch.add(
            &Rule::new(raw_pre)
                .matching(self.incoming())
                .goto(from_guest.name().clone()),
        );
        batch.add(
            &Rule::new(raw_pre)
                .matching(meta::iifname().not_equal(LOOPBACK))
                .matching(ip::daddr().within(LOOPBACK_IPV4))
                .counter()
                .drop()
                .comment(Comment::constant("remote loopback")),
        );
        batch.add(
            &Rule::new(from_guest)
                .matching(ip::daddr().within(LOOPBACK_IPV4))
                .counter()
                .drop()
                .comment(Comment::constant("guest to host loopback")),
        );
        batch.add(
            &Rule::new(from_guest)
                .lookup(
                    &[meta::iifname(), ether::saddr(), ip::saddr()],
                    &self.guard4,
                )
                .accept(),
        );
        let mac = [meta::iifname(), ether::saddr()];
        let solicit = Icmpv6Type::ND_NEIGHBOR_SOLICIT;
        let discovery = [
            solicit,
            Icmpv6Type::ND_NEIGHBOR_ADVERT,
            Icmpv6Type::ND_ROUTER_SOLICIT,
        ];
        batch.add(
            &Rule::new(from_guest)
                .lookup(&mac, &self.guard_mac)
                .matching(ip6::saddr().within(LINK_LOCAL))
                .matching(icmpv6::kind().one_of(discovery))
                .accept(),
        );
        batch.add(
            &Rule::new(from_guest)
                .lookup(&mac, &self.guard_mac)
                .matching(ip6::saddr().equal(Ipv6Addr::UNSPECIFIED))
                .matching(icmpv6::kind().equal(solicit))
                .accept(),
        );
        batch.add(
            &Rule::new(from_guest)
                .lookup(
                    &[meta::iifname(), ether::saddr(), ip6::saddr()],
                    &self.guard6,
                )
                .accept(),
        );
        batch.add(
            &Rule::new(from_guest)
                .counter()
                .drop()
                .comment(Comment::constant("spoof")),
        );
    }

    /// ARP is invisible to `inet`: the same guard for its senders.
    pub(crate) fn create_arp_rules(&self, batch: &mut Batch) {
        let input = Chain::base(
            &self.arp,
            Name::constant("arp_input"),
            ChainType::FILTER,
            Hook::ARP_INPUT,
            priority::FILTER,
        )
        .policy(Policy::ACCEPT);
        batch.create(&input);
        batch.add(
            &Rule::new(&input)
                .matching(self.incoming())
                .matching(arp::is_ethernet())
                .matching(arp::is_ipv4())
                .lookup(
                    &[meta::iifname(), arp::saddr_ether(), arp::saddr_ip()],
                    &self.guard_arp,
                )
                .accept(),
        );
        batch.add(
            &Rule::new(&input)
                .matching(self.incoming())
                .counter()
                .drop()
                .comment(Comment::constant("spoof")),
        );
    }
}
