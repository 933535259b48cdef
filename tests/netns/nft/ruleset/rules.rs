//! The chains and rules of the layout.

use super::{ETHER, IFNAME, IP4, Layout, from_tap, name, net, remark, to_tap};
use tapwire::IfIndex;
use tapwire::nft::{
    Chain, ChainType, Family, Hook, Icmpv6Type, L4Proto, Policy, Port, Rule, Set, Table, arp, ct,
    ether, fib, icmpv6, ip, ip6, meta, numgen, priority, tcp, th, udp,
};

impl Layout {
    #[expect(clippy::too_many_lines, reason = "one line for each rule of the text")]
    pub(super) fn filters_before_nat(&mut self) {
        let lo = IfIndex::new(1).unwrap();
        let raw = self.base(
            "raw_pre",
            ChainType::FILTER,
            Hook::PREROUTING,
            priority::RAW,
        );
        let guest = self.chain("from_guest");
        let clone_in = self.base("clone_in", ChainType::FILTER, Hook::PREROUTING, -290);
        let clone_out = self.base("clone_out", ChainType::FILTER, Hook::POSTROUTING, 300);
        let acl_pre = self.base(
            "acl_pre",
            ChainType::FILTER,
            Hook::PREROUTING,
            priority::DSTNAT - 10,
        );
        let acl = self.chain("acl");
        let (guard4, guard6) = (self.set("guard4"), self.set("guard6"));
        let (clone4, clone6) = (self.set("clone4"), self.set("clone6"));
        let (inner4, inner6) = (self.set("inner4"), self.set("inner6"));
        let [restricted, allow4, allow6] =
            ["restricted", "allow4", "allow6"].map(|set| self.set(set));
        let loopback = || ip::daddr().within(net("127.0.0.0/8"));
        self.batch
            .add(
                &Rule::new(&raw)
                    .matching(from_tap())
                    .goto(name("from_guest")),
            )
            .add(
                &Rule::new(&raw)
                    .matching(meta::iif().not_equal(lo))
                    .matching(loopback())
                    .counter()
                    .drop()
                    .comment(remark("remote loopback")),
            )
            .add(
                &Rule::new(&guest)
                    .matching(loopback())
                    .counter()
                    .drop()
                    .comment(remark("guest to host loopback")),
            )
            .add(
                &Rule::new(&guest)
                    .matching(ip::saddr().equal("0.0.0.0".parse::<std::net::Ipv4Addr>().unwrap()))
                    .matching(
                        ip::daddr().equal("255.255.255.255".parse::<std::net::Ipv4Addr>().unwrap()),
                    )
                    .matching(udp::dport().equal(Port(67)))
                    .accept(),
            )
            .add(
                &Rule::new(&guest)
                    .lookup(&[meta::iifname(), ether::saddr(), ip::saddr()], &guard4)
                    .accept(),
            )
            .add(
                &Rule::new(&guest)
                    .matching(ip6::saddr().within(net("fe80::/10")))
                    .matching(icmpv6::kind().one_of([
                        Icmpv6Type::ND_NEIGHBOR_SOLICIT,
                        Icmpv6Type::ND_NEIGHBOR_ADVERT,
                        Icmpv6Type::ND_ROUTER_SOLICIT,
                    ]))
                    .accept(),
            )
            .add(
                &Rule::new(&guest)
                    .matching(ip6::saddr().equal(std::net::Ipv6Addr::UNSPECIFIED))
                    .matching(icmpv6::kind().equal(Icmpv6Type::ND_NEIGHBOR_SOLICIT))
                    .accept(),
            )
            .add(
                &Rule::new(&guest)
                    .lookup(&[meta::iifname(), ether::saddr(), ip6::saddr()], &guard6)
                    .accept(),
            )
            .add(&Rule::new(&guest).counter().drop().comment(remark("spoof")))
            .add(&Rule::new(&clone_in).matching(from_tap()).set_from(
                ip::saddr(),
                &[meta::iifname()],
                &clone4,
            ))
            .add(
                &Rule::new(&clone_in)
                    .matching(from_tap())
                    .matching(ip6::saddr().not_within(net("fe80::/10")))
                    .set_from(ip6::saddr(), &[meta::iifname()], &clone6),
            )
            .add(&Rule::new(&clone_out).matching(to_tap()).set_from(
                ip::daddr(),
                &[meta::oifname()],
                &inner4,
            ))
            .add(
                &Rule::new(&clone_out)
                    .matching(to_tap())
                    .matching(ip6::daddr().within_none([net("fe80::/10"), net("ff00::/8")]))
                    .set_from(ip6::daddr(), &[meta::oifname()], &inner6),
            )
            .add(
                &Rule::new(&acl_pre)
                    .matching(ct::state().any_of(ct::State::NEW))
                    .matching(fib::daddr_type().equal(fib::AddrType::LOCAL))
                    .lookup(&[meta::l4proto(), th::dport()], &restricted)
                    .jump(name("acl")),
            )
            .add(
                &Rule::new(&acl)
                    .matching(meta::nfproto().equal(Family::IP))
                    .lookup(&[meta::l4proto(), th::dport(), ip::saddr()], &allow4)
                    .return_(),
            )
            .add(
                &Rule::new(&acl)
                    .matching(meta::nfproto().equal(Family::IP6))
                    .lookup(&[meta::l4proto(), th::dport(), ip6::saddr()], &allow6)
                    .return_(),
            )
            .add(
                &Rule::new(&acl)
                    .counter()
                    .drop()
                    .comment(remark("source not allowed")),
            );
    }

