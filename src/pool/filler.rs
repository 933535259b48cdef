//! The thread that makes networks and takes them down.

use std::sync::Arc;

use super::settings::{member, number_of};
use super::stock::{AT_ONCE, Stock, Task};
use crate::error::Error;
use crate::guest::{Attachment, Guest};
use crate::host::Host;

/// What the thread works with.
pub(super) struct Filler {
    pub(super) host: Host,
    pub(super) like: Guest,
    pub(super) stock: Arc<Stock>,
    /// The number of the next network. Those of attempts that failed are used
    /// again: what such an attempt left is completed then.
    next: u64,
    /// So many are made at once: one after a failure, and then twice as many
    /// each time.
    at_once: usize,
}

impl Filler {
    /// Begins with number `next`.
    pub(super) fn new(host: Host, like: Guest, stock: Arc<Stock>, next: u64) -> Self {
        Self {
            host,
            like,
            stock,
            next,
            at_once: 1,
        }
    }

    /// Works until the pool ends. Returns the handle.
    pub(super) fn run(mut self) -> Host {
        while let Some(task) = self.stock.next_task() {
            match task {
                Task::Make(count) => self.make(count),
                Task::TakeDown(numbers) => self.take_down(&numbers),
            }
        }
        self.host
    }

    fn make(&mut self, count: usize) {
        let count = count.min(self.at_once);
        let guests: Result<Vec<Guest>, _> = (self.next..)
            .take(count)
            .map(|number| member(&self.like, number))
            .collect();
        let made = guests.map_err(Error::from);
        match made.and_then(|guests| self.host.attach_all(&guests)) {
            Ok(made) => {
                self.next = made
                    .iter()
                    .fold(self.next, |next, _| next.saturating_add(1));
                self.at_once = self.at_once.saturating_mul(2).min(AT_ONCE);
                self.stock.made(made);
            }
            // Perhaps there is room for some of them.
            Err(_) if count > 1 => self.at_once = 1,
            Err(error) => self.stock.failed(error, true),
        }
    }

    fn take_down(&mut self, numbers: &[u64]) {
        match detach_members(&mut self.host, &self.like, |number| {
            numbers.contains(&number)
        }) {
            Ok(()) => self.stock.taken_down(numbers),
            Err(error) => self.stock.failed(error, false),
        }
    }
}

/// Takes down those of the pool's networks that the kernel has and that are
/// `meant`. If that cannot be done at once, one after another, as far as can
/// be.
pub(super) fn detach_members(
    host: &mut Host,
    like: &Guest,
    meant: impl Fn(u64) -> bool,
) -> Result<(), Error> {
    let all = host.guests()?;
    let is_meant = |name: &&str| number_of(like.name(), name).is_some_and(&meant);
    let names: Vec<&str> = all.iter().map(Attachment::name).filter(is_meant).collect();
    let Err(error) = host.detach_all(&names) else {
        return Ok(());
    };
    if let [_] = *names {
        return if error.is_not_found() {
            Ok(())
        } else {
            Err(error)
        };
    }
    let mut failed = None;
    for name in names {
        let gone = host.detach(name);
        let error = gone.err().filter(|error| !error.is_not_found());
        failed = failed.or(error);
    }
    failed.map_or(Ok(()), Err)
}
