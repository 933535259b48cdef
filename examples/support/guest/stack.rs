//! The thread behind a guest: a TCP/IP stack, its servers and its calls.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use smoltcp::iface::{self, Interface, SocketSet};
use smoltcp::socket::{tcp, udp};
use smoltcp::wire::{EthernetAddress, IpCidr};

use super::super::frame;
use super::call::{Call, Order};
use super::device::FrameDevice;
use super::serve::{Echo, FRAMES_AT_ONCE, HttpPort};
use super::{Config, Seen, Transport};

/// Everything that the thread owns.
pub(super) struct Stack {
    name: String,
    file: Arc<File>,
    device: FrameDevice,
    interface: Interface,
    sockets: SocketSet<'static>,
    http: Vec<HttpPort>,
    echoes: Vec<Echo>,
    calls: Vec<Call>,
    next_port: u16,
    questions: Questions,
    seen: Arc<Mutex<Seen>>,
}

impl Stack {
    /// # Errors
    /// `InvalidInput` if the configuration has a port 0 or a prefix that is
    /// too long.
    pub(super) fn new(
        config: Config,
        file: Arc<File>,
        seed: u64,
        seen: Arc<Mutex<Seen>>,
    ) -> io::Result<Self> {
        config.check()?;
        let mut device = FrameDevice::new(Arc::clone(&file));
        let mac = EthernetAddress(config.mac.octets());
        let mut settings = iface::Config::new(mac.into());
        settings.random_seed = seed;
        let mut interface = Interface::new(settings, &mut device, smoltcp::time::Instant::now());
        let mut fits = true;
        interface.update_ip_addrs(|addresses| {
            if let Some((address, prefix, _)) = config.ipv4 {
                fits &= addresses.push(IpCidr::new(address.into(), prefix)).is_ok();
            }
            if let Some((address, prefix, _)) = config.ipv6 {
                fits &= addresses.push(IpCidr::new(address.into(), prefix)).is_ok();
            }
        });
        let routes = interface.routes_mut();
        if let Some((_, _, gateway)) = config.ipv4 {
            fits &= routes.add_default_ipv4_route(gateway).is_ok();
        }
        if let Some((_, _, gateway)) = config.ipv6 {
            fits &= routes.add_default_ipv6_route(gateway).is_ok();
        }
        if !fits {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        let mut sockets = SocketSet::new(Vec::new());
        let http = config
            .http
            .iter()
            .map(|&port| HttpPort::new(&mut sockets, port))
            .collect();
        let echoes = config
            .echo
            .iter()
            .map(|&port| Echo::new(&mut sockets, port))
            .collect();
        let questions = Questions::new(&config);
        let [low, high, ..] = seed.to_le_bytes();
        Ok(Self {
            name: config.name,
            file,
            device,
            interface,
            sockets,
            http,
            echoes,
            calls: Vec::new(),
            next_port: u16::from_le_bytes([low, high]) | FIRST_EPHEMERAL_PORT,
            questions,
            seen,
        })
    }

    /// Works until the sender of `orders` is dropped and `wake` told so.
    pub(super) fn run(mut self, orders: &Receiver<Order>, wake: &UnixStream) {
        loop {
            loop {
                match orders.try_recv() {
                    Ok(order) => self.take(order),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return,
                }
            }
            let wait = self.work();
            if self.sleep(wake, wait).is_err() {
                return;
            }
        }
    }

    fn take(&mut self, order: Order) {
        let port = self.next_port;
        self.next_port = port.checked_add(1).unwrap_or(FIRST_EPHEMERAL_PORT);
        let context = self.interface.context();
        self.calls
            .extend(Call::open(order, port, context, &mut self.sockets));
    }

    /// Moves frames and serves sockets; how long nothing is to be done unless
    /// a frame or an order comes.
    fn work(&mut self) -> Duration {
        let next_question = self.questions.ask(&self.file);
        self.device.allow(FRAMES_AT_ONCE);
        let now = smoltcp::time::Instant::now();
        self.interface
            .poll(now, &mut self.device, &mut self.sockets);
        for port in &mut self.http {
            for peer in port.step(&mut self.sockets, &self.name) {
                record(&self.seen, Transport::Tcp, peer);
            }
        }
        for echo in &self.echoes {
            for peer in echo.step(&mut self.sockets) {
                record(&self.seen, Transport::Udp, peer);
            }
        }
        let (ended, going): (Vec<_>, Vec<_>) = std::mem::take(&mut self.calls)
            .into_iter()
            .map(|mut call| (call.step(&mut self.sockets), call))
            .partition(|(goes_on, _)| !goes_on);
        self.calls = going.into_iter().map(|(_, call)| call).collect();
        // Only out: what came in now would wait until the next time.
        let now = smoltcp::time::Instant::now();
        self.interface
            .poll_egress(now, &mut self.device, &mut self.sockets);
        for (_, call) in ended {
            call.close(&mut self.sockets);
        }
        let stack = self.interface.poll_delay(now, &self.sockets);
        let deadline = self.calls.iter().map(Call::deadline).min();
        stack
            .map(Duration::from)
            .into_iter()
            .chain(next_question)
            .chain(deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())))
            .fold(LONGEST_SLEEP, Duration::min)
    }

    fn sleep(&self, wake: &UnixStream, longest: Duration) -> io::Result<()> {
        let mut descriptors = [
            PollFd::new(wake, PollFlags::IN),
            PollFd::new(&*self.file, PollFlags::IN),
        ];
        let timeout = Timespec::try_from(longest).map_err(io::Error::other)?;
        // Without its interface the descriptor is ready all the time.
        let watched = if self.device.is_gone() { 1 } else { 2 };
        let watched = descriptors.get_mut(..watched).unwrap_or_default();
        match poll(watched, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let [woken, frames] = descriptors;
        if !woken.revents().is_empty() {
            let mut bytes = [0; 64];
            // End of file is the order to stop, and `run` finds it out.
            let _: usize = (&mut &*wake).read(&mut bytes).unwrap_or(0);
        }
        if frames.revents().intersects(PollFlags::ERR | PollFlags::HUP) {
            // The interface is down: wait until it may be up again.
            std::thread::sleep(PAUSE_WHILE_DOWN);
        }
        Ok(())
    }
}