    #[expect(clippy::too_many_lines, reason = "one line for each rule of the text")]
    pub(super) fn nat(&mut self) {
        let pre = self.base(
            "nat_pre",
            ChainType::NAT,
            Hook::PREROUTING,
            priority::DSTNAT - 5,
        );
        let out = self.base("nat_out", ChainType::NAT, Hook::OUTPUT, -105);
        let (expose_out, expose) = (self.chain("expose_out"), self.chain("expose"));
        let (expose4, expose6) = (self.chain("expose4"), self.chain("expose6"));
        let post = self.base(
            "nat_post",
            ChainType::NAT,
            Hook::POSTROUTING,
            priority::SRCNAT - 5,
        );
        let guest = self.chain("to_guest_nat");
        let with_ports = || meta::l4proto().one_of([L4Proto::TCP, L4Proto::UDP, L4Proto::SCTP]);
        let local = || fib::daddr_type().equal(fib::AddrType::LOCAL);
        let port = [meta::l4proto(), th::dport()];
        let port4 = [ip::daddr(), meta::l4proto(), th::dport()];
        let port6 = [ip6::daddr(), meta::l4proto(), th::dport()];
        let sets = [
            "lo_ok",
            "dnat4",
            "dnat4_any",
            "dnat4_rng",
            "dnat6",
            "dnat6_any",
            "dnat6_rng",
            "self4",
            "self6",
        ];
        let [
            lo_ok,
            dnat4,
            dnat4_any,
            dnat4_rng,
            dnat6,
            dnat6_any,
            dnat6_rng,
            self4,
            self6,
        ] = sets.map(|set| self.set(set));
        let [lb4, lbs4] = ["lb4", "lbs4"].map(|set| self.set(set));
        let balanced = |slot, map: &str| {
            Rule::new(&expose4)
                .matching(meta::l4proto().equal(L4Proto::TCP))
                .dnat_from(
                    &[meta::l4proto(), tcp::dport(), slot],
                    if map == "lb4" { &lb4 } else { &lbs4 },
                )
        };
        self.batch
            .add(
                &Rule::new(&pre)
                    .matching(with_ports())
                    .matching(local())
                    .jump(name("expose")),
            )
            .add(
                &Rule::new(&out)
                    .matching(with_ports())
                    .matching(local())
                    .jump(name("expose_out")),
            )
            .add(
                &Rule::new(&expose_out)
                    .matching(ip::daddr().within(net("127.0.0.0/8")))
                    .lookup_not(&port, &lo_ok)
                    .return_(),
            )
            .add(
                &Rule::new(&expose_out)
                    .matching(ip6::daddr().within(net("::1/128")))
                    .lookup_not(&port, &lo_ok)
                    .return_(),
            )
            .add(&Rule::new(&expose_out).goto(name("expose")))
            .add(
                &Rule::new(&expose)
                    .matching(meta::nfproto().equal(Family::IP))
                    .goto(name("expose4")),
            )
            .add(
                &Rule::new(&expose)
                    .matching(meta::nfproto().equal(Family::IP6))
                    .goto(name("expose6")),
            )
            .add(&Rule::new(&expose4).dnat_from(&port4, &dnat4))
            .add(&Rule::new(&expose4).dnat_from(&port, &dnat4_any))
            .add(&balanced(numgen::incremental(16), "lb4"))
            .add(&balanced(
                numgen::jhash(ip::saddr(), 16, None).unwrap(),
                "lbs4",
            ))
            .add(&Rule::new(&expose4).dnat_from(&port4, &dnat4_rng))
            .add(&Rule::new(&expose6).dnat_from(&port6, &dnat6))
            .add(&Rule::new(&expose6).dnat_from(&port, &dnat6_any))
            .add(&Rule::new(&expose6).dnat_from(&port6, &dnat6_rng))
            .add(
                &Rule::new(&post)
                    .matching(to_tap())
                    .goto(name("to_guest_nat")),
            )
            .add(&Rule::new(&post).matching(from_tap()).masquerade())
            .add(
                &Rule::new(&guest)
                    .lookup(&[ip::saddr(), ip::daddr()], &self4)
                    .masquerade(),
            )
            .add(
                &Rule::new(&guest)
                    .lookup(&[ip6::saddr(), ip6::daddr()], &self6)
                    .masquerade(),
            )
            .add(
                &Rule::new(&guest)
                    .matching(ip::saddr().within(net("127.0.0.0/8")))
                    .masquerade(),
            )
            .add(
                &Rule::new(&guest)
                    .matching(ip6::saddr().equal(std::net::Ipv6Addr::LOCALHOST))
                    .masquerade(),
            );
    }

