//! A socket for whole Ethernet frames on one interface: `packet(7)`.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use libc::{c_int, sock_filter, socklen_t};

use super::check;
use crate::error::Error;
use crate::types::{IfIndex, IfName};

/// Takes in frames that come in by one interface and pass a filter, and gives
/// out frames by it. Not blocking.
#[derive(Debug)]
pub(crate) struct PacketSocket {
    file: File,
}

impl PacketSocket {
    /// Opens one in the calling thread's network namespace.
    ///
    /// `filter` is a program of classic BPF (`linux/filter.h`), which sees each
    /// frame from its Ethernet header on.
    pub(crate) fn open(
        name: IfName,
        index: IfIndex,
        filter: &[sock_filter],
    ) -> Result<Self, Error> {
        let failed = |call: &'static str| move |source| Error::system(call, name, source);
        let file = socket().map_err(failed("socket AF_PACKET"))?;
        let socket = Self { file };
        socket
            .set_filter(filter)
            .map_err(failed("setsockopt SO_ATTACH_FILTER"))?;
        socket
            .ignore_outgoing()
            .map_err(failed("setsockopt PACKET_IGNORE_OUTGOING"))?;
        // The socket has no protocol until it is bound, so it has received
        // nothing from elsewhere and nothing that the filter had not seen.
        socket.bind(index).map_err(failed("bind AF_PACKET"))?;
        Ok(socket)
    }

    /// Takes one frame; what does not fit the buffer is cut off.
    pub(crate) fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        (&self.file).read(buffer)
    }

    pub(crate) fn send(&self, frame: &[u8]) -> io::Result<()> {
        match (&self.file).write(frame)? {
            sent if sent == frame.len() => Ok(()),
            _ => Err(io::ErrorKind::WriteZero.into()),
        }
    }

    fn set_filter(&self, filter: &[sock_filter]) -> io::Result<()> {
        let program = libc::sock_fprog {
            len: filter.len().try_into().map_err(io::Error::other)?,
            filter: filter.as_ptr().cast_mut(),
        };
        // The kernel copies the program, and never writes to it.
        self.set_option(libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program)
    }

    fn ignore_outgoing(&self) -> io::Result<()> {
        self.set_option::<c_int>(libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, &1)
    }

    fn bind(&self, index: IfIndex) -> io::Result<()> {
        let protocol = u16::try_from(libc::ETH_P_ALL).map_err(io::Error::other)?;
        let address = libc::sockaddr_ll {
            sll_family: u16::try_from(libc::AF_PACKET).map_err(io::Error::other)?,
            sll_protocol: protocol.to_be(),
            sll_ifindex: c_int::try_from(index.get()).map_err(io::Error::other)?,
            sll_hatype: 0,
            sll_pkttype: 0,
            sll_halen: 0,
            sll_addr: [0; 8],
        };
        let length = length_of::<libc::sockaddr_ll>()?;
        // SAFETY: the kernel reads `length` bytes, which is the size of the
        // address, which is borrowed for the call.
        let result =
            unsafe { libc::bind(self.file.as_raw_fd(), (&raw const address).cast(), length) };
        check(result).map(drop)
    }

    /// `setsockopt` with a plain value of the option's own type.
    fn set_option<T>(&self, level: c_int, option: c_int, value: &T) -> io::Result<()> {
        let length = length_of::<T>()?;
        // SAFETY: the kernel reads `length` bytes from `value`, which is of
        // that size and borrowed for the call. `SO_ATTACH_FILTER` reads also
        // what a `sock_fprog` points at: `len` instructions of a slice that
        // the caller borrows.
        let result = unsafe {
            libc::setsockopt(
                self.file.as_raw_fd(),
                level,
                option,
                (&raw const *value).cast(),
                length,
            )
        };
        check(result).map(drop)
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

fn socket() -> io::Result<File> {
    let kind = libc::SOCK_RAW | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: takes numbers only.
    let fd = check(unsafe { libc::socket(libc::AF_PACKET, kind, 0) })?;
    // SAFETY: the call succeeded, so `fd` is a descriptor that the kernel has
    // just opened for us and nobody else has.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) }.into())
}

fn length_of<T>() -> io::Result<socklen_t> {
    socklen_t::try_from(size_of::<T>()).map_err(io::Error::other)
}
