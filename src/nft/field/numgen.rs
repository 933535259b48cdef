//! Numbers that spread packets over slots.

use super::{Field, Load, Needs};
use crate::error::Invalid;
use crate::nft::DataType;
use crate::nft::expr::NumgenType;

/// One number after the other, from 0 to `modulus` less 1.
pub const fn incremental(modulus: u32) -> Field {
    Field {
        load: Load::Numgen {
            kind: NumgenType::INCREMENTAL,
            modulus,
        },
        kind: DataType::INTEGER,
        needs: Needs::Nothing,
    }
}

/// The hash of a field of the packet, from 0 to `modulus` less 1. Without a
/// seed the kernel draws one for each rule.
///
/// # Errors
/// [`Invalid`] if `field` is not part of the packet.
pub fn jhash(field: Field, modulus: u32, seed: Option<u32>) -> Result<Field, Invalid> {
    let Load::Payload { base, offset } = field.load else {
        return Err(Invalid::new(
            "field to hash",
            field.kind,
            "is not part of the packet",
        ));
    };
    let load = Load::Hash {
        base,
        offset,
        length: field.kind.length(),
        modulus,
        seed,
    };
    Ok(Field {
        load,
        kind: DataType::INTEGER,
        needs: field.needs,
    })
}
