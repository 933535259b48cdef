//! Datagrams are relayed.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Instant;

use super::counters::Shared;
use super::poller::{Interest, Poller};
use super::proxy::{self, ProxyProtocol};
use super::settings::RelaySettings;
use super::{FIRST, LISTENER, STOP, socket};

/// A socket of the host's, and one towards the guest for each client.
#[derive(Debug)]
pub(super) struct UdpRelay {
    socket: UdpSocket,
    address: SocketAddr,
    settings: RelaySettings,
    poller: Poller,
    counters: Arc<Shared>,
    clients: HashMap<u64, Client>,
    numbers: HashMap<SocketAddr, u64>,
    next: u64,
    /// A header and the longest datagram.
    room: Box<[u8]>,
    /// No client is given up before.
    next_look: Option<Instant>,
}

/// A client, and the socket that the guest answers to.
#[derive(Debug)]
struct Client {
    address: SocketAddr,
    socket: UdpSocket,
    header: Vec<u8>,
    last: Instant,
}

impl UdpRelay {
    pub(super) fn new(
        socket: UdpSocket,
        address: SocketAddr,
        settings: RelaySettings,
        poller: Poller,
        counters: Arc<Shared>,
    ) -> Self {
        Self {
            socket,
            address,
            settings,
            poller,
            counters,
            clients: HashMap::new(),
            numbers: HashMap::new(),
            next: FIRST,
            room: vec![0; ROOM].into(),
            next_look: None,
        }
    }

    /// Works until it is told to stop.
    pub(super) fn run(mut self) {
        let mut ready = Vec::new();
        loop {
            let wait = self
                .next_look
                .map(|time| time.saturating_duration_since(Instant::now()));
            if let Err(error) = self.poller.wait(wait, &mut ready) {
                log::error!("the relay at {} ends: {error}", self.address);
                break;
            }
            if ready.iter().any(|&(number, _)| number == STOP) {
                break;
            }
            for &(number, _) in &ready {
                if number == LISTENER {
                    self.take_from_clients();
                } else {
                    self.take_from_guest(number);
                }
            }
            self.give_up_silent();
        }
        self.counters.open.set(0);
    }

    /// Passes on what clients sent, some at a time.
    fn take_from_clients(&mut self) {
        for _ in 0..DATAGRAMS_AT_ONCE {
            let (_, datagram) = self.room.split_at_mut(proxy::LONGEST);
            let (length, address) = match self.socket.recv_from(datagram) {
                Ok(received) => received,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => continue,
            };
            let known = self.numbers.get(&address).copied();
            match known.or_else(|| self.admit(address)) {
                Some(number) => self.pass_to_guest(number, length),
                None => self.counters.refused.one(),
            }
        }
    }

    /// Makes a socket for a new client; `None` if there are too many, or
    /// no descriptor is left.
    fn admit(&mut self, address: SocketAddr) -> Option<u64> {
        if self.clients.len() >= self.settings.connections {
            return None;
        }
        let number = self.next;
        let socket = socket::connect_udp(self.settings.guest).ok()?;
        self.poller.add(&socket, number, Interest::READ).ok()?;
        self.next = number.saturating_add(1);
        let proxy = self.settings.proxy;
        let header =
            |version: ProxyProtocol| version.header(self.settings.protocol, address, self.address);
        let client = Client {
            address,
            socket,
            header: proxy.map_or_else(Vec::new, header),
            last: Instant::now(),
        };
        if self.next_look.is_none() {
            self.next_look = client.last.checked_add(self.settings.idle);
        }
        self.clients.insert(number, client);
        self.numbers.insert(address, number);
        self.counters.connections.one();
        self.counters.open.set(self.clients.len());
        Some(number)
    }

    /// Passes on the datagram of this length that was received, with the
    /// client's header in front.
    fn pass_to_guest(&mut self, number: u64, length: usize) {
        let Some(client) = self.clients.get_mut(&number) else {
            return;
        };
        client.last = Instant::now();
        let start = proxy::LONGEST.saturating_sub(client.header.len());
        let end = proxy::LONGEST.saturating_add(length);
        if let Some(front) = self.room.get_mut(start..proxy::LONGEST) {
            front.copy_from_slice(&client.header);
        }
        let datagram = self.room.get(start..end).unwrap_or_default();
        self.counters.bytes_to_guest.add(length);
        let mut sent = client.socket.send(datagram);
        if let Err(error) = &sent
            && error.kind() == ErrorKind::ConnectionRefused
        {
            // The guest did not take an earlier one; this one was not sent.
            self.counters.lost.one();
            sent = client.socket.send(datagram);
        }
        if sent.is_err() {
            self.counters.lost.one();
        }
    }

    /// Passes on what the guest answered to a client, some at a time.
    fn take_from_guest(&mut self, number: u64) {
        let Some(client) = self.clients.get_mut(&number) else {
            return;
        };
        for _ in 0..DATAGRAMS_AT_ONCE {
            let length = match client.socket.recv(&mut self.room) {
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                // The guest's host says that it did not take one.
                Err(_) => {
                    self.counters.lost.one();
                    continue;
                }
            };
            client.last = Instant::now();
            self.counters.bytes_to_client.add(length);
            let datagram = self.room.get(..length).unwrap_or_default();
            if self.socket.send_to(datagram, client.address).is_err() {
                self.counters.lost.one();
            }
        }
    }

    /// Gives up the clients that have been silent for long enough.
    fn give_up_silent(&mut self) {
        let now = Instant::now();
        if self.next_look.is_none_or(|time| now < time) {
            return;
        }
        let idle = self.settings.idle;
        let numbers = &mut self.numbers;
        self.clients.retain(|_, client| {
            let stays = now.saturating_duration_since(client.last) < idle;
            if !stays {
                numbers.remove(&client.address);
            }
            stays
        });
        self.counters.open.set(self.clients.len());
        // Where many clients end one after the other, not each is looked for
        // by itself.
        let earliest = self.clients.values().map(|client| client.last).min();
        let next = earliest.and_then(|last| last.checked_add(idle));
        let spaced = now.checked_add(idle.checked_div(LOOKS_PER_IDLE).unwrap_or_default());
        self.next_look = next.max(spaced.filter(|_| next.is_some()));
    }
}

const DATAGRAMS_AT_ONCE: u32 = 64;
const LOOKS_PER_IDLE: u32 = 16;

/// A header and the longest datagram, in bytes.
const ROOM: usize = proxy::LONGEST + 65_535;
