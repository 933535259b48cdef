//! What a responder has done.

/// What a [`Responder`](super::Responder) has done since it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct ResponderCounters {
    pub(super) dhcp: u64,
    pub(super) dhcp6: u64,
    pub(super) advertisements: u64,
    pub(super) neighbours: u64,
    pub(super) passed_over: u64,
    pub(super) lost: u64,
}

impl ResponderCounters {
    /// Messages of DHCP that were answered.
    pub fn dhcp(&self) -> u64 {
        self.dhcp
    }

    /// Messages of DHCPv6 that were answered.
    pub fn dhcp6(&self) -> u64 {
        self.dhcp6
    }

    /// Router advertisements, asked for or not.
    pub fn advertisements(&self) -> u64 {
        self.advertisements
    }

    /// Neighbour solicitations that were answered in a gateway's stead.
    pub fn neighbours(&self) -> u64 {
        self.neighbours
    }

    /// Messages that are malformed, not for this server, or need no answer.
    pub fn passed_over(&self) -> u64 {
        self.passed_over
    }

    /// Answers that the TAP did not take.
    pub fn lost(&self) -> u64 {
        self.lost
    }
}
