//! The ports of a guest, in words: all that a drawing knows of exposures.

use std::fmt;

use super::text::{Count, plain};
use crate::exposure::{Destination, Target};
use crate::guest::Attachment;
use crate::host::Exposed;

/// Whether an exposure leads to a guest, be it one of several.
pub(super) fn leads_to(exposed: &Exposed, guest: &Attachment) -> bool {
    let is_told = exposed
        .guest()
        .is_some_and(|name| name.as_str() == guest.name());
    let is_target = |target: &Target| match target.guest() {
        Destination::Address(address) => guest.has(*address),
        Destination::Name(name) => name.as_str() == guest.name(),
    };
    is_told || exposed.exposure().targets().iter().any(is_target)
}

/// What leads to a guest from one place.
pub(super) struct Port {
    /// `tcp/8080 → 80`, without control characters.
    pub(super) words: String,
    /// By the family that the exposure's target tells, if it does.
    counts: Vec<(Option<&'static str>, u64)>,
}

impl Port {
    /// An exposure that leads to no guest.
    pub(super) fn stray(exposed: &Exposed) -> Self {
        Self {
            words: plain(&exposed.exposure().to_string()).replacen("->", " → ", 1),
            counts: vec![(None, exposed.connections())],
        }
    }

    /// `3 connections over IPv4, 2 over IPv6`.
    pub(super) fn counts(&self) -> impl fmt::Display {
        Counts(self.counts.clone())
    }
}

struct Counts(Vec<(Option<&'static str>, u64)>);

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, (family, number)) in self.0.iter().enumerate() {
            match place {
                0 => write!(f, "{}", Count(*number, "connection"))?,
                _ => write!(f, ", {number}")?,
            }
            if let Some(family) = family {
                write!(f, " over {family}")?;
            }
        }
        Ok(())
    }
}

/// The ports that lead to a guest, in the order of the exposures. A target
/// that is the guest's name or address, which stand beside them, is left out,
/// so that exposures that differ in nothing else are one.
pub(super) fn of(guest: &Attachment, exposures: &[Exposed]) -> Vec<Port> {
    let mut ports: Vec<Port> = Vec::new();
    for exposed in exposures {
        let text = plain(&exposed.exposure().to_string());
        let (host, target) = text.split_once("->").unwrap_or((&text, ""));
        let (target, family) = match strip(target, guest) {
            Some((port, family)) => (port, family),
            None => (target, None),
        };
        let words = format!("{host} → {target}");
        let count = (family, exposed.connections());
        match ports.iter_mut().find(|port| port.words == words) {
            Some(port) => port.counts.push(count),
            None => ports.push(Port {
                words,
                counts: vec![count],
            }),
        }
    }
    ports
}

/// What is behind the guest, and the family if the target is an address.
/// `None` if it is another guest or one of several.
fn strip<'t>(target: &'t str, guest: &Attachment) -> Option<(&'t str, Option<&'static str>)> {
    let targets = target.split(' ').next().unwrap_or_default();
    if targets.contains(',') {
        return None;
    }
    let names = [
        (format!("{}:", guest.name()), None),
        (format!("{}:", guest.ipv4()), Some("IPv4")),
        (format!("[{}]:", guest.ipv6()), Some("IPv6")),
    ];
    names
        .into_iter()
        .find_map(|(name, family)| Some((target.strip_prefix(&*name)?, family)))
}
