//! Clients on the host's side of the wire, with the system's own sockets.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use super::http;

/// Fetches `path` from the HTTP server at `to`; the body of its answer.
///
/// # Errors
/// What the system says; `TimedOut` if it takes longer than `timeout`;
/// `InvalidData` if the answer is not HTTP with status 200.
pub(crate) fn http_get(to: SocketAddr, path: &str, timeout: Duration) -> io::Result<String> {
    let mut connection = Connection::open(to, timeout)?;
    connection.ask(path, true)
}

/// Sends a datagram from an address of this host, or from the one that the
/// system chooses; the first that comes back.
///
/// # Errors
/// What the system says; `TimedOut` if nothing comes back.
pub(crate) fn udp_ask(
    from: Option<IpAddr>,
    to: SocketAddr,
    payload: &[u8],
    timeout: Duration,
) -> io::Result<Vec<u8>> {
    let any: IpAddr = if to.is_ipv4() {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        Ipv6Addr::UNSPECIFIED.into()
    };
    let socket = UdpSocket::bind((from.unwrap_or(any), 0))?;
    socket.connect(to)?;
    socket.set_read_timeout(Some(timeout))?;
    socket.send(payload)?;
    let mut answer = vec![0; 65_536];
    let length = socket.recv(&mut answer).map_err(late)?;
    answer.truncate(length);
    Ok(answer)
}

/// An HTTP connection that stays open between requests, to see whether what
/// happens in between cuts it.
pub(crate) struct Connection {
    stream: TcpStream,
    peer: SocketAddr,
    received: Vec<u8>,
    timeout: Duration,
}

impl Connection {
    /// Connects; `timeout` holds for this and for each request.
    ///
    /// # Errors
    /// What the system says, or `TimedOut`.
    pub(crate) fn open(to: SocketAddr, timeout: Duration) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&to, timeout)?;
        Ok(Self::over(stream, to, timeout))
    }

    /// Over a stream that is there already.
    pub(crate) fn over(stream: TcpStream, peer: SocketAddr, timeout: Duration) -> Self {
        Self {
            stream,
            peer,
            received: Vec::new(),
            timeout,
        }
    }

    /// Fetches `path`, and keeps the connection.
    ///
    /// # Errors
    /// As [`http_get`]; `UnexpectedEof` if the server ended it.
    pub(crate) fn get(&mut self, path: &str) -> io::Result<String> {
        self.ask(path, false)
    }

    fn ask(&mut self, path: &str, close: bool) -> io::Result<String> {
        let started = Instant::now();
        self.stream.set_write_timeout(Some(self.timeout))?;
        self.stream
            .write_all(&http::request(path, self.peer, close))
            .map_err(late)?;
        loop {
            if let Some(body) = http::take_body(&mut self.received)? {
                return Ok(body);
            }
            let left = self.timeout.saturating_sub(started.elapsed());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.stream.set_read_timeout(Some(left))?;
            let mut bytes = [0; 4096];
            let length = self.stream.read(&mut bytes).map_err(late)?;
            if length == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.received
                .extend_from_slice(bytes.get(..length).unwrap_or_default());
        }
    }
}

/// A socket's timeout shows as `WouldBlock` (see `socket(7)`, `SO_RCVTIMEO`).
fn late(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::WouldBlock {
        io::ErrorKind::TimedOut.into()
    } else {
        error
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::super::http::peer_in;
    use super::super::server::Server;
    use super::*;

    fn server() -> Server {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        Server::start("here", tcp, udp).unwrap()
    }

    #[test]
    fn client_and_server_of_the_host_understand_each_other() {
        let server = server();
        let body = http_get(server.http(), "/x", PATIENCE).unwrap();
        assert!(body.starts_with("hello from here at /x, you are 127.0.0.1:"));
        let from = "127.0.0.2".parse().unwrap();
        let answer = udp_ask(Some(from), server.echo(), b"what", PATIENCE).unwrap();
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.starts_with("127.0.0.2:") && answer.ends_with(" what"));
    }

    #[test]
    fn connection_stays_open_between_requests() {
        let server = server();
        let mut connection = Connection::open(server.http(), PATIENCE).unwrap();
        let first = connection.get("/").unwrap();
        assert_eq!(connection.get("/").unwrap(), first);
        assert!(peer_in(&first).is_some());
    }

    #[test]
    fn silent_peer_is_waited_for_no_longer_than_told() {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let short = Duration::from_millis(100);
        let started = Instant::now();
        let error = http_get(tcp.local_addr().unwrap(), "/", short).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let error = udp_ask(None, udp.local_addr().unwrap(), b"", short).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(started.elapsed() < PATIENCE);
    }

    const PATIENCE: Duration = Duration::from_secs(5);
}
