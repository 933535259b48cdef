//! The connections: of the guest to others, and of others to the guest.

mod table;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::io;
use std::net::{SocketAddr, TcpStream};

use smoltcp::time::Instant;
use smoltcp::wire::TcpPacket;

use super::joined::{Joined, Outcome};
use super::listen::Door;
use super::outside::{Outside, Token, after};
use super::packet::{self, Packet, Sent, Why};
use super::reach::Way;
use super::socket;
use super::stack::{self, Stack};
use crate::exposure::Protocol;
use crate::relay::socket as streams;
use crate::relay::{Interest, Ready};

/// All of them, by number, and by their addresses on the guest's wire.
#[derive(Debug, Default)]
pub(super) struct Connections {
    /// Numbers are never used again, so that what the poller still has to say
    /// of an ended connection is not taken for another's.
    all: HashMap<u64, Connection>,
    numbers: HashMap<Ends, u64>,
    next: u64,
    deadlines: BTreeSet<(Instant, u64)>,
    /// Those that something has happened to.
    touched: Vec<u64>,
    /// Those that wait for the cable.
    blocked: BTreeSet<u64>,
    /// Those that only wait for what may still be under way (`TIME-WAIT`), the
    /// oldest first.
    lingering: VecDeque<u64>,
    /// How many came through each door.
    through: HashMap<u64, u32>,
    /// The last port of the gateway's that was given to a client.
    port: u16,
}

/// A connection's addresses on the guest's wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Ends {
    guest: SocketAddr,
    far: SocketAddr,
}

#[derive(Debug)]
struct Connection {
    ends: Ends,
    stage: Stage,
    deadline: Option<Instant>,
    is_touched: bool,
    door: Option<u64>,
}

#[derive(Debug)]
enum Stage {
    /// The guest has asked, by this packet, and the other side was asked.
    Asked {
        stream: TcpStream,
        packet: Vec<u8>,
        resolver: Option<SocketAddr>,
    },
    Joined(Box<Joined>),
    Lingering(Box<Stack>),
}

impl Connections {
    /// Takes a packet of the guest's.
    pub(super) fn receive(
        &mut self,
        outside: &mut Outside,
        packet: &Packet<'_>,
        segment: &[u8],
        now: Instant,
    ) {
        let Ok(segment) = TcpPacket::new_checked(segment) else {
            return;
        };
        let ends = Ends {
            guest: SocketAddr::new(packet.source, segment.src_port()),
            far: SocketAddr::new(packet.destination, segment.dst_port()),
        };
        let begins = segment.syn() && !segment.ack() && !segment.rst();
        let number = self.numbers.get(&ends).copied();
        let known = number.and_then(|number| Some((number, self.all.get_mut(&number)?)));
        match known {
            Some((number, connection)) => match &mut connection.stage {
                Stage::Asked { .. } if segment.rst() => self.remove(outside, number),
                // It asks again for what is being asked for.
                Stage::Asked { .. } => {}
                Stage::Joined(joined) => {
                    joined.stack.receive(&mut outside.cable, packet.bytes, now);
                    self.touch(number);
                }
                Stage::Lingering(_) if begins => {
                    self.remove(outside, number);
                    self.ask(outside, ends, packet, now);
                }
                Stage::Lingering(stack) => {
                    stack.receive(&mut outside.cable, packet.bytes, now);
                    self.touch(number);
                }
            },
            None if begins => self.ask(outside, ends, packet, now),
            None => stack::refuse(&mut outside.cable, ends.far, packet.bytes, now),
        }
    }

    /// The guest asks for a connection.
    fn ask(&mut self, outside: &mut Outside, ends: Ends, packet: &Packet<'_>, now: Instant) {
        if self.is_full(outside) {
            outside.counters.refused.one();
            return stack::refuse(&mut outside.cable, ends.far, packet.bytes, now);
        }
        let (peer, from, resolver) = match outside.reach.way(Protocol::Tcp, ends.far) {
            Way::To { peer, from } => (peer, from, None),
            Way::Resolver(resolver) => (resolver, None, Some(resolver)),
            Way::Unreachable(why) => {
                outside.counters.refused.one();
                return outside.unreachable(&Sent::of(packet), why);
            }
            Way::Denied => {
                outside.counters.denied.one();
                return outside.unreachable(&Sent::of(packet), Why::Prohibited);
            }
        };
        let within = outside.settings.connect_within;
        let number = self.number();
        let asked = socket::connect_tcp(peer, from, within).and_then(|stream| {
            let token = Token::Connection(number).into();
            outside.poller.add(&stream, token, Interest::WRITE)?;
            Ok(stream)
        });
        match asked {
            Ok(stream) => {
                let packet = packet.bytes.to_vec();
                let stage = Stage::Asked {
                    stream,
                    packet,
                    resolver,
                };
                // The system gives up by itself, nearly in time; this is for
                // where it does not.
                let deadline = after(now, within.saturating_mul(2));
                self.insert(outside, number, ends, stage, None);
                self.set_deadline(number, Some(deadline));
            }
            Err(error) => refuse(outside, ends, packet, &error, now),
        }
    }

