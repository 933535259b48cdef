//! Virtual functions of a network card (SR-IOV), as its physical function
//! sets them: `IFLA_VFINFO_LIST` of `linux/if_link.h`, `ip-link(8)`.

use crate::error::Invalid;
use crate::types::{IfIndex, Mac};
use crate::wire::uapi::if_link::{
    IFLA_EXT_MASK, IFLA_VF_INFO, IFLA_VF_LINK_STATE, IFLA_VF_LINK_STATE_AUTO,
    IFLA_VF_LINK_STATE_DISABLE, IFLA_VF_LINK_STATE_ENABLE, IFLA_VF_MAC, IFLA_VF_RATE,
    IFLA_VF_SPOOFCHK, IFLA_VF_TRUST, IFLA_VF_VLAN, IFLA_VF_VLAN_INFO, IFLA_VF_VLAN_LIST,
    IFLA_VFINFO_LIST,
};
use crate::wire::uapi::rtnetlink::{RTEXT_FILTER_SKIP_STATS, RTEXT_FILTER_VF};
use crate::wire::{Attrs, DecodeError, Fields, Message, Writer};

/// A virtual function: what is set of it, or what is to be set. What is not
/// said stays as it is; what the driver does not tell is `None`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct VirtualFunction {
    number: u32,
    mac: Option<Mac>,
    vlan: Option<VfVlan>,
    trust: Option<bool>,
    spoof_check: Option<bool>,
    link_state: Option<VfLinkState>,
    rate: Option<VfRate>,
}

/// The VLAN that the card puts a virtual function's frames into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct VfVlan {
    /// The VLAN, 1 to 4094; 0 for none.
    pub id: u16,
    /// The priority of its frames (IEEE 802.1p), 0 to 7.
    pub qos: u8,
    /// Whether the tag is a provider's (802.1ad, `0x88a8`), else the usual one
    /// (802.1Q, `0x8100`).
    pub service: bool,
}

/// How fast a virtual function sends, in Mbit/s; 0 stands for no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct VfRate {
    /// What it is guaranteed.
    pub least: u32,
    /// What it gets at most.
    pub most: u32,
}

impl VfVlan {
    /// The VLAN `id`, with the usual tag and priority 0.
    pub const fn new(id: u16) -> Self {
        Self {
            id,
            qos: 0,
            service: false,
        }
    }

    /// Gives its frames this priority.
    #[must_use]
    pub const fn qos(mut self, qos: u8) -> Self {
        self.qos = qos;
        self
    }

    /// Has the tag be a provider's (802.1ad).
    #[must_use]
    pub const fn service(mut self) -> Self {
        self.service = true;
        self
    }
}

impl VfRate {
    /// At least and at most so many Mbit/s.
    pub const fn new(least: u32, most: u32) -> Self {
        Self { least, most }
    }
}

/// Whether a virtual function has a carrier: `IFLA_VF_LINK_STATE_*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct VfLinkState(u32);

impl VfLinkState {
    /// When the physical function has one.
    pub const AUTO: Self = Self(IFLA_VF_LINK_STATE_AUTO);
    /// Always, so that functions of one card reach each other.
    pub const ENABLE: Self = Self(IFLA_VF_LINK_STATE_ENABLE);
    /// Never; its frames are dropped.
    pub const DISABLE: Self = Self(IFLA_VF_LINK_STATE_DISABLE);

    /// The state of this number.
    pub const fn from_number(number: u32) -> Self {
        Self(number)
    }

    /// The kernel's number.
    pub const fn number(self) -> u32 {
        self.0
    }
}

impl VirtualFunction {
    /// The function of this number, counted from 0, with nothing set.
    pub fn new(number: u32) -> Self {
        Self {
            number,
            mac: None,
            vlan: None,
            trust: None,
            spoof_check: None,
            link_state: None,
            rate: None,
        }
    }

    /// Gives it this MAC address, which only a trusted one may then change.
    #[must_use]
    pub fn mac(mut self, mac: Mac) -> Self {
        self.mac = Some(mac);
        self
    }

    /// Puts it into a VLAN.
    #[must_use]
    pub fn vlan(mut self, vlan: VfVlan) -> Self {
        self.vlan = Some(vlan);
        self
    }

    /// Lets it change its MAC address and receive what is for others, or not.
    #[must_use]
    pub fn trust(mut self, trusted: bool) -> Self {
        self.trust = Some(trusted);
        self
    }

