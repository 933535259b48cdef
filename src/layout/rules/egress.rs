//! Behind which address packets leave, and how many reach a guest.

use super::{Chains, LOOPBACK_IPV4, Layout};
use crate::nft::{Batch, Comment, Rule, ct, ip, ip6, meta};

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
        self.elsewhere_rules(chains, batch);
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

    /// What is led to a guest elsewhere gets an address of the host if the
    /// guest would not answer by way of it otherwise: from itself, from its
    /// own link, and from loopback addresses. (From itself apart: where a
    /// bridge has rules applied to its frames, they tell no interface here.)
    fn elsewhere_rules(&self, chains: &Chains, batch: &mut Batch) {
        let sets = &self.elsewhere;
        let to = || Rule::new(&chains.nat_post);
        let ends4 = [ip::saddr(), ip::daddr()];
        let ends6 = [ip6::saddr(), ip6::daddr()];
        batch.add(&to().lookup(&ends4, &self.self4).masquerade());
        batch.add(&to().lookup(&ends6, &self.self6).masquerade());
        for (address, behind) in [(ip::daddr(), &sets.behind4), (ip6::daddr(), &sets.behind6)] {
            batch.add(
                &to()
                    .matching(ct::status().any_of(ct::Status::DNAT))
                    .lookup(&[address, meta::iifname()], behind)
                    .masquerade(),
            );
        }
        batch.add(
            &to()
                .matching(ip::saddr().within(LOOPBACK_IPV4))
                .lookup(&[ip::daddr(), ip::daddr()], &self.self4)
                .masquerade(),
        );
    }
}
