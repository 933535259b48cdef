//! One VM as the host sees it.

mod name;
mod policy;
mod routed;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub use name::GuestName;
pub use policy::{Egress, Policy, Rate, Service};
pub use routed::{GATEWAY_MAC, Networks};

use crate::error::Invalid;
use crate::types::{IfName, Mac};

/// A VM that is to be attached: routed over a TAP of its own.
///
/// ```
/// use tapwire::{Egress, Guest, GuestName, Rate};
/// let guest = Guest::new("hello-world")?
///     .tap_owner(1000)
///     .peer(&GuestName::new("database")?)
///     .service("udp/53".parse()?)
///     .egress(Egress::none())
///     .rate_to(Rate::new(12_500_000)?);
/// # Ok::<(), tapwire::error::Invalid>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Guest {
    name: GuestName,
    mac: Option<Mac>,
    tap_owner: Option<u32>,
    tap_group: Option<u32>,
    policy: Policy,
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
            policy: Policy::default(),
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

    /// Lets it and this guest reach each other directly, at their own
    /// addresses. That one of the two says so is enough.
    ///
    /// A peer that is not attached takes effect when it is; it ends when
    /// either of them is detached, and is back when both are there again.
    #[must_use]
    pub fn peer(mut self, name: &GuestName) -> Self {
        self.policy.add_peer(name.clone());
        self
    }

    /// Lets it reach this port of the host.
    #[must_use]
    pub fn service(mut self, service: Service) -> Self {
        self.policy.add_service(service);
        self
    }

    /// Has it reach the outside like this, instead of everything behind the
    /// host's address. Connections that may go on keep the address that they
    /// began with.
    #[must_use]
    pub fn egress(mut self, egress: Egress) -> Self {
        self.policy.set_egress(egress);
        self
    }

    /// Drops what it sends above this, whereto ever.
    #[must_use]
    pub fn rate_from(mut self, rate: Rate) -> Self {
        self.policy.set_rate_from(rate);
        self
    }

    /// Drops what it is sent above this, wherefrom ever.
    #[must_use]
    pub fn rate_to(mut self, rate: Rate) -> Self {
        self.policy.set_rate_to(rate);
        self
    }

    /// Its name.
    pub fn name(&self) -> &GuestName {
        &self.name
    }

    /// What it may do besides answering.
    pub fn policy(&self) -> &Policy {
        &self.policy
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
    pub(crate) policy: Policy,
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

    /// What the guest may do besides answering.
    pub fn policy(&self) -> &Policy {
        &self.policy
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

    /// Whether it and `other` reach each other directly: one of them says so.
    pub(crate) fn is_peer_of(&self, other: &Self) -> bool {
        let names = |one: &Self, another: &Self| one.policy.peers().contains(&another.name);
        self.slot != other.slot && (names(self, other) || names(other, self))
    }

    pub(crate) fn with(self, policy: &Policy) -> Self {
        Self {
            policy: policy.clone(),
            ..self
        }
    }

    pub(crate) fn has(&self, address: IpAddr) -> bool {
        address == self.ipv4 || address == self.ipv6
    }
}
