//! One relayed connection: two streams, and what is on its way between them.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};

use super::counters::{Count, Shared};
use super::poller::{Interest, Ready};
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

    /// Does what can be done now that a side is ready, without waiting. Once
    /// the guest has taken the connection, bytes go both ways. They are
    /// counted before they are passed on, so that who got them finds them
    /// counted.
    ///
    /// # Errors
    /// The connection has failed on one side, and what that side had sent
    /// before was passed on as far as the other took it.
    pub(super) fn serve(
        &mut self,
        side: Side,
        ready: Ready,
        room: &mut [u8],
        counters: &Shared,
    ) -> io::Result<()> {
        if self.connecting {
            if side == Side::Guest && (ready.failed() || ready.write()) {
                socket::connected(&self.guest.stream)?;
                self.connecting = false;
                counters.connections.one();
            } else if ready.failed() {
                return Err(ErrorKind::ConnectionReset.into());
            } else {
                return Ok(());
            }
        }
        let (client, guest) = (side == Side::Client, side == Side::Guest);
        let (read, written) = (ready.read() || ready.failed(), ready.write());
        if (client && read) || (guest && written) {
            self.client
                .pass_on(&self.guest.stream, room, &counters.bytes_to_guest)?;
        }
        if (guest && read) || (client && written) {
            self.guest
                .pass_on(&self.client.stream, room, &counters.bytes_to_client)?;
        }
        let end = if client { &self.client } else { &self.guest };
        if ready.failed() && !end.is_to_be_read() {
            return Err(ErrorKind::ConnectionReset.into());
        }
        Ok(())
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
            read: end.is_to_be_read(),
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

/// The side of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Client,
    Guest,
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

    fn is_to_be_read(&self) -> bool {
        !self.ended && self.is_passed_on()
    }

    /// Reads into `room` and writes it to `other`, for some rounds, so that
    /// one busy connection does not keep the others waiting.
    fn pass_on(&mut self, other: &TcpStream, room: &mut [u8], count: &Count) -> io::Result<()> {
        self.pass_rest(other)?;
        for _ in 0..ROUNDS {
            if !self.is_to_be_read() {
                break;
            }
            let Some(length) = unless_blocked(|| (&self.stream).read(room))? else {
                break;
            };
            self.ended = length == 0;
            count.add(length);
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
        Ok(())
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

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    /// A stream that does not block, and its peer.
    fn pair() -> (TcpStream, UnixStream) {
        let (stream, peer) = UnixStream::pair().unwrap();
        stream.set_nonblocking(true).unwrap();
        (OwnedFd::from(stream).into(), peer)
    }

    fn connection() -> (Connection, UnixStream, UnixStream) {
        let ((client, at_client), (guest, at_guest)) = (pair(), pair());
        let mut connection = Connection::new(client, guest, Vec::new());
        connection.connecting = false;
        (connection, at_client, at_guest)
    }

    #[test]
    fn last_words_before_a_reset_are_passed_on() {
        let (mut connection, mut client, mut guest) = connection();
        client.write_all(b"a request that is not read").unwrap();
        let mut room = [0; 64];
        let counters = Shared::default();
        connection
            .serve(Side::Client, Ready::READ, &mut room, &counters)
            .unwrap();
        guest.write_all(&[7; 1000]).unwrap();
        // What is unread when a socket is closed makes it a reset.
        drop(guest);
        let mut rounds = 0..100;
        let error = rounds.find_map(|_| {
            let served = connection.serve(Side::Guest, Ready::FAILED, &mut room, &counters);
            served.err()
        });
        assert_eq!(error.unwrap().kind(), ErrorKind::ConnectionReset);
        let counters = counters.read();
        assert_eq!(counters.bytes_to_guest(), 26);
        assert_eq!(counters.bytes_to_client(), 1000);
        let mut heard = [0; 1000];
        client.read_exact(&mut heard).unwrap();
        assert_eq!(heard, [7; 1000]);
    }

    #[test]
    fn side_that_failed_and_is_not_to_be_read_is_not_waited_for() {
        let (mut connection, mut client, guest) = connection();
        let mut room = vec![1; ROOM];
        let counters = Shared::default();
        client.set_nonblocking(true).unwrap();
        // Nobody reads, so it ends with something taken and not passed on.
        while connection.interests() == [Interest::READ; 2] {
            drop(client.write(&[1; 4096]));
            connection
                .serve(Side::Client, Ready::READ, &mut room, &counters)
                .unwrap();
        }
        let [of_client, of_guest] = connection.interests();
        assert_eq!(of_client, Interest::NONE);
        assert!(of_guest.write);
        let failed = connection.serve(Side::Client, Ready::FAILED, &mut room, &counters);
        assert!(failed.is_err());
        drop(guest);
    }
}
