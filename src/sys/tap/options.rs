//! How a TAP device is to be, and the two ways to get one.

use std::fs::File;
use std::io;

use super::holder::Holder;
use super::{Control, Tap, open_tun};
use crate::error::Error;
use crate::sys::ioctl::{self, IfRequest};
use crate::sys::netns::{NetNs, NetNsId};
use crate::types::{IfIndex, IfName, Mac};

/// A TAP device as it is wanted: [`create`](Self::create) makes it,
/// [`attach`](Self::attach) takes one that is there.
///
/// Without further words it has one queue, whole Ethernet frames without a
/// header before them, a random MAC address, and goes with its descriptor.
///
/// Firecracker opens its TAP by name, with a vnet header and one queue, so
/// the device that it is to find is made by an agent like this:
///
/// ```no_run
/// use tapwire::sys::TapOptions;
/// TapOptions::new("riklet0".parse()?)
///     .vnet_header()
///     .owner(1000)
///     .persistent()
///     .create()?;
/// # Ok::<(), tapwire::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TapOptions {
    pub(super) name: IfName,
    pub(super) flags: i32,
    pub(super) persistent: bool,
    pub(super) nonblocking: bool,
    pub(super) owner: Option<u32>,
    pub(super) group: Option<u32>,
    pub(super) index: Option<IfIndex>,
    pub(super) mac: Option<Mac>,
    pub(super) mtu: Option<u32>,
}

impl TapOptions {
    /// A TAP device called `name`.
    pub fn new(name: IfName) -> Self {
        Self {
            name,
            flags: libc::IFF_TAP | libc::IFF_NO_PI,
            persistent: false,
            nonblocking: false,
            owner: None,
            group: None,
            index: None,
            mac: None,
            mtu: None,
        }
    }

    /// It outlives its last descriptor (`TUNSETPERSIST`).
    #[must_use]
    pub fn persistent(mut self) -> Self {
        self.persistent = true;
        self
    }

    /// This user may attach to it without `CAP_NET_ADMIN` (`TUNSETOWNER`).
    #[must_use]
    pub fn owner(mut self, uid: u32) -> Self {
        self.owner = Some(uid);
        self
    }

    /// Members of this group may attach to it without `CAP_NET_ADMIN`
    /// (`TUNSETGROUP`); with an owner as well, one has to be both.
    #[must_use]
    pub fn group(mut self, gid: u32) -> Self {
        self.group = Some(gid);
        self
    }

    /// Each frame carries a `virtio_net_hdr` before it (`IFF_VNET_HDR`),
    /// as Firecracker, Cloud Hypervisor and QEMU want it.
    #[must_use]
    pub fn vnet_header(mut self) -> Self {
        self.flags |= libc::IFF_VNET_HDR;
        self
    }

    /// It takes up to 256 queues (`IFF_MULTI_QUEUE`), one per descriptor; see
    /// [`Tap::queue`]. Who attaches to it must ask for this too.
    #[must_use]
    pub fn multi_queue(mut self) -> Self {
        self.flags |= libc::IFF_MULTI_QUEUE;
        self
    }

    /// Its cable is not plugged in yet (`IFF_NO_CARRIER`, Linux 6.2); see
    /// [`Tap::set_carrier`].
    #[must_use]
    pub fn no_carrier(mut self) -> Self {
        self.flags |= libc::IFF_NO_CARRIER;
        self
    }

    /// Receiving and sending fail with `EAGAIN` instead of waiting
    /// (`O_NONBLOCK`).
    #[must_use]
    pub fn nonblocking(mut self) -> Self {
        self.nonblocking = true;
        self
    }

    /// The host's own address on this wire; the guest has another.
    #[must_use]
    pub fn mac(mut self, mac: Mac) -> Self {
        self.mac = Some(mac);
        self
    }

    /// The largest packet in bytes, Ethernet header not counted: 68 to 65521,
    /// 1500 if not said.
    #[must_use]
    pub fn mtu(mut self, mtu: u32) -> Self {
        self.mtu = Some(mtu);
        self
    }

    /// Its interface index (`TUNSETIFINDEX`), so that addresses and routes
    /// can name it before it is there.
    #[must_use]
    pub fn index(mut self, index: IfIndex) -> Self {
        self.index = Some(index);
        self
    }

    /// Makes the device in the thread's network namespace.
    ///
    /// All or nothing: if a step fails, there is no device.
    ///
    /// # Errors
    /// [`Error::System`] with a subject that tells what helps: `EBUSY` if the
    /// name or the index is taken, by whom if that can be seen; `EPERM`
    /// without `CAP_NET_ADMIN`; `EACCES` or `ENOENT` for `/dev/net/tun`;
    /// `EINVAL` for an MTU that a TAP cannot have. [`Error::Unsupported`] if
    /// the kernel is too old for [`no_carrier`](Self::no_carrier).
    pub fn create(self) -> Result<Tap, Error> {
        let file = self.open()?;
        self.create_by(file, || NetNs::current()?.id())
    }

