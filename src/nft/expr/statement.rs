//! Expressions that do something with the packet.

use super::expression;
use crate::nft::carried::open;
use crate::nft::{Family, Register};
use crate::wire::uapi::nf_nat::{NF_NAT_RANGE_MAP_IPS, NF_NAT_RANGE_PROTO_SPECIFIED};
use crate::wire::uapi::nf_tables_expr::{
    NFT_LIMIT_PKT_BYTES, NFT_LIMIT_PKTS, NFT_NAT_DNAT, NFT_NAT_SNAT, NFT_REJECT_ICMP_UNREACH,
    NFT_REJECT_ICMPX_UNREACH, NFT_REJECT_TCP_RST, NFTA_CONNLIMIT_COUNT, NFTA_CONNLIMIT_FLAGS,
    NFTA_COUNTER_BYTES, NFTA_COUNTER_PACKETS, NFTA_LIMIT_BURST, NFTA_LIMIT_FLAGS, NFTA_LIMIT_RATE,
    NFTA_LIMIT_TYPE, NFTA_LIMIT_UNIT, NFTA_MASQ_FLAGS, NFTA_MASQ_REG_PROTO_MAX,
    NFTA_MASQ_REG_PROTO_MIN, NFTA_NAT_FAMILY, NFTA_NAT_FLAGS, NFTA_NAT_REG_ADDR_MAX,
    NFTA_NAT_REG_ADDR_MIN, NFTA_NAT_REG_PROTO_MAX, NFTA_NAT_REG_PROTO_MIN, NFTA_NAT_TYPE,
    NFTA_REDIR_FLAGS, NFTA_REDIR_REG_PROTO_MAX, NFTA_REDIR_REG_PROTO_MIN, NFTA_REJECT_ICMP_CODE,
    NFTA_REJECT_TYPE,
};
use crate::wire::uapi::nf_tables_stmt::{
    NFT_QUOTA_F_DEPLETED, NFTA_LAST_MSECS, NFTA_LAST_SET, NFTA_QUOTA_BYTES, NFTA_QUOTA_CONSUMED,
    NFTA_QUOTA_FLAGS,
};

expression! {
    /// Counts packets and bytes.
    Counter = "counter";
    need {}
    maybe {}
    zero {
        /// Bytes so far.
        bytes / with_bytes: u64 = NFTA_COUNTER_BYTES;
        /// Packets so far.
        packets / with_packets: u64 = NFTA_COUNTER_PACKETS;
    }
}

expression! {
    /// Lets bytes pass up to an amount; the rule ends above it.
    Quota = "quota";
    need {
        /// The amount in bytes.
        bytes: u64 = NFTA_QUOTA_BYTES;
    }
    maybe {}
    zero {
        /// `NFT_QUOTA_F_INV`: the rule ends up to the amount.
        flags / with_flags: u32 = NFTA_QUOTA_FLAGS;
        /// Bytes so far.
        consumed / with_consumed: u64 = NFTA_QUOTA_CONSUMED;
    }
}

impl Quota {
    /// Without what the kernel adds when it lists: that the amount is used
    /// up, which it does not take back.
    pub(crate) fn canonical(mut self) -> Self {
        self.flags &= !NFT_QUOTA_F_DEPLETED;
        self
    }
}

expression! {
    /// Remembers when a packet came by last.
    Last = "last";
    need {}
    maybe {}
    zero {
        /// 1 if there was any.
        seen / with_seen: u32 = NFTA_LAST_SET;
        /// How long ago, in milliseconds.
        ago / with_ago: u64 = NFTA_LAST_MSECS;
    }
}

expression! {
    /// Lets packets or bytes pass at a rate; the rule ends above it.
    Limit = "limit";
    need {
        /// How much for each unit of time.
        rate: u64 = NFTA_LIMIT_RATE;
        /// The unit of time in seconds.
        unit: u64 = NFTA_LIMIT_UNIT;
    }
    maybe {}
    zero {
        /// How much above the rate at once.
        burst / with_burst: u32 = NFTA_LIMIT_BURST;
        /// Packets or bytes.
        kind / with_kind: LimitType = NFTA_LIMIT_TYPE;
        /// `NFT_LIMIT_F_INV`: the rule ends below the rate.
        flags / with_flags: u32 = NFTA_LIMIT_FLAGS;
    }
}

