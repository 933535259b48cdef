//! Values that are written and read by `serde` in their plain notation.

use std::fmt::{self, Display};
use std::marker::PhantomData;
use std::str::FromStr;

use serde::de::{Deserialize, Deserializer, Error, Visitor};
use serde::ser::{Serialize, Serializer};

use crate::{Exposure, GuestName, IfName, Label, Mac, Owner, Ports, Protocol};

macro_rules! plain {
    ($($value:ty: $what:literal;)*) => {$(
        /// As its notation, a string.
        impl Serialize for $value {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        /// From its notation, a string.
        impl<'de> Deserialize<'de> for $value {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_str(Notation::<Self>($what, PhantomData))
            }
        }
    )*};
}

plain! {
    Exposure: "an exposure as tcp/8080->198.18.0.2:80";
    GuestName: "the name of a guest";
    IfName: "the name of a network interface";
    Label: "a label";
    Mac: "a MAC address as 02:00:00:00:00:01";
    Owner: "the name of an owner";
    Ports: "a port or several as 8000-8100";
    Protocol: "tcp, udp or sctp";
}

/// Reads a value that is expected in these words.
struct Notation<T>(&'static str, PhantomData<T>);

impl<T: FromStr<Err: Display>> Visitor<'_> for Notation<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Debug;

    use super::*;

    fn same<T>(text: &str)
    where
        T: Debug + PartialEq + FromStr<Err: Debug> + Serialize + for<'de> Deserialize<'de>,
    {
        let value: T = text.parse().unwrap();
        let json = serde_json::to_string(&value).unwrap();
        assert_eq!(json, format!("\"{text}\""));
        assert_eq!(serde_json::from_str::<T>(&json).unwrap(), value);
    }

    #[test]
    fn notations_go_through_json() {
        same::<Exposure>("tcp/443->one:8443,two:8443 by source from 10.0.0.0/8 limit 7 label a: b");
        same::<Exposure>("udp/203.0.113.1,[2001:db8::1]:8000-8100->one:9000-9100");
        same::<GuestName>("hello-world");
        same::<IfName>("riklet-0");
        same::<Label>("the shop, port https");
        same::<Mac>("02:00:00:00:00:01");
        same::<Owner>("riklet");
        same::<Ports>("8000-8100");
        same::<Protocol>("sctp");
    }

    #[test]
    fn bad_notations_say_why() {
        let error = serde_json::from_str::<Exposure>("\"tcp/0->one:80\"").unwrap_err();
        let words = "host port \"0\" is not between 1 and 65535";
        assert!(error.to_string().starts_with(words), "{error}");
        let error = serde_json::from_str::<Protocol>("6").unwrap_err();
        let words = "invalid type: integer `6`, expected tcp, udp or sctp";
        assert!(error.to_string().starts_with(words), "{error}");
    }
}
