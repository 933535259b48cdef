//! Datagrams with the address of ours that they were sent to: a socket that
//! is bound to all addresses learns it, and answers from it (`ip(7)`,
//! `IP_PKTINFO`; `ipv6(7)`, `IPV6_PKTINFO`).

use std::io;
use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd};

use libc::{c_int, c_void, socklen_t};

use super::check;

/// A datagram that was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Datagram {
    pub(crate) length: usize,
    pub(crate) from: SocketAddr,
    /// The address of ours that it was sent to.
    pub(crate) to: IpAddr,
}

/// Has the socket, of this family, say of each datagram where it was sent to.
pub(crate) fn tell_destinations(socket: impl AsFd, ipv4: bool) -> io::Result<()> {
    let (level, option) = if ipv4 {
        (libc::IPPROTO_IP, libc::IP_PKTINFO)
    } else {
        (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO)
    };
    let on: c_int = 1;
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: the kernel reads one `int` from `on`, which is one and outlives
    // the call.
    check(unsafe {
        libc::setsockopt(
            fd,
            level,
            option,
            (&raw const on).cast::<c_void>(),
            length_of::<c_int>(),
        )
    })?;
    Ok(())
}

/// Receives one datagram; what is longer than `room` is cut off.
///
/// # Errors
/// What the system says; `EAGAIN` if there is none and the socket does not
/// block.
pub(crate) fn receive_datagram(socket: impl AsFd, room: &mut [u8]) -> io::Result<Datagram> {
    let mut name = Name::EMPTY;
    let mut control = Control::EMPTY;
    let mut part = libc::iovec {
        iov_base: room.as_mut_ptr().cast(),
        iov_len: room.len(),
    };
    let mut message = header(&mut name, &mut part, &mut control);
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: the kernel writes as many bytes as the header says to the name,
    // the one part and the control room; each pointer is to memory of that
    // length, borrowed above for longer than the call.
    let length = unsafe { libc::recvmsg(fd, &raw mut message, 0) };
    let length = usize::try_from(length).map_err(|_| io::Error::last_os_error())?;
    let odd = || io::Error::from_raw_os_error(libc::EPROTO);
    Ok(Datagram {
        length,
        from: name.read().ok_or_else(odd)?,
        to: destination(&message).ok_or_else(odd)?,
    })
}

/// Sends one datagram from an address of ours.
///
/// # Errors
/// What the system says; [`io::ErrorKind::InvalidInput`] if the addresses are
/// not of one family.
pub(crate) fn send_datagram(
    socket: impl AsFd,
    bytes: &[u8],
    from: IpAddr,
    to: SocketAddr,
) -> io::Result<()> {
    let mut name = Name::of(to);
    let mut control = Control::EMPTY;
    let mut part = libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    };
    let mut message = header(&mut name, &mut part, &mut control);
    message.msg_namelen = if to.is_ipv4() {
        length_of::<libc::sockaddr_in>()
    } else {
        length_of::<libc::sockaddr_in6>()
    };
    match (from, to) {
        (IpAddr::V4(from), SocketAddr::V4(_)) => {
            let mut info = pktinfo4();
            info.ipi_spec_dst.s_addr = u32::from_ne_bytes(from.octets());
            put(&mut message, libc::IPPROTO_IP, libc::IP_PKTINFO, info);
        }
        (IpAddr::V6(from), SocketAddr::V6(_)) => {
            let mut info = pktinfo6();
            info.ipi6_addr.s6_addr = from.octets();
            put(&mut message, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, info);
        }
        _ => return Err(io::ErrorKind::InvalidInput.into()),
    }
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: the kernel reads as many bytes as the header says from the name,
    // the one part and the control room, and writes none of them; each pointer
    // is to memory of that length, borrowed above for longer than the call.
    let sent = unsafe { libc::sendmsg(fd, &raw const message, libc::MSG_NOSIGNAL) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())?;
    Ok(())
}

