//! A netlink socket that loses nothing: `netlink(7)`.

use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::{Duration, Instant};

use libc::c_int;
use netlink_sys::SocketAddr;

use super::closer;
use crate::error::Error;

/// How long a reply may take before it counts as lost, unless
/// [`Socket::set_timeout`] says otherwise. The kernel answers while it is
/// asked; seconds pass only under its own locks.
const TIMEOUT: Duration = Duration::from_secs(20);

/// What one acknowledgement with all its attributes fits into: `netlink_ack`
/// makes it no larger than a page unless it repeats the request, which
/// `NETLINK_CAP_ACK` forbids.
const REPLY_CAPACITY: usize = 32 * 1024;

/// What the answer to a question for one thing fits into. The largest is a
/// link with its virtual functions, which lie in one attribute of up to
/// 64 KiB.
const ANSWER_CAPACITY: usize = 128 * 1024;

/// The family of netlink that a socket speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Protocol {
    /// `NETLINK_ROUTE`: links, addresses, routes, neighbours, rules.
    Route,
    /// `NETLINK_NETFILTER`: nf_tables and conntrack.
    Netfilter,
    /// `NETLINK_SOCK_DIAG`: the sockets of processes.
    SockDiag,
}

impl Protocol {
    const fn number(self) -> c_int {
        match self {
            Self::Route => libc::NETLINK_ROUTE,
            Self::Netfilter => libc::NETLINK_NETFILTER,
            Self::SockDiag => libc::NETLINK_SOCK_DIAG,
        }
    }
}

/// A netlink socket in the network namespace of the thread that opened it.
///
/// Extended and capped acknowledgements and strict checking are on; it is
/// closed on exec; what others than the kernel send is passed over.
///
/// Closing a socket of [`Protocol::Netfilter`] waits until the kernel has freed
/// what anyone in the namespace has deleted (8–24 ms). A thread of its own does
/// that, so that dropping this value does not wait; if no thread can be had, it
/// does. The thread ends a tenth of a second after the last socket: until then
/// this process has several, and cannot enter a user namespace.
#[derive(Debug)]
pub struct Socket {
    inner: ManuallyDrop<netlink_sys::Socket>,
    protocol: Protocol,
    /// Whether whoever drops it waits until it is closed.
    close_in_place: bool,
    send_capacity: usize,
    timeout: Duration,
}

impl Socket {
    /// Opens a socket in the calling thread's network namespace.
    ///
    /// # Errors
    /// [`Error::System`] if the kernel lacks the protocol or an option, or
    /// the process has no descriptor left.
    pub fn open(protocol: Protocol) -> Result<Self, Error> {
        Self::set_up(protocol)
            .map_err(|source| Error::system("socket", format_args!("netlink {protocol:?}"), source))
    }

    fn set_up(protocol: Protocol) -> io::Result<Self> {
        let number = isize::try_from(protocol.number()).map_err(io::Error::other)?;
        let mut inner = netlink_sys::Socket::new(number)?;
        inner.bind_auto()?;
        inner.set_ext_ack(true)?;
        inner.set_cap_ack(true)?;
        inner.set_netlink_get_strict_chk(true)?;
        // To the kernel, so that it need not be told each time.
        inner.connect(&SocketAddr::new(0, 0))?;
        let mut socket = Self {
            inner: ManuallyDrop::new(inner),
            protocol,
            close_in_place: false,
            send_capacity: 0,
            timeout: TIMEOUT,
        };
        socket.send_capacity = socket.buffer_size(libc::SO_SNDBUF)?;
        socket.apply_timeout()?;
        Ok(socket)
    }

    /// Sets how long a reply may take before [`receive`](Self::receive) gives
    /// up with `EAGAIN`. At least a millisecond.
    ///
    /// # Errors
    /// [`Error::System`] from `setsockopt(SO_RCVTIMEO)`.
    pub fn set_timeout(&mut self, timeout: Duration) -> Result<(), Error> {
        self.timeout = timeout.max(Duration::from_millis(1));
        self.apply_timeout().map_err(|source| {
            Error::system(
                "setsockopt SO_RCVTIMEO",
                format_args!("{timeout:?}"),
                source,
            )
        })
    }

    /// Joins a multicast group (`RTNLGRP_*`, `NFNLGRP_*`).
    ///
    /// # Errors
    /// [`Error::System`] from `setsockopt(NETLINK_ADD_MEMBERSHIP)`.
    pub fn subscribe(&mut self, group: u32) -> Result<(), Error> {
        self.inner.add_membership(group).map_err(|source| {
            Error::system(
                "setsockopt NETLINK_ADD_MEMBERSHIP",
                format_args!("group {group}"),
                source,
            )
        })
    }

    /// The number by which the kernel knows this socket among those of its
    /// protocol (`nl_pid`).
    ///
    /// # Errors
    /// [`Error::System`] from `getsockname`.
    pub fn port(&self) -> Result<u32, Error> {
        let mut address = SocketAddr::new(0, 0);
        let got = self.inner.get_address(&mut address);
        got.map_err(|source| Error::system("getsockname", "netlink", source))?;
        Ok(address.port_number())
    }

