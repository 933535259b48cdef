//! Parts of packets that rules read and write as bytes.

use crate::nft::expr::{ChecksumType, Lookup, Meta, MetaKey, Payload, PayloadBase, PayloadSet};
use crate::nft::{Register, Rule, Set};
use crate::wire::uapi::nf_tables::NFT_REG32_00;

/// Where something is in a packet that rules read and write.
///
/// The rules say nothing of protocols: so `nft` lists them in a form that it
/// reads.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    base: PayloadBase,
    offset: u32,
    width: u32,
    /// Where the checksum is that has to stay right, behind the same beginning.
    checksum: Option<u32>,
}

impl Place {
    /// In a header that has no checksum, or one that the kernel sees to.
    pub(super) const fn network(offset: u32, width: u32) -> Self {
        Self {
            base: PayloadBase::NETWORK,
            offset,
            width,
            checksum: None,
        }
    }

    pub(super) const fn transport(offset: u32, width: u32, checksum: u32) -> Self {
        Self {
            base: PayloadBase::TRANSPORT,
            offset,
            width,
            checksum: Some(checksum),
        }
    }

    /// Writes what `map` has for the interface and what is here.
    pub(super) fn renamed(self, rule: Rule, interface: MetaKey, map: &Set) -> Rule {
        rule.expression(Meta::new(Register::FIRST, interface))
            .expression(self.load(BEHIND_NAME))
            .expression(Lookup::new(map.name().clone(), Register::FIRST).with_to(Register::FIRST))
            .expression(self.write())
    }

    /// Writes what is here to another place as well.
    pub(super) fn copied(self, rule: Rule, to: Self) -> Rule {
        rule.expression(self.load(Register::FIRST))
            .expression(to.write())
    }

    pub(super) fn load(self, to: Register) -> Payload {
        Payload::new(to, self.base, self.offset, self.width)
    }

    /// Writes what is in the first register.
    pub(super) fn write(self) -> PayloadSet {
        let set = PayloadSet::new(Register::FIRST, self.base, self.offset, self.width);
        match self.checksum {
            Some(offset) => set
                .with_checksum(ChecksumType::INET)
                .with_checksum_offset(offset),
            None => set,
        }
    }
}

/// Behind an interface's name, which takes 16 bytes.
const BEHIND_NAME: Register = Register::from_raw(NFT_REG32_00 + 4);