    /// Has the card drop what it sends under other MAC addresses, or not.
    #[must_use]
    pub fn spoof_check(mut self, checked: bool) -> Self {
        self.spoof_check = Some(checked);
        self
    }

    /// Sets its carrier.
    #[must_use]
    pub fn link_state(mut self, state: VfLinkState) -> Self {
        self.link_state = Some(state);
        self
    }

    /// Limits how fast it sends.
    #[must_use]
    pub fn rate(mut self, rate: VfRate) -> Self {
        self.rate = Some(rate);
        self
    }

    /// Its number, counted from 0.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Its MAC address; `None` if it has none yet.
    pub fn mac_address(&self) -> Option<Mac> {
        self.mac
    }

    /// Its VLAN.
    pub fn vlan_tag(&self) -> Option<VfVlan> {
        self.vlan
    }

    /// Whether it is trusted.
    pub fn is_trusted(&self) -> Option<bool> {
        self.trust
    }

    /// Whether the MAC addresses that it sends under are checked.
    pub fn is_spoof_checked(&self) -> Option<bool> {
        self.spoof_check
    }

    /// Its carrier.
    pub fn carrier(&self) -> Option<VfLinkState> {
        self.link_state
    }

    /// How fast it sends.
    pub fn rate_limit(&self) -> Option<VfRate> {
        self.rate
    }

    /// What takes it back: all that this one says is as a card has it for
    /// nobody. Without a MAC address a driver chooses one by itself.
    pub(crate) fn unset(self) -> Self {
        Self {
            number: self.number,
            mac: self.mac.map(|_| Mac::known([0; 6])),
            vlan: self.vlan.map(|_| VfVlan::new(0)),
            trust: self.trust.map(|_| false),
            spoof_check: self.spoof_check.map(|_| true),
            link_state: self.link_state.map(|_| VfLinkState::AUTO),
            rate: self.rate.map(|_| VfRate::new(0, 0)),
        }
    }

    /// Whether `now` is as this one says, as far as the driver tells.
    pub(crate) fn is_met_by(&self, now: &Self) -> bool {
        fn same<T: PartialEq + Copy>(wanted: Option<T>, now: Option<T>) -> bool {
            wanted.is_none() || now.is_none() || wanted == now
        }
        self.number == now.number
            && (self.mac.is_none() || self.mac == now.mac)
            && same(self.vlan, now.vlan)
            && same(self.trust, now.trust)
            && same(self.spoof_check, now.spoof_check)
            && same(self.link_state, now.link_state)
            && same(self.rate, now.rate)
    }

    pub(super) fn check(&self) -> Result<(), Invalid> {
        match (self.vlan, self.rate) {
            (Some(VfVlan { id, .. }), _) if id > 4094 => {
                Err(Invalid::new("VLAN id", id, "is above 4094"))
            }
            (Some(VfVlan { qos, .. }), _) if qos > 7 => {
                Err(Invalid::new("VLAN priority", qos, "is above 7"))
            }
            (
                Some(VfVlan {
                    id: 0,
                    service,
                    qos,
                }),
                _,
            ) if service || qos != 0 => {
                let why = "of no VLAN has no priority or protocol";
                Err(Invalid::new("VLAN id", 0, why))
            }
            (_, Some(VfRate { least, most })) if most != 0 && least > most => {
                Err(Invalid::new("least rate", least, "is above the most"))
            }
            _ => Ok(()),
        }
    }

    /// The body of an `RTM_SETLINK` of the physical function.
    pub(super) fn encode(&self, physical: IfIndex, out: &mut Writer<'_>) {
        header(physical, out);
        let number = self.number.to_ne_bytes();
        let pair = |value: u32| [number, value.to_ne_bytes()].concat();
        out.nest(IFLA_VFINFO_LIST, |out| {
            out.nest(IFLA_VF_INFO, |out| {
                if let Some(mac) = self.mac {
                    // `struct ifla_vf_mac`: the number, and 32 bytes.
                    let bytes = [&number[..], &mac.octets(), &[0; 26]].concat();
                    out.put(IFLA_VF_MAC, &bytes);
                }
                if let Some(vlan) = self.vlan {
                    let [id, qos] = [u32::from(vlan.id), vlan.qos.into()].map(u32::to_ne_bytes);
                    let plain = [number, id, qos].concat();
                    if vlan.service {
                        let protocol = ETH_P_8021AD.to_be_bytes();
                        let whole = [&plain[..], &protocol, &[0; 2]].concat();
                        out.nest(IFLA_VF_VLAN_LIST, |out| out.put(IFLA_VF_VLAN_INFO, &whole));
                    } else {
                        out.put(IFLA_VF_VLAN, &plain);
                    }
                }
                if let Some(rate) = self.rate {
                    let [least, most] = [rate.least, rate.most].map(u32::to_ne_bytes);
                    out.put(IFLA_VF_RATE, &[number, least, most].concat());
                }
                for (attr, flag) in [
                    (IFLA_VF_SPOOFCHK, self.spoof_check),
                    (IFLA_VF_TRUST, self.trust),
                ] {
                    if let Some(flag) = flag {
                        out.put(attr, &pair(flag.into()));
                    }
                }
                if let Some(state) = self.link_state {
                    out.put(IFLA_VF_LINK_STATE, &pair(state.0));
                }
            });
        });
    }

