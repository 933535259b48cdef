//! What a register holds, as a tree of the expressions that made it.

use super::headers::Header;
use super::kind::Kind;
use super::protocols::{Found, Protocols};
use crate::nft::expr::{ExthdrOp, MetaKey, PayloadBase};
use crate::nft::{Data, KeyType, Name, Order};

/// What a register holds.
#[derive(Debug, Clone)]
pub(super) enum Node {
    /// Bits of the packet.
    Packet(Bits),
    /// `meta`.
    Meta(MetaKey, &'static str, Kind),
    /// Anything that has a text by itself.
    Named(String, Kind),
    /// A value.
    Constant(Data),
    /// `(of & mask) ^ xor`.
    Masked {
        of: Box<Self>,
        mask: Vec<u8>,
        xor: Vec<u8>,
    },
    /// `of << by` or `of >> by`.
    Shifted { of: Box<Self>, left: bool, by: u32 },
    /// An operation of two registers.
    Joined {
        left: Box<Self>,
        operator: &'static str,
        right: Box<Self>,
    },
    /// With its bytes turned around.
    Swapped(Box<Self>),
    /// Of the packet inside of a tunnel's.
    Inside(&'static Header, Box<Self>),
    /// A hash of registers: what follows the key, and the keys.
    Hashed { keys: Vec<Self>, tail: String },
    /// What a map holds.
    Mapped {
        keys: Vec<Self>,
        map: Name,
        data: KeyType,
    },
}

/// Bits of the packet: where they begin and how many they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bits {
    pub(super) source: Source,
    pub(super) offset: u32,
    pub(super) width: u32,
}

/// Where bits are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// A header.
    Header(PayloadBase),
    /// An option, or an extension header.
    Option(ExthdrOp, u8),
}

/// A mask whose bits lie together: bits before it, in it and behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) before: u32,
    pub(super) ones: u32,
    pub(super) behind: u32,
}

impl Run {
    /// `None` if the bits of `mask` do not lie together.
    pub(super) fn of(mask: &[u8]) -> Option<Self> {
        let mut all = mask.iter().flat_map(|byte| {
            (0..8_u32)
                .rev()
                .map(move |bit| byte.checked_shr(bit).unwrap_or_default() & 1 == 1)
        });
        let total = u32::try_from(mask.len()).ok()?.checked_mul(8)?;
        let before = u32::try_from(all.clone().take_while(|bit| !bit).count()).ok()?;
        let ones = all
            .clone()
            .skip(usize::try_from(before).ok()?)
            .take_while(|bit| *bit)
            .count();
        let ones = u32::try_from(ones).ok()?;
        let through = before.checked_add(ones)?;
        let rest = all.by_ref().skip(usize::try_from(through).ok()?);
        (ones > 0 && rest.into_iter().all(|bit| !bit)).then(|| Self {
            before,
            ones,
            behind: total.saturating_sub(through),
        })
    }
}

impl Bits {
    /// The bits that a mask leaves.
    pub(super) fn under(self, run: Run) -> Self {
        Self {
            offset: self.offset.saturating_add(run.before),
            width: run.ones,
            ..self
        }
    }

    /// The bits as `nft` writes those that have no name.
    pub(super) fn raw(self) -> String {
        let base = match self.source {
            Source::Option(op, number) => {
                return format!("{op} @{number},{},{}", self.offset, self.width);
            }
            Source::Header(base) => base,
        };
        let base = match base {
            PayloadBase::LINK => "ll",
            PayloadBase::NETWORK => "nh",
            PayloadBase::TRANSPORT => "th",
            PayloadBase::INNER => "ih",
            PayloadBase::TUNNEL => "tun",
            _ => "unknown",
        };
        format!("@{base},{},{}", self.offset, self.width)
    }

    /// The one field that it is.
    pub(super) fn field(self, protocols: &Protocols) -> Option<Found> {
        let found = protocols.fields(self.source, self.offset, self.width)?;
        match found.as_slice() {
            [one] => Some(*one),
            _ => None,
        }
    }
}

impl Node {
    /// What `outer` makes of this. Inside of a tunnel, it makes that of what
    /// is inside.
    pub(super) fn within(self, outer: impl FnOnce(Box<Self>) -> Self) -> Self {
        match self {
            Self::Inside(tunnel, inner) => Self::Inside(tunnel, Box::new(outer(inner))),
            other => outer(Box::new(other)),
        }
    }

    /// The bits of the packet that are left by masks and shifts to the right,
    /// if it is that.
    pub(super) fn bits(&self) -> Option<Bits> {
        match self {
            Self::Packet(bits) => Some(*bits),
            Self::Masked { of, mask, xor } => {
                let (Self::Packet(bits), true) = (of.as_ref(), is_zero(xor)) else {
                    return None;
                };
                let run = Run::of(mask)?;
                (run.behind == 0).then(|| bits.under(run))
            }
            Self::Shifted {
                of,
                left: false,
                by,
            } => {
                let Self::Masked { of, mask, xor } = of.as_ref() else {
                    return None;
                };
                let (Self::Packet(bits), true) = (of.as_ref(), is_zero(xor)) else {
                    return None;
                };
                let run = Run::of(mask)?;
                (run.behind == *by).then(|| bits.under(run))
            }
            Self::Swapped(of) => of.bits(),
            _ => None,
        }
    }
}

/// The other byte order.
pub(super) const fn swapped(order: Order) -> Order {
    match order {
        Order::Host => Order::Network,
        Order::Network | Order::None => Order::Host,
    }
}

pub(super) fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_of_a_mask_lie_together_or_not() {
        let run = |before, ones, behind| {
            Some(Run {
                before,
                ones,
                behind,
            })
        };
        assert_eq!(Run::of(&[0xfc]), run(0, 6, 2));
        assert_eq!(Run::of(&[0x0f, 0xff]), run(4, 12, 0));
        assert_eq!(Run::of(&[0xff]), run(0, 8, 0));
        assert_eq!(Run::of(&[0xf0, 0xf0]), None);
        assert_eq!(Run::of(&[0]), None);
    }
}
