//! Which packets pass.

use super::{Chains, Layout};
use crate::nft::{Batch, Comment, Family, L4Proto, Rule, ct, meta};

impl Layout {
    /// Guests are closed: only what is exposed, and answers, reach them, and
    /// they reach only the outside. Where forwarding was switched on for
    /// them, nothing else is forwarded than before.
    pub(super) fn filter_rules(&self, chains: &Chains, batch: &mut Batch) {
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
}
