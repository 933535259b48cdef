//! The verbs of a user: attach a guest, expose a port, take both back.

mod attach;
mod bulk;
mod commit;
mod conflicts;
mod elsewhere;
mod enlarge;
mod expose;
mod exposures;
mod flows;
mod forward_all;
mod forwarding;
mod handover;
mod known;
mod namespaced;
mod ownership;
mod plan;
mod policy;
mod rebuild;
mod removal;
mod settle;
mod short;
mod topology;
mod traffic;
mod watch;
mod wire;

pub use exposures::Exposed;
pub use ownership::Ownership;
pub(crate) use plan::has_ipv6;
pub use traffic::{Dropped, Traffic};
pub use watch::Watch;

use std::sync::Arc;

use crate::error::Error;
use crate::exposure::Mapping;
use crate::guest::{Attachment, Networks};
use crate::layout::{Layout, Listing};
use crate::nft::{Batch, Nft, Table};
use crate::owner::Owner;
pub use crate::plan::Flows;
use crate::route::{Link, Rtnl};
use crate::sys::{NetNs, Outpost, OwnProc};

use known::Known;

/// An owner's handle on one network namespace: its sockets and its table.
///
/// The kernel is the only store. A handle remembers what it has read, and
/// reads again when something is not as remembered; several handles, also in
/// several processes, may work for one owner. An agent that was killed at any
/// point opens a handle again and repeats what it was doing.
///
/// Any thread may use it, whichever network namespace it is in. Besides its
/// sockets a handle that makes TAPs keeps up to nine descriptors open: of
/// `/dev/net/tun` for the next ones, and of `/proc`.
///
/// ```no_run
/// use std::net::SocketAddr;
/// use tapwire::{Exposure, Guest, Host, Owner, Protocol};
///
/// let mut host = Host::open(Owner::new("riklet")?)?;
/// let guest = host.attach(&Guest::new("hello-world")?)?;
/// println!("TAP {}, MAC {}, {}", guest.tap(), guest.mac(), guest.boot_argument());
/// let web = Exposure::new(Protocol::Tcp, 8080, SocketAddr::new(guest.ipv4().into(), 80))?;
/// host.expose(&web)?;
/// # Ok::<(), tapwire::Error>(())
/// ```
#[derive(Debug)]
pub struct Host {
    owner: Owner,
    networks: Networks,
    layout: Layout,
    netns: Arc<NetNs>,
    /// By which TAPs are made there.
    outpost: Outpost,
    /// By which new namespaces are told of IPv6.
    proc: OwnProc,
    rtnl: Rtnl,
    nft: Nft,
    batch: Batch,
    ownership: Ownership,
    known: Known,
    /// The generation at which the tables were last seen to be in order.
    settled: Option<u32>,
    /// What was done to the host, in case someone takes the tables away.
    kept: Listing,
    /// Whether flows were looked for that a killed agent left.
    swept: bool,
    /// What is being exposed: the place in the list of each port that is
    /// claimed; kept for its memory.
    claims: Vec<(usize, Mapping)>,
}

/// What a [`Host`] is made from: an owner, and what may differ from the
/// defaults.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Settings {
    owner: Owner,
    networks: Networks,
    exposures: u32,
    ownership: Ownership,
}

impl Settings {
    /// The defaults for `owner`: guests in [`Networks::default`], room for
    /// 65 536 exposures of each kind (all or one host address, IPv4 or IPv6).
    pub fn new(owner: Owner) -> Self {
        Self {
            owner,
            networks: Networks::default(),
            exposures: 65_536,
            ownership: Ownership::default(),
        }
    }

    /// Takes the guests' networks from these.
    #[must_use]
    pub fn networks(self, networks: Networks) -> Self {
        Self { networks, ..self }
    }

    /// Room for so many exposures of each kind when the owner's table is first
    /// made, at about 11 bytes each. When it is used up, it is doubled.
    #[must_use]
    pub fn exposures(self, exposures: u32) -> Self {
        Self { exposures, ..self }
    }

    /// Keeps the tables from others like this; [`Ownership::Shared`] if not
    /// told otherwise.
    #[must_use]
    pub fn ownership(self, ownership: Ownership) -> Self {
        Self { ownership, ..self }
    }

    pub(crate) fn current_owner(&self) -> &Owner {
        &self.owner
    }

    pub(crate) fn current_networks(&self) -> Networks {
        self.networks
    }

    pub(crate) fn current_ownership(&self) -> Ownership {
        self.ownership
    }
}

impl Host {
    /// Opens the calling thread's network namespace for `owner` with the
    /// default [`Settings`].
    ///
    /// # Errors
    /// As [`with`](Self::with).
    pub fn open(owner: Owner) -> Result<Self, Error> {
        Self::with(Settings::new(owner))
    }

