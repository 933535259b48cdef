//! What surrounds a rule: the sets and chains that it names.

use super::elements;
use super::kind::Kind;
use super::rule;
use crate::nft::{Element, Family, Name, Set, SetFlags, Snapshot, Verdict};

/// What surrounds a rule, and how it is to be printed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scope<'a> {
    pub(super) family: Family,
    pub(super) stateless: bool,
    pub(super) table: Option<&'a Snapshot>,
    /// How deep the rule is indented.
    pub(super) depth: usize,
}

impl<'a> Scope<'a> {
    /// The scope of a value that is printed by itself.
    pub(super) const fn alone(family: Family) -> Self {
        Self {
            family,
            stateless: false,
            table: None,
            depth: 2,
        }
    }

    /// The scope of what elements are given when they are made: it has
    /// counted nothing.
    pub(super) const fn fresh(self) -> Self {
        Self {
            stateless: true,
            ..self
        }
    }

    /// The set of this name, if it is known.
    pub(super) fn find(&self, name: &Name) -> Option<(&'a Set, &'a [Element])> {
        self.table?.sets().find(|(set, _)| set.name() == name)
    }

    /// How a rule names a set: `@name`, or its elements if it is anonymous.
    pub(super) fn set(&self, name: &Name, kinds: &[Kind]) -> String {
        match self.find(name) {
            Some((set, elements)) if set.current_flags().contains(SetFlags::ANONYMOUS) => {
                let items = elements::list(set, elements, kinds, *self);
                format!("{{ {} }}", items.join(", "))
            }
            _ => format!("@{name}"),
        }
    }

    /// A verdict; an anonymous chain is written out.
    pub(super) fn verdict(&self, verdict: &Verdict) -> String {
        let (word, chain) = match verdict {
            Verdict::Jump(chain) => ("jump", chain),
            Verdict::Goto(chain) => ("goto", chain),
            other => return other.to_string(),
        };
        let is_bound = |table: &&Snapshot| {
            let mut chains = table.chains().iter();
            chains.any(|one| one.name() == chain && one.is_bound())
        };
        let Some(table) = self
            .table
            .filter(is_bound)
            .filter(|_| self.depth < DEPTH_MAX)
        else {
            return verdict.to_string();
        };
        let inside = Self {
            depth: self.depth.saturating_add(1),
            ..*self
        };
        let mut text = format!("{word} {{\n");
        for one in table.rules_of(chain) {
            text.push_str(&"\t".repeat(inside.depth));
            text.push_str(&rule::line(one, inside));
            text.push('\n');
        }
        text.push_str(&"\t".repeat(self.depth));
        text.push('}');
        text
    }
}

/// As deep as the kernel lets chains jump (`NFT_JUMP_STACK_SIZE`).
const DEPTH_MAX: usize = 16;