expression! {
    /// Lets connections pass up to a number; the rule ends above it.
    Connlimit = "connlimit";
    need {
        /// How many.
        count: u32 = NFTA_CONNLIMIT_COUNT;
    }
    maybe {}
    zero {
        /// `NFT_CONNLIMIT_F_INV`: the rule ends up to the number.
        flags / with_flags: u32 = NFTA_CONNLIMIT_FLAGS;
    }
}

expression! {
    /// Translates an address, a port, or both.
    Nat = "nat";
    need {
        /// The source or the destination.
        kind: NatType = NFTA_NAT_TYPE;
        /// The family of the addresses.
        family: Family = NFTA_NAT_FAMILY;
    }
    maybe {
        /// The first address.
        address / with_address: Register = NFTA_NAT_REG_ADDR_MIN;
        /// The last address, if there are several.
        address_max / with_address_max: Register = NFTA_NAT_REG_ADDR_MAX;
        /// The first port.
        port / with_port: Register = NFTA_NAT_REG_PROTO_MIN;
        /// The last port, if there are several.
        port_max / with_port_max: Register = NFTA_NAT_REG_PROTO_MAX;
    }
    zero {
        /// `NF_NAT_RANGE_*` besides those that follow from the registers.
        flags / with_flags: u32 = NFTA_NAT_FLAGS;
    }
}

impl Nat {
    /// Without what the kernel adds when it lists: the last address and port
    /// where they are the first, and the flags that say that there are any.
    pub(crate) fn canonical(mut self) -> Self {
        self.address_max = self.address_max.filter(|max| Some(*max) != self.address);
        self.port_max = self.port_max.filter(|max| Some(*max) != self.port);
        self.flags &= !(NF_NAT_RANGE_MAP_IPS | NF_NAT_RANGE_PROTO_SPECIFIED);
        self
    }
}

expression! {
    /// Translates the source to the address of the outgoing interface.
    Masquerade = "masq";
    need {}
    maybe {
        /// The first port.
        port / with_port: Register = NFTA_MASQ_REG_PROTO_MIN;
        /// The last port.
        port_max / with_port_max: Register = NFTA_MASQ_REG_PROTO_MAX;
    }
    zero {
        /// `NF_NAT_RANGE_*`.
        flags / with_flags: u32 = NFTA_MASQ_FLAGS;
    }
}

expression! {
    /// Translates the destination to the host itself.
    Redirect = "redir";
    need {}
    maybe {
        /// The first port.
        port / with_port: Register = NFTA_REDIR_REG_PROTO_MIN;
        /// The last port, if there are several.
        port_max / with_port_max: Register = NFTA_REDIR_REG_PROTO_MAX;
    }
    zero {
        /// `NF_NAT_RANGE_*` besides those that follow from the registers.
        flags / with_flags: u32 = NFTA_REDIR_FLAGS;
    }
}

impl Redirect {
    /// Without what the kernel adds when it lists.
    pub(crate) fn canonical(mut self) -> Self {
        self.port_max = self.port_max.filter(|max| Some(*max) != self.port);
        self.flags &= !NF_NAT_RANGE_PROTO_SPECIFIED;
        self
    }
}

expression! {
    /// Refuses the packet with an answer to its sender.
    Reject = "reject";
    need {
        /// The kind of answer.
        kind: RejectType = NFTA_REJECT_TYPE;
    }
    maybe {
        /// The code of an ICMP answer.
        code / with_code: u8 = NFTA_REJECT_ICMP_CODE;
    }
    zero {}
}

open! {
    /// What a limit counts (`enum nft_limit_type`).
    LimitType: u32 as Be32 {
        /// Packets.
        PACKETS = NFT_LIMIT_PKTS, "packets";
        /// Bytes.
        BYTES = NFT_LIMIT_PKT_BYTES, "bytes";
    }
}

impl Default for LimitType {
    fn default() -> Self {
        Self::PACKETS
    }
}

open! {
    /// What is translated (`enum nft_nat_types`).
    NatType: u32 as Be32 {
        /// The source.
        SNAT = NFT_NAT_SNAT, "snat";
        /// The destination.
        DNAT = NFT_NAT_DNAT, "dnat";
    }
}

open! {
    /// How a packet is refused (`enum nft_reject_types`).
    RejectType: u32 as Be32 {
        /// ICMP destination unreachable.
        ICMP = NFT_REJECT_ICMP_UNREACH, "icmp";
        /// TCP reset.
        TCP_RESET = NFT_REJECT_TCP_RST, "tcp reset";
        /// ICMP or `ICMPv6`, whichever the packet has.
        ICMPX = NFT_REJECT_ICMPX_UNREACH, "icmpx";
    }
}
