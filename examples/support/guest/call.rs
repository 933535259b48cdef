//! The client side of a guest: one TCP or UDP exchange, until it is answered
//! or its time is up.

use std::io;
use std::net::SocketAddr;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use smoltcp::iface::{Context, SocketHandle, SocketSet};
use smoltcp::socket::{tcp, udp};
use smoltcp::wire::IpEndpoint;

use super::stack::{packet_buffer, tcp_socket};

/// What the owner of a guest asks of it.
pub(super) struct Order {
    pub(super) to: SocketAddr,
    pub(super) what: What,
    pub(super) deadline: Instant,
    pub(super) answer: SyncSender<io::Result<Vec<u8>>>,
}

/// The kinds of exchange.
pub(super) enum What {
    /// Open a TCP connection, and end it.
    Connect,
    /// Send bytes over TCP, and take what comes until the peer closes.
    Fetch(Vec<u8>),
    /// Send one datagram, and take the first that comes back.
    Ask(Vec<u8>),
    /// Send one datagram, and wait for nothing.
    Tell(Vec<u8>),
}

/// An exchange under way.
pub(super) struct Call {
    order: Order,
    handle: SocketHandle,
    connected: bool,
    answered: bool,
    sent: usize,
    received: Vec<u8>,
}

impl Call {
    /// Opens the exchange from `port`; one that cannot be opened is answered
    /// at once.
    pub(super) fn open(
        order: Order,
        port: u16,
        context: &mut Context,
        sockets: &mut SocketSet<'static>,
    ) -> Option<Self> {
        let to = IpEndpoint::from(order.to);
        let opened = match &order.what {
            What::Connect | What::Fetch(_) => {
                let mut socket = tcp_socket();
                socket
                    .connect(context, to, port)
                    .map(|()| sockets.add(socket))
                    .map_err(|error| error.to_string())
            }
            What::Ask(payload) | What::Tell(payload) => {
                let mut socket = udp::Socket::new(packet_buffer(), packet_buffer());
                socket
                    .bind(port)
                    .map_err(|error| error.to_string())
                    .and_then(|()| {
                        socket
                            .send_slice(payload, to)
                            .map_err(|error| error.to_string())
                    })
                    .map(|()| sockets.add(socket))
            }
        };
        match opened {
            Ok(handle) => Some(Self {
                order,
                handle,
                connected: false,
                answered: false,
                sent: 0,
                received: Vec::new(),
            }),
            Err(why) => {
                let error = io::Error::new(io::ErrorKind::AddrNotAvailable, why);
                // The one who asked may have gone; so in `step`.
                drop(order.answer.send(Err(error)));
                None
            }
        }
    }

    /// Does what can be done without waiting; whether it goes on.
    pub(super) fn step(&mut self, sockets: &mut SocketSet<'static>) -> bool {
        let now = Instant::now();
        let over_tcp = matches!(self.order.what, What::Connect | What::Fetch(_));
        if self.answered {
            return self.is_closing(sockets) && now < self.order.deadline;
        }
        let result = if over_tcp {
            self.step_tcp(sockets)
        } else {
            self.step_udp(sockets)
        };
        let result = match result {
            None if now < self.order.deadline => return true,
            None => Err(io::ErrorKind::TimedOut.into()),
            Some(result) => result,
        };
        let failed = result.is_err();
        drop(self.order.answer.send(result));
        self.answered = true;
        if !over_tcp {
            return false;
        }
        let socket = sockets.get_mut::<tcp::Socket<'_>>(self.handle);
        if failed {
            // The reset frees the peer's side.
            socket.abort();
            return false;
        }
        socket.close();
        self.order.deadline = now.checked_add(FAREWELL).unwrap_or(now);
        true
    }

    /// Takes the exchange's socket away, after what it had to say was sent.
    pub(super) fn close(self, sockets: &mut SocketSet<'static>) {
        sockets.remove(self.handle);
    }

    /// When the exchange's time, or that of its farewell, is up.
    pub(super) fn deadline(&self) -> Instant {
        self.order.deadline
    }

    /// Whether the peer has yet to end its side, or to hear that we did.
    fn is_closing(&self, sockets: &SocketSet<'static>) -> bool {
        let state = sockets.get::<tcp::Socket<'_>>(self.handle).state();
        !matches!(state, tcp::State::Closed | tcp::State::TimeWait)
    }

    fn step_tcp(&mut self, sockets: &mut SocketSet<'static>) -> Option<io::Result<Vec<u8>>> {
        let socket = sockets.get_mut::<tcp::Socket<'_>>(self.handle);
        match socket.state() {
            tcp::State::SynSent | tcp::State::SynReceived => return None,
            tcp::State::Closed if self.connected => {
                return Some(Err(io::ErrorKind::ConnectionReset.into()));
            }
            tcp::State::Closed => return Some(Err(io::ErrorKind::ConnectionRefused.into())),
            _ => self.connected = true,
        }
        let What::Fetch(request) = &self.order.what else {
            return Some(Ok(Vec::new()));
        };
        let rest = request.get(self.sent..).unwrap_or_default();
        if socket.can_send() && !rest.is_empty() {
            self.sent = self
                .sent
                .saturating_add(socket.send_slice(rest).unwrap_or(0));
        }
        while socket.can_recv() {
            let taken = socket.recv(|bytes| {
                self.received.extend_from_slice(bytes);
                (bytes.len(), bytes.len())
            });
            if !matches!(taken, Ok(length) if length > 0) {
                break;
            }
        }
        (!socket.may_recv()).then(|| Ok(std::mem::take(&mut self.received)))
    }

    fn step_udp(&self, sockets: &mut SocketSet<'static>) -> Option<io::Result<Vec<u8>>> {
        let socket = sockets.get_mut::<udp::Socket<'_>>(self.handle);
        if let What::Tell(_) = self.order.what {
            return (socket.send_queue() == 0).then(|| Ok(Vec::new()));
        }
        let (payload, _) = socket.recv().ok()?;
        Some(Ok(payload.to_vec()))
    }
}

/// How long a connection that has served its purpose may take to end.
const FAREWELL: Duration = Duration::from_secs(1);
