//! One connection: the guest's end and the process's own socket, each the
//! other's continuation.
//!
//! There is no room between the two but what the guest's end has: what a side
//! does not take fills it, and the other is then told to wait, by a closed
//! window or by not being read.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};

use smoltcp::socket::tcp::State;
use smoltcp::time::Instant;

use super::cable::Cable;
use super::counters::Shared;
use super::stack::Stack;
use crate::relay::{Interest, Ready};

/// Two ends that are joined. Neither blocks.
#[derive(Debug)]
pub(super) struct Joined {
    pub(super) stack: Stack,
    pub(super) stream: TcpStream,
    /// What the poller waits for.
    pub(super) interest: Interest,
    /// What the guest is sent first.
    header: Vec<u8>,
    /// The guest has taken the connection.
    established: bool,
    reads: Reads,
    /// The stream may take something.
    writable: bool,
    /// The guest has said all, and the stream's peer was told so.
    guest_ended: bool,
}

/// What is to be had from a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reads {
    /// Something, or its end, or nothing yet.
    Maybe,
    /// Nothing yet.
    Nothing,
    /// Its peer has said all, and the guest is told so.
    Ended,
}

/// What has become of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It goes on when something happens.
    Waits,
    /// It goes on at once.
    Works,
    /// Both sides have said all, and it was passed on.
    Over,
    /// One side has failed, and the other was told so.
    Failed,
}

impl Joined {
    pub(super) fn new(stack: Stack, stream: TcpStream, header: Vec<u8>) -> Self {
        Self {
            stack,
            stream,
            interest: Interest::NONE,
            header,
            established: false,
            reads: Reads::Maybe,
            writable: true,
            guest_ended: false,
        }
    }

    /// Whether the guest has taken the connection.
    pub(super) fn is_established(&self) -> bool {
        self.established
    }

    /// The poller says this of the stream.
    ///
    /// # Errors
    /// It has failed, and nothing is left to be read from it.
    pub(super) fn notice(&mut self, ready: Ready) -> io::Result<()> {
        self.writable |= ready.write() || ready.failed();
        match self.reads {
            Reads::Ended if ready.failed() => return Err(ErrorKind::ConnectionReset.into()),
            Reads::Nothing if ready.read() || ready.failed() => self.reads = Reads::Maybe,
            _ => {}
        }
        Ok(())
    }

    /// Does what can be done now, without waiting.
    pub(super) fn serve(&mut self, cable: &mut Cable, counters: &Shared, now: Instant) -> Outcome {
        let state = self.stack.state();
        if !self.established
            && !matches!(
                state,
                State::Listen | State::SynSent | State::SynReceived | State::Closed
            )
        {
            self.established = true;
            self.stack.ask_now_and_then();
            counters.connections.one();
        }
        let passed = self
            .pass_to_stream(counters)
            .and_then(|()| self.pass_to_guest(counters));
        let Ok(all_read) = passed else {
            self.abort(cable, now);
            return Outcome::Failed;
        };
        let all_sent = self.stack.transmit(cable, now);
        let both_ended = self.reads == Reads::Ended && self.guest_ended;
        match self.stack.state() {
            State::Closed | State::TimeWait if both_ended => Outcome::Over,
            State::Closed => {
                // The guest has reset it, or does not answer: then it is told.
                self.stack.transmit(cable, now);
                Outcome::Failed
            }
            _ if all_read && all_sent => Outcome::Waits,
            _ => Outcome::Works,
        }
    }

    /// Resets the guest's end.
    pub(super) fn abort(&mut self, cable: &mut Cable, now: Instant) {
        self.stack.socket().abort();
        self.stack.transmit(cable, now);
    }

    /// What the stream is to be waited for.
    pub(super) fn wanted(&self) -> Interest {
        Interest {
            read: self.established && self.reads == Reads::Nothing,
            write: !self.writable,
        }
    }

    /// Has the stream take what the guest sent, and its end.
    fn pass_to_stream(&mut self, counters: &Shared) -> io::Result<()> {
        let socket = self.stack.socket();
        while self.writable && socket.can_recv() {
            let stream = &mut self.stream;
            let written = socket.recv(|bytes| match stream.write(bytes) {
                Ok(length) => (length, Ok(length)),
                Err(error) => (0, Err(error)),
            });
            match written {
                Ok(Ok(length)) => counters.bytes_from_guest.add(length),
                Ok(Err(error)) if error.kind() == ErrorKind::WouldBlock => self.writable = false,
                Ok(Err(error)) if error.kind() == ErrorKind::Interrupted => {}
                Ok(Err(error)) => return Err(error),
                // Nothing more comes, as the state tells.
                Err(_) => break,
            }
        }
        let said_all = matches!(
            socket.state(),
            State::CloseWait | State::LastAck | State::Closing | State::TimeWait
        );
        if said_all && !socket.can_recv() && !self.guest_ended {
            self.stream.shutdown(Shutdown::Write)?;
            self.guest_ended = true;
        }
        Ok(())
    }

    /// Has the guest's end take what the stream's peer sent, and its end;
    /// whether that was all that there is, or all that finds room.
    fn pass_to_guest(&mut self, counters: &Shared) -> io::Result<bool> {
        let socket = self.stack.socket();
        if !self.header.is_empty() && socket.can_send() {
            let taken = socket.send_slice(&self.header).unwrap_or_default();
            self.header.drain(..taken);
        }
        if !self.header.is_empty() {
            return Ok(true);
        }
        for _ in 0..READS_AT_ONCE {
            if self.reads != Reads::Maybe || !socket.can_send() {
                return Ok(true);
            }
            let stream = &mut self.stream;
            let read = socket.send(|room| match stream.read(room) {
                Ok(length) => (length, Ok((length, room.len()))),
                Err(error) => (0, Err(error)),
            });
            match read {
                Ok(Ok((0, _))) => {
                    self.reads = Reads::Ended;
                    socket.close();
                }
                Ok(Ok((length, room))) => {
                    counters.bytes_to_guest.add(length);
                    if length < room {
                        self.reads = Reads::Nothing;
                    }
                }
                Ok(Err(error)) if error.kind() == ErrorKind::WouldBlock => {
                    self.reads = Reads::Nothing;
                }
                Ok(Err(error)) if error.kind() == ErrorKind::Interrupted => {}
                Ok(Err(error)) => return Err(error),
                // It is not to be sent anything, as the state tells.
                Err(_) => return Ok(true),
            }
        }
        Ok(false)
    }
}

/// So often a stream is read before it is the next one's turn.
const READS_AT_ONCE: u32 = 4;
