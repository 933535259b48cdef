//! Where IPv6 is told how to work; a `/proc` of our own, mounted nowhere.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use super::mount;

/// Where the settings of IPv6 of a network namespace are.
pub(crate) trait Ipv6Conf {
    /// Opens a file for writing, by its path from `/proc/sys/net/ipv6/conf`.
    fn open(&self, path: &Path) -> io::Result<File>;

    /// Whether there is such a file or folder. A folder is not opened for
    /// writing, but not for want of it.
    fn has(&self, path: &Path) -> bool {
        !matches!(self.open(path), Err(error) if error.kind() == io::ErrorKind::NotFound)
    }
}

/// Below `/proc`; what lies there is the calling thread's namespace's.
pub(super) const CONF: &str = "sys/net/ipv6/conf";

/// So many namespaces may be looked into before there is a new one: that takes
/// some 100 us.
const NAMESPACES: usize = 64;

/// What a file is opened by that is below `/proc/sys/net` in a namespace that
/// nobody has looked into yet.
///
/// The kernel remembers what was looked up, for each mounted `/proc`, and has
/// what lies below `/proc/sys/net` in all namespaces under the same name: with
/// 1 000 of them it compares 1 000 entries whenever anyone looks for anything
/// there, in whichever of them. Looked up here, a new namespace leaves no such
/// entry for others, and this one starts anew after a few.
///
/// It takes `CAP_SYS_ADMIN` where the process namespace was made; who has none
/// uses `/proc`.
#[derive(Debug, Default)]
pub(crate) struct OwnProc {
    mount: Option<OwnedFd>,
    looked_into: usize,
}

impl OwnProc {
    /// Before so many namespaces are looked into.
    pub(crate) fn expect(&mut self, namespaces: usize) {
        let together = self.looked_into.saturating_add(namespaces);
        if self.mount.is_none() || together > NAMESPACES {
            // Without one there is `/proc`.
            self.mount = mount::procfs().ok();
            self.looked_into = namespaces;
        } else {
            self.looked_into = together;
        }
    }
}

/// Of the namespace that the calling thread is in.
impl Ipv6Conf for OwnProc {
    fn open(&self, path: &Path) -> io::Result<File> {
        let path = Path::new(CONF).join(path);
        match &self.mount {
            Some(mount) => mount::open_below(mount.as_fd(), &path),
            // Not as `fs::write`, which would make a file that is missing.
            None => OpenOptions::new()
                .write(true)
                .open(Path::new("/proc").join(path)),
        }
    }
}