/// A header over a name, one part and the room for control messages.
fn header(name: &mut Name, part: &mut libc::iovec, control: &mut Control) -> libc::msghdr {
    // SAFETY: a `msghdr` is integers and pointers, for which zeros are values.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_name = (&raw mut name.0).cast();
    message.msg_namelen = length_of::<libc::sockaddr_in6>();
    message.msg_iov = part;
    message.msg_iovlen = 1;
    message.msg_control = (&raw mut control.0).cast();
    message.msg_controllen = count(size_of::<Control>());
    message
}

/// Where a received message says that it was sent to.
fn destination(message: &libc::msghdr) -> Option<IpAddr> {
    // SAFETY: the kernel has filled in the header, whose control room is
    // still borrowed by the caller.
    let first = unsafe { libc::CMSG_FIRSTHDR(message) };
    if first.is_null() {
        return None;
    }
    // SAFETY: it is not null, so a whole `cmsghdr` lies there.
    let head = unsafe { first.read_unaligned() };
    // SAFETY: only adds the header's length to the pointer, within the room.
    let data = unsafe { libc::CMSG_DATA(first) };
    match (head.cmsg_level, head.cmsg_type) {
        (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
            // SAFETY: the kernel puts one `in_pktinfo` behind such a header
            // (`ip(7)`), and the room holds the longest.
            let info = unsafe { data.cast::<libc::in_pktinfo>().read_unaligned() };
            Some(Ipv4Addr::from(info.ipi_addr.s_addr.to_ne_bytes()).into())
        }
        (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
            // SAFETY: the kernel puts one `in6_pktinfo` behind such a header
            // (`ipv6(7)`), and the room holds the longest.
            let info = unsafe { data.cast::<libc::in6_pktinfo>().read_unaligned() };
            Some(Ipv6Addr::from(info.ipi6_addr.s6_addr).into())
        }
        _ => None,
    }
}

/// Makes `info` the one control message.
fn put<T>(message: &mut libc::msghdr, level: c_int, kind: c_int, info: T) {
    // SAFETY: the room that the header points at is still borrowed, and is
    // longer than a `cmsghdr`.
    let first = unsafe { libc::CMSG_FIRSTHDR(message) };
    // SAFETY: computes a length and touches no memory.
    let length = unsafe { libc::CMSG_LEN(length_of::<T>()) };
    // SAFETY: as above.
    let space = unsafe { libc::CMSG_SPACE(length_of::<T>()) };
    // SAFETY: a `cmsghdr` is integers, for which zeros are values.
    let mut head: libc::cmsghdr = unsafe { mem::zeroed() };
    head.cmsg_len = count(usize::try_from(length).unwrap_or_default());
    head.cmsg_level = level;
    head.cmsg_type = kind;
    // SAFETY: `first` points at the room, which holds a `cmsghdr` (it is not
    // null, since the room is longer than one).
    unsafe { first.write_unaligned(head) };
    // SAFETY: only adds the header's length to the pointer, within the room.
    let data = unsafe { libc::CMSG_DATA(first) };
    // SAFETY: the room holds the longest `info` behind the header.
    unsafe { data.cast::<T>().write_unaligned(info) };
    message.msg_controllen = count(usize::try_from(space).unwrap_or_default());
}

fn pktinfo4() -> libc::in_pktinfo {
    // SAFETY: it is integers, for which zeros are values.
    unsafe { mem::zeroed() }
}

fn pktinfo6() -> libc::in6_pktinfo {
    // SAFETY: it is integers, for which zeros are values.
    unsafe { mem::zeroed() }
}

/// Room for one control message, aligned as its header must be.
#[repr(C, align(8))]
struct Control([u8; 64]);

impl Control {
    const EMPTY: Self = Self([0; 64]);
}

/// The address of a socket of either family.
#[repr(C)]
struct Name(libc::sockaddr_in6);

const _: () = assert!(size_of::<libc::sockaddr_in>() <= size_of::<Name>());
const _: () = assert!(align_of::<libc::sockaddr_in>() <= align_of::<Name>());

