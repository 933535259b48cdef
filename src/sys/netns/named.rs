//! Names for network namespaces, kept as `ip netns` keeps them.
//!
//! A name is a file of `/run/netns` over which the namespace is mounted
//! (ip-netns(8)), so `ip netns list` and `ip netns exec` know it too.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::NetNs;
use crate::error::{Error, Invalid};
use crate::sys::{check, mount};

impl NetNs {
    /// Makes a namespace that keeps existing under `name`.
    ///
    /// `ip netns` knows it by that name, and [`remove_named`] takes the name
    /// away. If a step fails, no name is left behind.
    ///
    /// # Errors
    /// [`Error::Invalid`] if `name` is no file name, [`Error::System`] for the
    /// rest; `EEXIST` if the name is taken.
    ///
    /// [`remove_named`]: Self::remove_named
    pub fn create_named(name: &str) -> Result<Self, Error> {
        let path = path_of(name)?;
        let netns = Self::new()?;
        prepare_directory()?;
        let source = format!("/proc/thread-self/fd/{}", netns.file.as_raw_fd());
        give_name(Path::new(&source), &path)?;
        Ok(netns)
    }

    /// The namespace that `ip netns` knows by `name`.
    ///
    /// # Errors
    /// [`Error::Absent`] if there is none, [`Error::Invalid`] if `name` is no
    /// file name, or if the file is what a failed `ip netns add` left behind.
    pub fn open_named(name: &str) -> Result<Self, Error> {
        Self::open(path_of(name)?).map_err(|error| absent(error, name))
    }

    /// The names that namespaces have, also what failed to become one, in no
    /// order.
    ///
    /// # Errors
    /// [`Error::System`] if the directory cannot be read.
    pub fn names() -> Result<Vec<OsString>, Error> {
        let failed = |source| Error::system("readdir", DIRECTORY, source);
        match fs::read_dir(DIRECTORY) {
            Ok(entries) => entries
                .map(|entry| Ok(entry.map_err(failed)?.file_name()))
                .collect(),
            Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(source) => Err(failed(source)),
        }
    }

    /// Removes the file of a name that never became one, because who made it
    /// was killed; `false` if it is a name, or gone.
    pub(crate) fn clear_name(name: &str) -> Result<bool, Error> {
        let path = path_of(name)?;
        match fs::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(source) if source.raw_os_error() == Some(libc::EBUSY) => Ok(false),
            Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(source) => Err(Error::system("unlink", path.display(), source)),
        }
    }

    /// Takes the name away; the namespace goes with its last user.
    ///
    /// # Errors
    /// [`Error::Absent`] if there is no such name, [`Error::Invalid`] if it is
    /// no file name, [`Error::System`] for the rest.
    pub fn remove_named(name: &str) -> Result<(), Error> {
        let path = path_of(name)?;
        match mount::detach(&path) {
            // EINVAL: a file with nothing mounted over it, which goes too.
            Err(source) if source.raw_os_error() != Some(libc::EINVAL) => {
                let error = Error::system("umount", path.display(), source);
                return Err(absent(error, name));
            }
            _ => {}
        }
        fs::remove_file(&path).map_err(|source| {
            let error = Error::system("unlink", path.display(), source);
            absent(error, name)
        })
    }
}

/// Mounts the namespace file `source` over a new file.
pub(super) fn give_name(source: &Path, path: &Path) -> Result<(), Error> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o000)
        .open(path)
        .map_err(|source| Error::system("open", path.display(), source))?;
    mount::bind(source, path).map_err(|source| {
        // The mount's error is the one to tell; an empty file that cannot
        // be removed is all that could stay.
        fs::remove_file(path).ok();
        Error::system("mount", path.display(), source)
    })
}

/// The file of `name`, checked to be right below [`DIRECTORY`].
pub(super) fn path_of(name: &str) -> Result<PathBuf, Invalid> {
    let why = if name.is_empty() || name == "." || name == ".." {
        "is not a name"
    } else if name.bytes().any(|byte| byte == b'/' || byte == 0) {
        "holds a slash or a NUL"
    } else if name.len() > NAME_MAX {
        "is longer than 255 bytes"
    } else {
        return Ok(Path::new(DIRECTORY).join(name));
    };
    Err(Invalid::new("namespace name", name, why))
}

/// Makes the directory, and shares what is mounted in it with other mount
/// namespaces, so that a name removed there does not stay busy here.
pub(super) fn prepare_directory() -> Result<(), Error> {
    let directory = Path::new(DIRECTORY);
    let failed = |call| move |source| Error::system(call, DIRECTORY, source);
    DirBuilder::new()
        .mode(0o755)
        .recursive(true)
        .create(directory)
        .map_err(failed("mkdir"))?;
    // EINVAL: it is no mount of its own yet.
    let is_no_mount = |source: &io::Error| source.raw_os_error() == Some(libc::EINVAL);
    match mount::share(directory) {
        Err(source) if is_no_mount(&source) => {}
        result => return result.map_err(failed("mount")),
    }
    // Two that find it unshared at once would mount it over itself twice, and
    // hide each other's names; `ip netns` takes the same lock. It is given back
    // with the file; nobody else needs it once the directory is a mount.
    let lock = File::open(directory).map_err(failed("open"))?;
    // SAFETY: takes numbers only; the descriptor is open as long as `lock`.
    check(unsafe { libc::flock(lock.as_raw_fd(), libc::LOCK_EX) }).map_err(failed("flock"))?;
    match mount::share(directory) {
        Err(source) if is_no_mount(&source) => {
            mount::bind(directory, directory).map_err(failed("mount"))?;
            mount::share(directory).map_err(failed("mount"))
        }
        result => result.map_err(failed("mount")),
    }
}

/// Says by its name what a path does not lead to.
fn absent(error: Error, name: &str) -> Error {
    if error.raw_os_error() == Some(libc::ENOENT) {
        Error::Absent {
            kind: "network namespace",
            name: name.into(),
        }
    } else {
        error
    }
}

/// `NETNS_RUN_DIR` of iproute2.
const DIRECTORY: &str = "/run/netns";

/// Longest file name in bytes, `NAME_MAX` of `linux/limits.h`.
const NAME_MAX: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_is_one_file_name() {
        let longest = "n".repeat(255);
        assert_eq!(path_of("blue").unwrap(), Path::new("/run/netns/blue"));
        assert!(path_of(&longest).is_ok());
        let too_long = "n".repeat(256);
        for bad in ["", ".", "..", "a/b", "/", "../x", "a\0b", &too_long] {
            assert!(path_of(bad).is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn name_that_is_not_there_is_absent() {
        let error = NetNs::open_named("tapwire-no-such-name").unwrap_err();
        assert!(error.is_not_found(), "{error:?}");
        assert_eq!(
            error.to_string(),
            "no network namespace named tapwire-no-such-name"
        );
    }
}
