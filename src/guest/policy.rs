//! What a guest may do besides answering.

mod egress;
mod rate;
mod service;

pub use egress::Egress;
pub use rate::Rate;
pub use service::Service;

use super::GuestName;

/// What a guest may do besides answering those who reach it, and how fast.
///
/// By default it reaches the outside behind the host's address, and nothing
/// else: no other guest, and no port of the host.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Policy {
    peers: Vec<GuestName>,
    services: Vec<Service>,
    egress: Egress,
    rate_from: Option<Rate>,
    rate_to: Option<Rate>,
}

impl Policy {
    /// The guests that it reaches directly and that reach it, as it names
    /// them itself; in order.
    pub fn peers(&self) -> &[GuestName] {
        &self.peers
    }

    /// The ports of the host that it reaches; in order.
    pub fn services(&self) -> &[Service] {
        &self.services
    }

    /// How it reaches the outside.
    pub fn egress(&self) -> &Egress {
        &self.egress
    }

    /// How much it may send.
    pub fn rate_from(&self) -> Option<Rate> {
        self.rate_from
    }

    /// How much it may be sent.
    pub fn rate_to(&self) -> Option<Rate> {
        self.rate_to
    }

    pub(crate) fn add_peer(&mut self, peer: GuestName) {
        insert(&mut self.peers, peer);
    }

    pub(crate) fn add_service(&mut self, service: Service) {
        insert(&mut self.services, service);
    }

    pub(crate) fn set_egress(&mut self, egress: Egress) {
        self.egress = egress;
    }

    pub(crate) fn egress_mut(&mut self) -> &mut Egress {
        &mut self.egress
    }

    pub(crate) fn set_rate_from(&mut self, rate: Rate) {
        self.rate_from = Some(rate);
    }

    pub(crate) fn set_rate_to(&mut self, rate: Rate) {
        self.rate_to = Some(rate);
    }
}

/// Keeps `list` in order and each value once in it.
fn insert<T: Ord>(list: &mut Vec<T>, value: T) {
    if let Err(place) = list.binary_search(&value) {
        list.insert(place, value);
    }
}
