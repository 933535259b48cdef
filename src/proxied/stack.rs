//! The guest's end of one connection: TCP as smoltcp speaks it.
//!
//! smoltcp looks at each of an interface's sockets for each packet, and for
//! each deadline. So every connection has an interface of its own, with one
//! socket, and is found by its addresses in a hash map: what a packet costs
//! does not depend on how many connections there are. An interface is small
//! (about a KiB), since it is one of IP, not Ethernet: it has no neighbours
//! and no fragments to remember.

use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::num::{NonZeroU16, NonZeroUsize};
use std::time::Duration;

use smoltcp::iface::{Config, Interface, PollResult, SocketHandle, SocketSet};
use smoltcp::phy::{
    Checksum, Device, DeviceCapabilities, Medium, RxToken, SegmentationCapabilities, TxToken,
};
use smoltcp::socket::tcp::{Socket, SocketBuffer, State};
use smoltcp::time::Instant;
use smoltcp::wire::{
    HardwareAddress, IpAddress, IpCidr, IpProtocol, TcpOption, TcpPacket, checksum,
};

use super::cable::{Cable, Offload};

/// One connection with the guest.
pub(super) struct Stack {
    /// The longest segment that the guest takes.
    longest: Option<NonZeroU16>,
    interface: Interface,
    sockets: SocketSet<'static>,
    handle: SocketHandle,
}

impl Stack {
    /// Waits for the guest to connect to `here`, which is no address of ours.
    /// `None` if it cannot be an address of a connection.
    pub(super) fn listen(cable: &mut Cable, here: SocketAddr, room: usize) -> Option<Self> {
        let mut stack = Self::new(cable, here, room)?;
        stack.socket().listen(here).ok()?;
        Some(stack)
    }

    /// Connects to the guest from `here`, which is no address of ours.
    pub(super) fn connect(
        cable: &mut Cable,
        here: SocketAddr,
        guest: SocketAddr,
        room: usize,
    ) -> Option<Self> {
        let mut stack = Self::new(cable, here, room)?;
        let socket = stack.sockets.get_mut::<Socket<'_>>(stack.handle);
        let context = stack.interface.context();
        socket.connect(context, guest, here).ok()?;
        Some(stack)
    }

    fn new(cable: &mut Cable, here: SocketAddr, room: usize) -> Option<Self> {
        let interface = interface(cable, here)?;
        let buffer = || SocketBuffer::new(vec![0; room]);
        let mut socket = Socket::new(buffer(), buffer());
        socket.set_nagle_enabled(false);
        socket.set_ack_delay(None);
        let mut sockets = SocketSet::new(Vec::with_capacity(1));
        let handle = sockets.add(socket);
        Some(Self {
            longest: None,
            interface,
            sockets,
            handle,
        })
    }

    /// The smoltcp socket.
    pub(super) fn socket(&mut self) -> &mut Socket<'static> {
        self.sockets.get_mut(self.handle)
    }

    /// Gives the guest up when it has not answered for so long.
    pub(super) fn give_up_after(&mut self, silence: Duration) {
        self.socket().set_timeout(Some(silence.into()));
    }

    /// Notices a guest that vanished while nothing is to be said.
    pub(super) fn ask_now_and_then(&mut self) {
        self.give_up_after(GUEST_VANISHED);
        self.socket().set_keep_alive(Some(ASK_AFTER.into()));
    }

    pub(super) fn state(&self) -> State {
        self.sockets.get::<Socket<'_>>(self.handle).state()
    }

    /// Takes an IP packet of the guest's, checksums not looked at again.
    pub(super) fn receive(&mut self, cable: &mut Cable, packet: &[u8], now: Instant) {
        self.longest = self.longest.or_else(|| longest_segment(packet));
        let mut port = Port {
            cable,
            packet: Some(packet),
            longest: self.longest,
        };
        self.interface
            .poll_ingress_single(now, &mut port, &mut self.sockets);
    }

    /// Sends the guest what there is to be sent, some packets at a time;
    /// whether it may be all.
    pub(super) fn transmit(&mut self, cable: &mut Cable, now: Instant) -> bool {
        let mut port = Port {
            cable,
            packet: None,
            longest: self.longest,
        };
        for _ in 0..PACKETS_AT_ONCE {
            if port.cable.is_blocked() {
                return true;
            }
            let sent = self
                .interface
                .poll_egress(now, &mut port, &mut self.sockets);
            if sent == PollResult::None {
                return true;
            }
        }
        false
    }

    /// When [`transmit`](Self::transmit) is next to be called, if nothing
    /// happens before.
    pub(super) fn deadline(&mut self, now: Instant) -> Option<Instant> {
        self.interface.poll_at(now, &self.sockets)
    }
}

impl std::fmt::Debug for Stack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stack")
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}

/// Answers a packet of TCP that belongs to no connection with a reset, unless
/// it is one.
pub(super) fn refuse(cable: &mut Cable, here: SocketAddr, packet: &[u8], now: Instant) {
    let Some(mut interface) = interface(cable, here) else {
        return;
    };
    let mut port = Port {
        cable,
        packet: Some(packet),
        longest: None,
    };
    interface.poll_ingress_single(now, &mut port, &mut SocketSet::new(Vec::new()));
}

