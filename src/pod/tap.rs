//! The TAP of a guest in a pod's place.

use super::PodInterface;
use crate::error::{Error, Invalid};
use crate::route::{Ipv6Setting, set_ipv6_setting};
use crate::sys::TapOptions;
use crate::types::{IfIndex, IfName, Mac};

/// How the TAP is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PodTap {
    pub(crate) name: Option<IfName>,
    pub(crate) owner: Option<u32>,
    pub(crate) group: Option<u32>,
    pub(crate) frames: Frames,
    pub(crate) queues: Queues,
}

/// What precedes each frame on the TAP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Frames {
    Plain,
    WithHeader,
}

/// How many descriptors the TAP takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Queues {
    One,
    Many,
}

impl PodTap {
    /// Plain frames, one queue, for those who have `CAP_NET_ADMIN`.
    pub(crate) fn new() -> Self {
        Self {
            name: None,
            owner: None,
            group: None,
            frames: Frames::Plain,
            queues: Queues::One,
        }
    }

    /// Its name: the one that was chosen, or `twtapN` with the interface's
    /// index.
    pub(crate) fn name_for(&self, pod: &PodInterface) -> Result<IfName, Invalid> {
        let made = || format!("twtap{}", pod.index()).parse();
        self.name.map_or_else(made, Ok)
    }

    /// Makes it, persistent and down, with the interface's MTU.
    pub(crate) fn make(&self, pod: &PodInterface, mac: Mac) -> Result<IfIndex, Error> {
        let mut options = TapOptions::new(self.name_for(pod)?)
            .mac(mac)
            .mtu(pod.mtu())
            .persistent();
        if self.frames == Frames::WithHeader {
            options = options.vnet_header();
        }
        if self.queues == Queues::Many {
            options = options.multi_queue();
        }
        if let Some(uid) = self.owner {
            options = options.owner(uid);
        }
        if let Some(gid) = self.group {
            options = options.group(gid);
        }
        options.create()?.index()
    }
}

/// Has the pod's system send nothing by a link of the guest. Where the kernel
/// has no IPv6, there is nothing to switch off.
pub(crate) fn without_ipv6(name: IfName) -> Result<(), Error> {
    match set_ipv6_setting(name, Ipv6Setting::DisableIpv6, 1) {
        Err(error) if error.is_not_found() => Ok(()),
        outcome => outcome,
    }
}
