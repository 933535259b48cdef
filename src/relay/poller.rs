//! Which descriptors are ready: `epoll(7)`.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::{Timespec, epoll};
use rustix::io::Errno;

use crate::error::Error;

/// Descriptors that are waited for, each under a number.
#[derive(Debug)]
pub(crate) struct Poller {
    epoll: OwnedFd,
}

impl Poller {
    pub(crate) fn new() -> Result<Self, Error> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)
            .map_err(|errno| Error::system("epoll_create1", "relay", errno.into()))?;
        Ok(Self { epoll })
    }

    pub(crate) fn add(&self, fd: impl AsFd, number: u64, interest: Interest) -> io::Result<()> {
        let data = epoll::EventData::new_u64(number);
        Ok(epoll::add(&self.epoll, fd, data, interest.flags())?)
    }

    pub(crate) fn modify(&self, fd: impl AsFd, number: u64, interest: Interest) -> io::Result<()> {
        let data = epoll::EventData::new_u64(number);
        Ok(epoll::modify(&self.epoll, fd, data, interest.flags())?)
    }

    /// Waits until a descriptor is ready, or no longer than `timeout`; lists
    /// those that are. The numbers of descriptors that are closed on the way
    /// through the list may still come up in it.
    pub(crate) fn wait(
        &self,
        timeout: Option<Duration>,
        ready: &mut Vec<(u64, Ready)>,
    ) -> io::Result<()> {
        ready.clear();
        // A time beyond what the kernel takes is as good as none.
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        let mut room = [const { MaybeUninit::uninit() }; EVENTS_AT_ONCE];
        let events = match epoll::wait(&self.epoll, &mut room, timeout.as_ref()) {
            Ok((events, _)) => events,
            Err(Errno::INTR) => return Ok(()),
            Err(errno) => return Err(errno.into()),
        };
        ready.extend(events.iter().map(|event| {
            let (flags, data) = (event.flags, event.data);
            (data.u64(), Ready(flags))
        }));
        Ok(())
    }
}

#[cfg(feature = "proxied")]
impl AsFd for Poller {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

/// What a descriptor is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Interest {
    pub(crate) read: bool,
    pub(crate) write: bool,
}

impl Interest {
    pub(crate) const READ: Self = Self {
        read: true,
        write: false,
    };

    pub(crate) const WRITE: Self = Self {
        read: false,
        write: true,
    };

    pub(crate) const NONE: Self = Self {
        read: false,
        write: false,
    };

    fn flags(self) -> epoll::EventFlags {
        let mut flags = epoll::EventFlags::empty();
        flags.set(epoll::EventFlags::IN, self.read);
        flags.set(epoll::EventFlags::OUT, self.write);
        // `EPOLLHUP` is reported unasked. A stream that is shut down both
        // ways while it must not be read would be ready all the time; this
        // way it is reported when something new happens to it.
        flags.set(epoll::EventFlags::ET, self == Self::NONE);
        flags
    }
}

/// What a descriptor is ready for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ready(epoll::EventFlags);

impl Ready {
    #[cfg(test)]
    pub(crate) const READ: Self = Self(epoll::EventFlags::IN);

    /// As it comes with a reset.
    #[cfg(test)]
    pub(crate) const FAILED: Self = Self(
        epoll::EventFlags::IN
            .union(epoll::EventFlags::ERR)
            .union(epoll::EventFlags::HUP),
    );

    /// Something can be read, the end included.
    pub(crate) fn read(self) -> bool {
        self.0
            .intersects(epoll::EventFlags::IN | epoll::EventFlags::HUP)
    }

    /// Something can be written.
    pub(crate) fn write(self) -> bool {
        self.0.contains(epoll::EventFlags::OUT)
    }

    /// It has failed: a connection was reset or came to nothing.
    pub(crate) fn failed(self) -> bool {
        self.0.contains(epoll::EventFlags::ERR)
    }
}

const EVENTS_AT_ONCE: usize = 256;
