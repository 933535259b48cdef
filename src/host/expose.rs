//! Ports are opened and closed.

use std::collections::HashSet;
use std::{mem, ptr, slice};

use super::known::Known;
use super::{Flows, Host};
use crate::conntrack::{self, Flow, FlowFilter, TupleFilter};
use crate::error::{Conflict, Error};
use crate::exposure::{Destination, Exposure, Key, Mapping, Protocol};
use crate::layout::{exposure_element, exposure_key, read_exposure};
use crate::nft::{Comment, Element};
use crate::route::Ipv4Setting;

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
        self.expose_all(slice::from_ref(exposure))
    }

    /// Opens several ports of the host at once, all of them or none, as
    /// [`expose`](Self::expose) does with one.
    ///
    /// # Errors
    /// As [`expose`](Self::expose), for the first exposure that is at fault;
    /// [`Error::Conflict`] also if two of them want the same port for
    /// different targets.
    pub fn expose_all(&mut self, exposures: &[Exposure]) -> Result<(), Error> {
        let mut mappings = mem::take(&mut self.mappings);
        let result = self
            .map(exposures, &mut mappings)
            .and_then(|()| self.put_in_force(&mappings));
        self.mappings = mappings;
        result
    }

    fn put_in_force(&mut self, mappings: &[Mapping]) -> Result<(), Error> {
        self.check_guests(mappings)?;
        let put_in_force = self
            .check_ports(mappings)
            .and_then(|()| self.open_loopback(mappings))
            .and_then(|()| self.add_elements(mappings));
        if put_in_force.is_err() {
            self.correct(mappings);
        }
        put_in_force?;
        self.end_older_flows(mappings)
    }

    /// What the kernel is to know of `exposures`, in the place of what
    /// `mappings` held.
    fn map(&mut self, exposures: &[Exposure], mappings: &mut Vec<Mapping>) -> Result<(), Error> {
        mappings.clear();
        for exposure in exposures {
            for target in exposure.targets() {
                if let Destination::Name(name) = target.guest()
                    && self.known.guest_of_name(name.as_str()).is_none()
                {
                    self.read()?;
                }
                let known = &self.known;
                exposure.map_to(
                    target,
                    |guest, ipv4| known.address_of(guest, ipv4),
                    mappings,
                )?;
            }
        }
        Ok(())
    }

    /// Has what is remembered of these ports be what the kernel has, after
    /// they were remembered in advance and did not come into force.
    fn correct(&mut self, exposures: &[Mapping]) {
        for exposure in exposures {
            // Where the kernel cannot be asked either, the first error is the
            // one to tell.
            match self.holder_of(exposure) {
                Ok(Some(holder)) => self.known.exposed(&holder),
                Ok(None) | Err(_) => self.known.withdrawn(exposure),
            }
        }
    }

    /// Closes the ports of an exposure.
    ///
    /// # Errors
    /// [`Error::Absent`] if this exposure is not in force, also if the port
    /// leads elsewhere; [`Error::Refused`] from the kernel. With
    /// [`Flows::Cut`] its flows are ended in any case, so that an agent that
    /// was killed before that can repeat the call.
    pub fn withdraw(&mut self, exposure: &Exposure, flows: Flows) -> Result<(), Error> {
        let mut mappings = mem::take(&mut self.mappings);
        let result = self
            .map(slice::from_ref(exposure), &mut mappings)
            .and_then(|()| self.take_out_of_force(&mappings, flows));
        self.mappings = mappings;
        if result? {
            return Ok(());
        }
        Err(Error::Absent {
            kind: "exposure",
            name: exposure.to_string().into(),
        })
    }

    /// Whether any of it was in force.
    fn take_out_of_force(&mut self, mappings: &[Mapping], flows: Flows) -> Result<bool, Error> {
        self.batch.clear();
        let mut in_force = Vec::with_capacity(mappings.len());
        for mapping in mappings {
            if self.holder_of(mapping)?.as_ref() == Some(mapping) {
                let key = Element::new(exposure_key(mapping));
                self.batch
                    .destroy_elements(self.layout.map_of(mapping), [key]);
                in_force.push(mapping);
            }
        }
        self.nft.commit(&mut self.batch)?;
        for mapping in &in_force {
            self.known.withdrawn(mapping);
        }
        if flows == Flows::Cut {
            for mapping in mappings {
                self.cut(mapping)?;
            }
        }
        Ok(!in_force.is_empty())
    }

    /// Makes sure that each exposure leads to an attached guest.
    fn check_guests(&mut self, exposures: &[Mapping]) -> Result<(), Error> {
        let stranger = |known: &Known| {
            let runs = exposures.chunk_by(|one, next| one.guest().ip() == next.guest().ip());
            let mut addresses = runs.filter_map(|run| Some(run.first()?.guest().ip()));
            addresses.find(|&address| known.guest_of_address(address).is_none())
        };
        if stranger(&self.known).is_some() {
            self.read()?;
        }
        match stranger(&self.known) {
            None => Ok(()),
            Some(address) => Err(Error::Absent {
                kind: "guest",
                name: address.to_string().into(),
            }),
        }
    }

    /// Makes sure that the ports are free, since a batch that the kernel
    /// refuses takes it 8–12 ms. The exposures are remembered at once, so
    /// that those that clash with each other are found as well.
    fn check_ports(&mut self, exposures: &[Mapping]) -> Result<(), Error> {
        for (index, exposure) in exposures.iter().enumerate() {
            if self.known.claim(exposure) {
                continue;
            }
            self.check_free(exposure)?;
            let rival = exposures
                .iter()
                .take(index)
                .find(|other| other.key() == exposure.key() && other.guest() != exposure.guest());
            if let Some(rival) = rival {
                return Err(Conflict::new(exposure, rival).into());
            }
            self.known.exposed(exposure);
        }
        Ok(())
    }

    /// Has packets from loopback addresses go out by the TAPs of guests that
    /// serve them, and the answers come in. Neighbours and guests gain nothing
    /// by that: their packets to loopback addresses are dropped before.
    fn open_loopback(&mut self, exposures: &[Mapping]) -> Result<(), Error> {
        for exposure in exposures
            .iter()
            .filter(|exposure| exposure.key().is_on_loopback())
        {
            let guest = self.known.guest_of_address(exposure.guest().ip());
            let tap = guest.map(|guest| guest.tap);
            if let Some(tap) = tap
                && let Some(link) = self.rtnl.link(tap)?
            {
                let settings = [(Ipv4Setting::RouteLocalnet, 1)];
                self.rtnl
                    .apply(|changes| changes.set_ipv4(link.index(), &settings))?;
            }
        }
        Ok(())
    }

    /// Adds the elements of the exposures in one batch.
    fn add_elements(&mut self, exposures: &[Mapping]) -> Result<(), Error> {
        let (layout, known) = (&self.layout, &self.known);
        self.batch.clear();
        for map in layout.exposure_maps() {
            let theirs = exposures
                .iter()
                .filter(|exposure| ptr::eq(layout.map_of(exposure), map));
            // Exposures of one guest mostly come one after the other.
            let mut last = None;
            let elements = theirs.map(|exposure| {
                let address = exposure.guest().ip();
                let (_, label) = last
                    .filter(|&(guest, _)| guest == address)
                    .unwrap_or_else(|| {
                        let guest = known.guest_of_address(address);
                        let label = guest.and_then(|guest| Comment::new(guest.name()).ok());
                        (address, label)
                    });
                last = Some((address, label));
                exposure_element(exposure, label)
            });
            self.batch.add_elements(map, elements);
        }
        match self.nft.commit(&mut self.batch) {
            Err(error) if error.is_exists() => {
                for exposure in exposures {
                    self.check_free(exposure)?;
                }
                Err(error)
            }
            Err(error) if error.raw_os_error() == Some(libc::ENFILE) => {
                // All maps are of one size.
                let capacity = self.layout.dnat4.capacity().unwrap_or_default();
                Err(Error::Full {
                    what: "exposures",
                    capacity,
                })
            }
            result => result,
        }
    }

    /// What the kernel has on the host's side of this exposure.
    fn holder_of(&mut self, exposure: &Mapping) -> Result<Option<Mapping>, Error> {
        let map = self.layout.map_of(exposure);
        let element = self.nft.get_element(map, exposure_key(exposure))?;
        Ok(element.as_ref().and_then(read_exposure))
    }

    /// Asks the kernel who holds the port, and corrects what is remembered.
    fn check_free(&mut self, exposure: &Mapping) -> Result<(), Error> {
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

    /// Ends UDP flows to these ports of the host that do not reach the guest
    /// that the port leads to now. Flows to other hosts' ports of that number
    /// pass through and are left alone.
    fn end_older_flows(&mut self, exposures: &[Mapping]) -> Result<(), Error> {
        for family in [FlowFilter::ipv4(), FlowFilter::ipv6()] {
            let of_family = |exposure: &&Mapping| {
                exposure.protocol == Protocol::Udp
                    && FlowFilter::family_of(exposure.guest().ip()) == family
            };
            let mut original = TupleFilter::new().protocol(Protocol::Udp.number());
            let mut made = exposures.iter().filter(of_family);
            match (made.next(), made.next()) {
                (None, _) => continue,
                (Some(only), None) => original = original.destination_port(only.host_port.get()),
                (Some(_), Some(_)) => {}
            }
            let flows = conntrack::flows(self.nft.connection_mut(), &family.original(original))?;
            for flow in self.astray(exposures, flows)? {
                let this = family.original(TupleFilter::from(flow.original()));
                conntrack::delete(self.nft.connection_mut(), &this)?;
            }
        }
        Ok(())
    }

    /// Of these flows, those to a port of the host that was exposed now and
    /// that reach something else than its guest. Other ports are not looked
    /// at: what is remembered of them may be out of date.
    fn astray(&mut self, made: &[Mapping], mut flows: Vec<Flow>) -> Result<Vec<Flow>, Error> {
        let made: HashSet<Key> = made.iter().map(Mapping::key).collect();
        flows.retain(|flow| {
            let to = flow.original();
            let port = to.destination_port().unwrap_or_default();
            let keys = Key::reached_at(Protocol::Udp, to.destination(), port);
            if !keys.is_some_and(|keys| keys.iter().any(|key| made.contains(key))) {
                return false;
            }
            let target = self.known.target_at(Protocol::Udp, to.destination(), port);
            target.is_some_and(|target| target.ip() != flow.reply().source())
        });
        if !flows.is_empty() {
            let addresses = self.rtnl.addresses(None)?;
            let local: HashSet<_> = addresses
                .iter()
                .map(|address| address.net().addr())
                .collect();
            flows.retain(|flow| local.contains(&flow.original().destination()));
        }
        Ok(flows)
    }
}
