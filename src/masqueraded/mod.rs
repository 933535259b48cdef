//! A guest behind a pod: a fixed private address, under which nobody else
//! knows it, and the pod's ports.
//!
//! The guest is routed over a TAP in the pod's namespace. It always has the
//! same addresses, `10.0.2.2` and `fd10:0:2::2` unless told otherwise, so it
//! can be moved to another pod. What it begins leaves behind the pod's
//! address; what comes to the pod's ports is led to it, but for those that
//! are excluded, which stay with processes of the pod. Where a [`Mesh`] takes
//! the pod's connections first, the guest gets them from the mesh.
//!
//! ```no_run
//! use tapwire::masqueraded::{Masquerade, Mesh};
//! use tapwire::{Exposure, Guest, Owner, Ports, Protocol};
//! let masquerade = Masquerade::new(Owner::new("vm")?, Guest::new("web-0")?.tap_owner(107))
//!     .exclude(Protocol::Tcp, Ports::new(9090, 9099)?)
//!     .mesh(Mesh::sidecar());
//! print!("{}", masquerade.plan()?);
//! let masqueraded = masquerade.apply()?;
//! println!("TAP {}: {}", masqueraded.attachment().tap(), masqueraded.config());
//! tapwire::masqueraded::remove(Owner::new("vm")?)?;
//! # Ok::<(), tapwire::Error>(())
//! ```
//!
//! It stands on [`Host`], [`Guest`] and [`Exposure`], whose owner has this
//! guest only: all that is said there of planning, repeating and agents that
//! are killed holds here. A mesh has a small table of its own, `OWNER-mesh`; one whose
//! proxy connects from its clients' addresses, a routing rule and a table of
//! routes besides. [`remove`] takes all of that away.
//!
//! Everything here works in the calling thread's network namespace; see
//! [`NetNs::run`](crate::sys::NetNs::run).

mod apply;
mod mesh;
mod ports;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

pub use apply::{Masqueraded, remove};
pub use mesh::{AMBIENT_PORTS, Mesh, RESERVED_PORTS};

use crate::beside::{intercepting, meshes};
use crate::error::{Conflict, Error, Invalid, Passing};
use crate::exposure::{Exposure, Ports, Protocol, Target};
use crate::guest::{Attachment, Guest, Networks, Service};
use crate::host::{Host, Settings};
use crate::owner::Owner;
use crate::plan::{Plan, Wanted};
use crate::route::Rtnl;

/// How a guest is to be behind a pod; [`apply`](Self::apply) does it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Masquerade {
    owner: Owner,
    guest: Guest,
    ipv4: Ipv4Net,
    ipv6: Ipv6Net,
    /// None are all of TCP and UDP.
    carried: Vec<(Protocol, Ports)>,
    excluded: Vec<(Protocol, Ports)>,
    /// None are all of the pod's.
    addresses: Vec<IpAddr>,
    loopback: Loopback,
    mesh: Option<Mesh>,
}

/// Whether the pod's loopback address carries the ports as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Loopback {
    Left,
    Led,
}

impl Masquerade {
    /// The guest behind the pod with all of its TCP and UDP ports, at
    /// `10.0.2.2/24` and `fd10:0:2::2/120`. The owner must have nothing else in
    /// this namespace.
    pub fn new(owner: Owner, guest: Guest) -> Self {
        Self {
            owner,
            guest,
            ipv4: Ipv4Net::new_assert(Ipv4Addr::new(10, 0, 2, 2), 24),
            ipv6: Ipv6Net::new_assert(Ipv6Addr::new(0xfd10, 0, 2, 0, 0, 0, 0, 2), 120),
            carried: Vec::new(),
            excluded: Vec::new(),
            addresses: Vec::new(),
            loopback: Loopback::Left,
            mesh: None,
        }
    }

    /// At these addresses instead. The gateway's are the ones before; the
    /// prefixes are what the guest believes to be on its link.
    ///
    /// # Errors
    /// [`Invalid`] if one is not the second host of a /30 or a /126 (the
    /// gateway's network is no larger), or a prefix is longer than that.
    pub fn addresses(self, ipv4: Ipv4Net, ipv6: Ipv6Net) -> Result<Self, Invalid> {
        let place = Self { ipv4, ipv6, ..self };
        place.networks().map(|_| place)
    }

    /// Carries these ports of the pod; called for some, only those are.
    #[must_use]
    pub fn carry(mut self, protocol: Protocol, ports: Ports) -> Self {
        self.carried.push((protocol, ports));
        self
    }

    /// Carries ports of this address of the pod; called for some, of those
    /// only.
    #[must_use]
    pub fn on(mut self, address: IpAddr) -> Self {
        self.addresses.push(address);
        self
    }

    /// Leaves these ports to processes of the pod.
    #[must_use]
    pub fn exclude(mut self, protocol: Protocol, ports: Ports) -> Self {
        self.excluded.push((protocol, ports));
        self
    }

    /// Has the pod's `127.0.0.1` carry the ports as well, for processes of
    /// the pod.
    #[must_use]
    pub fn loopback(mut self) -> Self {
        self.loopback = Loopback::Led;
        self
    }

