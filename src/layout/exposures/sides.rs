//! The sets that hold exposures, alike for each of four sides.

use super::super::Layout;
use crate::error::Invalid;
use crate::nft::{
    Chain, Comment, Data, DataType, Element, Field, Name, Rule, Set, Table, Value, Verdict, ip,
    ip6, meta, numgen, th,
};

/// Exposures of one family, on exact host addresses or on all.
///
/// The key of its sets is `[host address .] protocol . host port`.
#[derive(Debug)]
pub(crate) struct Side {
    pub(crate) ipv4: bool,
    pub(crate) exact: bool,
    /// Key : guest address . port. Also what claims a port, whatever else is
    /// to be looked up for it.
    pub(crate) dnat: Set,
    /// The keys for which the sets below are to be looked at.
    pub(crate) special: Set,
    /// The keys that not everyone may use.
    pub(crate) restricted: Set,
    /// Host address . protocol . ports . source prefix: who may.
    pub(crate) allow: Set,
    /// Key : jump to the chain that limits connections.
    pub(crate) limits: Set,
    /// The connections that are counted against a limit, by key.
    pub(crate) live: Set,
    /// Key . slot : guest address . port, for slots taken in turn.
    pub(crate) turns: Set,
    /// Key . slot : guest address . port, for slots by source address.
    pub(crate) sources: Set,
    /// Host address . protocol . ports : guest address, ports kept.
    pub(crate) ranges: Set,
    special_chain: Chain,
    allowed_chain: Chain,
    hash: Field,
    suffix: &'static str,
}

impl Side {
    /// With room for `exposures`. What few exposures have gets less: room
    /// for an eighth, and for several guests behind a 256th.
    pub(super) fn new(
        table: &Table,
        ipv4: bool,
        exact: bool,
        exposures: u32,
    ) -> Result<Self, Invalid> {
        let suffix = match (ipv4, exact) {
            (true, true) => "4",
            (true, false) => "4_any",
            (false, true) => "6",
            (false, false) => "6_any",
        };
        let address = if ipv4 {
            DataType::IPV4_ADDR
        } else {
            DataType::IPV6_ADDR
        };
        let daddr = if ipv4 { ip::daddr() } else { ip6::daddr() };
        let key: Vec<DataType> = key_fields(ipv4, exact)
            .iter()
            .map(Field::data_type)
            .collect();
        let behind = |more: DataType| [key.as_slice(), &[more]].concat();
        let name = |role: &str| Name::new(&format!("{role}{suffix}"));
        let (few, fewer) = (exposures / 8, exposures / 256);
        let [few, slots] = [few.max(16), fewer.max(1).saturating_mul(SLOTS)];
        let set = |role: &str, key: &[DataType]| name(role).map(|name| Set::new(table, name, key));
        let slotted = |role: &str| {
            let mut fields = key_fields(ipv4, exact);
            // A hash as a type makes `nft` 1.0.6 crash; both are numbers.
            fields.push(numgen::incremental(SLOTS));
            let map = |name| Set::map_of(table, name, &fields, &[daddr, th::dport()]);
            name(role).map(|name| map(name).size(slots).counter())
        };
        let map = |role: &str, data: &[DataType]| {
            name(role).map(|name| Set::map(table, name, &key, data).counter())
        };
        let limits = |name| Set::verdict_map(table, name, &key);
        let chain = |role: &str| name(role).map(|name| Chain::new(table, name));
        let source = if ipv4 { ip::saddr() } else { ip6::saddr() };
        Ok(Self {
            ipv4,
            exact,
            dnat: map("dnat", &[address, DataType::INET_SERVICE])?.size(exposures),
            special: set("special", &key)?.size(few),
            restricted: set("restricted", &key)?.size(few),
            allow: set("allow", &behind(address))?.interval().size(few),
            limits: name("limits").map(limits)?.size(few),
            live: set("live", &key)?.dynamic().size(few),
            turns: slotted("turns")?,
            sources: slotted("sources")?,
            ranges: map("ranges", &[address])?.interval().size(few),
            special_chain: chain("special")?,
            allowed_chain: chain("allowed")?,
            hash: numgen::jhash(source, SLOTS, Some(SEED))?,
            suffix,
        })
    }

