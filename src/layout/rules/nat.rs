//! Where packets are led.

use std::net::Ipv6Addr;

use super::{Chains, LOOPBACK_IPV4, Layout};
use crate::layout::Side;
use crate::nft::{Batch, Comment, Family, L4Proto, Rule, fib, ip, ip6, meta};

impl Layout {
    /// Exposures: the exact host address beats all addresses, of which the
    /// loopback ones are none, and both beat large ranges.
    ///
    /// Each lookup sees the elements of its own moment, behind rules that are
    /// those of the moment in which the packet came to their base chain. A
    /// packet that asks for the exact address before an exposure moves there,
    /// and for all addresses after it, would find it nowhere; nor would one
    /// whose rules still lead to a map that is being replaced by a larger one.
    /// So what finds nothing asks once more, from a base chain of its own.
    pub(super) fn nat_rules(&self, chains: &Chains, batch: &mut Batch) {
        let Chains {
            nat_pre,
            nat_pre_again,
            nat_out,
            nat_out_again,
            expose_out,
            expose_loopback,
            expose,
            expose4,
            expose6,
            ..
        } = chains;
        for (chain, next) in [
            (nat_pre, expose),
            (nat_pre_again, expose),
            (nat_out, expose_out),
            (nat_out_again, expose_out),
        ] {
            batch.add(
                &Rule::new(chain)
                    .matching(meta::l4proto().one_of(EXPOSED))
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
        for (family, ways) in [(Family::IP, expose4), (Family::IP6, expose6)] {
            batch.add(
                &Rule::new(expose)
                    .matching(meta::nfproto().equal(family))
                    .goto(ways.name().clone()),
            );
        }
        let lookups = |side: &Side| match (side.ipv4, side.exact) {
            (true, true) => vec![expose_loopback, expose4],
            (true, false) => vec![expose4],
            (false, _) => vec![expose6],
        };
        for side in &self.sides {
            special_rules(side, batch);
            for chain in lookups(side) {
                batch.add(
                    &Rule::new(chain)
                        .lookup(&side.key(), &side.special)
                        .goto(side.special_chain().name().clone()),
                );
                batch.add(&Rule::new(chain).dnat_from(&side.key(), &side.dnat));
            }
        }
        for side in &self.sides {
            for chain in lookups(side) {
                batch.add(&Rule::new(chain).dnat_from(&side.key(), &side.ranges));
            }
        }
    }
}

/// The chains for what is more than a way to one guest: who may connect, how
/// many at once, and which of several guests.
fn special_rules(side: &Side, batch: &mut Batch) {
    let (special, allowed) = (side.special_chain(), side.allowed_chain());
    batch.add(special).add(allowed);
    let source = if side.ipv4 { ip::saddr() } else { ip6::saddr() };
    let behind = |field| [side.key().as_slice(), &[field]].concat();
    batch.add(
        &Rule::new(allowed)
            .lookup(&behind(source), &side.allow)
            .return_(),
    );
    batch.add(
        &Rule::new(allowed)
            .counter()
            .drop()
            .comment(Comment::constant("source not allowed")),
    );
    batch.add(
        &Rule::new(special)
            .lookup(&side.key(), &side.restricted)
            .jump(allowed.name().clone()),
    );
    batch.add(&Rule::new(special).vmap(&side.key(), &side.limits));
    batch.add(&Rule::new(special).dnat_from(&behind(Side::turn()), &side.turns));
    batch.add(&Rule::new(special).dnat_from(&behind(side.hash()), &side.sources));
    batch.add(&Rule::new(special).dnat_from(&side.key(), &side.dnat));
}

/// What [`Protocol`](crate::Protocol) has.
const EXPOSED: [L4Proto; 3] = [L4Proto::TCP, L4Proto::UDP, L4Proto::SCTP];
