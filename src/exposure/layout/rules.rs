//! The rules. They hold no name but the owner's TAP prefix and never change.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::Layout;
use crate::nft::{
    Batch, Chain, ChainType, Comment, Family, Field, Hook, Icmpv6Type, L4Proto, Match, Name,
    Policy, Rule, Table, arp, ct, ether, fib, icmpv6, ip, ip6, meta, priority, th,
};
use crate::types::IfName;

impl Layout {
    /// Creates the chains of the `inet` table with their rules.
    pub(super) fn create_rules(&self, batch: &mut Batch) {
        let chains = Chains::new(&self.table);
        for chain in chains.all() {
            batch.create(chain);
        }
        self.guard_rules(&chains, batch);
        self.nat_rules(&chains, batch);
        self.filter_rules(&chains, batch);
    }

    /// Before connection tracking: who a packet says it is from, and the
    /// host's loopback addresses, which `route_localnet` would open to
    /// neighbours.
    fn guard_rules(&self, chains: &Chains, batch: &mut Batch) {
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

    /// Exposures: the exact host address beats all addresses, of which the
    /// loopback ones are none. What leads to a guest keeps its source, unless
    /// it comes from the guest itself or from a loopback address, to which no
    /// guest could answer.
    fn nat_rules(&self, chains: &Chains, batch: &mut Batch) {
        let Chains {
            nat_pre,
            nat_out,
            expose_out,
            expose_loopback,
            expose,
            expose4,
            expose6,
            nat_post,
            to_guest_nat,
            ..
        } = chains;
        for (chain, next) in [(nat_pre, expose), (nat_out, expose_out)] {
            batch.add(
                &Rule::new(chain)
                    .matching(meta::l4proto().one_of([L4Proto::TCP, L4Proto::UDP]))
                    .matching(fib::daddr_type().equal(fib::AddrType::LOCAL))
                    .jump(next.name().clone()),
            );
        }
        batch.add(
            &Rule::new(expose_out)
                .matching(ip::daddr().within(LOOPBACK_IPV4))
                .goto(expose_loopback.name().clone()),
        );
        batch.add(
            &Rule::new(expose_out)
                .matching(ip6::daddr().equal(Ipv6Addr::LOCALHOST))
                .return_(),
        );
        batch.add(&Rule::new(expose_out).goto(expose.name().clone()));
        batch.add(
            &Rule::new(expose)
                .matching(meta::nfproto().equal(Family::IP))
                .goto(expose4.name().clone()),
        );
        batch.add(
            &Rule::new(expose)
                .matching(meta::nfproto().equal(Family::IP6))
                .goto(expose6.name().clone()),
        );
        let port: [Field; 2] = [meta::l4proto(), th::dport()];
        let [protocol, number] = port;
        for chain in [expose_loopback, expose4] {
            let exact = [ip::daddr(), protocol, number];
            batch.add(&Rule::new(chain).dnat_from(&exact, &self.dnat4));
        }
        batch.add(&Rule::new(expose4).dnat_from(&port, &self.dnat4_any));
        batch.add(&Rule::new(expose6).dnat_from(&[ip6::daddr(), protocol, number], &self.dnat6));
        batch.add(&Rule::new(expose6).dnat_from(&port, &self.dnat6_any));
        batch.add(
            &Rule::new(nat_post)
                .matching(self.outgoing())
                .goto(to_guest_nat.name().clone()),
        );
        batch.add(&Rule::new(nat_post).matching(self.incoming()).masquerade());
        batch.add(
            &Rule::new(to_guest_nat)
                .lookup(&[ip::saddr(), ip::daddr()], &self.self4)
                .masquerade(),
        );
        batch.add(
            &Rule::new(to_guest_nat)
                .lookup(&[ip6::saddr(), ip6::daddr()], &self.self6)
                .masquerade(),
        );
        batch.add(
            &Rule::new(to_guest_nat)
                .matching(ip::saddr().within(LOOPBACK_IPV4))
                .masquerade(),
        );
    }

    /// Guests are closed: only what is exposed, and answers, reach them, and
    /// they reach only the outside. Where forwarding was switched on for
    /// them, nothing else is forwarded than before.
    fn filter_rules(&self, chains: &Chains, batch: &mut Batch) {
        let Chains {
            forward,
            to_guest,
            uplink,
            input,
            in_guest,
            ..
        } = chains;
        let known = || ct::state().any_of(ct::State::ESTABLISHED | ct::State::RELATED);
        let translated = || ct::status().any_of(ct::Status::DNAT);
        batch.add(
            &Rule::new(forward)
                .matching(self.outgoing())
                .jump(to_guest.name().clone()),
        );
        for (family, uplinks) in [(Family::IP, &self.uplinks4), (Family::IP6, &self.uplinks6)] {
            batch.add(
                &Rule::new(forward)
                    .matching(meta::nfproto().equal(family))
                    .lookup(&[meta::iifname()], uplinks)
                    .goto(uplink.name().clone()),
            );
        }
        batch.add(&Rule::new(to_guest).matching(known()).accept());
        batch.add(&Rule::new(to_guest).matching(translated()).accept());
        batch.add(
            &Rule::new(to_guest)
                .counter()
                .drop()
                .comment(Comment::constant("not exposed")),
        );
        batch.add(&Rule::new(uplink).matching(known()).return_());
        batch.add(&Rule::new(uplink).matching(translated()).return_());
        batch.add(
            &Rule::new(uplink)
                .counter()
                .drop()
                .comment(Comment::constant("forwarding is on for guests only")),
        );
        batch.add(
            &Rule::new(input)
                .matching(self.incoming())
                .jump(in_guest.name().clone()),
        );
        batch.add(&Rule::new(in_guest).matching(known()).accept());
        batch.add(
            &Rule::new(in_guest)
                .matching(meta::l4proto().one_of([L4Proto::ICMP, L4Proto::ICMPV6]))
                .accept(),
        );
        batch.add(
            &Rule::new(in_guest)
                .counter()
                .drop()
                .comment(Comment::constant("guest to host")),
        );
    }

    /// ARP is invisible to `inet`: the same guard for its senders.
    pub(super) fn create_arp_rules(&self, batch: &mut Batch) {
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

    /// Whether the packet comes from a guest.
    fn incoming(&self) -> Match {
        meta::iifname().starts_with(&self.tap_prefix)
    }

    /// Whether the packet goes to a guest.
    fn outgoing(&self) -> Match {
        meta::oifname().starts_with(&self.tap_prefix)
    }
}

/// The chains of the `inet` table.
struct Chains {
    raw_pre: Chain,
    from_guest: Chain,
    nat_pre: Chain,
    nat_out: Chain,
    expose_out: Chain,
    expose_loopback: Chain,
    expose: Chain,
    expose4: Chain,
    expose6: Chain,
    nat_post: Chain,
    to_guest_nat: Chain,
    forward: Chain,
    to_guest: Chain,
    uplink: Chain,
    input: Chain,
    in_guest: Chain,
}

impl Chains {
    fn new(table: &Table) -> Self {
        let chain = |name| Chain::new(table, Name::constant(name));
        let base = |name, kind, hook, priority| {
            Chain::base(table, Name::constant(name), kind, hook, priority).policy(Policy::ACCEPT)
        };
        Self {
            raw_pre: base(
                "raw_pre",
                ChainType::FILTER,
                Hook::PREROUTING,
                priority::RAW,
            ),
            from_guest: chain("from_guest"),
            nat_pre: base("nat_pre", ChainType::NAT, Hook::PREROUTING, BEFORE_DSTNAT),
            nat_out: base("nat_out", ChainType::NAT, Hook::OUTPUT, BEFORE_DSTNAT),
            expose_out: chain("expose_out"),
            expose_loopback: chain("expose_loopback"),
            expose: chain("expose"),
            expose4: chain("expose4"),
            expose6: chain("expose6"),
            nat_post: base("nat_post", ChainType::NAT, Hook::POSTROUTING, BEFORE_SRCNAT),
            to_guest_nat: chain("to_guest_nat"),
            forward: base(
                "forward",
                ChainType::FILTER,
                Hook::FORWARD,
                priority::FILTER,
            ),
            to_guest: chain("to_guest"),
            uplink: chain("uplink"),
            input: base("input", ChainType::FILTER, Hook::INPUT, priority::FILTER),
            in_guest: chain("in_guest"),
        }
    }

    fn all(&self) -> [&Chain; 16] {
        [
            &self.raw_pre,
            &self.from_guest,
            &self.nat_pre,
            &self.nat_out,
            &self.expose_out,
            &self.expose_loopback,
            &self.expose,
            &self.expose4,
            &self.expose6,
            &self.nat_post,
            &self.to_guest_nat,
            &self.forward,
            &self.to_guest,
            &self.uplink,
            &self.input,
            &self.in_guest,
        ]
    }
}

/// Before Docker's and kube-proxy's translations, which are at -100: the
/// lower number decides.
const BEFORE_DSTNAT: i32 = -105;

/// Before others' masquerading, which is at 100.
const BEFORE_SRCNAT: i32 = 95;

const LOOPBACK: IfName = IfName::constant("lo");
const LOOPBACK_IPV4: IpNet = IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8));
const LINK_LOCAL: IpNet = IpNet::V6(Ipv6Net::new_assert(
    Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0),
    10,
));
