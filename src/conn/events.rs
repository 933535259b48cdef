//! Events: what the kernel reports without being asked.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::sys::{Protocol, Socket};
use crate::wire::{DecodeError, Message, Messages};

/// Something that the kernel reports to those who subscribed.
pub(crate) trait Report: Debug + Sized {
    /// What is read, in words, for errors.
    const SOURCE: &'static str;

    /// The report that others were lost.
    const OVERRUN: Self;

    /// What `message` reports; `None` if nothing that is known here.
    fn read(message: &Message<'_>) -> Result<Option<Self>, DecodeError>;
}

/// A socket that hears reports, and those that were not handed out yet.
#[derive(Debug)]
pub(crate) struct Events<R> {
    socket: Socket,
    datagram: Vec<u8>,
    waiting: VecDeque<Result<R, DecodeError>>,
}

impl<R: Report> Events<R> {
    /// Subscribes to `groups` in the calling thread's network namespace.
    pub(crate) fn open(protocol: Protocol, groups: &[u32]) -> Result<Self, Error> {
        let mut socket = Socket::open(protocol)?;
        for group in groups {
            socket.subscribe(*group)?;
        }
        Ok(Self {
            socket,
            datagram: Vec::new(),
            waiting: VecDeque::new(),
        })
    }

    /// Sets the memory for reports that were not read yet.
    pub(crate) fn set_buffer(&mut self, bytes: usize) -> Result<(), Error> {
        self.socket.set_receive_buffer(bytes)
    }

    /// Waits for the next report for at most about `timeout`.
    pub(crate) fn next(&mut self, timeout: Duration) -> Result<Option<R>, Error> {
        let start = Instant::now();
        loop {
            if let Some(report) = self.waiting.pop_front() {
                return Ok(Some(report?));
            }
            self.socket
                .set_timeout(timeout.saturating_sub(start.elapsed()))?;
            match self.socket.receive(&mut self.datagram) {
                Ok(()) => self.waiting.extend(reports(&self.datagram)),
                Err(error) => {
                    return match error.raw_os_error() {
                        Some(libc::EAGAIN) => Ok(None),
                        Some(libc::ENOBUFS) => Ok(Some(R::OVERRUN)),
                        _ => Err(Error::system("recv", R::SOURCE, error)),
                    };
                }
            }
            // Messages that report nothing must not prolong the wait.
            if self.waiting.is_empty() && start.elapsed() >= timeout {
                return Ok(None);
            }
        }
    }
}

impl<R> AsFd for Events<R> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// What a datagram reports. A message that cannot be read costs those behind
/// it nothing.
fn reports<R: Report>(datagram: &[u8]) -> impl Iterator<Item = Result<R, DecodeError>> {
    Messages::new(datagram).filter_map(|message| match message {
        Ok(message) => R::read(&message).transpose(),
        Err(error) => Some(Err(error)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Flags, Header, push_message};

    /// A number in the first byte of a message; no body cannot be read.
    #[derive(Debug, PartialEq)]
    struct Number(u8);

    impl Report for Number {
        const SOURCE: &'static str = "numbers";
        const OVERRUN: Self = Self(0);

        fn read(message: &Message<'_>) -> Result<Option<Self>, DecodeError> {
            let ([number, ..], _) = message.split::<4>()?;
            Ok((*number != 0).then_some(Self(*number)))
        }
    }

    #[test]
    fn unreadable_message_keeps_its_place_and_costs_no_other() {
        let mut datagram = Vec::new();
        for body in [&[1, 0, 0, 0][..], &[], &[0, 0, 0, 0], &[2, 0, 0, 0]] {
            let header = Header::new(99, Flags::empty(), 0);
            push_message(&mut datagram, header, |out| out.fixed(body)).unwrap();
        }
        let read: Vec<Result<Number, _>> = reports(&datagram).collect();
        let [Ok(Number(1)), Err(_), Ok(Number(2))] = read.as_slice() else {
            panic!("{read:?}");
        };
    }

    #[test]
    fn half_a_message_ends_the_datagram_with_an_error() {
        let mut datagram = Vec::new();
        let header = Header::new(99, Flags::empty(), 0);
        push_message(&mut datagram, header, |out| out.fixed(&[1, 0, 0, 0])).unwrap();
        datagram.extend_from_slice(&[200, 0, 0, 0, 0, 0]);
        let read: Vec<Result<Number, _>> = reports(&datagram).collect();
        assert!(
            matches!(read.as_slice(), [Ok(Number(1)), Err(_)]),
            "{read:?}"
        );
    }
}
