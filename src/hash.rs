//! Maps with short keys, such as ports and addresses, that are looked into for
//! every exposure.
//!
//! The hasher of `std` takes longer there than all the rest of a look-up. This
//! one multiplies and folds, from a beginning that differs by map, so that
//! nobody can tell which keys would meet.

use std::collections::hash_map::RandomState;
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, Hasher};

pub(crate) type Map<K, V> = HashMap<K, V, Seed>;
pub(crate) type Set<K> = HashSet<K, Seed>;

/// Where the hashes of one map begin.
#[derive(Debug, Clone)]
pub(crate) struct Seed(u64);

impl Default for Seed {
    fn default() -> Self {
        Self(RandomState::new().hash_one(0_u8))
    }
}

impl BuildHasher for Seed {
    type Hasher = Folding;

    fn build_hasher(&self) -> Folding {
        Folding(self.0)
    }
}

/// A hash that is being made.
#[derive(Debug)]
pub(crate) struct Folding(u64);

impl Folding {
    /// Both halves of a product depend on all bits of both factors.
    fn take(&mut self, value: u64) {
        let product = u128::from(self.0 ^ value).wrapping_mul(u128::from(FACTOR));
        let folded = product ^ (product >> 64);
        self.0 = u64::try_from(folded & u128::from(u64::MAX)).unwrap_or_default();
    }
}

impl Hasher for Folding {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.take(u64::from_ne_bytes(*word));
        }
        if !rest.is_empty() {
            let mut word = [0; 8];
            for (place, byte) in word.iter_mut().zip(rest) {
                *place = *byte;
            }
            self.take(u64::from_ne_bytes(word));
        }
    }

    fn write_u8(&mut self, value: u8) {
        self.take(value.into());
    }

    fn write_u16(&mut self, value: u16) {
        self.take(value.into());
    }

    fn write_u32(&mut self, value: u32) {
        self.take(value.into());
    }

    fn write_u64(&mut self, value: u64) {
        self.take(value);
    }

    fn write_usize(&mut self, value: usize) {
        self.take(u64::try_from(value).unwrap_or(u64::MAX));
    }

    fn finish(&self) -> u64 {
        // Once more: a map takes the uppermost bits, which short keys reach
        // last.
        let mut last = Self(self.0);
        last.take(FACTOR);
        last.0
    }
}

/// Odd, and its ones and zeros lie without pattern: the golden ratio.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    #[test]
    fn neighbouring_keys_lie_apart() {
        let seed = Seed::default();
        let keys = (0..=u16::MAX).map(|port| (IpAddr::from(Ipv4Addr::new(198, 18, 0, 2)), port));
        let hashes: Vec<u64> = keys.map(|key| seed.hash_one(key)).collect();
        // By the seven uppermost bits, and by the lowest, as a map takes them.
        for place in [|hash: u64| hash >> 57, |hash: u64| hash & 0x7f] {
            let mut counts = [0_u32; 128];
            for hash in &hashes {
                counts[usize::try_from(place(*hash)).unwrap()] += 1;
            }
            // 512 each if evenly spread.
            assert!(counts.iter().all(|count| (300..800).contains(count)));
        }
        let distinct: HashSet<u64> = hashes.iter().copied().collect();
        assert_eq!(distinct.len(), hashes.len());
    }

    #[test]
    fn maps_begin_differently() {
        let hash = |seed: Seed| seed.hash_one(8080_u16);
        assert_ne!(hash(Seed::default()), hash(Seed::default()));
    }

    #[test]
    fn length_and_order_count() {
        let seed = Seed::default();
        let hash = |bytes: &[u8]| seed.hash_one(bytes);
        assert_ne!(hash(&[0; 7]), hash(&[0; 8]));
        assert_ne!(hash(&[1, 0]), hash(&[0, 1]));
    }
}
