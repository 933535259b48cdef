//! Sets and maps as blocks.

use super::elements;
use super::kind::{Kind, duration};
use super::scope::Scope;
use super::stateful;
use super::typeof_;
use crate::nft::{Element, KeyType, Set, SetFlags, SetPolicy};

/// The lines of a set in its table.
pub(super) fn block(set: &Set, elements: &[Element], scope: Scope<'_>) -> String {
    let mut lines = vec![format!("\t{} {} {{", word(set), set.name())];
    let mut line = |text: String| lines.push(format!("\t\t{text}"));
    line(kinds_line(set));
    if set.current_policy() == Some(SetPolicy::MEMORY)
        && !set.current_flags().contains(SetFlags::CONSTANT)
    {
        line("policy memory".to_owned());
    }
    if let Some(size) = set.capacity()
        && !set.current_flags().contains(SetFlags::CONSTANT)
    {
        line(format!("size {size}"));
    }
    if let Some(flags) = flags(set) {
        line(format!("flags {flags}"));
    }
    if set.is_auto_merged() {
        line("auto-merge".to_owned());
    }
    let carried: Vec<String> = set
        .expressions()
        .iter()
        .map(|expression| stateful::text(expression, scope.fresh()))
        .collect();
    if !carried.is_empty() {
        line(carried.join(" "));
    }
    if let Some(timeout) = set.current_timeout() {
        line(format!("timeout {}", duration(timeout)));
    }
    if let Some(interval) = set.current_gc_interval() {
        line(format!("gc-interval {}", duration(interval.into())));
    }
    if let Some(comment) = set.current_comment() {
        line(format!("comment \"{comment}\""));
    }
    let kinds = key_kinds(set);
    let items = elements::list(set, elements, &kinds, scope);
    if !items.is_empty() {
        let per_line = elements::on_a_line(&kinds);
        let rows: Vec<String> = items.chunks(per_line).map(|row| row.join(", ")).collect();
        line(format!("elements = {{ {} }}", rows.join(",\n\t\t\t     ")));
    }
    lines.push("\t}".to_owned());
    let mut text = lines.join("\n");
    text.push('\n');
    text
}

/// One element of a set.
pub(super) fn element(set: &Set, element: &Element, scope: Scope<'_>) -> String {
    elements::one(set, element, &key_kinds(set), scope)
}

/// Whether a set is listed as a block of its own.
pub(super) fn is_listed(set: &Set) -> bool {
    !set.current_flags().contains(SetFlags::ANONYMOUS)
}

fn word(set: &Set) -> &'static str {
    if set.is_map() || set.objects().is_some() {
        "map"
    } else {
        "set"
    }
}

fn kinds_line(set: &Set) -> String {
    let (word, key, data) = match typeof_::texts(set) {
        Some((key, data)) => ("typeof", key, data),
        None => ("type", key_name(set.key()), set.data().map(key_name)),
    };
    let object = set.objects().map(|kind| kind.to_string());
    let ranges = if set.has_interval_data() {
        "interval "
    } else {
        ""
    };
    match object.or_else(|| data.map(|data| format!("{ranges}{data}"))) {
        Some(data) => format!("{word} {key} : {data}"),
        None => format!("{word} {key}"),
    }
}

fn key_name(key: KeyType) -> String {
    let names: Vec<String> = key
        .fields()
        .map(|field| match Kind::type_name(field.id()) {
            Some(name) => name.to_owned(),
            None => field.to_string(),
        })
        .collect();
    names.join(" . ")
}

/// The kinds of a set's key, from the fields that it was made of if they are
/// known.
fn key_kinds(set: &Set) -> Vec<Kind> {
    let own = Kind::all_of(set.key());
    match typeof_::kinds(set) {
        Some(kinds) if kinds.len() == own.len() => kinds,
        _ => own,
    }
}

fn flags(set: &Set) -> Option<String> {
    let flags = set.current_flags();
    let words = [
        (SetFlags::CONSTANT, "constant"),
        (SetFlags::EVAL, "dynamic"),
        (SetFlags::INTERVAL, "interval"),
        (SetFlags::TIMEOUT, "timeout"),
    ];
    let shown: Vec<&str> = words
        .iter()
        .filter(|(flag, _)| flags.contains(*flag))
        .map(|(_, word)| *word)
        .collect();
    // That elements end follows from their default.
    let only = shown == ["timeout"] && set.current_timeout().is_some();
    (!shown.is_empty() && !only).then(|| shown.join(","))
}