impl Name {
    const EMPTY: Self = Self(libc::sockaddr_in6 {
        sin6_family: 0,
        sin6_port: 0,
        sin6_flowinfo: 0,
        sin6_addr: libc::in6_addr { s6_addr: [0; 16] },
        sin6_scope_id: 0,
    });

    fn of(address: SocketAddr) -> Self {
        let mut name = Self::EMPTY;
        match address {
            SocketAddr::V4(address) => {
                let short = libc::sockaddr_in {
                    sin_family: family(libc::AF_INET),
                    sin_port: address.port().to_be(),
                    sin_addr: libc::in_addr {
                        s_addr: u32::from_ne_bytes(address.ip().octets()),
                    },
                    sin_zero: [0; 8],
                };
                let place = (&raw mut name.0).cast::<libc::sockaddr_in>();
                // SAFETY: the assertions above say that it fits in length and
                // alignment, and `name` is ours.
                unsafe { place.write(short) };
            }
            SocketAddr::V6(address) => {
                name.0.sin6_family = family(libc::AF_INET6);
                name.0.sin6_port = address.port().to_be();
                name.0.sin6_addr.s6_addr = address.ip().octets();
                name.0.sin6_scope_id = address.scope_id();
            }
        }
        name
    }

    fn read(&self) -> Option<SocketAddr> {
        match c_int::from(self.0.sin6_family) {
            libc::AF_INET => {
                let place = (&raw const self.0).cast::<libc::sockaddr_in>();
                // SAFETY: the assertions above say that one fits in length
                // and alignment, and any bytes are one.
                let short = unsafe { place.read() };
                let address = Ipv4Addr::from(short.sin_addr.s_addr.to_ne_bytes());
                Some(SocketAddrV4::new(address, u16::from_be(short.sin_port)).into())
            }
            libc::AF_INET6 => {
                let (address, port) = (self.0.sin6_addr.s6_addr, u16::from_be(self.0.sin6_port));
                Some(SocketAddrV6::new(address.into(), port, 0, self.0.sin6_scope_id).into())
            }
            _ => None,
        }
    }
}

fn family(number: c_int) -> libc::sa_family_t {
    libc::sa_family_t::try_from(number).unwrap_or_default()
}

/// At most a few dozen, in a type that is not the same with each C library.
fn count<N: TryFrom<usize> + Default>(number: usize) -> N {
    N::try_from(number).unwrap_or_default()
}

/// At most a few dozen.
fn length_of<T>() -> socklen_t {
    socklen_t::try_from(size_of::<T>()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::time::Duration;

    use super::*;

    #[test]
    fn answer_comes_from_the_address_that_was_asked() {
        for (any, asked) in [("0.0.0.0:0", "127.0.0.9"), ("[::]:0", "::1")] {
            let server = UdpSocket::bind(any).unwrap();
            let asked: IpAddr = asked.parse().unwrap();
            tell_destinations(&server, asked.is_ipv4()).unwrap();
            let port = server.local_addr().unwrap().port();
            let client = UdpSocket::bind(SocketAddr::new(asked, 0)).unwrap();
            client.send_to(b"who", (asked, port)).unwrap();
            let mut room = [0; 8];
            let got = receive_datagram(&server, &mut room).unwrap();
            assert_eq!((got.length, got.to), (3, asked));
            assert_eq!(got.from, client.local_addr().unwrap());
            send_datagram(&server, b"me", got.to, got.from).unwrap();
            client
                .set_read_timeout(Some(Duration::from_secs(5)))
                .unwrap();
            let (length, from) = client.recv_from(&mut room).unwrap();
            assert_eq!((length, from), (2, SocketAddr::new(asked, port)));
        }
    }

    #[test]
    fn addresses_of_two_families_are_refused() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let to = "[::1]:9".parse().unwrap();
        let from = [127, 0, 0, 1].into();
        let error = send_datagram(&socket, b"x", from, to).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }
}
