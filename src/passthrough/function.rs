//! A virtual function as it is wanted, for a guest.

use std::fmt;

use super::vf::{PciAddress, VirtualFunctions};
use crate::error::{Error, Invalid};
use crate::route::{Rtnl, VirtualFunction};
use crate::types::{IfIndex, IfName, Mac};

/// A virtual function of a card that is handed to a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Function {
    physical: IfName,
    wanted: VirtualFunction,
}

/// One that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) address: PciAddress,
    pub(crate) mac: Mac,
    /// That of the card: the guest's driver may set it lower.
    pub(crate) mtu: u32,
}

impl Function {
    pub(crate) fn new(physical: IfName, wanted: VirtualFunction) -> Self {
        Self { physical, wanted }
    }

    /// By which two are the same.
    pub(crate) fn place(&self) -> (IfName, u32) {
        (self.physical, self.wanted.number())
    }

    /// The guest's MAC address, without which one that is in use and one that
    /// is not could not be told apart.
    pub(crate) fn mac(&self) -> Result<Mac, Invalid> {
        let none = || Invalid::new("virtual function", self, "is to have a MAC address");
        self.wanted.mac_address().ok_or_else(none)
    }

    /// Looks for what makes it impossible; gives its address.
    pub(crate) fn look(&self) -> Result<PciAddress, Error> {
        self.mac()?;
        let all = VirtualFunctions::of(self.physical)?;
        let mut places = (0..).zip(all.addresses());
        let found = places.find(|(number, _)| *number == self.wanted.number());
        found
            .map(|(_, address)| *address)
            .ok_or_else(|| self.absent())
    }

    pub(crate) fn apply(&self) -> Result<Found, Error> {
        let address = self.look()?;
        let mut rtnl = Rtnl::open()?;
        let (physical, mtu) = self.physical(&mut rtnl)?;
        rtnl.apply(|changes| changes.set_vf(physical, &self.wanted))?;
        let mac = self.mac()?;
        Ok(Found { address, mac, mtu })
    }

    pub(crate) fn find(&self) -> Result<Option<Found>, Error> {
        let address = match self.look() {
            Err(error) if error.is_not_found() => return Ok(None),
            address => address?,
        };
        let mut rtnl = Rtnl::open()?;
        let (physical, mtu) = self.physical(&mut rtnl)?;
        let functions = rtnl.virtual_functions(physical)?;
        let mac = self.mac()?;
        let found = functions.iter().any(|now| self.wanted.is_met_by(now));
        Ok(found.then_some(Found { address, mac, mtu }))
    }

    /// Takes back what was set.
    pub(crate) fn remove(&self) -> Result<(), Error> {
        let mut rtnl = Rtnl::open()?;
        let (physical, _) = self.physical(&mut rtnl)?;
        let functions = rtnl.virtual_functions(physical)?;
        let ours = |now: &VirtualFunction| {
            now.number() == self.wanted.number() && now.mac_address() == self.wanted.mac_address()
        };
        if !functions.iter().any(ours) {
            return Ok(());
        }
        rtnl.apply(|changes| changes.set_vf(physical, &self.wanted.unset()))
    }

    fn physical(&self, rtnl: &mut Rtnl) -> Result<(IfIndex, u32), Error> {
        let link = rtnl.link(self.physical)?.ok_or_else(|| Error::Absent {
            kind: "interface",
            name: self.physical.as_str().into(),
        })?;
        Ok((link.index(), link.mtu()))
    }

    fn absent(&self) -> Error {
        Error::Absent {
            kind: "virtual function",
            name: self.to_string().into(),
        }
    }
}

impl fmt::Display for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (physical, number) = self.place();
        write!(f, "{number} of {physical}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::{VfLinkState, VfRate, VfVlan};

    fn wanted() -> VirtualFunction {
        VirtualFunction::new(3)
            .mac(Mac::known([2, 0, 0, 0, 0, 5]))
            .vlan(VfVlan::new(10))
            .spoof_check(true)
    }

    #[test]
    fn what_the_driver_does_not_tell_is_taken_for_granted_but_the_mac_address() {
        let told = wanted().trust(false).rate(VfRate::new(0, 100));
        assert!(wanted().is_met_by(&told));
        assert!(wanted().is_met_by(&VirtualFunction::new(3).mac(Mac::known([2, 0, 0, 0, 0, 5]))));
        for other in [
            VirtualFunction::new(3),
            wanted().mac(Mac::known([2, 0, 0, 0, 0, 6])),
            wanted().vlan(VfVlan::new(11)),
            wanted().spoof_check(false),
        ] {
            assert!(!wanted().is_met_by(&other), "{other:?}");
        }
    }

    #[test]
    fn only_what_was_set_is_taken_back() {
        let back = wanted().unset();
        assert_eq!(back.mac_address(), Some(Mac::known([0; 6])));
        assert_eq!(back.vlan_tag(), Some(VfVlan::new(0)));
        assert_eq!(back.is_spoof_checked(), Some(true));
        assert_eq!((back.is_trusted(), back.carrier()), (None, None));
        assert_eq!(back.rate_limit(), None);
        let all = wanted()
            .trust(true)
            .link_state(VfLinkState::ENABLE)
            .rate(VfRate::new(1, 2));
        let back = all.unset();
        assert_eq!(back.is_trusted(), Some(false));
        assert_eq!(back.carrier(), Some(VfLinkState::AUTO));
        assert_eq!(back.rate_limit(), Some(VfRate::new(0, 0)));
    }
}
