//! The guest's wire: a descriptor that carries one Ethernet frame per read
//! and per write.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::num::NonZeroU16;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::packet::Checksum;
use super::socket;
use crate::error::{Error, Invalid};
use crate::guest::GATEWAY_MAC;
use crate::sys::{Tap, VNET_HEADER};
use crate::types::Mac;

/// A TAP's descriptor, or a socket of datagrams.
#[derive(Debug)]
pub(super) struct Cable {
    end: File,
    vnet_header: bool,
    mtu: usize,
    /// The Ethernet header of what the guest is sent, but for its type.
    addresses: [u8; 12],
    out: Vec<u8>,
    /// The last frame was not taken; nothing is sent before it has been.
    blocked: bool,
    /// Why the cable carries nothing any more.
    gone: Option<io::Error>,
    lost: usize,
}

/// A frame as it lies in the room that it was read into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Received<'r> {
    pub(super) frame: &'r [u8],
    /// What is to be thought of the transport's checksum.
    pub(super) checksum: Checksum,
}

/// What the device behind the cable does to a packet of TCP itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Offload {
    /// The length of the IP header.
    pub(super) header: usize,
    /// Cuts the data up into segments of this size.
    pub(super) segment: Option<NonZeroU16>,
}

impl Cable {
    /// A TAP device of which this is a queue.
    pub(super) fn tap(tap: Tap, guest: Mac, mtu: u16) -> Result<Self, Error> {
        let vnet_header = tap.has_vnet_header()?;
        if vnet_header {
            tap.take_offloads()?;
        }
        Self::new(tap.into(), guest, mtu, vnet_header)
    }

    /// A socket of which each datagram is a frame.
    pub(super) fn socket(fd: OwnedFd, guest: Mac, mtu: u16) -> Result<Self, Error> {
        let failed = |source| Error::system("getsockopt SO_TYPE", "wire of a guest", source);
        let keeps_frames = socket::keeps_datagrams(&fd).map_err(failed)?;
        if !keeps_frames {
            let why = "does not keep frames apart (SOCK_DGRAM and SOCK_SEQPACKET do)";
            return Err(Invalid::new("wire of a guest", "socket", why).into());
        }
        Self::new(fd, guest, mtu, false)
    }

    fn new(fd: OwnedFd, guest: Mac, mtu: u16, vnet_header: bool) -> Result<Self, Error> {
        socket::do_not_block(&fd)
            .map_err(|source| Error::system("ioctl FIONBIO", "wire of a guest", source))?;
        let mut addresses = [0; 12];
        let both = guest.octets().into_iter().chain(GATEWAY_MAC.octets());
        for (place, byte) in addresses.iter_mut().zip(both) {
            *place = byte;
        }
        Ok(Self {
            end: fd.into(),
            vnet_header,
            mtu: mtu.into(),
            addresses,
            out: Vec::new(),
            blocked: false,
            gone: None,
            lost: 0,
        })
    }

    /// The largest IP packet that the guest is sent.
    pub(super) fn mtu(&self) -> usize {
        self.mtu
    }

    /// Whether the device cuts segments of TCP and computes checksums itself.
    pub(super) fn offloads(&self) -> bool {
        self.vnet_header
    }

    /// Whether nothing can be sent before the cable is writable again.
    pub(super) fn is_blocked(&self) -> bool {
        self.blocked
    }

    /// Frames that were lost since this was asked.
    pub(super) fn take_lost(&mut self) -> usize {
        std::mem::take(&mut self.lost)
    }

    /// Why the cable carries nothing any more, if so.
    pub(super) fn take_gone(&mut self) -> Option<io::Error> {
        self.gone.take()
    }

