//! Where packets are led.

use std::net::Ipv6Addr;

use super::{Chains, LOOPBACK_IPV4, Layout};
use crate::nft::{Batch, Family, Field, L4Proto, Rule, fib, ip, ip6, meta, th};

impl Layout {
    /// Exposures: the exact host address beats all addresses, of which the
    /// loopback ones are none.
    pub(super) fn nat_rules(&self, chains: &Chains, batch: &mut Batch) {
        let Chains {
            nat_pre,
            nat_out,
            expose_out,
            expose_loopback,
            expose,
            expose4,
            expose6,
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
    }
}
