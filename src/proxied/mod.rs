//! The proxied connection: no kernel configuration, and no privilege beyond
//! the TAP's descriptor.
//!
//! ```text
//!   guest ── frames ── TAP's descriptor                        the host
//!                           │
//!                        [cable]   one frame per read and write
//!                           │
//!                        [packet]  checked: MAC, addresses, checksums
//!        ┌─────────────┬────┴────────┬──────────────┐
//!  [neighbours]      [tcp]         [udp]          [echo]
//!   ARP, ND       [stack] ⇄ [joined]  exchanges      ICMP echo
//!                       │             │              │
//!                   [reach]  what the guest may begin, and where it leads
//!                       │             │              │
//!                  TCP sockets   UDP sockets   ping sockets ── the network
//!                       └── [listen] ─┘  exposures: sockets that listen
//! ```
//!
//! One thread drives it by `epoll(7)`. A turn takes some frames from the
//! cable and what the poller has to say of sockets, and then serves each
//! connection that something has happened to.

mod cable;
mod counters;
mod echo;
mod frames;
mod handle;
mod joined;
mod listen;
mod neighbours;
mod outside;
mod packet;
mod reach;
mod resolver;
mod settings;
mod socket;
mod stack;
mod tcp;
mod udp;

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use smoltcp::time::Instant;

pub use counters::ProxiedCounters;
pub use handle::{ProxiedHandle, ProxiedNotice};
pub use settings::ProxiedSettings;

use cable::Cable;
use echo::Echoes;
use listen::Doors;
use outside::{Outside, Token};
use reach::Reach;
use resolver::Resolvers;
use tcp::Connections;
use udp::Exchanges;

use crate::error::Error;
use crate::exposure::Exposure;
use crate::relay::{Interest, Poller, Ready, socket as streams};
use crate::sys::Tap;

/// A guest whose TCP, UDP and echoes end in this process, and go on as its
/// own sockets.
///
/// It needs nothing of the host but a descriptor that carries the guest's
/// frames: no right, no rule, no route, no address. The price is speed: every
/// byte passes through the process. It is for hosts that grant nothing else,
/// as a pod without capabilities.
///
/// The guest reaches the outside as the process does, from the host's own
/// address, as far as its [`Egress`](crate::Egress) goes. Like any guest it
/// reaches no port of the host that it was not granted: a granted
/// [`Service`](crate::Service) it finds at the host's addresses, and at its
/// gateway's, where it is the host's loopback address that is meant. The
/// gateway's port 53 leads to resolvers. What it may not reach it is told of
/// by an ICMP error, and counted. It speaks only with its own MAC and
/// addresses.
///
/// An [`Exposure`] is a socket that listens. The guest sees the client's own
/// address; a client on a loopback address is seen as the gateway. Where the
/// exposure is for all addresses, a loopback one is not served.
///
/// TCP: what the guest asks for is taken once the other side has taken it; it
/// is refused or unreachable as the other side or the network said. Each way
/// is passed on by itself, so a connection may be half closed; a reset is
/// passed on as a reset; a side that does not take its data lets the other
/// wait.
///
/// UDP: an exchange is forgotten when nothing has passed for a time. A
/// datagram that does not fit the guest's MTU, or comes in fragments, is lost.
///
/// Sockets are made in the network namespace of the thread that is in
/// [`turn`](Self::turn) or [`expose`](Self::expose).
///
/// ```no_run
/// use tapwire::sys::TapOptions;
/// use tapwire::{Exposure, Guest, Protocol, Proxied, ProxiedSettings, Target};
///
/// let guest = Guest::new("hello-world")?;
/// let tap = TapOptions::new("tap0".parse()?).attach()?;
/// let mut proxied = Proxied::open(tap, ProxiedSettings::new(&guest))?;
/// let web = Target::of(guest.name().clone(), 80);
/// proxied.expose(&Exposure::new(Protocol::Tcp, 8080, web)?)?;
/// let handle = proxied.handle();
/// std::thread::spawn(move || proxied.run());
/// println!("{}", handle.counters());
/// # Ok::<(), tapwire::Error>(())
/// ```
pub struct Proxied {
    outside: Outside,
    connections: Connections,
    exchanges: Exchanges,
    echoes: Echoes,
    doors: Doors,
    notices: Vec<ProxiedNotice>,
    dhcp: Option<Responder>,
    stop: Arc<OwnedFd>,
    ready: Vec<(u64, Ready)>,
    room: Box<[u8]>,
    /// More is to be done at once.
    works: bool,
    is_cable_blocked: bool,
}

/// What answers DHCP.
type Responder = Box<dyn FnMut(&[u8]) -> Option<Vec<u8>> + Send>;

