//! What was sent, sent again over bare sockets.

use std::cell::OnceCell;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use netlink_sys::{Socket, SocketAddr, protocols};
use rustix::fs::{Mode, OFlags, openat};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};
use tapwire::recording::{self, Sent};
use tapwire::sys::Protocol;

use super::Result;

/// Bare sockets in one network namespace.
pub(crate) struct Floor {
    netfilter: Bare,
    route: Bare,
    /// `/proc/sys/net/ipv6/conf`, once something is written there.
    conf: OnceCell<OwnedFd>,
}

/// A `/proc` of its own for what is written in new namespaces, renewed after a
/// few; or else the one of all.
#[derive(Default)]
pub(crate) struct Proc {
    mount: Option<OwnedFd>,
    written: usize,
}

impl Proc {
    /// `path` is relative to `/proc`.
    pub(crate) fn write(&mut self, path: &str, value: &str) -> Result<()> {
        if self.written.is_multiple_of(NAMESPACES) {
            self.mount = Self::mount().ok();
        }
        self.written += 1;
        let file = match &self.mount {
            Some(mount) => openat(mount, path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?,
            None => fs::OpenOptions::new()
                .write(true)
                .open(Path::new("/proc").join(path))?
                .into(),
        };
        rustix::io::write(file, value.as_bytes())?;
        Ok(())
    }

    fn mount() -> rustix::io::Result<OwnedFd> {
        let context = fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_create(context.as_fd())?;
        fsmount(
            context.as_fd(),
            FsMountFlags::FSMOUNT_CLOEXEC,
            MountAttrFlags::empty(),
        )
    }
}

/// What an operation sends, to be sent again.
#[derive(Clone)]
pub(crate) struct Replay {
    steps: Sent,
    /// The generations that batches are based on: step, offset, and how far
    /// from the first of them.
    generations: Vec<(usize, usize, u32)>,
}

impl Replay {
    /// Has `work` done and records what it sends.
    pub(crate) fn record<T>(work: impl FnOnce() -> Result<T>) -> Result<(T, Self)> {
        let (done, steps) = recording::record(work);
        Ok((done?, Self::new(steps)))
    }

    fn new(steps: Sent) -> Self {
        let mut generations = Vec::new();
        let mut first = None;
        for (step, (protocol, bytes)) in steps.iter().enumerate() {
            if *protocol != Protocol::Netfilter {
                continue;
            }
            for start in starts(bytes) {
                if kind(&bytes[start..]) == BATCH_BEGIN && length(&bytes[start..]) == GUARDED_BEGIN
                {
                    let at = start + GUARDED_BEGIN - 4;
                    let value = be32(&bytes[at..]);
                    let first = *first.get_or_insert(value);
                    generations.push((step, at, value.wrapping_sub(first)));
                }
            }
        }
        Self { steps, generations }
    }

    /// How many datagrams it sends.
    pub(crate) fn sends(&self) -> usize {
        self.steps.len()
    }

    /// Has it mean another link than before: its messages begin alike, with the
    /// number of the link behind 4 bytes (`ifinfomsg`, `ifaddrmsg`, `ndmsg`).
    pub(crate) fn move_link(&mut self, from: u32, to: u32) {
        for (_, bytes) in self
            .steps
            .iter_mut()
            .filter(|(it, _)| *it == Protocol::Route)
        {
            let places: Vec<usize> = starts(bytes).map(|start| start + HEADER + 4).collect();
            for at in places {
                if bytes[at..at + 4] == from.to_ne_bytes() {
                    bytes[at..at + 4].copy_from_slice(&to.to_ne_bytes());
                }
            }
        }
    }

    /// Has its batches based on this generation, and what they count it on by.
    fn base_on(&mut self, present: u32) {
        for &(step, at, ahead) in &self.generations {
            let value = present.wrapping_add(ahead).to_be_bytes();
            self.steps[step].1[at..at + 4].copy_from_slice(&value);
        }
    }

    /// Its first steps and the rest, which are so many.
    pub(crate) fn part_at_end(&self, rest: usize) -> (Self, Self) {
        let mut first = self.steps.clone();
        let rest = first.split_off(first.len() - rest);
        (Self::new(first), Self::new(rest))
    }

