//! Rights over a network without being root: a user namespace of one's own.

use std::fs;
use std::path::Path;

use super::{check, mount};
use crate::error::Error;

/// Moves the process into new user, network and mount namespaces, in which it
/// is root.
///
/// For tools, examples and tests without privilege, as `unshare -rnm` does
/// for a shell. Afterwards the process has every capability over the new
/// network namespace and over those it makes, and none over any other. Its
/// user and group appear as 0. `/run` is an empty directory of its own, so
/// that namespaces can have names; sockets below the old `/run` are out of
/// sight. `/dev/net/tun` keeps its permissions.
///
/// Call it first in `main`, while there is one thread. If it fails the
/// process may be half way in; end it then.
///
/// # Errors
/// [`Error::System`]: `EINVAL` from `unshare` if there is a second thread
/// (one that was joined a moment ago may still be ending), `EPERM` or `ENOSPC` where the administrator does not permit user
/// namespaces.
pub fn enter_user_namespace() -> Result<(), Error> {
    let user = own_number("Uid:")?;
    let group = own_number("Gid:")?;
    let flags = libc::CLONE_NEWUSER | libc::CLONE_NEWNET | libc::CLONE_NEWNS;
    // SAFETY: takes a number only. It changes what the process may see and
    // do, not its memory, and the kernel refuses it to a process that has a
    // second thread.
    check(unsafe { libc::unshare(flags) }).map_err(|source| {
        let hint = match source.raw_os_error() {
            Some(libc::EINVAL) => "user namespace (the process must have one thread only)",
            Some(libc::EPERM | libc::ENOSPC) => {
                "user namespace (not permitted, see sysctl user.max_user_namespaces)"
            }
            _ => "user namespace",
        };
        Error::system("unshare", hint, source)
    })?;
    // Without this an unprivileged process may not map its group
    // (user_namespaces(7)).
    write("/proc/thread-self/setgroups", "deny")?;
    write("/proc/thread-self/uid_map", &format!("0 {user} 1"))?;
    write("/proc/thread-self/gid_map", &format!("0 {group} 1"))?;
    let failed = |place| move |source| Error::system("mount", place, source);
    mount::isolate(Path::new("/")).map_err(failed("/"))?;
    mount::tmpfs(Path::new("/run")).map_err(failed("/run"))
}

/// Whether the calling thread has `CAP_NET_ADMIN` in its user namespace.
///
/// That is the right to configure the network namespaces that this user
/// namespace owns (capabilities(7)); one that was made outside is not among
/// them.
///
/// # Errors
/// [`Error::System`] if `/proc` is not mounted.
pub fn has_net_admin() -> Result<bool, Error> {
    let status = own_status()?;
    let effective = field(&status, "CapEff:").and_then(|hex| u64::from_str_radix(hex, 16).ok());
    Ok(effective.is_some_and(|set| set & CAP_NET_ADMIN != 0))
}

/// The effective one of the four numbers of a `Uid:` or `Gid:` line.
fn own_number(name: &str) -> Result<u32, Error> {
    let status = own_status()?;
    effective(&status, name).ok_or(Error::Unsupported {
        feature: "/proc/thread-self/status",
    })
}

fn effective(status: &str, name: &str) -> Option<u32> {
    field(status, name)?.split_whitespace().nth(1)?.parse().ok()
}

fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    let value = status.lines().find_map(|line| line.strip_prefix(name))?;
    Some(value.trim())
}

fn own_status() -> Result<String, Error> {
    let path = "/proc/thread-self/status";
    fs::read_to_string(path).map_err(|source| Error::system("read", path, source))
}

fn write(path: &'static str, text: &str) -> Result<(), Error> {
    fs::write(path, text).map_err(|source| Error::system("write", path, source))
}

/// Bit 12 of a capability set (`linux/capability.h`).
const CAP_NET_ADMIN: u64 = 1 << 12;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_gives_the_effective_numbers() {
        let status = "Name:\tx\nUid:\t1000\t1001\t1002\t1003\nCapEff:\t0000000000001000\n";
        assert_eq!(effective(status, "Uid:"), Some(1001));
        assert_eq!(effective(status, "Gid:"), None);
        assert_eq!(field(status, "CapEff:"), Some("0000000000001000"));
    }

    #[test]
    fn process_with_threads_is_told_so() {
        // The test harness is itself a second thread.
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let error = enter_user_namespace().unwrap_err();
                assert_eq!(error.raw_os_error(), Some(libc::EINVAL));
                assert_eq!(
                    error.to_string(),
                    "unshare user namespace (the process must have one thread only)"
                );
            });
        });
    }
}
