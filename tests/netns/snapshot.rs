//! What a network namespace holds, to be compared.

use std::fmt::Write as _;
use std::fs;
use std::thread;
use std::time::Duration;

use crate::support::run;

/// Everything that an agent could change in the calling thread's network
/// namespace, in the words of `nft` and `ip`, without what changes by itself:
/// counters, numbers of links and of the groups in which TAPs come, whether a
/// cable is plugged in, and what IPv6 does on its own when one is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Snapshot(Vec<String>);

impl Snapshot {
    /// Takes it when it has settled: the kernel makes the route of a new IPv6
    /// address a moment later, from a work queue.
    pub(crate) fn take() -> Self {
        let mut before = Self::take_now();
        for _ in 0..100 {
            thread::sleep(Duration::from_millis(30));
            let now = Self::take_now();
            if now == before {
                return now;
            }
            before = now;
        }
        before
    }

    fn take_now() -> Self {
        let mut lines = Vec::new();
        lines.extend(run("nft", &["list", "ruleset"]).lines().map(uncounted));
        for listing in [
            &["-o", "-d", "link"][..],
            &["-o", "addr"],
            &["-4", "route", "show", "table", "all"],
            &["-6", "route", "show", "table", "all"],
            &["neigh", "show", "nud", "all"],
        ] {
            let listing = run("ip", listing);
            let mut listed: Vec<_> = listing.lines().filter_map(lasting).collect();
            // Links are listed by number, and so the rest.
            listed.sort();
            lines.append(&mut listed);
        }
        lines.extend(settings());
        Self(lines)
    }

    /// Panics with the lines that differ.
    #[track_caller]
    pub(crate) fn assert_same(&self, other: &Self, when: &str) {
        if self == other {
            return;
        }
        let mut difference = String::new();
        for (mark, one, another) in [('-', self, other), ('+', other, self)] {
            for line in one.0.iter().filter(|line| !another.0.contains(line)) {
                writeln!(difference, "{mark} {line}").unwrap();
            }
        }
        panic!("{when}:\n{difference}");
    }
}

/// What is switched on or off for each interface.
fn settings() -> Vec<String> {
    let mut lines = Vec::new();
    for (folder, names) in [
        (
            "/proc/sys/net/ipv4/conf",
            &["forwarding", "route_localnet"][..],
        ),
        (
            "/proc/sys/net/ipv6/conf",
            &[
                "forwarding",
                "force_forwarding",
                "disable_ipv6",
                "accept_ra",
            ],
        ),
    ] {
        for interface in fs::read_dir(folder).unwrap() {
            for name in names {
                let file = interface.as_ref().unwrap().path().join(name);
                if let Ok(value) = fs::read_to_string(&file) {
                    lines.push(format!("{} = {}", file.display(), value.trim()));
                }
            }
        }
    }
    lines.sort();
    lines
}

/// A line of a ruleset without the values of its counters.
fn uncounted(line: &str) -> String {
    let mut words = Vec::new();
    let mut after_count = false;
    for word in line.split(' ') {
        words.push(if after_count { "N" } else { word });
        after_count = matches!(word, "packets" | "bytes");
    }
    words.join(" ")
}

/// What an agent is answerable for in a line of `ip`.
fn lasting(line: &str) -> Option<String> {
    if line.contains("fe80::") || line.starts_with("ff02::") {
        return None;
    }
    let line = match line.split_once(": ") {
        Some((number, rest)) if number.bytes().all(|byte| byte.is_ascii_digit()) => rest,
        _ => line,
    };
    let mut line = line.replace("NO-CARRIER,", "").replace(",LOWER_UP", "");
    for state in ["UNKNOWN", "DOWN", "UP"] {
        line = line.replace(&format!("state {state}"), "state");
    }
    line = ungrouped(&line);
    Some(line.replace(" linkdown", "").trim_end().to_owned())
}

/// A line of `ip link` without the number of a group in which TAPs were
/// attached together: it begins with `t`, and the rest is made up.
fn ungrouped(line: &str) -> String {
    let number = |rest: &str| rest.split(' ').next().unwrap_or_default().to_owned();
    let group = line.split_once(" group ").map(|(_, rest)| number(rest));
    match group.as_deref().map(str::parse::<u32>) {
        Some(Ok(made_up)) if made_up >> 24 == u32::from(b't') => {
            line.replace(&format!(" group {made_up} "), " group default ")
        }
        _ => line.to_owned(),
    }
}
