//! One relayed connection: two streams, and what is on its way between them.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};

use super::poller::Interest;
use super::socket;

/// Two streams that are each other's continuation. Neither blocks.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) client: End,
    pub(super) guest: End,
    connecting: bool,
}

impl Connection {
    /// A client, and the beginning of a connection to the guest, which is
    /// sent `header` first.
    pub(super) fn new(client: TcpStream, guest: TcpStream, header: Vec<u8>) -> Self {
        let mut client = End::new(client);
        client.taken = header;
        Self {
            client,
            guest: End::new(guest),
            connecting: true,
        }
    }

    /// Whether the guest has not taken the connection yet.
    pub(super) fn is_connecting(&self) -> bool {
        self.connecting
    }

    /// The guest has taken it.
    pub(super) fn connected(&mut self) {
        self.connecting = false;
    }

    /// Passes on what the client sent, without waiting; how many bytes were
    /// taken from it.
    ///
    /// # Errors
    /// The connection has failed on one side.
    pub(super) fn pass_to_guest(&mut self, room: &mut [u8]) -> io::Result<usize> {
        self.client.pass_on(&self.guest.stream, room)
    }

    /// As [`pass_to_guest`](Self::pass_to_guest), the other way.
    pub(super) fn pass_to_client(&mut self, room: &mut [u8]) -> io::Result<usize> {
        self.guest.pass_on(&self.client.stream, room)
    }

    /// Whether both sides have said all, and it was passed on.
    pub(super) fn is_over(&self) -> bool {
        self.client.shut && self.guest.shut
    }

    /// What the client's and the guest's stream are to be waited for.
    pub(super) fn interests(&self) -> [Interest; 2] {
        if self.connecting {
            return [Interest::NONE, Interest::WRITE];
        }
        let interest = |end: &End, other: &End| Interest {
            read: !end.ended && end.is_passed_on(),
            write: !other.is_passed_on(),
        };
        [
            interest(&self.client, &self.guest),
            interest(&self.guest, &self.client),
        ]
    }

    /// Closes both sides with a reset.
    pub(super) fn reset(self) {
        socket::reset(self.client.stream);
        socket::reset(self.guest.stream);
    }
}

/// One side of a connection.
#[derive(Debug)]
pub(super) struct End {
    pub(super) stream: TcpStream,
    /// What the poller waits for.
    pub(super) interest: Interest,
    /// What was read here and the other side has not taken; nothing more is
    /// read before it has.
    taken: Vec<u8>,
    /// How much of that the other side has taken.
    passed: usize,
    /// The peer has said all.
    ended: bool,
    /// The other side was told so.
    shut: bool,
}

impl End {
    fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            interest: Interest::NONE,
            taken: Vec::new(),
            passed: 0,
            ended: false,
            shut: false,
        }
    }

    fn is_passed_on(&self) -> bool {
        self.taken.is_empty()
    }

    /// Reads into `room` and writes it to `other`, for some rounds, so that
    /// one busy connection does not keep the others waiting.
    fn pass_on(&mut self, other: &TcpStream, room: &mut [u8]) -> io::Result<usize> {
        let mut total = 0_usize;
        self.pass_rest(other)?;
        for _ in 0..ROUNDS {
            if self.ended || !self.is_passed_on() {
                break;
            }
            let Some(length) = unless_blocked(|| (&self.stream).read(room))? else {
                break;
            };
            self.ended = length == 0;
            total = total.saturating_add(length);
            let bytes = room.get(..length).unwrap_or_default();
            let passed = write(other, bytes)?;
            // Only what is left needs memory of its own.
            self.taken.extend(bytes.iter().skip(passed));
            if length < room.len() {
                break;
            }
        }
        if self.ended && self.is_passed_on() && !self.shut {
            other.shutdown(Shutdown::Write)?;
            self.shut = true;
        }
        Ok(total)
    }

    /// Writes what is left of what was read before.
    fn pass_rest(&mut self, other: &TcpStream) -> io::Result<()> {
        let rest = self.taken.get(self.passed..).unwrap_or_default();
        self.passed = self.passed.saturating_add(write(other, rest)?);
        if self.passed >= self.taken.len() {
            self.taken = Vec::new();
            self.passed = 0;
        }
        Ok(())
    }
}

/// Writes as much as the stream takes now.
fn write(mut stream: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    let mut passed = 0_usize;
    while let Some(rest) = bytes.get(passed..).filter(|rest| !rest.is_empty()) {
        match unless_blocked(|| stream.write(rest))? {
            Some(length) => passed = passed.saturating_add(length),
            None => break,
        }
    }
    Ok(passed)
}

fn unless_blocked(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<Option<usize>> {
    loop {
        match call() {
            Ok(length) => return Ok(Some(length)),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error),
        }
    }
}

const ROUNDS: u32 = 4;

/// How much is read at once, in bytes, and so the most that is kept for a
/// side that does not take it.
pub(super) const ROOM: usize = 16 * 1024;
