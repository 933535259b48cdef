//! Echoes: of the gateway by itself, of others by the system's leave.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::{IpAddr, UdpSocket};

use smoltcp::time::Instant;

use super::outside::{Outside, Token, after};
use super::packet::{Packet, Sent, Why, send_icmp};
use super::reach::Way;
use super::socket;
use crate::relay::Interest;

/// The echoes that the guest waits for, by number, and by what tells them
/// apart on the guest's wire.
#[derive(Debug)]
pub(super) struct Echoes {
    all: HashMap<u64, Echo>,
    numbers: HashMap<Ends, u64>,
    next: u64,
    next_look: Option<Instant>,
}

/// What tells an exchange of echoes from others on the guest's wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Ends {
    guest: IpAddr,
    far: IpAddr,
    identifier: [u8; 2],
}

#[derive(Debug)]
struct Echo {
    ends: Ends,
    socket: UdpSocket,
    last: Instant,
}

impl Echoes {
    pub(super) fn new() -> Self {
        Self {
            all: HashMap::new(),
            numbers: HashMap::new(),
            next: 0,
            next_look: None,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// Takes a message of the guest's; only requests for an echo mean anything
    /// here.
    pub(super) fn receive(
        &mut self,
        outside: &mut Outside,
        packet: &Packet<'_>,
        message: &[u8],
        now: Instant,
    ) {
        let ipv4 = packet.source.is_ipv4();
        let [kind, 0, _, _, high, low, ..] = *message else {
            return;
        };
        if kind != request(ipv4) {
            return;
        }
        if packet.destination == outside.settings.gateway(ipv4) {
            let (from, to) = (packet.destination, packet.source);
            return outside.send_icmp(from, to, &answer(message, reply(ipv4), [high, low]));
        }
        let ends = Ends {
            guest: packet.source,
            far: packet.destination,
            identifier: [high, low],
        };
        let known = self.numbers.get(&ends).copied();
        let Some(number) = known.or_else(|| self.begin(outside, ends, packet, now)) else {
            return;
        };
        let Some(echo) = self.all.get_mut(&number) else {
            return;
        };
        echo.last = now;
        // The system puts in an identifier of its own, and the checksum.
        if let Err(error) = echo.socket.send(message) {
            outside.counters.lost.one();
            if let Some(why) = socket::why(&error) {
                outside.unreachable(&Sent::of(packet), why);
            }
        }
    }

    fn begin(
        &mut self,
        outside: &mut Outside,
        ends: Ends,
        packet: &Packet<'_>,
        now: Instant,
    ) -> Option<u64> {
        let sent = Sent::of(packet);
        let (peer, from) = match outside.reach.echo_way(ends.far) {
            Way::To { peer, from } => (peer.ip(), from),
            Way::Unreachable(why) => {
                outside.counters.refused.one();
                outside.unreachable(&sent, why);
                return None;
            }
            Way::Denied | Way::Resolver(_) => {
                outside.counters.denied.one();
                outside.unreachable(&sent, Why::Prohibited);
                return None;
            }
        };
        if self.all.len() >= outside.settings.flows {
            outside.counters.refused.one();
            return None;
        }
        let number = self.next.saturating_add(1);
        let token = Token::Echo(number).into();
        let socket = socket::connect_echo(peer, from).and_then(|socket| {
            outside.poller.add(&socket, token, Interest::READ)?;
            Ok(socket)
        });
        match socket {
            Ok(socket) => {
                self.next = number;
                self.numbers.insert(ends, number);
                let last = now;
                self.all.insert(number, Echo { ends, socket, last });
                let look = after(now, outside.settings.idle);
                self.next_look.get_or_insert(look);
                Some(number)
            }
            Err(error) => {
                outside.counters.refused.one();
                if let Some(why) = socket::why(&error) {
                    outside.unreachable(&sent, why);
                }
                None
            }
        }
    }

    /// Passes on what came back, some at a time.
    pub(super) fn notice(
        &mut self,
        outside: &mut Outside,
        number: u64,
        room: &mut [u8],
        now: Instant,
    ) {
        let Some(echo) = self.all.get_mut(&number) else {
            return;
        };
        for _ in 0..MESSAGES_AT_ONCE {
            match echo.socket.recv(room) {
                Ok(length) => {
                    echo.last = now;
                    let message = room.get(..length).unwrap_or_default();
                    let Ends {
                        guest,
                        far,
                        identifier,
                    } = echo.ends;
                    let message = answer(message, reply(guest.is_ipv4()), identifier);
                    outside.send_icmp(far, guest, &message);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => outside.counters.lost.one(),
            }
        }
    }

    /// Forgets the echoes that nobody has asked for for long enough.
    pub(super) fn forget(&mut self, outside: &Outside, now: Instant) {
        if self.next_look.is_none_or(|time| now < time) {
            return;
        }
        let idle = outside.settings.idle;
        let numbers = &mut self.numbers;
        self.all.retain(|_, echo| {
            let stays = after(echo.last, idle) > now;
            if !stays {
                numbers.remove(&echo.ends);
            }
            stays
        });
        self.next_look = (!self.all.is_empty()).then(|| after(now, idle));
    }

    /// When one may be to be forgotten.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.next_look
    }
}

/// A message with another type and identifier; its checksum is no matter.
fn answer(message: &[u8], kind: u8, [high, low]: [u8; 2]) -> Vec<u8> {
    let mut answer = message.to_vec();
    if let [first, _, _, _, one, two, ..] = answer.as_mut_slice() {
        (*first, *one, *two) = (kind, high, low);
    }
    answer
}

/// The type of a request (RFC 792, RFC 4443).
fn request(ipv4: bool) -> u8 {
    if ipv4 { 8 } else { 128 }
}

/// The type of an answer.
fn reply(ipv4: bool) -> u8 {
    if ipv4 { 0 } else { 129 }
}

impl Outside {
    /// Sends the guest a message, or counts it as lost.
    fn send_icmp(&mut self, from: IpAddr, to: IpAddr, message: &[u8]) {
        if !send_icmp(&mut self.cable, from, to, message) {
            self.counters.lost.one();
        }
    }
}

const MESSAGES_AT_ONCE: u32 = 64;
