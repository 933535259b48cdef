//! The `ioctl(2)` requests of this room, each with the argument it takes.
//!
//! A [`Call`] carries the type of its argument, so a request cannot be given
//! the wrong one. Sources: `linux/if_tun.h`, `linux/sockios.h`,
//! `linux/ethtool.h`; the tests below compare the numbers.

use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use super::check;
use crate::types::IfName;

/// A request and its name in the manual pages.
#[derive(Debug)]
pub(super) struct Call<A> {
    number: libc::Ioctl,
    name: &'static str,
    argument: PhantomData<fn(A)>,
}

/// The request reads, and may write, a `struct ifreq`.
pub(super) const TUNSETIFF: Call<IfRequest> = Call::new("ioctl TUNSETIFF", libc::TUNSETIFF);
pub(super) const TUNGETIFF: Call<IfRequest> = Call::new("ioctl TUNGETIFF", libc::TUNGETIFF);
pub(super) const GET_INDEX: Call<IfRequest> = Call::new("ioctl SIOCGIFINDEX", SIOCGIFINDEX);
pub(super) const GET_MTU: Call<IfRequest> = Call::new("ioctl SIOCGIFMTU", SIOCGIFMTU);
pub(super) const SET_MTU: Call<IfRequest> = Call::new("ioctl SIOCSIFMTU", SIOCSIFMTU);
pub(super) const GET_MAC: Call<IfRequest> = Call::new("ioctl SIOCGIFHWADDR", SIOCGIFHWADDR);
pub(super) const SET_MAC: Call<IfRequest> = Call::new("ioctl SIOCSIFHWADDR", SIOCSIFHWADDR);

/// The request reads or writes a 32-bit integer.
pub(super) const TUNGETFEATURES: Call<u32> =
    Call::new("ioctl TUNGETFEATURES", libc::TUNGETFEATURES);
pub(super) const TUNSETIFINDEX: Call<u32> = Call::new("ioctl TUNSETIFINDEX", libc::TUNSETIFINDEX);
pub(super) const TUNGETVNETHDRSZ: Call<u32> =
    Call::new("ioctl TUNGETVNETHDRSZ", libc::TUNGETVNETHDRSZ);
pub(super) const TUNSETVNETHDRSZ: Call<u32> =
    Call::new("ioctl TUNSETVNETHDRSZ", libc::TUNSETVNETHDRSZ);
pub(super) const TUNSETCARRIER: Call<u32> = Call::new("ioctl TUNSETCARRIER", libc::TUNSETCARRIER);

/// The request takes its argument by value.
pub(super) const TUNSETPERSIST: Call<ByValue> =
    Call::new("ioctl TUNSETPERSIST", libc::TUNSETPERSIST);
pub(super) const TUNSETOFFLOAD: Call<ByValue> =
    Call::new("ioctl TUNSETOFFLOAD", libc::TUNSETOFFLOAD);
pub(super) const TUNSETOWNER: Call<ByValue> = Call::new("ioctl TUNSETOWNER", libc::TUNSETOWNER);
pub(super) const TUNSETGROUP: Call<ByValue> = Call::new("ioctl TUNSETGROUP", libc::TUNSETGROUP);

/// The request takes nothing and returns a new descriptor.
pub(super) const TUNGETDEVNETNS: Call<OwnedFd> =
    Call::new("ioctl TUNGETDEVNETNS", libc::TUNGETDEVNETNS);

impl<A> Call<A> {
    const fn new(name: &'static str, number: libc::Ioctl) -> Self {
        Self {
            number,
            name,
            argument: PhantomData,
        }
    }

    /// The call as an error names it.
    pub(super) fn name(&self) -> &'static str {
        self.name
    }
}

impl Call<IfRequest> {
    pub(super) fn run(&self, fd: impl AsFd, argument: &mut IfRequest) -> io::Result<()> {
        let fd = fd.as_fd().as_raw_fd();
        // SAFETY: a `Call<IfRequest>` reads and writes one `struct ifreq`
        // (or less: `TUNSETIFF` 32 bytes of it) and keeps no pointer; the
        // assertion below says that ours is as large, and it is borrowed for
        // the call.
        check(unsafe { libc::ioctl(fd, self.number, std::ptr::from_mut(argument)) })?;
        Ok(())
    }
}