impl Proxied {
    /// Takes over the guest's wire: a queue of a TAP device on whose other
    /// side the guest is.
    ///
    /// With a vnet header, which is much faster, the guest's side may leave
    /// segmentation and checksums to this one (`TUNSETOFFLOAD`).
    ///
    /// # Errors
    /// [`Error::Invalid`] for settings that cannot be; [`Error::System`] if a
    /// system call fails.
    pub fn open(tap: Tap, settings: ProxiedSettings) -> Result<Self, Error> {
        settings.check()?;
        let cable = Cable::tap(tap, settings.mac, settings.mtu)?;
        Self::new(cable, settings)
    }

    /// Takes over the guest's wire: a socket of datagrams or packets, each of
    /// which is a frame, as QEMU's `-netdev dgram` has it.
    ///
    /// # Errors
    /// As [`open`](Self::open), and [`Error::Invalid`] for another socket.
    pub fn over(socket: OwnedFd, settings: ProxiedSettings) -> Result<Self, Error> {
        settings.check()?;
        let cable = Cable::socket(socket, settings.mac, settings.mtu)?;
        Self::new(cable, settings)
    }

    fn new(cable: Cable, settings: ProxiedSettings) -> Result<Self, Error> {
        let poller = Poller::new()?;
        let stop = streams::event()?;
        let failed = |source| Error::system("epoll_ctl", "proxy", source);
        let added = poller.add(&stop, Token::Stop.into(), Interest::READ);
        added.map_err(failed)?;
        let added = poller.add(&cable, Token::Cable.into(), Interest::READ);
        added.map_err(failed)?;
        let resolvers = match &settings.resolvers {
            Some(addresses) => Resolvers::new(addresses.clone()),
            None => Resolvers::of_system()?,
        };
        let notices = [
            (true, ProxiedNotice::NoEchoV4),
            (false, ProxiedNotice::NoEchoV6),
        ];
        let notices = notices
            .into_iter()
            .filter(|(ipv4, _)| !socket::permits_echo(*ipv4));
        let notices: Vec<ProxiedNotice> = notices.map(|(_, notice)| notice).collect();
        for notice in &notices {
            log::warn!("proxy of {}: {notice}", settings.name);
        }
        Ok(Self {
            outside: Outside {
                cable,
                poller,
                counters: Arc::default(),
                reach: Reach::new(settings.clone(), resolvers)?,
                settings,
                began: std::time::Instant::now(),
            },
            connections: Connections::default(),
            exchanges: Exchanges::default(),
            echoes: Echoes::new(),
            doors: Doors::default(),
            notices,
            dhcp: None,
            stop: Arc::new(stop),
            ready: Vec::new(),
            room: vec![0; cable::LONGEST].into(),
            works: false,
            is_cable_blocked: false,
        })
    }

    /// Listens for the guest. The exposure that is there already is no error.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a protocol that is neither TCP nor UDP, for
    /// several guests, and for allowed clients of a family that is not served;
    /// [`Error::Absent`] if it leads to another guest, or the host has no such
    /// address; [`Error::Conflict`] if a port is taken; [`Error::System`] if a
    /// system call fails, such as `EACCES` on a privileged port or `EMFILE`
    /// without a descriptor left. Nothing listens then that did not before.
    pub fn expose(&mut self, exposure: &Exposure) -> Result<(), Error> {
        let Outside {
            settings, poller, ..
        } = &self.outside;
        self.doors.expose(exposure, settings, poller)
    }

    /// Listens for the guest no more. Connections that are there go on.
    ///
    /// # Errors
    /// [`Error::Absent`] if there is no such exposure.
    pub fn unexpose(&mut self, exposure: &Exposure) -> Result<(), Error> {
        self.doors.unexpose(exposure)
    }

    /// What is exposed.
    pub fn exposures(&self) -> &[Exposure] {
        self.doors.exposures()
    }

    /// Has this answer what the guest sends to the DHCP server's port (RFC
    /// 2131): it is given a message without headers, and returns the answer,
    /// which is broadcast to the guest. Without one nobody answers.
    pub fn answer_dhcp(
        &mut self,
        responder: impl FnMut(&[u8]) -> Option<Vec<u8>> + Send + 'static,
    ) {
        self.dhcp = Some(Box::new(responder));
    }

    /// What it cannot do on this host.
    pub fn notices(&self) -> &[ProxiedNotice] {
        &self.notices
    }

    /// What another thread can know of it, and do to it.
    pub fn handle(&self) -> ProxiedHandle {
        ProxiedHandle {
            counters: Arc::clone(&self.outside.counters),
            stop: Arc::clone(&self.stop),
        }
    }

    /// Works until it is told to [`stop`](ProxiedHandle::stop), then resets
    /// the connections that are left.
    ///
    /// # Errors
    /// As [`turn`](Self::turn).
    pub fn run(&mut self) -> Result<(), Error> {
        while !self.turn(None)? {}
        let now = self.outside.now();
        self.connections.reset(&mut self.outside, now);
        Ok(())
    }

