//! One VM as the host sees it.

mod name;
mod routed;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub use name::GuestName;
pub use routed::{GATEWAY_MAC, Networks};

use crate::error::Invalid;
use crate::types::{IfName, Mac};

/// A VM that is to be attached: routed over a TAP of its own.
///
/// ```
/// use tapwire::Guest;
/// let guest = Guest::new("hello-world")?.tap_owner(1000);
/// # Ok::<(), tapwire::error::Invalid>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Guest {
    name: GuestName,
    mac: Option<Mac>,
    tap_owner: Option<u32>,
    tap_group: Option<u32>,
}

impl Guest {
    /// A VM of this name.
    ///
    /// # Errors
    /// [`Invalid`] if it is no [`GuestName`].
    pub fn new(name: &str) -> Result<Self, Invalid> {
        Ok(Self {
            name: GuestName::new(name)?,
            mac: None,
            tap_owner: None,
            tap_group: None,
        })
    }

    /// The MAC address that the VM's interface has; by default one is made
    /// from the TAP's number.
    #[must_use]
    pub fn mac(self, mac: Mac) -> Self {
        Self {
            mac: Some(mac),
            ..self
        }
    }

    /// The user who may open the TAP without `CAP_NET_ADMIN`.
    #[must_use]
    pub fn tap_owner(self, uid: u32) -> Self {
        Self {
            tap_owner: Some(uid),
            ..self
        }
    }

    /// The group that may open the TAP without `CAP_NET_ADMIN`.
    #[must_use]
    pub fn tap_group(self, gid: u32) -> Self {
        Self {
            tap_group: Some(gid),
            ..self
        }
    }

    /// Its name.
    pub fn name(&self) -> &GuestName {
        &self.name
    }

    pub(crate) fn wanted_mac(&self) -> Option<Mac> {
        self.mac
    }

    pub(crate) fn wanted_owner(&self) -> Option<u32> {
        self.tap_owner
    }

    pub(crate) fn wanted_group(&self) -> Option<u32> {
        self.tap_group
    }
}

/// A guest as it is attached: what its VMM and the guest itself need.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Attachment {
    pub(crate) name: GuestName,
    pub(crate) slot: u32,
    pub(crate) tap: IfName,
    pub(crate) mac: Mac,
    pub(crate) ipv4: Ipv4Addr,
    pub(crate) gateway_ipv4: Ipv4Addr,
    pub(crate) ipv6: Ipv6Addr,
    pub(crate) gateway_ipv6: Ipv6Addr,
}

impl Attachment {
    /// The guest's name.
    pub fn name(&self) -> &str {
        self.name.as_str()
    }

    /// The TAP that its VMM opens: single-queue, without vnet header until
    /// the VMM asks for one, persistent.
    pub fn tap(&self) -> IfName {
        self.tap
    }

    /// The MAC address that the guest's interface must have.
    pub fn mac(&self) -> Mac {
        self.mac
    }

    /// The guest's IPv4 address.
    pub fn ipv4(&self) -> Ipv4Addr {
        self.ipv4
    }

    /// The guest's IPv4 gateway: the TAP's own address.
    pub fn gateway_ipv4(&self) -> Ipv4Addr {
        self.gateway_ipv4
    }

    /// The prefix length of the guest's IPv4 network, 30.
    pub fn prefix_ipv4(&self) -> u8 {
        routed::PREFIX_IPV4
    }

    /// The guest's IPv6 address.
    pub fn ipv6(&self) -> Ipv6Addr {
        self.ipv6
    }

    /// The guest's IPv6 gateway: the TAP's own address.
    pub fn gateway_ipv6(&self) -> Ipv6Addr {
        self.gateway_ipv6
    }

    /// The prefix length of the guest's IPv6 network, 126.
    pub fn prefix_ipv6(&self) -> u8 {
        routed::PREFIX_IPV6
    }

    /// The argument that has a Linux guest's kernel configure `eth0` for
    /// IPv4 at boot (`Documentation/admin-guide/nfs/nfsroot.rst`).
    pub fn boot_argument(&self) -> String {
        format!(
            "ip={}::{}:255.255.255.252::eth0:off",
            self.ipv4, self.gateway_ipv4
        )
    }

    pub(crate) fn has(&self, address: IpAddr) -> bool {
        address == self.ipv4 || address == self.ipv6
    }
}
