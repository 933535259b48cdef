//! Chains as blocks.

use super::rule;
use super::scope::Scope;
use crate::nft::{Chain, Family, Hook, Rule, priority};

/// The lines of a chain in its table, up to its end.
pub(super) fn block(chain: &Chain, rules: &[&Rule], scope: Scope<'_>) -> String {
    let mut text = format!("\tchain {} {{\n", chain.name());
    if let Some(comment) = chain.current_comment() {
        push!(text, "\t\tcomment \"{comment}\"\n");
    }
    if let Some(line) = base(chain) {
        push!(text, "\t\t{line}\n");
    }
    for one in rules {
        push!(text, "\t\t{}\n", rule::line(one, scope));
    }
    text.push_str("\t}\n");
    text
}

/// What makes a chain a base chain.
fn base(chain: &Chain) -> Option<String> {
    let (hook, priority) = chain.hook()?;
    let kind = chain.kind()?.as_str();
    let mut text = format!("type {kind} hook {}", hook_name(chain.family(), hook));
    let mut devices: Vec<&str> = chain.devices().collect();
    devices.sort_unstable();
    match devices.as_slice() {
        [] => {}
        [one] => push!(text, " device \"{one}\""),
        several => push!(text, " devices = {{ {} }}", several.join(", ")),
    }
    let priority = priority_text(chain.family(), hook, priority);
    push!(text, " priority {priority};");
    if let Some(policy) = chain.current_policy() {
        push!(text, " policy {policy};");
    }
    if chain.is_hw_offloaded() {
        text.push_str(" flags offload;");
    }
    Some(text)
}

fn hook_name(family: Family, hook: Hook) -> String {
    let name = match (family, hook.as_raw()) {
        (Family::ARP, 0) => "input",
        (Family::ARP, 1) => "output",
        (Family::NETDEV, 0) => "ingress",
        (Family::NETDEV, 1) => "egress",
        _ => return hook.to_string(),
    };
    name.to_owned()
}

/// A priority by the name of one that is near, as `nft` writes it.
pub(super) fn priority_text(family: Family, hook: Hook, number: i32) -> String {
    let near = names(family, hook).into_iter().find_map(|(base, name)| {
        let distance = number.checked_sub(base)?;
        (distance.abs() <= NEAR).then_some((name, distance))
    });
    match near {
        None => number.to_string(),
        Some((name, 0)) => name.to_owned(),
        Some((name, above @ 1..)) => format!("{name} + {above}"),
        Some((name, below)) => format!("{name} - {}", below.unsigned_abs()),
    }
}

fn names(family: Family, hook: Hook) -> Vec<(i32, &'static str)> {
    let mut names = Vec::new();
    match family {
        Family::BRIDGE => {
            names.push((BRIDGE_FILTER, "filter"));
            match hook {
                Hook::PREROUTING => names.push((BRIDGE_DSTNAT, "dstnat")),
                Hook::OUTPUT => names.push((BRIDGE_OUT, "out")),
                Hook::POSTROUTING => names.push((BRIDGE_SRCNAT, "srcnat")),
                _ => {}
            }
        }
        Family::IP | Family::IP6 | Family::INET => {
            names.extend([
                (priority::RAW, "raw"),
                (priority::MANGLE, "mangle"),
                (priority::FILTER, "filter"),
                (priority::SECURITY, "security"),
            ]);
            match hook {
                Hook::PREROUTING => names.push((priority::DSTNAT, "dstnat")),
                Hook::POSTROUTING => names.push((priority::SRCNAT, "srcnat")),
                _ => {}
            }
        }
        _ => names.push((priority::FILTER, "filter")),
    }
    names
}

/// How far from a name a priority may be to be written with it.
const NEAR: i32 = 10;

/// `NF_BR_PRI_*` of `linux/netfilter_bridge.h`.
const BRIDGE_DSTNAT: i32 = -300;
const BRIDGE_FILTER: i32 = -200;
const BRIDGE_OUT: i32 = 100;
const BRIDGE_SRCNAT: i32 = 300;
