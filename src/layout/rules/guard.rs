//! Who a packet says it is from.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv6Net};

use super::{Chains, LINK_LOCAL, LOOPBACK, LOOPBACK_IPV4, Layout};
use crate::nft::{
    Batch, Chain, ChainType, Comment, Hook, Icmpv6Type, Name, Policy, Port, Rule, arp, ether,
    icmpv6, ip, ip6, meta, priority, udp,
};

impl Layout {
    /// Before anything else sees it: who a packet, or a fragment of one, says
    /// it is from, and the host's loopback addresses, which `route_localnet`
    /// would open to neighbours.
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
                .lookup(&[meta::iifname()], &self.policy.rate_from)
                .counter()
                .drop()
                .comment(Comment::constant("rate from guest")),
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
        batch.add(
            &Rule::new(from_guest)
                .lookup(
                    &[meta::iifname(), ether::saddr(), ip6::saddr()],
                    &self.guard6,
                )
                .accept(),
        );
        self.before_address_rules(from_guest, batch);
        batch.add(
            &Rule::new(from_guest)
                .counter()
                .drop()
                .comment(Comment::constant("spoof")),
        );
    }

    /// What a guest sends on its own link from other addresses than it was
    /// given: to find its neighbours, and to be given addresses, which the
    /// host has to [grant](crate::Service). Honest guests send more, such as
    /// reports of their groups; it is told apart from false addresses.
    fn before_address_rules(&self, from_guest: &Chain, batch: &mut Batch) {
        let mac = [meta::iifname(), ether::saddr()];
        let link_local = || Rule::new(from_guest).matching(ip6::saddr().within(LINK_LOCAL));
        let discovery = [
            Icmpv6Type::ND_NEIGHBOR_SOLICIT,
            Icmpv6Type::ND_NEIGHBOR_ADVERT,
            Icmpv6Type::ND_ROUTER_SOLICIT,
        ];
        batch.add(
            &link_local()
                .matching(icmpv6::kind().one_of(discovery))
                .lookup(&mac, &self.guard_mac)
                .accept(),
        );
        batch.add(
            &Rule::new(from_guest)
                .matching(ip6::saddr().equal(Ipv6Addr::UNSPECIFIED))
                .matching(icmpv6::kind().equal(Icmpv6Type::ND_NEIGHBOR_SOLICIT))
                .lookup(&mac, &self.guard_mac)
                .accept(),
        );
        batch.add(
            &Rule::new(from_guest)
                .matching(ip::saddr().equal(Ipv4Addr::UNSPECIFIED))
                .matching(ip::daddr().equal(Ipv4Addr::BROADCAST))
                .matching(udp::sport().equal(Port(68)))
                .matching(udp::dport().equal(Port(67)))
                .lookup(&mac, &self.guard_mac)
                .accept(),
        );
        batch.add(
            &link_local()
                .matching(ip6::daddr().equal(ALL_DHCP_SERVERS))
                .matching(udp::sport().equal(Port(546)))
                .matching(udp::dport().equal(Port(547)))
                .lookup(&mac, &self.guard_mac)
                .accept(),
        );
        let router = [Icmpv6Type::ND_ROUTER_ADVERT, REDIRECT];
        batch.add(
            &Rule::new(from_guest)
                .matching(icmpv6::kind().one_of(router))
                .counter()
                .drop()
                .comment(Comment::constant("guest as router")),
        );
        batch.add(
            &Rule::new(from_guest)
                .matching(ip6::saddr().within_any([LINK_LOCAL, UNSPECIFIED]))
                .lookup(&mac, &self.guard_mac)
                .counter()
                .drop()
                .comment(Comment::constant("link-local")),
        );
    }

    /// ARP is invisible to `inet`: the same guard for its senders.
    pub(crate) fn add_arp_rules(&self, batch: &mut Batch) {
        let input = Chain::base(
            &self.arp,
            Name::constant("arp_input"),
            ChainType::FILTER,
            Hook::ARP_INPUT,
            priority::FILTER,
        )
        .policy(Policy::ACCEPT);
        batch.add(&input);
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
        // Who asks whether an address is taken (RFC 5227) claims none yet.
        batch.add(
            &Rule::new(&input)
                .matching(self.incoming())
                .matching(arp::is_ethernet())
                .matching(arp::is_ipv4())
                .matching(arp::saddr_ip().equal(Ipv4Addr::UNSPECIFIED))
                .drop(),
        );
        batch.add(
            &Rule::new(&input)
                .matching(self.incoming())
                .counter()
                .drop()
                .comment(Comment::constant("spoof over arp")),
        );
        self.clone_arp_rules(batch);
    }
}

/// `NDISC_REDIRECT` of RFC 4861.
const REDIRECT: Icmpv6Type = Icmpv6Type::from_raw(137);

/// `All_DHCP_Relay_Agents_and_Servers` of RFC 8415.
const ALL_DHCP_SERVERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);

const UNSPECIFIED: IpNet = IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 128));
