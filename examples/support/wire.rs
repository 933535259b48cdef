//! What carries frames between two TAPs: the one that a VMM would open, and
//! one in a namespace, whose kernel is the guest's.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::thread::{self, JoinHandle};

use rustix::event::{PollFd, PollFlags, poll};
use tapwire::sys::{Macvtap, Tap};

/// What a wire ends in, not blocking: a TAP, a macvtap without headers.
pub(crate) trait Plug: AsFd + Send + 'static {
    fn receive(&self, frame: &mut [u8]) -> io::Result<usize>;
    fn send(&self, frame: &[u8]) -> io::Result<usize>;
}

impl Plug for Tap {
    fn receive(&self, frame: &mut [u8]) -> io::Result<usize> {
        Self::receive(self, frame)
    }

    fn send(&self, frame: &[u8]) -> io::Result<usize> {
        Self::send(self, frame)
    }
}

impl Plug for Macvtap {
    fn receive(&self, frame: &mut [u8]) -> io::Result<usize> {
        Self::receive(self, frame)
    }

    fn send(&self, frame: &[u8]) -> io::Result<usize> {
        Self::send(self, frame)
    }
}

/// A wire between two ends; it is cut when dropped.
pub(crate) struct Wire {
    running: Option<(UnixStream, JoinHandle<()>)>,
}

impl Wire {
    /// Begins to carry.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn lay(host: impl Plug, guest: impl Plug) -> io::Result<Self> {
        let (running, stop) = UnixStream::pair()?;
        let thread = thread::Builder::new()
            .name("wire".to_owned())
            .spawn(move || carry(&host, &guest, &stop))?;
        Ok(Self {
            running: Some((running, thread)),
        })
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if let Some((running, thread)) = self.running.take() {
            drop(running);
            // A panic of the thread was printed where it happened.
            drop(thread.join());
        }
    }
}

/// Carries frames until the other end of `stop` is dropped.
fn carry(host: &dyn Plug, guest: &dyn Plug, stop: &UnixStream) {
    let mut frame = vec![0; 65_536];
    loop {
        let mut descriptors = [
            PollFd::new(stop, PollFlags::IN),
            PollFd::from_borrowed_fd(host.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(guest.as_fd(), PollFlags::IN),
        ];
        match poll(&mut descriptors, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return,
        }
        let [stopped, ..] = &descriptors;
        if !stopped.revents().is_empty() {
            return;
        }
        for (from, to) in [(host, guest), (guest, host)] {
            for _ in 0..64 {
                let Ok(length) = from.receive(&mut frame) else {
                    break;
                };
                // A frame that the other side does not take is lost, as on a
                // wire.
                drop(to.send(frame.get(..length).unwrap_or_default()));
            }
        }
    }
}
