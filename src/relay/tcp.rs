//! Connections are relayed.

use std::collections::HashMap;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::counters::Shared;
use super::poller::{Interest, Poller, Ready};
use super::settings::RelaySettings;
use super::stream::{Connection, ROOM, Side};
use super::{FIRST, LISTENER, STOP, socket};

/// A listening socket and the connections that came of it.
#[derive(Debug)]
pub(super) struct TcpRelay {
    listener: TcpListener,
    settings: RelaySettings,
    poller: Poller,
    counters: Arc<Shared>,
    /// Numbers are never used again, so that what the poller still has to say
    /// of an ended connection is not taken for another's.
    connections: HashMap<u64, Connection>,
    next: u64,
    room: Box<[u8]>,
    /// Given away to take a client that is then turned away.
    spare: Option<OwnedFd>,
    /// Nothing is accepted until then.
    paused: Option<Instant>,
}

impl TcpRelay {
    pub(super) fn new(
        listener: TcpListener,
        settings: RelaySettings,
        poller: Poller,
        counters: Arc<Shared>,
    ) -> Self {
        Self {
            spare: socket::spare(&listener),
            listener,
            settings,
            poller,
            counters,
            connections: HashMap::new(),
            next: FIRST,
            room: vec![0; ROOM].into(),
            paused: None,
        }
    }

    /// Works until it is told to stop; then resets what is under way.
    pub(super) fn run(mut self) {
        let mut ready = Vec::new();
        loop {
            let pause = self
                .paused
                .map(|until| until.saturating_duration_since(Instant::now()));
            if let Err(error) = self.poller.wait(pause, &mut ready) {
                log::error!("the relay at {} ends: {error}", self.settings.listen);
                break;
            }
            if ready.iter().any(|&(number, _)| number == STOP) {
                break;
            }
            self.resume();
            for &(number, what) in &ready {
                if number == LISTENER {
                    self.accept();
                } else {
                    self.serve(number, what);
                }
            }
        }
        for (_, connection) in self.connections.drain() {
            connection.reset();
        }
        self.counters.open.set(0);
    }

    /// Takes the clients that wait, some at a time.
    fn accept(&mut self) {
        for _ in 0..ACCEPTED_AT_ONCE {
            match socket::accept(&self.listener) {
                Ok(client) => self.admit(client),
                Err(Errno::AGAIN) => return,
                Err(Errno::MFILE | Errno::NFILE) => {
                    if !self.turn_away() {
                        return self.pause();
                    }
                }
                Err(Errno::NOBUFS | Errno::NOMEM) => return self.pause(),
                // A client that has gone, and the network's errors of a new
                // connection, which accept(2) says to take for one.
                Err(_) => {}
            }
        }
    }

    /// Begins to relay a client, or turns it away.
    fn admit(&mut self, client: TcpStream) {
        let is_full = self.connections.len() >= self.settings.connections;
        let connection = if is_full {
            None
        } else {
            // A client that has gone has no address any more.
            self.header(&client)
                .and_then(|header| Ok((header, socket::connect_tcp(self.settings.guest)?)))
                .ok()
        };
        let Some((header, guest)) = connection else {
            self.counters.refused.one();
            return socket::reset(client);
        };
        let number = self.next;
        self.next = number.saturating_add(1);
        let connection = Connection::new(client, guest, header);
        let [client, guest] = &[&connection.client, &connection.guest];
        let added = socket::prepare(&client.stream)
            .and_then(|()| socket::prepare(&guest.stream))
            .and_then(|()| {
                let place = token(number, Side::Client);
                self.poller.add(&client.stream, place, client.interest)
            })
            .and_then(|()| {
                let place = token(number, Side::Guest);
                self.poller.add(&guest.stream, place, guest.interest)
            });
        self.connections.insert(number, connection);
        self.counters.open.set(self.connections.len());
        self.settle(number, added);
    }

    /// What the guest is to be told of the client.
    fn header(&self, client: &TcpStream) -> io::Result<Vec<u8>> {
        let Some(version) = self.settings.proxy else {
            return Ok(Vec::new());
        };
        let (client, host) = (client.peer_addr()?, client.local_addr()?);
        Ok(version.header(self.settings.protocol, client, host))
    }

    /// One side of a connection is ready.
    fn serve(&mut self, token: u64, ready: Ready) {
        let (number, side) = of_token(token);
        let Some(connection) = self.connections.get_mut(&number) else {
            return;
        };
        let outcome = connection.serve(side, ready, &mut self.room, &self.counters);
        self.settle(number, outcome);
    }

    /// Has the poller wait for what the connection needs next, or ends it.
    fn settle(&mut self, number: u64, outcome: io::Result<()>) {
        let Some(connection) = self.connections.get_mut(&number) else {
            return;
        };
        let outcome = outcome.and_then(|()| {
            let [client, guest] = connection.interests();
            let wanted = [
                (&mut connection.client, Side::Client, client),
                (&mut connection.guest, Side::Guest, guest),
            ];
            for (end, side, interest) in wanted {
                if end.interest != interest {
                    let place = token(number, side);
                    self.poller.modify(&end.stream, place, interest)?;
                    end.interest = interest;
                }
            }
            Ok(())
        });
        if outcome.is_ok() && !connection.is_over() {
            return;
        }
        let Some(connection) = self.connections.remove(&number) else {
            return;
        };
        self.counters.open.set(self.connections.len());
        if connection.is_connecting() {
            self.counters.refused.one();
        }
        if outcome.is_err() {
            connection.reset();
        }
    }

    /// Takes one client by the spare descriptor and resets it; `false` if
    /// there was none, or there is none again.
    fn turn_away(&mut self) -> bool {
        if self.spare.take().is_some()
            && let Ok(client) = socket::accept(&self.listener)
        {
            self.counters.refused.one();
            socket::reset(client);
        }
        self.spare = socket::spare(&self.listener);
        self.spare.is_some()
    }

    /// Lets clients wait for a while, since accepting them fails.
    fn pause(&mut self) {
        if self
            .poller
            .modify(&self.listener, LISTENER, Interest::NONE)
            .is_ok()
        {
            self.paused = Instant::now().checked_add(PAUSE);
        }
    }

    /// Takes clients again when the pause is over.
    fn resume(&mut self) {
        if self.paused.is_none_or(|until| Instant::now() < until) {
            return;
        }
        self.spare = self.spare.take().or_else(|| socket::spare(&self.listener));
        if self
            .poller
            .modify(&self.listener, LISTENER, Interest::READ)
            .is_ok()
        {
            self.paused = None;
        }
    }
}

/// The number of a connection's side in the poller.
fn token(number: u64, side: Side) -> u64 {
    number.wrapping_shl(1) | u64::from(side == Side::Guest)
}

fn of_token(token: u64) -> (u64, Side) {
    let side = if token & 1 == 0 {
        Side::Client
    } else {
        Side::Guest
    };
    (token >> 1, side)
}

const ACCEPTED_AT_ONCE: u32 = 64;
const PAUSE: Duration = Duration::from_millis(100);
