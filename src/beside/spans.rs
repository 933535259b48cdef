//! The keys of a set, by which it is found that no element is about a range of
//! ports.

use super::registers::Registers;
use crate::nft::{Element, Register};

/// The keys from the lowest to the highest, each with the last one that it or
/// one before it reaches to. Of concatenations they lie closer than they are:
/// what is said not to be there is not.
#[derive(Debug)]
pub(super) struct Spans {
    reaching: Vec<(Vec<u8>, Vec<u8>)>,
    /// Whether there is an element for all that no other is for.
    catches_all: bool,
}

impl Spans {
    /// Of the elements of a set as the kernel lists them; with `intervals`, of
    /// which each lasts until the next key.
    pub(super) fn of(elements: &[Element], intervals: bool) -> Self {
        let (all, rest): (Vec<&Element>, _) = elements.iter().partition(|it| it.is_catch_all());
        let mut rest: Vec<&Element> = rest;
        rest.sort_unstable_by_key(|it| (it.key().as_bytes(), !it.is_interval_end()));
        let mut reaching: Vec<(Vec<u8>, Vec<u8>)> = Vec::with_capacity(rest.len());
        let mut next = None;
        for element in rest.into_iter().rev() {
            let key = element.key().as_bytes();
            if !element.is_interval_end() {
                let last = match (element.key_end(), next) {
                    (Some(end), _) => end.as_bytes().to_vec(),
                    (None, Some(next)) if intervals => <[u8]>::to_vec(next),
                    (None, None) if intervals => vec![u8::MAX; key.len()],
                    (None, _) => key.to_vec(),
                };
                reaching.push((key.to_vec(), last));
            }
            next = Some(key);
        }
        reaching.reverse();
        let mut furthest: Vec<u8> = Vec::new();
        for (_, last) in &mut reaching {
            if *last < furthest {
                last.clone_from(&furthest);
            } else {
                furthest.clone_from(last);
            }
        }
        Self {
            reaching,
            catches_all: !all.is_empty(),
        }
    }

    /// Whether it is certain that there is no element for what the registers
    /// hold, whichever of a probe's ports it has.
    pub(super) fn exclude(&self, registers: &Registers, from: Register, length: usize) -> bool {
        let Some((low, high)) = registers.bounds(from, length) else {
            return false;
        };
        let place = self.reaching.partition_point(|(_, last)| *last < low);
        let meets = self
            .reaching
            .get(place)
            .is_some_and(|(key, _)| *key <= high);
        !meets && !self.catches_all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::beside::ports::Ports;
    use crate::nft::Port;

    fn excludes(spans: &Spans, low: u16, high: u16) -> bool {
        let mut registers = Registers::new();
        let bytes = Ports::new(low, high).bytes();
        registers.store(Register::FIRST, bytes.map(Some));
        spans.exclude(&registers, Register::FIRST, 2)
    }

    #[test]
    fn keys_and_ranges_of_them_are_met() {
        let single = [Element::new(Port(80)), Element::new(Port(8080))];
        let spans = Spans::of(&single, false);
        assert!(excludes(&spans, 81, 127) && excludes(&spans, 8081, 8100));
        assert!(!excludes(&spans, 64, 95) && !excludes(&spans, 8080, 8080));
        let ranges = [
            Element::new(Port(100)).to(Port(900)),
            Element::new(Port(200)).to(Port(300)),
        ];
        let spans = Spans::of(&ranges, false);
        assert!(!excludes(&spans, 800, 801) && excludes(&spans, 901, 1000));
    }

    #[test]
    fn intervals_last_until_the_next_key() {
        let end = |port| Element::new(Port(port)).interval_end();
        let ports = [Element::new(Port(80)), end(91), Element::new(Port(60_000))];
        let spans = Spans::of(&ports, true);
        assert!(excludes(&spans, 0, 79) && excludes(&spans, 92, 255));
        assert!(!excludes(&spans, 85, 86) && !excludes(&spans, 65_535, 65_535));
    }

    #[test]
    fn whatever_an_element_for_all_the_rest_catches_is_met() {
        let spans = Spans::of(&[Element::new(Port(80)), Element::catch_all()], false);
        assert!(!excludes(&spans, 100, 200));
    }
}
