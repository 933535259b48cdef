//! A stand-in for a microVM: an in-process TCP/IP stack on a TAP device's
//! descriptor, which serves and asks as a real guest would.

mod call;
mod device;
mod serve;
mod stack;

use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use tapwire::Mac;

use self::call::{Order, What};
use self::stack::Stack;
use super::http;

/// A running guest; it stops when dropped.
///
/// It answers HTTP and UDP on the ports of its [`Config`], and ping. Every
/// call returns by its timeout.
pub(crate) struct Guest {
    name: String,
    file: Arc<File>,
    seen: Arc<Mutex<Seen>>,
    running: Option<Running>,
}

impl Guest {
    /// Starts a guest on `frames`: a TAP device without packet information
    /// and without a vnet header, or one end of a pair of datagram sockets.
    ///
    /// # Errors
    /// `InvalidInput` for a configuration that no guest can have; what the
    /// system says if the descriptor cannot be used.
    pub(crate) fn start(frames: impl Into<OwnedFd>, config: Config) -> io::Result<Self> {
        let frames = frames.into();
        fcntl_setfl(&frames, fcntl_getfl(&frames)? | OFlags::NONBLOCK)?;
        let file = Arc::new(File::from(frames));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let name = config.name.clone();
        let seed = RandomState::new().hash_one(&name);
        let stack = Stack::new(config, Arc::clone(&file), seed, Arc::clone(&seen))?;
        let (orders, to_do) = channel();
        let (wake, woken) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        let thread = thread::Builder::new()
            .name(format!("guest {name}"))
            .spawn(move || stack.run(&to_do, &woken))?;
        Ok(Self {
            name,
            file,
            seen,
            running: Some(Running {
                orders,
                wake,
                thread,
            }),
        })
    }

    /// The guest's name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Who connected or sent a datagram so far, with the source address that
    /// the guest saw, in order.
    pub(crate) fn seen(&self) -> Vec<(Transport, SocketAddr)> {
        self.seen
            .lock()
            .map(|seen| seen.clone())
            .unwrap_or_default()
    }

    /// Opens a TCP connection from the guest, and ends it.
    ///
    /// # Errors
    /// `ConnectionRefused`, or `TimedOut` if nothing answers.
    pub(crate) fn connect(&self, to: SocketAddr, timeout: Duration) -> io::Result<()> {
        self.order(to, What::Connect, timeout).map(drop)
    }

    /// Fetches `path` from an HTTP server; the body of its answer.
    ///
    /// # Errors
    /// As [`connect`](Self::connect); `InvalidData` if the answer is not HTTP.
    pub(crate) fn http_get(
        &self,
        to: SocketAddr,
        path: &str,
        timeout: Duration,
    ) -> io::Result<String> {
        let mut answer = self.order(to, What::Fetch(http::request(path, to, true)), timeout)?;
        http::take_body(&mut answer)?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    /// Sends one datagram; the first that comes back.
    ///
    /// # Errors
    /// `TimedOut` if none does.
    pub(crate) fn udp_ask(
        &self,
        to: SocketAddr,
        payload: &[u8],
        timeout: Duration,
    ) -> io::Result<Vec<u8>> {
        self.order(to, What::Ask(payload.to_vec()), timeout)
    }

    /// Sends one datagram, and waits until it is on the wire.
    ///
    /// # Errors
    /// `TimedOut` if the next hop does not answer to ARP or ND.
    pub(crate) fn udp_send(
        &self,
        to: SocketAddr,
        payload: &[u8],
        timeout: Duration,
    ) -> io::Result<()> {
        self.order(to, What::Tell(payload.to_vec()), timeout)
            .map(drop)
    }

    /// Puts a frame on the wire as it is, whatever addresses it bears.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn send_frame(&self, frame: &[u8]) -> io::Result<()> {
        let sent = (&*self.file).write(frame)?;
        if sent == frame.len() {
            Ok(())
        } else {
            Err(io::ErrorKind::WriteZero.into())
        }
    }

