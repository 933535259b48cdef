//! `/dev/vhost-net`: the kernel moves a guest's frames between its memory and
//! a TAP's descriptor. `linux/vhost.h`.

use std::fs::{File, OpenOptions};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::error::Error;

/// A descriptor of `/dev/vhost-net`, one for each pair of queues, with which
/// a VMM does the rest (`VHOST_SET_OWNER` and on). Close-on-exec.
#[derive(Debug)]
pub struct VhostNet {
    file: File,
}

impl VhostNet {
    /// Opens one.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if the kernel does not have the module
    /// `vhost_net`, or it is not loaded; [`Error::System`]: `EACCES` or `EPERM`
    /// without the right to open it.
    pub fn open() -> Result<Self, Error> {
        let opened = OpenOptions::new().read(true).write(true).open(PATH);
        match opened {
            Ok(file) => Ok(Self { file }),
            Err(source) => match source.raw_os_error() {
                Some(libc::ENOENT | libc::ENODEV | libc::ENXIO) => Err(Error::Unsupported {
                    feature: "/dev/vhost-net (module vhost_net)",
                }),
                _ => Err(Error::system("open", PATH, source)),
            },
        }
    }
}

impl AsFd for VhostNet {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl From<VhostNet> for OwnedFd {
    fn from(vhost: VhostNet) -> Self {
        vhost.file.into()
    }
}

const PATH: &str = "/dev/vhost-net";
