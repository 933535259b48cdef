//! Which packets pass.

use super::{Chains, Layout};
use crate::nft::expr::{Cmp, CmpOp, Ct, CtKey, Lookup, Meta, MetaKey, Payload, PayloadBase};
use crate::nft::{
    Batch, Chain, Comment, Data, Family, Icmpv6Type, L4Proto, Match, Port, Register, Rule, Set, ct,
    icmpv6, meta, th, udp,
};

impl Layout {
    /// Guests are closed: only what is exposed, answers and peers reach them,
    /// and they reach only the outside, peers and what the host grants them.
    /// Where forwarding was switched on for them, nothing else is forwarded
    /// than before.
    pub(super) fn filter_rules(&self, chains: &Chains, batch: &mut Batch) {
        let Chains {
            forward,
            out_guest,
            to_guest,
            uplink,
            related,
            ..
        } = chains;
        batch.add(&Rule::new(forward).matching(established()).accept());
        batch.add(
            &Rule::new(forward)
                .matching(tells_of_another())
                .matching(self.incoming())
                .goto(related.name().clone()),
        );
        batch.add(&Rule::new(forward).matching(tells_of_another()).accept());
        for (packets, next) in [(self.incoming(), out_guest), (self.outgoing(), to_guest)] {
            batch.add(
                &Rule::new(forward)
                    .matching(packets)
                    .jump(next.name().clone()),
            );
        }
        for (family, uplinks) in [(Family::IP, &self.uplinks4), (Family::IP6, &self.uplinks6)] {
            batch.add(
                &Rule::new(forward)
                    .matching(meta::nfproto().equal(family))
                    .lookup(&[meta::iifname()], uplinks)
                    .goto(uplink.name().clone()),
            );
        }
        self.related_rules(related, batch);
        self.out_guest_rules(chains, batch);
        batch.add(&Rule::new(to_guest).matching(translated()).accept());
        batch.add(&drop_in(to_guest, "not exposed"));
        batch.add(&Rule::new(uplink).matching(translated()).return_());
        batch.add(&drop_in(uplink, "forwarding is on for guests only"));
        self.input_rules(chains, batch);
    }

    /// What a guest tells of a connection: an ICMP error. It can know of its
    /// own only, as the one who began it or the one who answers.
    fn related_rules(&self, related: &Chain, batch: &mut Batch) {
        for direction in [ct::Direction::Original, ct::Direction::Reply] {
            for (family, own) in [(Family::IP, &self.self4), (Family::IP6, &self.self6)] {
                let rule = Rule::new(related).matching(meta::nfproto().equal(family));
                batch.add(&from_its_source(rule, family, direction, own).accept());
            }
        }
        batch.add(&drop_in(related, "of another's connection"));
    }

    /// What a guest begins with others than the host.
    fn out_guest_rules(&self, chains: &Chains, batch: &mut Batch) {
        let Chains {
            out_guest, egress, ..
        } = chains;
        let sets = &self.policy;
        // Nobody would translate it: it would show the guest's own address.
        let stray = Rule::new(out_guest).matching(ct::state().any_of(ct::State::INVALID));
        batch.add(&dropped(stray, "of no connection"));
        for [server, client] in [[67, 68], [547, 546]] {
            let answer = Rule::new(out_guest)
                .matching(udp::sport().equal(Port(server)))
                .matching(udp::dport().equal(Port(client)));
            batch.add(&dropped(answer, "guest as dhcp server"));
        }
        batch.add(
            &Rule::new(out_guest)
                .lookup(&[meta::iifname(), meta::oifname()], &sets.peers)
                .accept(),
        );
        batch.add(
            &Rule::new(out_guest)
                .lookup(&[meta::iifname()], &sets.closed)
                .goto(egress.name().clone()),
        );
        for (address, prefixes) in [
            (CtKey::DST_IP, &sets.egress4),
            (CtKey::DST_IP6, &sets.egress6),
        ] {
            batch.add(&asked_for(Rule::new(egress), address, prefixes).return_());
        }
        batch.add(&drop_in(egress, "egress"));
    }

