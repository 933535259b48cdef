//! What is in the network namespace of a clone: its links, its addresses and
//! its static rules.
//!
//! ```text
//!  VM ── TAP of the snapshot's name ── (translation) ── eth0 ══ host's end
//! ```
//!
//! The namespace forwards between the two and translates, without tracking
//! connections, between the addresses that the VM believes in and those that
//! the host knows. It has no address that the host knows, so that these may
//! be the same ones: what the VM sends to its gateway is led to the host by
//! an address that exists here only, and what the VM does not send itself
//! leaves as an error about one of its packets or not at all.

mod guard;
mod translation;

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::error::Invalid;
use crate::guest::{Attachment, Snapshot};
use crate::nft::{Batch, Chain, Comment, Family, Name, Table};
use crate::owner::Owner;
use crate::sys::NetNsId;
use crate::types::{IfIndex, IfName};

/// The version of what is made here, kept in the comments of the tables with
/// the host's namespace: hosts may share the directory of names.
const SCHEMA: u32 = 2;

/// A clone in its namespace.
#[derive(Debug, Clone)]
pub(crate) struct Inside<'a> {
    pub(crate) owner: Owner,
    pub(crate) clone: &'a Attachment,
    pub(crate) snapshot: &'a Snapshot,
    /// Where the namespace sends everything: the host by an address that
    /// exists between the two only.
    pub(crate) next_ipv4: Ipv4Addr,
    pub(crate) next_ipv6: Ipv6Addr,
    /// The end of the pair that leads to the host.
    pub(crate) uplink: IfName,
    table: Table,
    guard: Table,
}

impl<'a> Inside<'a> {
    /// The namespace of `clone`, which is one of `snapshot`, on the host whose
    /// namespace is `host`.
    pub(crate) fn new(
        owner: &Owner,
        host: NetNsId,
        clone: &'a Attachment,
        snapshot: &'a Snapshot,
    ) -> Result<Self, Invalid> {
        let name = Name::new(owner.as_str())?;
        let mark = Self::mark(owner, host);
        let comment = Comment::new(&format!("inside={SCHEMA} {mark}"))?;
        let table = |family| Table::new(family, name.clone()).comment(comment);
        let [uplink, other] = UPLINKS;
        Ok(Self {
            owner: owner.clone(),
            clone,
            snapshot,
            next_ipv4: next_ipv4(snapshot),
            next_ipv6: next_ipv6(snapshot),
            uplink: if snapshot.tap() == uplink {
                other
            } else {
                uplink
            },
            table: table(Family::INET),
            guard: table(Family::NETDEV),
        })
    }

    /// How the comments of the tables end: whose they are.
    pub(crate) fn mark(owner: &Owner, host: NetNsId) -> String {
        format!("owner={owner} of {host}")
    }

    /// The tables: of the guard on the TAP, which must be there, and of the
    /// translation.
    pub(crate) fn tables(&self) -> [&Table; 2] {
        [&self.table, &self.guard]
    }

    /// Makes the tables, which must not be there.
    pub(crate) fn create(&self, batch: &mut Batch) {
        for table in self.tables() {
            batch.create(table);
        }
        self.guard_rules(batch);
        self.translation_rules(batch);
        self.own_rules(batch);
    }

    /// Makes the tables in the place of what may be there, in one
    /// transaction.
    pub(crate) fn replace(&self, batch: &mut Batch) {
        for table in self.tables() {
            batch.destroy(table);
        }
        self.create(batch);
    }

    /// The IPv6 addresses of the guest and its gateway as the VM has them.
    fn ipv6(&self) -> Option<(Ipv6Addr, Ipv6Addr)> {
        let net = self.snapshot.ipv6_net()?;
        Some((net.addr(), self.snapshot.gateway_ipv6()?))
    }

    /// Whether the VM speaks with its gateway on its own link only, where
    /// nobody but the namespace can answer.
    fn answers_itself(&self) -> bool {
        let gateway = self.snapshot.gateway_ipv6();
        gateway.is_some_and(|gateway| gateway.is_unicast_link_local())
    }

    fn chain(&self, name: &'static str) -> Chain {
        Chain::new(&self.table, Name::constant(name))
    }
}

/// The first address of a pair that no guest has: set aside for the two ends
/// of a translation within one host (RFC 7335), or link-local.
fn next_ipv4(snapshot: &Snapshot) -> Ipv4Addr {
    let [next, other] = NEXT_IPV4;
    let is_taken = [snapshot.ipv4_net().addr(), snapshot.gateway_ipv4()].contains(&next);
    if is_taken { other } else { next }
}

fn next_ipv6(snapshot: &Snapshot) -> Ipv6Addr {
    let [next, other] = NEXT_IPV6;
    let own = snapshot.ipv6_net().map(|net| net.addr());
    let is_taken = [own, snapshot.gateway_ipv6()].contains(&Some(next));
    if is_taken { other } else { next }
}

/// The indexes that the links of a namespace are made with, in which there is
/// nothing but the loopback, number 1.
pub(crate) const TAP_INDEX: IfIndex = IfIndex::constant(2);
pub(crate) const UPLINK_INDEX: IfIndex = IfIndex::constant(3);

const UPLINKS: [IfName; 2] = [IfName::constant("eth0"), IfName::constant("eth1")];

const NEXT_IPV4: [Ipv4Addr; 2] = [
    Ipv4Addr::new(192, 0, 0, 1),
    Ipv4Addr::new(169, 254, 255, 253),
];

/// Of a unique local prefix of our own (RFC 4193).
const NEXT_IPV6: [Ipv6Addr; 2] = [
    Ipv6Addr::new(0xfd2c, 0x6b8f, 0x4a10, 0xffff, 0, 0, 0, 1),
    Ipv6Addr::new(0xfd2c, 0x6b8f, 0x4a10, 0xffff, 0, 0, 0, 3),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(ipv4: &str, gateway: &str) -> Snapshot {
        Snapshot::new(
            IfName::constant("tap0"),
            "06:00:ac:10:00:02".parse().unwrap(),
            ipv4.parse().unwrap(),
            gateway.parse().unwrap(),
        )
        .unwrap()
    }

    #[test]
    fn next_hop_is_no_address_of_the_snapshot() {
        let [first, other] = NEXT_IPV4;
        assert_eq!(next_ipv4(&snapshot("172.16.0.2/24", "172.16.0.1")), first);
        assert_eq!(next_ipv4(&snapshot("192.0.0.2/29", "192.0.0.1")), other);
        assert_eq!(next_ipv4(&snapshot("192.0.0.1/29", "192.0.0.2")), other);
        let [first, other] = NEXT_IPV6;
        let snapshot = snapshot("172.16.0.2/24", "172.16.0.1");
        assert_eq!(next_ipv6(&snapshot), first);
        let net = "fd2c:6b8f:4a10:ffff::2/64".parse().unwrap();
        assert_eq!(next_ipv6(&snapshot.ipv6(net, first).unwrap()), other);
    }
}
