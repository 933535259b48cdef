//! A blocking conversation with one netlink family.

use std::fmt::Display;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use super::{Exchange, Progress, Requests};
use crate::error::{Error, Operation, Refusal};
use crate::sys::{Protocol, Socket};
use crate::wire::{Flags, Message, Writer};

/// A dump is tried so many times while the kernel keeps changing what it
/// lists.
const DUMP_ATTEMPTS: u32 = 32;

/// What an echo takes of the receive buffer, besides what it holds: the
/// kernel's accounting of a datagram.
const ECHO_ROOM: usize = 4096;
const ECHO_ROOM_LEAST: usize = 1 << 20;

/// A socket with its sequence numbers and buffers. Keep it open: closing a
/// netfilter socket can wait for the kernel's deferred frees (8–24 ms).
#[derive(Debug)]
pub struct Connection {
    socket: Socket,
    sequence: u32,
    requests: Requests,
    datagram: Vec<u8>,
}

impl Connection {
    /// Speaks `NETLINK_ROUTE` in the calling thread's network namespace.
    ///
    /// # Errors
    /// [`Error::System`] if the socket cannot be opened.
    pub fn route() -> Result<Self, Error> {
        Socket::open(Protocol::Route).map(Self::from)
    }

    /// Speaks `NETLINK_NETFILTER` in the calling thread's network namespace.
    ///
    /// # Errors
    /// [`Error::System`] if the socket cannot be opened.
    pub fn netfilter() -> Result<Self, Error> {
        Socket::open(Protocol::Netfilter).map(Self::from)
    }

    /// Speaks `NETLINK_SOCK_DIAG` in the calling thread's network namespace.
    ///
    /// # Errors
    /// [`Error::System`] if the socket cannot be opened.
    pub fn sock_diag() -> Result<Self, Error> {
        Socket::open(Protocol::SockDiag).map(Self::from)
    }

    /// Sets how long one reply may take; 20 seconds at first.
    ///
    /// # Errors
    /// [`Error::System`] from `setsockopt(SO_RCVTIMEO)`.
    pub fn set_timeout(&mut self, timeout: Duration) -> Result<(), Error> {
        self.socket.set_timeout(timeout)
    }

