//! Objects that say how connections are tracked.

use crate::nft::L4Proto;
use crate::nft::carried::Carried;
use crate::nft::record::record;
use crate::wire::uapi::nf_tables_obj::{
    NFTA_CT_EXPECT_DPORT, NFTA_CT_EXPECT_L3PROTO, NFTA_CT_EXPECT_L4PROTO, NFTA_CT_EXPECT_SIZE,
    NFTA_CT_EXPECT_TIMEOUT, NFTA_CT_HELPER_L3PROTO, NFTA_CT_HELPER_L4PROTO, NFTA_CT_HELPER_NAME,
    NFTA_CT_TIMEOUT_DATA, NFTA_CT_TIMEOUT_L3PROTO, NFTA_CT_TIMEOUT_L4PROTO, NFTA_SECMARK_CTX,
};
use crate::wire::{Attr, Attribute, Be32, DecodeError, Nest, Writer};

record! {
    /// Follows the protocol of a connection, for the further connections that
    /// it opens.
    CtHelper;
    need {
        /// The kernel's name of the helper: `ftp`.
        helper: Box<str> = NFTA_CT_HELPER_NAME;
        /// The transport protocol.
        l4proto: L4Proto = NFTA_CT_HELPER_L4PROTO;
    }
    maybe {
        /// The family (`NFPROTO_*`); that of the table if nothing is said.
        l3proto / with_l3proto: u16 = NFTA_CT_HELPER_L3PROTO;
    }
    zero {}
}

record! {
    /// Says after how long connections are forgotten.
    CtTimeout;
    need {
        /// The transport protocol.
        l4proto: L4Proto = NFTA_CT_TIMEOUT_L4PROTO;
        /// How long, for each state of a connection.
        timeouts: Timeouts = NFTA_CT_TIMEOUT_DATA;
    }
    maybe {
        /// The family (`NFPROTO_*`); that of the table if nothing is said.
        l3proto / with_l3proto: u16 = NFTA_CT_TIMEOUT_L3PROTO;
    }
    zero {}
}

record! {
    /// Expects a further connection of those that it is set for.
    CtExpectation;
    need {
        /// The transport protocol.
        l4proto: L4Proto = NFTA_CT_EXPECT_L4PROTO;
        /// The destination port.
        port: u16 = NFTA_CT_EXPECT_DPORT;
        /// For how long, in milliseconds.
        timeout: u32 = NFTA_CT_EXPECT_TIMEOUT;
        /// How many at once.
        size: u8 = NFTA_CT_EXPECT_SIZE;
    }
    maybe {
        /// The family (`NFPROTO_*`); that of the table if nothing is said.
        l3proto / with_l3proto: u16 = NFTA_CT_EXPECT_L3PROTO;
    }
    zero {}
}

record! {
    /// A security mark, by its context.
    Secmark;
    need {
        /// The context: `system_u:object_r:ssh_server_packet_t:s0`.
        context: Box<str> = NFTA_SECMARK_CTX;
    }
    maybe {}
    zero {}
}

/// Seconds for each state of a connection. A state's number is that of the
/// protocol's enumeration in `linux/netfilter/nfnetlink_cttimeout.h`
/// (`CTA_TIMEOUT_TCP_ESTABLISHED`).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Timeouts(Vec<(u16, u32)>);

impl Timeouts {
    /// These states; the others keep what the protocol has.
    pub fn new(seconds: impl IntoIterator<Item = (u16, u32)>) -> Self {
        Self(seconds.into_iter().collect())
    }

    /// The states and their seconds.
    pub fn iter(&self) -> impl Iterator<Item = (u16, u32)> {
        self.0.iter().copied()
    }
}

impl Carried<Nest> for Timeouts {
    fn put(&self, attr: Attr<Nest>, out: &mut Writer<'_>) {
        out.nest(attr, |out| {
            for (state, seconds) in self.iter() {
                out.put(Attr::<Be32>::new(state), seconds);
            }
        });
    }

    fn get(_: Attr<Nest>, from: &Attribute<'_>) -> Result<Self, DecodeError> {
        let states = from.nested().map(|state| {
            let state = state?;
            Ok((state.kind(), state.get(Attr::<Be32>::new(state.kind()))?))
        });
        states.collect::<Result<_, _>>().map(Self)
    }
}
