//! The ports of a guest, in words: all that a drawing knows of exposures.

use std::fmt;
use std::net::IpAddr;

use super::GuestNode;
use super::text::Count;
use crate::guest::{Attachment, GuestName};
use crate::host::Exposed;

/// The guest that an exposure leads to.
pub(super) fn guest_of<'g>(
    exposed: &Exposed,
    guests: &'g mut [GuestNode],
) -> Option<&'g mut GuestNode> {
    let name = exposed.guest().map(GuestName::as_str)?;
    let is_it = |guest: &&mut GuestNode| guest.attachment.name() == name;
    guests.iter_mut().find(is_it)
}

/// What leads to a guest from one place, over one family or both.
pub(super) struct Port {
    /// `tcp/8080 → 80`.
    pub(super) words: String,
    counts: Vec<(Option<&'static str>, u64)>,
}

impl Port {
    /// An exposure that leads to no guest.
    pub(super) fn stray(exposed: &Exposed) -> Self {
        Self {
            words: exposed.exposure().to_string().replacen("->", " → ", 1),
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

/// The ports that lead to a guest, in the order of the exposures. The guest's
/// address, which stands beside them, is left out, so that exposures that
/// differ in nothing else are one.
pub(super) fn of(guest: &Attachment, exposures: &[Exposed]) -> Vec<Port> {
    let mut ports: Vec<Port> = Vec::new();
    for exposed in exposures {
        let text = exposed.exposure().to_string();
        let (host, target) = text.split_once("->").unwrap_or((&text, ""));
        let (target, family) = match strip(target, guest) {
            Some((port, family)) => (port, Some(family)),
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

/// What is behind the guest's address, and the address's family.
fn strip<'t>(target: &'t str, guest: &Attachment) -> Option<(&'t str, &'static str)> {
    let addresses: [(IpAddr, _); 2] =
        [(guest.ipv4().into(), "IPv4"), (guest.ipv6().into(), "IPv6")];
    addresses.into_iter().find_map(|(address, family)| {
        let address = match address {
            IpAddr::V4(address) => format!("{address}:"),
            IpAddr::V6(address) => format!("[{address}]:"),
        };
        Some((target.strip_prefix(&*address)?, family))
    })
}
