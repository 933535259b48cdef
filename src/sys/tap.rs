//! TAP devices: virtual Ethernet cards whose wire is a file descriptor.
//!
//! Source: `linux/if_tun.h` and `Documentation/networking/tuntap.rst`.

mod attach;
mod holder;
pub(super) mod offload;
mod options;

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::os::unix::net::UnixDatagram;

pub use offload::Offload;
pub use options::TapOptions;
#[cfg(feature = "__recording")]
pub(crate) use options::attach_bare;

use super::ioctl::{self, IfRequest};
use super::netns::NetNs;
use crate::error::{Error, Invalid};
use crate::types::{IfIndex, IfName, Mac};

/// One queue of a TAP device: a descriptor of `/dev/net/tun` and the name of
/// the device it is attached to.
///
/// Made by [`TapOptions`]. What is sent on it arrives at the host as a frame
/// from the guest; what the host sends to the guest is received from it.
/// Dropping it closes the descriptor; a device that is not persistent goes
/// with its last descriptor. (A process that another thread forks meanwhile
/// holds a copy until it executes its program, so the device, or the hold on
/// its queue, may outlast the drop by a moment.)
///
/// The descriptor is close-on-exec. To hand it to a VMM, turn it into an
/// [`OwnedFd`]; [`from_fd`](Self::from_fd) takes one over.
///
/// ```no_run
/// use std::os::fd::OwnedFd;
/// use tapwire::sys::TapOptions;
/// let tap = TapOptions::new("riklet0".parse()?).vnet_header().create()?;
/// println!("{} has index {}", tap.name(), tap.index()?);
/// let for_the_vmm = OwnedFd::from(tap);
/// # Ok::<(), tapwire::Error>(())
/// ```
#[derive(Debug)]
pub struct Tap {
    file: File,
    name: IfName,
}

impl Tap {
    /// Takes over a descriptor that someone else attached to a TAP device.
    ///
    /// It is left as it is: neither blocking mode nor close-on-exec change.
    ///
    /// # Errors
    /// [`Error::Invalid`] if it is not of `/dev/net/tun`, is attached to no
    /// device, or to a TUN device; [`Error::System`] if it cannot be asked.
    pub fn from_fd(fd: OwnedFd) -> Result<Self, Error> {
        let file = File::from(fd);
        let number = file.as_raw_fd();
        let invalid = |why| Invalid::new("descriptor", number, why);
        let metadata = file.metadata().map_err(|source| {
            Error::system("fstat", format_args!("descriptor {number}"), source)
        })?;
        // Asked before any ioctl: another driver may read the same number as
        // a request of its own.
        if !metadata.file_type().is_char_device() || metadata.rdev() != TUN_DEVICE {
            return Err(invalid("is not a descriptor of /dev/net/tun").into());
        }
        let state = match State::read(&file) {
            Err(error) if error.raw_os_error() == Some(libc::EBADFD) => {
                return Err(invalid("is of /dev/net/tun, but attached to no device").into());
            }
            state => state?,
        };
        if !state.has(libc::IFF_TAP) {
            return Err(invalid("is attached to a TUN device, not a TAP device").into());
        }
        Ok(Self {
            file,
            name: state.name,
        })
    }

    /// The name of the device at the time this value was made.
    pub fn name(&self) -> IfName {
        self.name
    }

    /// The index of the device, in the network namespace it is in now.
    ///
    /// # Errors
    /// [`Error::System`]: `EBADFD` if the device was deleted, `EPERM` without
    /// `CAP_NET_ADMIN` in its namespace.
    pub fn index(&self) -> Result<IfIndex, Error> {
        self.in_its_namespace(Control::index)
    }

    /// The index of a device that is in the network namespace of `socket`.
    pub(crate) fn index_in(&self, socket: impl AsFd) -> Result<IfIndex, Error> {
        Control { socket }.index(self.name)
    }

    /// The network namespace that the device is in, which need not be the one
    /// it was made in.
    ///
    /// # Errors
    /// [`Error::System`]: `EBADFD` if the device was deleted, `EPERM` without
    /// `CAP_NET_ADMIN` in that namespace, `EINVAL` before Linux 5.7.
    pub fn namespace(&self) -> Result<NetNs, Error> {
        let call = ioctl::TUNGETDEVNETNS;
        let fd = call.run(&self.file).map_err(|source| {
            if source.raw_os_error() != Some(libc::EPERM) {
                return self.failed(&call, source);
            }
            let name = self.name;
            let subject = format_args!("{name} (needs CAP_NET_ADMIN in its network namespace)");
            Error::system(call.name(), subject, source)
        })?;
        NetNs::try_from(fd)
    }

