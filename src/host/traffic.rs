//! What guests have sent and been sent, and what was kept from them.

use std::collections::{BTreeMap, HashMap};

use super::Host;
use crate::error::Error;
use crate::guest::GuestName;
use crate::nft::expr::Immediate;
use crate::nft::{Comment, Counts, Expr, Register, Rule, Verdict};

/// What a guest has sent and been sent since its TAP was made.
///
/// The TAP itself counts: everything that crosses the guest's link, with the
/// Ethernet headers, ARP and what the rules then drop included; a large
/// packet that is yet to be cut (GSO) is one. So counting costs no packet
/// anything, and ends with the TAP, whatever becomes of the tables.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Traffic {
    guest: GuestName,
    from: Counts,
    to: Counts,
    undelivered: u64,
}

impl Traffic {
    /// The guest.
    pub fn guest(&self) -> &GuestName {
        &self.guest
    }

    /// Packets and bytes that it sent.
    pub fn from_guest(&self) -> Counts {
        self.from
    }

    /// Packets and bytes that it was sent: what was dropped before is not
    /// among them.
    pub fn to_guest(&self) -> Counts {
        self.to
    }

    /// Packets for it that were lost because its VMM did not take them.
    pub fn undelivered(&self) -> u64 {
        self.undelivered
    }
}

/// What the owner's rules have dropped for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Dropped {
    reason: Comment,
    counts: Counts,
}

impl Dropped {
    /// The reason, as the rule's comment says it:
    ///
    /// | reason | what was dropped |
    /// |---|---|
    /// | `spoof`, `spoof over arp` | a guest with an address or MAC that is not its own |
    /// | `guest as router` | router advertisements and redirects of a guest |
    /// | `guest as dhcp server` | unasked DHCP answers of a guest |
    /// | `link-local` | what a guest says to all on its link besides finding its neighbours, such as reports of its groups |
    /// | `guest to host loopback`, `remote loopback` | packets to 127.0.0.0/8 from a guest, from elsewhere |
    /// | `guest to host` | packets to ports of the host that the guest was not granted |
    /// | `egress` | packets to where the guest may not go |
    /// | `guest to namespace` | packets to the namespace of a clone itself, in which there is nothing for it |
    /// | `of no connection` | what a guest sends out of the blue, which would leave untranslated |
    /// | `of another's connection` | ICMP errors of a guest about a connection that is not its own |
    /// | `not exposed` | packets to a guest that nothing leads to |
    /// | `rate from guest`, `rate to guest` | what exceeds a guest's rate |
    /// | `forwarding is on for guests only` | packets between others |
    pub fn reason(&self) -> &str {
        self.reason.as_str()
    }

    /// How much, since the owner's tables were made.
    pub fn counts(&self) -> Counts {
        self.counts
    }
}

impl Host {
    /// Lists what each guest has sent and been sent, by the number of its TAP.
    ///
    /// # Errors
    /// What listing guests or links returns.
    pub fn traffic(&mut self) -> Result<Vec<Traffic>, Error> {
        self.refresh()?;
        let links = self.rtnl.links()?;
        let stats: HashMap<_, _> = self.rtnl.stats()?.into_iter().collect();
        let by_slot: BTreeMap<_, _> = links
            .iter()
            .filter_map(|link| Some((self.slot_of(link)?, stats.get(&link.index())?)))
            .collect();
        let counted = self.known.guests().filter_map(|guest| {
            let stats = by_slot.get(&guest.slot)?;
            Some(Traffic {
                guest: guest.name.clone(),
                from: Counts {
                    packets: stats.received_packets(),
                    bytes: stats.received_bytes(),
                },
                to: Counts {
                    packets: stats.sent_packets(),
                    bytes: stats.sent_bytes(),
                },
                undelivered: stats.sent_dropped(),
            })
        });
        Ok(counted.collect())
    }

    /// Lists what the owner's rules have dropped, by reason, those in the
    /// namespaces of clones included; also reasons for which nothing was.
    ///
    /// # Errors
    /// What listing rules returns, and entering namespaces.
    pub fn dropped(&mut self) -> Result<Vec<Dropped>, Error> {
        self.refresh()?;
        let mut all: BTreeMap<Box<str>, Dropped> = BTreeMap::new();
        let mut rules = self.rules_inside()?;
        for table in self.layout.tables() {
            rules.extend(self.nft.all_rules(table)?);
        }
        for rule in rules {
            let (Some(reason), Some(counts)) = (rule.current_comment(), drops(&rule)) else {
                continue;
            };
            let entry = all.entry(reason.as_str().into());
            let dropped = entry.or_insert_with(|| Dropped {
                reason: *reason,
                counts: Counts::default(),
            });
            let sum = &mut dropped.counts;
            sum.packets = sum.packets.saturating_add(counts.packets);
            sum.bytes = sum.bytes.saturating_add(counts.bytes);
        }
        Ok(all.into_values().collect())
    }
}

/// What a rule has counted, if it drops.
fn drops(rule: &Rule) -> Option<Counts> {
    let drop = Expr::from(Immediate::new(Register::VERDICT, Verdict::Drop.into()));
    let mut expressions = rule.expressions().iter();
    let counter = expressions.find_map(|expression| match expression {
        Expr::Counter(counter) => Some(counter),
        _ => None,
    })?;
    let counts = Counts {
        packets: *counter.packets(),
        bytes: *counter.bytes(),
    };
    expressions
        .any(|expression| *expression == drop)
        .then_some(counts)
}
