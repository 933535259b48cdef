//! The names of the links that are made.

use super::check::twice;
use super::owners::owner;
use super::{Interface, Interfaces, Way};
use crate::error::{Error, Invalid};
use crate::types::IfName;

impl Interfaces {
    /// No two make a link of one name. (That nobody else has the name is looked
    /// at by each of them.)
    pub(super) fn check_names(&self) -> Result<(), Error> {
        let mut all = Vec::new();
        for interface in &self.all {
            all.extend(self.names_made_for(interface)?);
        }
        if let Some(name) = twice(all.iter().copied()) {
            let why = "is to be that of two links";
            return Err(Invalid::new("interface name", name, why).into());
        }
        // Which number a TAP of an owner's gets is not known before.
        for owner in self.all.iter().filter_map(owner) {
            if let Some(name) = all.iter().find(|name| owner.slot(name).is_some()) {
                let why = "is that of a TAP of an owner's";
                return Err(Invalid::new("interface name", name, why).into());
            }
        }
        Ok(())
    }

    fn names_made_for(&self, interface: &Interface) -> Result<Vec<IfName>, Error> {
        Ok(match &interface.way {
            Way::Bridged(pod) => {
                let plan = self.bridge_plan(*pod)?;
                vec![plan.bridge_name()?, plan.tap_name()?]
            }
            Way::Redirected(pod) => vec![self.redirect_plan(*pod)?.tap_name()?],
            Way::Macvtap(macvtap) => vec![macvtap.name()],
            Way::Segment(port) => vec![port.name()],
            Way::Masqueraded(_) | Way::Routed(_) | Way::Function(_) => Vec::new(),
        })
    }
}
