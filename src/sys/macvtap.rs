//! The character device of a macvtap: frames by a file, as with a TAP.
//!
//! Source: `linux/if_tun.h`, and `drivers/net/tap.c` of the kernel.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::ioctl::{self, IfRequest};
use super::mount;
use super::sysfs::in_own_sysfs;
use super::tap::{Offload, State, VIRTIO_NET_HDR, offload};
use crate::error::{Error, Invalid};
use crate::types::IfName;

/// One queue of a macvtap: a descriptor of `/dev/tapN`.
///
/// What is sent on it leaves as a frame of the guest by the macvtap's parent;
/// what is for the guest is received from it. The macvtap stays when it is
/// dropped. The descriptor is close-on-exec; to hand it to a VMM, turn it into
/// an [`OwnedFd`].
///
/// At first each frame has a vnet header of 10 bytes before it. Offloads are
/// the macvtap's, all of them on until someone sets them.
#[derive(Debug)]
pub struct Macvtap {
    file: File,
    name: IfName,
}

impl Macvtap {
    /// Opens a queue of the macvtap `name` in the calling thread's network
    /// namespace.
    ///
    /// Its device file need not be in `/dev`, and what has its name there may
    /// be that of another namespace: the device is looked up in a `sysfs` of
    /// this namespace, and a file for it made where nobody else sees it.
    ///
    /// # Errors
    /// [`Error::Invalid`] if it is not a macvtap (or not there).
    /// [`Error::System`]: `EPERM` without `CAP_SYS_ADMIN` (for `sysfs`) or
    /// `CAP_MKNOD`, or where the device cgroup does not permit the device;
    /// `EBUSY` after 256 queues.
    pub fn open(name: IfName) -> Result<Self, Error> {
        Self::open_with(name, 0)
    }

    /// As [`open`](Self::open); it does not block.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_nonblocking(name: IfName) -> Result<Self, Error> {
        Self::open_with(name, libc::O_NONBLOCK)
    }

    fn open_with(name: IfName, status_flags: i32) -> Result<Self, Error> {
        let file = in_own_sysfs(|| open_private(name, status_flags))?;
        Ok(Self { file, name })
    }

    /// The name of the macvtap when it was opened.
    pub fn name(&self) -> IfName {
        self.name
    }

    /// Whether frames carry a `virtio_net_hdr` (`linux/virtio_net.h`).
    ///
    /// # Errors
    /// [`Error::System`]: `ENOLINK` if the macvtap was deleted.
    pub fn has_vnet_header(&self) -> Result<bool, Error> {
        Ok(State::read(&self.file)?.has(libc::IFF_VNET_HDR))
    }

    /// Has frames carry a `virtio_net_hdr`, or not (`TUNSETIFF`).
    ///
    /// # Errors
    /// [`Error::System`] if the kernel does not do it.
    pub fn set_vnet_header(&self, wanted: bool) -> Result<(), Error> {
        let header = if wanted { libc::IFF_VNET_HDR } else { 0 };
        let flags = libc::IFF_TAP | libc::IFF_NO_PI | header;
        let flags = u16::try_from(flags).unwrap_or_default();
        let mut request = IfRequest::new(self.name).with::<0, 2>(flags.to_ne_bytes());
        let call = ioctl::TUNSETIFF;
        call.run(&self.file, &mut request)
            .map_err(|source| Error::system(call.name(), self.name, source))
    }

    /// The length in bytes of the header before each frame, if frames have
    /// one.
    ///
    /// # Errors
    /// [`Error::System`] if the kernel does not tell.
    pub fn vnet_header_length(&self) -> Result<u32, Error> {
        offload::vnet_header_length(&self.file, self.name)
    }

    /// Sets the length of that header: 10 bytes for `virtio_net_hdr`, 12 with
    /// the number of buffers behind it (`linux/virtio_net.h`).
    ///
    /// # Errors
    /// [`Error::System`]: `EINVAL` below 10.
    pub fn set_vnet_header_length(&self, length: u32) -> Result<(), Error> {
        offload::set_vnet_header_length(&self.file, self.name, length)
    }

    /// Sets what the other end does itself, on all queues of the macvtap.
    ///
    /// # Errors
    /// [`Error::System`]: `EINVAL` for what the kernel does not know,
    /// `ENOLINK` if the macvtap was deleted.
    pub fn set_offloads(&self, offloads: Offload) -> Result<(), Error> {
        offload::set_offloads(&self.file, self.name, offloads)
    }

    /// Has it with a header of 10 bytes and no offloads, whatever another has
    /// set.
    ///
    /// # Errors
    /// As [`set_offloads`](Self::set_offloads).
    pub fn reset(&self) -> Result<(), Error> {
        self.set_offloads(Offload::empty())?;
        self.set_vnet_header(true)?;
        self.set_vnet_header_length(VIRTIO_NET_HDR)
    }

    /// Receives one frame for the guest; its length. A frame that is longer
    /// than `frame` is cut off.
    ///
    /// # Errors
    /// `EAGAIN` if there is none and the descriptor does not block.
    pub fn receive(&self, frame: &mut [u8]) -> io::Result<usize> {
        (&self.file).read(frame)
    }

    /// Sends one frame of the guest; the length taken.
    ///
    /// # Errors
    /// `EINVAL` if the frame is shorter than its headers, `ENOLINK` if the
    /// macvtap was deleted.
    pub fn send(&self, frame: &[u8]) -> io::Result<usize> {
        (&self.file).write(frame)
    }
}

