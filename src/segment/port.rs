//! A port of a segment.

use crate::error::Invalid;
use crate::route::PortVlan;
use crate::types::IfName;

/// A link that joins a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    name: IfName,
    isolated: bool,
    vlans: Vec<PortVlan>,
}

impl Port {
    /// The link of this name.
    pub fn new(name: IfName) -> Self {
        Self {
            name,
            isolated: false,
            vlans: Vec::new(),
        }
    }

    /// Does not reach other isolated ports, only those that are not (such as
    /// the tunnel, or a router).
    #[must_use]
    pub fn isolated(mut self) -> Self {
        self.isolated = true;
        self
    }

    /// Is in the VLAN `id` and sees no tag of it: an access port.
    #[must_use]
    pub fn access(self, id: u16) -> Self {
        self.native(id)
    }

    /// Carries the VLANs `first` to `last`, tagged: a trunk port. Can be said
    /// several times.
    #[must_use]
    pub fn trunk(mut self, first: u16, last: u16) -> Self {
        self.vlans.push(PortVlan::tagged(first, last));
        self
    }

    /// What comes and leaves without a tag is of the VLAN `id`.
    #[must_use]
    pub fn native(mut self, id: u16) -> Self {
        self.vlans.push(PortVlan::untagged(id));
        self
    }

    /// The link's name.
    pub fn name(&self) -> IfName {
        self.name
    }

    pub(super) fn is_isolated(&self) -> bool {
        self.isolated
    }

    pub(super) fn vlans(&self) -> &[PortVlan] {
        &self.vlans
    }

    /// `filtering`: whether the segment has VLANs.
    pub(super) fn check(&self, filtering: bool) -> Result<(), Invalid> {
        let invalid = |why| Err(Invalid::new("port", self.name, why));
        match (filtering, self.vlans.is_empty()) {
            (true, true) => return invalid("is in no VLAN of a segment with VLANs"),
            (false, false) => return invalid("is in a VLAN of a segment without"),
            _ => {}
        }
        let untagged = self.vlans.iter().filter(|vlan| vlan.takes_untagged());
        if untagged.count() > 1 {
            return invalid("has two VLANs for what has no tag");
        }
        for (place, vlan) in self.vlans.iter().enumerate() {
            vlan.check()?;
            let twice =
                |other: &PortVlan| vlan.first() <= other.last() && other.first() <= vlan.last();
            if self.vlans.iter().take(place).any(twice) {
                return invalid("has one VLAN twice");
            }
        }
        Ok(())
    }
}