impl Call<u32> {
    pub(super) fn run(&self, fd: impl AsFd, argument: &mut u32) -> io::Result<()> {
        let fd = fd.as_fd().as_raw_fd();
        // SAFETY: a `Call<u32>` reads or writes one 32-bit integer and keeps
        // no pointer; ours is borrowed for the call.
        check(unsafe { libc::ioctl(fd, self.number, std::ptr::from_mut(argument)) })?;
        Ok(())
    }
}

impl Call<ByValue> {
    pub(super) fn run(&self, fd: impl AsFd, argument: u32) -> io::Result<()> {
        let fd = fd.as_fd().as_raw_fd();
        // The kernel takes a register's width; the upper half of a 64-bit
        // one must not be left to chance.
        let argument = libc::c_ulong::from(argument);
        // SAFETY: a `Call<ByValue>` takes the argument as a number and
        // touches no memory of ours.
        check(unsafe { libc::ioctl(fd, self.number, argument) })?;
        Ok(())
    }
}

impl Call<OwnedFd> {
    pub(super) fn run(&self, fd: impl AsFd) -> io::Result<OwnedFd> {
        let fd = fd.as_fd().as_raw_fd();
        // SAFETY: a `Call<OwnedFd>` ignores its argument and touches no
        // memory of ours.
        let new = check(unsafe { libc::ioctl(fd, self.number, 0) })?;
        // SAFETY: the call succeeded, so `new` is a descriptor that the
        // kernel has just opened for us (close-on-exec) and nobody else has.
        Ok(unsafe { OwnedFd::from_raw_fd(new) })
    }
}

/// The status flags of a descriptor (`O_NONBLOCK` and others, open(2)).
pub(super) fn status_flags(fd: impl AsFd) -> io::Result<i32> {
    let fd = fd.as_fd().as_raw_fd();
    // SAFETY: `F_GETFL` takes no argument and touches no memory of ours.
    check(unsafe { libc::fcntl(fd, libc::F_GETFL) })
}

/// Marks a request that takes a number and no pointer.
#[derive(Debug)]
pub(super) enum ByValue {}

/// A `struct ifreq` of `linux/if.h`: an interface name and one value.
#[repr(C, align(8))]
#[derive(Debug, Clone, Copy)]
pub(super) struct IfRequest {
    name: [u8; libc::IFNAMSIZ],
    value: [u8; 24],
}

const _: () = assert!(size_of::<IfRequest>() >= size_of::<libc::ifreq>());

impl IfRequest {
    /// A request about `name` with a value of zeros.
    pub(super) fn new(name: IfName) -> Self {
        Self {
            name: *name.as_bytes(),
            value: [0; 24],
        }
    }

    /// A request about no name, for calls that fill it in.
    pub(super) fn empty() -> Self {
        Self {
            name: [0; libc::IFNAMSIZ],
            value: [0; 24],
        }
    }

    /// Puts `bytes` into the value, `OFFSET` bytes from its start.
    pub(super) fn with<const OFFSET: usize, const N: usize>(mut self, bytes: [u8; N]) -> Self {
        const { assert!(OFFSET + N <= 24) };
        for (place, byte) in self.value.iter_mut().skip(OFFSET).zip(bytes) {
            *place = byte;
        }
        self
    }

    /// The name up to its NUL; what is not UTF-8 is replaced.
    pub(super) fn name(&self) -> String {
        text(&self.name)
    }

    /// Bytes of the value, from `OFFSET` bytes after its start.
    pub(super) fn value<const OFFSET: usize, const N: usize>(&self) -> [u8; N] {
        const { assert!(OFFSET + N <= 24) };
        let mut bytes = [0; N];
        for (byte, place) in bytes
            .iter_mut()
            .zip(self.value.iter().copied().skip(OFFSET))
        {
            *byte = place;
        }
        bytes
    }
}

