//! The system calls of a proxy that are not the relay's.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{self, AddressFamily, Protocol, SocketType, ipproto, sockopt};

use super::packet::Why;
use crate::relay::socket::{FLAGS, family};

/// Whether the descriptor is a socket that keeps datagrams apart.
pub(super) fn keeps_datagrams(fd: impl AsFd) -> io::Result<bool> {
    let kind = sockopt::socket_type(fd)?;
    Ok(kind == SocketType::DGRAM || kind == SocketType::SEQPACKET)
}

/// Has reads and writes fail with `EAGAIN` instead of waiting.
pub(super) fn do_not_block(fd: impl AsFd) -> io::Result<()> {
    Ok(rustix::io::ioctl_fionbio(fd, true)?)
}

/// Begins a connection; not blocking. It is given up `within` so long.
pub(super) fn connect_tcp(
    peer: SocketAddr,
    from: Option<IpAddr>,
    within: Duration,
) -> io::Result<TcpStream> {
    let fd = socket(peer, SocketType::STREAM, None, from)?;
    let millis = u32::try_from(within.as_millis()).unwrap_or(u32::MAX).max(1);
    sockopt::set_tcp_user_timeout(&fd, millis)?;
    match net::connect(&fd, &peer) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(fd.into()),
        Err(errno) => Err(errno.into()),
    }
}

/// A socket that exchanges datagrams with the peer, and nobody else.
pub(super) fn connect_udp(peer: SocketAddr, from: Option<IpAddr>) -> io::Result<UdpSocket> {
    let fd = socket(peer, SocketType::DGRAM, None, from)?;
    net::connect(&fd, &peer)?;
    Ok(fd.into())
}

/// A socket that exchanges echoes with the peer (`icmp(7)`).
pub(super) fn connect_echo(peer: IpAddr, from: Option<IpAddr>) -> io::Result<UdpSocket> {
    let peer = SocketAddr::new(peer, 0);
    let protocol = echo(peer.is_ipv4());
    let fd = socket(peer, SocketType::DGRAM, Some(protocol), from)?;
    net::connect(&fd, &peer)?;
    // It is read and written as one of UDP is.
    Ok(fd.into())
}

/// Whether the system lets the process send echoes of this family
/// (`net.ipv4.ping_group_range`).
pub(super) fn permits_echo(ipv4: bool) -> bool {
    let family = if ipv4 {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    net::socket_with(family, SocketType::DGRAM, FLAGS, Some(echo(ipv4))).is_ok()
}

/// What the guest is told of a failure to reach something; `None` is a reset,
/// or nothing where there is none.
pub(super) fn why(error: &io::Error) -> Option<Why> {
    match error.raw_os_error() {
        Some(libc::ENETUNREACH) => Some(Why::Network),
        Some(libc::EHOSTUNREACH | libc::ETIMEDOUT | libc::EHOSTDOWN) => Some(Why::Host),
        Some(libc::EACCES | libc::EPERM) => Some(Why::Prohibited),
        _ => None,
    }
}

fn socket(
    peer: SocketAddr,
    kind: SocketType,
    protocol: Option<Protocol>,
    from: Option<IpAddr>,
) -> io::Result<OwnedFd> {
    let fd = net::socket_with(family(peer), kind, FLAGS, protocol)?;
    if let Some(from) = from {
        net::bind(&fd, &SocketAddr::new(from, 0))?;
    }
    Ok(fd)
}

fn echo(ipv4: bool) -> Protocol {
    if ipv4 { ipproto::ICMP } else { ipproto::ICMPV6 }
}
