//! Network namespaces: made, named, opened, and worked in.

mod journey;
mod named;

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::os::unix::net::UnixDatagram;
use std::panic;
use std::path::Path;
use std::thread::{self, Scope, ScopedJoinHandle};

pub use journey::Journey;

use super::check;
use crate::error::{Error, Invalid};

/// A network namespace, held open.
///
/// It lives as long as anything refers to it: a value of this type, a thread
/// inside, or a name (see [`create_named`](Self::create_named)).
///
/// A namespace is entered by threads, one by one. [`run`](Self::run) gives
/// each piece of work a thread of its own, so that no other thread is ever
/// found in the wrong place.
///
/// ```no_run
/// use tapwire::sys::{NetNs, TapOptions};
/// let netns = NetNs::new()?;
/// let tap = netns.run(|| TapOptions::new("tap0".parse()?).create())??;
/// # Ok::<(), tapwire::Error>(())
/// ```
#[derive(Debug)]
pub struct NetNs {
    file: File,
    /// The kernel's number of it (`SO_NETNS_COOKIE`, Linux 5.14), if a thread
    /// was there to ask.
    cookie: Option<u64>,
}

impl NetNs {
    /// Makes a namespace without a name, with nothing in it but `lo`, down.
    ///
    /// # Errors
    /// [`Error::System`]; `EPERM` without `CAP_SYS_ADMIN`.
    pub fn new() -> Result<Self, Error> {
        on_thread(|| {
            unshare()?;
            Self::current()
        })?
    }

    /// The namespace that the calling thread is in.
    ///
    /// # Errors
    /// [`Error::System`], for example if `/proc` is not mounted.
    pub fn current() -> Result<Self, Error> {
        Ok(Self {
            cookie: cookie_here().ok(),
            ..Self::open("/proc/thread-self/ns/net")?
        })
    }

    /// The namespace that the main thread of the process `pid` is in.
    ///
    /// # Errors
    /// [`Error::System`]; `ENOENT` if there is no such process, `EACCES`
    /// without the right to trace it (ptrace(2)).
    pub fn of_pid(pid: u32) -> Result<Self, Error> {
        Self::open(format!("/proc/{pid}/ns/net"))
    }

    /// The namespace that `path` leads to: `/run/netns/blue`,
    /// `/proc/1234/ns/net`.
    ///
    /// # Errors
    /// [`Error::System`] if it cannot be opened, [`Error::Invalid`] if it is
    /// something else than a network namespace.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK) // a FIFO must not keep us waiting
            .open(path)
            .map_err(|source| Error::system("open", path.display(), source))?;
        Self::checked(file, path.display())
    }

    /// What tells this namespace from all others.
    ///
    /// # Errors
    /// [`Error::System`] if `fstat` fails.
    pub fn id(&self) -> Result<NetNsId, Error> {
        let metadata = self
            .file
            .metadata()
            .map_err(|source| Error::system("fstat", "network namespace", source))?;
        Ok(NetNsId {
            device: metadata.dev(),
            inode: metadata.ino(),
        })
    }

    /// Whether the calling thread is in this namespace.
    ///
    /// # Errors
    /// [`Error::System`], for example if `/proc` is not mounted.
    pub fn is_current(&self) -> Result<bool, Error> {
        if let Some(cookie) = self.cookie
            && let Ok(here) = cookie_here()
        {
            // A tenth of the time that a new thread's `/proc` takes.
            return Ok(cookie == here);
        }
        Ok(self.id()? == Self::current()?.id()?)
    }

    /// Runs `work` inside this namespace, on a thread of its own, and waits.
    ///
    /// What `work` opens (sockets, `/dev/net/tun`) stays in this namespace
    /// when it is carried out. The calling thread stays where it is. A panic
    /// in `work` continues in the caller.
    ///
    /// # Errors
    /// [`Error::System`] if the namespace cannot be entered (`EPERM` without
    /// `CAP_SYS_ADMIN` here and in the user namespace that owns it) or no
    /// thread can be started; `work` has not run then.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, Error> {
        on_thread(|| {
            self.enter()?;
            Ok(work())
        })?
    }

    /// Does `work` inside this namespace, here if the calling thread is there.
    ///
    /// # Errors
    /// As [`run`](Self::run), and what `work` returns.
    pub(crate) fn inside<T: Send>(
        &self,
        work: impl FnOnce() -> Result<T, Error> + Send,
    ) -> Result<T, Error> {
        if self.is_current()? {
            work()
        } else {
            self.run(work)?
        }
    }

    /// Moves the calling thread; only for threads that end with their work.
    fn enter(&self) -> Result<(), Error> {
        let fd = self.file.as_raw_fd();
        // SAFETY: takes numbers only; the descriptor is open as long as
        // `self`, and only the calling thread changes its place.
        check(unsafe { libc::setns(fd, libc::CLONE_NEWNET) }).map_err(|source| {
            let hint = if source.raw_os_error() == Some(libc::EPERM) {
                "network namespace (needs CAP_SYS_ADMIN, also where it was made)"
            } else {
                "network namespace"
            };
            Error::system("setns", hint, source)
        })?;
        Ok(())
    }

    /// Takes `file` if it is a network namespace; `name` is for the error.
    fn checked(file: File, name: impl fmt::Display) -> Result<Self, Error> {
        let fd = file.as_raw_fd();
        // SAFETY: `NS_GET_NSTYPE` takes no argument and touches no memory of
        // ours; what is no namespace refuses it.
        let kind = check(unsafe { libc::ioctl(fd, libc::NS_GET_NSTYPE, 0) });
        let why = match kind {
            Ok(libc::CLONE_NEWNET) => return Ok(Self { file, cookie: None }),
            Ok(_) => "is a namespace, but not a network namespace",
            Err(_) => "is not a namespace",
        };
        Err(Invalid::new("network namespace", name, why).into())
    }
}

