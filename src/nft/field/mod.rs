//! What rules compare and look up: fields of the packet and what is known
//! about it.

pub mod arp;
pub mod ct;
pub mod ether;
pub mod fib;
pub mod icmp;
pub mod icmpv6;
pub mod ip;
pub mod ip6;
pub mod meta;
pub mod numgen;
pub mod tcp;
pub mod th;
pub mod udp;

use ipnet::IpNet;

use crate::error::Invalid;
use crate::types::IF_NAME_MAX;

use super::expr::{CmpOp, CtKey, FibResult, MetaKey, NumgenType, PayloadBase};
use super::{Data, DataType, Element, Family, L4Proto};

/// Something that a rule can load, and the type of its value.
///
/// ```
/// use tapwire::nft::{ct, ip, meta, L4Proto};
/// let _ = meta::iifname().starts_with("riklet-");
/// let _ = meta::l4proto().one_of([L4Proto::TCP, L4Proto::UDP]);
/// let _ = ip::saddr().within("10.0.0.0/8".parse()?);
/// let _ = ct::state().any_of(ct::State::ESTABLISHED | ct::State::RELATED);
/// # Ok::<(), ipnet::AddrParseError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Field {
    pub(super) load: Load,
    pub(super) kind: DataType,
    pub(super) needs: Needs,
}

/// How a field is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Load {
    Payload {
        base: PayloadBase,
        offset: u32,
    },
    Meta(MetaKey),
    Ct(CtKey),
    /// Of the direction in which the connection began.
    CtOriginal(CtKey),
    Fib(FibResult, u32),
    Numgen {
        kind: NumgenType,
        modulus: u32,
    },
    Hash {
        base: PayloadBase,
        offset: u32,
        length: u32,
        modulus: u32,
        seed: Option<u32>,
    },
}

/// What a packet must be for the field to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Needs {
    Nothing,
    Ethernet,
    Network(Family),
    Transport(L4Proto),
}

impl Field {
    pub(super) const fn payload(
        base: PayloadBase,
        offset: u32,
        kind: DataType,
        needs: Needs,
    ) -> Self {
        Self {
            load: Load::Payload { base, offset },
            kind,
            needs,
        }
    }

    pub(super) const fn meta(key: MetaKey, kind: DataType) -> Self {
        Self {
            load: Load::Meta(key),
            kind,
            needs: Needs::Nothing,
        }
    }

    pub(super) const fn ct_original(key: CtKey, kind: DataType) -> Self {
        Self {
            load: Load::CtOriginal(key),
            kind,
            needs: Needs::Nothing,
        }
    }

    pub(super) const fn ct(key: CtKey, kind: DataType) -> Self {
        Self {
            load: Load::Ct(key),
            kind,
            needs: Needs::Nothing,
        }
    }

    /// The type of its value.
    pub const fn data_type(&self) -> DataType {
        self.kind
    }

    /// Whether it is `value`.
    pub fn equal(self, value: impl Into<Data>) -> Match {
        self.compare(CmpOp::EQ, value.into())
    }

    /// Whether it is not `value`.
    pub fn not_equal(self, value: impl Into<Data>) -> Match {
        self.compare(CmpOp::NEQ, value.into())
    }

    /// Whether the name of an interface begins with `prefix`: `iifname "tw*"`.
    pub fn starts_with(self, prefix: &str) -> Match {
        let plain = |byte: u8| byte.is_ascii_graphic() && !b"/:%*\"\\".contains(&byte);
        if self.kind != DataType::IFNAME {
            return self.invalid(
                prefix,
                "is a prefix, but the field is not the name of an interface",
            );
        }
        if prefix.is_empty() || prefix.len() > IF_NAME_MAX || !prefix.bytes().all(plain) {
            return self.invalid(prefix, "is not the beginning of an interface name");
        }
        let test = Data::from_bytes(prefix.as_bytes())
            .map_or(Test::Compare(CmpOp::EQ, Data::EMPTY), |data| {
                Test::Compare(CmpOp::EQ, data)
            });
        Match {
            field: self,
            test: Ok(test),
        }
    }

    /// Whether the address lies in `net`.
    pub fn within(self, net: IpNet) -> Match {
        self.net(CmpOp::EQ, net)
    }

    /// Whether the address lies outside of `net`.
    pub fn not_within(self, net: IpNet) -> Match {
        self.net(CmpOp::NEQ, net)
    }

