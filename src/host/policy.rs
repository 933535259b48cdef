//! What guests may do comes into force, and ends.

use std::net::IpAddr;

use super::Host;
use crate::conntrack::{self, FlowFilter, TupleFilter};
use crate::error::{Error, Invalid};
use crate::guest::{Attachment, Egress};
use crate::nft::{Element, Set};

impl Host {
    /// Makes sure that the host has the addresses behind which packets are to
    /// leave: nobody would answer for another.
    pub(super) fn check_sources(&mut self, egress: &Egress) -> Result<(), Error> {
        if egress.sources().next().is_none() {
            return Ok(());
        }
        let own = self.rtnl.addresses(None)?;
        for address in egress.sources() {
            if !own.iter().any(|one| one.net().addr() == address) {
                return Err(Error::Absent {
                    kind: "address of the host",
                    name: address.to_string().into(),
                });
            }
        }
        Ok(())
    }

    /// Queues what brings a guest from what is known of it to what is wanted.
    /// What should be there already is added as well, since someone may have
    /// taken it away.
    pub(super) fn queue_guest(
        &mut self,
        wanted: &Attachment,
        before: Option<&Attachment>,
    ) -> Result<(), Invalid> {
        let layout = &self.layout;
        let elements = |guest: &Attachment| {
            let mut all: Vec<(&Set, Element)> = Vec::new();
            let peers = self.known.peers_of(guest);
            layout.guest_elements(guest, &peers, &mut |set, element| all.push((set, element)))?;
            Ok::<_, Invalid>(all)
        };
        let old = before.map_or(Ok(Vec::new()), elements)?;
        let new = elements(wanted)?;
        for (set, element) in &old {
            let stays = new
                .iter()
                .any(|(one, there)| one.name() == set.name() && there == element);
            if !stays {
                self.batch.destroy_elements(set, [element]);
            }
        }
        for (set, element) in new {
            self.batch.add_elements(set, [element]);
        }
        Ok(())
    }

    /// Queues the end of all that is known of a guest.
    pub(super) fn queue_release(&mut self, guest: &Attachment) -> Result<(), Invalid> {
        let known = self.known.guest_of_name(guest.name()).unwrap_or(guest);
        let peers = self.known.peers_of(known);
        let batch = &mut self.batch;
        self.layout
            .guest_elements(known, &peers, &mut |set, element| {
                batch.destroy_elements(set, [element]);
            })
    }

    /// Ends the connections that a guest had and may no longer have: the
    /// rules look at the first packet of each only.
    pub(super) fn end_forbidden_flows(
        &mut self,
        before: &Attachment,
        now: &Attachment,
    ) -> Result<(), Error> {
        let (old, new) = (before.policy(), now.policy());
        let own = [IpAddr::from(now.ipv4), IpAddr::from(now.ipv6)];
        let mut ended = Vec::new();
        let mut end = |from: IpAddr, original: TupleFilter| {
            ended.push(FlowFilter::family_of(from).original(original.source(from)));
        };
        let prefixes = new.egress().prefixes();
        if prefixes.is_some() && prefixes != old.egress().prefixes() {
            for own in own {
                end(own, TupleFilter::new());
            }
        }
        let services = old.services().iter();
        for service in services.filter(|service| !new.services().contains(service)) {
            let protocol = service.protocol().number();
            let port = TupleFilter::new()
                .protocol(protocol)
                .destination_port(service.port());
            for own in own {
                end(own, port);
            }
        }
        let peers = self.known.peers_of(before).into_iter();
        for lost in peers.filter(|peer| !now.is_peer_of(peer)) {
            for (own, other) in own.into_iter().zip([lost.ipv4.into(), lost.ipv6.into()]) {
                end(own, TupleFilter::new().destination(other));
                end(other, TupleFilter::new().destination(own));
            }
        }
        for filter in ended {
            conntrack::delete(self.nft.connection_mut(), &filter)?;
        }
        Ok(())
    }
}
