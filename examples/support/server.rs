//! A server on the host's side of the wire: it greets over HTTP and echoes
//! over UDP as a guest does.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};

use super::http::{self, Request};

/// A running server; it stops when dropped.
///
/// Its sockets belong to the network namespace in which they were bound, on
/// whatever thread the server runs.
pub(crate) struct Server {
    http: SocketAddr,
    echo: SocketAddr,
    running: Option<(UnixStream, JoinHandle<()>)>,
}

impl Server {
    /// Starts to serve under a name.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn start(name: &str, tcp: TcpListener, udp: UdpSocket) -> io::Result<Self> {
        tcp.set_nonblocking(true)?;
        udp.set_nonblocking(true)?;
        let (http, echo) = (tcp.local_addr()?, udp.local_addr()?);
        let (running, stop) = UnixStream::pair()?;
        let name = name.to_owned();
        let thread = thread::Builder::new()
            .name(format!("server {name}"))
            .spawn(move || serve(&name, &tcp, &udp, &stop))?;
        Ok(Self {
            http,
            echo,
            running: Some((running, thread)),
        })
    }

    /// Where it listens for HTTP.
    pub(crate) fn http(&self) -> SocketAddr {
        self.http
    }

    /// Where it listens for datagrams.
    pub(crate) fn echo(&self) -> SocketAddr {
        self.echo
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some((running, thread)) = self.running.take() {
            drop(running);
            // A panic of the thread was printed where it happened.
            drop(thread.join());
        }
    }
}

/// Serves until the other end of `stop` is dropped.
fn serve(name: &str, tcp: &TcpListener, udp: &UdpSocket, stop: &UnixStream) {
    loop {
        let mut descriptors = [
            PollFd::new(stop, PollFlags::IN),
            PollFd::new(tcp, PollFlags::IN),
            PollFd::new(udp, PollFlags::IN),
        ];
        match poll(&mut descriptors, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return,
        }
        let [stopped, ..] = &descriptors;
        if !stopped.revents().is_empty() {
            return;
        }
        if let Ok((stream, peer)) = tcp.accept() {
            let name = name.to_owned();
            // What goes wrong with a client is for the client to tell.
            drop(
                thread::Builder::new()
                    .name(format!("server {name}, {peer}"))
                    .spawn(move || greet(&name, stream, peer)),
            );
        }
        let mut datagram = [0; 2048];
        if let Ok((length, peer)) = udp.recv_from(&mut datagram) {
            let mut answer = format!("{peer} ").into_bytes();
            answer.extend_from_slice(datagram.get(..length).unwrap_or_default());
            drop(udp.send_to(&answer, peer));
        }
    }
}

/// Answers one client until it closes, or is silent for too long.
fn greet(name: &str, mut stream: TcpStream, peer: SocketAddr) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(SILENCE))?;
    stream.set_write_timeout(Some(SILENCE))?;
    let mut received = Vec::new();
    loop {
        while let Some(asked) = Request::take(&mut received)? {
            stream.write_all(&http::greeting(name, &asked, peer))?;
            if asked.closes() {
                return Ok(());
            }
        }
        let mut bytes = [0; 4096];
        let length = stream.read(&mut bytes)?;
        if length == 0 {
            return Ok(());
        }
        received.extend_from_slice(bytes.get(..length).unwrap_or_default());
    }
}

const SILENCE: Duration = Duration::from_secs(10);
