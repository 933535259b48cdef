//! A port of the host leads to a port of a guest.

mod label;
mod mapping;
mod notation;
mod ports;
mod target;

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;

use ipnet::IpNet;

pub use label::Label;
pub(crate) use mapping::{Key, Mapping};
pub use ports::Ports;
pub use target::{Balance, Destination, Target};

use crate::error::Invalid;
pub use crate::protocol::Protocol;

/// A port of the host, or several in a row, that lead to a guest: on all
/// addresses of the host or on some, for everyone or for some.
///
/// A [`Target`] that is an address decides the family: packets to the host's
/// addresses of that family are led there. One that is a guest's name stands
/// for both of its addresses, and IPv4 and IPv6 are led there alike.
///
/// All addresses of the host are those that others can reach: the host's
/// loopback addresses are its own, but for an exposure on the very address
/// (`127.0.0.1`), which serves processes on the host only.
///
/// Written plainly:
///
/// ```
/// use tapwire::{Exposure, Protocol};
/// let web = Exposure::new(Protocol::Tcp, 8080, "198.18.0.2:80".parse::<std::net::SocketAddr>()?)?;
/// assert_eq!(web.to_string(), "tcp/8080->198.18.0.2:80");
/// for text in [
///     "tcp/8080->hello-world:80",
///     "udp/203.0.113.1:53->198.18.0.2:53",
///     "udp/203.0.113.1,[2001:db8::1]:8000-8100->hello-world:9000-9100",
///     "tcp/443->one:8443,two:8443 by source from 192.0.2.0/24,2001:db8::/32 limit 100 label the shop",
/// ] {
///     assert_eq!(text.parse::<Exposure>()?.to_string(), text);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Exposure {
    protocol: Protocol,
    /// None are all.
    host_addresses: Vec<IpAddr>,
    host_ports: Ports,
    /// One at least, all by name or all by an address of one family.
    targets: Vec<Target>,
    balance: Balance,
    /// None is everyone.
    allowed: Vec<IpNet>,
    limit: Option<NonZeroU32>,
    label: Option<Label>,
}

impl Exposure {
    /// Leads `host_port` of every host address to `guest`.
    ///
    /// # Errors
    /// [`Invalid`] for port 0 and for a guest address that is no unicast
    /// address of another host.
    pub fn new(
        protocol: Protocol,
        host_port: u16,
        guest: impl Into<Target>,
    ) -> Result<Self, Invalid> {
        let guest = guest.into();
        guest.check()?;
        ports::port("guest port", guest.port())?;
        Ok(Self {
            protocol,
            host_addresses: Vec::new(),
            host_ports: ports::port("host port", host_port)?.into(),
            targets: vec![guest],
            balance: Balance::default(),
            allowed: Vec::new(),
            limit: None,
            label: None,
        })
    }

    /// Leads the ports up to `last` as well, each to the guest's port that is
    /// as far behind the guest's first.
    ///
    /// # Errors
    /// [`Invalid`] if `last` comes before the first, if the guest's ports
    /// would pass 65535, or with several guests.
    pub fn through(self, last: u16) -> Result<Self, Invalid> {
        let host_ports = Ports::new(self.host_ports.first(), last)?;
        if self.targets.len() > 1 {
            let why = "are led to one guest only";
            return Err(Invalid::new("several ports", host_ports, why));
        }
        let widened = Self { host_ports, ..self };
        for target in &widened.targets {
            widened.guest_ports(target)?;
        }
        Ok(widened)
    }

    /// Narrows it down to one address of the host, or to several if called
    /// again; the unspecified address (`0.0.0.0`, `::`) means all of that
    /// family, and with a guest's name for a target, all of both.
    ///
    /// # Errors
    /// [`Invalid`] for an address of another family than the target's (the
    /// kernel translates between addresses of one family only) and for `::1`
    /// (it does not translate the answers back), for both of which there is
    /// the `Relay` of the feature `relay`; for a multicast or broadcast
    /// address.
    pub fn on(mut self, host_address: IpAddr) -> Result<Self, Invalid> {
        let invalid = |why| Invalid::new("host address", host_address, why);
        let ipv4 = host_address.is_ipv4();
        if !self.targets.iter().all(|target| target.serves(ipv4)) {
            let why = "is not of the guest address's family (a relay can join the two)";
            return Err(invalid(why));
        }
        if host_address == Ipv6Addr::LOCALHOST {
            let why = "cannot be translated back by the kernel (a relay can serve it)";
            return Err(invalid(why));
        }
        if !is_unicast(host_address) {
            return Err(invalid("is a multicast or broadcast address"));
        }
        if host_address.is_unspecified() {
            self.host_addresses.clear();
        } else if let Err(place) = self.host_addresses.binary_search(&host_address) {
            self.host_addresses.insert(place, host_address);
        }
        Ok(self)
    }