    /// Whether the device outlives its last descriptor.
    ///
    /// # Errors
    /// [`Error::System`]: `EBADFD` if the device was deleted.
    pub fn is_persistent(&self) -> Result<bool, Error> {
        Ok(State::read(&self.file)?.has(libc::IFF_PERSIST))
    }

    /// Whether frames carry a `virtio_net_hdr` (`linux/virtio_net.h`).
    ///
    /// # Errors
    /// [`Error::System`]: `EBADFD` if the device was deleted.
    pub fn has_vnet_header(&self) -> Result<bool, Error> {
        Ok(State::read(&self.file)?.has(libc::IFF_VNET_HDR))
    }

    /// Lets the device outlive its last descriptor, or go with it.
    ///
    /// # Errors
    /// [`Error::System`]: `EBADFD` if the device was deleted.
    pub fn set_persistent(&self, persistent: bool) -> Result<(), Error> {
        let call = ioctl::TUNSETPERSIST;
        call.run(&self.file, u32::from(persistent))
            .map_err(|source| self.failed(&call, source))
    }

    /// The length in bytes of the header before each frame, if frames have
    /// one ([`has_vnet_header`](Self::has_vnet_header)).
    ///
    /// # Errors
    /// [`Error::System`]: `EBADFD` if the device was deleted.
    pub fn vnet_header_length(&self) -> Result<u32, Error> {
        offload::vnet_header_length(&self.file, self.name)
    }

    /// Sets the length of that header: 10 bytes for `virtio_net_hdr`, 12 with
    /// the number of buffers behind it (`linux/virtio_net.h`).
    ///
    /// # Errors
    /// [`Error::System`]: `EINVAL` below 10, `EBADFD` if the device was
    /// deleted.
    pub fn set_vnet_header_length(&self, length: u32) -> Result<(), Error> {
        offload::set_vnet_header_length(&self.file, self.name, length)
    }

    /// Sets what the other end does itself: the host then sends it unfinished
    /// checksums and large segments.
    ///
    /// # Errors
    /// [`Error::System`]: `EINVAL` for what the kernel does not know, `EBADFD`
    /// if the device was deleted.
    pub fn set_offloads(&self, offloads: Offload) -> Result<(), Error> {
        offload::set_offloads(&self.file, self.name, offloads)
    }

    /// Has the device as a new one: what whoever held it last set stays with
    /// a persistent device, and another would misread its frames.
    ///
    /// Offloads are off, the header is of 10 bytes. Whether frames have it
    /// was decided when this descriptor was attached.
    ///
    /// # Errors
    /// [`Error::System`]: `EBADFD` if the device was deleted.
    pub fn reset(&self) -> Result<(), Error> {
        self.set_offloads(Offload::empty())?;
        self.set_vnet_header_length(VIRTIO_NET_HDR)
    }

    /// Plugs the cable in or pulls it out, as the host sees it.
    ///
    /// # Errors
    /// [`Error::System`]: `EBADFD` if the device was deleted.
    pub fn set_carrier(&self, carrier: bool) -> Result<(), Error> {
        let call = ioctl::TUNSETCARRIER;
        call.run(&self.file, &mut u32::from(carrier))
            .map_err(|source| self.failed(&call, source))
    }

    /// Changes the host's own address on this wire (the guest has another).
    ///
    /// # Errors
    /// [`Error::System`]: `EBADFD` if the device was deleted.
    pub fn set_mac(&self, mac: Mac) -> Result<(), Error> {
        // `struct sockaddr`: a family of two bytes, then the address.
        let mut request = IfRequest::empty()
            .with::<0, 2>(libc::ARPHRD_ETHER.to_ne_bytes())
            .with::<2, 6>(mac.octets());
        let call = ioctl::SET_MAC;
        call.run(&self.file, &mut request)
            .map_err(|source| self.failed(&call, source))
    }

