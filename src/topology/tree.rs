//! A tree of text.

use std::fmt;

use super::text::plain;
use super::{GuestNode, Topology, ports};
use crate::guest::Snapshot;

/// A thing in one line, and what belongs to it.
pub(super) struct Tree {
    line: String,
    branches: Vec<Self>,
}

impl Tree {
    pub(super) fn new(topology: &Topology) -> Self {
        let uplinks = topology.uplinks.iter().map(|uplink| {
            let mut words = vec![plain(&uplink.name)];
            words.extend(uplink.addresses.iter().map(ToString::to_string));
            words.push(uplink.forwarding().to_owned());
            if !uplink.up {
                words.push("down".to_owned());
            }
            Self::leaf(words.join("  "))
        });
        let mut tree = Self {
            line: topology.owner.to_string(),
            branches: uplinks.chain(topology.guests.iter().map(guest)).collect(),
        };
        let strays: Vec<_> = topology.strays.iter().map(ports::Port::stray).collect();
        tree.group("exposures that lead to no guest", port_lines(&strays));
        tree.group(
            "conflicts",
            topology.conflicts.iter().map(|conflict| plain(conflict)),
        );
        tree
    }

    fn leaf(line: String) -> Self {
        Self {
            line,
            branches: Vec::new(),
        }
    }

    /// Adds lines under a title, if there are any.
    fn group(&mut self, title: &str, lines: impl IntoIterator<Item = String>) {
        let branches: Vec<_> = lines.into_iter().map(Self::leaf).collect();
        if !branches.is_empty() {
            self.branches.push(Self {
                line: title.to_owned(),
                branches,
            });
        }
    }

    fn draw(&self, f: &mut fmt::Formatter<'_>, trunk: &str) -> fmt::Result {
        writeln!(f, "{}", self.line)?;
        let mut branches = self.branches.iter().peekable();
        while let Some(branch) = branches.next() {
            let (joint, below) = match branches.peek() {
                Some(_) => ("├─ ", "│  "),
                None => ("└─ ", "   "),
            };
            write!(f, "{trunk}{joint}")?;
            branch.draw(f, &format!("{trunk}{below}"))?;
        }
        Ok(())
    }
}

impl fmt::Display for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.draw(f, "")
    }
}

fn guest(node: &GuestNode) -> Tree {
    let guest = &node.attachment;
    let ports = ports::of(guest, &node.exposures);
    let traffic = node.traffic();
    let inside = guest.connection().snapshot().map(inside);
    let lines = inside.into_iter().chain(port_lines(&ports)).chain(traffic);
    Tree {
        line: node.near_end().join("  "),
        branches: vec![Tree {
            line: node.far_end().join("  "),
            branches: lines.map(Tree::leaf).collect(),
        }],
    }
}

/// What a clone believes.
fn inside(snapshot: &Snapshot) -> String {
    match snapshot.ipv6_net() {
        Some(ipv6) => format!("inside {}  {ipv6}", snapshot.ipv4_net()),
        None => format!("inside {}", snapshot.ipv4_net()),
    }
}

/// Ports with their counts, these below each other.
fn port_lines(ports: &[ports::Port]) -> Vec<String> {
    let lengths = ports.iter().map(|port| port.words.chars().count());
    let width = lengths.max().unwrap_or(0);
    let line = |port: &ports::Port| format!("{:width$}  {}", port.words, port.counts());
    ports.iter().map(line).collect()
}
