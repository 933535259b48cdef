//! Nodes and edges, which the forms of graphs have in common.

use super::text::plain;
use super::{GuestNode, Topology, Uplink, ports};

/// What is drawn, its texts not escaped yet.
pub(super) struct Graph {
    pub(super) title: String,
    pub(super) nodes: Vec<Node>,
    pub(super) edges: Vec<Edge>,
}

pub(super) struct Node {
    /// Letters and digits, a letter first.
    pub(super) id: String,
    pub(super) lines: Vec<String>,
    pub(super) is_conflict: bool,
}

pub(super) struct Edge {
    pub(super) from: String,
    pub(super) to: String,
    pub(super) lines: Vec<String>,
    pub(super) kind: EdgeKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EdgeKind {
    /// Two things are connected.
    Link,
    /// A port leads there.
    Ports,
    /// Frames go both ways.
    Wire,
    /// Something is in the way.
    Conflict,
}

impl Graph {
    pub(super) fn new(topology: &Topology) -> Self {
        let mut graph = Self {
            title: plain(topology.owner.as_str()),
            nodes: Vec::new(),
            edges: Vec::new(),
        };
        graph.node(HOST, vec![graph.title.clone()]);
        for (number, uplink) in topology.uplinks.iter().enumerate() {
            graph.uplink(&format!("uplink{number}"), uplink);
        }
        for (number, guest) in topology.guests.iter().enumerate() {
            graph.guest(&format!("tap{number}"), &format!("guest{number}"), guest);
        }
        let strays: Vec<_> = topology.strays.iter().map(ports::Port::stray).collect();
        if !strays.is_empty() {
            graph.node("strays", vec!["no guest".to_owned()]);
            graph.edge(HOST, "strays", port_lines(&strays), EdgeKind::Ports);
        }
        for (number, conflict) in topology.conflicts.iter().enumerate() {
            let id = format!("conflict{number}");
            graph.node(&id, vec![plain(conflict)]);
            graph.edge(&id, HOST, Vec::new(), EdgeKind::Conflict);
        }
        graph
    }

    fn uplink(&mut self, id: &str, uplink: &Uplink) {
        let mut lines = vec![plain(&uplink.name)];
        lines.extend(uplink.addresses.iter().map(ToString::to_string));
        lines.push(uplink.forwarding().to_owned());
        if !uplink.up {
            lines.push("down".to_owned());
        }
        self.node(id, lines);
        self.edge(id, HOST, Vec::new(), EdgeKind::Link);
    }

    fn guest(&mut self, tap: &str, id: &str, node: &GuestNode) {
        let guest = &node.attachment;
        self.node(tap, node.near_end());
        self.node(id, node.far_end());
        let ports = port_lines(&ports::of(guest, &node.exposures));
        let kind = if ports.is_empty() {
            EdgeKind::Link
        } else {
            EdgeKind::Ports
        };
        self.edge(HOST, tap, ports, kind);
        self.edge(
            tap,
            id,
            node.traffic().into_iter().collect(),
            EdgeKind::Wire,
        );
    }

    fn node(&mut self, id: &str, lines: Vec<String>) {
        self.nodes.push(Node {
            id: id.to_owned(),
            lines,
            is_conflict: id.starts_with("conflict"),
        });
    }

    fn edge(&mut self, from: &str, to: &str, lines: Vec<String>, kind: EdgeKind) {
        self.edges.push(Edge {
            from: from.to_owned(),
            to: to.to_owned(),
            lines,
            kind,
        });
    }
}

fn port_lines(ports: &[ports::Port]) -> Vec<String> {
    let line = |port: &ports::Port| format!("{}, {}", port.words, port.counts());
    ports.iter().map(line).collect()
}

const HOST: &str = "host";