    /// What a guest sends to the host itself.
    fn input_rules(&self, chains: &Chains, batch: &mut Batch) {
        let Chains {
            input,
            in_guest,
            related,
            ..
        } = chains;
        batch.add(
            &Rule::new(input)
                .matching(self.incoming())
                .jump(in_guest.name().clone()),
        );
        batch.add(&Rule::new(in_guest).matching(established()).accept());
        batch.add(
            &Rule::new(in_guest)
                .matching(tells_of_another())
                .goto(related.name().clone()),
        );
        batch.add(&echo_request(Rule::new(in_guest)).accept());
        batch.add(
            &Rule::new(in_guest)
                .matching(icmpv6::kind().one_of([
                    Icmpv6Type::from_raw(ICMPV6_ECHO_REQUEST),
                    Icmpv6Type::ND_ROUTER_SOLICIT,
                    Icmpv6Type::ND_NEIGHBOR_SOLICIT,
                    Icmpv6Type::ND_NEIGHBOR_ADVERT,
                ]))
                .accept(),
        );
        let port = [meta::iifname(), meta::l4proto(), th::dport()];
        batch.add(
            &Rule::new(in_guest)
                .lookup(&port, &self.policy.services)
                .accept(),
        );
        batch.add(&drop_in(in_guest, "guest to host"));
    }
}

/// Whether the packet belongs to a connection that was let through.
fn established() -> Match {
    ct::state().any_of(ct::State::ESTABLISHED)
}

/// Whether the packet tells of a connection that was let through, or begins
/// one that another has announced.
fn tells_of_another() -> Match {
    ct::state().any_of(ct::State::RELATED)
}

/// Whether the connection was led elsewhere than it asked for.
fn translated() -> Match {
    ct::status().any_of(ct::Status::DNAT)
}

fn drop_in(chain: &Chain, why: &'static str) -> Rule {
    dropped(Rule::new(chain), why)
}

fn dropped(rule: Rule, why: &'static str) -> Rule {
    rule.counter().drop().comment(Comment::constant(why))
}

/// Goes on only if the guest may reach the address that it asked for, before
/// an exposure led it elsewhere: `iifname . ct original ip daddr`. Packets of
/// the other family do not have that.
fn asked_for(rule: Rule, address: CtKey, prefixes: &Set) -> Rule {
    let Some(behind_name) = Register::slot(4) else {
        return rule;
    };
    rule.expression(Meta::new(Register::FIRST, MetaKey::IIFNAME))
        .expression(Ct::new(behind_name, address).with_direction(ct::Direction::Original.as_raw()))
        .expression(Lookup::new(prefixes.name().clone(), Register::FIRST))
}

/// Goes on only if the packet comes from a guest's address from which the
/// connection's packets of this direction come as well: `ip saddr . ct
/// original ip saddr`, both the same.
fn from_its_source(rule: Rule, family: Family, direction: ct::Direction, own: &Set) -> Rule {
    let (offset, width, key, slot) = if family == Family::IP {
        (12, 4, CtKey::SRC_IP, 1)
    } else {
        (8, 16, CtKey::SRC_IP6, 4)
    };
    let Some(second) = Register::slot(slot) else {
        return rule;
    };
    let address = Payload::new(Register::FIRST, PayloadBase::NETWORK, offset, width);
    rule.expression(address)
        .expression(Ct::new(second, key).with_direction(direction.as_raw()))
        .expression(Lookup::new(own.name().clone(), Register::FIRST))
}

/// `icmp type echo-request`.
fn echo_request(rule: Rule) -> Rule {
    let kind = Payload::new(Register::FIRST, PayloadBase::TRANSPORT, 0, 1);
    let wanted = Data::from_bytes(&[ICMP_ECHO_REQUEST]).map_or(Data::EMPTY, |data| data);
    rule.matching(meta::nfproto().equal(Family::IP))
        .matching(meta::l4proto().equal(L4Proto::ICMP))
        .expression(kind)
        .expression(Cmp::new(Register::FIRST, CmpOp::EQ, wanted))
}

/// `ICMP_ECHO` of `linux/icmp.h`.
const ICMP_ECHO_REQUEST: u8 = 8;

/// `ICMPV6_ECHO_REQUEST` of `linux/icmpv6.h`.
const ICMPV6_ECHO_REQUEST: u8 = 128;
