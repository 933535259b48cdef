//! The rules of legacy iptables, read from the kernel's own form of them:
//! `struct ipt_entry` of `linux/netfilter_ipv4/ip_tables.h` and `struct
//! ip6t_entry`, each with its matches and its target behind it.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use super::probe::{Interface, Probe, Truth};
use super::walk::{Action, Firewall};
use super::xt::{self, u16_at, u32_at};
use crate::conflict::{Conflict, ForeignChain};
use crate::error::Error;
use crate::nft::{Hook, priority};
use crate::sys::{self, LegacyTable};
use crate::wire::uapi::ip6_tables::{IP6T_F_GOTO, IP6T_F_PROTO};
use crate::wire::uapi::xtables::{
    IPT_F_FRAG, IPT_F_GOTO, IPT_INV_DSTIP, IPT_INV_FRAG, IPT_INV_SRCIP, IPT_INV_VIA_IN,
    IPT_INV_VIA_OUT, XT_EXTENSION_MAXNAMELEN, XT_INV_PROTO, XT_RETURN,
};

/// The tables of legacy iptables and ip6tables that are in use.
#[derive(Debug)]
pub(crate) struct Legacy {
    pub(super) tables: Vec<Table>,
    pub(super) unreadable: Vec<Conflict>,
}

impl Legacy {
    /// Reads those of the calling thread's network namespace.
    pub(crate) fn read() -> Self {
        let mut all = Self {
            tables: Vec::new(),
            unreadable: Vec::new(),
        };
        for ipv6 in [false, true] {
            let names = sys::legacy_tables(ipv6);
            let names = names.unwrap_or_else(|error| {
                all.unreadable.push(unreadable("filter", ipv6, &error));
                Vec::new()
            });
            for name in names {
                match sys::legacy_table(ipv6, &name) {
                    Ok(table) => all.tables.push(Table::decode(ipv6, &name, &table)),
                    Err(error) => all.unreadable.push(unreadable(&name, ipv6, &error)),
                }
            }
        }
        all
    }
}

fn unreadable(table: &str, ipv6: bool, error: &Error) -> Conflict {
    Conflict::LegacyUnreadable {
        table: table.into(),
        ipv6,
        errno: error.raw_os_error().unwrap_or_default(),
    }
}

/// One table.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) ipv6: bool,
    name: Box<str>,
    chains: HashMap<Box<str>, Arc<[Rule]>>,
    /// Whether the policy of a built-in chain is to drop, by its name.
    drops: HashMap<&'static str, bool>,
}

impl Table {
    /// Its chain at `hook`, and whether its policy is to drop.
    pub(super) fn base_chain(&self, hook: Hook) -> Option<(ForeignChain, bool)> {
        let (_, name) = HOOKS.iter().find(|(known, _)| *known == hook)?;
        let drops = *self.drops.get(name)?;
        let priority = match &*self.name {
            "raw" => priority::RAW,
            "mangle" => priority::MANGLE,
            "nat" => priority::DSTNAT,
            "security" => priority::SECURITY,
            _ => priority::FILTER,
        };
        let chain = ForeignChain {
            legacy: true,
            family: if self.ipv6 { "ip6" } else { "ip" }.into(),
            table: self.name.clone(),
            name: (*name).into(),
            priority,
            owned: false,
        };
        Some((chain, drops))
    }

    pub(super) fn is_nat(&self) -> bool {
        &*self.name == "nat"
    }

