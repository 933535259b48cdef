//! What is exposed, as the kernel has it.

use std::fmt;

use super::Host;
use crate::error::Error;
use crate::exposure::Exposure;
use crate::guest::GuestName;
use crate::layout::Regrouped;

/// An exposure as it is in force.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Exposed {
    pub(super) exposure: Exposure,
    pub(super) guests: Vec<GuestName>,
    pub(super) connections: u64,
}

impl Exposed {
    /// The exposure, as it was asked for.
    pub fn exposure(&self) -> &Exposure {
        &self.exposure
    }

    /// The guest that it leads to; of several the first.
    pub fn guest(&self) -> Option<&GuestName> {
        self.guests.first()
    }

    /// The guests that it leads to, in the order of its targets.
    pub fn guests(&self) -> &[GuestName] {
        &self.guests
    }

    /// How many connections it has taken so far (of UDP: flows), those that
    /// its limit refused not counted.
    pub fn connections(&self) -> u64 {
        self.connections
    }
}

impl From<Regrouped> for Exposed {
    fn from(regrouped: Regrouped) -> Self {
        Self {
            exposure: regrouped.exposure,
            guests: regrouped.guests,
            connections: regrouped.connections,
        }
    }
}

impl fmt::Display for Exposed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} connections)", self.exposure, self.connections)
    }
}

impl Host {
    /// Lists the exposures with their counters, in their order, as the kernel
    /// has them: each is equal to what was asked for.
    ///
    /// # Errors
    /// What listing set elements returns.
    pub fn exposures(&mut self) -> Result<Vec<Exposed>, Error> {
        self.list_exposures()
    }

    pub(super) fn list_exposures(&mut self) -> Result<Vec<Exposed>, Error> {
        let mut elements = Vec::new();
        for set in self.layout.exposure_sets() {
            elements.push(self.nft.elements(set)?);
        }
        let exposures = self.layout.regroup(&elements);
        Ok(exposures.into_iter().map(Exposed::from).collect())
    }
}
