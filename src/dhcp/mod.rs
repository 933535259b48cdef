//! Tells a guest its configuration: DHCP, DHCPv6 and router advertisements
//! (feature `dhcp`).
//!
//! A [`Responder`] answers one guest on its TAP with what a [`GuestConfig`]
//! says, so that an unchanged system image comes up with the right addresses,
//! routes, MTU and name servers, among them those of a pod behind proxy ARP
//! (RFC 3442). It answers nobody else and hands out nothing else.
//!
//! | the guest asks by | it gets |
//! |---|---|
//! | DHCP (RFC 2131) | the first IPv4 address for ever, netmask, routes (options 121 and 3), MTU, name servers, host name, domains |
//! | a router solicitation (RFC 4861) | the default router, prefixes on the link, routes (RFC 4191), MTU, name servers (RFC 8106), and that addresses are had by DHCPv6 |
//! | DHCPv6 (RFC 8415) | all IPv6 addresses for ever, name servers, domains; at once with rapid commit |
//!
//! Not told, for these protocols have no word for it: more than one IPv4
//! address, permanent neighbours, metrics, an IPv6 gateway of which neither a
//! link-local address nor a MAC address is known ([`Responder::router`]).
//!
//! The frames are seen beside the bridge, not taken out of its way: others on
//! the link hear what the guest asks, and their answers reach it too.

mod bytes;
mod counters;
mod domains;
mod filter;
mod frame;
mod router;
#[cfg(test)]
mod tests;
mod v4;
mod v6;

use std::io;
use std::net::Ipv6Addr;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

pub use counters::ResponderCounters;

use frame::Question;
use router::Router;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::error::{Error, Invalid};
use crate::guest::GuestConfig;
use crate::route::Rtnl;
use crate::sys::PacketSocket;
use crate::types::{IfName, Mac};

/// Answers one guest on its TAP.
///
/// [`serve`](Self::serve) does so on the calling thread. Or any event loop
/// does: it waits until the descriptor ([`AsFd`]) is readable, or until
/// [`due`](Self::due), and calls [`answer`](Self::answer).
///
/// ```no_run
/// use tapwire::bridged::Bridged;
/// use tapwire::dhcp::Responder;
/// # fn stop() -> std::os::unix::net::UnixStream { todo!() }
/// if let Some(bridged) = Bridged::find("eth0".parse()?)? {
///     let config = bridged.config().clone().dns([10, 96, 0, 10].into());
///     Responder::open(bridged.tap(), config)?.serve(&stop())?;
/// }
/// # Ok::<(), tapwire::Error>(())
/// ```
#[derive(Debug)]
pub struct Responder {
    socket: PacketSocket,
    config: GuestConfig,
    server: Mac,
    router: Router,
    counters: ResponderCounters,
    due: Instant,
    buffer: Vec<u8>,
}

impl Responder {
    /// Begins to listen to the guest behind `tap`, in the calling thread's
    /// network namespace. Whatever it asks waits until it is answered.
    ///
    /// # Errors
    /// [`Error::Absent`] if there is no such interface, [`Error::Invalid`] if
    /// it has no MAC address of its own or the guest's; [`Error::System`] if
    /// the socket cannot be had (`EPERM` without `CAP_NET_RAW`).
    pub fn open(tap: IfName, config: GuestConfig) -> Result<Self, Error> {
        let link = Rtnl::open()?.link(tap)?.ok_or_else(|| Error::Absent {
            kind: "interface",
            name: tap.as_str().into(),
        })?;
        let own = link.mac().filter(|&mac| mac != config.mac());
        let why = "has no MAC address besides the guest's";
        let server = own.ok_or_else(|| Invalid::new("interface", tap, why))?;
        let filter = filter::program(config.mac());
        Ok(Self {
            socket: PacketSocket::open(tap, link.index(), &filter)?,
            router: Router::of(&config, server),
            config,
            server,
            counters: ResponderCounters::default(),
            due: Instant::now(),
            buffer: vec![0; FRAME_MAX],
        })
    }

    /// What the guest is told.
    pub fn config(&self) -> &GuestConfig {
        &self.config
    }

    /// The default gateway of IPv6 that the guest is told of; `None` if there
    /// is none, or if it can only be told in another way.
    pub fn router(&self) -> Option<Ipv6Addr> {
        self.router.gateway()
    }

