//! Networks that are ready before anyone asks.

mod error;
mod filler;
mod settings;
mod stock;

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use std::{fmt, io};

pub use error::PoolError;
pub use settings::PoolSettings;

use crate::error::{Conflict, Error};
use crate::guest::Attachment;
use crate::host::Host;

use filler::{Filler, detach_members};
pub(crate) use settings::number_of;
use stock::Stock;

/// Networks of guests that are alike, some of them always ready: attached,
/// but without a tenant. A thread makes them in the background, some at once.
///
/// To take one asks nothing of the kernel. What is taken is an attached guest
/// like any other: its VM finds the TAP, and its exposures are made by a
/// [`Host`] of the same owner. Its policy may be changed by attaching a guest
/// of its name again.
///
/// No network has two tenants. One that comes back is taken down, as
/// [`Host::detach_all`] does: its exposures, then its TAP with what counted,
/// what a VMM has set and the descriptors that a VMM still holds (its
/// namespace too, if it has one), its flows, and last its addresses, limits
/// and policy. Only then a new one may get the number and the addresses.
///
/// The kernel is the only store: the pool's networks are the owner's guests
/// by the pool's name. So what a killed process leaves is reclaimed by the
/// next that starts the pool. What the pool has is the pool's: a guest that is
/// taken away by another while it is ready is missed only by who takes it. To
/// a [`Plan`](crate::Plan), a pool is made known by
/// [`Wanted::pool`](crate::Wanted::pool).
///
/// Dropped, a pool ends its thread, after what that is doing, and leaves its
/// networks as they are, like a killed process. [`shutdown`](Self::shutdown)
/// removes them.
///
/// ```no_run
/// use std::time::Duration;
/// use tapwire::{Connection, Exposure, Guest, Host, Owner, Pool, PoolSettings};
/// use tapwire::{Protocol, Settings, Snapshot};
///
/// # fn start(snapshot: Snapshot) -> Result<(), Box<dyn std::error::Error>> {
/// let settings = Settings::new(Owner::new("riklet")?);
/// let like = Guest::new("hello")?.connection(Connection::Rewritten(snapshot));
/// let pool = Pool::start(PoolSettings::new(settings.clone(), like, 64)?)?;
/// let mut host = Host::with(settings)?;
///
/// let network = pool.take(Duration::from_secs(1))?;
/// host.expose(&Exposure::new(Protocol::Tcp, 8080, (&network, 80))?)?;
/// println!("{}", network.network_overrides("eth0"));
/// // … and when its VM has ended:
/// pool.put_back(network)?;
/// # Ok(())
/// # }
/// ```
pub struct Pool {
    settings: PoolSettings,
    stock: Arc<Stock>,
    filler: Option<JoinHandle<Host>>,
    /// Bound to a name that another process would want too.
    _mark: UnixDatagram,
}

/// What a [`Pool`] has at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PoolCounts {
    ready: usize,
    taken: usize,
    returned: usize,
}

impl PoolCounts {
    /// Networks that can be taken.
    pub fn ready(&self) -> usize {
        self.ready
    }

    /// Networks that were taken and have not come back.
    pub fn taken(&self) -> usize {
        self.taken
    }

    /// Networks that have come back and are yet to be taken down.
    pub fn returned(&self) -> usize {
        self.returned
    }
}

impl Pool {
    /// Starts a pool in the calling thread's network namespace: reclaims what
    /// an earlier process left, and begins to make networks.
    ///
    /// A pool runs in one process at a time: a socket of its name in the
    /// abstract namespace (`unix(7)`) stands for it, which goes with the
    /// process.
    ///
    /// # Errors
    /// Those of [`Host::with`] and [`Host::detach_all`]; [`Error::Conflict`]
    /// if a process runs the pool already; [`Error::Absent`] if a network that
    /// is to be kept is not there; [`Error::System`] if no thread can be
    /// started.
    pub fn start(settings: PoolSettings) -> Result<Self, Error> {
        let mark = mark(&settings)?;
        let mut host = Host::with(settings.host.clone())?;
        let PoolSettings { like, kept, .. } = &settings;
        detach_members(&mut host, like, |number| !kept.contains(&number))?;
        for &number in kept {
            let name = settings::member(like, number)?.name().clone();
            if !host.guests()?.iter().any(|one| one.name() == name.as_str()) {
                return Err(Error::Absent {
                    kind: "guest",
                    name: name.as_str().into(),
                });
            }
        }
        let stock = Arc::new(Stock::new(settings.ready, kept.clone()));
        let next = kept.last().map_or(0, |last| last.saturating_add(1));
        let filler = Filler::new(host, like.clone(), Arc::clone(&stock), next);
        let thread = thread::Builder::new().name(THREAD.into());
        let thread = thread.spawn(move || filler.run());
        let thread = thread.map_err(|source| Error::system("clone", THREAD, source))?;
        Ok(Self {
            settings,
            stock,
            filler: Some(thread),
            _mark: mark,
        })
    }