    /// Stops the guest and closes its descriptor.
    ///
    /// # Errors
    /// If the guest's thread panicked.
    pub(crate) fn stop(mut self) -> io::Result<()> {
        self.join()
    }

    fn order(&self, to: SocketAddr, what: What, timeout: Duration) -> io::Result<Vec<u8>> {
        let running = self.running.as_ref().ok_or_else(stopped)?;
        let deadline = Instant::now()
            .checked_add(timeout)
            .ok_or(io::ErrorKind::InvalidInput)?;
        let (answer, answered) = sync_channel(1);
        let order = Order {
            to,
            what,
            deadline,
            answer,
        };
        running.orders.send(order).map_err(|_| stopped())?;
        running.wake();
        // The guest keeps the time; the margin is for a busy machine.
        match answered.recv_timeout(timeout.saturating_add(MARGIN)) {
            Ok(result) => result,
            Err(RecvTimeoutError::Timeout) => Err(io::ErrorKind::TimedOut.into()),
            Err(RecvTimeoutError::Disconnected) => Err(stopped()),
        }
    }

    fn join(&mut self) -> io::Result<()> {
        let Some(Running {
            orders,
            wake,
            thread,
        }) = self.running.take()
        else {
            return Ok(());
        };
        // First the one, then the other: the thread wakes and finds no more
        // orders.
        drop(orders);
        drop(wake);
        thread.join().map_err(|_| stopped())
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // A panic of the thread was printed where it happened.
        drop(self.join());
    }
}

/// What a guest is and does.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    name: String,
    mac: Mac,
    ipv4: Option<(Ipv4Addr, u8, Ipv4Addr)>,
    ipv6: Option<(Ipv6Addr, u8, Ipv6Addr)>,
    http: Vec<u16>,
    echo: Vec<u16>,
}

impl Config {
    /// A guest without addresses that serves nothing.
    pub(crate) fn new(name: &str, mac: Mac) -> Self {
        Self {
            name: name.to_owned(),
            mac,
            ipv4: None,
            ipv6: None,
            http: Vec::new(),
            echo: Vec::new(),
        }
    }

    /// Gives it an IPv4 address, its prefix length and its default gateway.
    #[must_use]
    pub(crate) fn ipv4(mut self, address: Ipv4Addr, prefix: u8, gateway: Ipv4Addr) -> Self {
        self.ipv4 = Some((address, prefix, gateway));
        self
    }

    /// Gives it an IPv6 address, its prefix length and its default gateway.
    #[must_use]
    pub(crate) fn ipv6(mut self, address: Ipv6Addr, prefix: u8, gateway: Ipv6Addr) -> Self {
        self.ipv6 = Some((address, prefix, gateway));
        self
    }

    /// Lets it greet over HTTP on a TCP port, up to 256 connections at once.
    #[must_use]
    pub(crate) fn http(mut self, port: u16) -> Self {
        self.http.push(port);
        self
    }

    /// Lets it answer on a UDP port with the source that it saw, a space and
    /// what was sent.
    #[must_use]
    pub(crate) fn echo(mut self, port: u16) -> Self {
        self.echo.push(port);
        self
    }

    fn check(&self) -> io::Result<()> {
        let prefixes = self.ipv4.is_none_or(|(_, prefix, _)| prefix <= 32)
            && self.ipv6.is_none_or(|(_, prefix, _)| prefix <= 128);
        let ports = !self.http.contains(&0) && !self.echo.contains(&0);
        if prefixes && ports {
            Ok(())
        } else {
            Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a guest's port is 0 or its prefix too long",
            ))
        }
    }
}

/// How a peer spoke to a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Transport {
    /// It opened a connection.
    Tcp,
    /// It sent a datagram.
    Udp,
}

type Seen = Vec<(Transport, SocketAddr)>;

struct Running {
    orders: Sender<Order>,
    wake: UnixStream,
    thread: JoinHandle<()>,
}

impl Running {
    fn wake(&self) {
        // A pair that is full wakes the thread as well.
        let _: usize = (&mut &self.wake).write(&[1]).unwrap_or(0);
    }
}

fn stopped() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the guest has stopped")
}

const MARGIN: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests;
