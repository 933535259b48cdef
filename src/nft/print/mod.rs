//! Objects as text: close to the syntax of `nft`, so that what was listed can
//! be read, compared and loaded again.
//!
//! Rules are read back from their expressions: registers are followed, fields
//! of headers found, and conditions left out that a later one implies, where
//! `nft` would add them by itself. What `nft`'s language cannot say stands in
//! square brackets, which `nft` refuses.

/// Appends to a text.
macro_rules! push {
    ($text:expr, $($arguments:tt)*) => {
        $crate::nft::print::append(&mut $text, format_args!($($arguments)*))
    };
}

mod actions;
mod binary;
mod chain;
mod compare;
mod elements;
mod fields;
mod headers;
mod kind;
mod loads;
mod names;
mod nat;
mod node;
mod object;
mod options;
mod protocols;
mod raw;
mod rule;
mod scope;
mod set;
mod shown;
mod stateful;
mod typeof_;
mod types;

use std::fmt::{self, Write as _};

use self::scope::Scope;
use super::expr::Expr;
use super::{
    Chain, Element, Flowtable, NamedObject, Rule, Ruleset, Set, Snapshot, Table, TableFlags,
};

/// A listing without what changes by itself: counts, and when elements go.
#[derive(Debug, Clone, Copy)]
pub struct Stateless<'a, T>(&'a T);

impl Ruleset {
    /// Prints without what changes by itself: counts, and when elements go.
    pub const fn stateless(&self) -> Stateless<'_, Self> {
        Stateless(self)
    }
}

impl Set {
    /// An element of this set, by the types of its key and data. Of a range in
    /// an interval set of one field, each end is an element.
    pub fn element(&self, element: &Element) -> impl fmt::Display + use<> {
        Text(set::element(self, element, Scope::alone(self.family())))
    }
}

impl Snapshot {
    /// Prints without what changes by itself: counts, and when elements go.
    pub const fn stateless(&self) -> Stateless<'_, Self> {
        Stateless(self)
    }

    /// A rule of this table with what it refers to: anonymous sets are
    /// written out.
    pub fn rule(&self, rule: &Rule) -> impl fmt::Display + use<> {
        let scope = Scope {
            table: Some(self),
            ..Scope::alone(rule.family())
        };
        Text(rule::line(rule, scope))
    }

    fn block(&self, stateless: bool) -> String {
        let scope = Scope {
            stateless,
            table: Some(self),
            ..Scope::alone(self.table().family())
        };
        let mut text = head(self.table());
        let mut blocks: Vec<String> = Vec::new();
        for object in self.objects() {
            blocks.push(object::block(object, scope));
        }
        for (set, elements) in self.sets().filter(|(set, _)| set::is_listed(set)) {
            blocks.push(set::block(set, elements, scope));
        }
        for flowtable in self.flowtables() {
            blocks.push(object::flowtable(flowtable));
        }
        for one in self.chains().iter().filter(|chain| !chain.is_bound()) {
            let rules: Vec<&Rule> = self.rules_of(one.name()).collect();
            blocks.push(chain::block(one, &rules, scope));
        }
        if !self.table().current_flags().is_empty() && !blocks.is_empty() {
            text.push('\n');
        }
        text.push_str(&blocks.join("\n"));
        text.push_str("}\n");
        text
    }
}

impl fmt::Display for Ruleset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.tables().iter().try_for_each(|table| table.fmt(f))
    }
}

impl fmt::Display for Stateless<'_, Ruleset> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut tables = self.0.tables().iter();
        tables.try_for_each(|table| table.stateless().fmt(f))
    }
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.block(false))
    }
}

impl fmt::Display for Stateless<'_, Snapshot> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.block(true))
    }
}

impl fmt::Display for Table {
    /// The block of a table without what is in it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}}}", head(self))
    }
}

impl fmt::Display for Chain {
    /// The block of a chain without its rules.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&chain::block(self, &[], Scope::alone(self.family())))
    }
}

impl fmt::Display for Set {
    /// The block of a set without its elements.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&set::block(self, &[], Scope::alone(self.family())))
    }
}

impl fmt::Display for NamedObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&object::block(self, Scope::alone(self.family())))
    }
}

impl fmt::Display for Flowtable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&object::flowtable(self))
    }
}

impl fmt::Display for Rule {
    /// The statements of a rule; anonymous sets stand as names, see
    /// [`Snapshot::rule`].
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&rule::line(self, Scope::alone(self.family())))
    }
}

impl fmt::Display for Expr {
    /// The expression by itself, in square brackets: its meaning depends on
    /// those around it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&raw::expression(self))
    }
}

/// A text that is made already.
struct Text(String);

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn append(text: &mut String, arguments: fmt::Arguments<'_>) {
    // Writing to a text cannot fail.
    text.write_fmt(arguments).unwrap_or_default();
}

fn head(table: &Table) -> String {
    let mut text = format!("table {} {} {{\n", table.family(), table.name());
    let words = [
        (TableFlags::DORMANT, "dormant"),
        (TableFlags::OWNER, "owner"),
        (TableFlags::PERSIST, "persist"),
    ];
    let flags: Vec<&str> = words
        .iter()
        .filter(|(flag, _)| table.current_flags().contains(*flag))
        .map(|(_, word)| *word)
        .collect();
    if !flags.is_empty() {
        push!(text, "\tflags {}\n", flags.join(","));
    }
    if let Some(comment) = table.current_comment() {
        push!(text, "\tcomment \"{comment}\"\n");
    }
    text
}

#[cfg(test)]
mod tests;
