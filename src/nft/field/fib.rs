//! The routing tables' answer about a packet.

use super::{Field, Load, Needs};
use crate::nft::DataType;
use crate::nft::carried::open;
use crate::nft::expr::FibResult;
use crate::wire::uapi::nf_tables_expr::{NFTA_FIB_F_DADDR, NFTA_FIB_F_SADDR};

/// The kind of the destination address: an [`AddrType`].
pub const fn daddr_type() -> Field {
    kind_of(NFTA_FIB_F_DADDR)
}

/// The kind of the source address: an [`AddrType`].
pub const fn saddr_type() -> Field {
    kind_of(NFTA_FIB_F_SADDR)
}

const fn kind_of(flags: u32) -> Field {
    Field {
        load: Load::Fib(FibResult::ADDRTYPE, flags),
        kind: DataType::FIB_ADDRTYPE,
        needs: Needs::Nothing,
    }
}

open! {
    /// The kind of an address (`RTN_*` of `linux/rtnetlink.h`).
    AddrType: u32 as Be32 {
        /// None that is known.
        UNSPEC = 0, "unspec";
        /// Of another host.
        UNICAST = 1, "unicast";
        /// Of this host.
        LOCAL = 2, "local";
        /// Of all hosts of a network.
        BROADCAST = 3, "broadcast";
        /// Of a group of hosts.
        MULTICAST = 5, "multicast";
    }
}
