//! `struct ipt_entry` of `linux/netfilter_ipv4/ip_tables.h` and `struct
//! ip6t_entry`, each with its matches and its target behind it.

use std::collections::HashMap;

use crate::beside::walk::Action;
use crate::beside::xt::{self, u16_at, u32_at};
use crate::wire::uapi::ip6_tables::IP6T_F_GOTO;
use crate::wire::uapi::xtables::{IPT_F_GOTO, XT_EXTENSION_MAXNAMELEN, XT_RETURN};

/// The entries of a table, each with its offset.
pub(super) struct Entries<'a> {
    layout: &'static EntryLayout,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Entries<'a> {
    pub(super) fn new(ipv6: bool, bytes: &'a [u8]) -> Self {
        Self {
            layout: if ipv6 { &IPV6 } else { &IPV4 },
            bytes,
            at: 0,
        }
    }
}

impl<'a> Iterator for Entries<'a> {
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
        };
        Some((at, entry))
    }
}

/// The bytes of one entry.
#[derive(Debug)]
pub(super) struct Entry<'a> {
    layout: &'static EntryLayout,
    bytes: &'a [u8],
}

impl Entry<'_> {
    /// In bytes.
    pub(super) fn length(&self) -> usize {
        self.bytes.len()
    }

    /// Source and destination, each followed by its mask.
    pub(super) fn addresses(&self) -> [Box<[u8]>; 4] {
        self.four(0, self.layout.address)
    }

    /// The interfaces in and out, each followed by its mask.
    pub(super) fn interfaces(&self) -> [Box<[u8]>; 4] {
        self.four(self.layout.interfaces, 16)
    }

    /// Both values come before both masks.
    fn four(&self, start: usize, length: usize) -> [Box<[u8]>; 4] {
        [0_usize, 2, 1, 3].map(|place| {
            let at = start.saturating_add(length.saturating_mul(place));
            let end = at.saturating_add(length);
            self.bytes.get(at..end).unwrap_or_default().into()
        })
    }

    pub(super) fn protocol(&self) -> Option<u8> {
        u8::try_from(u16_at(self.bytes, self.layout.protocol)?).ok()
    }

    /// The flags, and which conditions are inverted.
    pub(super) fn flags(&self) -> [u8; 2] {
        let rest = self.bytes.get(self.layout.flags..);
        rest.and_then(<[u8]>::first_chunk)
            .copied()
            .unwrap_or_default()
    }

    /// The name and the data of the target.
    pub(super) fn target(&self) -> (Box<str>, &[u8]) {
        let at = u16_at(self.bytes, self.layout.target).map_or(usize::MAX, usize::from);
        let target = self.bytes.get(at..).unwrap_or_default();
        let data = target.get(EXTENSION..).unwrap_or_default();
        (extension_name(target), data)
    }

    /// The name of the chain that begins behind this entry.
    pub(super) fn chain_name(&self) -> Option<Box<str>> {
        let (name, data) = self.target();
        let text = data.split(|&byte| byte == 0).next()?;
        (&*name == "ERROR").then(|| String::from_utf8_lossy(text).into())
    }

    /// The matches in their order.
    pub(super) fn matches(&self) -> Vec<Match> {
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
    pub(super) fn action(&self, next: usize, names: &HashMap<usize, Box<str>>) -> Action {
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

/// A match: its name, its revision, what it holds.
pub(super) type Match = (Box<str>, u32, Box<[u8]>);

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

/// Length of what matches and targets begin with.
const EXTENSION: usize = 32;

/// `-NF_DROP - 1`.
const DROP: i32 = -1;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(
            ipv6: bool,
            mut bytes in prop::collection::vec(any::<u8>(), 0..600),
            length in 0_u16..400,
            target in 0_u16..400,
        ) {
            let layout = if ipv6 { &IPV6 } else { &IPV4 };
            for (place, number) in [(layout.next, length), (layout.target, target)] {
                if let Some(field) = bytes.get_mut(place..).and_then(<[u8]>::first_chunk_mut::<2>) {
                    *field = number.to_ne_bytes();
                }
            }
            for (at, entry) in Entries::new(ipv6, &bytes) {
                entry.matches();
                entry.action(at, &HashMap::new());
                entry.chain_name();
                prop_assert!(entry.length() >= layout.length);
            }
        }
    }
}