/// An interface with one address; `None` if it is none of unicast.
fn interface(cable: &mut Cable, here: SocketAddr) -> Option<Interface> {
    let address = IpAddress::from(here.ip());
    if !address.is_unicast() {
        return None;
    }
    let mut config = Config::new(HardwareAddress::Ip);
    // What sequence numbers begin with must not be guessed (RFC 6528).
    config.random_seed = RandomState::new().hash_one(here);
    let mut port = Port {
        cable,
        packet: None,
        longest: None,
    };
    let mut interface = Interface::new(config, &mut port, Instant::ZERO);
    let prefix = if here.is_ipv4() { 32 } else { 128 };
    interface.update_ip_addrs(|addresses| {
        // One always fits.
        let _: Result<(), IpCidr> = addresses.push(IpCidr::new(address, prefix));
    });
    Some(interface)
}

/// The cable as a device of IP, with at most one packet from the guest.
struct Port<'c> {
    cable: &'c mut Cable,
    packet: Option<&'c [u8]>,
    longest: Option<NonZeroU16>,
}

impl Device for Port<'_> {
    type RxToken<'a>
        = In<'a>
    where
        Self: 'a;
    type TxToken<'a>
        = Out<'a>
    where
        Self: 'a;

    fn receive(&mut self, _: Instant) -> Option<(In<'_>, Out<'_>)> {
        let packet = self.packet.take()?;
        let (cable, longest) = (&mut *self.cable, self.longest);
        Some((In(packet), Out { cable, longest }))
    }

    fn transmit(&mut self, _: Instant) -> Option<Out<'_>> {
        let (cable, longest) = (&mut *self.cable, self.longest);
        (!cable.is_blocked()).then_some(Out { cable, longest })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = self.cable.mtu();
        capabilities.checksum.ipv4 = Checksum::Tx;
        capabilities.checksum.tcp = Checksum::Tx;
        if self.cable.offloads() {
            capabilities.checksum.tcp = Checksum::None;
            // smoltcp 0.14 drops packets of IPv6 that are longer than this,
            // also those that the device is to cut up, and does not say into
            // what: see `Out`. The guest's own MTU limits what it sends.
            capabilities.max_transmission_unit = LARGEST.get();
            let mut segmentation = SegmentationCapabilities::default();
            segmentation.tcpv4 = Some(LARGEST);
            segmentation.tcpv6 = Some(LARGEST);
            capabilities.segmentation = segmentation;
        }
        capabilities
    }
}

/// A packet from the guest.
struct In<'p>(&'p [u8]);

impl RxToken for In<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, take: F) -> R {
        take(self.0)
    }
}

/// A packet to the guest.
struct Out<'c> {
    cable: &'c mut Cable,
    longest: Option<NonZeroU16>,
}

impl TxToken for Out<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, fill: F) -> R {
        let offloads = self.cable.offloads();
        self.cable.send_ip(length, |room| {
            let result = fill(room);
            if !offloads {
                return (result, None);
            }
            let header = leave_checksum(room);
            let data = data_of(room.get(header..).unwrap_or_default());
            let segment = self.longest.filter(|longest| data > longest.get().into());
            (result, Some(Offload { header, segment }))
        })
    }
}

/// What the guest says of itself in the packet with which it begins
/// (`MSS` of RFC 9293); `None` in another one.
fn longest_segment(packet: &[u8]) -> Option<NonZeroU16> {
    let segment = packet.get(header_of(packet)..)?;
    let mut options = match TcpPacket::new_checked(segment) {
        Ok(segment) if segment.syn() => segment.options(),
        _ => return None,
    };
    let mut longest = UNSAID;
    while let Ok((rest, option)) = TcpOption::parse(options) {
        match option {
            TcpOption::EndOfList => break,
            TcpOption::MaxSegmentSize(size) => longest = size,
            _ => {}
        }
        options = rest;
    }
    // smoltcp sends no shorter ones.
    NonZeroU16::new(longest.max(SHORTEST))
}

/// The length of the IP header, which has no extensions.
fn header_of(packet: &[u8]) -> usize {
    let first = packet.first().copied().unwrap_or_default();
    if first >> 4 == 4 {
        usize::from(first & 15) << 2
    } else {
        40
    }
}

/// How much data is in a segment.
fn data_of(segment: &[u8]) -> usize {
    TcpPacket::new_checked(segment).map_or(0, |segment| segment.payload().len())
}

/// Prepares the checksum of TCP for the device, which adds the data to it; the
/// length of the IP header.
fn leave_checksum(packet: &mut [u8]) -> usize {
    let header = header_of(packet);
    let is_ipv4 = packet.first().is_some_and(|byte| byte >> 4 == 4);
    let addresses = if is_ipv4 { 12..20 } else { 8..40 };
    let length = packet.len().saturating_sub(header);
    let length = u32::try_from(length).unwrap_or_default().to_be_bytes();
    let protocol = [0, IpProtocol::Tcp.into()];
    let addresses = checksum::data(packet.get(addresses).unwrap_or_default());
    let parts = [
        addresses,
        checksum::data(&protocol),
        checksum::data(&length),
    ];
    let sum = checksum::combine(&parts);
    if let Some(rest) = packet.get_mut(header..)
        && let Ok(mut tcp) = TcpPacket::new_checked(rest)
    {
        tcp.set_checksum(sum);
    }
    header
}

/// Of what is longer, IPv4 has no length.
const LARGEST: NonZeroUsize = NonZeroUsize::MIN.saturating_add(65_534);

/// The longest segment of a guest that does not say.
const UNSAID: u16 = 536;
const SHORTEST: u16 = 48;

/// So many packets of one connection are sent before it is the next one's
/// turn.
const PACKETS_AT_ONCE: u32 = 64;

/// A guest that does not answer for so long has vanished.
const GUEST_VANISHED: Duration = Duration::from_secs(120);

/// After so much silence it is asked whether it is still there.
const ASK_AFTER: Duration = Duration::from_secs(60);
