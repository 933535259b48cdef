//! The rules of legacy iptables as the kernel keeps them: `getsockopt` with
//! `IPT_SO_GET_*` of `linux/netfilter_ipv4/ip_tables.h`.
//!
//! Bytes only; asking for a table that is not in use would create it, so
//! [`legacy_tables`] comes first.

use std::ffi::c_int;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use super::check;
use crate::error::Error;

/// A table of legacy iptables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LegacyTable {
    hooks: u32,
    starts: [u32; 5],
    policies: [u32; 5],
    entries: Vec<u8>,
}

impl LegacyTable {
    /// Where the chain of hook number `hook` (`NF_INET_*`) begins in the
    /// entries, and where its policy lies, in bytes; `None` if the table has
    /// no such chain.
    pub fn chain(&self, hook: u32) -> Option<(usize, usize)> {
        let place = usize::try_from(hook).ok()?;
        let has = self.hooks.checked_shr(hook)? & 1 == 1;
        let start = usize::try_from(*self.starts.get(place)?).ok()?;
        let policy = usize::try_from(*self.policies.get(place)?).ok()?;
        has.then_some((start, policy))
    }

    /// The rules of all chains, one behind the other: `struct ipt_entry`, of
    /// IPv6 `struct ip6t_entry`, each followed by its matches and its target.
    pub fn entries(&self) -> &[u8] {
        &self.entries
    }
}

/// The tables of legacy iptables that are in use in the calling thread's
/// network namespace; none if the kernel has no legacy iptables.
///
/// # Errors
/// [`Error::System`] if `/proc` cannot be read (`EACCES` without root's
/// rights).
pub fn legacy_tables(ipv6: bool) -> Result<Vec<String>, Error> {
    let path = if ipv6 {
        "/proc/thread-self/net/ip6_tables_names"
    } else {
        "/proc/thread-self/net/ip_tables_names"
    };
    match fs::read_to_string(path) {
        Ok(names) => Ok(names.lines().map(str::to_owned).collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(Error::system("read", path, error)),
    }
}

/// Reads a table of legacy iptables in the calling thread's network
/// namespace.
///
/// # Errors
/// [`Error::System`]; `EPERM` without `CAP_NET_ADMIN`, `ENOPROTOOPT` if the
/// kernel has no legacy iptables, `EAGAIN` if the table kept changing.
pub fn legacy_table(ipv6: bool, name: &str) -> Result<LegacyTable, Error> {
    read(ipv6, name).map_err(|source| Error::system("getsockopt IPT_SO_GET_ENTRIES", name, source))
}

fn read(ipv6: bool, name: &str) -> io::Result<LegacyTable> {
    let mut field = [0; 32];
    // The kernel wants a NUL behind the name.
    let place = field.get_mut(..name.len()).filter(|_| name.len() < 32);
    let place = place.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    place.copy_from_slice(name.as_bytes());
    let socket = socket(ipv6)?;
    for _ in 0..ATTEMPTS {
        let info = info(&socket, ipv6, field)?;
        match entries(&socket, ipv6, field, info.size) {
            // It has changed since its size was asked for.
            Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => {}
            Err(error) => return Err(error),
            Ok(entries) => {
                return Ok(LegacyTable {
                    hooks: info.valid_hooks,
                    starts: info.hook_entry,
                    policies: info.underflow,
                    entries,
                });
            }
        }
    }
    Err(io::Error::from_raw_os_error(libc::EAGAIN))
}

fn socket(ipv6: bool) -> io::Result<OwnedFd> {
    let family = if ipv6 { libc::AF_INET6 } else { libc::AF_INET };
    // SAFETY: takes numbers only.
    let fd = check(unsafe { libc::socket(family, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) })?;
    // SAFETY: the call before has just opened `fd`, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Asks for the sizes and the places of the chains.
fn info(socket: &OwnedFd, ipv6: bool, name: [u8; 32]) -> io::Result<GetInfo> {
    let mut info = GetInfo {
        name,
        ..GetInfo::default()
    };
    let mut length = length_of(size_of::<GetInfo>())?;
    // SAFETY: the option reads the name at the start of a `struct
    // ipt_getinfo` and writes one back; `GetInfo` has its layout, `length` its
    // size, and both outlive the call.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            level(ipv6),
            IPT_SO_GET_INFO,
            (&raw mut info).cast(),
            &raw mut length,
        )
    };
    check(result)?;
    Ok(info)
}

/// Asks for the entries, which have `size` bytes.
fn entries(socket: &OwnedFd, ipv6: bool, name: [u8; 32], size: u32) -> io::Result<Vec<u8>> {
    let header = size_of::<GetEntries>();
    let body = usize::try_from(size).map_err(io::Error::other)?;
    let mut buffer = Vec::with_capacity(header.saturating_add(body));
    buffer.extend_from_slice(&name);
    buffer.extend_from_slice(&size.to_ne_bytes());
    buffer.resize(header.saturating_add(body), 0);
    let mut length = length_of(buffer.len())?;
    // SAFETY: the option reads and writes a `struct ipt_get_entries` with
    // `size` bytes of entries behind it, `length` bytes in all; the buffer
    // holds that many, is initialised and borrowed for the call, and the
    // kernel checks that both sizes agree (it copies bytes, no alignment is
    // needed).
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            level(ipv6),
            IPT_SO_GET_ENTRIES,
            buffer.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    check(result)?;
    Ok(buffer.split_off(header))
}

fn level(ipv6: bool) -> c_int {
    if ipv6 { libc::SOL_IPV6 } else { libc::SOL_IP }
}

fn length_of(size: usize) -> io::Result<libc::socklen_t> {
    libc::socklen_t::try_from(size).map_err(io::Error::other)
}

/// `struct ipt_getinfo`; that of IPv6 is the same.
#[derive(Default)]
#[repr(C)]
struct GetInfo {
    name: [u8; 32],
    valid_hooks: u32,
    hook_entry: [u32; 5],
    underflow: [u32; 5],
    entry_count: u32,
    size: u32,
}

/// `struct ipt_get_entries` without its entries, which hold 64-bit numbers.
#[repr(C)]
struct GetEntries {
    name: [u8; 32],
    size: u32,
    entries: [u64; 0],
}

/// A table is read so many times while it keeps changing.
const ATTEMPTS: u32 = 32;

/// Of `linux/netfilter_ipv4/ip_tables.h`; the numbers of IPv6 are the same.
const IPT_SO_GET_INFO: c_int = 64;
const IPT_SO_GET_ENTRIES: c_int = 65;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::uapi::{ip6_tables, xtables};

    #[test]
    fn options_have_the_kernels_numbers_in_both_families() {
        assert_eq!(IPT_SO_GET_INFO, xtables::IPT_SO_GET_INFO);
        assert_eq!(IPT_SO_GET_INFO, ip6_tables::IP6T_SO_GET_INFO);
        assert_eq!(IPT_SO_GET_ENTRIES, xtables::IPT_SO_GET_ENTRIES);
        assert_eq!(IPT_SO_GET_ENTRIES, ip6_tables::IP6T_SO_GET_ENTRIES);
        assert_eq!(size_of::<GetInfo>(), 84);
        assert_eq!(size_of::<GetEntries>(), 40);
    }
}
