//! A graph for Graphviz.

use std::fmt;

use super::graph::{EdgeKind, Graph};

pub(super) struct Graphviz(pub(super) Graph);

impl fmt::Display for Graphviz {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(graph) = self;
        writeln!(f, "digraph \"{}\" {{", escape(&graph.title))?;
        f.write_str("  rankdir=LR;\n")?;
        f.write_str("  node [shape=box, fontname=\"sans-serif\", fontsize=11];\n")?;
        f.write_str("  edge [fontname=\"sans-serif\", fontsize=9];\n")?;
        for node in &graph.nodes {
            let look = if node.is_conflict {
                ", shape=note, color=red"
            } else {
                ""
            };
            writeln!(f, "  {} [label=\"{}\"{look}];", node.id, label(&node.lines))?;
        }
        for edge in &graph.edges {
            let look = match edge.kind {
                EdgeKind::Link => "dir=none",
                EdgeKind::Ports => "dir=forward",
                EdgeKind::Wire => "dir=both",
                EdgeKind::Conflict => "dir=none, style=dashed, color=red",
            };
            let (from, to) = (&edge.from, &edge.to);
            match label(&edge.lines).as_str() {
                "" => writeln!(f, "  {from} -> {to} [{look}];")?,
                label => writeln!(f, "  {from} -> {to} [{look}, label=\"{label}\"];")?,
            }
        }
        f.write_str("}\n")
    }
}

/// Lines of a label, each centred.
fn label(lines: &[String]) -> String {
    let lines: Vec<_> = lines.iter().map(|line| escape(line)).collect();
    lines.join("\\n")
}

/// Text of a label in double quotes: quotes end it, backslashes begin what
/// stands for something else, and entities of HTML are replaced.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '"' => escaped.push_str("\\\""),
            '\\' => escaped.push_str("\\\\"),
            '&' => escaped.push_str("&amp;"),
            other => escaped.push(other),
        }
    }
    escaped
}
