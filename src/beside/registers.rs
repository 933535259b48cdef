//! Registers of a rule of which some bytes are known.

use std::cmp::Ordering;

use super::ports::Byte;
use super::probe::Truth;
use crate::nft::Register;

/// The 16 slots of 4 bytes.
#[derive(Debug, Clone)]
pub(super) struct Registers([Option<Byte>; SIZE]);

const SIZE: usize = 64;

impl Registers {
    pub(super) fn new() -> Self {
        Self([None; SIZE])
    }

    /// Stores bytes; the kernel fills the last slot up with zeros.
    pub(super) fn store(&mut self, to: Register, bytes: impl IntoIterator<Item = Option<Byte>>) {
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
            *place = Some(Byte::of(0));
        }
    }

    pub(super) fn store_known(&mut self, to: Register, bytes: &[u8]) {
        self.store(to, bytes.iter().map(|&byte| Some(Byte::of(byte))));
    }

    /// Forgets `length` bytes.
    pub(super) fn forget(&mut self, to: Register, length: usize) {
        self.store(to, (0..length).map(|_| None));
    }

    /// The bytes from `from` on, as many as are there.
    pub(super) fn load(&self, from: Register, length: usize) -> &[Option<Byte>] {
        let start = start(from).unwrap_or(SIZE);
        let rest = self.0.get(start..).unwrap_or_default();
        rest.get(..length).unwrap_or(rest)
    }

    /// The bytes from `from` on if all are known; else [`Truth::Partly`] if
    /// that is for the ports alone, or [`Truth::Maybe`].
    pub(super) fn known(&self, from: Register, length: usize) -> Result<Vec<u8>, Truth> {
        let bytes = self.load(from, length);
        if bytes.contains(&None) {
            return Err(Truth::Maybe);
        }
        let known = bytes.iter().copied().flatten().map(Byte::known);
        known.collect::<Option<Vec<u8>>>().ok_or(Truth::Partly)
    }

    /// The lowest and the highest that the bytes from `from` on can be, unless
    /// some are not known.
    pub(super) fn bounds(&self, from: Register, length: usize) -> Option<(Vec<u8>, Vec<u8>)> {
        let bytes = self.load(from, length).iter();
        bytes
            .map(|byte| byte.map(|byte| (byte.low(), byte.high())))
            .collect()
    }

    /// Whether the bytes are those of `data`.
    pub(super) fn is(&self, from: Register, data: &[u8]) -> Truth {
        let mut truth = Truth::Yes;
        for (byte, wanted) in self.load(from, data.len()).iter().zip(data) {
            truth = truth.and(byte.map_or(Truth::Maybe, |byte| byte.is(*wanted)));
        }
        truth
    }

    /// Whether the bytes compare so with those of `data`, the first one
    /// counting most.
    pub(super) fn order(
        &self,
        from: Register,
        data: &[u8],
        holds: impl Fn(Ordering) -> bool,
    ) -> Truth {
        for (byte, &wanted) in self.load(from, data.len()).iter().zip(data) {
            let Some(byte) = byte else {
                return Truth::Maybe;
            };
            let low = byte.low().cmp(&wanted);
            if low != byte.high().cmp(&wanted) {
                return Truth::Partly;
            }
            if low.is_ne() {
                return holds(low).into();
            }
        }
        holds(Ordering::Equal).into()
    }
}

fn start(register: Register) -> Option<usize> {
    let slot = usize::try_from(register.first_slot()?).ok()?;
    slot.checked_mul(4)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::beside::ports::Ports;

    #[test]
    fn last_slot_is_filled_up_and_one_wrong_byte_decides() {
        let mut registers = Registers::new();
        registers.store(Register::FIRST, [None, Some(Byte::of(80))]);
        assert_eq!(registers.known(Register::FIRST, 4), Err(Truth::Maybe));
        assert_eq!(registers.is(Register::FIRST, &[9, 81]), Truth::No);
        assert_eq!(registers.is(Register::FIRST, &[9, 80]), Truth::Maybe);
        registers.store_known(Register::FIRST, &[0, 80]);
        let whole = registers.known(Register::FIRST, 4).unwrap();
        assert_eq!(whole, [0, 80, 0, 0]);
        assert_eq!(registers.is(Register::FIRST, &[0, 80]), Truth::Yes);
        let less = registers.order(Register::FIRST, &[0, 81], Ordering::is_lt);
        assert_eq!(less, Truth::Yes);
    }

    #[test]
    fn what_holds_for_some_ports_holds_partly() {
        let mut registers = Registers::new();
        let ports = Ports::new(0x1f90, 0x1f9f);
        registers.store(Register::FIRST, ports.bytes().map(Some));
        assert_eq!(registers.known(Register::FIRST, 2), Err(Truth::Partly));
        assert_eq!(registers.is(Register::FIRST, &[0x1f, 0x92]), Truth::Partly);
        assert_eq!(registers.is(Register::FIRST, &[0x1f, 0xa0]), Truth::No);
        let order = |data: [u8; 2], holds: fn(Ordering) -> bool| {
            registers.order(Register::FIRST, &data, holds)
        };
        assert_eq!(order([0x1f, 0x90], Ordering::is_ge), Truth::Partly);
        assert_eq!(order([0x1f, 0xa0], Ordering::is_lt), Truth::Yes);
        assert_eq!(order([0x1e, 0xff], Ordering::is_le), Truth::No);
    }
}