    /// There is a mesh in the pod, which takes its TCP connections first.
    #[must_use]
    pub fn mesh(mut self, mesh: Mesh) -> Self {
        self.mesh = Some(mesh);
        self
    }

    /// Compares what is wanted with what is there; changes nothing.
    ///
    /// # Errors
    /// [`Error::Invalid`] if no port is left for the guest, or its
    /// connection is not routed; [`Error::Conflict`] if the owner has other
    /// guests here, or the guest's network is routed elsewhere; else as
    /// [`Host::plan`].
    pub fn plan(&self) -> Result<MasqueradePlan, Error> {
        let mut host = Host::unopened(self.settings()?)?;
        let wanted = self.wanted()?;
        self.check_alone(&host.guests_there()?)?;
        Ok(MasqueradePlan {
            plan: host.plan(&wanted)?,
            mesh: self.differs()?.then(|| match &self.mesh {
                Some(mesh) => format!("~ the mesh's rules: {mesh}").into(),
                None => "- the mesh's rules".into(),
            }),
        })
    }

    /// What others have or do in the pod that touches the guest: rules that
    /// take its ports first, listeners on them, foreign drops, bridge
    /// netfilter; rules of a mesh that was not told of, or of one that takes what
    /// the guest begins for ones to the pod (`TPROXY`), ports to be
    /// [carried](Self::carry) that are the mesh's own.
    ///
    /// Ports that processes open connections from
    /// (`net.ipv4.ip_local_port_range`) are no conflict: the kernel tells the
    /// answers from what is for the guest.
    ///
    /// Nothing is changed.
    ///
    /// # Errors
    /// As [`plan`](Self::plan), and as [`Host::conflicts`].
    pub fn conflicts(&self) -> Result<Vec<Conflict>, Error> {
        let wanted = self.wanted()?;
        let mut host = Host::unopened(self.settings()?)?;
        let mut conflicts = host.conflicts(wanted.exposures())?;
        if let Some(mesh) = &self.mesh {
            if mesh.takes_at().is_some() {
                conflicts.extend(self.interceptions()?);
            }
            // What comes by way of the mesh ends with the guest as well.
            let mut meshed = Vec::new();
            for ports in self.meshed() {
                meshed.extend(self.exposures(Protocol::Tcp, ports)?);
            }
            conflicts.extend(host.listening_on(&meshed)?);
        } else {
            let [uplinks4, uplinks6] = host.uplinks()?;
            conflicts.extend(meshes([&uplinks4, &uplinks6], Passing::Exposures)?);
        }
        conflicts.extend(self.reserved_ports());
        Ok(conflicts)
    }

    /// Rules that take what the guest begins before it is led to the mesh.
    fn interceptions(&self) -> Result<Vec<Conflict>, Error> {
        let tap = self
            .networks()?
            .attachment(&self.owner, &self.guest, 0)?
            .tap();
        let link = Rtnl::open()?.link(tap)?;
        intercepting((tap, link.map(|link| link.index())))
    }

    /// Ports that are to be carried and are the mesh's.
    fn reserved_ports(&self) -> Vec<Conflict> {
        let reserved: Vec<Ports> = self.mesh.iter().flat_map(Mesh::reserved).collect();
        let carried = self.carried.iter();
        let carried = carried.filter(|(protocol, _)| *protocol == Protocol::Tcp);
        let both = carried.flat_map(|(_, ports)| {
            let common = |it: &Ports| ports::common(*ports, *it);
            let both: Vec<Ports> = reserved.iter().filter_map(common).collect();
            both.into_iter().map(|both| Conflict::Reserved {
                first: both.first(),
                last: both.last(),
            })
        });
        both.collect()
    }

    /// On these addresses, if it was not told on which.
    pub(crate) fn or_on(&self, addresses: Vec<IpAddr>) -> Self {
        let mut placed = self.clone();
        if placed.addresses.is_empty() {
            placed.addresses = addresses;
        }
        placed
    }

    pub(crate) fn current_owner(&self) -> &Owner {
        &self.owner
    }

    /// The MAC address that the guest is to have.
    pub(crate) fn mac(&self) -> Result<Option<crate::Mac>, Invalid> {
        self.guest.fixed_mac()
    }

    /// Whether what there is for the mesh is otherwise than wanted.
    fn differs(&self) -> Result<bool, Error> {
        let attached = self.networks()?.attachment(&self.owner, &self.guest, 0)?;
        match &self.mesh {
            Some(mesh) => Ok(!mesh.is_installed(&self.place(&attached, &self.meshed()))?),
            None => mesh::is_there(&self.owner),
        }
    }