    /// The fields of a packet that are the key of its sets.
    pub(crate) fn key(&self) -> Vec<Field> {
        key_fields(self.ipv4, self.exact)
    }

    /// The sets that hold exposures.
    pub(crate) fn sets(&self) -> [&Set; SETS] {
        [
            &self.dnat,
            &self.special,
            &self.restricted,
            &self.allow,
            &self.limits,
            &self.turns,
            &self.sources,
            &self.ranges,
        ]
    }

    /// The sets that tell of guests besides those that claims name.
    pub(crate) fn beyond_claims(&self) -> [&Set; 3] {
        [&self.turns, &self.sources, &self.ranges]
    }

    /// So many slots the guests behind one exposure share.
    pub(crate) const SLOTS: u32 = SLOTS;

    /// The key of a slot of a claim's.
    pub(crate) fn slot_key(claim: &Data, slot: u32) -> Data {
        slot_key(claim, slot)
    }

    /// The chain that the keys in `special` take.
    pub(crate) fn special_chain(&self) -> &Chain {
        &self.special_chain
    }

    /// The chain that the keys in `restricted` take on the way.
    pub(crate) fn allowed_chain(&self) -> &Chain {
        &self.allowed_chain
    }

    /// The slot of a packet in `turns`.
    pub(crate) fn turn() -> Field {
        numgen::incremental(SLOTS)
    }

    /// The slot of a packet in `sources`.
    pub(crate) fn hash(&self) -> Field {
        self.hash
    }

    /// What an element of `limits` holds: to go through the chain of that
    /// limit.
    pub(super) fn limited(&self, connections: u32) -> Result<Verdict, Invalid> {
        let name = Name::new(&format!("limit{}_{connections}", self.suffix))?;
        Ok(Verdict::Jump(name))
    }

    /// The number of connections that an element of `limits` allows.
    pub(crate) fn limit_of(&self, element: &Element) -> Option<u32> {
        self.limit_of_chain(limit_name(element)?)
    }

    fn limit_of_chain(&self, chain: &Name) -> Option<u32> {
        let rest = chain.as_str().strip_prefix("limit")?;
        let number = rest.strip_prefix(self.suffix)?.strip_prefix('_')?;
        number.parse().ok().filter(|&number| number > 0)
    }

    /// The chain to which an element of `limits` leads, with its rule. It is
    /// made with the first such element, and goes with the last.
    pub(crate) fn limit_chain(&self, element: &Element) -> Option<(Chain, Rule)> {
        let chain = Chain::new(&self.table(), limit_name(element)?.clone());
        let rule = self.limit_rule(&chain)?;
        Some((chain, rule))
    }

    /// The rule of a chain to which elements of `limits` lead.
    pub(crate) fn limit_rule(&self, chain: &Chain) -> Option<Rule> {
        let limit = self.limit_of_chain(chain.name())?;
        let rule = Rule::new(chain)
            .add_to_over(&self.key(), &self.live, limit)
            .counter()
            .reject()
            .comment(Comment::constant("too many connections"));
        Some(rule)
    }

    fn table(&self) -> Table {
        Table::new(self.dnat.family(), self.dnat.table().clone())
    }
}

impl Layout {
    /// The side of exposures of this family, on exact host addresses or all.
    pub(crate) fn side(&self, ipv4: bool, exact: bool) -> &Side {
        let [exact4, exact6, all4, all6] = &self.sides;
        match (ipv4, exact) {
            (true, true) => exact4,
            (false, true) => exact6,
            (true, false) => all4,
            (false, false) => all6,
        }
    }

    /// All sets that hold exposures.
    pub(crate) fn exposure_sets(&self) -> impl Iterator<Item = &Set> {
        self.sides.iter().flat_map(|side| side.sets())
    }
}

