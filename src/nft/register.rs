//! Registers.

use std::fmt;

use crate::wire::uapi::nf_tables::{NFT_REG_1, NFT_REG_VERDICT, NFT_REG32_00, NFT_REG32_15};
use crate::wire::{Attr, Attribute, Be32, DecodeError, Writer};

use super::carried::Carried;

/// A register: the verdict, or one of 16 slots of 4 bytes in which the value
/// begins.
///
/// The kernel has two numbers for every fourth slot (16 bytes from
/// `NFT_REG_1` on are 4 bytes from `NFT_REG32_00` on) and lists the shorter;
/// this type knows only that one, so that equal registers compare equal.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Register(u32);

impl Register {
    /// What is to happen with the packet.
    pub const VERDICT: Self = Self(NFT_REG_VERDICT);
    /// The first slot.
    pub const FIRST: Self = Self(NFT_REG_1);

    /// The register that begins in slot 0 to 15.
    pub const fn slot(slot: u32) -> Option<Self> {
        match slot {
            0..=15 => Some(Self::from_raw(NFT_REG32_00.saturating_add(slot))),
            _ => None,
        }
    }

    /// The register of the kernel's number.
    pub const fn from_raw(number: u32) -> Self {
        match number {
            8 => Self(1),
            12 => Self(2),
            16 => Self(3),
            20 => Self(4),
            other => Self(other),
        }
    }

    /// The number that the kernel lists.
    pub const fn as_raw(self) -> u32 {
        self.0
    }

    /// The slot in which it begins; `None` for the verdict.
    pub const fn first_slot(self) -> Option<u32> {
        match self.0 {
            1 => Some(0),
            2 => Some(4),
            3 => Some(8),
            4 => Some(12),
            NFT_REG32_00..=NFT_REG32_15 => self.0.checked_sub(NFT_REG32_00),
            _ => None,
        }
    }
}

impl fmt::Debug for Register {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Register({})", self.0)
    }
}

impl Carried<Be32> for Register {
    fn put(&self, attr: Attr<Be32>, out: &mut Writer<'_>) {
        out.put(attr, self.0);
    }

    fn get(attr: Attr<Be32>, from: &Attribute<'_>) -> Result<Self, DecodeError> {
        from.get(attr).map(Self::from_raw)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_numbers_of_a_register_are_one() {
        assert_eq!(Register::from_raw(8), Register::FIRST);
        assert_eq!(Register::slot(4), Some(Register::from_raw(2)));
        assert_eq!(Register::slot(1).unwrap().as_raw(), 9);
        assert_eq!(Register::slot(16), None);
        for slot in 0..16 {
            assert_eq!(Register::slot(slot).unwrap().first_slot(), Some(slot));
        }
        assert_eq!(Register::VERDICT.first_slot(), None);
    }
}
