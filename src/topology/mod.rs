//! A picture of what an owner has on a host.
//!
//! [`Topology`] is a value that [`Host::topology`](crate::Host::topology)
//! reads from the kernel. It is drawn as a [`tree`](Topology::tree) of text,
//! for [`graphviz`](Topology::graphviz) and for
//! [`mermaid`](Topology::mermaid). Names come from others too, so each
//! drawing escapes what its form would take for its own.

mod graph;
mod graphviz;
mod mermaid;
mod ports;
#[cfg(test)]
mod tests;
mod text;
mod tree;

use std::fmt;

use ipnet::IpNet;

use crate::guest::Attachment;
use crate::host::Exposed;
use crate::owner::Owner;
use crate::route::LinkStats;

/// An owner's links, guests and exposures, with counters and conflicts, as
/// they were read from the kernel.
///
/// ```no_run
/// use tapwire::{Host, Owner};
/// let mut host = Host::open(Owner::new("riklet")?)?;
/// let topology = host.topology()?;
/// print!("{}", topology.tree());
/// std::fs::write("riklet.dot", topology.graphviz().to_string()).unwrap();
/// # Ok::<(), tapwire::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topology {
    owner: Owner,
    uplinks: Vec<Uplink>,
    guests: Vec<GuestNode>,
    strays: Vec<Exposed>,
    conflicts: Vec<Box<str>>,
}

impl Topology {
    pub(crate) fn new(owner: Owner) -> Self {
        Self {
            owner,
            uplinks: Vec::new(),
            guests: Vec::new(),
            strays: Vec::new(),
            conflicts: Vec::new(),
        }
    }

    pub(crate) fn uplink(&mut self, uplink: Uplink) {
        self.uplinks.push(uplink);
    }

    pub(crate) fn guest(&mut self, attachment: Attachment, tap: Option<TapState>) {
        self.guests.push(GuestNode {
            attachment,
            tap,
            exposures: Vec::new(),
        });
    }

    /// Puts an exposure to each of its guests, or among the strays.
    pub(crate) fn exposure(&mut self, exposed: Exposed) {
        let mut is_stray = true;
        for guest in &mut self.guests {
            if ports::leads_to(&exposed, &guest.attachment) {
                guest.exposures.push(exposed.clone());
                is_stray = false;
            }
        }
        if is_stray {
            self.strays.push(exposed);
        }
    }

    /// Adds what is in the way, to be drawn with the rest.
    #[must_use]
    pub fn conflicts<T: fmt::Display>(mut self, conflicts: impl IntoIterator<Item = T>) -> Self {
        let words = conflicts.into_iter().map(|it| it.to_string().into());
        self.conflicts.extend(words);
        self
    }

    /// Whose it is.
    pub fn owner(&self) -> &Owner {
        &self.owner
    }

    /// The interfaces by which the outside is reached, in the kernel's order.
    pub fn uplinks(&self) -> &[Uplink] {
        &self.uplinks
    }

    /// The guests, by the number of their TAP.
    pub fn guests(&self) -> &[GuestNode] {
        &self.guests
    }

    /// Exposures that lead to no attached guest.
    pub fn strays(&self) -> &[Exposed] {
        &self.strays
    }

    /// Draws it as a tree of text, one line for each thing.
    pub fn tree(&self) -> impl fmt::Display {
        tree::Tree::new(self)
    }

    /// Draws it as a graph for `dot(1)`, in the language of
    /// <https://graphviz.org/doc/info/lang.html>.
    pub fn graphviz(&self) -> impl fmt::Display {
        graphviz::Graphviz(graph::Graph::new(self))
    }

    /// Draws it as a flowchart for Mermaid, which many renderers of Markdown
    /// know: <https://mermaid.js.org/syntax/flowchart.html>.
    pub fn mermaid(&self) -> impl fmt::Display {
        mermaid::Mermaid(graph::Graph::new(self))
    }
}

