//! A rule of legacy iptables: what it wants of a packet, and what it does.

use std::fmt::Write as _;

use super::entry::{Entry, Match};
use crate::beside::probe::{Interface, Probe, Truth};
use crate::beside::walk::Action;
use crate::beside::window::Window;
use crate::beside::xt;
use crate::wire::uapi::ip6_tables::IP6T_F_PROTO;
use crate::wire::uapi::xtables::{
    IPT_F_FRAG, IPT_INV_DSTIP, IPT_INV_FRAG, IPT_INV_SRCIP, IPT_INV_VIA_IN, IPT_INV_VIA_OUT,
    XT_INV_PROTO,
};

/// A rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::beside) struct Rule {
    ipv6: bool,
    protocol: Option<u8>,
    /// Source and destination, each followed by its mask.
    addresses: [Box<[u8]>; 4],
    /// The interfaces in and out, each followed by its mask.
    interfaces: [Box<[u8]>; 4],
    fragments: bool,
    inverted: u8,
    matches: Vec<Match>,
    pub(super) window: Window,
    target: Box<str>,
    pub(super) action: Action,
}

impl Rule {
    pub(super) fn new(ipv6: bool, entry: &Entry<'_>, action: Action) -> Self {
        let [flags, inverted] = entry.flags();
        let has_protocol = !ipv6 || flags & IP6T_F_PROTO != 0;
        let matches = entry.matches();
        let narrow = |window: Window, (name, revision, info): &Match| {
            window.narrowed(xt::ports_of(name, *revision, info))
        };
        let protocol = entry.protocol().filter(|&number| number != 0 || ipv6);
        Self {
            ipv6,
            protocol: protocol.filter(|_| has_protocol),
            addresses: entry.addresses(),
            interfaces: entry.interfaces(),
            fragments: !ipv6 && flags & IPT_F_FRAG != 0,
            inverted,
            window: matches.iter().fold(Window::ALL, narrow),
            matches,
            target: entry.target().0,
            action,
        }
    }

    /// Whether the packet meets its conditions.
    pub(super) fn holds(&self, probe: &Probe) -> Truth {
        let inverted = |bit: u8| self.inverted & bit != 0;
        let [source, source_mask, destination, destination_mask] = &self.addresses;
        let [incoming, incoming_mask, outgoing, outgoing_mask] = &self.interfaces;
        let mut truth = Truth::from(probe.ipv4 != self.ipv6);
        let conditions = [
            (
                Probe::address_is(probe.source, source, source_mask),
                IPT_INV_SRCIP,
            ),
            (
                Probe::address_is(probe.destination, destination, destination_mask),
                IPT_INV_DSTIP,
            ),
            (
                is_interface(probe.incoming, incoming, incoming_mask),
                IPT_INV_VIA_IN,
            ),
            (
                is_interface(probe.outgoing, outgoing, outgoing_mask),
                IPT_INV_VIA_OUT,
            ),
        ];
        for (holds, bit) in conditions {
            truth = truth.and(holds.inverted_if(inverted(bit)));
        }
        if let Some(wanted) = self.protocol {
            let same = Truth::from(probe.protocol.map(|protocol| protocol == wanted));
            truth = truth.and(same.inverted_if(inverted(XT_INV_PROTO)));
        }
        if self.fragments {
            truth = truth.and(Truth::No.inverted_if(inverted(IPT_INV_FRAG)));
        }
        for (name, revision, info) in &self.matches {
            if truth == Truth::No {
                break;
            }
            truth = truth.and(xt::holds(name, *revision, info, probe));
        }
        truth
    }

    /// The name of what it does.
    pub(in crate::beside) fn target(&self) -> &str {
        &self.target
    }

    /// The rule in `iptables`' words, without what its matches hold.
    pub(in crate::beside) fn text(&self) -> String {
        let mut text = String::new();
        let not = |bit: u8| if self.inverted & bit != 0 { "! " } else { "" };
        let mut push = |part: std::fmt::Arguments<'_>| {
            // Writing to a text cannot fail.
            text.write_fmt(part).unwrap_or_default();
        };
        let [incoming, incoming_mask, outgoing, outgoing_mask] = &self.interfaces;
        for (option, name, mask, bit) in [
            ("-i", incoming, incoming_mask, IPT_INV_VIA_IN),
            ("-o", outgoing, outgoing_mask, IPT_INV_VIA_OUT),
        ] {
            if let Some(name) = interface_text(name, mask) {
                push(format_args!("{}{option} {name} ", not(bit)));
            }
        }
        if let Some(protocol) = self.protocol {
            push(format_args!("{}-p {protocol} ", not(XT_INV_PROTO)));
        }
        for (name, ..) in &self.matches {
            push(format_args!("-m {name} "));
        }
        match &self.action {
            Action::Goto(chain) => push(format_args!("-g {chain}")),
            Action::Jump(chain) => push(format_args!("-j {chain}")),
            Action::Accept if self.target.is_empty() => push(format_args!("-j ACCEPT")),
            Action::Drop if self.target.is_empty() => push(format_args!("-j DROP")),
            Action::Return => push(format_args!("-j RETURN")),
            _ => push(format_args!("-j {}", self.target)),
        }
        text
    }
}

fn is_interface(interface: Interface, wanted: &[u8], mask: &[u8]) -> Truth {
    if mask.iter().all(|&bits| bits == 0) {
        return Truth::Yes;
    }
    let same = |name: [u8; 16]| {
        let pairs = name.iter().zip(wanted).zip(mask);
        pairs.into_iter().all(|((a, b), mask)| (a ^ b) & mask == 0)
    };
    interface.name().map(same).into()
}

/// `None` if every interface will do.
fn interface_text(name: &[u8], mask: &[u8]) -> Option<String> {
    let counts = mask.iter().filter(|&&bits| bits != 0).count();
    let name = name.get(..counts).filter(|name| !name.is_empty())?;
    let text = String::from_utf8_lossy(name);
    match text.strip_suffix('\0') {
        Some(exact) => Some(exact.to_owned()),
        None => Some(format!("{text}+")),
    }
}
