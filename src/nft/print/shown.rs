//! What registers hold, as text.

use crate::nft::print::kind::{Kind, id};
use crate::nft::print::node::{Bits, Node, Run, is_zero};
use crate::nft::print::rule::{Reader, named, width};

/// A text and the kind of the value that it stands for.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) text: String,
    pub(super) kind: Kind,
    /// How strongly its outermost operator binds, 0 for none.
    pub(super) binds: u8,
}

impl Reader<'_> {
    /// The text of `node` and its kind; `None` if it has none.
    pub(super) fn show(&mut self, node: &Node) -> Option<Shown> {
        if let Some(bits) = node.bits() {
            return Some(self.show_bits(bits, matches!(node, Node::Swapped(_))));
        }
        let plain = |text: String, kind| Shown {
            text,
            kind,
            binds: 0,
        };
        Some(match node {
            Node::Packet(_) => return None,
            Node::Meta(_, text, kind) => plain((*text).to_owned(), *kind),
            Node::Named(text, kind) => plain(text.clone(), *kind),
            Node::Constant(data) => plain(
                super::kind::hex(data.as_bytes()),
                Kind::network(id::RAW, width(data).saturating_mul(8)),
            ),
            Node::Inside(tunnel, inner) => {
                let mut shown = self.inside(tunnel, |reader| reader.show(inner))?;
                shown.text = named(tunnel, &shown.text);
                shown
            }
            Node::Swapped(of) => {
                let mut shown = self.show(of)?;
                shown.kind.order = super::node::swapped(shown.kind.order);
                shown
            }
            Node::Masked { of, mask, xor } => {
                let left = self.show(of)?;
                super::binary::masked(left, mask, xor)?
            }
            Node::Shifted { of, left, by } => {
                let shown = self.show(of)?;
                let operator = if *left { "<<" } else { ">>" };
                super::binary::join(&shown, operator, &by.to_string(), 0)
            }
            Node::Joined {
                left,
                operator,
                right,
            } => {
                let left = self.show(left)?;
                let right = self.show(right)?;
                super::binary::join(&left, operator, &right.text, right.binds)
            }
            Node::Hashed { keys, tail } => {
                let (text, _) = self.show_all(keys)?;
                plain(format!("jhash {text} {tail}"), Kind::host(id::INTEGER, 32))
            }
            Node::Mapped { keys, map, data } => {
                let (key, kinds) = self.show_all(keys)?;
                let text = self.scope.set(map, &kinds);
                let kind = Kind::all_of(*data).first().copied();
                plain(
                    format!("{key} map {text}"),
                    kind.unwrap_or(Kind::network(id::RAW, 0)),
                )
            }
        })
    }

    /// The text of `node` as a key or as what has bounds: a part of a byte
    /// stands for itself, whatever lies behind it.
    pub(super) fn show_key(&mut self, node: &Node) -> Option<Shown> {
        if let Node::Inside(tunnel, inner) = node {
            let mut shown = self.inside(tunnel, |reader| reader.show_key(inner))?;
            shown.text = named(tunnel, &shown.text);
            return Some(shown);
        }
        if let Node::Masked { of, mask, xor } = node
            && let (Node::Packet(bits), true) = (of.as_ref(), is_zero(xor))
            && let Some(run) = Run::of(mask)
            && let Some(found) = bits.under(run).field(&self.protocols)
        {
            self.used(found);
            let kind = Kind {
                shift: run.behind,
                ..found.field.kind
            };
            return Some(Shown {
                text: found.text(),
                kind,
                binds: 0,
            });
        }
        self.show(node)
    }

    /// The texts of `nodes`, joined by dots, and their kinds.
    pub(super) fn show_all(&mut self, nodes: &[Node]) -> Option<(String, Vec<Kind>)> {
        let mut texts = Vec::new();
        let mut kinds = Vec::new();
        for node in nodes {
            let shown = self.show_key(node)?;
            texts.push(shown.text);
            kinds.push(shown.kind);
        }
        Some((texts.join(" . "), kinds))
    }

    fn show_bits(&mut self, bits: Bits, swapped: bool) -> Shown {
        let found = bits.field(&self.protocols);
        let (text, mut kind) = match found {
            Some(found) => {
                self.used(found);
                (found.text(), found.field.kind)
            }
            None => (bits.raw(), Kind::network(id::RAW, bits.width)),
        };
        if swapped {
            kind.order = super::node::swapped(kind.order);
        }
        Shown {
            text,
            kind,
            binds: 0,
        }
    }

    /// The text of a value that is stored as one of this kind.
    pub(super) fn stored(&mut self, node: &Node, kind: Kind) -> Option<String> {
        match node {
            Node::Constant(data) => Some(kind.value(data.as_bytes())),
            other => self.show(other).map(|shown| shown.text),
        }
    }
}