    /// Whether it lies between two values, which belong to the range. Both
    /// are compared as bytes, so the field must be of network order.
    pub fn between(self, low: impl Into<Data>, high: impl Into<Data>) -> Match {
        let (low, high) = (low.into(), high.into());
        if low.as_bytes() > high.as_bytes() {
            return self.invalid(low, "is above the upper bound");
        }
        if self.kind.order() == super::Order::Host && self.kind.length() > 1 {
            return self.invalid(low, "cannot be ordered: the field is of host order");
        }
        self.checked(&[low, high]).unwrap_or(Match {
            field: self,
            test: Ok(Test::Between(low, high)),
        })
    }

    /// Whether it is `value` under `mask`: `meta mark & 0xfff == 0x539`.
    pub fn equal_under(self, mask: impl Into<Data>, value: impl Into<Data>) -> Match {
        let (mask, value) = (mask.into(), value.into());
        self.checked(&[mask, value]).unwrap_or(Match {
            field: self,
            test: Ok(Test::Masked(CmpOp::EQ, mask, value)),
        })
    }

    /// Whether any of the bits in `flags` is set.
    pub fn any_of(self, flags: impl Into<Data>) -> Match {
        let flags = flags.into();
        self.checked(&[flags]).unwrap_or(Match {
            field: self,
            test: Ok(Test::AnyBit(flags)),
        })
    }

    /// Whether it is one of `values`, which lie in an anonymous set.
    pub fn one_of<T: Into<Data>>(self, values: impl IntoIterator<Item = T>) -> Match {
        self.listed(false, false, values.into_iter().map(Element::new).collect())
    }

    /// Whether it is none of `values`, which lie in an anonymous set.
    pub fn none_of<T: Into<Data>>(self, values: impl IntoIterator<Item = T>) -> Match {
        self.listed(true, false, values.into_iter().map(Element::new).collect())
    }

    /// Whether the address lies in one of `nets`, which lie in an anonymous
    /// set.
    pub fn within_any(self, nets: impl IntoIterator<Item = IpNet>) -> Match {
        self.listed(false, true, Element::networks(nets))
    }

    /// Whether the address lies in none of `nets`, which lie in an anonymous
    /// set.
    pub fn within_none(self, nets: impl IntoIterator<Item = IpNet>) -> Match {
        self.listed(true, true, Element::networks(nets))
    }

    fn compare(self, op: CmpOp, value: Data) -> Match {
        self.checked(&[value]).unwrap_or(Match {
            field: self,
            test: Ok(Test::Compare(op, value)),
        })
    }

    fn listed(self, inverted: bool, interval: bool, elements: Vec<Element>) -> Match {
        if elements.is_empty() {
            return self.invalid("{}", "is an empty list");
        }
        let keys: Vec<Data> = elements.iter().map(|element| *element.key()).collect();
        let test = Test::Listed {
            inverted,
            interval,
            elements,
        };
        self.checked(&keys).unwrap_or(Match {
            field: self,
            test: Ok(test),
        })
    }

    fn net(self, op: CmpOp, net: IpNet) -> Match {
        let (address, mask) = match net.trunc() {
            IpNet::V4(net) => (Data::from(net.network()), Data::from(net.netmask())),
            IpNet::V6(net) => (Data::from(net.network()), Data::from(net.netmask())),
        };
        let test = if net.prefix_len() == net.max_prefix_len() {
            Test::Compare(op, address)
        } else if net.prefix_len().is_multiple_of(8) && net.prefix_len() > 0 {
            Test::Compare(op, address.cut(usize::from(net.prefix_len() / 8)))
        } else {
            Test::Masked(op, mask, address)
        };
        self.checked(&[address]).unwrap_or(Match {
            field: self,
            test: Ok(test),
        })
    }

    /// The refusal of the first value that is not of this field's type.
    fn checked(self, values: &[Data]) -> Option<Match> {
        let wrong = values.iter().find(|value| !value.is(self.kind.into()))?;
        Some(self.invalid(wrong, "is not of the field's type"))
    }

    fn invalid(self, value: impl std::fmt::Display, why: &'static str) -> Match {
        Match {
            field: self,
            test: Err(Invalid::new(
                "match of",
                format_args!("{}: {value}", self.kind),
                why,
            )),
        }
    }
}

/// A condition of a rule: made by a [`Field`], taken by
/// [`Rule::matching`](super::Rule::matching). A value that does not fit the
/// field is reported when the rule is committed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Match {
    pub(super) field: Field,
    pub(super) test: Result<Test, Invalid>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Test {
    /// With the first bytes of the field.
    Compare(CmpOp, Data),
    Masked(CmpOp, Data, Data),
    Between(Data, Data),
    AnyBit(Data),
    Listed {
        inverted: bool,
        interval: bool,
        elements: Vec<Element>,
    },
}
