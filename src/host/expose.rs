//! Ports are opened, moved and closed.

use std::net::IpAddr;
use std::slice;

use super::{Flows, Host};
use crate::error::{Error, Invalid};
use crate::exposure::{Destination, Exposure};
use crate::guest::Attachment;
use crate::route::Ipv4Setting;

impl Host {
    /// Opens a port of the host, or several, to a guest, or several. An
    /// exposure that is in force stays as it is, so the call can be repeated.
    ///
    /// One that is in force with another allow list, limit, balance or label
    /// is replaced as a whole: at no time is the port closed, or open to
    /// more than the one or the other allows. Its flows go on, also those of
    /// clients that are no longer allowed, and are not counted against a new
    /// limit; [`repoint`](Self::repoint) can cut them.
    ///
    /// UDP flows to that port of the host that began before are ended, since
    /// they would not notice the exposure while they last.
    ///
    /// Two exposures of one port clash, unless one is for a single host
    /// address and the other for all of them, which serves the rest. A large
    /// range clashes with another range only: it is a single element of a
    /// set, behind those of single ports (more than 1 024 ports that the guest
    /// has as well, one guest, open to everyone without a limit).
    ///
    /// # Errors
    /// [`Error::Absent`] if no attached guest has the address or name;
    /// [`Error::Conflict`] if a port is exposed otherwise: to another guest
    /// or port, or together with other ports or host addresses (names the
    /// holder, and a label if it has one); [`Error::Invalid`] for an allowed
    /// network of a family that is not exposed; [`Error::Refused`] from the
    /// kernel.
    pub fn expose(&mut self, exposure: &Exposure) -> Result<(), Error> {
        self.expose_all(slice::from_ref(exposure))
    }

    /// Opens several ports of the host at once, all of them or none, as
    /// [`expose`](Self::expose) does with one.
    ///
    /// # Errors
    /// As [`expose`](Self::expose), for the first exposure that is at fault;
    /// [`Error::Conflict`] also if two of them differ and want the same port.
    pub fn expose_all(&mut self, exposures: &[Exposure]) -> Result<(), Error> {
        if !self.add_plain(exposures)? {
            self.check(exposures)?;
            self.settle(exposures, &[])?;
        }
        self.end_older_flows(exposures, &[])
    }

    /// Puts `new` in the place of `old` in one change, so that a port that
    /// both have is never closed: it leads to the one guest or the other.
    /// What only `old` has is closed, what only `new` has is opened.
    ///
    /// With [`Flows::Cut`], flows of `old` end that `new` would not lead to
    /// the same guest, or whose clients it does not allow. To cut those of
    /// an exposure in force by an allow list, repoint it to itself with that.
    ///
    /// That `old` is not in force and `new` is, as after an earlier call, is
    /// no error.
    ///
    /// # Errors
    /// [`Error::Absent`] if `old` is not in force; what
    /// [`expose`](Self::expose) returns for `new`. Nothing has changed then.
    pub fn repoint(&mut self, old: &Exposure, new: &Exposure, flows: Flows) -> Result<(), Error> {
        let wanted = slice::from_ref(new);
        if !self.change_plain(old, Some(new))? {
            self.check(wanted)?;
            self.settle(wanted, slice::from_ref(old))?;
        }
        let old = self.reaches(slice::from_ref(old));
        if flows == Flows::Cut {
            let new = self.reaches(wanted);
            self.cut(&old, &new)?;
        }
        self.end_older_flows(wanted, &old)
    }

    /// Closes the ports of an exposure in one change. What it is called, who
    /// may connect and how many are not compared.
    ///
    /// # Errors
    /// [`Error::Absent`] if this exposure is not in force, also if the port
    /// leads elsewhere; [`Error::Refused`] from the kernel. With
    /// [`Flows::Cut`] its flows are ended in any case, so that an agent that
    /// was killed before that can repeat the call.
    pub fn withdraw(&mut self, exposure: &Exposure, flows: Flows) -> Result<(), Error> {
        let exposures = slice::from_ref(exposure);
        let mut was_in_force = self.change_plain(exposure, None)?;
        if !was_in_force {
            match self.meet_guests(exposures) {
                // A killed agent may have left what leads to nobody.
                Err(Error::Absent { .. }) => {}
                result => result?,
            }
            was_in_force = self.settle(&[], exposures)?;
        }
        if flows == Flows::Cut {
            let reaches = self.reaches(exposures);
            self.cut(&reaches, &[])?;
        }
        if was_in_force {
            return Ok(());
        }
        Err(absent(exposure))
    }

    /// Makes sure that the exposures can be, and that each leads to attached
    /// guests.
    fn check(&mut self, exposures: &[Exposure]) -> Result<(), Error> {
        let checked: Result<(), Invalid> = exposures.iter().try_for_each(Exposure::check_clients);
        checked?;
        self.meet_guests(exposures)
    }

    fn meet_guests(&mut self, exposures: &[Exposure]) -> Result<(), Error> {
        let first = self.find_guests(exposures);
        if first.is_ok() {
            return first;
        }
        self.read()?;
        self.find_guests(exposures)
    }

    fn find_guests(&self, exposures: &[Exposure]) -> Result<(), Error> {
        let mut found: Option<&Destination> = None;
        for target in exposures.iter().flat_map(Exposure::targets) {
            // Exposures of one guest mostly come one after the other.
            if found != Some(target.guest()) {
                self.known.attached_of(target.guest())?;
                found = Some(target.guest());
            }
        }
        Ok(())
    }

    /// Has packets from loopback addresses go out by the TAPs of guests that
    /// serve them, and the answers come in. Neighbours and guests gain nothing
    /// by that: their packets to loopback addresses are dropped before.
    pub(super) fn open_loopback(&mut self, exposures: &[Exposure]) -> Result<(), Error> {
        for exposure in exposures {
            let mut addresses = exposure.host_addresses().iter();
            if !addresses.any(IpAddr::is_loopback) {
                continue;
            }
            for target in exposure.targets() {
                let address = self.known.seat_of(target.guest(), true)?.address;
                self.known.serves_on_loopback(address);
                let guest = self.known.guest_of_address(address);
                if let Some(place) = guest.and_then(Attachment::elsewhere) {
                    let link = place.link();
                    self.open_loopback_elsewhere(link)?;
                    continue;
                }
                let tap = guest.map(|guest| guest.tap);
                if let Some(tap) = tap
                    && let Some(link) = self.rtnl.link(tap)?
                {
                    let settings = [(Ipv4Setting::RouteLocalnet, 1)];
                    self.rtnl
                        .apply(|changes| changes.set_ipv4(link.index(), &settings))?;
                }
            }
        }
        Ok(())
    }
}

/// That an exposure is not in force.
pub(super) fn absent(exposure: &Exposure) -> Error {
    Error::Absent {
        kind: "exposure",
        name: exposure.to_string().into(),
    }
}
