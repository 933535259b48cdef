//! Some clones run, side by side, and are reached.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use tapwire::sys::{NetNs, TapOptions};
use tapwire::{Attachment, Host, Snapshot};

use crate::support::guest::{Config, Guest};
use crate::support::network::{CLIENT, CLIENT_PORT, NODE, Network};
use crate::support::program::Failure;
use crate::support::table::Table;
use crate::support::{client, http};

/// A clone that runs: a TCP/IP stack with the snapshot's addresses on its TAP.
pub(crate) struct Running {
    clone: Attachment,
    port: u16,
    guest: Guest,
}

impl Running {
    /// Resumes an attached clone and exposes its web and echo server.
    pub(crate) fn start(host: &mut Host, clone: &Attachment, port: u16) -> Result<Self, Failure> {
        for protocol in ["tcp", "udp"] {
            let exposure = format!("{protocol}/{port}->{}:{WEB}", clone.name());
            host.expose(&exposure.parse()?)?;
        }
        let inside = Snapshot::of(clone);
        let net = inside.ipv4_net();
        let mut config = Config::new(clone.name(), inside.mac())
            .ipv4(net.addr(), net.prefix_len(), inside.gateway_ipv4())
            .http(WEB)
            .echo(WEB);
        if let Some((net, gateway)) = inside.ipv6_net().zip(inside.gateway_ipv6()) {
            config = config.ipv6(net.addr(), net.prefix_len(), gateway);
        }
        let tap = host.open_tap(clone, TapOptions::nonblocking)?;
        Ok(Self {
            clone: clone.clone(),
            port,
            guest: Guest::start(OwnedFd::from(tap), config)?,
        })
    }
}

/// What was tried, and how often it went as it should.
pub(crate) struct Report {
    kinds: Vec<(&'static str, usize, usize)>,
}

impl Report {
    pub(crate) fn checked(&self) -> usize {
        self.kinds.iter().map(|(_, checked, _)| checked).sum()
    }

    pub(crate) fn wrong(&self) -> usize {
        let right: usize = self.kinds.iter().map(|(_, _, right)| right).sum();
        self.checked().saturating_sub(right)
    }

    /// Notes one more check.
    pub(crate) fn note(&mut self, kind: &'static str, is_right: bool) {
        if !self.kinds.iter().any(|(known, _, _)| *known == kind) {
            self.kinds.push((kind, 0, 0));
        }
        let noted = self.kinds.iter_mut().find(|(known, _, _)| *known == kind);
        if let Some((_, checked, right)) = noted {
            *checked = checked.saturating_add(1);
            *right = right.saturating_add(usize::from(is_right));
        }
    }

    /// The table.
    pub(crate) fn text(&self) -> String {
        let mut table = Table::new(&["reached", "tried", "answered by the right one"])
            .indent(2)
            .right(1)
            .right(2);
        for (kind, checked, right) in &self.kinds {
            table.row([kind, checked, right]);
        }
        table.to_string()
    }
}

/// Reaches each of the clones in each way; in each it must be that one that
/// answers, or that is seen.
pub(crate) fn reach(network: &Network, all: &[Running]) -> Result<Report, Failure> {
    let mut report = Report { kinds: Vec::new() };
    for one in all {
        let own = [IpAddr::from(one.clone.ipv4()), one.clone.ipv6().into()];
        for (address, node) in own.into_iter().zip(NODE) {
            let direct = SocketAddr::new(address, WEB);
            let exposed = SocketAddr::new(node, one.port);
            report.note(
                "node → its own address",
                asked(network.node(), direct, one)?,
            );
            report.note(
                "client → its exposure",
                asked(network.client(), exposed, one)?,
            );
        }
        for address in CLIENT {
            let to = SocketAddr::new(address, CLIENT_PORT);
            let body = soon(|timeout| one.guest.http_get(to, "/", timeout).ok());
            let seen = body.as_deref().and_then(http::greeting_in);
            // The client sees the node, which masquerades.
            let is_node = seen.is_some_and(|(_, source)| NODE.contains(&source.ip()));
            report.note("clone → client", is_node);
        }
    }
    Ok(report)
}

/// Whether that one answers there, over TCP and over UDP.
fn asked(from: &NetNs, to: SocketAddr, one: &Running) -> Result<bool, Failure> {
    let ask = || {
        let body = soon(|timeout| client::http_get(to, "/", timeout).ok());
        let answer = body.as_deref().and_then(http::greeting_in);
        let named = answer.is_some_and(|(name, _)| name == one.clone.name());
        let seen_before = one.guest.seen().len();
        let echo = soon(|timeout| client::udp_ask(None, to, b"ping", timeout).ok());
        named && echo.is_some() && one.guest.seen().len() > seen_before
    };
    from.run(ask).map_err(Into::into)
}

/// Tries until there is an answer: the first packet may wait for a neighbour.
fn soon<T>(mut attempt: impl FnMut(Duration) -> Option<T>) -> Option<T> {
    let start = Instant::now();
    loop {
        let result = attempt(Duration::from_secs(1));
        if result.is_some() || start.elapsed() > PATIENCE {
            return result;
        }
    }
}

const PATIENCE: Duration = Duration::from_secs(5);

/// Where each clone serves.
const WEB: u16 = 80;
