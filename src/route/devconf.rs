//! Per-interface IP settings, the `net.ipv4.conf` and `net.ipv6.conf` of
//! `sysctl(8)`: IPv4 over netlink, IPv6 through `/proc/sys`, for which netlink
//! has no verb but one.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::IfName;
use crate::error::Error;
use crate::sys::{Ipv6Conf, OwnProc};
use crate::wire::uapi::if_link::{
    IFLA_AF_SPEC, IFLA_INET_CONF, IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE,
};
use crate::wire::uapi::ip::{
    IPV4_DEVCONF_ACCEPT_SOURCE_ROUTE, IPV4_DEVCONF_ARP_IGNORE, IPV4_DEVCONF_FORWARDING,
    IPV4_DEVCONF_PROXY_ARP, IPV4_DEVCONF_ROUTE_LOCALNET, IPV4_DEVCONF_RP_FILTER,
};
use crate::wire::{Attr, Attrs, DecodeError, Nest, U32, Writer};

/// An IPv4 setting of one interface (`ip-sysctl.rst` of the kernel's
/// documentation).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Ipv4Setting {
    /// `forwarding`: 1 forwards what comes in by the interface, also while
    /// `net.ipv4.ip_forward` is 0.
    Forwarding,
    /// `rp_filter`: 1 drops what comes from an address that is routed by
    /// another interface, 2 what comes from one without a route. The larger
    /// of this and the setting of `all` counts.
    RpFilter,
    /// `accept_source_route`: 1 lets senders choose the way of their packets
    /// (the options LSRR and SSRR of RFC 791), if that of `all` is 1 as well.
    AcceptSourceRoute,
    /// `proxy_arp`: 1 answers for addresses that are routed by another
    /// interface.
    ProxyArp,
    /// `arp_ignore`: 1 answers only for the interface's own addresses. The
    /// larger of this and the setting of `all` counts.
    ArpIgnore,
    /// `route_localnet`: 1 lets 127.0.0.0/8 in and out.
    RouteLocalnet,
}

impl Ipv4Setting {
    /// In the order in which [`Ipv4Settings`] keeps them.
    const ALL: [Self; 6] = [
        Self::Forwarding,
        Self::RpFilter,
        Self::AcceptSourceRoute,
        Self::ProxyArp,
        Self::ArpIgnore,
        Self::RouteLocalnet,
    ];

    const fn attribute(self) -> Attr<U32> {
        match self {
            Self::Forwarding => IPV4_DEVCONF_FORWARDING,
            Self::RpFilter => IPV4_DEVCONF_RP_FILTER,
            Self::AcceptSourceRoute => IPV4_DEVCONF_ACCEPT_SOURCE_ROUTE,
            Self::ProxyArp => IPV4_DEVCONF_PROXY_ARP,
            Self::ArpIgnore => IPV4_DEVCONF_ARP_IGNORE,
            Self::RouteLocalnet => IPV4_DEVCONF_ROUTE_LOCALNET,
        }
    }
}

/// The IPv4 settings of an interface as the kernel reports them with the
/// link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct Ipv4Settings([Option<u32>; Ipv4Setting::ALL.len()]);

impl Ipv4Settings {
    /// One of them; `None` if the interface has no IPv4.
    pub(super) fn get(&self, setting: Ipv4Setting) -> Option<u32> {
        let place = Ipv4Setting::ALL.iter().position(|&one| one == setting)?;
        self.0.get(place).copied().flatten()
    }

    /// Reads `IFLA_AF_SPEC` of a link: per family an attribute, in that of
    /// IPv4 the settings as an array that begins with number 1.
    pub(super) fn decode(families: Attrs<'_>) -> Result<Self, DecodeError> {
        let Some(ipv4) = families.find(FAMILY_IPV4)? else {
            return Ok(Self::default());
        };
        let Some(array) = ipv4.find(IFLA_INET_CONF)? else {
            return Ok(Self::default());
        };
        Ok(Self(Ipv4Setting::ALL.map(|setting| {
            let place = usize::from(setting.attribute().kind()).checked_sub(1)?;
            let bytes = array.chunks_exact(4).nth(place)?;
            Some(u32::from_ne_bytes(bytes.try_into().ok()?))
        })))
    }
}

/// The settings as a link's `RTM_SETLINK` has them. `makes_no_ipv6` is the one
/// IPv6 setting that netlink has a verb for.
pub(super) fn encode(ipv4: &[(Ipv4Setting, u32)], makes_no_ipv6: bool, out: &mut Writer<'_>) {
    if ipv4.is_empty() && !makes_no_ipv6 {
        return;
    }
    out.nest(IFLA_AF_SPEC, |out| {
        if !ipv4.is_empty() {
            out.nest(FAMILY_IPV4, |out| {
                out.nest(Attr::new(IFLA_INET_CONF.kind()), |out| {
                    for (setting, value) in ipv4 {
                        out.put(setting.attribute(), *value);
                    }
                });
            });
        }
        if makes_no_ipv6 {
            out.nest(FAMILY_IPV6, |out| {
                out.put(IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE);
            });
        }
    });
}

