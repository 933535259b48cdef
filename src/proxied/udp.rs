//! Exchanges of datagrams: of the guest with others, and of others with the
//! guest.

mod exchange;

use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};

use smoltcp::time::Instant;
use smoltcp::wire::UdpPacket;

use exchange::{Client, Exchange, Far, connect, why};

use super::listen::{Door, Doors};
use super::outside::{Outside, after};
use super::packet::{Packet, Sent, Why};
use super::reach::Way;
use crate::exposure::Protocol;
use crate::sys;

/// All of them, by number, and by their addresses on the guest's wire.
#[derive(Debug, Default)]
pub(super) struct Exchanges {
    all: HashMap<u64, Exchange>,
    numbers: HashMap<Ends, u64>,
    clients: HashMap<Client, u64>,
    /// How many came through each door.
    through: HashMap<u64, u32>,
    next: u64,
    /// None is forgotten before.
    next_look: Option<Instant>,
    /// The last port of the gateway's that was given to a client.
    port: u16,
}

/// An exchange's addresses on the guest's wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Ends {
    guest: SocketAddr,
    far: SocketAddr,
}

impl Exchanges {
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// Takes a datagram of the guest's.
    pub(super) fn receive(
        &mut self,
        outside: &mut Outside,
        doors: &Doors,
        packet: &Packet<'_>,
        datagram: &[u8],
        now: Instant,
    ) {
        let Ok(datagram) = UdpPacket::new_checked(datagram) else {
            return;
        };
        let ends = Ends {
            guest: SocketAddr::new(packet.source, datagram.src_port()),
            far: SocketAddr::new(packet.destination, datagram.dst_port()),
        };
        let known = self.numbers.get(&ends).copied();
        let begun = known.or_else(|| self.begin(outside, ends, packet, now));
        let Some(number) = begun else {
            return;
        };
        let Some(exchange) = self.all.get_mut(&number) else {
            return;
        };
        let sent = exchange.send(outside, doors, datagram.payload(), now);
        match sent {
            Ok(()) => outside
                .counters
                .bytes_from_guest
                .add(datagram.payload().len()),
            Err(error) => {
                outside.counters.lost.one();
                if let Some(why) = why(&error) {
                    outside.unreachable(&Sent::of(packet), why);
                }
            }
        }
    }

    /// The guest begins an exchange; its number, if it may.
    fn begin(
        &mut self,
        outside: &mut Outside,
        ends: Ends,
        packet: &Packet<'_>,
        now: Instant,
    ) -> Option<u64> {
        let sent = Sent::of(packet);
        let way = outside.reach.way(Protocol::Udp, ends.far);
        match way {
            Way::Denied => {
                outside.counters.denied.one();
                outside.unreachable(&sent, Why::Prohibited);
                return None;
            }
            Way::Unreachable(why) => {
                outside.counters.refused.one();
                outside.unreachable(&sent, why);
                return None;
            }
            Way::To { .. } | Way::Resolver(_) => {}
        }
        if self.all.len() >= outside.settings.flows {
            outside.counters.refused.one();
            return None;
        }
        let number = self.number();
        let far = match way {
            Way::To { peer, from } => connect(outside, number, peer, from).map(Far::Peer),
            Way::Resolver(address) => {
                let question = None;
                connect(outside, number, address, None).map(|socket| Far::Resolver {
                    socket,
                    address,
                    question,
                })
            }
            Way::Denied | Way::Unreachable(_) => return None,
        };
        match far {
            Ok(far) => {
                self.insert(outside, number, ends, far, now);
                Some(number)
            }
            Err(error) => {
                outside.counters.refused.one();
                if let Some(why) = why(&error) {
                    outside.unreachable(&sent, why);
                }
                None
            }
        }
    }

    /// Passes on what clients sent to a door, some at a time.
    pub(super) fn admit(
        &mut self,
        outside: &mut Outside,
        doors: &Doors,
        door: u64,
        room: &mut [u8],
        now: Instant,
    ) {
        let Some((door, socket)) = doors.datagrams(door) else {
            return;
        };
        for _ in 0..DATAGRAMS_AT_ONCE {
            let datagram = match sys::receive_datagram(socket, room) {
                Ok(datagram) => datagram,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => continue,
            };
            let Some(ends) = self.client(outside, door, datagram, now) else {
                outside.counters.refused.one();
                continue;
            };
            let payload = room.get(..datagram.length).unwrap_or_default();
            let host = SocketAddr::new(datagram.to, host_port(socket));
            let proxy = outside.settings.proxy;
            let header = proxy.map(|version| version.header(Protocol::Udp, datagram.from, host));
            let header = header.unwrap_or_default();
            outside.counters.bytes_to_guest.add(payload.len());
            outside.send_datagram(ends.far, ends.guest, &[&header, payload]);
        }
    }

