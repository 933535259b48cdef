//! The system calls: netlink sockets, TAP devices, network namespaces.
//!
//! The only room with unsafe code. It moves bytes and descriptors and knows
//! no netlink message.
#![expect(unsafe_code, reason = "std has no form of these system calls")]

mod socket;

pub use socket::{Protocol, Socket};
