//! Two namespaces that are alike: a host works in the one, its floor in the
//! other.

use std::net::SocketAddr;

use tapwire::sys::NetNs;
use tapwire::{Exposed, Exposure, Guest, Host, Owner, Protocol, Settings};

use crate::harness::floor::{Floor, Replay};
use crate::harness::{Result, inside};

const OWNER: &str = "bench";
const GUEST_PORT: u16 = 80;
/// Room for all that any case has.
const ROOM: u32 = 150_000;

/// The two guests that are attached in both namespaces.
pub(crate) const GUESTS: [&str; 2] = ["hello-world", "second"];

/// A host in a network namespace, and in another one its floor, with a host
/// that was set up in the same way.
pub(crate) struct Twin {
    pub(crate) netns: NetNs,
    pub(crate) host: Host,
    pub(crate) floor_netns: NetNs,
    pub(crate) floor: Floor,
    pub(crate) floor_host: Host,
    /// The addresses of both guests, in both namespaces.
    pub(crate) addresses: [SocketAddr; 2],
}

impl Twin {
    /// With two guests, and nothing exposed.
    pub(crate) fn new() -> Result<Self> {
        let (netns, floor_netns) = (NetNs::new()?, NetNs::new()?);
        let (host, addresses) = inside(&netns, open)?;
        let (floor, floor_host) = inside(&floor_netns, || Ok((Floor::open()?, open()?.0)))?;
        Ok(Self {
            netns,
            host,
            floor_netns,
            floor,
            floor_host,
            addresses,
        })
    }

    /// Has the host do something and the floor repeat it. Returns what was
    /// sent, for the next times.
    pub(crate) fn record(&mut self, work: impl FnOnce(&mut Host) -> Result<()>) -> Result<Replay> {
        let ((), mut replay) = Replay::record(|| work(&mut self.host))?;
        self.floor.replay(&mut replay)?;
        Ok(replay)
    }

    /// Makes sure that both have come to the same.
    pub(crate) fn check(&mut self) -> Result<()> {
        let bare = |all: Vec<Exposed>| all.iter().map(ToString::to_string).collect::<Vec<_>>();
        if bare(self.host.exposures()?) == bare(self.floor_host.exposures()?) {
            return Ok(());
        }
        Err("the floor does something else than what it is the floor of".into())
    }

    /// Exposures of the first guest: TCP up to port 50 000, then SCTP.
    pub(crate) fn exposures(&self, count: usize) -> Result<Vec<Exposure>> {
        let target = self.addresses[0];
        let tcp = (1_001..=51_000_u16).map(|port| (Protocol::Tcp, port));
        let sctp = (1_001..=51_000_u16).map(|port| (Protocol::Sctp, port));
        let made = tcp.chain(sctp).take(count);
        let made = made.map(|(protocol, port)| Exposure::new(protocol, port, target));
        Ok(made.collect::<std::result::Result<_, _>>()?)
    }
}

/// A host in the calling thread's namespace.
fn open() -> Result<(Host, [SocketAddr; 2])> {
    let mut host = Host::with(Settings::new(Owner::new(OWNER)?).exposures(ROOM))?;
    let mut attach = |name| -> Result<SocketAddr> {
        let guest = host.attach(&Guest::new(name)?)?;
        Ok(SocketAddr::new(guest.ipv4().into(), GUEST_PORT))
    };
    let addresses = [attach(GUESTS[0])?, attach(GUESTS[1])?];
    Ok((host, addresses))
}
