//! Attribute numbers that know what they carry.

use std::fmt;
use std::marker::PhantomData;

use super::Payload;

/// The number of a netlink attribute together with the type of its payload,
/// so that a value in the wrong width or byte order does not compile.
///
/// ```
/// use tapwire::wire::{Attr, Be32, Writer};
/// const NFTA_NAT_TYPE: Attr<Be32> = Attr::new(1);
/// let mut bytes = Vec::new();
/// let mut out = Writer::new(&mut bytes);
/// out.put(NFTA_NAT_TYPE, 1);
/// out.finish()?;
/// assert_eq!(bytes[4..], [0, 0, 0, 1]);
/// # Ok::<(), tapwire::wire::EncodeError>(())
/// ```
pub struct Attr<T> {
    kind: u16,
    payload: PhantomData<fn() -> T>,
}

impl<T: Payload> Attr<T> {
    /// The attribute of this number in its enumeration.
    pub const fn new(kind: u16) -> Self {
        Self {
            kind,
            payload: PhantomData,
        }
    }

    /// The number, without the flags `NLA_F_NESTED` and
    /// `NLA_F_NET_BYTEORDER`.
    pub const fn kind(self) -> u16 {
        self.kind
    }
}

impl<T> Clone for Attr<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Attr<T> {}

impl<T> fmt::Debug for Attr<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Attr").field(&self.kind).finish()
    }
}

impl<T> PartialEq<Attr<T>> for u16 {
    fn eq(&self, attr: &Attr<T>) -> bool {
        *self == attr.kind
    }
}
