//! Waiting for one of several descriptors.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

use libc::c_int;

use crate::error::Error;

/// Descriptors of which one may become readable; readable itself then
/// (`epoll(7)`).
#[derive(Debug)]
pub(crate) struct Epoll(OwnedFd);

impl Epoll {
    /// None yet.
    pub(crate) fn new() -> Result<Self, Error> {
        // SAFETY: this call takes no pointer.
        let created = super::check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) });
        let fd = created.map_err(|source| Error::system("epoll_create1", "", source))?;
        // SAFETY: the call above has just made `fd`, and nobody else has it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// And this one. It leaves when it is closed.
    pub(crate) fn add(&self, fd: &impl AsFd) -> Result<(), Error> {
        let fd = fd.as_fd().as_raw_fd();
        let mut event = libc::epoll_event {
            events: u32::try_from(libc::EPOLLIN).unwrap_or_default(),
            u64: 0,
        };
        // SAFETY: the kernel reads one `epoll_event` from `event`, which is
        // one and outlives the call; both descriptors are open, for they are
        // borrowed.
        let added =
            unsafe { libc::epoll_ctl(self.0.as_raw_fd(), libc::EPOLL_CTL_ADD, fd, &raw mut event) };
        let added = super::check(added).map(|_| ());
        added.map_err(|source| Error::system("epoll_ctl", fd, source))
    }

    /// Waits until one is readable, for at most about `timeout`; whether one
    /// is. A signal may end it early.
    pub(crate) fn wait(&self, timeout: Duration) -> Result<bool, Error> {
        // What is less than a millisecond is one.
        let whole = timeout.as_nanos().div_ceil(1_000_000);
        let timeout = c_int::try_from(whole).unwrap_or(c_int::MAX);
        let mut event = libc::epoll_event { events: 0, u64: 0 };
        // SAFETY: the kernel writes at most one `epoll_event` to `event`,
        // which is one and outlives the call.
        let waited = unsafe { libc::epoll_wait(self.0.as_raw_fd(), &raw mut event, 1, timeout) };
        match super::check(waited) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(false),
            waited => {
                let count = waited.map_err(|source| Error::system("epoll_wait", "", source))?;
                Ok(count > 0)
            }
        }
    }
}

impl AsFd for Epoll {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn one_that_is_readable_is_noticed() {
        let epoll = Epoll::new().unwrap();
        let (first, _one) = UnixStream::pair().unwrap();
        let (second, mut other) = UnixStream::pair().unwrap();
        epoll.add(&first).unwrap();
        epoll.add(&second).unwrap();
        assert!(!epoll.wait(Duration::from_millis(1)).unwrap());
        other.write_all(b"x").unwrap();
        assert!(epoll.wait(Duration::from_secs(5)).unwrap());
    }
}
