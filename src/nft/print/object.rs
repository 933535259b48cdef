//! Named objects and flowtables as blocks.

use super::actions;
use super::kind::{self, Kind, duration, id};
use super::scope::Scope;
use super::stateful;
use crate::nft::{
    CtTimeout, Family, Flowtable, FlowtableFlags, L4Proto, NamedObject, ObjectState, TunnelInfo,
    TunnelOption,
};

/// The lines of an object in its table.
pub(super) fn block(object: &NamedObject, scope: Scope<'_>) -> String {
    let mut lines: Vec<String> = Vec::new();
    if let Some(comment) = object.current_comment() {
        lines.push(format!("comment \"{comment}\""));
    }
    let family = |number: Option<&u16>| {
        let number = number.and_then(|number| u8::try_from(*number).ok());
        let family = number.map_or_else(|| object.family(), Family::from_raw);
        format!("l3proto {family}")
    };
    let without = |text: String, word: &str| {
        let rest = text.strip_prefix(word).unwrap_or(&text);
        rest.trim_start().to_owned()
    };
    match object.state() {
        ObjectState::Counter(one) => {
            let text = stateful::text(&one.clone().into(), scope);
            lines.push(without(text, "counter"));
        }
        ObjectState::Quota(one) => {
            let text = stateful::text(&one.clone().into(), scope);
            lines.push(without(text, "quota"));
        }
        ObjectState::Limit(one) => {
            let text = stateful::text(&one.clone().into(), scope);
            lines.push(without(text, "limit"));
        }
        ObjectState::Connlimit(one) => {
            lines.push(stateful::text(&one.clone().into(), scope));
        }
        ObjectState::Synproxy(one) => {
            let text = without(actions::synproxy(one), "synproxy");
            // The options stand on a line of their own.
            let words: Vec<&str> = text.split(' ').collect();
            let (numbers, options): (Vec<&[&str]>, Vec<&[&str]>) = words
                .chunk_by(|one, other| {
                    ["mss", "wscale"].contains(one) || is_option(one) && is_option(other)
                })
                .partition(|chunk| !chunk.iter().any(is_option));
            let rows = numbers.into_iter().chain(options);
            lines.extend(rows.map(|chunk| chunk.join(" ")));
        }
        ObjectState::CtHelper(one) => {
            let protocol = protocol(*one.l4proto());
            lines.push(format!("type \"{}\" protocol {protocol}", one.helper()));
            lines.push(family(one.l3proto()));
        }
        ObjectState::CtTimeout(one) => {
            lines.push(format!("protocol {}", protocol(*one.l4proto())));
            lines.push(family(one.l3proto()));
            lines.push(format!("policy = {{ {} }}", policy(one)));
        }
        ObjectState::CtExpectation(one) => {
            lines.push(format!("protocol {}", protocol(*one.l4proto())));
            lines.push(format!("dport {}", one.port()));
            lines.push(format!("timeout {}", duration((*one.timeout()).into())));
            lines.push(format!("size {}", one.size()));
            lines.push(family(one.l3proto()));
        }
        ObjectState::Secmark(one) => lines.push(format!("\"{}\"", one.context())),
        ObjectState::Tunnel(one) => lines.extend(tunnel(one)),
        other => lines.push(format!("[ {other:?} ]")),
    }
    let mut text = format!("\t{} {} {{\n", object.kind(), object.name());
    for line in lines.iter().filter(|line| !line.is_empty()) {
        push!(text, "\t\t{line}\n");
    }
    text.push_str("\t}\n");
    text
}

/// The lines of a flowtable in its table.
pub(super) fn flowtable(flowtable: &Flowtable) -> String {
    let (hook, priority) = flowtable.hook();
    let priority = super::chain::priority_text(Family::NETDEV, hook, priority);
    let mut text = format!("\tflowtable {} {{\n", flowtable.name());
    push!(text, "\t\thook ingress priority {priority}\n");
    let mut devices: Vec<&str> = flowtable.devices().collect();
    devices.sort_unstable();
    if !devices.is_empty() {
        push!(text, "\t\tdevices = {{ {} }}\n", devices.join(", "));
    }
    for (flag, word) in [
        (FlowtableFlags::HW_OFFLOAD, "flags offload"),
        (FlowtableFlags::COUNTER, "counter"),
    ] {
        if flowtable.current_flags().contains(flag) {
            push!(text, "\t\t{word}\n");
        }
    }
    text.push_str("\t}\n");
    text
}