    /// Reads all chains. What cannot be read ends the list; the kernel checks
    /// what it keeps.
    fn decode(ipv6: bool, name: &str, table: &LegacyTable) -> Self {
        let layout = if ipv6 { &IPV6 } else { &IPV4 };
        let built_in: Vec<(&'static str, usize, usize)> = HOOKS
            .iter()
            .filter_map(|(hook, name)| {
                let (start, policy) = table.chain(hook.as_raw())?;
                Some((*name, start, policy))
            })
            .collect();
        let entries: Vec<(usize, Entry<'_>)> = Entries {
            layout,
            bytes: table.entries(),
            at: 0,
        }
        .collect();
        // A user's chain begins behind an entry that bears its name.
        let mut names: HashMap<usize, Box<str>> = HashMap::new();
        for (at, entry) in &entries {
            if let Some(name) = entry.chain_name() {
                names.insert(at.saturating_add(entry.length), name);
            }
        }
        for (name, start, _) in &built_in {
            names.insert(*start, (*name).into());
        }
        let mut chains: HashMap<Box<str>, Vec<Rule>> = HashMap::new();
        let mut drops = HashMap::new();
        let mut current = None;
        for (at, entry) in &entries {
            current = names.get(at).or(current);
            if entry.chain_name().is_some() {
                current = None;
            }
            let action = entry.action(at.saturating_add(entry.length), &names);
            if let Some((name, ..)) = built_in.iter().find(|(_, _, policy)| policy == at) {
                drops.insert(*name, action == Action::Drop);
                current = None;
            } else if let Some(chain) = current {
                let rule = Rule::new(ipv6, entry, action);
                chains.entry(chain.clone()).or_default().push(rule);
            }
        }
        Self {
            ipv6,
            name: name.into(),
            chains: chains
                .into_iter()
                .map(|(name, rules)| (name, rules.into()))
                .collect(),
            drops,
        }
    }
}

impl Firewall for &Table {
    type Rule = Rule;

    fn rules(&mut self, chain: &str) -> Result<Arc<[Rule]>, Error> {
        Ok(self.chains.get(chain).cloned().unwrap_or_default())
    }

    fn weigh(&mut self, rule: &Rule, probe: &Probe) -> Result<(Truth, Action), Error> {
        Ok((rule.holds(probe), rule.action.clone()))
    }
}

/// A rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    ipv6: bool,
    protocol: Option<u8>,
    /// Source and destination, each followed by its mask.
    addresses: [Box<[u8]>; 4],
    /// The interfaces in and out, each followed by its mask.
    interfaces: [Box<[u8]>; 4],
    fragments: bool,
    inverted: u8,
    matches: Vec<(Box<str>, u32, Box<[u8]>)>,
    target: Box<str>,
    action: Action,
}

impl Rule {
    fn new(ipv6: bool, entry: &Entry<'_>, action: Action) -> Self {
        let layout = entry.layout;
        let [flags, inverted] = entry.flags();
        let protocol = entry
            .bytes
            .get(layout.protocol..)
            .and_then(|it| u16_at(it, 0));
        let protocol = protocol.and_then(|number| u8::try_from(number).ok());
        let has_protocol = if ipv6 {
            flags & IP6T_F_PROTO != 0
        } else {
            protocol != Some(0)
        };
        let field = |start: usize, length: usize, place: usize| {
            let at = start.saturating_add(length.saturating_mul(place));
            let end = at.saturating_add(length);
            Box::from(entry.bytes.get(at..end).unwrap_or_default())
        };
        let address = |place| field(0, layout.address, place);
        let interface = |place| field(layout.interfaces, 16, place);
        Self {
            ipv6,
            protocol: protocol.filter(|_| has_protocol),
            addresses: [address(0), address(2), address(1), address(3)],
            interfaces: [interface(0), interface(2), interface(1), interface(3)],
            fragments: !ipv6 && flags & IPT_F_FRAG != 0,
            inverted,
            matches: entry.matches(),
            target: entry.target().0,
            action,
        }
    }

