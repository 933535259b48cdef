//! Attaching to a TAP device that is there, without changing it.

use std::fmt;
use std::fs::File;

use super::holder::Holder;
use super::options::{TapOptions, choose_index, exists, set_interface};
use super::{Control, State, Tap};
use crate::error::{Conflict, Error};
use crate::sys::ioctl::{self, DriverInfo};
use crate::sys::netns::NetNs;
use crate::types::{IfIndex, IfName};

impl TapOptions {
    /// Attaches to the device of that name in the thread's network namespace.
    ///
    /// It must be there and be as the options say: nothing is made, and MAC,
    /// MTU, index, persistence, number of queues are compared, never changed.
    /// Set are owner and group, if given, which a descriptor cannot read.
    ///
    /// Whether frames carry a vnet header is up to the descriptor that is
    /// attached first: the kernel gives the device that one's flags, whatever
    /// it had before. Further queues have to agree.
    ///
    /// # Errors
    /// [`Error::Absent`] if it is not there, [`Error::Conflict`] if it is not
    /// as the options say, [`Error::System`] with a subject that tells what
    /// helps: `EBUSY` if another holds its queue, by whom if that can be seen;
    /// `EPERM` without `CAP_NET_ADMIN` for one who is not its owner; `EACCES`
    /// or `ENOENT` for `/dev/net/tun`. [`Error::Unsupported`] if the kernel is
    /// too old for [`no_carrier`](Self::no_carrier).
    pub fn attach(self) -> Result<Tap, Error> {
        let name = self.name;
        self.compare_by_name()?;
        let file = self.open()?;
        attach_only(&file, name, self.flags)?;
        let state = State::read(&file)?;
        self.compare_by_descriptor(&state)?;
        let tap = Tap {
            file,
            name: state.name,
        };
        self.permit(&tap)?;
        Ok(tap)
    }

    /// Compares what can be seen without touching the device.
    fn compare_by_name(&self) -> Result<(), Error> {
        let name = self.name;
        let control = Control::open()?;
        let wanted = |what: &str| format!("TAP device {name} with {what}");
        match DriverInfo::read(&control.socket, name) {
            Ok(info) if info.driver == "tun" && info.bus == "tap" => {}
            Ok(info) if info.driver == "tun" => {
                return Err(conflict(
                    wanted("IFF_TAP"),
                    format!("a TUN device ({})", info.bus),
                ));
            }
            Ok(info) => {
                let found = format!("an interface of the driver {}", info.driver);
                return Err(conflict(format!("TAP device {name}"), found));
            }
            Err(source) if source.raw_os_error() == Some(libc::ENODEV) => return Err(absent(name)),
            Err(source) if source.raw_os_error() == Some(libc::EOPNOTSUPP) => {
                let found = "an interface without a driver";
                return Err(conflict(format!("TAP device {name}"), found));
            }
            Err(source) => return Err(Error::system(DriverInfo::CALL, name, source)),
        }
        if let Some(index) = self.index {
            let found = control.index(name)?;
            if found != index {
                let wanted = wanted(&format!("index {index}"));
                return Err(conflict(wanted, format!("index {found}")));
            }
        }
        if let Some(mac) = self.mac {
            let found = control.mac(name)?;
            if found != mac {
                return Err(conflict(
                    wanted(&format!("MAC {mac}")),
                    format!("MAC {found}"),
                ));
            }
        }
        if let Some(mtu) = self.mtu {
            let found = control.mtu(name)?;
            if found != mtu {
                return Err(conflict(
                    wanted(&format!("MTU {mtu}")),
                    format!("MTU {found}"),
                ));
            }
        }
        Ok(())
    }

    /// Compares what only a descriptor can tell: persistence, and the flags
    /// that the kernel has kept from an earlier queue instead of ours.
    fn compare_by_descriptor(&self, state: &State) -> Result<(), Error> {
        let name = self.name;
        if self.persistent && !state.has(libc::IFF_PERSIST) {
            let wanted = format!("persistent TAP device {name}");
            return Err(conflict(wanted, "one that is not persistent"));
        }
        for (flag, with, without) in [
            (libc::IFF_VNET_HDR, "a vnet header", "no vnet header"),
            (libc::IFF_NO_PI, "IFF_NO_PI", "no IFF_NO_PI"),
        ] {
            let (wanted, found) = match (self.flags & flag != 0, state.has(flag)) {
                (true, false) => (with, without),
                (false, true) => (without, with),
                _ => continue,
            };
            let wanted = format!("TAP device {name} with {wanted}");
            return Err(conflict(wanted, format!("other queues with {found}")));
        }
        Ok(())
    }
}

/// Attaches `file` to the device `name`, and never makes one.
///
/// `TUNSETIFF` without `IFF_TUN_EXCL` makes what is missing. To look first
/// would leave a moment for the device to vanish in. So the descriptor is
/// first given an index for what it makes, that of `lo`, which is taken in
/// every namespace: the kernel then cannot make anything, and to attach it
/// does not look at the index.
pub(super) fn attach_only(file: &File, name: IfName, flags: i32) -> Result<(), Error> {
    choose_index(file, name, IfIndex::new(LOOPBACK_INDEX)?)?;
    set_interface(file, name, flags).map_err(|source| {
        let call = ioctl::TUNSETIFF.name();
        let errno = source.raw_os_error();
        if !exists(name) {
            return absent(name);
        }
        match errno {
            Some(libc::EBUSY) => {
                let here = NetNs::current().and_then(|netns| netns.id()).ok();
                let subject = match here.and_then(|here| Holder::find(name, here)) {
                    Some(holder) => format!("{name} ({holder})"),
                    None => format!("{name} (its queue is held by another)"),
                };
                Error::system(call, subject, source)
            }
            // The device is a TAP by what its driver said, so what is left is
            // the number of queues.
            Some(libc::EINVAL) if flags & libc::IFF_MULTI_QUEUE != 0 => single_queue(name).into(),
            Some(libc::EINVAL) => Conflict::new(
                format_args!("TAP device {name} with one queue"),
                "one with multi_queue (IFF_MULTI_QUEUE)",
            )
            .into(),
            Some(libc::EPERM) => Error::system(
                call,
                format_args!("{name} (needs CAP_NET_ADMIN, or to be its owner and in its group)"),
                source,
            ),
            _ => Error::system(call, name, source),
        }
    })
}

/// `multi_queue` was asked of a device that has one queue.
pub(super) fn single_queue(name: IfName) -> Conflict {
    Conflict::new(
        format_args!("TAP device {name} with multi_queue (IFF_MULTI_QUEUE)"),
        "one with one queue",
    )
}

fn absent(name: IfName) -> Error {
    Error::Absent {
        kind: "TAP device",
        name: name.as_str().into(),
    }
}

fn conflict(wanted: String, holder: impl fmt::Display) -> Error {
    Conflict::new(wanted, holder).into()
}

/// `LOOPBACK_IFINDEX` of `net/flow.h`: the index of `lo` in every namespace.
const LOOPBACK_INDEX: u32 = 1;
