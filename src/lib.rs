//! Wires microVMs to the host network by speaking to the kernel itself.
//!
//! TAP devices by `TUNSETIFF`, links, addresses and routes by
//! `NETLINK_ROUTE`, NAT and filtering by nf_tables over `NETLINK_NETFILTER`.
//! No program is run and no C library is linked.
//!
//! A [`Host`] is an [`Owner`]'s handle on one network namespace. It attaches
//! [`Guest`]s, each routed over a TAP of its own, and exposes their ports: an
//! [`Exposure`] says that a port of the host leads to a port of a guest.
//!
//! ```no_run
//! use tapwire::{Exposure, Guest, Host, Owner, Protocol};
//!
//! let mut host = Host::open(Owner::new("riklet")?)?;
//! let guest = host.attach(&Guest::new("hello-world")?)?;
//! host.expose(&Exposure::new(Protocol::Tcp, 8080, (&guest, 80))?)?;
//! # Ok::<(), tapwire::Error>(())
//! ```
//!
//! Or all that is wanted is said at once: [`Host::plan`] compares [`Wanted`]
//! with what the kernel has, [`Host::commit`] changes the difference, and
//! [`Host::watch`] keeps it so.
//!
//! A [`Pool`] keeps networks ready, which are taken in no time.
//!
//! A guest can also take the place of a pod whose interface someone else has
//! made ([`bridged`], or where a bridge is not wanted [`redirected`]), or be
//! behind it under a fixed private address ([`masqueraded`]). It can have a part
//! of a network card ([`passthrough`]), be a port of a bridge that reaches over
//! several hosts ([`segment`]), and have several [`interfaces`], each by a method
//! of its own.
//!
//! The rooms below it are public too: [`nft`], [`route`] and [`conntrack`]
//! speak to the kernel's subsystems in typed values; [`conn`], [`sys`] and
//! [`wire`] are what they are made of.
//!
//! With the feature `serde`, exposures and names are (de)serialized as their
//! plain notation.
//!
//! Blocking; every handle lends its descriptor, and [`conn::Exchange`] is the
//! reply logic without I/O, for any event loop. Every change is logged at
//! debug level through the `log` facade, in the words of `nft` and `ip`.

pub mod beside;
pub mod bridged;
mod conflict;
pub mod conn;
pub mod conntrack;
#[cfg(feature = "dhcp")]
pub mod dhcp;
pub mod diag;
pub mod error;
pub mod exposure;
#[cfg(feature = "__fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
pub mod guest;
mod hash;
pub mod host;
pub mod interfaces;
mod layout;
pub mod masqueraded;
pub mod nft;
#[cfg(feature = "serde")]
mod notation;
mod owner;
pub mod passthrough;
pub mod plan;
mod pod;
mod pool;
mod protocol;
#[cfg(feature = "proxied")]
mod proxied;
#[cfg(feature = "__recording")]
#[doc(hidden)]
pub mod recording;
pub mod redirected;
#[cfg(feature = "relay")]
mod relay;
pub mod route;
pub mod segment;
pub mod sys;
pub mod topology;
mod types;
pub mod wire;

pub use conflict::Conflict;
pub use error::Error;
pub use exposure::{Balance, Destination, Exposure, Label, Ports, Protocol, Target};
pub use guest::{
    Attachment, Connection, Egress, Elsewhere, Guest, GuestName, Networks, Policy, Rate, Service,
    Snapshot,
};
pub use host::{Dropped, Exposed, Flows, Host, Ownership, Settings, Traffic, Watch};
pub use owner::Owner;
pub use plan::{Change, Plan, Wanted};
pub use pool::{Pool, PoolCounts, PoolError, PoolSettings};
#[cfg(feature = "proxied")]
pub use proxied::{Proxied, ProxiedCounters, ProxiedHandle, ProxiedNotice, ProxiedSettings};
#[cfg(feature = "relay")]
pub use relay::{ProxyProtocol, Relay, RelayCounters, RelaySettings};
pub use topology::Topology;
pub use types::{IF_NAME_MAX, IfIndex, IfName, Mac};

/// The examples of `README.md` compile.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
