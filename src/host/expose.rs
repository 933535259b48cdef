//! Ports are opened and closed.

use std::collections::HashSet;

use super::{Flows, Host};
use crate::conntrack::{self, FlowFilter, TupleFilter};
use crate::error::{Conflict, Error};
use crate::exposure::{Exposure, Protocol, exposure_element, exposure_key, read_exposure};
use crate::nft::{Comment, Element};

impl Host {
    /// Opens a port of the host to a guest. An exposure that is in force
    /// stays as it is, so the call can be repeated.
    ///
    /// UDP flows to that port of the host that began before are ended, since
    /// they would not notice the exposure while they last.
    ///
    /// # Errors
    /// [`Error::Absent`] if no attached guest has the address;
    /// [`Error::Conflict`] if the port is exposed to another guest or port
    /// (names the holder); [`Error::Full`] if the owner's table has no room
    /// left; [`Error::Refused`] from the kernel.
    pub fn expose(&mut self, exposure: &Exposure) -> Result<(), Error> {
        let label = self.label(exposure)?;
        match self.known.target_of(exposure) {
            Some(target) if target != exposure.guest() => self.check_free(exposure)?,
            _ => {}
        }
        self.batch.clear();
        self.batch.add_elements(
            self.layout.map_of(exposure),
            [exposure_element(exposure, label)],
        );
        match self.nft.commit(&mut self.batch) {
            Err(error) if error.is_exists() => {
                self.check_free(exposure)?;
                return Err(error);
            }
            Err(error) if error.raw_os_error() == Some(libc::ENFILE) => {
                let capacity = self.layout.map_of(exposure).capacity().unwrap_or_default();
                return Err(Error::Full {
                    what: "exposures",
                    capacity,
                });
            }
            result => result?,
        }
        self.known.exposed(exposure);
        if exposure.protocol() == Protocol::Udp {
            self.end_older_flows(exposure)?;
        }
        Ok(())
    }

    /// Closes a port of the host.
    ///
    /// # Errors
    /// [`Error::Absent`] if this exposure is not in force, also if the port
    /// leads elsewhere; [`Error::Refused`] from the kernel.
    pub fn withdraw(&mut self, exposure: &Exposure, flows: Flows) -> Result<(), Error> {
        if self.holder_of(exposure)?.as_ref() != Some(exposure) {
            return Err(Error::Absent {
                kind: "exposure",
                name: exposure.to_string().into(),
            });
        }
        self.batch.clear();
        self.batch.destroy_elements(
            self.layout.map_of(exposure),
            [Element::new(exposure_key(exposure))],
        );
        self.nft.commit(&mut self.batch)?;
        self.known.withdrawn(exposure);
        match flows {
            Flows::Cut => self.cut(exposure),
            Flows::Drain => Ok(()),
        }
    }

    /// The name of the guest that the exposure leads to.
    fn label(&mut self, exposure: &Exposure) -> Result<Option<Comment>, Error> {
        let address = exposure.guest().ip();
        if self.known.guest_of_address(address).is_none() {
            self.read()?;
        }
        let absent = || Error::Absent {
            kind: "guest",
            name: address.to_string().into(),
        };
        let guest = self.known.guest_of_address(address).ok_or_else(absent)?;
        Ok(Some(Comment::new(guest.name())?))
    }

    /// What the kernel has on the host's side of this exposure.
    fn holder_of(&mut self, exposure: &Exposure) -> Result<Option<Exposure>, Error> {
        let map = self.layout.map_of(exposure);
        let element = self.nft.get_element(map, exposure_key(exposure))?;
        Ok(element.as_ref().and_then(read_exposure))
    }

    /// Asks the kernel who holds the port, and corrects what is remembered.
    fn check_free(&mut self, exposure: &Exposure) -> Result<(), Error> {
        let Some(holder) = self.holder_of(exposure)? else {
            self.known.withdrawn(exposure);
            return Ok(());
        };
        self.known.exposed(&holder);
        if holder == *exposure {
            return Ok(());
        }
        let name = self
            .known
            .guest_of_address(holder.guest().ip())
            .map_or("unknown", |guest| guest.name());
        Err(Conflict::new(exposure, format_args!("{holder} of guest {name}")).into())
    }

    /// Ends UDP flows to this port of the host that do not reach the guest.
    /// Flows to other hosts' ports of that number pass through and are left
    /// alone.
    fn end_older_flows(&mut self, exposure: &Exposure) -> Result<(), Error> {
        let protocol = exposure.protocol().number();
        let mut original = TupleFilter::new()
            .protocol(protocol)
            .destination_port(exposure.host_port());
        if let Some(address) = exposure.host_address() {
            original = original.destination(address);
        }
        let family = FlowFilter::family_of(exposure.guest().ip());
        let mut flows = conntrack::flows(self.nft.connection_mut(), &family.original(original))?;
        flows.retain(|flow| flow.reply().source() != exposure.guest().ip());
        if flows.is_empty() {
            return Ok(());
        }
        let local: HashSet<_> = self
            .rtnl
            .addresses(None)?
            .iter()
            .map(|address| address.net().addr())
            .collect();
        for flow in flows
            .iter()
            .filter(|flow| local.contains(&flow.original().destination()))
        {
            conntrack::delete(
                self.nft.connection_mut(),
                &family.original(TupleFilter::from(flow.original())),
            )?;
        }
        Ok(())
    }
}