    /// Reads one frame, if there is one.
    pub(super) fn receive<'r>(&mut self, room: &'r mut [u8]) -> Option<Received<'r>> {
        let length = loop {
            match self.end.read(room) {
                Ok(0) => {
                    self.gone = Some(ErrorKind::UnexpectedEof.into());
                    return None;
                }
                Ok(length) => break length,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
                Err(error) => {
                    self.gone = Some(error);
                    return None;
                }
            }
        };
        let bytes = room.get(..length)?;
        if !self.vnet_header {
            let checksum = Checksum::Verify;
            let frame = bytes;
            return Some(Received { frame, checksum });
        }
        // A frame shorter than its header is an empty one.
        let (header, frame) = bytes.split_at_checked(VNET_HEADER).unwrap_or_default();
        let offloaded = header
            .first()
            .is_some_and(|flags| flags & (NEEDS_CSUM | DATA_VALID) != 0);
        let checksum = if offloaded {
            Checksum::Trust
        } else {
            Checksum::Verify
        };
        Some(Received { frame, checksum })
    }

    /// Sends a frame with this type and so many bytes behind the Ethernet
    /// header, which `fill` writes.
    pub(super) fn send(&mut self, ethertype: u16, length: usize, fill: impl FnOnce(&mut [u8])) {
        self.compose(length, |room| {
            fill(room);
            ((), ethertype, None)
        });
    }

    /// Sends an IP packet of so many bytes, which `fill` writes and says what
    /// the device is to do to it.
    pub(super) fn send_ip<R>(
        &mut self,
        length: usize,
        fill: impl FnOnce(&mut [u8]) -> (R, Option<Offload>),
    ) -> R {
        self.compose(length, |room| {
            let (result, offload) = fill(room);
            let is_ipv4 = room.first().is_some_and(|byte| byte >> 4 == 4);
            (result, if is_ipv4 { IPV4 } else { IPV6 }, offload)
        })
    }

    fn compose<R>(
        &mut self,
        length: usize,
        fill: impl FnOnce(&mut [u8]) -> (R, u16, Option<Offload>),
    ) -> R {
        let mut unsent = Vec::new();
        // What waits to be sent stays as it is.
        let out = if self.blocked {
            &mut unsent
        } else {
            &mut self.out
        };
        let before = if self.vnet_header { VNET_HEADER } else { 0 };
        let start = before.saturating_add(ETHERNET);
        out.resize(start.saturating_add(length), 0);
        let (head, room) = out.split_at_mut_checked(start).unwrap_or_default();
        let (result, ethertype, offload) = fill(room);
        let (vnet, ethernet) = head.split_at_mut_checked(before).unwrap_or_default();
        let header = offload.map_or([0; VNET_HEADER], |offload| offload.header(ethertype));
        for (place, byte) in vnet.iter_mut().zip(header) {
            *place = byte;
        }
        let header = self.addresses.into_iter().chain(ethertype.to_be_bytes());
        for (place, byte) in ethernet.iter_mut().zip(header) {
            *place = byte;
        }
        if self.blocked {
            self.lost = self.lost.saturating_add(1);
        } else {
            self.write();
        }
        result
    }

    /// Sends the frame that was not taken before; whether it is now.
    pub(super) fn unblock(&mut self) -> bool {
        if self.blocked {
            self.blocked = false;
            self.write();
        }
        !self.blocked
    }

    fn write(&mut self) {
        loop {
            match self.end.write(&self.out) {
                Ok(_) => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.blocked = true;
                    return;
                }
                // The other end of a pair of sockets was closed.
                Err(error)
                    if [ErrorKind::ConnectionRefused, ErrorKind::NotConnected]
                        .contains(&error.kind()) =>
                {
                    self.gone = Some(error);
                    return;
                }
                // As on a wire: a link that is down, no memory.
                Err(_) => {
                    self.lost = self.lost.saturating_add(1);
                    return;
                }
            }
        }
    }
}

impl AsFd for Cable {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.end.as_fd()
    }
}

impl Offload {
    /// A `struct virtio_net_hdr` (`linux/virtio_net.h`) for a packet of TCP.
    fn header(self, ethertype: u16) -> [u8; VNET_HEADER] {
        let mut header = [0; VNET_HEADER];
        let gso = match self.segment {
            None => 0,
            Some(_) if ethertype == IPV4 => GSO_TCPV4,
            Some(_) => GSO_TCPV6,
        };
        let start = self.header.saturating_add(ETHERNET);
        let headers = start.saturating_add(TCP);
        let numbers = [
            headers,
            self.segment.map_or(0, |segment| segment.get().into()),
            start,
            TCP_CHECKSUM,
        ];
        let numbers = numbers.map(|number| u16::try_from(number).unwrap_or_default());
        let words = numbers.into_iter().flat_map(u16::to_ne_bytes);
        for (place, byte) in header
            .iter_mut()
            .zip([NEEDS_CSUM, gso].into_iter().chain(words))
        {
            *place = byte;
        }
        header
    }
}

/// Room for the longest frame, with its headers.
pub(super) const LONGEST: usize = 65_536 + 64;

/// `ETH_P_*` of `linux/if_ether.h`.
pub(super) const IPV4: u16 = 0x0800;
pub(super) const IPV6: u16 = 0x86dd;
pub(super) const ARP: u16 = 0x0806;

/// The Ethernet header in bytes.
pub(super) const ETHERNET: usize = 14;

/// The shortest header of TCP, and the place of the checksum in it.
const TCP: usize = 20;
const TCP_CHECKSUM: usize = 16;

/// `VIRTIO_NET_HDR_*` of `linux/virtio_net.h`.
const NEEDS_CSUM: u8 = 1;
const DATA_VALID: u8 = 2;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