/// The family and exactness of all four.
pub(crate) const SIDES: [(bool, bool); 4] =
    [(true, true), (false, true), (true, false), (false, false)];

/// All four, in the order of [`SIDES`].
pub(crate) fn all(table: &Table, exposures: u32) -> Result<[Box<Side>; 4], Invalid> {
    let side = |(ipv4, exact)| Side::new(table, ipv4, exact, exposures).map(Box::new);
    let [exact4, exact6, all4, all6] = SIDES.map(side);
    Ok([exact4?, exact6?, all4?, all6?])
}

/// Which of so many guests, counted from 0, has `slot`. Of as many slots in a
/// row as there are guests, each guest has one. The next row begins with
/// another guest: the slots are counted for all exposures together, so one
/// whose connections come in turn with another's has every other slot, and is
/// to meet all of its guests too.
pub(crate) fn guest_at(slot: u32, guests: u32) -> u32 {
    let (mut rest, mut digits) = (slot, 0_u32);
    while let (Some(digit), Some(next)) = (rest.checked_rem(guests), rest.checked_div(guests)) {
        digits = digits.saturating_add(digit);
        if next == 0 || guests < 2 {
            break;
        }
        rest = next;
    }
    digits.checked_rem(guests).unwrap_or_default()
}

/// The name of the chain to which an element of `limits` leads.
fn limit_name(element: &Element) -> Option<&Name> {
    match element.value() {
        Some(Value::Verdict(Verdict::Jump(chain))) => Some(chain),
        _ => None,
    }
}

/// The key of a slot.
pub(super) fn slot_key(key: &Data, slot: u32) -> Data {
    let mut bytes = key.as_bytes().to_vec();
    bytes.extend(slot.to_ne_bytes());
    Data::from_bytes(&bytes).unwrap_or(*key)
}

fn key_fields(ipv4: bool, exact: bool) -> Vec<Field> {
    let port = [meta::l4proto(), th::dport()];
    let address = if ipv4 { ip::daddr() } else { ip6::daddr() };
    let address = exact.then_some(address);
    address.into_iter().chain(port).collect()
}

/// The guests behind one exposure share so many slots: a number that many
/// numbers of guests divide.
pub(crate) const SLOTS: u32 = 48;

/// Any number, but always the same: a client keeps its guest when the rules
/// are made anew.
const SEED: u32 = 0x7477;

/// The places of sets among [`Side::sets`].
pub(crate) mod role {
    pub(crate) const DNAT: usize = 0;
    pub(crate) const SPECIAL: usize = 1;
    pub(crate) const RESTRICTED: usize = 2;
    pub(crate) const ALLOW: usize = 3;
    pub(crate) const LIMITS: usize = 4;
    pub(crate) const TURNS: usize = 5;
    pub(crate) const SOURCES: usize = 6;
    pub(crate) const RANGES: usize = 7;
}

/// How many sets of a side hold exposures.
pub(crate) const SETS: usize = 8;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn as_many_slots_in_a_row_are_each_guest_once() {
        for guests in 1..=SLOTS {
            let slots: Vec<u32> = (0..SLOTS).map(|slot| guest_at(slot, guests)).collect();
            let size = usize::try_from(guests).unwrap();
            for row in slots.chunks_exact(size) {
                let mut row = row.to_vec();
                row.sort_unstable();
                assert!(row.into_iter().eq(0..guests), "{guests} guests");
            }
            assert!(slots[..size].iter().copied().eq(0..guests), "{guests}");
        }
    }

    #[test]
    fn every_other_slot_meets_all_of_a_few_guests() {
        for guests in [2, 3, 4, 6] {
            for first in [0, 1] {
                let slots = (first..SLOTS).step_by(2);
                let met: BTreeSet<u32> = slots.map(|slot| guest_at(slot, guests)).collect();
                assert_eq!(met.len(), usize::try_from(guests).unwrap(), "{guests}");
            }
        }
    }
}
