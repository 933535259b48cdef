//! Behind which address packets leave, and how many reach a guest.

use super::{Chains, LOOPBACK_IPV4, Layout};
use crate::nft::{Batch, Comment, Rule, ip, ip6, meta};

impl Layout {
    /// What leads to a guest keeps its source, unless it comes from the guest
    /// itself or from a loopback address, to which no guest could answer.
    /// What leaves a guest for elsewhere gets an address of the host.
    pub(super) fn egress_rules(&self, chains: &Chains, batch: &mut Batch) {
        let Chains {
            nat_post,
            to_guest_nat,
            from_guest_nat,
            deliver,
            ..
        } = chains;
        let sets = &self.policy;
        for (packets, next) in [
            (self.outgoing(), to_guest_nat),
            (self.incoming(), from_guest_nat),
        ] {
            batch.add(
                &Rule::new(nat_post)
                    .matching(packets)
                    .goto(next.name().clone()),
            );
        }
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
        for sources in [&sets.snat4, &sets.snat6] {
            batch.add(&Rule::new(from_guest_nat).snat_from(&[meta::iifname()], sources));
        }
        batch.add(&Rule::new(from_guest_nat).masquerade());
        // Here the host's own packets come by as well as forwarded ones.
        batch.add(
            &Rule::new(deliver)
                .matching(self.outgoing())
                .lookup(&[meta::oifname()], &sets.rate_to)
                .counter()
                .drop()
                .comment(Comment::constant("rate to guest")),
        );
    }
}
