//! What an owner has on a node, drawn as a tree.

use std::fmt;

use tapwire::{Attachment, Exposed};

use crate::function;

/// The guests of a node with their ports; printed by its `Display`.
pub(crate) struct Topology<'a> {
    guests: &'a [Attachment],
    exposed: &'a [Exposed],
}

impl<'a> Topology<'a> {
    /// What [`Host`](tapwire::Host) read back from the kernel.
    pub(crate) fn new(guests: &'a [Attachment], exposed: &'a [Exposed]) -> Self {
        Self { guests, exposed }
    }

    /// The ports of a guest, those of both families on one line.
    fn ports(&self, guest: &Attachment) -> Vec<Port> {
        let mut ports: Vec<Port> = Vec::new();
        for exposed in self.exposed {
            let exposure = exposed.exposure();
            let address = function::address(exposure);
            let own = function::addresses(guest);
            let Some(address) = address.filter(|address| own.contains(address)) else {
                continue;
            };
            let words = function::words(exposure);
            let place = ports.iter().position(|port| port.words == words);
            let mut port = match place {
                Some(place) => ports.remove(place),
                None => Port {
                    words,
                    order: (
                        exposure.host_ports().first(),
                        exposure.protocol().to_string(),
                    ),
                    ipv4: None,
                    ipv6: None,
                },
            };
            let count = if address.is_ipv4() {
                &mut port.ipv4
            } else {
                &mut port.ipv6
            };
            *count = Some(exposed.connections());
            ports.push(port);
        }
        ports.sort_by(|a, b| a.order.cmp(&b.order));
        ports
    }
}

impl fmt::Display for Topology<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut guests = self.guests.iter().peekable();
        while let Some(guest) = guests.next() {
            let (branch, trunk) = match guests.peek() {
                Some(_) => ("├─", "│ "),
                None => ("└─", "  "),
            };
            writeln!(
                f,
                "  {branch} {}  {}/{}  {}/{}",
                guest.tap(),
                guest.gateway_ipv4(),
                guest.prefix_ipv4(),
                guest.gateway_ipv6(),
                guest.prefix_ipv6(),
            )?;
            writeln!(
                f,
                "  {trunk}   └─ {}  {}  {}  {}",
                guest.name(),
                guest.ipv4(),
                guest.ipv6(),
                guest.mac(),
            )?;
            let ports = self.ports(guest);
            let width = ports
                .iter()
                .map(|port| port.words.chars().count())
                .max()
                .unwrap_or(0);
            for port in ports {
                writeln!(
                    f,
                    "  {trunk}        {:width$}  {}",
                    port.words,
                    port.counts()
                )?;
            }
        }
        Ok(())
    }
}

/// A port of the node, in words, and how many connections it has had.
struct Port {
    words: String,
    order: (u16, String),
    ipv4: Option<u64>,
    ipv6: Option<u64>,
}

impl Port {
    fn counts(&self) -> String {
        let count = |count: Option<u64>, family| Some(format!("{} over {family}", count?));
        let counts: Vec<_> = [count(self.ipv4, "IPv4"), count(self.ipv6, "IPv6")]
            .into_iter()
            .flatten()
            .collect();
        format!("connections: {}", counts.join(", "))
    }
}