    /// Someone asks for a connection to the guest, and has been accepted.
    pub(super) fn admit(&mut self, outside: &mut Outside, stream: TcpStream, door: &Door) {
        let joined = self.join(outside, &stream, door);
        let Some((ends, stack, header)) = joined else {
            outside.counters.refused.one();
            return streams::reset(stream);
        };
        let number = self.number();
        let token = Token::Connection(number).into();
        let added = streams::prepare(&stream)
            .and_then(|()| outside.poller.add(&stream, token, Interest::NONE));
        if added.is_err() {
            outside.counters.refused.one();
            return streams::reset(stream);
        }
        let stage = Stage::Joined(Box::new(Joined::new(stack, stream, header)));
        self.insert(outside, number, ends, stage, Some(door.number));
        self.touch(number);
    }

    /// The guest's end of a connection for a client; `None` if it is not let
    /// in.
    fn join(
        &mut self,
        outside: &mut Outside,
        stream: &TcpStream,
        door: &Door,
    ) -> Option<(Ends, Stack, Vec<u8>)> {
        // A client that has gone has no address any more.
        let (client, host) = (stream.peer_addr().ok()?, stream.local_addr().ok()?);
        let open = self.through.get(&door.number).copied().unwrap_or_default();
        if self.is_full(outside) || !door.admits(client.ip(), host.ip(), open) {
            return None;
        }
        let far = self.seen_as(outside, client, door.guest)?;
        let ends = Ends {
            guest: door.guest,
            far,
        };
        let (room, within) = (outside.settings.room, outside.settings.connect_within);
        let mut stack = Stack::connect(&mut outside.cable, far, door.guest, room)?;
        stack.give_up_after(within);
        let proxy = outside.settings.proxy;
        let header = proxy.map(|version| version.header(Protocol::Tcp, client, host));
        Some((ends, stack, header.unwrap_or_default()))
    }

    /// The poller says this of a connection's stream.
    pub(super) fn notice(
        &mut self,
        outside: &mut Outside,
        number: u64,
        ready: Ready,
        now: Instant,
    ) {
        let Some(connection) = self.all.get_mut(&number) else {
            return;
        };
        match &mut connection.stage {
            Stage::Asked { stream, .. } => {
                let result = streams::connected(stream).and_then(|()| streams::prepare(stream));
                self.answered(outside, number, result, now);
            }
            Stage::Joined(joined) => {
                if joined.notice(ready).is_err() {
                    joined.abort(&mut outside.cable, now);
                    return self.fail(outside, number);
                }
                self.touch(number);
            }
            Stage::Lingering(_) => {}
        }
    }

    /// The other side has answered what the guest asked for.
    fn answered(
        &mut self,
        outside: &mut Outside,
        number: u64,
        result: io::Result<()>,
        now: Instant,
    ) {
        let Some(mut connection) = self.take(outside, number) else {
            return;
        };
        let Stage::Asked {
            stream,
            packet,
            resolver,
        } = connection.stage
        else {
            return;
        };
        let ends = connection.ends;
        if let Err(error) = result {
            if let Some(resolver) = resolver {
                outside.reach.resolvers().pass_over(resolver);
            }
            if let Some(packet) = packet::again(&packet) {
                refuse(outside, ends, &packet, &error, now);
            }
            return;
        }
        let (room, within) = (outside.settings.room, outside.settings.connect_within);
        let Some(mut stack) = Stack::listen(&mut outside.cable, ends.far, room) else {
            return streams::reset(stream);
        };
        stack.give_up_after(within);
        stack.receive(&mut outside.cable, &packet, now);
        let mut joined = Joined::new(stack, stream, Vec::new());
        joined.interest = Interest::WRITE;
        connection.stage = Stage::Joined(Box::new(joined));
        connection.deadline = None;
        connection.is_touched = false;
        self.numbers.insert(ends, number);
        self.all.insert(number, connection);
        self.count(outside);
        self.touch(number);
    }

    /// Has those go on whose time has come.
    pub(super) fn meet_deadlines(&mut self, outside: &mut Outside, now: Instant) {
        while let Some(&(time, number)) = self.deadlines.first() {
            if time > now {
                break;
            }
            self.deadlines.pop_first();
            let Some(connection) = self.all.get_mut(&number) else {
                continue;
            };
            connection.deadline = None;
            if matches!(connection.stage, Stage::Asked { .. }) {
                let late = io::Error::from_raw_os_error(libc::ETIMEDOUT);
                self.answered(outside, number, Err(late), now);
            } else {
                self.touch(number);
            }
        }
    }

