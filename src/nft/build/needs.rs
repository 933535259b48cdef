//! What the packet must be for a field to be there.

use crate::error::Invalid;
use crate::nft::expr::{Cmp, CmpOp, Expr, Meta, MetaKey};
use crate::nft::field::Needs;
use crate::nft::{Data, DataType, Family, Register, Rule};

impl Rule {
    /// Compares what the packet must be for a field to be there, unless the
    /// rule has done so.
    pub(super) fn require(&mut self, needs: Needs) {
        let (key, wanted) = match needs {
            Needs::Nothing => return,
            Needs::Ethernet if self.family == Family::BRIDGE || self.family == Family::NETDEV => {
                return;
            }
            Needs::Ethernet => (
                MetaKey::IIFTYPE,
                Data::typed(DataType::IFACE_TYPE, &ARPHRD_ETHER.to_ne_bytes()),
            ),
            Needs::Network(family) if family == self.family => return,
            Needs::Network(family) if self.family == Family::INET => {
                (MetaKey::NFPROTO, Some(Data::from(family)))
            }
            Needs::Network(family)
                if self.family == Family::BRIDGE || self.family == Family::NETDEV =>
            {
                let frame = if family == Family::IP {
                    ETH_P_IP
                } else {
                    ETH_P_IPV6
                };
                (
                    MetaKey::PROTOCOL,
                    Data::typed(DataType::ETHER_TYPE, &frame.to_be_bytes()),
                )
            }
            Needs::Network(family) => {
                return self.refuse(Invalid::new(
                    "field of",
                    family,
                    "is not in packets of the table's family",
                ));
            }
            Needs::Transport(protocol) => (MetaKey::L4PROTO, Some(Data::from(protocol))),
        };
        let Some(wanted) = wanted else { return };
        match self.known(key) {
            Some(known) if known == wanted.as_bytes() => {}
            Some(_) => self.refuse(Invalid::new(
                "rule",
                self.chain().clone(),
                "asks for two protocols at once",
            )),
            None => {
                self.push(Meta::new(Register::FIRST, key));
                self.push(Cmp::new(Register::FIRST, CmpOp::EQ, wanted));
            }
        }
    }

    /// What the rule has compared `key` with so far.
    pub(super) fn known(&self, key: MetaKey) -> Option<&[u8]> {
        self.expressions.windows(2).find_map(|pair| match pair {
            [Expr::Meta(meta), Expr::Cmp(cmp)]
                if *meta.key() == key && meta.to() == cmp.from() && *cmp.op() == CmpOp::EQ =>
            {
                Some(cmp.data().as_bytes())
            }
            _ => None,
        })
    }
}

/// `ARPHRD_ETHER` of `linux/if_arp.h`.
const ARPHRD_ETHER: u16 = 1;

/// `ETH_P_IP` and `ETH_P_IPV6` of `linux/if_ether.h`.
const ETH_P_IP: u16 = 0x0800;
const ETH_P_IPV6: u16 = 0x86dd;
