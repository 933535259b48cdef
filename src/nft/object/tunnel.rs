//! Where a tunnel leads: what a packet without a tunnel of its own is sent
//! through.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::nft::carried::Carried;
use crate::nft::record::record;
use crate::wire::uapi::nf_tables_obj::{
    NFTA_TUNNEL_KEY_DPORT, NFTA_TUNNEL_KEY_ERSPAN_V1_INDEX, NFTA_TUNNEL_KEY_ERSPAN_V2_DIR,
    NFTA_TUNNEL_KEY_ERSPAN_V2_HWID, NFTA_TUNNEL_KEY_ERSPAN_VERSION, NFTA_TUNNEL_KEY_FLAGS,
    NFTA_TUNNEL_KEY_GENEVE_CLASS, NFTA_TUNNEL_KEY_GENEVE_DATA, NFTA_TUNNEL_KEY_GENEVE_TYPE,
    NFTA_TUNNEL_KEY_ID, NFTA_TUNNEL_KEY_IP, NFTA_TUNNEL_KEY_IP_DST, NFTA_TUNNEL_KEY_IP_SRC,
    NFTA_TUNNEL_KEY_IP6, NFTA_TUNNEL_KEY_IP6_DST, NFTA_TUNNEL_KEY_IP6_FLOWLABEL,
    NFTA_TUNNEL_KEY_IP6_SRC, NFTA_TUNNEL_KEY_OPTS, NFTA_TUNNEL_KEY_OPTS_ERSPAN,
    NFTA_TUNNEL_KEY_OPTS_GENEVE, NFTA_TUNNEL_KEY_OPTS_VXLAN, NFTA_TUNNEL_KEY_SPORT,
    NFTA_TUNNEL_KEY_TOS, NFTA_TUNNEL_KEY_TTL, NFTA_TUNNEL_KEY_VXLAN_GBP,
};
use crate::wire::{Attr, Attribute, DecodeError, Fields, Nest, Writer};

record! {
    /// Where a tunnel leads; it has addresses of one family.
    TunnelInfo;
    need {
        /// The number of the tunnel.
        id: u32 = NFTA_TUNNEL_KEY_ID;
    }
    maybe {
        /// Its ends in IPv4.
        ip / with_ip: TunnelIp4 = NFTA_TUNNEL_KEY_IP;
        /// Its ends in IPv6.
        ip6 / with_ip6: TunnelIp6 = NFTA_TUNNEL_KEY_IP6;
        /// Options of its protocol.
        options / with_options: TunnelOptions = NFTA_TUNNEL_KEY_OPTS;
    }
    zero {
        /// `NFT_TUNNEL_F_*`.
        flags / with_flags: u32 = NFTA_TUNNEL_KEY_FLAGS;
        /// The type of service of its packets.
        tos / with_tos: u8 = NFTA_TUNNEL_KEY_TOS;
        /// The time to live of its packets, 0 for that of the route.
        ttl / with_ttl: u8 = NFTA_TUNNEL_KEY_TTL;
        /// The source port.
        source_port / with_source_port: u16 = NFTA_TUNNEL_KEY_SPORT;
        /// The destination port.
        port / with_port: u16 = NFTA_TUNNEL_KEY_DPORT;
    }
}

record! {
    /// The ends of a tunnel in IPv4.
    TunnelIp4;
    need {
        /// The far end.
        remote: Ipv4Addr = NFTA_TUNNEL_KEY_IP_DST;
    }
    maybe {
        /// The near end.
        local / with_local: Ipv4Addr = NFTA_TUNNEL_KEY_IP_SRC;
    }
    zero {}
}

record! {
    /// The ends of a tunnel in IPv6.
    TunnelIp6;
    need {
        /// The far end.
        remote: Ipv6Addr = NFTA_TUNNEL_KEY_IP6_DST;
    }
    maybe {
        /// The near end.
        local / with_local: Ipv6Addr = NFTA_TUNNEL_KEY_IP6_SRC;
    }
    zero {
        /// The flow label.
        flow_label / with_flow_label: u32 = NFTA_TUNNEL_KEY_IP6_FLOWLABEL;
    }
}

/// The options of a tunnel's protocol, in their order.
pub type TunnelOptions = Vec<TunnelOption>;

/// An option of a tunnel's protocol.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TunnelOption {
    /// The group policy of VXLAN.
    Vxlan(u32),
    /// The index of ERSPAN version 1.
    Erspan1(u32),
    /// The hardware number and the direction of ERSPAN version 2.
    Erspan2(u8, u8),
    /// An option of Geneve: its class, its type, its data.
    Geneve(u16, u8, Box<[u8]>),
    /// Another, by the number of its attribute.
    Other(u16, Box<[u8]>),
}