    /// Whether the packet meets its conditions.
    fn holds(&self, probe: &Probe) -> Truth {
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

    /// The rule in `iptables`' words, without what its matches hold.
    pub(super) fn text(&self) -> String {
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

/// Where things lie in an entry, in bytes.
#[derive(Debug)]
struct EntryLayout {
    address: usize,
    interfaces: usize,
    protocol: usize,
    flags: usize,
    target: usize,
    next: usize,
    length: usize,
    goto: u8,
}

const IPV4: EntryLayout = EntryLayout {
    address: 4,
    interfaces: 16,
    protocol: 80,
    flags: 82,
    target: 88,
    next: 90,
    length: 112,
    goto: IPT_F_GOTO,
};

const IPV6: EntryLayout = EntryLayout {
    address: 16,
    interfaces: 64,
    protocol: 128,
    flags: 131,
    target: 140,
    next: 142,
    length: 168,
    goto: IP6T_F_GOTO,
};

/// The bytes of one entry.
#[derive(Debug)]
struct Entry<'a> {
    layout: &'static EntryLayout,
    bytes: &'a [u8],
    length: usize,
}

impl Entry<'_> {
    fn flags(&self) -> [u8; 2] {
        let rest = self.bytes.get(self.layout.flags..);
        rest.and_then(<[u8]>::first_chunk)
            .copied()
            .unwrap_or_default()
    }

    /// The name and the data of the target.
    fn target(&self) -> (Box<str>, &[u8]) {
        let at = u16_at(self.bytes, self.layout.target).map_or(usize::MAX, usize::from);
        let target = self.bytes.get(at..).unwrap_or_default();
        let data = target.get(EXTENSION..).unwrap_or_default();
        (extension_name(target), data)
    }

    /// The name of the chain that begins behind this entry.
    fn chain_name(&self) -> Option<Box<str>> {
        let (name, data) = self.target();
        let text = data.split(|&byte| byte == 0).next()?;
        (&*name == "ERROR").then(|| String::from_utf8_lossy(text).into())
    }

    fn matches(&self) -> Vec<(Box<str>, u32, Box<[u8]>)> {
        let end = u16_at(self.bytes, self.layout.target).map_or(0, usize::from);
        let mut rest = self.bytes.get(self.layout.length..end).unwrap_or_default();
        let mut list = Vec::new();
        while let Some(length) = u16_at(rest, 0).map(usize::from)
            && let Some((one, next)) = rest.split_at_checked(length)
            && let Some(data) = one.get(EXTENSION..)
        {
            let revision = one.get(EXTENSION.wrapping_sub(1)).copied();
            list.push((
                extension_name(one),
                revision.map_or(0, u32::from),
                data.into(),
            ));
            rest = next;
        }
        list
    }

    /// What the target does; `next` is where the following entry begins.
    fn action(&self, next: usize, names: &HashMap<usize, Box<str>>) -> Action {
        let (name, data) = self.target();
        if !name.is_empty() {
            return xt::action(&name);
        }
        let Some(verdict) = u32_at(data, 0).map(u32::cast_signed) else {
            return Action::Continue;
        };
        let [flags, _] = self.flags();
        match usize::try_from(verdict) {
            Ok(to) if to == next => Action::Continue,
            Ok(to) => match names.get(&to) {
                Some(chain) if flags & self.layout.goto != 0 => Action::Goto(chain.clone()),
                Some(chain) => Action::Jump(chain.clone()),
                None => Action::Continue,
            },
            Err(_) if verdict == XT_RETURN => Action::Return,
            Err(_) if verdict == DROP => Action::Drop,
            // To accept, or to leave it to a program.
            Err(_) => Action::Accept,
        }
    }
}

/// The name in `struct xt_entry_match` or `struct xt_entry_target`.
fn extension_name(extension: &[u8]) -> Box<str> {
    let field = extension.get(2..).unwrap_or_default();
    let field = field.get(..XT_EXTENSION_MAXNAMELEN).unwrap_or_default();
    let name = field.split(|&byte| byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(name).into()
}

struct Entries<'a> {
    layout: &'static EntryLayout,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Iterator for Entries<'a> {
    /// With its offset.
    type Item = (usize, Entry<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.bytes.get(self.at..)?;
        let length = usize::from(u16_at(rest, self.layout.next)?);
        let bytes = rest
            .get(..length)
            .filter(|_| length >= self.layout.length)?;
        let at = self.at;
        self.at = at.checked_add(length)?;
        let entry = Entry {
            layout: self.layout,
            bytes,
            length,
        };
        Some((at, entry))
    }
}

/// The built-in chains by their hooks.
const HOOKS: [(Hook, &str); 5] = [
    (Hook::PREROUTING, "PREROUTING"),
    (Hook::INPUT, "INPUT"),
    (Hook::FORWARD, "FORWARD"),
    (Hook::OUTPUT, "OUTPUT"),
    (Hook::POSTROUTING, "POSTROUTING"),
];

/// Length of what matches and targets begin with.
const EXTENSION: usize = 32;

/// `-NF_DROP - 1`.
const DROP: i32 = -1;
