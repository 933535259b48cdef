//! What clones take without the library: the same messages, and the same system
//! calls between them.

use std::time::{Duration, Instant};

use tapwire::route::{LinkChange, Rtnl};
use tapwire::sys::{NetNs, Protocol, TapOptions};
use tapwire::{Attachment, Guest, Host, IfIndex, Mac};

use super::Way;
use crate::harness::Result;
use crate::harness::floor::{Floor, Proc, Replay};

/// A link with the number and the MAC that it had when it was recorded.
type Link = (Attachment, IfIndex, Mac);

/// What is sent for guests to come.
pub(super) struct Attach {
    links: Vec<Link>,
    /// The group in which they are made, if any.
    group: Option<u32>,
    /// Before anything is made.
    claim: Replay,
    /// Of each that is in a namespace: what is sent there.
    inside: Vec<Vec<Replay>>,
    /// Of so many that are configured at once: their names, and all else.
    bursts: Vec<[Replay; 2]>,
}

/// What is sent for guests to go.
pub(super) struct Detach {
    links: Vec<Link>,
    group: Option<u32>,
    in_namespaces: bool,
    release: Replay,
}

impl Attach {
    /// Attaches them and records it.
    pub(super) fn record(host: &mut Host, way: Way, guests: &[Guest]) -> Result<Self> {
        let (attached, sent) = Replay::record(|| super::attach(host, guests))?;
        let mut rtnl = Rtnl::open()?;
        let mut links = Vec::new();
        let mut group = None;
        for clone in attached {
            let link = rtnl.link(clone.tap())?.ok_or("no link")?;
            group = Some(link.group()).filter(|&group| group != 0);
            let mac = link.mac().ok_or("no MAC")?;
            links.push((clone, link.index(), mac));
        }
        let each = if way == Way::Namespaced { 2 } else { 0 };
        let made = guests.len() * each + guests.len().div_ceil(AT_ONCE) * 2;
        let (claim, rest) = sent.part_at_end(made);
        let mut rest = rest.steps();
        let (mut inside, mut bursts) = (Vec::new(), Vec::new());
        for some in guests.chunks(AT_ONCE) {
            for _ in some.iter().filter(|_| each > 0) {
                inside.push(rest.drain(..each).collect());
            }
            let mut burst = rest.drain(..2);
            bursts.extend(burst.next().zip(burst.next()).map(|(one, two)| [one, two]));
        }
        Ok(Self {
            links,
            group,
            claim,
            inside,
            bursts,
        })
    }

    /// The system calls between the messages are those that make TAPs and
    /// namespaces. `/dev/net/tun` is opened for each TAP as it comes, by a host
    /// for several ahead.
    pub(super) fn replay(&mut self, floor: &mut Floor, proc: &mut Proc) -> Result<Duration> {
        let start = Instant::now();
        floor.send_asking(&mut self.claim)?;
        let mut inside = self.inside.chunks_mut(AT_ONCE);
        for (links, [name, raise]) in self.links.chunks(AT_ONCE).zip(&mut self.bursts) {
            let mut taps = Vec::new();
            if let Some(inside) = inside.next() {
                make_namespaces(links, inside, proc)?;
            } else {
                for (clone, index, mac) in links {
                    let tap = TapOptions::new(clone.tap()).index(*index).mac(*mac);
                    taps.push(tap.create()?);
                }
            }
            for (clone, ..) in links {
                let settings = [("accept_ra", "0"), ("force_forwarding", "1")];
                floor.set_ipv6(clone.tap().as_str(), &settings)?;
            }
            floor.replay(name)?;
            for tap in taps {
                tap.set_persistent(true)?;
            }
            floor.replay(raise)?;
        }
        Ok(start.elapsed())
    }
}

impl Detach {
    /// Detaches what these attached and records it.
    pub(super) fn record(host: &mut Host, attached: &[Attach]) -> Result<Self> {
        let links: Vec<Link> = attached.iter().flat_map(|it| it.links.clone()).collect();
        let names: Vec<&str> = links.iter().map(|(clone, ..)| clone.name()).collect();
        let ((), sent) = Replay::record(|| super::detach(host, &names))?;
        let (_, release) = sent.part_before_last(Protocol::Netfilter);
        Ok(Self {
            group: attached.first().and_then(|it| it.group),
            in_namespaces: attached.iter().any(|it| !it.inside.is_empty()),
            links,
            release,
        })
    }

    /// The best that is known: links go as a group, for the kernel waits once
    /// then, in which they were made, or those that lead to namespaces by few
    /// for the sake of others; elements in one batch.
    pub(super) fn replay(&mut self, floor: &mut Floor) -> Result<Duration> {
        let mut rtnl = Rtnl::open()?;
        floor.prepare(&mut self.release)?;
        let start = Instant::now();
        let slice = if self.in_namespaces {
            SLICE
        } else {
            self.links.len()
        };
        for links in self.links.chunks(slice) {
            rtnl.apply(|changes| {
                if let Some(group) = self.group {
                    return changes.delete_links_of_group(group);
                }
                for (_, index, _) in links {
                    changes.set_link(&LinkChange::new(*index).group(GROUP));
                }
                changes.delete_links_of_group(GROUP);
            })?;
            for (clone, ..) in links.iter().filter(|_| self.in_namespaces) {
                NetNs::remove_named(clone.tap().as_str())?;
            }
        }
        floor.send(&self.release)?;
        Ok(start.elapsed())
    }
}

/// Namespaces with a TAP each, and what is sent in them.
fn make_namespaces(links: &[Link], inside: &mut [Vec<Replay>], proc: &mut Proc) -> Result<()> {
    let made = NetNs::journey(|journey| {
        let mut make = |clone: &Attachment, sent: &mut [Replay]| -> Result<()> {
            journey.found()?;
            proc.write("sys/net/ipv6/conf/all/forwarding", "1")?;
            let snapshot = clone.connection().snapshot().ok_or("no clone")?;
            TapOptions::new(clone.vmm_tap())
                .index(IfIndex::new(2)?)
                .mac(snapshot.current_gateway_mac())
                .persistent()
                .create()?;
            let mut floor = Floor::open()?;
            for sent in sent {
                floor.send(sent)?;
            }
            Ok(journey.name(clone.tap().as_str())?)
        };
        let mut all = links.iter().zip(inside);
        all.try_for_each(|((clone, ..), sent)| make(clone, sent))
            .map_err(|error| crate::harness::words(&*error))
    })?;
    Ok(made?)
}

/// So many are configured in one burst.
const AT_ONCE: usize = 128;
/// So many namespaces are taken away at once: with more, others would wait for
/// links longer than they are to.
const SLICE: usize = 28;
const GROUP: u32 = 77;
