//! The server side of a guest: HTTP listeners and UDP echoes.

use std::net::SocketAddr;

use smoltcp::iface::{SocketHandle, SocketSet};
use smoltcp::socket::{tcp, udp};

use super::super::http::{self, Request};
use super::stack::{packet_buffer, tcp_socket};

/// An HTTP port: connections, and sockets that wait for more.
pub(super) struct HttpPort {
    port: u16,
    connections: Vec<Connection>,
}

impl HttpPort {
    pub(super) fn new(sockets: &mut SocketSet<'static>, port: u16) -> Self {
        let mut new = Self {
            port,
            connections: Vec::new(),
        };
        new.listen(sockets);
        new
    }

    /// Does what can be done without waiting; tells the peers of connections
    /// that are new.
    pub(super) fn step(&mut self, sockets: &mut SocketSet<'static>, name: &str) -> Vec<SocketAddr> {
        let new = self
            .connections
            .iter_mut()
            .filter_map(|connection| connection.step(sockets, name))
            .collect();
        self.connections.retain(|connection| {
            let ended = connection.has_ended(sockets);
            if ended {
                sockets.remove(connection.handle);
            }
            !ended
        });
        self.listen(sockets);
        new
    }

    /// Sees to it that as many connections can come as frames until the next
    /// time.
    fn listen(&mut self, sockets: &mut SocketSet<'static>) {
        let waiting = self
            .connections
            .iter()
            .filter(|connection| connection.waits(sockets))
            .count();
        let missing = FRAMES_AT_ONCE
            .saturating_sub(waiting)
            .min(MOST_CONNECTIONS.saturating_sub(self.connections.len()));
        for _ in 0..missing {
            let mut socket = tcp_socket();
            // It fails for port 0 only, which no configuration holds.
            let _: Option<()> = socket.listen(self.port).ok();
            self.connections.push(Connection::new(sockets.add(socket)));
        }
    }
}

/// One connection, or a socket that waits for one.
struct Connection {
    handle: SocketHandle,
    received: Vec<u8>,
    to_send: Vec<u8>,
    peer: Option<SocketAddr>,
}

impl Connection {
    fn new(handle: SocketHandle) -> Self {
        Self {
            handle,
            received: Vec::new(),
            to_send: Vec::new(),
            peer: None,
        }
    }

    fn state(&self, sockets: &SocketSet<'static>) -> tcp::State {
        sockets.get::<tcp::Socket<'_>>(self.handle).state()
    }

    fn waits(&self, sockets: &SocketSet<'static>) -> bool {
        self.state(sockets) == tcp::State::Listen
    }

    /// Whether nothing more is to be said; TIME-WAIT, which lasts for ten
    /// seconds, is not waited for.
    fn has_ended(&self, sockets: &SocketSet<'static>) -> bool {
        matches!(
            self.state(sockets),
            tcp::State::Closed | tcp::State::TimeWait
        )
    }

    /// Serves the peer; tells who it is if it is new.
    fn step(&mut self, sockets: &mut SocketSet<'static>, name: &str) -> Option<SocketAddr> {
        let socket = sockets.get_mut::<tcp::Socket<'_>>(self.handle);
        if !socket.is_active() || socket.state() == tcp::State::SynReceived {
            return None;
        }
        let peer = socket.remote_endpoint()?;
        let peer = SocketAddr::new(peer.addr.into(), peer.port);
        let is_new = self.peer.replace(peer).is_none();
        if self.talk(sockets, name, peer).is_none() {
            sockets.get_mut::<tcp::Socket<'_>>(self.handle).abort();
        }
        is_new.then_some(peer)
    }

    /// Reads, answers, writes; `None` if the peer does not speak HTTP.
    fn talk(
        &mut self,
        sockets: &mut SocketSet<'static>,
        name: &str,
        peer: SocketAddr,
    ) -> Option<()> {
        let socket = sockets.get_mut::<tcp::Socket<'_>>(self.handle);
        while socket.can_recv() {
            let taken = socket.recv(|bytes| {
                self.received.extend_from_slice(bytes);
                (bytes.len(), bytes.len())
            });
            taken.ok().filter(|&length| length > 0)?;
        }
        let mut close = !socket.may_recv();
        while let Some(asked) = Request::take(&mut self.received).ok()? {
            self.to_send.extend(http::greeting(name, &asked, peer));
            close |= asked.closes();
        }
        if socket.can_send() && !self.to_send.is_empty() {
            let sent = socket.send_slice(&self.to_send).ok()?;
            self.to_send.drain(..sent);
        }
        if close && self.to_send.is_empty() {
            socket.close();
        }
        Some(())
    }
}

/// A UDP port that answers each datagram with `"<address>:<port> "`, the
/// source that it saw, and the datagram.
pub(super) struct Echo(SocketHandle);

impl Echo {
    pub(super) fn new(sockets: &mut SocketSet<'static>, port: u16) -> Self {
        let mut socket = udp::Socket::new(packet_buffer(), packet_buffer());
        // It fails for port 0 only, which no configuration holds.
        let _: Option<()> = socket.bind(port).ok();
        Self(sockets.add(socket))
    }

    /// Answers what has come; tells from whom.
    pub(super) fn step(&self, sockets: &mut SocketSet<'static>) -> Vec<SocketAddr> {
        let socket = sockets.get_mut::<udp::Socket<'_>>(self.0);
        let mut peers = Vec::new();
        while socket.can_send() {
            let Ok((payload, meta)) = socket.recv() else {
                break;
            };
            let peer = SocketAddr::new(meta.endpoint.addr.into(), meta.endpoint.port);
            let mut answer = format!("{peer} ").into_bytes();
            answer.extend_from_slice(payload);
            // Too long an answer is lost, as it would be on a wire.
            let _: Option<()> = socket.send_slice(&answer, meta).ok();
            peers.push(peer);
        }
        peers
    }
}

/// How many frames the stack takes before its servers are served.
pub(super) const FRAMES_AT_ONCE: usize = 16;

const MOST_CONNECTIONS: usize = 256;