    /// Changes the largest packet in bytes, Ethernet header not counted.
    ///
    /// # Errors
    /// [`Error::Invalid`] above `i32::MAX`; [`Error::System`]: `EINVAL` if the
    /// kernel does not take it (a TAP takes 68 to 65521), `EBADFD` if the
    /// device was deleted, `EPERM` without `CAP_NET_ADMIN` in its namespace.
    pub fn set_mtu(&self, mtu: u32) -> Result<(), Error> {
        self.in_its_namespace(|control, name| control.set_mtu(name, mtu))
    }

    /// Attaches one more queue to a device made with
    /// [`multi_queue`](TapOptions::multi_queue).
    ///
    /// The queue works as this one does: same frames, same blocking mode.
    ///
    /// # Errors
    /// [`Error::Conflict`] if the device has one queue only; [`Error::System`]:
    /// `E2BIG` after 256 queues, `EBADFD` if the device was deleted, `EPERM`
    /// without `CAP_NET_ADMIN` in its namespace.
    pub fn queue(&self) -> Result<Self, Error> {
        let state = State::read(&self.file)?;
        if !state.has(libc::IFF_MULTI_QUEUE) {
            return Err(attach::single_queue(self.name).into());
        }
        let status = ioctl::status_flags(&self.file)
            .map_err(|source| Error::system("fcntl F_GETFL", self.name, source))?;
        let file = self.in_its_namespace(|_, name| {
            let file = open_tun(status & libc::O_NONBLOCK)?;
            attach::attach_only(&file, name, state.flags & QUEUE_FLAGS)?;
            Ok(file)
        })?;
        Self::from_fd(file.into())
    }

    /// Has the host send frames with a vnet header of [`VNET_HEADER`] bytes,
    /// segments of TCP in one piece and without their checksums. Needs no
    /// right but the descriptor.
    #[cfg(feature = "proxied")]
    pub(crate) fn take_offloads(&self) -> Result<(), Error> {
        self.set_vnet_header_length(u32::try_from(VNET_HEADER).unwrap_or_default())?;
        self.set_offloads(Offload::CHECKSUM | Offload::TSO4 | Offload::TSO6)
    }

    /// Receives one frame that the host sends to the guest; its length.
    ///
    /// A frame that is longer than `frame` is cut off.
    ///
    /// # Errors
    /// `EAGAIN` if there is none and the descriptor does not block, `EBADFD`
    /// if the device was deleted.
    pub fn receive(&self, frame: &mut [u8]) -> io::Result<usize> {
        (&self.file).read(frame)
    }

    /// Sends one frame from the guest to the host; the length taken.
    ///
    /// # Errors
    /// `EIO` if the device is down, `EINVAL` if the frame is shorter than its
    /// header, `EBADFD` if the device was deleted.
    pub fn send(&self, frame: &[u8]) -> io::Result<usize> {
        (&self.file).write(frame)
    }

    /// Does `work` with the device's present name, in its present namespace.
    fn in_its_namespace<T: Send>(
        &self,
        work: impl FnOnce(&Control<UnixDatagram>, IfName) -> Result<T, Error> + Send,
    ) -> Result<T, Error> {
        let name = State::read(&self.file)?.name;
        let namespace = self.namespace()?;
        namespace.inside(|| work(&Control::open()?, name))
    }

    fn failed<A>(&self, call: &ioctl::Call<A>, source: io::Error) -> Error {
        Error::system(call.name(), self.name, source)
    }
}

impl AsFd for Tap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl From<Tap> for OwnedFd {
    fn from(tap: Tap) -> Self {
        tap.file.into()
    }
}

/// The length of a `struct virtio_net_hdr` (`linux/virtio_net.h`).
#[cfg(feature = "proxied")]
pub(crate) const VNET_HEADER: usize = 10;

/// What the kernel says about the device behind a descriptor.
pub(super) struct State {
    name: IfName,
    flags: i32,
}

impl State {
    pub(super) fn read(file: &File) -> Result<Self, Error> {
        let call = ioctl::TUNGETIFF;
        let mut request = IfRequest::empty();
        call.run(file, &mut request)
            .map_err(|source| Error::system(call.name(), "/dev/net/tun", source))?;
        Ok(Self {
            name: IfName::new(&request.name())?,
            flags: i32::from(u16::from_ne_bytes(request.value::<0, 2>())),
        })
    }

    pub(super) fn has(&self, flag: i32) -> bool {
        self.flags & flag != 0
    }
}

