//! The addresses that the VM believes in, and those that the host knows.
//!
//! Source and destination change where routing has to see the VM's own: what
//! is for it before, what is from it after. So errors that arise in between
//! are about the VM's own addresses, and are translated like any other.

use std::net::IpAddr;

use super::Inside;
use super::guard::{icmp_errors, icmpv6_errors, neighbours};
use crate::layout::told::{Party, Told};
use crate::nft::{
    Batch, Chain, ChainType, Family, Field, Hook, Match, Name, Policy, Rule, ip, ip6, meta,
    priority,
};

impl Inside<'_> {
    /// Translates packets in both directions, and what errors tell of them.
    pub(super) fn translation_rules(&self, batch: &mut Batch) {
        let base = |name, hook, priority| {
            let name = Name::constant(name);
            Chain::base(&self.table, name, ChainType::FILTER, hook, priority).policy(Policy::ACCEPT)
        };
        let chains = Chains {
            prerouting: base("prerouting", Hook::PREROUTING, priority::RAW),
            to_guest: self.chain("to_guest"),
            from_guest: self.chain("from_guest"),
        };
        let postrouting = base("postrouting", Hook::POSTROUTING, priority::SRCNAT);
        let Chains {
            prerouting,
            to_guest,
            from_guest,
        } = &chains;
        for chain in [prerouting, to_guest, from_guest, &postrouting] {
            batch.create(chain);
        }
        let (tap, uplink) = (self.snapshot.tap(), self.uplink);
        for (link, chain) in [(tap, to_guest), (uplink, from_guest)] {
            let leaves = Rule::new(&postrouting).matching(meta::oifname().equal(link));
            batch.add(&leaves.goto(chain.name().clone()));
        }
        if self.ipv6().is_some() {
            // The gateway itself is looked for on the link.
            let own = Rule::new(prerouting).matching(meta::iifname().equal(tap));
            batch.add(&neighbours(own).accept());
        }
        for names in self.names() {
            self.translate(names, &chains, batch);
            self.retell(names, &chains, batch);
        }
    }

    /// Translates the packets of a family.
    fn translate(&self, names: Names, chains: &Chains, batch: &mut Batch) {
        let Names { vm, host, between } = names;
        let Chains {
            prerouting,
            to_guest,
            from_guest,
        } = chains;
        let (tap, uplink) = (self.snapshot.tap(), self.uplink);
        let [saddr, daddr] = names.fields();
        let enters = |link, field: Field, is, becomes| {
            let from = Rule::new(prerouting).matching(meta::iifname().equal(link));
            rewritten(from, field, is, becomes)
        };
        batch.add(&enters(uplink, daddr, host.guest, vm.guest));
        // All that leaves is the guest's, or an error about its packets.
        batch.add(&Rule::new(from_guest).set(saddr, host.guest));
        // One that is link-local, the namespace answers for.
        if !names.is_link_local() {
            batch.add(&enters(uplink, saddr, host.gateway, between));
            batch.add(&enters(tap, daddr, vm.gateway, between));
            batch.add(&rewritten(Rule::new(to_guest), saddr, between, vm.gateway));
            batch.add(&rewritten(
                Rule::new(from_guest),
                daddr,
                between,
                host.gateway,
            ));
        }
    }

    /// Translates what errors of a family tell, behind the errors themselves.
    /// An error goes to who sent the packet that it is about, and comes from
    /// the guest if it got that packet: who has the new name by now.
    fn retell(&self, names: Names, chains: &Chains, batch: &mut Batch) {
        let Names { vm, host, between } = names;
        let told = Told::of(names.family());
        let [to_guest, by_guest] = match names.family() {
            Family::IP => ["told4_to_guest", "told4_by_guest"],
            _ => ["told6_to_guest", "told6_by_guest"],
        }
        .map(|name| self.chain(name));
        for (chain, told) in [
            (&chains.to_guest, &to_guest),
            (&chains.from_guest, &by_guest),
        ] {
            batch.create(told);
            batch.add(&names.errors(Rule::new(chain)).jump(told.name().clone()));
        }
        batch.add(&told.copy(&to_guest, Party::Destination));
        batch.add(&told.copy(&by_guest, Party::Source));
        if !names.is_link_local() {
            for gateway in [host.gateway, between] {
                batch.add(&told.rename(&to_guest, Party::Destination, gateway, vm.gateway));
            }
            batch.add(&told.rename(&by_guest, Party::Source, vm.gateway, host.gateway));
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

/// Where packets of both families are translated.
struct Chains {
    prerouting: Chain,
    to_guest: Chain,
    from_guest: Chain,
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
    fn family(&self) -> Family {
        match self.between {
            IpAddr::V4(_) => Family::IP,
            IpAddr::V6(_) => Family::IP6,
        }
    }

    /// Whether the packet tells of an error.
    fn errors(&self, rule: Rule) -> Rule {
        match self.between {
            IpAddr::V4(_) => icmp_errors(rule),
            IpAddr::V6(_) => icmpv6_errors(rule),
        }
    }

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
