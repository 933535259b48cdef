//! What a VMM is given.

use super::Host;
use crate::error::Error;
use crate::guest::Attachment;
use crate::sys::{NetNs, Tap, TapOptions};

impl Host {
    /// Opens an attached guest's TAP for a VMM that takes descriptors,
    /// whichever network namespace the calling thread is in. What the last
    /// one to hold it set is [reset](Tap::reset).
    ///
    /// `options` says how it is to be opened, beginning with the guest's TAP;
    /// to make an `OwnedFd` of it, turn it into one.
    ///
    /// ```no_run
    /// use std::os::fd::OwnedFd;
    /// use tapwire::sys::TapOptions;
    /// use tapwire::{Guest, Host, Owner};
    /// let mut host = Host::open(Owner::new("riklet")?)?;
    /// let guest = host.attach(&Guest::new("hello-world")?)?;
    /// let tap = host.open_tap(&guest, TapOptions::vnet_header)?;
    /// let for_the_vmm = OwnedFd::from(tap);
    /// # Ok::<(), tapwire::Error>(())
    /// ```
    ///
    /// # Errors
    /// What [`TapOptions::attach`] returns: [`Error::Absent`] if the guest is
    /// not attached any more, [`Error::System`] (`EBUSY`) if a VMM holds its
    /// TAP.
    pub fn open_tap(
        &self,
        guest: &Attachment,
        options: impl FnOnce(TapOptions) -> TapOptions,
    ) -> Result<Tap, Error> {
        let options = options(TapOptions::new(guest.vmm_tap()));
        let open = || {
            let tap = options.attach()?;
            tap.reset()?;
            Ok(tap)
        };
        match guest.namespace() {
            Some(name) => NetNs::open_named(name)?.run(open)?,
            None => self.inside(open),
        }
    }
}
