//! `mount(2)` and `umount2(2)` in the forms that this room needs.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;

use super::check;

/// Makes `target` a second place of what is at `source`, and of the mounts
/// below it.
pub(super) fn bind(source: &Path, target: &Path) -> io::Result<()> {
    let source = c_path(source)?;
    mount(Some(&source), target, None, libc::MS_BIND | libc::MS_REC)
}

/// Makes mounts that are made on `target` from now on appear in the mount
/// namespaces made from this one, and those made there appear here.
pub(super) fn share(target: &Path) -> io::Result<()> {
    mount(None, target, None, libc::MS_SHARED)
}

/// Ends all exchange of mounts below `target` with other mount namespaces.
pub(super) fn isolate(target: &Path) -> io::Result<()> {
    mount(None, target, None, libc::MS_PRIVATE | libc::MS_REC)
}

/// Gives the calling thread mounts of its own, which no other sees and which
/// end with it; only for threads that end with their work.
pub(super) fn unshare() -> io::Result<()> {
    // SAFETY: takes numbers only; `CLONE_NEWNS` changes nothing but the mounts
    // and the directories of this thread.
    check(unsafe { libc::unshare(libc::CLONE_NEWNS) })?;
    isolate(Path::new("/"))
}

/// Mounts on `target` what `sysfs` shows of the thread's network namespace.
pub(super) fn sysfs(target: &Path) -> io::Result<()> {
    let flags = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC | libc::MS_RDONLY;
    mount(Some(c"sysfs"), target, Some((c"sysfs", c"")), flags)
}

/// What `/proc` shows the calling thread, mounted nowhere but in the
/// descriptor (Linux 5.2).
pub(super) fn procfs() -> io::Result<OwnedFd> {
    let context = configured(c"proc")?;
    let attributes = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOEXEC;
    // SAFETY: takes numbers only; the descriptor is open as long as `context`.
    descriptor(unsafe {
        libc::syscall(
            libc::SYS_fsmount,
            context.as_raw_fd(),
            libc::FSMOUNT_CLOEXEC,
            attributes,
        )
    })
}

/// A file system of this kind that is ready to be mounted.
fn configured(kind: &CStr) -> io::Result<OwnedFd> {
    // SAFETY: `kind` is a string that ends in NUL and outlives the call.
    let context = descriptor(unsafe {
        libc::syscall(libc::SYS_fsopen, kind.as_ptr(), libc::FSOPEN_CLOEXEC)
    })?;
    let nothing = ptr::null::<libc::c_char>();
    // SAFETY: the descriptor is open as long as `context`; this command takes
    // neither key nor value.
    let created = unsafe {
        libc::syscall(
            libc::SYS_fsconfig,
            context.as_raw_fd(),
            libc::FSCONFIG_CMD_CREATE,
            nothing,
            nothing,
            0,
        )
    };
    if created == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(context)
}

/// Opens a file for writing, by its path from a directory.
pub(super) fn open_below(directory: BorrowedFd<'_>, path: &Path) -> io::Result<File> {
    let path = c_path(path)?;
    let flags = libc::O_WRONLY | libc::O_CLOEXEC;
    // SAFETY: `path` is a string that ends in NUL and outlives the call, as
    // does the descriptor.
    let fd = check(unsafe { libc::openat(directory.as_raw_fd(), path.as_ptr(), flags) })?;
    // SAFETY: the call above made the descriptor, for us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) }.into())
}

/// Mounts an empty file system in memory on `target`, on which devices work.
pub(super) fn tmpfs_for_devices(target: &Path) -> io::Result<()> {
    memory(target, libc::MS_NOSUID)
}

/// Makes a device file for the user alone, of characters (mknod(2)).
pub(super) fn character_device(path: &Path, device: libc::dev_t) -> io::Result<()> {
    let path = c_path(path)?;
    // SAFETY: `path` is a string that ends in NUL and outlives the call.
    check(unsafe { libc::mknod(path.as_ptr(), libc::S_IFCHR | 0o600, device) })?;
    Ok(())
}

/// Mounts an empty file system in memory on `target`.
pub(super) fn tmpfs(target: &Path) -> io::Result<()> {
    memory(target, libc::MS_NOSUID | libc::MS_NODEV)
}

fn memory(target: &Path, flags: libc::c_ulong) -> io::Result<()> {
    mount(
        Some(c"tmpfs"),
        target,
        Some((c"tmpfs", c"mode=0755")),
        flags,
    )
}

/// Takes the mount at `target` away at once, even if it is in use.
pub(super) fn detach(target: &Path) -> io::Result<()> {
    let target = c_path(target)?;
    let flags = libc::MNT_DETACH | libc::UMOUNT_NOFOLLOW;
    // SAFETY: `target` is a string that ends in NUL and outlives the call.
    check(unsafe { libc::umount2(target.as_ptr(), flags) })?;
    Ok(())
}

fn mount(
    source: Option<&CStr>,
    target: &Path,
    kind: Option<(&CStr, &CStr)>,
    flags: libc::c_ulong,
) -> io::Result<()> {
    let target = c_path(target)?;
    let source = source.map_or(ptr::null(), CStr::as_ptr);
    let (kind, data) = kind.map_or((ptr::null(), ptr::null()), |(kind, data)| {
        (kind.as_ptr(), data.as_ptr())
    });
    // SAFETY: each pointer is null, which mount(2) takes for what the flags do
    // not need, or a string that ends in NUL and that our caller or the line
    // above keeps alive during the call; the file system types we name read
    // `data` as such a string.
    check(unsafe { libc::mount(source, target.as_ptr(), kind, flags, data.cast()) })?;
    Ok(())
}

fn c_path(path: &Path) -> io::Result<CString> {
    Ok(CString::new(path.as_os_str().as_bytes())?)
}

/// The descriptor that a system call made for us.
fn descriptor(returned: libc::c_long) -> io::Result<OwnedFd> {
    let fd = libc::c_int::try_from(returned).map_err(io::Error::other)?;
    let fd = check(fd)?;
    // SAFETY: both callers pass on what a call returned that makes a
    // descriptor, for us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