    /// Opens the calling thread's network namespace: makes the owner's tables
    /// if they are missing, makes them anew with all that is in them if an
    /// older version of this crate made them or someone changed their rules,
    /// and has packets forwarded between the guests and
    /// the interfaces that have addresses.
    ///
    /// `net.ipv4.ip_forward` stays as it is: forwarding is switched on for
    /// single interfaces, and what is not for a guest is not forwarded there
    /// unless it was before. IPv6 can do that since Linux 6.17
    /// (`force_forwarding`); before, `net.ipv6.conf.all.forwarding` is
    /// switched on, and `accept_ra` raised to 2 where it was 1 so that
    /// advertised routes stay.
    ///
    /// # Errors
    /// [`Error::Refused`] (`EPERM`) without `CAP_NET_ADMIN`;
    /// [`Error::Conflict`] if there is a table of the owner's name that is of
    /// another kind or of a newer version of this crate, or that another
    /// handle owns; [`Error::Unsupported`] if the kernel lacks the
    /// [`Ownership`]; [`Error::System`] if a socket or a setting fails.
    pub fn with(settings: Settings) -> Result<Self, Error> {
        Self::new(settings)?.started()
    }

    /// Opens the calling thread's network namespace if something of the owner
    /// is there, a table or a TAP: for who only looks or takes away.
    ///
    /// # Errors
    /// As [`with`](Self::with).
    pub fn find(settings: Settings) -> Result<Option<Self>, Error> {
        let mut host = Self::new(settings)?;
        if host.has_table()? || host.has_tap()? {
            return host.started().map(Some);
        }
        Ok(None)
    }

    /// A handle that makes nothing until it is told to change something.
    pub(crate) fn unopened(settings: Settings) -> Result<Self, Error> {
        Self::new(settings)
    }

    /// A handle that has changed nothing yet.
    fn new(settings: Settings) -> Result<Self, Error> {
        let Settings {
            owner,
            networks,
            exposures,
            ownership,
        } = settings;
        let layout = Layout::new(&owner, exposures, networks.guests())?;
        let mut nft = Nft::open()?;
        if ownership != Ownership::Shared {
            // The tables go with it, and another handle may wait for that.
            nft.connection_mut().socket_mut().close_in_place();
        }
        let netns = Arc::new(NetNs::current()?);
        Ok(Self {
            layout: layout.flags(ownership.flags()),
            owner,
            networks,
            outpost: Outpost::new(Arc::clone(&netns)),
            netns,
            proc: OwnProc::default(),
            rtnl: Rtnl::open()?,
            nft,
            batch: Batch::new(),
            ownership,
            known: Known::default(),
            settled: None,
            kept: Listing::default(),
            swept: false,
            claims: Vec::new(),
        })
    }

    fn started(mut self) -> Result<Self, Error> {
        self.ensure_tables()?;
        self.forward_on_uplinks()?;
        self.read()?;
        Ok(self)
    }

    /// The owner.
    pub fn owner(&self) -> &Owner {
        &self.owner
    }

    /// Lists the guests with what they may do, by the number of their TAP, as
    /// the kernel has them.
    ///
    /// # Errors
    /// What listing links or set elements returns.
    pub fn guests(&mut self) -> Result<Vec<Attachment>, Error> {
        self.read()?;
        Ok(self.known.guests().cloned().collect())
    }

    /// Lists the guests, and makes no tables if they are missing.
    pub(crate) fn guests_there(&mut self) -> Result<Vec<Attachment>, Error> {
        self.reread()?;
        Ok(self.known.guests().cloned().collect())
    }

    /// Removes everything of the owner: guests with their TAPs, exposures,
    /// flows, tables; and switches forwarding off where it was switched on.
    ///
    /// # Errors
    /// The first thing that could not be removed. What can be is removed
    /// nevertheless, and the call can be repeated.
    pub fn remove(mut self) -> Result<(), Error> {
        self.read()?;
        let guests: Vec<Attachment> = self.known.guests().cloned().collect();
        if self.take_away(&guests).is_err() {
            // One that cannot be taken away is in nobody's way.
            let mut failed = None;
            for guest in guests {
                let gone = self.detach(guest.name());
                let error = gone.err().filter(|error| !error.is_not_found());
                failed = failed.or(error);
            }
            if let Some(error) = failed {
                return Err(error);
            }
        }
        self.remove_strays()?;
        self.close_loopback_elsewhere()?;
        self.stop_forwarding_on_uplinks()?;
        self.remove_shim()?;
        self.batch.clear();
        self.layout.destroy(&mut self.batch);
        let destroyed = self.nft.commit(&mut self.batch);
        self.explained(destroyed)
    }

    fn has_table(&mut self) -> Result<bool, Error> {
        let ours = |table: &Table| table.name() == self.layout.table.name();
        Ok(self.nft.tables()?.iter().any(ours))
    }

    fn has_tap(&mut self) -> Result<bool, Error> {
        let links = self.rtnl.links()?;
        Ok(links.iter().any(|link| self.slot_of(link).is_some()))
    }

    /// The number of one of the owner's TAPs, or of a link that leads to one
    /// in a namespace of its own.
    fn slot_of(&self, link: &Link) -> Option<u32> {
        let name = link.name().parse().ok().filter(|_| is_end(link))?;
        self.owner.slot(&name)
    }
}

/// Whether it is of the kind of a guest's TAP, or of what leads to a
/// namespace.
fn is_end(link: &Link) -> bool {
    matches!(link.kind(), Some("tun" | "veth"))
}