    /// Takes a network that is ready; if none is, waits for one, at most for
    /// `patience`.
    ///
    /// # Errors
    /// [`PoolError::NotReady`] if there is none by then; as soon as it is
    /// known that none can be made, [`PoolError::Failed`], with the reason.
    pub fn take(&self, patience: Duration) -> Result<Attachment, PoolError> {
        let pool = self.settings.like.name();
        self.stock.await_news(patience, |state| {
            let network = state.ready.pop_front()?;
            state.taken.extend(number_of(pool, network.name()));
            state.taken_at.get_or_insert_with(Instant::now);
            Some(network)
        })
    }

    /// Gives a network back whose VM has ended. It is taken down in the
    /// background, and nothing of it is left for another.
    ///
    /// # Errors
    /// [`Error::Absent`] if it was not taken from this pool, or is back.
    pub fn put_back(&self, network: Attachment) -> Result<(), Error> {
        let Attachment { name, .. } = network;
        let number = number_of(self.settings.like.name(), name.as_str());
        if number.is_some_and(|number| self.stock.put_back(number)) {
            return Ok(());
        }
        Err(Error::Absent {
            kind: "taken network",
            name: name.as_str().into(),
        })
    }

    /// Waits until as many are ready as should be, at most for `patience`.
    ///
    /// # Errors
    /// As [`take`](Self::take).
    pub fn fill(&self, patience: Duration) -> Result<(), PoolError> {
        let wanted = self.settings.ready;
        self.stock.await_news(patience, |state| {
            (state.ready.len() >= wanted).then_some(())
        })
    }

    /// What it has.
    pub fn counts(&self) -> PoolCounts {
        let state = self.stock.state();
        PoolCounts {
            ready: state.ready.len(),
            taken: state.taken.len(),
            returned: state.returned.len(),
        }
    }

    /// Why the last attempt to make networks, or to take some down, failed;
    /// nothing since one that did not.
    pub fn failure(&self) -> Option<Arc<Error>> {
        let state = self.stock.state();
        state
            .failure
            .as_ref()
            .map(|failure| Arc::clone(&failure.error))
    }

    /// Ends the pool and removes its networks, also those that are taken.
    ///
    /// # Errors
    /// What detaching them returns, the first of it; what can be removed is.
    /// What is left is reclaimed when the pool is started again.
    pub fn shutdown(mut self) -> Result<(), Error> {
        match self.end() {
            Some(mut host) => detach_members(&mut host, &self.settings.like, |_| true),
            None => Ok(()),
        }
    }

    /// Ends the thread, and has its handle; not twice.
    fn end(&mut self) -> Option<Host> {
        self.stock.close();
        self.filler.take()?.join().ok()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.end();
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("settings", &self.settings)
            .field("counts", &self.counts())
            .finish_non_exhaustive()
    }
}

/// Says in this network namespace that the pool runs.
fn mark(settings: &PoolSettings) -> Result<UnixDatagram, Error> {
    let owner = settings.host.current_owner();
    let name = format!("tapwire/{owner}/{}", settings.like.name());
    let bound = SocketAddr::from_abstract_name(&name).and_then(|it| UnixDatagram::bind_addr(&it));
    bound.map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => {
            let wanted = format!("pool {} of {owner}", settings.like.name());
            Conflict::new(wanted, format!("the process that has bound @{name}")).into()
        }
        _ => Error::system("bind", format_args!("@{name}"), source),
    })
}

/// The thread's name, within the kernel's 15 bytes.
const THREAD: &str = "tapwire-pool";
