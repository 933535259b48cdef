//! The sockets of the host's processes: `sock_diag(7)`.
//!
//! Only those that wait for what comes to a port: TCP listeners and UDP
//! sockets that are bound and not connected.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::IfIndex;
use crate::conn::Connection;
use crate::error::Error;
use crate::wire::uapi::bpf::{BPF_TCP_CLOSE, BPF_TCP_LISTEN};
use crate::wire::uapi::inet_diag::INET_DIAG_SKV6ONLY;
use crate::wire::uapi::sock_diag::SOCK_DIAG_BY_FAMILY;
use crate::wire::{DecodeError, Message};

/// A socket that waits on a port of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Listener {
    protocol: u8,
    local: SocketAddr,
    takes_ipv4: bool,
    interface: Option<IfIndex>,
    uid: u32,
    inode: u32,
}

impl Listener {
    /// The transport protocol by its IANA number: 6 TCP, 17 UDP.
    pub fn protocol(&self) -> u8 {
        self.protocol
    }

    /// Its address and port; the unspecified address (`0.0.0.0`, `::`) stands
    /// for all of the host.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// Whether a socket on `::` takes IPv4 as well (`IPV6_V6ONLY` is off).
    pub fn takes_ipv4(&self) -> bool {
        self.takes_ipv4
    }

    /// The interface that it is bound to (`SO_BINDTODEVICE`).
    pub fn interface(&self) -> Option<IfIndex> {
        self.interface
    }

    /// The user who made it.
    pub fn uid(&self) -> u32 {
        self.uid
    }

    /// Its number, by which `/proc/PID/fd` tells the process.
    pub fn inode(&self) -> u32 {
        self.inode
    }

    /// Reads `struct inet_diag_msg`.
    fn decode(protocol: u8, message: &Message<'_>) -> Result<Self, DecodeError> {
        let (fixed, attrs) = message.split::<DIAG_MESSAGE>()?;
        let field = |at: usize| {
            let truncated = DecodeError::Truncated {
                what: "inet_diag_msg",
            };
            let bytes = fixed.get(at..).and_then(|rest| rest.first_chunk::<4>());
            bytes.copied().ok_or(truncated)
        };
        let [port_high, port_low, ..] = field(4)?;
        let [family, ..] = field(0)?;
        let address: IpAddr = if i32::from(family) == libc::AF_INET6 {
            let words = [field(8)?, field(12)?, field(16)?, field(20)?];
            let bytes: [u8; 16] = words
                .concat()
                .try_into()
                .map_err(|_| DecodeError::Malformed { what: "address" })?;
            Ipv6Addr::from(bytes).into()
        } else {
            Ipv4Addr::from(field(8)?).into()
        };
        let only_ipv6 = attrs.find(INET_DIAG_SKV6ONLY)?.unwrap_or(0) != 0;
        Ok(Self {
            protocol,
            local: SocketAddr::new(address, u16::from_be_bytes([port_high, port_low])),
            takes_ipv4: address.is_ipv6() && !only_ipv6,
            interface: IfIndex::new(u32::from_ne_bytes(field(40)?)).ok(),
            uid: u32::from_ne_bytes(field(64)?),
            inode: u32::from_ne_bytes(field(68)?),
        })
    }
}

/// Lists the sockets of one protocol (6 TCP, 17 UDP) that wait on ports, of
/// both families, in no order. `connection` is
/// [`sock_diag`](Connection::sock_diag).
///
/// # Errors
/// [`Error::Refused`] (`ENOENT`) if the kernel lacks the protocol's part of
/// `sock_diag`; what [`Connection::dump`] returns.
pub fn listeners(connection: &mut Connection, protocol: u8) -> Result<Vec<Listener>, Error> {
    let waiting = if i32::from(protocol) == libc::IPPROTO_TCP {
        BPF_TCP_LISTEN
    } else {
        BPF_TCP_CLOSE
    };
    let mut list = Vec::new();
    for family in [libc::AF_INET, libc::AF_INET6] {
        let family = u8::try_from(family).unwrap_or_default();
        let found = connection.dump(
            format_args!("list sockets of protocol {protocol}"),
            SOCK_DIAG_BY_FAMILY,
            |out| {
                out.fixed(&[family, protocol, 0, 0]);
                out.fixed(&1_u32.wrapping_shl(waiting).to_ne_bytes());
                out.fixed(&[0; SOCKET_ID]);
            },
            |message| {
                let listener = Listener::decode(protocol, message)?;
                // A socket without a port waits for nothing.
                Ok(Some(listener).filter(|it| it.local.port() != 0))
            },
        )?;
        list.extend(found);
    }
    Ok(list)
}

/// Lists those of several protocols in the calling thread's namespace; none of
/// a protocol of which the kernel cannot tell.
pub(crate) fn listeners_of(
    protocols: impl IntoIterator<Item = u8>,
) -> Result<Vec<Listener>, Error> {
    let mut all = Vec::new();
    for protocol in protocols {
        let found =
            Connection::sock_diag().and_then(|mut connection| listeners(&mut connection, protocol));
        match found {
            Err(error) if is_unknown(&error) => {}
            found => all.extend(found?),
        }
    }
    Ok(all)
}

/// Whether the kernel lacks the part of `sock_diag` that was asked.
fn is_unknown(error: &Error) -> bool {
    let errno = error.raw_os_error();
    matches!(
        errno,
        Some(libc::ENOENT | libc::EOPNOTSUPP | libc::EPROTONOSUPPORT)
    )
}

/// Length of `struct inet_diag_msg`.
const DIAG_MESSAGE: usize = 72;

/// Length of `struct inet_diag_sockid`.
const SOCKET_ID: usize = 48;