/// The lines of a tunnel, as `nft` writes them from 1.1.6 on.
fn tunnel(tunnel: &TunnelInfo) -> Vec<String> {
    let mut lines = vec![format!("id {}", tunnel.id())];
    if let Some(ends) = tunnel.ip() {
        lines.extend(ends.local().map(|local| format!("ip saddr {local}")));
        lines.push(format!("ip daddr {}", ends.remote()));
    }
    if let Some(ends) = tunnel.ip6() {
        lines.extend(ends.local().map(|local| format!("ip6 saddr {local}")));
        lines.push(format!("ip6 daddr {}", ends.remote()));
        if *ends.flow_label() != 0 {
            lines.push(format!("[ flowlabel {} ]", ends.flow_label()));
        }
    }
    for (word, number) in [
        ("sport", *tunnel.source_port()),
        ("dport", *tunnel.port()),
        ("tos", (*tunnel.tos()).into()),
        ("ttl", (*tunnel.ttl()).into()),
    ] {
        if number != 0 {
            lines.push(format!("{word} {number}"));
        }
    }
    if *tunnel.flags() != 0 {
        lines.push(format!("[ flags {:#x} ]", tunnel.flags()));
    }
    for option in tunnel.options().into_iter().flatten() {
        lines.extend(match option {
            TunnelOption::Vxlan(policy) => block_of("vxlan", &[format!("gbp {policy}")]),
            TunnelOption::Erspan1(index) => {
                block_of("erspan", &["version 1".into(), format!("index {index}")])
            }
            TunnelOption::Erspan2(hardware, direction) => {
                let way = if *direction == 0 { "ingress" } else { "egress" };
                let way = format!("direction {way}");
                block_of(
                    "erspan",
                    &["version 2".into(), way, format!("id {hardware}")],
                )
            }
            TunnelOption::Geneve(class, kind, data) => {
                let data = kind::hex(data);
                let line = format!("class {class:#x} opt-type {kind:#x} data \"{data}\"");
                block_of("geneve", &[line])
            }
            TunnelOption::Other(..) => vec![format!("[ {option:?} ]")],
        });
    }
    lines
}

/// A block inside of an object.
fn block_of(name: &str, lines: &[String]) -> Vec<String> {
    let first = format!("{name} {{");
    let inside = lines.iter().map(|line| format!("\t{line}"));
    [first]
        .into_iter()
        .chain(inside)
        .chain(["}".to_owned()])
        .collect()
}

fn is_option(word: &&str) -> bool {
    ["timestamp", "sack-perm"].contains(word)
}

fn protocol(protocol: L4Proto) -> String {
    Kind::host(id::INET_PROTO, 8).of_number(protocol.as_raw().into())
}

/// The states of a connection that have a time of their own.
fn policy(timeout: &CtTimeout) -> String {
    let names: &[(&str, u32)] = match *timeout.l4proto() {
        L4Proto::TCP => TCP_STATES,
        L4Proto::UDP => UDP_STATES,
        _ => &[],
    };
    let states: Vec<String> = timeout
        .timeouts()
        .iter()
        .filter_map(|(state, seconds)| {
            let place = usize::from(state).checked_sub(1)?;
            match names.get(place) {
                Some((name, default)) => {
                    (seconds != *default).then(|| format!("{name} : {seconds}"))
                }
                None => Some(format!("[ {state} ] : {seconds}")),
            }
        })
        .collect();
    states.join(", ")
}

/// The states of TCP and the seconds that the kernel gives them (`enum
/// ctattr_timeout_tcp` of `linux/netfilter/nfnetlink_cttimeout.h`).
const TCP_STATES: &[(&str, u32)] = &[
    ("syn_sent", 120),
    ("syn_recv", 60),
    ("established", 432_000),
    ("fin_wait", 120),
    ("close_wait", 60),
    ("last_ack", 30),
    ("time_wait", 120),
    ("close", 10),
    ("syn_sent2", 120),
    ("retrans", 300),
    ("unack", 300),
];

const UDP_STATES: &[(&str, u32)] = &[("unreplied", 30), ("replied", 120)];