    fn place<'a>(&'a self, guest: &'a Attachment, ports: &'a [Ports]) -> mesh::Place<'a> {
        mesh::Place {
            owner: &self.owner,
            guest,
            policy: self.guest.policy(),
            ports,
        }
    }

    fn settings(&self) -> Result<Settings, Invalid> {
        Ok(Settings::new(self.owner.clone()).networks(self.networks()?))
    }

    /// Whether the guests of both are to have one network in the pod.
    pub(crate) fn meets(&self, other: &Self) -> bool {
        let (net4, net6) = self.networks_of_guest();
        let (other4, other6) = other.networks_of_guest();
        net4 == other4 || net6 == other6
    }

    fn networks_of_guest(&self) -> (Ipv4Net, Ipv6Net) {
        (
            Ipv4Net::new_assert(self.ipv4.addr(), 30).trunc(),
            Ipv6Net::new_assert(self.ipv6.addr(), 126).trunc(),
        )
    }

    /// The networks of which the guest has the only place.
    fn networks(&self) -> Result<Networks, Invalid> {
        let (ipv4, ipv6) = (self.ipv4, self.ipv6);
        let second4 = ipv4.addr().octets()[3] & 3 == 2 && ipv4.prefix_len() <= 30;
        if !second4 {
            let why = "is not the second host of a /30";
            return Err(Invalid::new("address of a masqueraded guest", ipv4, why));
        }
        let second6 = ipv6.addr().octets()[15] & 3 == 2 && ipv6.prefix_len() <= 126;
        if !second6 {
            let why = "is not the second host of a /126";
            return Err(Invalid::new("address of a masqueraded guest", ipv6, why));
        }
        let (ipv4, ipv6) = self.networks_of_guest();
        Networks::new(ipv4, ipv6)
    }

    fn wanted(&self) -> Result<Wanted, Error> {
        let guest = &self.guest;
        if *guest.wanted_connection() != crate::Connection::Routed {
            let why = "is masqueraded, so its connection is routed";
            return Err(Invalid::new("guest", guest.name(), why).into());
        }
        let mut guest = guest.clone();
        if let Some(port) = self.mesh.as_ref().and_then(Mesh::takes_at) {
            guest = guest.service(Service::new(Protocol::Tcp, port.get())?);
        }
        let mut wanted = Wanted::new().guest(guest.clone());
        let all = self.ports();
        if all.is_empty() {
            let why = "has no port of the pod left";
            return Err(Invalid::new("guest", guest.name(), why).into());
        }
        for (protocol, ports) in all {
            if protocol == Protocol::Tcp
                && let Some(mesh) = &self.mesh
            {
                for open in mesh.open_of(ports) {
                    wanted.extend(self.exposures(protocol, open)?);
                }
                continue;
            }
            wanted.extend(self.exposures(protocol, ports)?);
        }
        Ok(wanted)
    }

    fn exposures(&self, protocol: Protocol, ports: Ports) -> Result<Vec<Exposure>, Invalid> {
        let name = self.guest.name();
        let exposure = || -> Result<Exposure, Invalid> {
            Exposure::new(
                protocol,
                ports.first(),
                Target::of(name.clone(), ports.first()),
            )?
            .through(ports.last())
        };
        let mut on = self.addresses.iter();
        let on = on.try_fold(exposure()?, |it, address| it.on(*address))?;
        let mut exposures = vec![on];
        if self.loopback == Loopback::Led {
            exposures.push(exposure()?.on(Ipv4Addr::LOCALHOST.into())?);
        }
        Ok(exposures)
    }

    /// The ports of the pod that are the guest's.
    pub(crate) fn ports(&self) -> Vec<(Protocol, Ports)> {
        let reserved = self.mesh.iter().flat_map(Mesh::reserved);
        let reserved = reserved.map(|ports| (Protocol::Tcp, ports));
        let excluded: Vec<_> = self.excluded.iter().copied().chain(reserved).collect();
        ports::left(&self.carried, &excluded)
    }

    /// Those of TCP that come by way of the mesh.
    fn meshed(&self) -> Vec<Ports> {
        let all = self.ports().into_iter();
        let tcp = all.filter(|(protocol, _)| *protocol == Protocol::Tcp);
        let all: Vec<Ports> = tcp.map(|(_, ports)| ports).collect();
        let mesh = self.mesh.iter();
        mesh.flat_map(|mesh| mesh.proxied_of(&all)).collect()
    }

    /// Makes sure that the owner has no guest but this one here.
    fn check_alone(&self, guests: &[Attachment]) -> Result<(), Error> {
        let is_other = |it: &&Attachment| it.name() != self.guest.name().as_str();
        match guests.iter().find(is_other) {
            None => Ok(()),
            Some(other) => {
                let wanted = format!("owner {} for guest {} alone", self.owner, self.guest.name());
                let holder = format!("guest {}", other.name());
                Err(Conflict::new(wanted, holder).into())
            }
        }
    }
}

/// What is to be changed for a masqueraded guest.
#[derive(Debug, Clone)]
pub struct MasqueradePlan {
    plan: Plan,
    /// What changes for the mesh, in words.
    mesh: Option<Box<str>>,
}

impl MasqueradePlan {
    /// Whether nothing is to be changed.
    pub fn is_empty(&self) -> bool {
        self.plan.is_empty() && self.mesh.is_none()
    }

    /// What is to be changed of the guest and its ports.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }
}

impl fmt::Display for MasqueradePlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.plan)?;
        match &self.mesh {
            None => Ok(()),
            Some(words) => writeln!(f, "{words}"),
        }
    }
}
