//! Registers of a rule of which some bytes are known.

use std::cmp::Ordering;

use super::probe::Truth;
use crate::nft::Register;

/// The 16 slots of 4 bytes.
#[derive(Debug, Clone)]
pub(super) struct Registers([Option<u8>; SIZE]);

const SIZE: usize = 64;

impl Registers {
    pub(super) fn new() -> Self {
        Self([None; SIZE])
    }

    /// Stores bytes; the kernel fills the last slot up with zeros.
    pub(super) fn store(&mut self, to: Register, bytes: impl IntoIterator<Item = Option<u8>>) {
        let Some(places) = start(to).and_then(|start| self.0.get_mut(start..)) else {
            return;
        };
        let mut written = 0_usize;
        let mut places = places.iter_mut();
        for (byte, place) in bytes.into_iter().zip(&mut places) {
            *place = byte;
            written = written.wrapping_add(1);
        }
        let rest = written.next_multiple_of(4).wrapping_sub(written);
        for place in places.take(rest) {
            *place = Some(0);
        }
    }

    pub(super) fn store_known(&mut self, to: Register, bytes: &[u8]) {
        self.store(to, bytes.iter().copied().map(Some));
    }

    /// Forgets `length` bytes.
    pub(super) fn forget(&mut self, to: Register, length: usize) {
        self.store(to, (0..length).map(|_| None));
    }

    /// The bytes from `from` on, as many as are there.
    pub(super) fn load(&self, from: Register, length: usize) -> &[Option<u8>] {
        let start = start(from).unwrap_or(SIZE);
        let rest = self.0.get(start..).unwrap_or_default();
        rest.get(..length).unwrap_or(rest)
    }

    /// The bytes from `from` on if all are known.
    pub(super) fn known(&self, from: Register, length: usize) -> Option<Vec<u8>> {
        let bytes = self.load(from, length);
        bytes.iter().copied().collect::<Option<Vec<u8>>>()
    }

    /// Whether the bytes are those of `data`.
    pub(super) fn is(&self, from: Register, data: &[u8]) -> Truth {
        let mut truth = Truth::Yes;
        for (byte, wanted) in self.load(from, data.len()).iter().zip(data) {
            truth = truth.and(byte.map(|byte| byte == *wanted).into());
        }
        truth
    }

    /// How the bytes compare with those of `data`, the first one counting
    /// most.
    pub(super) fn order(&self, from: Register, data: &[u8]) -> Option<Ordering> {
        let bytes = self.known(from, data.len())?;
        Some(bytes.as_slice().cmp(data))
    }
}

fn start(register: Register) -> Option<usize> {
    let slot = usize::try_from(register.first_slot()?).ok()?;
    slot.checked_mul(4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_slot_is_filled_up_and_one_wrong_byte_decides() {
        let mut registers = Registers::new();
        registers.store(Register::FIRST, [None, Some(80)]);
        assert_eq!(registers.known(Register::FIRST, 4), None);
        assert_eq!(registers.is(Register::FIRST, &[9, 81]), Truth::No);
        assert_eq!(registers.is(Register::FIRST, &[9, 80]), Truth::Maybe);
        registers.store_known(Register::FIRST, &[0, 80]);
        let whole = registers.known(Register::FIRST, 4).unwrap();
        assert_eq!(whole, [0, 80, 0, 0]);
        assert_eq!(registers.is(Register::FIRST, &[0, 80]), Truth::Yes);
        let order = registers.order(Register::FIRST, &[0, 81]);
        assert_eq!(order, Some(Ordering::Less));
    }
}