/// A socket for requests about interfaces by name, in the network namespace
/// in which the thread was when it opened it.
struct Control<S> {
    socket: S,
}

impl Control<UnixDatagram> {
    /// A Unix socket, since it needs no address family to be compiled in and
    /// the kernel hands it the requests that concern all of them.
    fn open() -> Result<Self, Error> {
        let socket =
            UnixDatagram::unbound().map_err(|source| Error::system("socket", "AF_UNIX", source))?;
        Ok(Self { socket })
    }
}

impl<S: AsFd> Control<S> {
    fn index(&self, name: IfName) -> Result<IfIndex, Error> {
        let index = self.ask(&ioctl::GET_INDEX, name)?.value::<0, 4>();
        Ok(IfIndex::new(u32::from_ne_bytes(index))?)
    }

    fn mtu(&self, name: IfName) -> Result<u32, Error> {
        let mtu = self.ask(&ioctl::GET_MTU, name)?.value::<0, 4>();
        Ok(u32::from_ne_bytes(mtu))
    }

    fn mac(&self, name: IfName) -> Result<Mac, Error> {
        let octets = self.ask(&ioctl::GET_MAC, name)?.value::<2, 6>();
        Ok(Mac::new(octets)?)
    }

    fn set_mtu(&self, name: IfName, mtu: u32) -> Result<(), Error> {
        if i32::try_from(mtu).is_err() {
            return Err(Invalid::new("MTU", mtu, "is above 2147483647").into());
        }
        let call = ioctl::SET_MTU;
        let mut request = IfRequest::new(name).with::<0, 4>(mtu.to_ne_bytes());
        call.run(&self.socket, &mut request)
            .map_err(|source| Error::system(call.name(), format_args!("{name} {mtu}"), source))
    }

    fn ask(&self, call: &ioctl::Call<IfRequest>, name: IfName) -> Result<IfRequest, Error> {
        let mut request = IfRequest::new(name);
        call.run(&self.socket, &mut request)
            .map_err(|source| Error::system(call.name(), name, source))?;
        Ok(request)
    }
}

/// Opens `/dev/net/tun` in the thread's network namespace, close-on-exec.
pub(super) fn open_tun(status_flags: i32) -> Result<File, Error> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(status_flags)
        .open(TUN_PATH)
        .map_err(|source| Error::system("open", hint_for_open(&source), source))
}

/// The path with the sentence that helps.
fn hint_for_open(source: &io::Error) -> &'static str {
    match source.raw_os_error() {
        Some(libc::ENOENT | libc::ENXIO | libc::ENODEV) => {
            "/dev/net/tun (is the tun module loaded? is the node there? mknod /dev/net/tun c 10 200)"
        }
        Some(libc::EACCES) => "/dev/net/tun (needs read and write permission on /dev/net/tun)",
        Some(libc::EPERM) => {
            "/dev/net/tun (needs read and write permission on /dev/net/tun, also in the device cgroup)"
        }
        _ => TUN_PATH,
    }
}

const TUN_PATH: &str = "/dev/net/tun";

/// Length of `struct virtio_net_hdr` of `linux/virtio_net.h`.
pub(super) const VIRTIO_NET_HDR: u32 = 10;

/// `TUN_MINOR` of `linux/miscdevice.h` on the major number of misc devices.
const TUN_DEVICE: u64 = libc::makedev(10, 200);

/// The flags of `TUNGETIFF` that a further queue must have as well.
const QUEUE_FLAGS: i32 =
    libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR | libc::IFF_MULTI_QUEUE;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptor_of_something_else_is_refused() {
        let file = File::open("/dev/null").unwrap();
        let number = file.as_raw_fd();
        let error = Tap::from_fd(file.into()).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("descriptor \"{number}\" is not a descriptor of /dev/net/tun")
        );
    }

    #[test]
    fn failed_open_says_what_helps() {
        let hint = |errno| hint_for_open(&io::Error::from_raw_os_error(errno));
        assert!(hint(libc::ENOENT).contains("mknod /dev/net/tun c 10 200"));
        assert!(hint(libc::EACCES).contains("needs read and write permission on /dev/net/tun"));
        assert!(hint(libc::EPERM).contains("device cgroup"));
        assert_eq!(hint(libc::EMFILE), "/dev/net/tun");
    }
}