    /// Leads to this guest as well; which one gets a connection is decided by
    /// [`balance`](Self::balance), in 48 shares: each guest gets as many as
    /// the others, or one more.
    ///
    /// # Errors
    /// [`Invalid`] for what [`new`](Self::new) refuses, for a guest that is
    /// one already, for a name beside an address or an address of another
    /// family, for more than [`TARGETS_MAX`] guests, and for several ports.
    pub fn also(mut self, guest: impl Into<Target>) -> Result<Self, Invalid> {
        let guest = guest.into();
        guest.check()?;
        ports::port("guest port", guest.port())?;
        let invalid = |why| Invalid::new("further guest", target::Single(&guest), why);
        let alike = |other: &Target| match (other.guest(), guest.guest()) {
            (Destination::Address(one), Destination::Address(other)) => {
                one.is_ipv4() == other.is_ipv4()
            }
            (Destination::Name(_), Destination::Name(_)) => true,
            _ => false,
        };
        if !self.targets.iter().all(alike) {
            return Err(invalid("is not told as the first one is"));
        }
        if self.targets.contains(&guest) {
            return Err(invalid("is one already"));
        }
        if self.targets.len() >= TARGETS_MAX {
            return Err(invalid("is one too many"));
        }
        if self.host_ports.count() > 1 {
            let why = "are led to one guest only";
            return Err(Invalid::new("several ports", self.host_ports, why));
        }
        self.targets.push(guest);
        Ok(self)
    }

    /// How connections are spread over several guests; to a single one all
    /// go, and this changes nothing.
    #[must_use]
    pub fn balance(self, balance: Balance) -> Self {
        Self { balance, ..self }
    }

    /// Lets only clients of this network connect, or of these if called
    /// again. Others' packets are dropped. That goes for all clients: outside
    /// hosts, guests (with their own addresses), and processes on the host
    /// (with the address that they use).
    #[must_use]
    pub fn allow(self, clients: IpNet) -> Self {
        self.allow_all([clients])
    }

    /// [`allow`](Self::allow) for each of them.
    #[must_use]
    pub(crate) fn allow_all(mut self, clients: impl IntoIterator<Item = IpNet>) -> Self {
        let clients = clients.into_iter().map(|net| net.trunc());
        self.allowed.extend(clients);
        self.allowed = IpNet::aggregate(&self.allowed);
        self.allowed.sort();
        self
    }

    /// Refuses new connections beyond so many at once. They are counted by
    /// host port, and by family and by host address where there are several;
    /// those that began before there was this limit are not counted.
    ///
    /// # Errors
    /// [`Invalid`] for 0.
    pub fn limit(self, connections: u32) -> Result<Self, Invalid> {
        let limit = NonZeroU32::new(connections)
            .ok_or_else(|| Invalid::new("connection limit", connections, "lets nobody in"))?;
        Ok(Self {
            limit: Some(limit),
            ..self
        })
    }

    /// Calls it so.
    #[must_use]
    pub fn labelled(self, label: Label) -> Self {
        Self {
            label: Some(label),
            ..self
        }
    }

    /// The transport protocol.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// The host's addresses, in their order; none are all, in the families
    /// that the targets have.
    pub fn host_addresses(&self) -> &[IpAddr] {
        &self.host_addresses
    }

    /// The host's ports.
    pub fn host_ports(&self) -> Ports {
        self.host_ports
    }

    /// Where it leads.
    pub fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// How connections are spread over several guests.
    pub fn balanced(&self) -> Balance {
        self.balance
    }

    /// The networks whose hosts may connect, in their order and none within
    /// another; none means everyone.
    pub fn allowed(&self) -> &[IpNet] {
        &self.allowed
    }

    /// How many connections may be at once.
    pub fn connection_limit(&self) -> Option<u32> {
        self.limit.map(NonZeroU32::get)
    }

    /// What the caller calls it.
    pub fn label(&self) -> Option<&Label> {
        self.label.as_ref()
    }

    /// Whether packets of this family are led to a guest.
    pub fn serves(&self, ipv4: bool) -> bool {
        let listens = self.host_addresses.is_empty()
            || self
                .host_addresses
                .iter()
                .any(|address| address.is_ipv4() == ipv4);
        listens && self.targets.iter().all(|target| target.serves(ipv4))
    }

    /// The ports of a target, as many as the host's.
    fn guest_ports(&self, target: &Target) -> Result<Ports, Invalid> {
        self.host_ports
            .moved_to(ports::port("guest port", target.port())?)
    }