impl AsFd for Macvtap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl From<Macvtap> for OwnedFd {
    fn from(macvtap: Macvtap) -> Self {
        macvtap.file.into()
    }
}

/// Opens the device, among mounts that nobody else sees.
fn open_private(name: IfName, status_flags: i32) -> Result<File, Error> {
    let (node, device) = find_device(name)?;
    let shown = Path::new(DEV).join(node);
    let is_it =
        |it: &fs::Metadata| it.rdev() == device && it.mode() & libc::S_IFMT == libc::S_IFCHR;
    if !fs::metadata(&shown).is_ok_and(|it| is_it(&it)) {
        let failed = |source| Error::system("mount tmpfs", DEV, source);
        mount::tmpfs_for_devices(Path::new(DEV)).map_err(failed)?;
        mount::character_device(&shown, device).map_err(|source| {
            let subject = format_args!("device of {name} (needs CAP_MKNOD)");
            Error::system("mknod", subject, source)
        })?;
    }
    OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(status_flags)
        .open(&shown)
        .map_err(|source| {
            let subject = format_args!("device of {name} (also the device cgroup must permit it)");
            Error::system("open", subject, source)
        })
}

/// The name and the number of the device, `/sys/class/net/NAME/macvtap/tapN`.
fn find_device(name: IfName) -> Result<(PathBuf, libc::dev_t), Error> {
    let invalid = || Invalid::new("interface", name, "is not a macvtap");
    let folder = Path::new("/sys/class/net")
        .join(name.as_str())
        .join("macvtap");
    let entries = fs::read_dir(folder).map_err(|_| invalid())?;
    let mut entries = entries.filter_map(Result::ok);
    let is_tap = |node: &fs::DirEntry| node.file_name().as_encoded_bytes().starts_with(b"tap");
    let node = entries.find(is_tap).ok_or_else(invalid)?;
    let number = node.path().join("dev");
    let text = fs::read_to_string(&number)
        .map_err(|source| Error::system("read", number.display(), source))?;
    let device = parse_device(&text).ok_or_else(invalid)?;
    Ok((node.file_name().into(), device))
}

/// The number of a device as `sysfs` writes it: `246:1`.
fn parse_device(text: &str) -> Option<libc::dev_t> {
    let (major, minor) = text.trim().split_once(':')?;
    Some(libc::makedev(major.parse().ok()?, minor.parse().ok()?))
}

const DEV: &str = "/dev";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_number_is_read() {
        assert_eq!(parse_device("246:1\n"), Some(libc::makedev(246, 1)));
        for text in ["", "246", "246:", "a:1", "-1:1"] {
            assert_eq!(parse_device(text), None, "{text}");
        }
    }
}