/// Which driver drives an interface, as `ethtool -i` shows it.
pub(super) struct DriverInfo {
    /// The driver: `tun`, `veth`, `bridge`.
    pub(super) driver: String,
    /// The device on its bus; for the `tun` driver `tun` or `tap`.
    pub(super) bus: String,
}

impl DriverInfo {
    /// The call as an error names it.
    pub(super) const CALL: &'static str = "ioctl SIOCETHTOOL";

    /// Asks about the interface `name` of the socket's network namespace.
    pub(super) fn read(socket: impl AsFd, name: IfName) -> io::Result<Self> {
        let fd = socket.as_fd().as_raw_fd();
        let mut info = RawDriverInfo {
            command: ETHTOOL_GDRVINFO,
            driver: [0; 32],
            version: [0; 32],
            firmware: [0; 32],
            bus: [0; 32],
            rest: [0; 64],
        };
        let mut request = EthtoolRequest {
            name: *name.as_bytes(),
            data: &raw mut info,
            rest: [0; 2],
        };
        // SAFETY: `SIOCETHTOOL` reads one `struct ifreq`, as large as
        // `request` by the assertion below, and follows its `ifr_data`, which
        // points at `info`: a `struct ethtool_drvinfo` by the other assertion,
        // as the command in its first word says. Both outlive the call.
        check(unsafe { libc::ioctl(fd, SIOCETHTOOL, &raw mut request) })?;
        Ok(Self {
            driver: text(&info.driver),
            bus: text(&info.bus),
        })
    }
}

/// `struct ethtool_drvinfo` of `linux/ethtool.h`.
#[repr(C)]
struct RawDriverInfo {
    command: u32,
    driver: [u8; 32],
    version: [u8; 32],
    firmware: [u8; 32],
    bus: [u8; 32],
    rest: [u8; 64],
}

/// A `struct ifreq` whose value is the pointer `ifr_data`.
#[repr(C)]
struct EthtoolRequest {
    name: [u8; libc::IFNAMSIZ],
    data: *mut RawDriverInfo,
    rest: [u64; 2],
}

const _: () = assert!(size_of::<RawDriverInfo>() == 196);
const _: () = assert!(size_of::<EthtoolRequest>() >= size_of::<libc::ifreq>());

/// The text of a field up to its NUL.
fn text(field: &[u8]) -> String {
    let text = field.split(|byte| *byte == 0).next();
    String::from_utf8_lossy(text.unwrap_or_default()).into_owned()
}

// libc types these `c_ulong` on every target, `ioctl` takes a `c_int` on musl.
const SIOCGIFMTU: libc::Ioctl = 0x8921;
const SIOCSIFMTU: libc::Ioctl = 0x8922;
const SIOCSIFHWADDR: libc::Ioctl = 0x8924;
const SIOCGIFHWADDR: libc::Ioctl = 0x8927;
const SIOCGIFINDEX: libc::Ioctl = 0x8933;
const SIOCETHTOOL: libc::Ioctl = 0x8946;
const ETHTOOL_GDRVINFO: u32 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_headers() {
        for (ours, theirs) in [
            (SIOCGIFMTU, libc::SIOCGIFMTU),
            (SIOCSIFMTU, libc::SIOCSIFMTU),
            (SIOCSIFHWADDR, libc::SIOCSIFHWADDR),
            (SIOCGIFHWADDR, libc::SIOCGIFHWADDR),
            (SIOCGIFINDEX, libc::SIOCGIFINDEX),
            (SIOCETHTOOL, libc::SIOCETHTOOL),
        ] {
            assert_eq!(i128::from(ours), i128::from(theirs));
        }
    }

    #[test]
    fn value_is_kept_at_its_offset() {
        let request = IfRequest::empty().with::<2, 3>([1, 2, 3]);
        assert_eq!(request.value::<0, 6>(), [0, 0, 1, 2, 3, 0]);
        assert_eq!(request.value::<2, 3>(), [1, 2, 3]);
    }

    #[test]
    fn name_ends_at_its_nul() {
        let name = IfName::new("abcdefghijklmno").unwrap();
        assert_eq!(IfRequest::new(name).name(), "abcdefghijklmno");
        assert_eq!(IfRequest::empty().name(), "");
    }
}