    /// Sends one request and waits for its acknowledgement. `what` says it in
    /// words for the error: `add link tap0`.
    ///
    /// # Errors
    /// [`Error::Refused`] with the kernel's answer; [`Error::Encode`] if a
    /// value does not fit; [`Error::System`] if the socket fails.
    pub fn execute(
        &mut self,
        what: impl Display,
        kind: u16,
        flags: Flags,
        body: impl FnOnce(&mut Writer<'_>),
    ) -> Result<(), Error> {
        self.get(what, kind, flags, body, |_| Ok(())).map(|_| ())
    }

    /// Sends one request that is answered by a message and an
    /// acknowledgement; `None` if only the latter came.
    ///
    /// # Errors
    /// As [`execute`](Self::execute), and what `decode` returns.
    pub fn get<T>(
        &mut self,
        what: impl Display,
        kind: u16,
        flags: Flags,
        body: impl FnOnce(&mut Writer<'_>),
        mut decode: impl FnMut(&Message<'_>) -> Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        self.requests.clear();
        self.requests.push(kind, flags, body)?;
        let first = self.take_sequence(1);
        self.requests.prepare(first, 0);
        self.socket.send(self.requests.as_bytes())?;
        let mut exchange = Exchange::requests(first, 1);
        let mut answer = None;
        self.receive(&mut exchange, &what, Socket::receive_answer, |message| {
            answer = Some(decode(message)?);
            Ok(())
        })?;
        refused(exchange, what)?;
        Ok(answer)
    }

    /// Sends one request that the kernel answers by a message or an error, and
    /// does not acknowledge: one datagram back instead of two.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn ask<T>(
        &mut self,
        what: impl Display,
        kind: u16,
        body: impl FnOnce(&mut Writer<'_>),
        mut decode: impl FnMut(&Message<'_>) -> Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        self.requests.clear();
        self.requests.push(kind, Flags::empty(), body)?;
        let first = self.take_sequence(1);
        self.requests.prepare(first, usize::MAX);
        self.socket.send(self.requests.as_bytes())?;
        let mut exchange = Exchange::question(first);
        let mut answer = None;
        self.receive(&mut exchange, &what, Socket::receive_answer, |message| {
            answer = Some(decode(message)?);
            Ok(())
        })?;
        refused(exchange, what)?;
        Ok(answer)
    }

    /// Lists what the kernel has. Repeated if it changed in between, so the
    /// list is consistent; `decode` leaves out a message by returning `None`.
    ///
    /// # Errors
    /// As [`get`](Self::get), and [`Error::Interrupted`] if it kept changing.
    pub fn dump<T>(
        &mut self,
        what: impl Display,
        kind: u16,
        body: impl Fn(&mut Writer<'_>),
        mut decode: impl FnMut(&Message<'_>) -> Result<Option<T>, Error>,
    ) -> Result<Vec<T>, Error> {
        self.dump_all(what, kind, body, |message, list| {
            list.extend(decode(message)?);
            Ok(())
        })
    }

    /// As [`dump`](Self::dump), for messages that hold several things each:
    /// `decode` puts them behind those that came before.
    ///
    /// # Errors
    /// As [`dump`](Self::dump).
    pub fn dump_all<T>(
        &mut self,
        what: impl Display,
        kind: u16,
        body: impl Fn(&mut Writer<'_>),
        mut decode: impl FnMut(&Message<'_>, &mut Vec<T>) -> Result<(), Error>,
    ) -> Result<Vec<T>, Error> {
        let mut list = Vec::new();
        for _ in 0..DUMP_ATTEMPTS {
            list.clear();
            self.requests.clear();
            self.requests.push(kind, Flags::DUMP, &body)?;
            let first = self.take_sequence(1);
            self.requests.prepare(first, usize::MAX);
            self.socket.send(self.requests.as_bytes())?;
            let mut exchange = Exchange::dump(first);
            self.receive(&mut exchange, &what, Socket::receive, |message| {
                decode(message, &mut list)
            })?;
            let interrupted = exchange.interrupted();
            refused(exchange, &what)?;
            if !interrupted {
                return Ok(list);
            }
        }
        Err(Error::Interrupted {
            operation: Operation::new(what),
            attempts: DUMP_ATTEMPTS,
        })
    }

    /// Sends several requests at once, of which the last is acknowledged and
    /// all report errors; `each` gets the other messages that answer them.
    /// Returns the refused ones by their place.
    ///
    /// # Errors
    /// [`Error::System`] if the socket fails or a reply is lost: then the
    /// requests may or may not have been executed.
    pub fn transact(
        &mut self,
        requests: &mut Requests,
        each: impl FnMut(&Message<'_>) -> Result<(), Error>,
    ) -> Result<Vec<(usize, Refusal)>, Error> {
        let Some(last) = requests.len().checked_sub(1) else {
            return Ok(Vec::new());
        };
        let count = count(requests)?;
        let first = self.take_sequence(count);
        requests.prepare(first, last);
        self.socket.send(requests.as_bytes())?;
        let mut exchange = Exchange::requests(first, count);
        self.receive(&mut exchange, &"requests", Socket::receive, each)?;
        Ok(exchange.into_refusals())
    }

    /// [`transact`](Self::transact) for changes, which are answered by
    /// nothing but acknowledgements.
    pub(crate) fn change(
        &mut self,
        requests: &mut Requests,
    ) -> Result<Vec<(usize, Refusal)>, Error> {
        let Some(last) = requests.len().checked_sub(1) else {
            return Ok(Vec::new());
        };
        let count = count(requests)?;
        let first = self.take_sequence(count);
        requests.prepare(first, last);
        self.socket.send(requests.as_bytes())?;
        let mut exchange = Exchange::requests(first, count);
        let receive = Socket::receive_acknowledgement;
        self.receive(&mut exchange, &"requests", receive, |_| Ok(()))?;
        Ok(exchange.into_refusals())
    }

    /// Sends an nf_tables batch, whose first request is `BATCH_BEGIN` and whose
    /// last is `BATCH_END`. Committed if nothing is refused; refusals are
    /// counted from `BATCH_BEGIN`, whose own stands for the batch as a whole.
    ///
    /// # Errors
    /// [`Error::UnknownOutcome`] if the receipt is lost and no refusal was
    /// seen before; [`Error::System`] and [`Error::TooLarge`] if it could not
    /// be sent.
    pub fn commit(&mut self, batch: &mut Requests) -> Result<Vec<(usize, Refusal)>, Error> {
        let Some(last) = batch.len().checked_sub(2).filter(|&last| last > 0) else {
            return Ok(Vec::new());
        };
        let count = count(batch)?;
        let first = self.take_sequence(count);
        batch.prepare(first, last);
        self.socket.send(batch.as_bytes())?;
        let mut exchange = Exchange::batch(first, count.saturating_sub(2));
        match self.receive_acknowledgements(&mut exchange) {
            Ok(()) => Ok(exchange.into_refusals()),
            Err(_) if !exchange.refusals().is_empty() => Ok(exchange.into_refusals()),
            Err(source) => Err(Error::UnknownOutcome {
                before: None,
                source,
            }),
        }
    }

    /// As [`commit`](Self::commit), for a batch whose operations are to be
    /// echoed ([`Requests::echo`]): `each` gets what the kernel made of them.
    /// The receive buffer is enlarged for it as far as the kernel allows.
    ///
    /// # Errors
    /// As [`commit`](Self::commit); [`Error::UnknownOutcome`] also if the
    /// echoes did not fit the receive buffer, or if `each` fails: the batch
    /// may be in force.
    pub fn commit_echoed(
        &mut self,
        batch: &mut Requests,
        mut each: impl FnMut(&Message<'_>) -> Result<(), Error>,
    ) -> Result<Vec<(usize, Refusal)>, Error> {
        let Some(last) = batch.len().checked_sub(2).filter(|&last| last > 0) else {
            return Ok(Vec::new());
        };
        let count = count(batch)?;
        let first = self.take_sequence(count);
        batch.prepare(first, last);
        let room = batch.len().saturating_mul(ECHO_ROOM).max(ECHO_ROOM_LEAST);
        self.socket.set_receive_buffer(room)?;
        self.socket.send(batch.as_bytes())?;
        let mut exchange = Exchange::batch(first, count.saturating_sub(2));
        loop {
            let fed = match self.socket.receive(&mut self.datagram) {
                Ok(()) => exchange
                    .feed(&self.datagram, &mut each)
                    .map_err(io::Error::other),
                Err(error) => Err(error),
            };
            match fed {
                Ok(Progress::Pending) => {}
                Ok(Progress::Complete) => return Ok(exchange.into_refusals()),
                Err(_) if !exchange.refusals().is_empty() => return Ok(exchange.into_refusals()),
                Err(source) => {
                    return Err(Error::UnknownOutcome {
                        before: None,
                        source,
                    });
                }
            }
        }
    }

    /// The socket, to set its options or to subscribe to events.
    pub fn socket_mut(&mut self) -> &mut Socket {
        &mut self.socket
    }

    fn take_sequence(&mut self, count: u32) -> u32 {
        let first = self.sequence;
        self.sequence = self.sequence.wrapping_add(count);
        first
    }

    fn receive(
        &mut self,
        exchange: &mut Exchange,
        what: &dyn Display,
        datagram: fn(&Socket, &mut Vec<u8>) -> io::Result<()>,
        mut each: impl FnMut(&Message<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        loop {
            datagram(&self.socket, &mut self.datagram).map_err(|source| {
                Error::system("recv", format_args!("the reply to {what}"), source)
            })?;
            if exchange.feed(&self.datagram, &mut each)? == Progress::Complete {
                return Ok(());
            }
        }
    }

    fn receive_acknowledgements(&mut self, exchange: &mut Exchange) -> io::Result<()> {
        loop {
            self.socket.receive_acknowledgement(&mut self.datagram)?;
            match exchange.feed(&self.datagram, |_| Ok(())) {
                Ok(Progress::Complete) => return Ok(()),
                Ok(Progress::Pending) => {}
                Err(error) => return Err(io::Error::other(error)),
            }
        }
    }
}

impl From<Socket> for Connection {
    fn from(socket: Socket) -> Self {
        Self {
            socket,
            sequence: 1,
            requests: Requests::new(),
            datagram: Vec::new(),
        }
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn count(requests: &Requests) -> Result<u32, Error> {
    u32::try_from(requests.len()).map_err(|_| Error::TooLarge {
        wanted: requests.as_bytes().len(),
        available: usize::MAX,
    })
}

fn refused(exchange: Exchange, what: impl Display) -> Result<(), Error> {
    match exchange.into_refusals().into_iter().next() {
        None => Ok(()),
        Some((_, source)) => Err(Error::Refused {
            operation: Operation::new(what),
            source,
        }),
    }
}