    /// Has those go on that wait for the cable.
    pub(super) fn unblock(&mut self) {
        for number in std::mem::take(&mut self.blocked) {
            self.touch(number);
        }
    }

    /// Serves what something has happened to; whether more is to be done at
    /// once.
    pub(super) fn serve(&mut self, outside: &mut Outside, now: Instant) -> bool {
        let mut touched = std::mem::take(&mut self.touched);
        for number in touched.drain(..) {
            self.serve_one(outside, number, now);
        }
        // What was touched meanwhile is served next time; the room is kept.
        touched.append(&mut self.touched);
        self.touched = touched;
        !self.touched.is_empty()
    }

    /// When there is something to be done, if nothing happens before.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|&(time, _)| time)
    }

    fn serve_one(&mut self, outside: &mut Outside, number: u64, now: Instant) {
        let Some(connection) = self.all.get_mut(&number) else {
            return;
        };
        connection.is_touched = false;
        let (deadline, works) = match &mut connection.stage {
            Stage::Asked { .. } => return,
            Stage::Joined(joined) => {
                let outcome = joined.serve(&mut outside.cable, &outside.counters, now);
                let wanted = joined.wanted();
                let token = Token::Connection(number).into();
                let is_good = match outcome {
                    Outcome::Over => return self.linger(outside, number),
                    Outcome::Failed => false,
                    Outcome::Waits | Outcome::Works if joined.interest == wanted => true,
                    Outcome::Waits | Outcome::Works => {
                        joined.interest = wanted;
                        let changed = outside.poller.modify(&joined.stream, token, wanted);
                        if changed.is_err() {
                            joined.abort(&mut outside.cable, now);
                        }
                        changed.is_ok()
                    }
                };
                if !is_good {
                    return self.fail(outside, number);
                }
                (joined.stack.deadline(now), outcome == Outcome::Works)
            }
            Stage::Lingering(stack) => {
                stack.transmit(&mut outside.cable, now);
                match stack.deadline(now) {
                    Some(deadline) => (Some(deadline), false),
                    None => return self.remove(outside, number),
                }
            }
        };
        let blocked = outside.cable.is_blocked();
        if blocked {
            self.blocked.insert(number);
        }
        let due = deadline.is_some_and(|time| time <= now);
        if works || due && !blocked {
            self.touch(number);
        }
        self.set_deadline(number, deadline.filter(|_| !due));
    }

    /// Both sides have said all.
    fn linger(&mut self, outside: &mut Outside, number: u64) {
        let Some(connection) = self.take(outside, number) else {
            return;
        };
        let Stage::Joined(joined) = connection.stage else {
            return;
        };
        let mut stack = joined.stack;
        let Some(deadline) = stack.deadline(outside.now()) else {
            return;
        };
        if self.lingering.len() >= LINGERING
            && let Some(oldest) = self.lingering.pop_front()
        {
            self.remove(outside, oldest);
        }
        let stage = Stage::Lingering(Box::new(stack));
        self.lingering.push_back(number);
        self.insert(outside, number, connection.ends, stage, None);
        self.set_deadline(number, Some(deadline));
    }

    /// One side has failed, and the guest knows.
    fn fail(&mut self, outside: &mut Outside, number: u64) {
        if let Some(connection) = self.take(outside, number)
            && let Stage::Joined(joined) = connection.stage
        {
            if !joined.is_established() {
                outside.counters.refused.one();
            }
            streams::reset(joined.stream);
        }
    }

    /// Ends them all with resets.
    pub(super) fn reset(&mut self, outside: &mut Outside, now: Instant) {
        let numbers: Vec<u64> = self.all.keys().copied().collect();
        for number in numbers {
            if let Some(connection) = self.take(outside, number)
                && let Stage::Joined(mut joined) = connection.stage
            {
                joined.abort(&mut outside.cable, now);
                streams::reset(joined.stream);
            }
        }
    }
}

/// Tells the guest that nobody took its connection: as the other side did, or
/// as a router on the way would.
fn refuse(outside: &mut Outside, ends: Ends, packet: &Packet<'_>, error: &io::Error, now: Instant) {
    outside.counters.refused.one();
    match socket::why(error) {
        Some(why) => outside.unreachable(&Sent::of(packet), why),
        None => stack::refuse(&mut outside.cable, ends.far, packet.bytes, now),
    }
}

/// So many may linger.
const LINGERING: usize = 256;
