//! One VM as the host sees it.

mod config;
mod connection;
mod elsewhere;
mod firecracker;
mod name;
mod policy;
mod routed;
mod snapshot;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

pub use config::{Commands, GuestConfig, GuestRoute, Unfit};
pub use connection::Connection;
pub use elsewhere::Elsewhere;
pub use name::GuestName;
pub use policy::{Egress, Policy, Rate, Service};
pub use routed::{GATEWAY_MAC, Networks};
pub use snapshot::Snapshot;

use crate::error::Invalid;
use crate::types::{IfName, Mac};

/// A VM that is to be attached: routed over a TAP of its own, unless it is
/// [connected](Self::connection) otherwise.
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
    connection: Connection,
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
            connection: Connection::default(),
            policy: Policy::default(),
        })
    }

    /// The MAC address that the VM's interface has; by default one is made
    /// from the TAP's number. A clone has its snapshot's.
    #[must_use]
    pub fn mac(self, mac: Mac) -> Self {
        Self {
            mac: Some(mac),
            ..self
        }
    }

    /// How it meets the host; [`Connection::Routed`] if not told otherwise.
    #[must_use]
    pub fn connection(self, connection: Connection) -> Self {
        Self { connection, ..self }
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

    /// How it is to meet the host.
    pub fn wanted_connection(&self) -> &Connection {
        &self.connection
    }

    /// The MAC address that was asked for.
    #[cfg(feature = "proxied")]
    pub(crate) fn wanted_mac(&self) -> Option<Mac> {
        self.mac
    }

    /// The MAC address by which the host is to know it, if that does not
    /// follow from the TAP's number.
    ///
    /// # Errors
    /// [`Invalid`] if a clone is to have another than its snapshot's.
    pub(crate) fn fixed_mac(&self) -> Result<Option<Mac>, Invalid> {
        if self.connection.elsewhere().is_some() {
            return self.check_elsewhere().map(|()| None);
        }
        let Some(snapshot) = self.connection.snapshot() else {
            return Ok(self.mac);
        };
        if let Some(other) = self.mac.filter(|mac| *mac != snapshot.mac()) {
            let why = "is not its snapshot's";
            return Err(Invalid::new("MAC address of a clone", other, why));
        }
        Ok(match self.connection {
            Connection::Rewritten(_) => Some(snapshot.mac()),
            _ => None,
        })
    }

    /// One that is attached, as it is wanted by that.
    pub(crate) fn of(attached: &Attachment) -> Self {
        let mac = match attached.connection {
            Connection::Routed => Some(attached.mac),
            _ => None,
        };
        Self {
            name: attached.name.clone(),
            mac,
            tap_owner: None,
            tap_group: None,
            connection: attached.connection.clone(),
            policy: attached.policy.clone(),
        }
    }

    /// The same under another name.
    pub(crate) fn named(self, name: GuestName) -> Self {
        Self { name, ..self }
    }

    /// Makes sure that nothing is wanted of a guest elsewhere that only the
    /// one can do whose link it is.
    fn check_elsewhere(&self) -> Result<(), Invalid> {
        let why = if self.mac.is_some() {
            "is elsewhere, so its MAC address is not given here"
        } else if self.tap_owner.is_some() || self.tap_group.is_some() {
            "is elsewhere, so it has no TAP here"
        } else if self.policy != Policy::default() {
            "is elsewhere, so what it may do is not decided here"
        } else {
            return Ok(());
        };
        Err(Invalid::new("guest", &self.name, why))
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
    pub(crate) connection: Connection,
    pub(crate) policy: Policy,
}

impl Attachment {
    /// The guest's name.
    pub fn name(&self) -> &str {
        self.name.as_str()
    }

    /// The TAP that its VMM opens: single-queue, without vnet header until
    /// the VMM asks for one, persistent. Of a guest
    /// [elsewhere](Connection::Elsewhere) a name that no link bears.
    pub fn tap(&self) -> IfName {
        self.tap
    }

    /// The network namespace in which its TAP is, if that is its own, by the
    /// name under which `ip netns` knows it.
    pub fn namespace(&self) -> Option<&str> {
        match &self.connection {
            Connection::Namespaced(_) => Some(self.tap.as_str()),
            _ => None,
        }
    }

    /// The path of that namespace, as Firecracker's jailer takes it by
    /// `--netns`.
    pub fn namespace_path(&self) -> Option<PathBuf> {
        Some(Path::new("/run/netns").join(self.namespace()?))
    }

    /// The MAC address that the guest's interface must have; of a guest
    /// elsewhere, whose MAC is not this crate's affair, one that nobody has.
    pub fn mac(&self) -> Mac {
        self.mac
    }

    /// The guest's IPv4 address; `0.0.0.0` for a guest elsewhere without one.
    pub fn ipv4(&self) -> Ipv4Addr {
        self.ipv4
    }

    /// The guest's IPv4 gateway: the TAP's own address. Of a guest elsewhere
    /// not known, so `0.0.0.0`.
    pub fn gateway_ipv4(&self) -> Ipv4Addr {
        self.gateway_ipv4
    }

    /// The prefix length of the guest's IPv4 network, 30.
    pub fn prefix_ipv4(&self) -> u8 {
        routed::PREFIX_IPV4
    }

    /// The guest's IPv6 address; `::` for a guest elsewhere without one.
    pub fn ipv6(&self) -> Ipv6Addr {
        self.ipv6
    }

    /// The guest's IPv6 gateway: the TAP's own address. Of a guest elsewhere
    /// not known, so `::`.
    pub fn gateway_ipv6(&self) -> Ipv6Addr {
        self.gateway_ipv6
    }

    /// How the guest meets the host. A clone believes in its snapshot's
    /// addresses; all others here are the host's view of it.
    pub fn connection(&self) -> &Connection {
        &self.connection
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

    /// The addresses that the guest has itself, in its own eyes.
    pub(crate) fn own_addresses(&self) -> (Ipv4Addr, Option<Ipv6Addr>) {
        match &self.connection {
            Connection::Rewritten(snapshot) => (
                snapshot.ipv4_net().addr(),
                snapshot.ipv6_net().map(|net| net.addr()),
            ),
            Connection::Routed | Connection::Namespaced(_) | Connection::Elsewhere(_) => {
                (self.ipv4, Some(self.ipv6))
            }
        }
    }

    /// The MAC address of the host's end of its wire.
    pub(crate) fn gateway_mac(&self) -> Mac {
        match &self.connection {
            Connection::Rewritten(snapshot) => snapshot.current_gateway_mac(),
            _ => GATEWAY_MAC,
        }
    }

    /// What the alias of its TAP says: all that is needed to know it again.
    pub(crate) fn alias(&self) -> String {
        match &self.connection {
            Connection::Rewritten(snapshot) => format!("{} {REWRITTEN} {snapshot}", self.name),
            Connection::Namespaced(snapshot) => format!("{} {NAMESPACED} {snapshot}", self.name),
            Connection::Routed | Connection::Elsewhere(_) => self.name.to_string(),
        }
    }

    /// The name of the TAP that its VMM opens; for a clone in a namespace that
    /// is in there.
    pub fn vmm_tap(&self) -> IfName {
        match &self.connection {
            Connection::Namespaced(snapshot) => snapshot.tap(),
            _ => self.tap,
        }
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
        self.addresses().any(|own| own == address)
    }

    /// The addresses that it has on the host, one of each family unless it is
    /// elsewhere.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = IpAddr> + use<> {
        let both = [IpAddr::from(self.ipv4), self.ipv6.into()];
        both.into_iter().filter(|address| !address.is_unspecified())
    }

    /// Its address of a family.
    pub(crate) fn address(&self, ipv4: bool) -> Option<IpAddr> {
        self.addresses().find(|address| address.is_ipv4() == ipv4)
    }

    /// Where it is, if its link is somebody else's.
    pub(crate) fn elsewhere(&self) -> Option<&Elsewhere> {
        self.connection.elsewhere()
    }
}

/// Who a TAP with this alias belongs to, and how that guest meets the host.
pub(crate) fn read_alias(alias: &str) -> Option<(GuestName, Connection)> {
    let Some((name, rest)) = alias.split_once(' ') else {
        return Some((GuestName::new(alias).ok()?, Connection::Routed));
    };
    let (how, snapshot) = rest.split_once(' ')?;
    let snapshot = snapshot.parse().ok()?;
    let connection = match how {
        REWRITTEN => Connection::Rewritten(snapshot),
        NAMESPACED => Connection::Namespaced(snapshot),
        _ => return None,
    };
    Some((GuestName::new(name).ok()?, connection))
}

/// What stands between the name and the snapshot in the alias of a TAP.
const REWRITTEN: &str = "rewritten";
const NAMESPACED: &str = "inside";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Owner;

    #[test]
    fn aliases_read_what_they_say_and_fit_the_kernel() {
        let owner = Owner::new("riklet").unwrap();
        let snapshot: Snapshot = "a-name-of-15-by 06:00:ac:10:00:02 \
             172.116.100.112/24 via 172.116.100.111 02:74:77:ff:ff:fe \
             fd00:1111:2222:3333:4444:5555:6666:7777/126 via \
             fd00:1111:2222:3333:4444:5555:6666:7776"
            .parse()
            .unwrap();
        for connection in [
            Connection::Routed,
            Connection::Rewritten(snapshot.clone()),
            Connection::Namespaced(snapshot),
        ] {
            let guest = Guest::new(&"a".repeat(63)).unwrap().connection(connection);
            let attachment = Networks::default().attachment(&owner, &guest, 7).unwrap();
            let alias = attachment.alias();
            // `IFALIASZ` of `linux/if.h`, with its NUL.
            assert!(alias.len() < 256, "{alias}");
            let read = (guest.name().clone(), guest.wanted_connection().clone());
            assert_eq!(read_alias(&alias), Some(read));
        }
        assert_eq!(read_alias("a text"), None);
    }
}