impl AsFd for NetNs {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl From<NetNs> for OwnedFd {
    fn from(netns: NetNs) -> Self {
        netns.file.into()
    }
}

impl TryFrom<OwnedFd> for NetNs {
    type Error = Error;

    /// Takes a descriptor that was handed over, if it is a network namespace.
    fn try_from(fd: OwnedFd) -> Result<Self, Error> {
        let number = fd.as_raw_fd();
        Self::checked(fd.into(), format_args!("descriptor {number}"))
    }
}

/// What tells a network namespace from all others that exist at the time: its
/// file on `nsfs` (namespaces(7)). Shown as `ls -l /proc/thread-self/ns` does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NetNsId {
    device: u64,
    inode: u64,
}

impl fmt::Display for NetNsId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "net:[{}]", self.inode)
    }
}

/// Of `asm-generic/socket.h`.
const SO_NETNS_COOKIE: libc::c_int = 71;

/// The kernel's number of the calling thread's network namespace, told by a
/// socket made there.
fn cookie_here() -> io::Result<u64> {
    let socket = UnixDatagram::unbound()?;
    let mut cookie = 0_u64;
    let mut length = libc::socklen_t::try_from(size_of::<u64>()).map_err(io::Error::other)?;
    // SAFETY: this option writes one u64; `cookie` is one, `length` says so,
    // and both outlive the call.
    check(unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    })?;
    Ok(cookie)
}

/// Moves the calling thread into a new namespace; only for threads that end
/// with their work.
fn unshare() -> Result<(), Error> {
    // SAFETY: takes a number only; `CLONE_NEWNET` changes nothing but the
    // network namespace of this thread.
    check(unsafe { libc::unshare(libc::CLONE_NEWNET) }).map_err(|source| {
        let hint = if source.raw_os_error() == Some(libc::EPERM) {
            "network namespace (needs CAP_SYS_ADMIN)"
        } else {
            "network namespace"
        };
        Error::system("unshare", hint, source)
    })?;
    Ok(())
}

/// Runs `work` on a thread that ends with it, under the name of the calling
/// thread; a panic continues in the caller.
pub(super) fn on_thread<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, Error> {
    #[cfg(feature = "__recording")]
    if crate::recording::is_on() {
        let (done, sent) = spawn(|| crate::recording::record(work))?;
        crate::recording::take_over(sent);
        return Ok(done);
    }
    spawn(work)
}

/// As [`on_thread`], each of these on a thread, all at the same time; what they
/// return is in their order.
fn on_threads<T: Send>(all: Vec<impl FnOnce() -> T + Send>) -> Result<Vec<T>, Error> {
    #[cfg(feature = "__recording")]
    if crate::recording::is_on() {
        // What is sent is to be in order as well.
        return all.into_iter().map(on_thread).collect();
    }
    thread::scope(|scope| {
        let threads: Result<Vec<_>, Error> =
            all.into_iter().map(|work| start(scope, work)).collect();
        Ok(threads?.into_iter().map(wait).collect())
    })
}

fn spawn<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, Error> {
    thread::scope(|scope| start(scope, work).map(wait))
}

fn start<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    work: impl FnOnce() -> T + Send + 'scope,
) -> Result<ScopedJoinHandle<'scope, T>, Error> {
    let mut builder = thread::Builder::new();
    if let Some(name) = thread::current().name() {
        builder = builder.name(name.to_owned());
    }
    builder
        .spawn_scoped(scope, work)
        .map_err(|source: io::Error| Error::system("clone", "thread", source))
}

fn wait<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread
        .join()
        .unwrap_or_else(|payload| panic::resume_unwind(payload))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_namespace_is_current() {
        let netns = NetNs::current().unwrap();
        assert!(netns.is_current().unwrap());
        assert_eq!(netns.id().unwrap(), NetNs::current().unwrap().id().unwrap());
    }

    #[test]
    fn what_is_no_network_namespace_is_refused() {
        let error = NetNs::open("/dev/null").unwrap_err();
        assert_eq!(
            error.to_string(),
            "network namespace \"/dev/null\" is not a namespace"
        );
        let error = NetNs::open("/proc/thread-self/ns/mnt").unwrap_err();
        assert_eq!(
            error.to_string(),
            "network namespace \"/proc/thread-self/ns/mnt\" is a namespace, but not a network namespace"
        );
        let file = File::open("/dev/null").unwrap();
        let error = NetNs::try_from(OwnedFd::from(file)).unwrap_err();
        assert!(matches!(error, Error::Invalid(_)), "{error:?}");
    }

    #[test]
    fn descriptor_of_a_namespace_is_taken() {
        let netns = NetNs::current().unwrap();
        let id = netns.id().unwrap();
        let again = NetNs::try_from(OwnedFd::from(netns)).unwrap();
        assert_eq!(again.id().unwrap(), id);
    }

    #[test]
    fn process_that_is_not_there_has_no_namespace() {
        assert!(NetNs::of_pid(u32::MAX).unwrap_err().is_not_found());
    }
}
