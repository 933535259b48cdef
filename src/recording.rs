//! The door for the benches to what sockets send, and to bare system calls: no
//! part of the API.

use std::cell::RefCell;
use std::fs::File;
use std::io;

use crate::sys::{self, Protocol};
use crate::types::IfName;

/// What was sent, by the family of netlink that it was sent in.
pub type Sent = Vec<(Protocol, Vec<u8>)>;

thread_local! {
    static SENT: RefCell<Option<Sent>> = const { RefCell::new(None) };
}

/// What the calling thread sends while it does `work`, datagram by datagram.
pub fn record<T>(work: impl FnOnce() -> T) -> (T, Sent) {
    SENT.set(Some(Sent::new()));
    let done = work();
    (done, SENT.take().unwrap_or_default())
}

/// Opens a TAP that is there as any VMM does: the file, and one `ioctl`.
///
/// # Errors
/// What the system calls return.
pub fn open_tap(name: IfName) -> io::Result<File> {
    sys::attach_bare(name)
}

/// Whether the calling thread is to tell what it sends.
pub(crate) fn is_on() -> bool {
    SENT.with_borrow(Option::is_some)
}

/// What another thread sent for this one.
pub(crate) fn take_over(others: Sent) {
    SENT.with_borrow_mut(|sent| {
        if let Some(sent) = sent {
            sent.extend(others);
        }
    });
}

pub(crate) fn note(protocol: Protocol, bytes: &[u8]) {
    SENT.with_borrow_mut(|sent| {
        if let Some(sent) = sent {
            sent.push((protocol, bytes.to_vec()));
        }
    });
}