/// An interface of the host that has an address for more than its own link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uplink {
    pub(crate) name: Box<str>,
    pub(crate) up: bool,
    pub(crate) addresses: Vec<IpNet>,
    pub(crate) forwards_ipv4: bool,
    pub(crate) forwards_ipv6: bool,
}

impl Uplink {
    /// Its name; see [`Link::name`](crate::route::Link::name).
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it is up and able to send.
    pub fn is_up(&self) -> bool {
        self.up
    }

    /// Its addresses, in the kernel's order.
    pub fn addresses(&self) -> &[IpNet] {
        &self.addresses
    }

    /// Whether IPv4 packets that come in by it are forwarded.
    pub fn forwards_ipv4(&self) -> bool {
        self.forwards_ipv4
    }

    /// Whether IPv6 packets that come in by it are forwarded.
    pub fn forwards_ipv6(&self) -> bool {
        self.forwards_ipv6
    }

    fn forwarding(&self) -> &'static str {
        match (self.forwards_ipv4, self.forwards_ipv6) {
            (true, true) => "forwards IPv4 and IPv6",
            (true, false) => "forwards IPv4",
            (false, true) => "forwards IPv6",
            (false, false) => "forwards nothing",
        }
    }
}

/// A guest with its TAP and its exposures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestNode {
    attachment: Attachment,
    tap: Option<TapState>,
    exposures: Vec<Exposed>,
}

impl GuestNode {
    /// The guest as it is attached.
    pub fn attachment(&self) -> &Attachment {
        &self.attachment
    }

    /// Its TAP; `None` if somebody took it away.
    pub fn tap(&self) -> Option<&TapState> {
        self.tap.as_ref()
    }

    /// The exposures that lead to it.
    pub fn exposures(&self) -> &[Exposed] {
        &self.exposures
    }

    fn state(&self) -> &'static str {
        match self.tap {
            None if self.attachment.elsewhere().is_some() => "somebody else's",

            None => "missing",
            Some(TapState { up: false, .. }) => "down",
            Some(TapState { carrier: true, .. }) => "held by a VMM",
            Some(_) => "no VMM",
        }
    }

    /// The host's end of its wire: the interface, and the addresses on it.
    fn near_end(&self) -> Vec<String> {
        let guest = &self.attachment;
        let mut words = match guest.elsewhere() {
            Some(place) => vec![text::plain(place.link().as_str())],
            None => vec![
                guest.tap().to_string(),
                format!("{}/{}", guest.gateway_ipv4(), guest.prefix_ipv4()),
                format!("{}/{}", guest.gateway_ipv6(), guest.prefix_ipv6()),
            ],
        };
        words.push(self.state().to_owned());
        words
    }

    /// The guest's own: its name, its addresses, its MAC if that is known.
    fn far_end(&self) -> Vec<String> {
        let guest = &self.attachment;
        let mut words = vec![text::plain(guest.name())];
        words.extend(guest.addresses().map(|address| address.to_string()));
        if guest.elsewhere().is_none() {
            words.push(guest.mac().to_string());
        }
        words
    }

    /// What the guest sent and got.
    fn traffic(&self) -> Option<String> {
        let stats = self.tap?.stats;
        Some(format!(
            "{} sent, {} received",
            text::Amount(stats.received_packets(), stats.received_bytes()),
            text::Amount(stats.sent_packets(), stats.sent_bytes()),
        ))
    }
}

/// The state of a guest's TAP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TapState {
    pub(crate) up: bool,
    pub(crate) carrier: bool,
    pub(crate) stats: LinkStats,
}

impl TapState {
    /// Whether the administrator has it up.
    pub fn is_up(&self) -> bool {
        self.up
    }

    /// Whether a VMM holds it open: a TAP has a carrier then, as long as it
    /// is up.
    pub fn has_carrier(&self) -> bool {
        self.carrier
    }

    /// What it has carried. Received is what the guest sent.
    pub fn stats(&self) -> LinkStats {
        self.stats
    }
}
