//! The system calls of a relay.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketFlags, SocketType, sockopt};

use crate::error::{Conflict, Error};

/// Listens for connections.
pub(crate) fn listen_tcp(at: SocketAddr) -> Result<TcpListener, Error> {
    let fd = bound(at, SocketType::STREAM)?;
    net::listen(&fd, BACKLOG)
        .map_err(|errno| Error::system("listen", format_args!("tcp {at}"), errno.into()))?;
    Ok(fd.into())
}

/// Takes datagrams.
pub(crate) fn listen_udp(at: SocketAddr) -> Result<UdpSocket, Error> {
    Ok(bound(at, SocketType::DGRAM)?.into())
}

/// Takes a connection that waits; not blocking.
pub(crate) fn accept(listener: &TcpListener) -> Result<TcpStream, Errno> {
    Ok(net::accept_with(listener, FLAGS)?.into())
}

/// Begins a connection to the guest; not blocking. Fails at once without a
/// descriptor or a route.
pub(crate) fn connect_tcp(guest: SocketAddr) -> io::Result<TcpStream> {
    let fd = net::socket_with(family(guest), SocketType::STREAM, FLAGS, None)?;
    sockopt::set_tcp_user_timeout(&fd, GUEST_ANSWERS_WITHIN)?;
    match net::connect(&fd, &guest) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(fd.into()),
        Err(errno) => Err(errno.into()),
    }
}

/// A socket that exchanges datagrams with the guest, and nobody else.
pub(crate) fn connect_udp(guest: SocketAddr) -> io::Result<UdpSocket> {
    let fd = net::socket_with(family(guest), SocketType::DGRAM, FLAGS, None)?;
    net::connect(&fd, &guest)?;
    Ok(fd.into())
}

/// Sees what became of [`connect_tcp`], and has the connection live on while
/// the guest does not take its data.
pub(crate) fn connected(stream: &TcpStream) -> io::Result<()> {
    sockopt::socket_error(stream)??;
    Ok(sockopt::set_tcp_user_timeout(stream, 0)?)
}

/// Has the stream pass on what it gets as it gets it, urgent bytes in their
/// place, and notice a peer that vanished.
pub(crate) fn prepare(stream: &TcpStream) -> io::Result<()> {
    sockopt::set_tcp_nodelay(stream, true)?;
    sockopt::set_socket_oobinline(stream, true)?;
    sockopt::set_tcp_keepidle(stream, KEEPALIVE_AFTER)?;
    sockopt::set_tcp_keepintvl(stream, KEEPALIVE_EVERY)?;
    sockopt::set_tcp_keepcnt(stream, KEEPALIVE_TIMES)?;
    Ok(sockopt::set_socket_keepalive(stream, true)?)
}

/// Closes the stream with a reset: the peer is not to take it for the end of
/// the data.
pub(crate) fn reset(stream: TcpStream) {
    // It fails for nothing that is a socket.
    let _: Result<(), Errno> = sockopt::set_socket_linger(&stream, Some(Duration::ZERO));
    drop(stream);
}

/// A descriptor that becomes readable by [`signal`].
pub(crate) fn event() -> Result<OwnedFd, Error> {
    eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
        .map_err(|errno| Error::system("eventfd", "relay", errno.into()))
}

/// Makes an [`event`] readable.
pub(crate) fn signal(event: &OwnedFd) {
    // The counter is far from full.
    let _: Result<usize, Errno> = rustix::io::write(event, &1_u64.to_ne_bytes());
}

/// One more descriptor of what `fd` refers to.
pub(crate) fn spare(fd: impl AsFd) -> Option<OwnedFd> {
    rustix::io::fcntl_dupfd_cloexec(fd, 0).ok()
}

fn bound(at: SocketAddr, kind: SocketType) -> Result<OwnedFd, Error> {
    let name = if kind == SocketType::STREAM {
        "tcp"
    } else {
        "udp"
    };
    let failed = |call: &'static str| {
        move |errno: Errno| Error::system(call, format_args!("{name} {at}"), errno.into())
    };
    let fd = net::socket_with(family(at), kind, FLAGS, None).map_err(failed("socket"))?;
    if at.is_ipv6() {
        sockopt::set_ipv6_v6only(&fd, true).map_err(failed("setsockopt IPV6_V6ONLY"))?;
    }
    if kind == SocketType::STREAM {
        // What earlier connections leave behind is no reason to refuse. With
        // UDP it would let two share the port.
        sockopt::set_socket_reuseaddr(&fd, true).map_err(failed("setsockopt SO_REUSEADDR"))?;
    }
    match net::bind(&fd, &at) {
        Ok(()) => Ok(fd),
        Err(Errno::ADDRINUSE) => {
            let wanted = format!("relay at {name} {at}");
            Err(Conflict::new(wanted, "a socket that is bound there").into())
        }
        Err(Errno::ADDRNOTAVAIL) => Err(Error::Absent {
            kind: "address of the host",
            name: at.ip().to_string().into(),
        }),
        Err(errno) => Err(failed("bind")(errno)),
    }
}

pub(crate) fn family(address: SocketAddr) -> AddressFamily {
    if address.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    }
}

pub(crate) const FLAGS: SocketFlags = SocketFlags::CLOEXEC.union(SocketFlags::NONBLOCK);

/// Limited by `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// In milliseconds.
const GUEST_ANSWERS_WITHIN: u32 = 10_000;

const KEEPALIVE_AFTER: Duration = Duration::from_secs(60);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(10);
const KEEPALIVE_TIMES: u32 = 6;
