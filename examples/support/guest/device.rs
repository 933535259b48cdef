//! A descriptor that carries one Ethernet frame per read and write, as
//! smoltcp's device.

use std::fs::File;
use std::io::{self, Read, Write};
use std::sync::Arc;

use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::time::Instant;

/// A TAP device's descriptor, or one end of a pair of datagram sockets.
pub(super) struct FrameDevice {
    file: Arc<File>,
    frame: Vec<u8>,
    budget: usize,
    gone: bool,
}

impl FrameDevice {
    /// `file` must not block.
    pub(super) fn new(file: Arc<File>) -> Self {
        Self {
            file,
            frame: vec![0; LARGEST_FRAME],
            budget: 0,
            gone: false,
        }
    }

    /// Lets the next poll of the stack take so many frames at most, that a
    /// flood cannot keep it from hearing that it shall stop.
    pub(super) fn allow(&mut self, frames: usize) {
        self.budget = frames;
    }

    /// Whether the interface behind the descriptor no longer exists.
    pub(super) fn is_gone(&self) -> bool {
        self.gone
    }
}

impl Device for FrameDevice {
    type RxToken<'a> = Frame<'a>;
    type TxToken<'a> = Slot<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Frame<'_>, Slot<'_>)> {
        self.budget = self.budget.checked_sub(1)?;
        match (&*self.file).read(&mut self.frame) {
            Ok(length) => Some((Frame(self.frame.get(..length)?), Slot(&self.file))),
            Err(error) => {
                let passing = [io::ErrorKind::WouldBlock, io::ErrorKind::Interrupted];
                self.gone = !passing.contains(&error.kind());
                None
            }
        }
    }

    fn transmit(&mut self, _: Instant) -> Option<Slot<'_>> {
        Some(Slot(&self.file))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = MTU_WITH_HEADER;
        capabilities
    }
}

pub(super) struct Frame<'a>(&'a [u8]);

impl RxToken for Frame<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, take: F) -> R {
        take(self.0)
    }
}

pub(super) struct Slot<'a>(&'a File);

impl TxToken for Slot<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, fill: F) -> R {
        let mut frame = vec![0; length];
        let result = fill(&mut frame);
        // A frame that cannot be sent is a frame lost on the wire: TCP sends
        // it again, and UDP promises nothing.
        drop((&mut &*self.0).write(&frame));
        result
    }
}

/// 1500 bytes of IP and the 14 of the Ethernet header.
const MTU_WITH_HEADER: usize = 1514;
const LARGEST_FRAME: usize = 65_536;