    /// Makes the device by a descriptor of `/dev/net/tun` that was opened as
    /// the options say, in the network namespace that `here` tells. An MTU is
    /// set, and an index that is taken looked for, in the thread's.
    pub(crate) fn create_by(
        self,
        file: File,
        here: impl FnOnce() -> Result<NetNsId, Error>,
    ) -> Result<Tap, Error> {
        let name = self.name;
        if let Some(index) = self.index {
            choose_index(&file, name, index)?;
        }
        set_interface(&file, name, self.flags | libc::IFF_TUN_EXCL)
            .map_err(|source| self.not_created(source, here))?;
        // From here on an early return closes the descriptor, and with it
        // goes the device, as long as it is not persistent: so that is last.
        let tap = Tap { file, name };
        if let Some(mac) = self.mac {
            tap.set_mac(mac)?;
        }
        if let Some(mtu) = self.mtu {
            Control::open()?.set_mtu(name, mtu)?;
        }
        self.permit(&tap)?;
        if self.persistent {
            tap.set_persistent(true)?;
        }
        Ok(tap)
    }

    /// Opens `/dev/net/tun` for this device.
    pub(super) fn open(&self) -> Result<File, Error> {
        let file = open_tun(if self.nonblocking {
            libc::O_NONBLOCK
        } else {
            0
        })?;
        if self.flags & libc::IFF_NO_CARRIER != 0 {
            // A kernel that does not know the flag ignores it.
            let call = ioctl::TUNGETFEATURES;
            let mut features = 0;
            call.run(&file, &mut features)
                .map_err(|source| Error::system(call.name(), self.name, source))?;
            if features & libc::IFF_NO_CARRIER.unsigned_abs() == 0 {
                return Err(Error::Unsupported {
                    feature: "IFF_NO_CARRIER",
                });
            }
        }
        Ok(file)
    }

    /// Sets who may attach.
    pub(super) fn permit(&self, tap: &Tap) -> Result<(), Error> {
        for (call, id) in [
            (ioctl::TUNSETOWNER, self.owner),
            (ioctl::TUNSETGROUP, self.group),
        ] {
            if let Some(id) = id {
                call.run(&tap.file, id).map_err(|source| {
                    Error::system(call.name(), format_args!("{} {id}", self.name), source)
                })?;
            }
        }
        Ok(())
    }

    fn not_created(
        &self,
        source: io::Error,
        here: impl FnOnce() -> Result<NetNsId, Error>,
    ) -> Error {
        let name = self.name;
        let call = ioctl::TUNSETIFF.name();
        match (source.raw_os_error(), self.index) {
            (Some(libc::EBUSY), Some(index)) if !exists(name) => {
                let subject = format!("{name} (another interface has the index {index})");
                Error::system(call, subject, source)
            }
            (Some(libc::EBUSY), _) => {
                let holder = here().ok().and_then(|here| Holder::find(name, here));
                let subject = match holder {
                    Some(holder) => format!("{name} (exists already, {holder})"),
                    None => format!("{name} (exists already)"),
                };
                Error::system(call, subject, source)
            }
            (Some(libc::EPERM), _) => {
                let subject = format!("{name} (needs CAP_NET_ADMIN in the network namespace)");
                Error::system(call, subject, source)
            }
            _ => Error::system(call, name, source),
        }
    }
}

/// Says which index a device that `file` makes is to have.
pub(super) fn choose_index(file: &File, name: IfName, index: IfIndex) -> Result<(), Error> {
    let call = ioctl::TUNSETIFINDEX;
    call.run(file, &mut index.get())
        .map_err(|source| Error::system(call.name(), name, source))
}

/// Makes or attaches the device: `TUNSETIFF`.
pub(super) fn set_interface(file: &File, name: IfName, flags: i32) -> io::Result<()> {
    // `ifr_flags` has 16 bits, and so have the flags; the first two bytes in
    // the order of the machine.
    let flags = u16::try_from(flags).unwrap_or(u16::MAX);
    let mut request = IfRequest::new(name).with::<0, 2>(flags.to_ne_bytes());
    ioctl::TUNSETIFF.run(file, &mut request)
}

/// What attaching comes to without a look at anything.
#[cfg(feature = "__recording")]
pub(crate) fn attach_bare(name: IfName) -> io::Result<File> {
    let mut options = File::options();
    let file = options.read(true).write(true).open("/dev/net/tun")?;
    let flags = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
    set_interface(&file, name, flags)?;
    Ok(file)
}

/// Whether the thread's network namespace has an interface `name`.
pub(super) fn exists(name: IfName) -> bool {
    Control::open()
        .and_then(|control| control.index(name))
        .is_ok()
}