impl TunnelOption {
    fn put(&self, out: &mut Writer<'_>) {
        match self {
            Self::Vxlan(policy) => out.nest(NFTA_TUNNEL_KEY_OPTS_VXLAN, |out| {
                out.put(NFTA_TUNNEL_KEY_VXLAN_GBP, *policy);
            }),
            Self::Erspan1(index) => out.nest(NFTA_TUNNEL_KEY_OPTS_ERSPAN, |out| {
                out.put(NFTA_TUNNEL_KEY_ERSPAN_VERSION, 1);
                out.put(NFTA_TUNNEL_KEY_ERSPAN_V1_INDEX, *index);
            }),
            Self::Erspan2(hardware, direction) => out.nest(NFTA_TUNNEL_KEY_OPTS_ERSPAN, |out| {
                out.put(NFTA_TUNNEL_KEY_ERSPAN_VERSION, 2);
                out.put(NFTA_TUNNEL_KEY_ERSPAN_V2_HWID, *hardware);
                out.put(NFTA_TUNNEL_KEY_ERSPAN_V2_DIR, *direction);
            }),
            Self::Geneve(class, kind, data) => out.nest(NFTA_TUNNEL_KEY_OPTS_GENEVE, |out| {
                out.put(NFTA_TUNNEL_KEY_GENEVE_CLASS, *class);
                out.put(NFTA_TUNNEL_KEY_GENEVE_TYPE, *kind);
                out.put(NFTA_TUNNEL_KEY_GENEVE_DATA, data);
            }),
            Self::Other(kind, bytes) => out.put_raw(*kind, bytes),
        }
    }

    fn get(from: &Attribute<'_>) -> Result<Self, DecodeError> {
        let known = Self::known(from);
        match known {
            Ok(None) | Err(DecodeError::Missing { .. }) => {
                Ok(Self::Other(from.kind_and_flags(), from.payload().into()))
            }
            Ok(Some(known)) => Ok(known),
            Err(error) => Err(error),
        }
    }

    fn known(from: &Attribute<'_>) -> Result<Option<Self>, DecodeError> {
        let fields = Fields::<5>::read(from.nested())?;
        let kind = from.kind();
        Ok(if kind == NFTA_TUNNEL_KEY_OPTS_VXLAN {
            Some(Self::Vxlan(fields.need(NFTA_TUNNEL_KEY_VXLAN_GBP)?))
        } else if kind == NFTA_TUNNEL_KEY_OPTS_ERSPAN {
            match fields.need(NFTA_TUNNEL_KEY_ERSPAN_VERSION)? {
                1 => Some(Self::Erspan1(fields.need(NFTA_TUNNEL_KEY_ERSPAN_V1_INDEX)?)),
                2 => Some(Self::Erspan2(
                    fields.need(NFTA_TUNNEL_KEY_ERSPAN_V2_HWID)?,
                    fields.need(NFTA_TUNNEL_KEY_ERSPAN_V2_DIR)?,
                )),
                _ => None,
            }
        } else if kind == NFTA_TUNNEL_KEY_OPTS_GENEVE {
            Some(Self::Geneve(
                fields.need(NFTA_TUNNEL_KEY_GENEVE_CLASS)?,
                fields.need(NFTA_TUNNEL_KEY_GENEVE_TYPE)?,
                fields.need(NFTA_TUNNEL_KEY_GENEVE_DATA)?.into(),
            ))
        } else {
            None
        })
    }
}

impl Carried<Nest> for TunnelOptions {
    fn put(&self, attr: Attr<Nest>, out: &mut Writer<'_>) {
        out.nest(attr, |out| {
            for option in self {
                option.put(out);
            }
        });
    }

    fn get(_: Attr<Nest>, from: &Attribute<'_>) -> Result<Self, DecodeError> {
        from.nested()
            .map(|option| TunnelOption::get(&option?))
            .collect()
    }
}

macro_rules! nested {
    ($($record:ident),*) => {$(
        impl Carried<Nest> for $record {
            fn put(&self, attr: Attr<Nest>, out: &mut Writer<'_>) {
                out.nest(attr, |out| self.encode(out));
            }

            fn get(_: Attr<Nest>, from: &Attribute<'_>) -> Result<Self, DecodeError> {
                Self::decode(from.nested())
            }
        }
    )*};
}

nested!(TunnelIp4, TunnelIp6);