    /// Sends `bytes` to the kernel in one datagram, for which the send buffer
    /// is enlarged if need be.
    ///
    /// # Errors
    /// [`Error::TooLarge`] if the kernel does not allow so large a buffer,
    /// [`Error::System`] if it does not take the datagram.
    pub fn send(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.reserve(bytes.len())?;
        #[cfg(feature = "__recording")]
        crate::recording::note(self.protocol, bytes);
        loop {
            match self.inner.send(bytes, 0) {
                Ok(sent) if sent == bytes.len() => return Ok(()),
                Ok(sent) => {
                    let source = io::Error::from(io::ErrorKind::WriteZero);
                    return Err(Error::system(
                        "send",
                        format_args!("{sent} of {} bytes", bytes.len()),
                        source,
                    ));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => {
                    return Err(Error::system(
                        "send",
                        format_args!("{} bytes", bytes.len()),
                        source,
                    ));
                }
            }
        }
    }

    /// Receives one datagram of any size from the kernel; `buffer` then holds
    /// it and nothing else.
    ///
    /// # Errors
    /// `EAGAIN` when the timeout passed, `ENOBUFS` when the kernel had to
    /// drop something (see `netlink(7)`).
    pub fn receive(&self, buffer: &mut Vec<u8>) -> io::Result<()> {
        self.patiently(|socket| {
            let mut nothing: &mut [u8] = &mut [];
            let (length, _) = socket.recv_from(&mut nothing, libc::MSG_PEEK | libc::MSG_TRUNC)?;
            receive_into(socket, buffer, length)
        })
    }

    /// Receives one datagram that can only be an acknowledgement, in one
    /// system call. Unlike what several may send, it comes from the kernel:
    /// nobody else can send to a single socket that is connected to it.
    ///
    /// # Errors
    /// As [`receive`](Self::receive).
    pub fn receive_acknowledgement(&self, buffer: &mut Vec<u8>) -> io::Result<()> {
        self.receive_one(buffer, REPLY_CAPACITY)
    }

    /// Receives one datagram that answers a question for one thing, in one
    /// system call.
    ///
    /// # Errors
    /// As [`receive`](Self::receive); `EMSGSIZE` for more than 128 KiB.
    pub fn receive_answer(&self, buffer: &mut Vec<u8>) -> io::Result<()> {
        self.receive_one(buffer, ANSWER_CAPACITY)
    }

    /// Enlarges the receive buffer to hold `bytes` of kernel accounting, as
    /// far as the kernel allows.
    ///
    /// # Errors
    /// [`Error::System`] from `setsockopt(SO_RCVBUF)`.
    pub fn set_receive_buffer(&mut self, bytes: usize) -> Result<(), Error> {
        self.set_buffer(libc::SO_RCVBUFFORCE, libc::SO_RCVBUF, bytes)
            .map_err(|source| {
                Error::system(
                    "setsockopt SO_RCVBUF",
                    format_args!("{bytes} bytes"),
                    source,
                )
            })
    }

    /// Has whoever drops it wait until it is closed, and what belongs to it
    /// gone.
    pub(crate) fn close_in_place(&mut self) {
        self.close_in_place = true;
    }

    fn receive_one(&self, buffer: &mut Vec<u8>, capacity: usize) -> io::Result<()> {
        buffer.clear();
        buffer.reserve(capacity);
        let mut start = None;
        loop {
            match self.inner.recv(buffer, libc::MSG_TRUNC) {
                Ok(length) if length <= buffer.len() => return Ok(()),
                Ok(_) => return Err(io::Error::from_raw_os_error(libc::EMSGSIZE)),
                Err(error)
                    if error.kind() == io::ErrorKind::Interrupted
                        && start.get_or_insert_with(Instant::now).elapsed() < self.timeout => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Repeats `receive` when a signal interrupts it or the sender is not the
    /// kernel, until the timeout.
    fn patiently(
        &self,
        mut receive: impl FnMut(&netlink_sys::Socket) -> io::Result<SocketAddr>,
    ) -> io::Result<()> {
        let mut start = None;
        loop {
            match receive(&self.inner) {
                Ok(sender) if sender.port_number() == 0 => return Ok(()),
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                Ok(_) | Err(_)
                    if start.get_or_insert_with(Instant::now).elapsed() < self.timeout => {}
                Ok(_) | Err(_) => return Err(io::Error::from_raw_os_error(libc::EAGAIN)),
            }
        }
    }

    /// Makes room for a datagram of `length` bytes in the send buffer
    /// (`netlink_sendmsg` wants 32 bytes to spare).
    fn reserve(&mut self, length: usize) -> Result<(), Error> {
        let wanted = length.saturating_add(32);
        if wanted <= self.send_capacity {
            return Ok(());
        }
        let read = self
            .set_buffer(libc::SO_SNDBUFFORCE, libc::SO_SNDBUF, wanted)
            .and_then(|()| self.buffer_size(libc::SO_SNDBUF));
        self.send_capacity =
            read.map_err(|source| Error::system("setsockopt SO_SNDBUF", wanted, source))?;
        if wanted <= self.send_capacity {
            return Ok(());
        }
        Err(Error::TooLarge {
            wanted: length,
            available: self.send_capacity.saturating_sub(32),
        })
    }

    /// Sets a buffer size by force, which takes `CAP_NET_ADMIN` in the initial
    /// user namespace, else as far as `net.core.[rw]mem_max` goes.
    fn set_buffer(&self, force: c_int, plain: c_int, bytes: usize) -> io::Result<()> {
        let bytes = c_int::try_from(bytes).unwrap_or(c_int::MAX);
        match self.set_option(force, &bytes) {
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => {
                self.set_option(plain, &bytes)
            }
            result => result,
        }
    }

    fn buffer_size(&self, option: c_int) -> io::Result<usize> {
        let mut value: c_int = 0;
        let mut length = option_length::<c_int>()?;
        // SAFETY: this option writes one c_int; `value` is one, `length` says
        // so, and both outlive the call.
        let result = unsafe {
            libc::getsockopt(
                self.inner.as_raw_fd(),
                libc::SOL_SOCKET,
                option,
                (&raw mut value).cast(),
                &raw mut length,
            )
        };
        super::check(result)?;
        usize::try_from(value).map_err(io::Error::other)
    }

    fn apply_timeout(&self) -> io::Result<()> {
        let timeout = match self.timeout.as_secs().try_into() {
            Ok(tv_sec) => libc::timeval {
                tv_sec,
                tv_usec: self.timeout.subsec_micros().into(),
            },
            // More than a timeout can say is without end.
            Err(_) => libc::timeval {
                tv_sec: 0,
                tv_usec: 0,
            },
        };
        self.set_option(libc::SO_RCVTIMEO, &timeout)
    }

    /// `setsockopt(SOL_SOCKET)` with a plain value of the option's own type.
    fn set_option<T: Copy>(&self, option: c_int, value: &T) -> io::Result<()> {
        let length = option_length::<T>()?;
        // SAFETY: the kernel reads `length` bytes from `value`, which is a
        // borrowed plain value of exactly that size.
        let result = unsafe {
            libc::setsockopt(
                self.inner.as_raw_fd(),
                libc::SOL_SOCKET,
                option,
                (&raw const *value).cast(),
                length,
            )
        };
        super::check(result).map(|_| ())
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // SAFETY: it is taken here only, and `self` is not used afterwards.
        let inner = unsafe { ManuallyDrop::take(&mut self.inner) };
        if self.protocol != Protocol::Netfilter || self.close_in_place {
            return;
        }
        closer::close(inner);
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.as_fd()
    }
}

/// Receives a datagram of up to `length` bytes and its sender. A longer one is
/// an error, never a shorter value.
fn receive_into(
    socket: &netlink_sys::Socket,
    buffer: &mut Vec<u8>,
    length: usize,
) -> io::Result<SocketAddr> {
    buffer.clear();
    buffer.reserve(length.max(REPLY_CAPACITY));
    let (length, sender) = socket.recv_from(buffer, libc::MSG_TRUNC)?;
    if length > buffer.len() {
        return Err(io::Error::from_raw_os_error(libc::EMSGSIZE));
    }
    Ok(sender)
}

fn option_length<T>() -> io::Result<libc::socklen_t> {
    libc::socklen_t::try_from(size_of::<T>()).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_ends_with_the_timeout() {
        let mut socket = Socket::open(Protocol::Route).unwrap();
        socket.set_timeout(Duration::from_millis(5)).unwrap();
        let error = socket.receive(&mut Vec::new()).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EAGAIN));
    }

    // What is received without looking at the sender depends on it.
    #[test]
    fn nobody_but_the_kernel_can_send_to_it() {
        let socket = Socket::open(Protocol::Route).unwrap();
        let mut other = netlink_sys::Socket::new(libc::NETLINK_ROUTE.try_into().unwrap()).unwrap();
        other.bind_auto().unwrap();
        let address = SocketAddr::new(socket.port().unwrap(), 0);
        let error = other.send_to(&[0; 16], &address, 0).unwrap_err();
        // Without privilege, it may not send to any.
        let refused = [libc::ECONNREFUSED, libc::EPERM];
        assert!(refused.contains(&error.raw_os_error().unwrap()), "{error}");
    }

    #[test]
    fn socket_is_closed_on_exec() {
        let socket = Socket::open(Protocol::Netfilter).unwrap();
        let info = format!("/proc/thread-self/fdinfo/{}", socket.as_fd().as_raw_fd());
        let info = std::fs::read_to_string(info).unwrap();
        let flags = info
            .lines()
            .find_map(|line| line.strip_prefix("flags:"))
            .unwrap();
        let flags = c_int::from_str_radix(flags.trim(), 8).unwrap();
        assert_ne!(flags & libc::O_CLOEXEC, 0);
    }
}
