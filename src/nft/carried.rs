//! How a value sits in an attribute.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::wire::{
    Attr, Attribute, Attrs, Be16, Be32, Be64, Bytes, DecodeError, Nest, Payload, Text, U8, U32,
    Writer,
};

use super::name::lossy;

/// A value that an attribute with payload `P` carries.
pub(crate) trait Carried<P: Payload>: Sized {
    fn put(&self, attr: Attr<P>, out: &mut Writer<'_>);

    fn get(attr: Attr<P>, from: &Attribute<'_>) -> Result<Self, DecodeError>;
}

macro_rules! plain {
    ($($payload:ident: $int:ty),*) => {$(
        impl Carried<$payload> for $int {
            fn put(&self, attr: Attr<$payload>, out: &mut Writer<'_>) {
                out.put(attr, *self);
            }

            fn get(attr: Attr<$payload>, from: &Attribute<'_>) -> Result<Self, DecodeError> {
                from.get(attr)
            }
        }
    )*};
}

plain!(U8: u8, Be16: u16, Be32: u32, Be64: u64, U32: u32);

impl Carried<Text> for Box<str> {
    fn put(&self, attr: Attr<Text>, out: &mut Writer<'_>) {
        out.put(attr, self);
    }

    fn get(_: Attr<Text>, from: &Attribute<'_>) -> Result<Self, DecodeError> {
        Ok(lossy(from.payload()).into())
    }
}

impl Carried<Bytes> for Box<[u8]> {
    fn put(&self, attr: Attr<Bytes>, out: &mut Writer<'_>) {
        out.put(attr, self);
    }

    fn get(_: Attr<Bytes>, from: &Attribute<'_>) -> Result<Self, DecodeError> {
        Ok(from.payload().into())
    }
}

impl Carried<Be32> for Ipv4Addr {
    fn put(&self, attr: Attr<Be32>, out: &mut Writer<'_>) {
        out.put(attr, self.to_bits());
    }

    fn get(attr: Attr<Be32>, from: &Attribute<'_>) -> Result<Self, DecodeError> {
        from.get(attr).map(Self::from_bits)
    }
}

impl Carried<Bytes> for Ipv6Addr {
    fn put(&self, attr: Attr<Bytes>, out: &mut Writer<'_>) {
        out.put(attr, &self.octets());
    }

    fn get(attr: Attr<Bytes>, from: &Attribute<'_>) -> Result<Self, DecodeError> {
        let octets: Result<[u8; 16], _> = from.payload().try_into();
        octets.map(Self::from).map_err(|_| DecodeError::Length {
            kind: attr.kind(),
            length: from.payload().len(),
            expected: 16,
        })
    }
}

/// Attributes that this crate does not know, kept to be written back.
///
/// Hardly any value has one, so that it takes no more than a pointer.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
#[expect(clippy::box_collection, reason = "a third of the size, in every value")]
pub(crate) struct Extra(Option<Box<Vec<u8>>>);

impl Extra {
    pub(crate) fn keep(&mut self, attribute: &Attribute<'_>) {
        let bytes = self.0.get_or_insert_default();
        Writer::new(bytes).put_raw(attribute.kind_and_flags(), attribute.payload());
    }

    pub(crate) fn put(&self, out: &mut Writer<'_>) {
        let Some(bytes) = &self.0 else { return };
        for attribute in Attrs::new(bytes).filter_map(Result::ok) {
            out.put_raw(attribute.kind_and_flags(), attribute.payload());
        }
    }
}

/// A list of nested values, each in an attribute of its own.
pub(crate) fn put_list<'i, T: Carried<Nest> + 'i>(
    attr: Attr<Nest>,
    item: Attr<Nest>,
    values: impl IntoIterator<Item = &'i T>,
    out: &mut Writer<'_>,
) {
    out.nest(attr, |out| {
        for value in values {
            value.put(item, out);
        }
    });
}

/// A newtype over an integer of the kernel whose values have names; others
/// survive.
macro_rules! open {
    ($(#[$doc:meta])* $name:ident: $int:ident as $payload:ident { $($(#[$value_doc:meta])* $constant:ident = $value:expr, $text:literal;)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name($int);

        impl $name {
            $($(#[$value_doc])* pub const $constant: Self = Self($value);)*

            /// The value of this number, known here or not.
            pub const fn from_raw(number: $int) -> Self {
                Self(number)
            }

            /// The kernel's number.
            pub const fn as_raw(self) -> $int {
                self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                match *self {
                    $(Self::$constant => f.pad($text),)*
                    Self(other) => std::fmt::Display::fmt(&other, f),
                }
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl $crate::nft::carried::Carried<$crate::wire::$payload> for $name {
            fn put(&self, attr: $crate::wire::Attr<$crate::wire::$payload>, out: &mut $crate::wire::Writer<'_>) {
                out.put(attr, self.0.into());
            }

            fn get(
                attr: $crate::wire::Attr<$crate::wire::$payload>,
                from: &$crate::wire::Attribute<'_>,
            ) -> Result<Self, $crate::wire::DecodeError> {
                $int::try_from(from.get(attr)?)
                    .map(Self)
                    .map_err(|_| $crate::wire::DecodeError::Range { what: stringify!($name) })
            }
        }
    };
}

pub(crate) use open;