    /// Waits until there is something to be done, but no longer than
    /// `patience`, and does some of it; whether it was told to
    /// [`stop`](ProxiedHandle::stop).
    ///
    /// # Errors
    /// [`Error::System`]: the guest's wire has gone (`EBADFD` if the device was
    /// deleted), or waiting failed.
    pub fn turn(&mut self, patience: Option<Duration>) -> Result<bool, Error> {
        let patience = self.patience(patience);
        let mut ready = std::mem::take(&mut self.ready);
        let waited = self.outside.poller.wait(patience, &mut ready);
        waited.map_err(|source| Error::system("epoll_wait", "proxy", source))?;
        let now = self.outside.now();
        let mut is_to_stop = false;
        for (token, what) in ready.drain(..) {
            match Token::from(token) {
                Token::Stop => is_to_stop = true,
                Token::Cable => self.take_frames(what, now),
                Token::Connection(number) => {
                    self.connections
                        .notice(&mut self.outside, number, what, now);
                }
                Token::Exchange(number) => {
                    let room = &mut self.room;
                    self.exchanges.notice(&mut self.outside, number, room, now);
                }
                Token::Echo(number) => {
                    let room = &mut self.room;
                    self.echoes.notice(&mut self.outside, number, room, now);
                }
                Token::Door(number) => self.answer(number, now),
            }
        }
        self.ready = ready;
        self.doors.resume(&self.outside.poller, now);
        self.connections.meet_deadlines(&mut self.outside, now);
        self.works = self.connections.serve(&mut self.outside, now);
        self.exchanges.forget(&self.outside, now);
        self.echoes.forget(&self.outside, now);
        self.settle()?;
        Ok(is_to_stop)
    }

    /// How long [`turn`](Self::turn) would wait at most, for who waits for the
    /// [descriptor](Self::as_fd) by other means; `None` is without end.
    pub fn timeout(&self) -> Option<Duration> {
        if self.works {
            return Some(Duration::ZERO);
        }
        let deadlines = [
            self.connections.deadline(),
            self.exchanges.deadline(),
            self.echoes.deadline(),
            self.doors.deadline(),
        ];
        let first = deadlines.into_iter().flatten().min()?;
        let left = first
            .total_micros()
            .saturating_sub(self.outside.now().total_micros());
        Some(Duration::from_micros(
            u64::try_from(left).unwrap_or_default(),
        ))
    }

    fn patience(&self, patience: Option<Duration>) -> Option<Duration> {
        match (patience, self.timeout()) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        }
    }

    /// Takes some frames from the cable, and has it go on if it was blocked.
    fn take_frames(&mut self, ready: Ready, now: Instant) {
        if ready.write() && self.outside.cable.unblock() {
            self.connections.unblock();
        }
        let mut room = std::mem::take(&mut self.room);
        for _ in 0..FRAMES_AT_ONCE {
            let Some(received) = self.outside.cable.receive(&mut room) else {
                break;
            };
            self.take(received.frame, received.checksum, now);
        }
        self.room = room;
    }

    /// Someone is at a door.
    fn answer(&mut self, number: u64, now: Instant) {
        let outside = &mut self.outside;
        let doors = &mut self.doors;
        if doors.datagrams(number).is_some() {
            let room = &mut self.room;
            return self.exchanges.admit(outside, doors, number, room, now);
        }
        for _ in 0..ACCEPTED_AT_ONCE {
            let Some((stream, door)) = doors.accept(number, &outside.poller, now) else {
                return;
            };
            self.connections.admit(outside, stream, &door);
        }
    }

    /// Tells the poller and the counters what has changed.
    fn settle(&mut self) -> Result<(), Error> {
        let outside = &mut self.outside;
        outside.counters.lost.add(outside.cable.take_lost());
        let flows = self.exchanges.len().saturating_add(self.echoes.len());
        outside.counters.flows.set(flows);
        if let Some(source) = outside.cable.take_gone() {
            return Err(Error::system("read", "wire of a guest", source));
        }
        let blocked = outside.cable.is_blocked();
        if blocked != self.is_cable_blocked {
            let interest = Interest {
                read: true,
                write: blocked,
            };
            let token = Token::Cable.into();
            let changed = outside.poller.modify(&outside.cable, token, interest);
            changed.map_err(|source| Error::system("epoll_ctl", "proxy", source))?;
            self.is_cable_blocked = blocked;
        }
        Ok(())
    }
}

/// Readable when there is something to be done at once; see
/// [`timeout`](Proxied::timeout) for what is to be done later.
impl AsFd for Proxied {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.outside.poller.as_fd()
    }
}

impl fmt::Debug for Proxied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxied")
            .field("settings", &self.outside.settings)
            .field("exposures", &self.doors.exposures())
            .field("notices", &self.notices)
            .field("counters", &self.outside.counters.read())
            .finish_non_exhaustive()
    }
}

/// So many frames are taken before sockets have their turn.
const FRAMES_AT_ONCE: u32 = 256;
const ACCEPTED_AT_ONCE: u32 = 64;