    /// What it has done so far.
    pub fn counters(&self) -> ResponderCounters {
        self.counters
    }

    /// When [`answer`](Self::answer) has something to do though nothing was
    /// asked: the next advertisement.
    pub fn due(&self) -> Instant {
        self.due
    }

    /// Answers everything that waits, and returns; does not block.
    ///
    /// What cannot be read is passed over and counted. An answer that the TAP
    /// does not take (it is down, or full) is lost and counted.
    ///
    /// # Errors
    /// [`Error::System`] if the kernel does not hand over what waits. An
    /// interface that is deleted is silent.
    pub fn answer(&mut self) -> Result<(), Error> {
        if Instant::now() >= self.due {
            self.advertise();
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        let outcome = self.answer_all(&mut buffer);
        self.buffer = buffer;
        outcome.map_err(|source| Error::system("read", "frames of a guest", source))
    }

    /// Answers until `stop` is readable, or its other end is closed.
    ///
    /// # Errors
    /// As [`answer`](Self::answer).
    pub fn serve(&mut self, stop: &impl AsFd) -> Result<(), Error> {
        loop {
            self.answer()?;
            let wait = self.due.saturating_duration_since(Instant::now());
            let wait = Timespec::try_from(wait).ok();
            let mut descriptors = [
                PollFd::new(stop, PollFlags::IN),
                PollFd::new(&self.socket, PollFlags::IN),
            ];
            match poll(&mut descriptors, wait.as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(Error::system("poll", "responder", errno.into())),
            }
            let [stop, _] = &descriptors;
            if !stop.revents().is_empty() {
                return Ok(());
            }
        }
    }

    fn answer_all(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        loop {
            let length = match self.socket.receive(buffer) {
                Ok(length) => length,
                Err(error) => match error.raw_os_error() {
                    Some(libc::EAGAIN) => return Ok(()),
                    // The interface has been set down, which is said once.
                    Some(libc::EINTR | libc::ENETDOWN) => continue,
                    _ => return Err(error),
                },
            };
            let frame = buffer.get(..length).unwrap_or_default();
            self.answer_one(frame);
        }
    }

    fn answer_one(&mut self, frame: &[u8]) {
        let (config, server) = (&self.config, self.server);
        let count = &mut self.counters;
        let (answer, counter) = match frame::read(frame, config.mac()) {
            Some(Question::Router) => return self.advertise(),
            Some(Question::Dhcp(payload)) => {
                let message = v4::Message::read(payload);
                let answer = message.and_then(|message| message.answer(config, server));
                (answer, &mut count.dhcp)
            }
            Some(Question::Dhcp6(from, payload)) => {
                let message = v6::Message::read(payload);
                let answer = message.and_then(|message| message.answer(from, config, server));
                (answer, &mut count.dhcp6)
            }
            Some(Question::Neighbour(asker, target)) => {
                match self.router.neighbour(asker, target, config, server) {
                    // Most are for others.
                    None => return,
                    answer => (answer, &mut count.neighbours),
                }
            }
            None => (None, &mut count.passed_over),
        };
        match answer.map(|answer| self.socket.send(&answer)) {
            Some(Ok(())) => *counter = counter.saturating_add(1),
            Some(Err(_)) => count.lost = count.lost.saturating_add(1),
            None => count.passed_over = count.passed_over.saturating_add(1),
        }
    }

    fn advertise(&mut self) {
        let now = Instant::now();
        self.due = now.checked_add(EVERY).unwrap_or(now);
        // Without IPv6 there is nothing to say.
        if self.config.all_ipv6().next().is_none() && self.router.gateway().is_none() {
            return;
        }
        let count = &mut self.counters;
        match self.router.advertise(&self.config, self.server) {
            Some(frame) if self.socket.send(&frame).is_ok() => {
                count.advertisements = count.advertisements.saturating_add(1);
            }
            _ => count.lost = count.lost.saturating_add(1),
        }
    }
}

impl AsFd for Responder {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Advertisements are sent so often unasked: several times within the life of
/// a default router.
const EVERY: Duration = Duration::from_secs(1800);

/// More than any question has; larger frames are cut off, and passed over.
const FRAME_MAX: usize = 4096;
