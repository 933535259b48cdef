//! What everything that is passed on has in common.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use smoltcp::time::Instant;

use super::cable::Cable;
use super::counters::Shared;
use super::packet::{self, Sent, Why};
use super::reach::Reach;
use super::settings::{self, ProxiedSettings};
use crate::relay::Poller;

/// The way to the guest, the way out, and what is counted and allowed.
#[derive(Debug)]
pub(super) struct Outside {
    pub(super) cable: Cable,
    pub(super) poller: Poller,
    pub(super) counters: Arc<Shared>,
    pub(super) reach: Reach,
    pub(super) settings: ProxiedSettings,
    pub(super) began: std::time::Instant,
}

impl Outside {
    /// The time since this was opened, as smoltcp counts it.
    pub(super) fn now(&self) -> Instant {
        let micros = self.began.elapsed().as_micros();
        Instant::from_micros(i64::try_from(micros).unwrap_or(i64::MAX))
    }

    /// Whether the guest can be shown this address of a client, and answer.
    pub(super) fn shows(&self, client: IpAddr) -> bool {
        let ipv4 = client.is_ipv4();
        let is_own = client == self.settings.guest(ipv4) || client == self.settings.gateway(ipv4);
        settings::is_plain(client) && !is_own
    }

    /// Sends the guest a datagram, or counts it as lost.
    pub(super) fn send_datagram(&mut self, from: SocketAddr, to: SocketAddr, payload: &[&[u8]]) {
        if !packet::send_datagram(&mut self.cable, from, to, payload) {
            self.counters.lost.one();
        }
    }

    /// Tells the guest that what it sent does not arrive. The destination
    /// itself says so of a port, the gateway of the rest.
    pub(super) fn unreachable(&mut self, sent: &Sent<'_>, why: Why) {
        let teller = if why == Why::Port {
            sent.to
        } else {
            self.settings.gateway(sent.to.is_ipv4())
        };
        sent.unreachable(&mut self.cable, teller, why);
    }
}

/// What the poller's descriptors are told apart by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token {
    Stop,
    Cable,
    Connection(u64),
    Exchange(u64),
    Echo(u64),
    Door(u64),
}

impl From<Token> for u64 {
    fn from(token: Token) -> Self {
        let (number, kind) = match token {
            Token::Stop => (0, 0),
            Token::Cable => (0, 1),
            Token::Connection(number) => (number, 2),
            Token::Exchange(number) => (number, 3),
            Token::Echo(number) => (number, 4),
            Token::Door(number) => (number, 5),
        };
        number << 3 | kind
    }
}

impl From<u64> for Token {
    fn from(token: u64) -> Self {
        let number = token >> 3;
        match token & 7 {
            0 => Self::Stop,
            1 => Self::Cable,
            2 => Self::Connection(number),
            3 => Self::Exchange(number),
            4 => Self::Echo(number),
            _ => Self::Door(number),
        }
    }
}

/// So long after `time`.
pub(super) fn after(time: Instant, so_long: Duration) -> Instant {
    let micros = i64::try_from(so_long.as_micros()).unwrap_or(i64::MAX);
    Instant::from_micros(time.total_micros().saturating_add(micros))
}