/// An IPv6 setting of one interface (`ip-sysctl.rst` of the kernel's
/// documentation).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Ipv6Setting {
    /// `forwarding`: 1 makes it a router's interface: router advertisements
    /// are no longer accepted unless [`AcceptRa`](Self::AcceptRa) is 2, and
    /// addresses and routes from earlier ones go. Whether packets are
    /// forwarded is said by the setting of `all`.
    Forwarding,
    /// `force_forwarding`: 1 forwards what comes in by the interface, also
    /// while `forwarding` of `all` is 0. Linux 6.17 and later.
    ForceForwarding,
    /// `accept_ra`: 0 never, 1 unless forwarding, 2 also when forwarding.
    AcceptRa,
    /// `disable_ipv6`: 1 takes IPv6 away, and its addresses with it.
    DisableIpv6,
    /// `accept_dad`: 0 skips duplicate address detection.
    AcceptDad,
    /// `addr_gen_mode`: 1 makes no link-local address.
    AddrGenMode,
}

impl Ipv6Setting {
    const fn key(self) -> &'static str {
        match self {
            Self::Forwarding => "net.ipv6.conf.*.forwarding",
            Self::ForceForwarding => "net.ipv6.conf.*.force_forwarding",
            Self::AcceptRa => "net.ipv6.conf.*.accept_ra",
            Self::DisableIpv6 => "net.ipv6.conf.*.disable_ipv6",
            Self::AcceptDad => "net.ipv6.conf.*.accept_dad",
            Self::AddrGenMode => "net.ipv6.conf.*.addr_gen_mode",
        }
    }

    /// From `/proc/sys/net/ipv6/conf`.
    fn path(self, interface: IfName) -> PathBuf {
        let file = self.key().rsplit('.').next();
        Path::new(interface.as_str()).join(file.unwrap_or_default())
    }

    /// A missing file is a missing interface, unless its neighbours are there,
    /// or no interface is: the kernel was told `ipv6.disable=1`.
    fn explain(
        self,
        conf: &impl Ipv6Conf,
        interface: IfName,
        call: &'static str,
        source: io::Error,
    ) -> Error {
        if source.kind() != io::ErrorKind::NotFound {
            let path = Path::new(CONF).join(self.path(interface));
            return Error::system(call, path.display(), source);
        }
        if conf.has(Path::new(interface.as_str())) || !conf.has(Path::new(".")) {
            return Error::Unsupported {
                feature: self.key(),
            };
        }
        Error::Absent {
            kind: "interface with IPv6",
            name: interface.as_str().into(),
        }
    }
}

/// Reads an IPv6 setting of an interface of the calling thread's network
/// namespace. `all` and `default` are taken for interfaces, as in `sysctl(8)`.
///
/// # Errors
/// [`Error::Absent`] if there is no such interface, or it has no IPv6;
/// [`Error::Unsupported`] if the kernel lacks the setting, or has no IPv6 at
/// all; [`Error::System`]
/// if `/proc/sys` cannot be read.
pub fn ipv6_setting(interface: IfName, setting: Ipv6Setting) -> Result<i32, Error> {
    read_number(&Path::new(CONF).join(setting.path(interface)))
        .map_err(|source| setting.explain(&OwnProc::default(), interface, "read", source))
}

/// The number that a file holds, which the kernel tells in one piece.
fn read_number(path: &Path) -> io::Result<i32> {
    let mut text = [0; 16];
    let length = fs::File::open(path)?.read(&mut text)?;
    let text = text.get(..length).unwrap_or_default();
    let text = str::from_utf8(text).map_err(io::Error::other)?;
    text.trim().parse().map_err(io::Error::other)
}

/// Changes an IPv6 setting of an interface of the calling thread's network
/// namespace.
///
/// # Errors
/// As [`ipv6_setting`]; [`Error::System`] also if the kernel refuses the
/// value (`EINVAL`), or `/proc/sys` is mounted read-only (`EROFS`).
pub fn set_ipv6_setting(interface: IfName, setting: Ipv6Setting, value: i32) -> Result<(), Error> {
    set_ipv6_setting_by(&OwnProc::default(), interface, setting, value)
}

/// The same in the network namespace of these settings.
pub(crate) fn set_ipv6_setting_by(
    conf: &impl Ipv6Conf,
    interface: IfName,
    setting: Ipv6Setting,
    value: i32,
) -> Result<(), Error> {
    conf.open(&setting.path(interface))
        .and_then(|mut file| io::Write::write_all(&mut file, value.to_string().as_bytes()))
        .map_err(|source| setting.explain(conf, interface, "write", source))
}

const CONF: &str = "/proc/sys/net/ipv6/conf";

/// `AF_INET` and `AF_INET6` as the numbers of attributes of `IFLA_AF_SPEC`.
const FAMILY_IPV4: Attr<Nest> = Attr::new(2);
const FAMILY_IPV6: Attr<Nest> = Attr::new(10);
