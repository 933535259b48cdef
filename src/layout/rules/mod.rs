//! The rules. They hold no name but the owner's TAP prefix and never change.

mod clones;
mod egress;
mod filter;
mod guard;
mod nat;

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::Layout;
use crate::nft::{Batch, Chain, ChainType, Hook, Match, Name, Policy, Table, meta, priority};
use crate::types::IfName;

impl Layout {
    /// Adds the chains of the `inet` table, if they are not there, and their
    /// rules.
    pub(crate) fn add_rules(&self, batch: &mut Batch) {
        let chains = Chains::new(&self.table);
        for chain in chains.all() {
            batch.add(chain);
        }
        self.guard_rules(&chains, batch);
        self.clone_rules(&chains, batch);
        self.nat_rules(&chains, batch);
        self.egress_rules(&chains, batch);
        self.filter_rules(&chains, batch);
    }

    /// Whether the packet comes from a guest.
    fn incoming(&self) -> Match {
        meta::iifname().starts_with(&self.tap_prefix)
    }

    /// Whether the packet goes to a guest.
    fn outgoing(&self) -> Match {
        meta::oifname().starts_with(&self.tap_prefix)
    }
}

/// The chains of the `inet` table.
struct Chains {
    raw_pre: Chain,
    from_guest: Chain,
    clone_in: Chain,
    clone_out: Chain,
    error_in4: Chain,
    error_in6: Chain,
    error_out4: Chain,
    error_out6: Chain,
    gateway_asked: Chain,
    gateway_found: Chain,
    gateway_told4: Chain,
    gateway_told6: Chain,
    nat_pre: Chain,
    nat_pre_again: Chain,
    nat_out: Chain,
    nat_out_again: Chain,
    expose_out: Chain,
    expose_loopback: Chain,
    expose: Chain,
    expose4: Chain,
    expose6: Chain,
    nat_post: Chain,
    to_guest_nat: Chain,
    from_guest_nat: Chain,
    deliver: Chain,
    forward: Chain,
    related: Chain,
    out_guest: Chain,
    egress: Chain,
    to_guest: Chain,
    uplink: Chain,
    input: Chain,
    in_guest: Chain,
}

impl Chains {
    fn new(table: &Table) -> Self {
        let chain = |name| Chain::new(table, Name::constant(name));
        let base = |name, kind, hook, priority| {
            Chain::base(table, Name::constant(name), kind, hook, priority).policy(Policy::ACCEPT)
        };
        Self {
            raw_pre: base(
                "raw_pre",
                ChainType::FILTER,
                Hook::PREROUTING,
                BEFORE_DEFRAGMENTATION,
            ),
            from_guest: chain("from_guest"),
            clone_in: base(
                "clone_in",
                ChainType::FILTER,
                Hook::PREROUTING,
                BEHIND_GUARD,
            ),
            clone_out: base(
                "clone_out",
                ChainType::FILTER,
                Hook::POSTROUTING,
                BEHIND_TRANSLATION,
            ),
            error_in4: chain("error_in4"),
            error_in6: chain("error_in6"),
            error_out4: chain("error_out4"),
            error_out6: chain("error_out6"),
            gateway_asked: chain("gateway_asked"),
            gateway_found: chain("gateway_found"),
            gateway_told4: chain("gateway_told4"),
            gateway_told6: chain("gateway_told6"),
            nat_pre: base("nat_pre", ChainType::NAT, Hook::PREROUTING, BEFORE_DSTNAT),
            nat_pre_again: base(
                "nat_pre_again",
                ChainType::NAT,
                Hook::PREROUTING,
                AGAIN_BEFORE_DSTNAT,
            ),
            nat_out: base("nat_out", ChainType::NAT, Hook::OUTPUT, BEFORE_DSTNAT),
            nat_out_again: base(
                "nat_out_again",
                ChainType::NAT,
                Hook::OUTPUT,
                AGAIN_BEFORE_DSTNAT,
            ),
            expose_out: chain("expose_out"),
            expose_loopback: chain("expose_loopback"),
            expose: chain("expose"),
            expose4: chain("expose4"),
            expose6: chain("expose6"),
            nat_post: base("nat_post", ChainType::NAT, Hook::POSTROUTING, BEFORE_SRCNAT),
            to_guest_nat: chain("to_guest_nat"),
            from_guest_nat: chain("from_guest_nat"),
            deliver: base(
                "deliver",
                ChainType::FILTER,
                Hook::POSTROUTING,
                priority::MANGLE,
            ),
            forward: base(
                "forward",
                ChainType::FILTER,
                Hook::FORWARD,
                priority::FILTER,
            ),
            related: chain("related"),
            out_guest: chain("out_guest"),
            egress: chain("egress"),
            to_guest: chain("to_guest"),
            uplink: chain("uplink"),
            input: base("input", ChainType::FILTER, Hook::INPUT, priority::FILTER),
            in_guest: chain("in_guest"),
        }
    }

    fn all(&self) -> [&Chain; 33] {
        [
            &self.raw_pre,
            &self.from_guest,
            &self.clone_in,
            &self.clone_out,
            &self.error_in4,
            &self.error_in6,
            &self.error_out4,
            &self.error_out6,
            &self.gateway_asked,
            &self.gateway_found,
            &self.gateway_told4,
            &self.gateway_told6,
            &self.nat_pre,
            &self.nat_pre_again,
            &self.nat_out,
            &self.nat_out_again,
            &self.expose_out,
            &self.expose_loopback,
            &self.expose,
            &self.expose4,
            &self.expose6,
            &self.nat_post,
            &self.to_guest_nat,
            &self.from_guest_nat,
            &self.deliver,
            &self.forward,
            &self.related,
            &self.out_guest,
            &self.egress,
            &self.to_guest,
            &self.uplink,
            &self.input,
            &self.in_guest,
        ]
    }
}

/// Fragments are put together at -400, whichever interfaces they came in by:
/// who sent them must be seen before.
const BEFORE_DEFRAGMENTATION: i32 = -450;

/// Behind the guard, but still before fragments are put together.
const BEHIND_GUARD: i32 = -425;

/// Behind all that translates or filters: connections are not told.
const BEHIND_TRANSLATION: i32 = 300;

/// Before Docker's and kube-proxy's translations, which are at -100: the
/// lower number decides.
const BEFORE_DSTNAT: i32 = -105;
const AGAIN_BEFORE_DSTNAT: i32 = BEFORE_DSTNAT + 1;

/// Before others' masquerading, which is at 100.
const BEFORE_SRCNAT: i32 = 95;

const LOOPBACK: IfName = IfName::constant("lo");
const LOOPBACK_IPV4: IpNet = IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8));
pub(super) const LINK_LOCAL: IpNet = IpNet::V6(Ipv6Net::new_assert(
    Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0),
    10,
));
