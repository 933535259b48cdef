//! A relay in user space, for what the kernel cannot translate.
//!
//! One thread drives a relay by `epoll(7)`. [`tcp`] and [`udp`] hold the two
//! ways of relaying, [`stream`] what becomes of one connection, [`socket`]
//! the system calls.

mod counters;
mod poller;
mod proxy;
mod settings;
pub(crate) mod socket;
mod stream;
mod tcp;
mod udp;

use std::fmt;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

pub use counters::RelayCounters;
pub use proxy::ProxyProtocol;
pub use settings::RelaySettings;

#[cfg(feature = "proxied")]
pub(crate) use counters::Count;
#[cfg(feature = "proxied")]
pub(crate) use poller::Ready;
pub(crate) use poller::{Interest, Poller};

use counters::Shared;
use tcp::TcpRelay;
use udp::UdpRelay;

use crate::error::Error;
use crate::protocol::Protocol;

/// A port of the host that a thread of this process serves, and that leads to
/// one port of one guest.
///
/// It is for what the kernel cannot translate: `::1`, and a host address of
/// the other family than the guest's. Everything else is better
/// [exposed](crate::Exposure): the kernel is faster, and the guest sees the
/// client's address. Behind a relay the guest sees an address of the host,
/// unless it reads the header of [`ProxyProtocol`].
///
/// A relay lives as long as its value. Its sockets belong to the network
/// namespace of the thread that starts it. Dropping it closes them at once,
/// and resets the connections under way.
///
/// Nothing leads a client past the one guest address and port: replies and
/// errors of others are not taken, and who may connect is the host's firewall
/// to say, as for every socket of the host. In particular the owner's guests
/// reach it only if they were granted the port. Where the same address and
/// port is exposed too, the exposure takes the packets.
///
/// TCP: each way is passed on by itself, so a connection may be half closed;
/// a reset is passed on as a reset; a side that does not take its data is not
/// sent more than 16 KiB beyond what its and the other side's socket hold. A
/// guest that does not answer is given up after 10 s, a peer that vanished
/// after two minutes (`SO_KEEPALIVE`).
///
/// UDP: each client has a port of the host's towards the guest, given up when
/// nothing has passed for a time. What cannot be passed on at once is lost.
///
/// ```no_run
/// use tapwire::{Protocol, Relay};
/// let relay = Relay::start(Protocol::Tcp, "[::1]:8080".parse()?, "198.18.0.2:80".parse()?)?;
/// println!("{relay}: {}", relay.counters());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Relay {
    protocol: Protocol,
    local_addr: SocketAddr,
    guest: SocketAddr,
    counters: Arc<Shared>,
    stop: OwnedFd,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    /// Starts to relay what comes to `listen` to `guest`, with the default
    /// [`RelaySettings`].
    ///
    /// # Errors
    /// As [`with`](Self::with).
    pub fn start(protocol: Protocol, listen: SocketAddr, guest: SocketAddr) -> Result<Self, Error> {
        Self::with(RelaySettings::new(protocol, listen, guest))
    }

    /// Starts to relay.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a protocol that is neither TCP nor UDP, for an
    /// address or port that cannot be a guest's, for an address to listen on
    /// that cannot be a host's, and for all addresses with UDP, whose answers
    /// must come from one; [`Error::Conflict`] if the port is taken;
    /// [`Error::Absent`] if the address is not the host's; [`Error::System`]
    /// if a system call fails, such as `EACCES` on a privileged port or
    /// `EMFILE` without a descriptor left.
    pub fn with(settings: RelaySettings) -> Result<Self, Error> {
        settings.check()?;
        let counters = Arc::new(Shared::default());
        let poller = Poller::new()?;
        let stop = socket::event()?;
        let failed = |source| Error::system("epoll_ctl", "relay", source);
        poller.add(&stop, STOP, Interest::READ).map_err(failed)?;
        let (protocol, guest) = (settings.protocol, settings.guest);
        let (local_addr, run): (_, Box<dyn FnOnce() + Send>) = if protocol == Protocol::Tcp {
            let listener = socket::listen_tcp(settings.listen)?;
            poller
                .add(&listener, LISTENER, Interest::READ)
                .map_err(failed)?;
            let address = local_addr(listener.local_addr())?;
            let relay = TcpRelay::new(listener, settings, poller, Arc::clone(&counters));
            (address, Box::new(move || relay.run()))
        } else {
            let listener = socket::listen_udp(settings.listen)?;
            poller
                .add(&listener, LISTENER, Interest::READ)
                .map_err(failed)?;
            let address = local_addr(listener.local_addr())?;
            let relay = UdpRelay::new(listener, address, settings, poller, Arc::clone(&counters));
            (address, Box::new(move || relay.run()))
        };
        let thread = thread::Builder::new()
            .name(format!("relay {}", local_addr.port()))
            .spawn(run)
            .map_err(|source| Error::system("clone", "thread of a relay", source))?;
        let relay = Self {
            protocol,
            local_addr,
            guest,
            counters,
            stop,
            thread: Some(thread),
        };
        log::debug!("relay {relay}");
        Ok(relay)
    }

    /// The transport protocol.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Where it listens, with the port that the kernel chose if it was asked
    /// for port 0.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Where it leads.
    pub fn guest(&self) -> SocketAddr {
        self.guest
    }

    /// What it has done so far.
    pub fn counters(&self) -> RelayCounters {
        self.counters.read()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        log::debug!("end relay {self}");
        socket::signal(&self.stop);
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was printed where it happened.
            drop(thread.join());
        }
    }
}

/// Written as an [`Exposure`](crate::Exposure) is: `tcp/[::1]:8080->198.18.0.2:80`.
impl fmt::Display for Relay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}->{}", self.protocol, self.local_addr, self.guest)
    }
}

fn local_addr(found: std::io::Result<SocketAddr>) -> Result<SocketAddr, Error> {
    found.map_err(|source| Error::system("getsockname", "relay", source))
}

/// What tells the relay's descriptors apart in the poller; those of
/// connections follow.
const STOP: u64 = 0;
const LISTENER: u64 = 1;
const FIRST: u64 = 2;