    /// Each of its steps by itself.
    pub(crate) fn steps(&self) -> Vec<Self> {
        let steps = self.steps.iter();
        steps.map(|step| Self::new(vec![step.clone()])).collect()
    }

    /// Its first steps and the rest, parted before the last of a family.
    pub(crate) fn part_before_last(&self, protocol: Protocol) -> (Self, Self) {
        let last = self.steps.iter().rposition(|(one, _)| *one == protocol);
        let mut first = self.steps.clone();
        let rest = first.split_off(last.unwrap_or(0));
        (Self::new(first), Self::new(rest))
    }
}

impl Floor {
    /// Opens sockets in the calling thread's namespace.
    pub(crate) fn open() -> Result<Self> {
        Ok(Self {
            netfilter: Bare::open(protocols::NETLINK_NETFILTER)?,
            route: Bare::open(protocols::NETLINK_ROUTE)?,
            conf: OnceCell::new(),
        })
    }

    /// Writes settings of IPv6 of a link; in its namespace at first.
    pub(crate) fn set_ipv6(&self, link: &str, settings: &[(&str, &str)]) -> Result<()> {
        let conf = if let Some(conf) = self.conf.get() {
            conf
        } else {
            let opened = fs::File::open("/proc/sys/net/ipv6/conf")?;
            self.conf.get_or_init(|| opened.into())
        };
        for (setting, value) in settings {
            let flags = OFlags::WRONLY | OFlags::CLOEXEC;
            let file = openat(conf, format!("{link}/{setting}"), flags, Mode::empty())?;
            rustix::io::write(file, value.as_bytes())?;
        }
        Ok(())
    }

    /// The number of a link, as a socket tells it (`SIOCGIFINDEX`).
    pub(crate) fn index_of(&self, link: &str) -> Result<u32> {
        Ok(rustix::net::netdevice::name_to_index(
            &self.route.socket,
            link,
        )?)
    }

    /// Sends it all; each datagram when the one before was answered. Returns
    /// how long that took. Batches are first based on the present generation.
    pub(crate) fn replay(&mut self, replay: &mut Replay) -> Result<Duration> {
        self.prepare(replay)?;
        self.send(replay)
    }

    /// The same, of what was [prepared](Self::prepare).
    pub(crate) fn send(&mut self, replay: &Replay) -> Result<Duration> {
        let start = Instant::now();
        for (protocol, bytes) in &replay.steps {
            match protocol {
                Protocol::Netfilter => self.netfilter.exchange(bytes)?,
                _ => self.route.exchange(bytes)?,
            }
        }
        Ok(start.elapsed())
    }

    /// The same, where what is sent asks for the generation itself, and is
    /// based on that.
    pub(crate) fn send_asking(&mut self, replay: &mut Replay) -> Result<Duration> {
        let longest = replay.steps.iter().map(|(_, bytes)| bytes.len());
        self.netfilter.reserve(longest.max().unwrap_or(0))?;
        let start = Instant::now();
        for step in 0..replay.steps.len() {
            let (protocol, bytes) = &replay.steps[step];
            if *protocol != Protocol::Netfilter {
                self.route.exchange(bytes)?;
                continue;
            }
            self.netfilter.exchange(bytes)?;
            if kind(bytes) == GET_GENERATION {
                replay.base_on(self.netfilter.answered_generation());
            }
        }
        Ok(start.elapsed())
    }

    /// Bases it on the present generation, which the kernel is asked for. Just
    /// before it is sent, that has the kernel's code and data at hand.
    pub(crate) fn prepare(&mut self, replay: &mut Replay) -> Result<()> {
        let longest = replay.steps.iter().map(|(_, bytes)| bytes.len());
        self.netfilter.reserve(longest.max().unwrap_or(0))?;
        if replay.generations.is_empty() {
            return Ok(());
        }
        replay.base_on(self.netfilter.generation()?);
        Ok(())
    }
}

/// A connected netlink socket with a buffer.
struct Bare {
    socket: Socket,
    send_buffer: usize,
    answer: Vec<u8>,
}

impl Bare {
    fn open(protocol: isize) -> io::Result<Self> {
        let mut socket = Socket::new(protocol)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        // What the kernel does for a filtered dump depends on it.
        socket.set_netlink_get_strict_chk(true)?;
        Ok(Self {
            socket,
            send_buffer: 0,
            answer: vec![0; 64 * 1024],
        })
    }

