//! The addresses that the VM believes in, and those that the host knows.
//!
//! Source and destination change where routing has to see the VM's own: what
//! is for it before, what is from it after. So errors that arise in between
//! are about the VM's own addresses, and are translated like any other.

use std::net::IpAddr;

use super::Inside;
use super::guard::{icmp_errors, icmpv6_errors, neighbours};
use crate::nft::expr::{ChecksumType, Cmp, CmpOp, Immediate, Payload, PayloadBase, PayloadSet};
use crate::nft::{
    Batch, Chain, ChainType, Data, Field, Hook, Match, Name, Policy, Register, Rule, ip, ip6, meta,
    priority,
};

impl Inside<'_> {
    /// Translates packets in both directions, and what errors tell of them.
    pub(super) fn translation_rules(&self, batch: &mut Batch) {
        let base = |name, hook, priority| {
            let name = Name::constant(name);
            Chain::base(&self.table, name, ChainType::FILTER, hook, priority).policy(Policy::ACCEPT)
        };
        let prerouting = base("prerouting", Hook::PREROUTING, priority::RAW);
        let postrouting = base("postrouting", Hook::POSTROUTING, priority::SRCNAT);
        let [to_guest, from_guest] = ["to_guest", "from_guest"].map(|name| self.chain(name));
        let [told_to_guest, told_by_guest] =
            ["told_to_guest", "told_by_guest"].map(|name| self.chain(name));
        for chain in [
            &prerouting,
            &to_guest,
            &from_guest,
            &told_to_guest,
            &told_by_guest,
            &postrouting,
        ] {
            batch.create(chain);
        }
        let (tap, uplink) = (self.snapshot.tap(), self.uplink);
        for (link, chain) in [(tap, &to_guest), (uplink, &from_guest)] {
            let leaves = meta::oifname().equal(link);
            batch.add(
                &Rule::new(&postrouting)
                    .matching(leaves)
                    .goto(chain.name().clone()),
            );
        }
        if self.ipv6().is_some() {
            // The gateway itself is looked for on the link.
            let own = Rule::new(&prerouting).matching(meta::iifname().equal(tap));
            batch.add(&neighbours(own).accept());
        }
        for (chain, told) in [(&to_guest, &told_to_guest), (&from_guest, &told_by_guest)] {
            batch.add(&icmp_errors(Rule::new(chain)).jump(told.name().clone()));
            if self.ipv6().is_some() {
                batch.add(&icmpv6_errors(Rule::new(chain)).jump(told.name().clone()));
            }
        }
        for names in self.names() {
            let Names { vm, host, between } = names;
            let [saddr, daddr] = names.fields();
            let enters = |link, field: Field, is, becomes| {
                rewritten(
                    Rule::new(&prerouting).matching(meta::iifname().equal(link)),
                    field,
                    is,
                    becomes,
                )
            };
            batch.add(&enters(uplink, daddr, host.guest, vm.guest));
            // All that leaves is the guest's, or an error about its packets.
            batch.add(&Rule::new(&from_guest).set(saddr, host.guest));
            let told = |chain, place, is, becomes| retold(Rule::new(chain), place, is, becomes);
            batch.add(&told(&told_to_guest, SOURCE, host.guest, vm.guest));
            batch.add(&told(&told_by_guest, DESTINATION, vm.guest, host.guest));
            if names.is_link_local() {
                // The namespace answers for it.
                continue;
            }
            batch.add(&enters(uplink, saddr, host.gateway, between));
            batch.add(&enters(tap, daddr, vm.gateway, between));
            batch.add(&rewritten(Rule::new(&to_guest), saddr, between, vm.gateway));
            batch.add(&rewritten(
                Rule::new(&from_guest),
                daddr,
                between,
                host.gateway,
            ));
            for gateway in [host.gateway, between] {
                batch.add(&told(&told_to_guest, DESTINATION, gateway, vm.gateway));
            }
            batch.add(&told(&told_by_guest, SOURCE, vm.gateway, host.gateway));
        }
    }

    /// Who is who, in each family that the VM has.
    fn names(&self) -> impl Iterator<Item = Names> {
        let Self {
            clone, snapshot, ..
        } = self;
        let ipv4 = Names {
            vm: Pair {
                guest: snapshot.ipv4_net().addr().into(),
                gateway: snapshot.gateway_ipv4().into(),
            },
            host: Pair {
                guest: clone.ipv4.into(),
                gateway: clone.gateway_ipv4.into(),
            },
            between: self.next_ipv4.into(),
        };
        let ipv6 = self.ipv6().map(|(guest, gateway)| Names {
            vm: Pair {
                guest: guest.into(),
                gateway: gateway.into(),
            },
            host: Pair {
                guest: clone.ipv6.into(),
                gateway: clone.gateway_ipv6.into(),
            },
            between: self.next_ipv6.into(),
        });
        [Some(ipv4), ipv6].into_iter().flatten()
    }
}

/// The guest and its gateway by the addresses of one side.
#[derive(Debug, Clone, Copy)]
struct Pair {
    guest: IpAddr,
    gateway: IpAddr,
}

/// The same two by those that the VM believes in, those that the host knows,
/// and the gateway while a packet is on its way through the namespace.
#[derive(Debug, Clone, Copy)]
struct Names {
    vm: Pair,
    host: Pair,
    between: IpAddr,
}

impl Names {
    /// Source and destination of the family.
    fn fields(&self) -> [Field; 2] {
        match self.between {
            IpAddr::V4(_) => [ip::saddr(), ip::daddr()],
            IpAddr::V6(_) => [ip6::saddr(), ip6::daddr()],
        }
    }

    /// Whether the VM speaks with its gateway on its own link only.
    fn is_link_local(&self) -> bool {
        matches!(self.vm.gateway, IpAddr::V6(gateway) if gateway.is_unicast_link_local())
    }
}

/// `ip daddr OLD ip daddr set NEW`.
fn rewritten(rule: Rule, field: Field, old: IpAddr, new: IpAddr) -> Rule {
    let is: Match = field.equal(old);
    rule.matching(is).set(field, new)
}

/// Within the error that a packet tells: the address of the packet that it is
/// about. Its checksums stay right: IPv4 has one of its own in the header
/// within, whose sum, and so that of the error, stays what it was; `ICMPv6` sums
/// up all of the error.
fn retold(rule: Rule, place: usize, old: IpAddr, new: IpAddr) -> Rule {
    let base = PayloadBase::TRANSPORT;
    let (offsets, width, checksum) = match old {
        IpAddr::V4(_) => ([20, 24], 4, 18),
        IpAddr::V6(_) => ([16, 32], 16, 2),
    };
    let offset = offsets.get(place).copied().unwrap_or_default();
    let family = match old {
        IpAddr::V4(_) => crate::nft::Family::IP,
        IpAddr::V6(_) => crate::nft::Family::IP6,
    };
    let write = PayloadSet::new(Register::FIRST, base, offset, width)
        .with_checksum(ChecksumType::INET)
        .with_checksum_offset(checksum);
    rule.matching(meta::nfproto().equal(family))
        .expression(Payload::new(Register::FIRST, base, offset, width))
        .expression(Cmp::new(Register::FIRST, CmpOp::EQ, Data::from(old)))
        .expression(Immediate::new(Register::FIRST, Data::from(new).into()))
        .expression(write)
}

/// The places of the addresses in a header.
const SOURCE: usize = 0;
const DESTINATION: usize = 1;