/// The questions for its gateways' MAC addresses that a guest asks when it
/// boots.
///
/// smoltcp asks too, but after one question it is silent for a second, also
/// about the gateway of the other family.
struct Questions {
    frames: Vec<Vec<u8>>,
    started: Instant,
    times: &'static [Duration],
}

impl Questions {
    fn new(config: &Config) -> Self {
        let mac = config.mac;
        let ipv4 = config
            .ipv4
            .map(|(address, _, gateway)| frame::arp_request(mac, address, gateway));
        let ipv6 = config
            .ipv6
            .map(|(address, _, gateway)| frame::neighbour_solicitation(mac, address, gateway));
        Self {
            frames: ipv4.into_iter().chain(ipv6).collect(),
            started: Instant::now(),
            times: QUESTION_TIMES,
        }
    }

    /// Asks if it is time; how long until the next.
    fn ask(&mut self, mut wire: &File) -> Option<Duration> {
        while let [time, later @ ..] = self.times {
            let wait = time.saturating_sub(self.started.elapsed());
            if !wait.is_zero() {
                return Some(wait);
            }
            for frame in &self.frames {
                // The interface may not be up yet, so it is asked again.
                let _: usize = wire.write(frame).unwrap_or(0);
            }
            self.times = later;
        }
        None
    }
}

/// A TCP socket that tells the peer of all it got without delay, and gives
/// up on a peer that is silent.
pub(super) fn tcp_socket() -> tcp::Socket<'static> {
    let buffer = || tcp::SocketBuffer::new(vec![0; TCP_BUFFER]);
    let mut socket = tcp::Socket::new(buffer(), buffer());
    socket.set_ack_delay(None);
    socket.set_nagle_enabled(false);
    socket.set_timeout(Some(SILENCE.into()));
    socket
}

/// Room for 16 datagrams.
pub(super) fn packet_buffer() -> udp::PacketBuffer<'static> {
    udp::PacketBuffer::new(
        vec![udp::PacketMetadata::EMPTY; 16],
        vec![0; DATAGRAM_BUFFER],
    )
}

fn record(seen: &Mutex<Seen>, transport: Transport, peer: std::net::SocketAddr) {
    if let Ok(mut seen) = seen.lock() {
        seen.push((transport, peer));
    }
}

const FIRST_EPHEMERAL_PORT: u16 = 0xC000;
const QUESTION_TIMES: &[Duration] = &[
    Duration::ZERO,
    Duration::from_millis(50),
    Duration::from_millis(250),
];
const LONGEST_SLEEP: Duration = Duration::from_secs(1);
const PAUSE_WHILE_DOWN: Duration = Duration::from_millis(5);
const SILENCE: Duration = Duration::from_secs(30);
const TCP_BUFFER: usize = 8 * 1024;
const DATAGRAM_BUFFER: usize = 32 * 1024;
