//! A guest with a part of a network card, of the host or of a pod.
//!
//! - [`MacvtapOptions`]: a macvtap on a parent, handed to the VMM as a
//!   descriptor.
//! - [`VirtualFunctions`]: those of a card with SR-IOV, named by PCI address
//!   for the VMM; what the card does with their frames is set by
//!   [`Changes::set_vf`](crate::route::Changes::set_vf).
//! - [`VhostNet`]: the kernel's virtio back end, for a VMM that moves frames
//!   by it.
//!
//! Everything here works in the calling thread's network namespace; see
//! [`NetNs::run`](crate::sys::NetNs::run).

pub(crate) mod function;
mod macvtap;
mod vf;
mod vhost;

pub use macvtap::MacvtapOptions;
pub use vf::{PciAddress, VirtualFunctions};
pub use vhost::VhostNet;
