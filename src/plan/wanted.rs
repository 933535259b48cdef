//! What is wanted of a host.

use std::collections::HashSet;
use std::sync::Arc;

use crate::error::Invalid;
use crate::exposure::Exposure;
use crate::guest::Guest;

/// All that an owner wants of a host: its guests and its exposures. What it
/// has there and does not want is taken away.
///
/// Exposures lead to guests that are wanted too, by name or by address.
/// Cheap to copy.
///
/// ```
/// use tapwire::{Flows, Guest, Wanted};
/// let wanted = Wanted::new()
///     .guest(Guest::new("hello-world")?)
///     .exposure("tcp/8080->hello-world:80".parse()?)
///     .flows(Flows::Drain);
/// assert_eq!(wanted.exposures().len(), 1);
/// # Ok::<(), tapwire::error::Invalid>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wanted {
    guests: Arc<Vec<Guest>>,
    exposures: Arc<Vec<Exposure>>,
    flows: Flows,
    shim: bool,
}

/// What becomes of the flows of an exposure that is taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Flows {
    /// They end with it: their next packet finds no exposure.
    #[default]
    Cut,
    /// They go on until they end by themselves.
    Drain,
}

impl Wanted {
    /// Nothing: every guest and every exposure is to go.
    pub fn new() -> Self {
        Self::default()
    }

    /// And this guest.
    #[must_use]
    pub fn guest(mut self, guest: Guest) -> Self {
        self.extend([guest]);
        self
    }

    /// And this exposure.
    #[must_use]
    pub fn exposure(mut self, exposure: Exposure) -> Self {
        self.extend([exposure]);
        self
    }

    /// What becomes of the flows of exposures that go or lead elsewhere then.
    /// They are cut unless told otherwise. Those of a guest that goes are cut
    /// in any case: its addresses are the next one's.
    #[must_use]
    pub fn flows(self, flows: Flows) -> Self {
        Self { flows, ..self }
    }

    /// And that guests pass the chains of others that drop what is forwarded:
    /// where one does, a plan puts the rules of
    /// [`Host::add_shim`](crate::Host::add_shim) there, also after the others
    /// have made their chains anew.
    ///
    /// Without this word, a plan neither adds these rules nor takes them away:
    /// they may be there on someone's request, and let through only what the
    /// owner's own rules let through.
    /// [`Host::remove_shim`](crate::Host::remove_shim) takes them back.
    #[must_use]
    pub fn shim(self) -> Self {
        Self { shim: true, ..self }
    }

    /// The guests.
    pub fn guests(&self) -> &[Guest] {
        &self.guests
    }

    /// The exposures.
    pub fn exposures(&self) -> &[Exposure] {
        &self.exposures
    }

    /// What becomes of flows.
    pub fn wanted_flows(&self) -> Flows {
        self.flows
    }

    /// Whether guests are to pass the chains of others.
    pub fn wants_shim(&self) -> bool {
        self.shim
    }

    /// Makes sure that no guest is wanted twice.
    pub(crate) fn check(&self) -> Result<(), Invalid> {
        let mut names = HashSet::with_capacity(self.guests.len());
        match self.guests.iter().find(|guest| !names.insert(guest.name())) {
            Some(guest) => Err(Invalid::new("guest", guest.name(), "is wanted twice")),
            None => Ok(()),
        }
    }
}

impl Extend<Guest> for Wanted {
    fn extend<I: IntoIterator<Item = Guest>>(&mut self, guests: I) {
        Arc::make_mut(&mut self.guests).extend(guests);
    }
}

impl Extend<Exposure> for Wanted {
    fn extend<I: IntoIterator<Item = Exposure>>(&mut self, exposures: I) {
        Arc::make_mut(&mut self.exposures).extend(exposures);
    }
}