    pub(super) fn filters(&mut self) {
        let forward = self.base(
            "forward",
            ChainType::FILTER,
            Hook::FORWARD,
            priority::FILTER,
        );
        let (guest, limit, out) = (
            self.chain("to_guest"),
            self.chain("cl_100"),
            self.chain("out_guest"),
        );
        let input = self.base("input", ChainType::FILTER, Hook::INPUT, priority::FILTER);
        let to_host = self.chain("in_guest");
        let sets = [
            "rx4", "climit4", "peer4", "peer6", "cl_live4", "rate4", "tx4", "host_svc",
        ];
        let [rx4, climit4, peer4, peer6, live4, rate4, tx4, host_svc] =
            sets.map(|set| self.set(set));
        let known = || ct::state().any_of(ct::State::ESTABLISHED | ct::State::RELATED);
        let exposed = || ct::status().any_of(ct::Status::DNAT);
        let port4 = [ip::daddr(), meta::l4proto(), th::dport()];
        self.batch
            .add(
                &Rule::new(&forward)
                    .matching(to_tap())
                    .jump(name("to_guest")),
            )
            .add(
                &Rule::new(&forward)
                    .matching(from_tap())
                    .jump(name("out_guest")),
            )
            .add(&Rule::new(&guest).lookup(&[ip::daddr()], &rx4))
            .add(&Rule::new(&guest).matching(known()).accept())
            .add(
                &Rule::new(&guest)
                    .matching(ct::state().any_of(ct::State::INVALID))
                    .drop(),
            )
            .add(
                &Rule::new(&guest)
                    .matching(ct::state().any_of(ct::State::NEW))
                    .matching(exposed())
                    .vmap(&port4, &climit4),
            )
            .add(&Rule::new(&guest).matching(exposed()).accept())
            .add(
                &Rule::new(&guest)
                    .lookup(&[ip::saddr(), ip::daddr()], &peer4)
                    .accept(),
            )
            .add(
                &Rule::new(&guest)
                    .lookup(&[ip6::saddr(), ip6::daddr()], &peer6)
                    .accept(),
            )
            .add(
                &Rule::new(&guest)
                    .counter()
                    .drop()
                    .comment(remark("not exposed")),
            )
            .add(
                &Rule::new(&limit)
                    .add_to_over(&port4, &live4, 100)
                    .counter()
                    .reject(),
            )
            .add(
                &Rule::new(&out)
                    .lookup(&[ip::saddr()], &rate4)
                    .counter()
                    .drop()
                    .comment(remark("rate")),
            )
            .add(&Rule::new(&out).lookup(&[ip::saddr()], &tx4))
            .add(&Rule::new(&out).accept())
            .add(
                &Rule::new(&input)
                    .matching(from_tap())
                    .jump(name("in_guest")),
            )
            .add(&Rule::new(&to_host).matching(known()).accept())
            .add(
                &Rule::new(&to_host)
                    .matching(meta::l4proto().one_of([L4Proto::ICMP, L4Proto::ICMPV6]))
                    .accept(),
            )
            .add(
                &Rule::new(&to_host)
                    .lookup(&[meta::l4proto(), th::dport()], &host_svc)
                    .accept(),
            )
            .add(
                &Rule::new(&to_host)
                    .counter()
                    .drop()
                    .comment(remark("guest to host")),
            );
    }

    pub(super) fn arp(&mut self) {
        let table = Table::new(Family::ARP, self.table.name().clone());
        let guard = Set::new(&table, name("guard"), &[IFNAME, ETHER, IP4]);
        let input = Chain::base(
            &table,
            name("input"),
            ChainType::FILTER,
            Hook::ARP_INPUT,
            priority::FILTER,
        )
        .policy(Policy::ACCEPT);
        self.batch
            .add(&table)
            .add(&guard)
            .add(&input)
            .add(
                &Rule::new(&input)
                    .matching(from_tap())
                    .matching(arp::is_ethernet())
                    .matching(arp::is_ipv4())
                    .lookup(
                        &[meta::iifname(), arp::saddr_ether(), arp::saddr_ip()],
                        &guard,
                    )
                    .accept(),
            )
            .add(&Rule::new(&input).matching(from_tap()).counter().drop());
    }
}