    /// The exchange that a client's datagram belongs to, a new one if it must
    /// be; `None` if it is not let in.
    fn client(
        &mut self,
        outside: &Outside,
        door: &Door,
        datagram: sys::Datagram,
        now: Instant,
    ) -> Option<Ends> {
        let client = Client {
            door: door.number,
            address: datagram.from,
            host: datagram.to,
        };
        let known = self.clients.get(&client);
        if let Some(exchange) = known.and_then(|number| self.all.get_mut(number)) {
            exchange.last = now;
            return Some(exchange.ends);
        }
        let open = self.through.get(&door.number).copied().unwrap_or_default();
        let is_full = self.all.len() >= outside.settings.flows;
        if is_full || !door.admits(client.address.ip(), client.host, open) {
            return None;
        }
        let far = self.seen_as(outside, client.address, door.guest)?;
        let guest = door.guest;
        let ends = Ends { guest, far };
        let number = self.number();
        self.insert(outside, number, ends, Far::Client(client), now);
        Some(ends)
    }

    /// The address that the guest sees a client with.
    fn seen_as(
        &mut self,
        outside: &Outside,
        client: SocketAddr,
        guest: SocketAddr,
    ) -> Option<SocketAddr> {
        let is_free = |far: SocketAddr| !self.numbers.contains_key(&Ends { guest, far });
        if outside.shows(client.ip()) && is_free(client) {
            return Some(client);
        }
        let gateway = outside.settings.gateway(guest.is_ipv4());
        let mut port = self.port;
        for _ in 0..PORTS_TRIED {
            port = port.checked_add(1).unwrap_or(FIRST_PORT).max(FIRST_PORT);
            let far = SocketAddr::new(gateway, port);
            if is_free(far) {
                self.port = port;
                return Some(far);
            }
        }
        None
    }

    /// Passes on what a peer sent to the guest, some at a time.
    pub(super) fn notice(
        &mut self,
        outside: &mut Outside,
        number: u64,
        room: &mut [u8],
        now: Instant,
    ) {
        let Some(exchange) = self.all.get_mut(&number) else {
            return;
        };
        for _ in 0..DATAGRAMS_AT_ONCE {
            let socket = match &exchange.far {
                Far::Peer(socket) | Far::Resolver { socket, .. } => socket,
                Far::Client(_) => return,
            };
            match socket.recv(room) {
                Ok(length) => {
                    exchange.last = now;
                    if let Far::Resolver { question, .. } = &mut exchange.far {
                        *question = None;
                    }
                    let payload = room.get(..length).unwrap_or_default();
                    outside.counters.bytes_to_guest.add(length);
                    outside.send_datagram(exchange.ends.far, exchange.ends.guest, &[payload]);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => {
                    if exchange.ask_next(outside, now) {
                        return;
                    }
                    if let Some(why) = why(&error) {
                        exchange.unreachable(outside, why);
                    }
                }
            }
        }
    }

    /// Forgets the exchanges that have been silent for long enough.
    pub(super) fn forget(&mut self, outside: &Outside, now: Instant) {
        if self.next_look.is_none_or(|time| now < time) {
            return;
        }
        let idle = outside.settings.idle;
        let silent = |exchange: &&Exchange| after(exchange.last, idle) <= now;
        let silent = self
            .all
            .values()
            .filter(silent)
            .map(|exchange| exchange.number);
        for number in silent.collect::<Vec<_>>() {
            self.remove(number);
        }
        // Where many end one after the other, not each is looked for by
        // itself.
        let earliest = self.all.values().map(|exchange| exchange.last).min();
        let spaced = after(now, idle.checked_div(LOOKS_PER_IDLE).unwrap_or_default());
        self.next_look = earliest.map(|last| after(last, idle).max(spaced));
    }

    /// When one may be to be forgotten.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.next_look
    }

    fn insert(&mut self, outside: &Outside, number: u64, ends: Ends, far: Far, now: Instant) {
        if self.next_look.is_none() {
            self.next_look = Some(after(now, outside.settings.idle));
        }
        self.numbers.insert(ends, number);
        if let Far::Client(client) = far {
            self.clients.insert(client, number);
            let open = self.through.entry(client.door).or_default();
            *open = open.saturating_add(1);
        }
        let exchange = Exchange {
            number,
            ends,
            far,
            last: now,
        };
        self.all.insert(number, exchange);
    }

    fn remove(&mut self, number: u64) {
        let Some(exchange) = self.all.remove(&number) else {
            return;
        };
        self.numbers.remove(&exchange.ends);
        if let Far::Client(client) = exchange.far {
            self.clients.remove(&client);
            if let Some(open) = self.through.get_mut(&client.door) {
                *open = open.saturating_sub(1);
            }
        }
    }

    fn number(&mut self) -> u64 {
        self.next = self.next.saturating_add(1);
        self.next
    }
}

fn host_port(socket: &UdpSocket) -> u16 {
    socket.local_addr().map_or(0, |address| address.port())
}

const DATAGRAMS_AT_ONCE: u32 = 64;
const LOOKS_PER_IDLE: u32 = 16;

/// Of the gateway's ports, those from here on stand for clients.
const FIRST_PORT: u16 = 32_768;
const PORTS_TRIED: u32 = 32_768;