    /// Its host addresses of a family, `None` standing for all.
    pub(crate) fn addresses_of(&self, ipv4: bool) -> impl Iterator<Item = Option<IpAddr>> {
        let of_family = move |address: &&IpAddr| address.is_ipv4() == ipv4;
        let given = self.host_addresses.iter().filter(of_family).copied();
        let everywhere = self.host_addresses.is_empty();
        given.map(Some).chain(everywhere.then_some(None))
    }

    /// Whether its guests are told by name.
    pub(crate) fn is_by_name(&self) -> bool {
        let first = self.targets.first().map(Target::guest);
        matches!(first, Some(Destination::Name(_)))
    }

    /// Whether the way to its one guest is all that there is to know.
    pub(crate) fn is_plain(&self) -> bool {
        self.targets.len() < 2
            && self.balance == Balance::RoundRobin
            && self.allowed.is_empty()
            && self.limit.is_none()
    }

    /// Whether it has several ports in a family.
    pub(crate) fn has_parts(&self) -> bool {
        self.host_addresses.len() > 1 || self.host_ports.count() > 1
    }

    /// Whether it could be, but for clients and a limit, and is so large that
    /// the kernel is to know its ports as one range. That can be of such as
    /// the guest has as well.
    pub(crate) fn may_be_span(&self) -> bool {
        let [target] = self.targets.as_slice() else {
            return false;
        };
        self.host_ports.count() > EACH_MAX && target.port() == self.host_ports.first()
    }

    /// Whether the kernel is to know its ports as one range.
    pub(crate) fn is_span(&self) -> bool {
        self.may_be_span() && self.is_plain()
    }

    /// Whether there is nothing but the guest to note about either, and the guest
    /// was told alike.
    pub(crate) fn is_noted_as(&self, other: &Self) -> bool {
        let bare = |one: &Self| {
            one.label.is_none() && one.host_addresses.len() < 2 && one.host_ports.count() == 1
        };
        bare(self) && bare(other) && self.is_by_name() == other.is_by_name()
    }

    /// Whether the two have a port of the host in common.
    pub(crate) fn shares_ports_with(&self, other: &Self) -> bool {
        let (ours, theirs) = (self.host_ports, other.host_ports);
        let meets = |ipv4| {
            let mut addresses = self.addresses_of(ipv4);
            let both = self.serves(ipv4) && other.serves(ipv4);
            both && addresses.any(|one| other.addresses_of(ipv4).any(|another| one == another))
        };
        self.protocol == other.protocol
            && ours.first() <= theirs.last()
            && theirs.first() <= ours.last()
            && (meets(true) || meets(false))
    }

    /// Makes sure that each allowed network can hold a client.
    pub(crate) fn check_clients(&self) -> Result<(), Invalid> {
        let stranger = |net: &&IpNet| !self.serves(net.addr().is_ipv4());
        match self.allowed.iter().find(stranger) {
            None => Ok(()),
            Some(net) => {
                let why = "is of a family that the exposure does not serve";
                Err(Invalid::new("allowed client", net, why))
            }
        }
    }

    /// The same without the guests that `leaves` names; `None` if none stays.
    pub(crate) fn without(&self, leaves: impl Fn(&Target) -> bool) -> Option<Self> {
        let mut rest = self.clone();
        rest.targets.retain(|target| !leaves(target));
        (!rest.targets.is_empty()).then_some(rest)
    }

    /// Puts each port of the host with where `target`, one of its own, has
    /// it lead. The address that the guest has in a family comes from
    /// `address_of`.
    ///
    /// # Errors
    /// What `address_of` returns.
    pub(crate) fn map_to<E>(
        &self,
        target: &Target,
        mut address_of: impl FnMut(&Destination, bool) -> Result<IpAddr, E>,
        put: &mut impl FnMut(Mapping),
    ) -> Result<(), E> {
        for ipv4 in [true, false] {
            if !self.serves(ipv4) {
                continue;
            }
            let guest_address = address_of(target.guest(), ipv4)?;
            for host_address in self.addresses_of(ipv4) {
                let pairs = self.host_ports.range().zip(target.port()..=u16::MAX);
                let mapping = |(host_port, guest_port): (u16, u16)| {
                    Some(Mapping {
                        protocol: self.protocol,
                        host_address,
                        host_port: host_port.try_into().ok()?,
                        guest_address,
                        guest_port: guest_port.try_into().ok()?,
                    })
                };
                pairs.filter_map(mapping).for_each(&mut *put);
            }
        }
        Ok(())
    }
}

/// A range of more ports that the guest has as well is one element of a set
/// in the kernel; a smaller one is an element for each port, which is found
/// faster.
const EACH_MAX: u32 = 1024;

/// So many guests can be behind one exposure.
pub const TARGETS_MAX: usize = 48;

fn is_unicast(address: IpAddr) -> bool {
    let broadcast = matches!(address, IpAddr::V4(address) if address.is_broadcast());
    !(address.is_multicast() || broadcast)
}
