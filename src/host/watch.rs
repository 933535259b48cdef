//! What is wanted stays in force, whatever others do.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use super::Host;
use crate::error::Error;
use crate::nft::{self, Content};
use crate::plan::{Plan, Wanted};
use crate::route::{self, Rtnl};
use crate::sys::Epoll;

/// Keeps what is wanted of a [`Host`] in force: notices by the kernel's events
/// when someone else changes the owner's tables or TAPs, and then plans and
/// commits again. Where the [shim](Wanted::shim) is wanted, also when someone
/// changes chains or rules of others.
///
/// Whoever wants something else says so ([`want`](Self::want)): what is
/// attached or exposed in other ways is taken away when next something
/// changes.
///
/// ```no_run
/// use std::time::Duration;
/// use tapwire::{Guest, Host, Owner, Wanted};
/// let mut host = Host::open(Owner::new("riklet")?)?;
/// let wanted = Wanted::new().guest(Guest::new("hello-world")?);
/// let mut watch = host.watch(wanted)?;
/// while let Some(repaired) = watch.wait(&mut host, Duration::from_secs(60))? {
///     print!("{repaired}");
/// }
/// # Ok::<(), tapwire::Error>(())
/// ```
#[derive(Debug)]
pub struct Watch {
    wanted: Wanted,
    ruleset: nft::Watch,
    links: route::Watch,
    epoll: Epoll,
    /// The last generation that is known to be as wanted.
    covered: u32,
    /// Something of the owner's was changed in the commit that is being read.
    touched: bool,
    /// Events were lost, and the kernel goes on dropping them until all that
    /// it still holds were read: a look before then could miss something.
    lost: bool,
}

impl Host {
    /// Puts what is wanted into force, and watches it.
    ///
    /// # Errors
    /// What [`apply`](Self::apply) returns; [`Error::System`] if a socket
    /// fails.
    pub fn watch(&mut self, wanted: Wanted) -> Result<Watch, Error> {
        let open = || Ok((nft::Watch::ruleset()?, Rtnl::watch()?));
        let (ruleset, links) = self.inside(open)?;
        let epoll = Epoll::new()?;
        epoll.add(&ruleset)?;
        epoll.add(&links)?;
        let mut watch = Watch {
            wanted,
            ruleset,
            links,
            epoll,
            covered: 0,
            touched: false,
            lost: false,
        };
        watch.repair(self)?;
        Ok(watch)
    }
}

impl Watch {
    /// Waits, for at most about `timeout`, until something had to be
    /// repaired; what it was, when it is repaired. `host` is the one that
    /// [`Host::watch`] was called on.
    ///
    /// # Errors
    /// What [`Host::apply`] returns: the next call tries again.
    /// [`Error::System`] if a socket fails.
    pub fn wait(&mut self, host: &mut Host, timeout: Duration) -> Result<Option<Plan>, Error> {
        let start = Instant::now();
        loop {
            if self.is_concerned(host)? {
                let plan = self.repair(host)?;
                if !plan.is_empty() {
                    return Ok(Some(plan));
                }
            }
            let left = timeout.saturating_sub(start.elapsed());
            if left.is_zero() {
                return Ok(None);
            }
            self.epoll.wait(left)?;
        }
    }

    /// Puts something else into force, and watches that; what was done.
    ///
    /// # Errors
    /// What [`Host::apply`] returns; what was wanted before is watched on
    /// then.
    pub fn want(&mut self, host: &mut Host, wanted: Wanted) -> Result<Plan, Error> {
        let before = std::mem::replace(&mut self.wanted, wanted);
        let result = self.repair(host);
        if result.is_err() {
            self.wanted = before;
            // It may have come into force in part.
            self.covered = 0;
        }
        result
    }

    /// What is kept in force.
    pub fn wanted(&self) -> &Wanted {
        &self.wanted
    }

    fn repair(&mut self, host: &mut Host) -> Result<Plan, Error> {
        // Until this has worked, every event is a reason to try again.
        self.covered = 0;
        let plan = host.apply(&self.wanted)?;
        self.covered = host.known.generation();
        Ok(plan)
    }

    /// Reads the events that have come, up to one that concerns the owner:
    /// what was read with it happened before the next look at the ruleset.
    fn is_concerned(&mut self, host: &Host) -> Result<bool, Error> {
        if self.covered == 0 {
            return Ok(true);
        }
        for _ in 0..EVENTS {
            let Some(event) = self.ruleset.next_event(Duration::ZERO)? else {
                if std::mem::take(&mut self.lost) {
                    return Ok(true);
                }
                break;
            };
            match event {
                nft::Event::New(content) | nft::Event::Gone(content) => {
                    let of_others = self.wanted.wants_shim() && is_of_chains(&content);
                    self.touched |= of_others || is_own(host, &content);
                }
                nft::Event::Committed(commit) => {
                    let touched = std::mem::take(&mut self.touched);
                    if touched && !self.lost && is_after(commit.generation, self.covered) {
                        return Ok(true);
                    }
                }
                nft::Event::Overrun => {
                    self.touched = false;
                    self.lost = true;
                }
                _ => {}
            }
        }
        for _ in 0..EVENTS {
            let Some(event) = self.links.next_event(Duration::ZERO)? else {
                break;
            };
            let concerned = match event {
                route::Event::LinkGone(link) => host.slot_of(&link).is_some(),
                route::Event::Link(link) => host.slot_of(&link).is_some() && !link.is_up(),
                route::Event::AddressGone(_) | route::Event::Overrun => true,
                _ => false,
            };
            if concerned {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl AsFd for Watch {
    /// Readable when something may have to be repaired: then
    /// [`wait`](Self::wait) with no time.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

/// Whether it is in one of the owner's tables, or one of them.
fn is_own(host: &Host, content: &Content) -> bool {
    let own = host.layout.tables();
    let is_in = |family, table| {
        let mut own = own.iter();
        own.any(|one| one.family() == family && one.name() == table)
    };
    match content {
        Content::Table(one) => is_in(one.family(), one.name()),
        Content::Chain(one) => is_in(one.family(), one.table()),
        Content::Rule(one) => is_in(one.family(), one.table()),
        Content::Set(one) => is_in(one.family(), one.table()),
        Content::Elements(one) => is_in(one.family, &one.table),
        _ => false,
    }
}

/// Whether it may decide where guests' packets are dropped.
fn is_of_chains(content: &Content) -> bool {
    matches!(content, Content::Chain(_) | Content::Rule(_))
}

/// Whether one generation comes after another; the kernel counts on from 1
/// after the highest.
fn is_after(generation: u32, other: u32) -> bool {
    let ahead = generation.wrapping_sub(other);
    ahead != 0 && ahead < u32::MAX / 2
}

/// So many events are read before looking at the clock.
const EVENTS: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generations_are_compared_past_the_highest() {
        assert!(is_after(2, 1) && is_after(1, u32::MAX));
        assert!(!is_after(1, 1) && !is_after(1, 2) && !is_after(u32::MAX, 1));
    }
}
