//! A flowchart for Mermaid.

use std::fmt::{self, Write};

use super::graph::{EdgeKind, Graph};

pub(super) struct Mermaid(pub(super) Graph);

impl fmt::Display for Mermaid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(graph) = self;
        f.write_str("flowchart LR\n")?;
        for node in &graph.nodes {
            let class = if node.is_conflict { ":::conflict" } else { "" };
            writeln!(f, "  {}[\"{}\"]{class}", node.id, label(&node.lines))?;
        }
        for edge in &graph.edges {
            let arrow = match edge.kind {
                EdgeKind::Link => "---",
                EdgeKind::Ports => "-->",
                EdgeKind::Wire => "<-->",
                EdgeKind::Conflict => "-.-",
            };
            let (from, to) = (&edge.from, &edge.to);
            match label(&edge.lines).as_str() {
                "" => writeln!(f, "  {from} {arrow} {to}")?,
                label => writeln!(f, "  {from} {arrow}|\"{label}\"| {to}")?,
            }
        }
        if graph.nodes.iter().any(|node| node.is_conflict) {
            f.write_str("  classDef conflict stroke:#c00\n")?;
        }
        Ok(())
    }
}

fn label(lines: &[String]) -> String {
    let lines: Vec<_> = lines.iter().map(|line| escape(line)).collect();
    lines.join("<br/>")
}

/// Text of a label in double quotes, which Mermaid reads as Markdown and
/// HTML. What is special changes with its versions, so every sign that is not
/// known to be plain becomes `#<number>;`, which has been an entity in all of
/// them.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        let is_plain = character.is_alphanumeric() || " .,:/()-%→".contains(character);
        if is_plain {
            escaped.push(character);
        } else {
            // Writing to a string does not fail.
            let _: fmt::Result = write!(escaped, "#{};", u32::from(character));
        }
    }
    escaped
}
