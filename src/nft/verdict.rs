//! What is to happen with a packet.

use std::fmt;

use crate::wire::uapi::netfilter::{NF_ACCEPT, NF_DROP};
use crate::wire::uapi::nf_tables::{NFT_BREAK, NFT_CONTINUE, NFT_GOTO, NFT_JUMP, NFT_RETURN};

use super::name::Name;

/// What is to happen with a packet (`enum nft_verdicts` of
/// `linux/netfilter/nf_tables.h`).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Verdict {
    /// It leaves this base chain; later ones still see it.
    Accept,
    /// It is gone.
    Drop,
    /// The next rule.
    Continue,
    /// The next rule, the rest of this one is left out.
    Break,
    /// Back to the rule behind the jump, or the policy.
    Return,
    /// This chain, then the next rule.
    Jump(Name),
    /// This chain, then where this one would have returned to.
    Goto(Name),
    /// A number that is not known here.
    Other(i32),
}

impl Verdict {
    /// A chain beside a verdict that leads to none says nothing, also to the
    /// kernel.
    pub(crate) fn from_raw(code: i32, chain: Option<Name>) -> Self {
        match (code, chain) {
            (NF_ACCEPT, _) => Self::Accept,
            (NF_DROP, _) => Self::Drop,
            (NFT_CONTINUE, _) => Self::Continue,
            (NFT_BREAK, _) => Self::Break,
            (NFT_RETURN, _) => Self::Return,
            (NFT_JUMP, Some(chain)) => Self::Jump(chain),
            (NFT_GOTO, Some(chain)) => Self::Goto(chain),
            (other, _) => Self::Other(other),
        }
    }

    pub(crate) fn code(&self) -> i32 {
        match self {
            Self::Accept => NF_ACCEPT,
            Self::Drop => NF_DROP,
            Self::Continue => NFT_CONTINUE,
            Self::Break => NFT_BREAK,
            Self::Return => NFT_RETURN,
            Self::Jump(_) => NFT_JUMP,
            Self::Goto(_) => NFT_GOTO,
            Self::Other(code) => *code,
        }
    }

    /// The chain that it leads to.
    pub fn chain(&self) -> Option<&Name> {
        match self {
            Self::Jump(chain) | Self::Goto(chain) => Some(chain),
            _ => None,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accept => f.write_str("accept"),
            Self::Drop => f.write_str("drop"),
            Self::Continue => f.write_str("continue"),
            Self::Break => f.write_str("break"),
            Self::Return => f.write_str("return"),
            Self::Jump(chain) => write!(f, "jump {chain}"),
            Self::Goto(chain) => write!(f, "goto {chain}"),
            Self::Other(code) => write!(f, "verdict {code}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_and_chain_of_what_was_read_read_the_same() {
        let chain = Some(Name::constant("c"));
        for code in -7..3 {
            for chain in [&chain, &None] {
                let read = Verdict::from_raw(code, chain.clone());
                let again = Verdict::from_raw(read.code(), read.chain().cloned());
                assert_eq!(read, again);
            }
        }
    }
}