    fn reserve(&mut self, bytes: usize) -> Result<()> {
        if self.send_buffer <= bytes {
            let bytes = bytes.max(200_000);
            rustix::net::sockopt::set_socket_send_buffer_size_force(&self.socket, bytes).or_else(
                |_| rustix::net::sockopt::set_socket_send_buffer_size(&self.socket, bytes),
            )?;
            self.send_buffer = bytes;
        }
        Ok(())
    }

    /// Sends requests and receives until the kernel has said all. What it
    /// refuses is no error where the recorded operation lived with it.
    fn exchange(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.socket.send(bytes, 0)?;
        loop {
            let length = self.receive()?;
            if is_question(bytes) {
                return Ok(());
            }
            match last_kind(&self.answer[..length]) {
                ERROR | DONE => return Ok(()),
                _ => {}
            }
        }
    }

    fn receive(&mut self) -> io::Result<usize> {
        let mut buffer = self.answer.as_mut_slice();
        self.socket.recv(&mut buffer, 0)
    }

    fn generation(&mut self) -> io::Result<u32> {
        let mut request = Vec::with_capacity(20);
        request.extend(20_u32.to_ne_bytes());
        request.extend(GET_GENERATION.to_ne_bytes());
        request.extend(1_u16.to_ne_bytes()); // NLM_F_REQUEST
        request.resize(20, 0);
        self.socket.send(&request, 0)?;
        self.receive()?;
        Ok(self.answered_generation())
    }

    /// Behind both headers and that of `NFTA_GEN_ID`.
    fn answered_generation(&self) -> u32 {
        be32(&self.answer[24..])
    }
}

/// Where the messages of a datagram begin.
fn starts(bytes: &[u8]) -> impl Iterator<Item = usize> {
    let mut next = 0;
    std::iter::from_fn(move || {
        let start = next;
        let message = bytes.get(start..).filter(|rest| rest.len() >= HEADER)?;
        next += length(message).next_multiple_of(4);
        Some(start)
    })
}

/// The kind of the last message; of a short datagram, which is no dump, the
/// only one's.
fn last_kind(bytes: &[u8]) -> u16 {
    starts(bytes)
        .last()
        .map_or(0, |start| kind(&bytes[start..]))
}

/// Whether it is one request that is answered by one message and not
/// acknowledged.
fn is_question(bytes: &[u8]) -> bool {
    let flags = u16::from_ne_bytes([bytes[6], bytes[7]]);
    flags & (ACK | DUMP) == 0 && length(bytes) == bytes.len()
}

fn length(message: &[u8]) -> usize {
    let length = u32::from_ne_bytes([message[0], message[1], message[2], message[3]]);
    usize::try_from(length).map_or(HEADER, |it| it.max(HEADER))
}

fn kind(message: &[u8]) -> u16 {
    u16::from_ne_bytes([message[4], message[5]])
}

fn be32(bytes: &[u8]) -> u32 {
    u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

/// So many are told by one `/proc`.
const NAMESPACES: usize = 64;

const HEADER: usize = 16;

/// `NLM_F_ACK` and `NLM_F_DUMP`.
const ACK: u16 = 4;
const DUMP: u16 = 0x300;

/// `NLMSG_ERROR`, which is what acknowledges, and `NLMSG_DONE`.
const ERROR: u16 = 2;
const DONE: u16 = 3;
/// `NFNL_MSG_BATCH_BEGIN`, and its length with a generation.
const BATCH_BEGIN: u16 = 16;
const GUARDED_BEGIN: usize = 28;
/// `NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETGEN`.
const GET_GENERATION: u16 = 10 << 8 | 16;
