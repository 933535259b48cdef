//! Guests whose links are somebody else's.

use std::collections::BTreeSet;

use super::Host;
use crate::error::{Conflict, Error};
use crate::guest::{Attachment, Elsewhere};
use crate::layout::read_uplink;
use crate::nft::Element;
use crate::route::Ipv4Setting;
use crate::types::IfName;

impl Host {
    /// Makes sure that the link is there by which a guest elsewhere is
    /// reached, and that no other guest has an address of its.
    pub(super) fn check_elsewhere(
        &mut self,
        guest: &Attachment,
        place: &Elsewhere,
    ) -> Result<(), Error> {
        let link = place.link();
        if self.rtnl.link(link)?.is_none() {
            return Err(Error::Absent {
                kind: "interface",
                name: link.as_str().into(),
            });
        }
        for address in place.addresses() {
            if let Some(holder) = self.known.guest_of_address(address) {
                let wanted = format!("address {address} of guest {}", guest.name());
                return Err(Conflict::new(wanted, format!("guest {}", holder.name())).into());
            }
        }
        Ok(())
    }

    /// Has packets from loopback addresses go out by a link of somebody
    /// else's, and the answers come in. If that was off, it is noted in the
    /// kernel first, so that it can be switched off again.
    pub(super) fn open_loopback_elsewhere(&mut self, name: IfName) -> Result<(), Error> {
        let Some(link) = self.rtnl.link(name)? else {
            return Ok(());
        };
        if link.ipv4_setting(Ipv4Setting::RouteLocalnet) == Some(1) {
            return Ok(());
        }
        self.batch.clear();
        let noted = [Element::new(name)];
        self.batch
            .add_elements(&self.layout.elsewhere.localnet, noted);
        self.commit_notes()?;
        let settings = [(Ipv4Setting::RouteLocalnet, 1)];
        self.rtnl
            .apply(|changes| changes.set_ipv4(link.index(), &settings))
    }

    /// Switches off again what was switched on for guests elsewhere that are
    /// not there any more, on the links by which none of the others serves a
    /// loopback address.
    pub(super) fn close_loopback_elsewhere(&mut self) -> Result<(), Error> {
        let noted = self.nft.elements(&self.layout.elsewhere.localnet)?;
        if noted.is_empty() {
            return Ok(());
        }
        let in_use: BTreeSet<IfName> = self
            .known
            .guests()
            .filter(|guest| self.known.serves_loopback(guest))
            .filter_map(|guest| Some(guest.elsewhere()?.link()))
            .collect();
        let unused = noted.iter().filter_map(read_uplink);
        let unused: Vec<IfName> = unused.filter(|name| !in_use.contains(name)).collect();
        for name in &unused {
            if let Some(link) = self.rtnl.link(*name)? {
                let settings = [(Ipv4Setting::RouteLocalnet, 0)];
                self.rtnl
                    .apply(|changes| changes.set_ipv4(link.index(), &settings))?;
            }
        }
        self.batch.clear();
        let gone = unused.into_iter().map(Element::new);
        self.batch
            .destroy_elements(&self.layout.elsewhere.localnet, gone);
        if self.batch.is_empty() {
            return Ok(());
        }
        self.commit_notes()
    }

    /// Commits what is queued, whatever others have changed meanwhile. The
    /// kernel may have had it all, and not count on: then nobody could tell
    /// this change from another's.
    fn commit_notes(&mut self) -> Result<(), Error> {
        self.nft.commit(&mut self.batch)?;
        self.known.outdated();
        Ok(())
    }
}
