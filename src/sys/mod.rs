//! The system calls: netlink sockets, TAP devices, namespaces.
//!
//! This is the one room with `unsafe` code. Each block holds one call and the
//! argument for it; everything public here is safe. It moves bytes and
//! descriptors and knows no netlink message.
//!
//! A network namespace belongs to a thread, not to a process, so this room
//! reads `/proc/thread-self` only, and changes the namespace of no thread but
//! its own short-lived ones (see [`NetNs::run`]).
#![expect(unsafe_code, reason = "std has no form of these system calls")]

mod closer;
#[cfg(feature = "proxied")]
mod datagram;
mod epoll;
mod ioctl;
mod macvtap;
mod mount;
mod netns;
mod outpost;
#[cfg(feature = "dhcp")]
mod packet;
mod procfs;
mod socket;
mod sysfs;
mod tap;
mod userns;
mod xtables;

#[cfg(feature = "proxied")]
pub(crate) use datagram::{Datagram, receive_datagram, send_datagram, tell_destinations};
pub(crate) use epoll::Epoll;
pub use macvtap::Macvtap;
pub use netns::{Journey, NetNs, NetNsId};
pub(crate) use outpost::Outpost;
#[cfg(feature = "dhcp")]
pub(crate) use packet::PacketSocket;
pub(crate) use procfs::{Ipv6Conf, OwnProc};
pub use socket::{Protocol, Socket};
pub(crate) use sysfs::in_own_sysfs;
#[cfg(feature = "proxied")]
pub(crate) use tap::VNET_HEADER;
#[cfg(feature = "__recording")]
pub(crate) use tap::attach_bare;
pub use tap::{Offload, Tap, TapOptions};
pub use userns::{enter_user_namespace, has_net_admin};
pub use xtables::{LegacyTable, legacy_table, legacy_tables};

use std::io;

/// Turns the `-1` of a system call into the error that it left in `errno`.
fn check(returned: libc::c_int) -> io::Result<libc::c_int> {
    if returned == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(returned)
    }
}
