//! What the VM may send, and what the namespace itself.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::Inside;
use crate::layout::rules::LINK_LOCAL;
use crate::nft::expr::{Cmp, CmpOp, Meta, MetaKey, Payload, PayloadBase};
use crate::nft::{
    Batch, Chain, ChainType, Comment, Data, Hook, Icmpv6Type, L4Proto, Name, Policy, Register,
    Rule, arp, ether, icmpv6, ip, ip6, meta, priority,
};

impl Inside<'_> {
    /// Before anything else sees it, whatever it is: only the VM's own MAC
    /// and addresses come in by the TAP.
    pub(super) fn guard_rules(&self, batch: &mut Batch) {
        let chain = Chain::base(
            &self.guard,
            Name::constant("from_guest"),
            ChainType::FILTER,
            Hook::NETDEV_INGRESS,
            priority::FILTER,
        )
        .device(self.snapshot.tap())
        .policy(Policy::ACCEPT);
        batch.create(&chain);
        let rule = || Rule::new(&chain);
        let mac = self.snapshot.mac();
        let ipv4 = self.snapshot.ipv4_net().addr();
        let is_arp = || {
            frame(rule(), ETH_P_ARP)
                .matching(arp::is_ethernet())
                .matching(arp::is_ipv4())
        };
        batch.add(
            &is_arp()
                .matching(ether::saddr().equal(mac))
                .matching(arp::saddr_ether().equal(mac))
                .matching(arp::saddr_ip().equal(ipv4))
                .accept(),
        );
        // Who asks whether an address is taken (RFC 5227) claims none yet.
        batch.add(
            &is_arp()
                .matching(arp::saddr_ip().equal(Ipv4Addr::UNSPECIFIED))
                .drop(),
        );
        batch.add(&dropped(frame(rule(), ETH_P_ARP), "spoof over arp"));
        batch.add(&dropped(
            rule().matching(ether::saddr().not_equal(mac)),
            SPOOF,
        ));
        batch.add(&rule().matching(ip::saddr().equal(ipv4)).accept());
        if let Some((ipv6, _)) = self.ipv6() {
            batch.add(&rule().matching(ip6::saddr().equal(ipv6)).accept());
            self.discovery_rules(&chain, batch);
        }
        batch.add(&dropped(rule(), SPOOF));
    }

    /// What a VM with IPv6 says on its link before it has an address, or from
    /// one that it made up.
    fn discovery_rules(&self, chain: &Chain, batch: &mut Batch) {
        let link_local = || Rule::new(chain).matching(ip6::saddr().within(LINK_LOCAL));
        let unspecified = || Rule::new(chain).matching(ip6::saddr().equal(Ipv6Addr::UNSPECIFIED));
        for rule in [link_local(), unspecified()] {
            batch.add(&neighbours(rule).accept());
        }
        if self.answers_itself() {
            let echo = icmpv6::kind().equal(Icmpv6Type::from_raw(ICMPV6_ECHO_REQUEST));
            batch.add(&link_local().matching(echo).accept());
        }
        batch.add(&dropped(link_local(), "link-local"));
    }

    /// What ends in the namespace, and what begins there: neighbours are
    /// found, a link-local gateway is answered for, and errors about the VM's
    /// packets are told. Nothing else, whoever opens a socket here.
    pub(super) fn own_rules(&self, batch: &mut Batch) {
        let base = |name, hook, policy| {
            let name = Name::constant(name);
            Chain::base(&self.table, name, ChainType::FILTER, hook, priority::FILTER).policy(policy)
        };
        let input = base("input", Hook::INPUT, Policy::DROP);
        let output = base("output", Hook::OUTPUT, Policy::DROP);
        let tap = self.snapshot.tap();
        batch.create(&input);
        batch.create(&output);
        let echo = |kind| icmpv6::kind().equal(Icmpv6Type::from_raw(kind));
        if self.ipv6().is_some() {
            let from_tap = || Rule::new(&input).matching(meta::iifname().equal(tap));
            batch.add(&neighbours(from_tap()).accept());
            if self.answers_itself() {
                batch.add(&from_tap().matching(echo(ICMPV6_ECHO_REQUEST)).accept());
            }
        }
        batch.add(&dropped(
            Rule::new(&input).matching(meta::iifname().equal(tap)),
            "guest to namespace",
        ));
        batch.add(&icmp_errors(Rule::new(&output)).accept());
        if self.ipv6().is_some() {
            batch.add(&icmpv6_errors(Rule::new(&output)).accept());
            let to_tap = || Rule::new(&output).matching(meta::oifname().equal(tap));
            batch.add(&neighbours(to_tap()).accept());
            if self.answers_itself() {
                batch.add(&to_tap().matching(echo(ICMPV6_ECHO_REPLY)).accept());
            }
        }
    }
}

fn dropped(rule: Rule, why: &'static str) -> Rule {
    rule.counter().drop().comment(Comment::constant(why))
}

/// Whether it is a frame of this kind.
fn frame(rule: Rule, kind: u16) -> Rule {
    let wanted = Data::from_bytes(&kind.to_be_bytes()).unwrap_or(Data::EMPTY);
    rule.expression(Meta::new(Register::FIRST, MetaKey::PROTOCOL))
        .expression(Cmp::new(Register::FIRST, CmpOp::EQ, wanted))
}

/// Whether it solicits or is a neighbour.
pub(super) fn neighbours(rule: Rule) -> Rule {
    let [first, last] = [
        Icmpv6Type::ND_NEIGHBOR_SOLICIT,
        Icmpv6Type::ND_NEIGHBOR_ADVERT,
    ];
    rule.matching(icmpv6::kind().between(first, last))
}

/// `icmp type` is that of an error: neither that of an echo nor of its answer,
/// besides which there is nothing but errors in use.
pub(super) fn icmp_errors(rule: Rule) -> Rule {
    let byte = |value: u8| Data::from_bytes(&[value]).unwrap_or(Data::EMPTY);
    let kind = Payload::new(Register::FIRST, PayloadBase::TRANSPORT, 0, 1);
    let is_not = |kind| Cmp::new(Register::FIRST, CmpOp::NEQ, byte(kind));
    rule.matching(meta::l4proto().equal(L4Proto::ICMP))
        .expression(kind)
        .expression(is_not(ICMP_ECHO_REQUEST))
        .expression(is_not(ICMP_ECHO_REPLY))
}

/// `icmpv6 type` is that of an error.
pub(super) fn icmpv6_errors(rule: Rule) -> Rule {
    let [first, last] = [1, 4].map(Icmpv6Type::from_raw);
    rule.matching(icmpv6::kind().between(first, last))
}

const SPOOF: &str = "spoof";
const ETH_P_ARP: u16 = 0x0806;
const ICMP_ECHO_REQUEST: u8 = 8;
const ICMP_ECHO_REPLY: u8 = 0;
const ICMPV6_ECHO_REQUEST: u8 = 128;
const ICMPV6_ECHO_REPLY: u8 = 129;
