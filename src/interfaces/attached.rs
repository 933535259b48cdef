//! An interface that is in force, as a VMM takes it.

use std::fmt;
use std::path::PathBuf;

use super::Method;
use crate::guest::GuestConfig;
use crate::passthrough::PciAddress;
use crate::types::IfName;

/// An interface that is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttachedInterface {
    pub(super) name: IfName,
    pub(super) method: Method,
    pub(super) device: Device,
    pub(super) config: GuestConfig,
}

/// What a VMM is given for an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Device {
    /// A TAP, persistent: [`TapOptions::attach`](crate::sys::TapOptions::attach)
    /// opens it.
    Tap(IfName),
    /// A macvtap: [`Macvtap::open`](crate::sys::Macvtap::open) opens it.
    Macvtap {
        /// Its name.
        name: IfName,
        /// Its character device, for a VMM that opens it by itself. It is there
        /// where `/dev` is the kernel's own (`devtmpfs`), or `udev` makes it,
        /// and no other network namespace has a macvtap with the same index;
        /// [`Macvtap::open`](crate::sys::Macvtap::open) does without it.
        path: PathBuf,
    },
    /// A virtual function, by VFIO.
    Pci(PciAddress),
}

impl AttachedInterface {
    /// How the guest calls it.
    pub fn name(&self) -> IfName {
        self.name
    }

    /// How it is connected.
    pub fn method(&self) -> Method {
        self.method
    }

    /// What the VMM opens.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// What the guest must be told of it. Default routes have only those of
    /// the one that is the default. A guest on a macvtap, a virtual function
    /// or a segment has its addresses from that network, unless the
    /// [`Interface`](super::Interface) was given some.
    pub fn config(&self) -> &GuestConfig {
        &self.config
    }
}

/// As a VMM's options name it: `guest0`, `/dev/tap7`, `0000:03:10.2`.
impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tap(name) => write!(f, "{name}"),
            Self::Macvtap { path, .. } => write!(f, "{}", path.display()),
            Self::Pci(address) => write!(f, "{address}"),
        }
    }
}