    /// Reads those of a link.
    pub(super) fn decode_all(message: &Message<'_>) -> Result<Vec<Self>, DecodeError> {
        let (_, attrs) = message.split::<16>()?;
        let Some(list) = attrs.find(IFLA_VFINFO_LIST)? else {
            return Ok(Vec::new());
        };
        list.map(|function| Self::decode(function?.nested()))
            .collect()
    }

    fn decode(attrs: Attrs<'_>) -> Result<Self, DecodeError> {
        let fields = Fields::<13>::read(attrs)?;
        // Every one begins with the number, the first is always there.
        let mac = fields.need(IFLA_VF_MAC)?;
        let number = word(mac, 0).ok_or(DecodeError::Malformed {
            what: "ifla_vf_mac",
        })?;
        let flag = |attr| -> Result<Option<bool>, DecodeError> {
            // Drivers that do not tell leave -1.
            let setting = fields.get(attr)?.and_then(|bytes| word(bytes, 1));
            Ok(setting.filter(|&setting| setting <= 1).map(|it| it == 1))
        };
        let (plain, list) = (fields.get(IFLA_VF_VLAN)?, fields.get(IFLA_VF_VLAN_LIST)?);
        let whole = match list {
            Some(list) => list.find(IFLA_VF_VLAN_INFO)?,
            None => None,
        };
        let rate = fields.get(IFLA_VF_RATE)?;
        let state = fields.get(IFLA_VF_LINK_STATE)?;
        let octets = mac.get(4..10).and_then(|octets| octets.try_into().ok());
        Ok(Self {
            number,
            mac: octets.and_then(|octets| Mac::new(octets).ok()),
            vlan: whole.or(plain).and_then(vlan),
            trust: flag(IFLA_VF_TRUST)?,
            spoof_check: flag(IFLA_VF_SPOOFCHK)?,
            link_state: state.and_then(|it| word(it, 1)).map(VfLinkState),
            rate: rate.and_then(|bytes| {
                let (least, most) = (word(bytes, 1)?, word(bytes, 2)?);
                Some(VfRate { least, most })
            }),
        })
    }
}

/// The body of an `RTM_GETLINK` that asks for the virtual functions too.
pub(super) fn encode_get(physical: IfIndex, out: &mut Writer<'_>) {
    header(physical, out);
    out.put(IFLA_EXT_MASK, RTEXT_FILTER_VF | RTEXT_FILTER_SKIP_STATS);
}

/// `struct ifinfomsg` with the index alone.
fn header(index: IfIndex, out: &mut Writer<'_>) {
    let [i0, i1, i2, i3] = index.get().to_ne_bytes();
    out.fixed(&[0, 0, 0, 0, i0, i1, i2, i3, 0, 0, 0, 0, 0, 0, 0, 0]);
}

/// `struct ifla_vf_vlan`, or `struct ifla_vf_vlan_info` with the protocol.
fn vlan(bytes: &[u8]) -> Option<VfVlan> {
    let protocol = bytes.get(12..14);
    Some(VfVlan {
        id: word(bytes, 1)?.try_into().ok()?,
        qos: word(bytes, 2)?.try_into().ok()?,
        service: protocol == Some(&ETH_P_8021AD.to_be_bytes()),
    })
}

/// One of the 32-bit numbers that these structures are made of.
fn word(bytes: &[u8], place: usize) -> Option<u32> {
    let bytes = bytes.chunks_exact(4).nth(place)?;
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}

/// `ETH_P_8021AD` of `linux/if_ether.h`.
const ETH_P_8021AD: u16 = 0x88a8;
